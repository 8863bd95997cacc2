"""The promises about logins that can be judged from outside: pure book-keeping, no I/O.

Whatever two answers name for one user must be one host, unless something between them explains the
other: an administrator moved the user, or touched the host it was on, or the ring was in *turmoil*
(a node was dead, hung or cut off). An explanation counts from when it was begun until a while
after it was answered, an answer from when it was asked for: nobody sees from outside in which order
they happened. In turmoil a difference is counted and not blamed: that two halves of a ring place a
user twice is no broken promise, that they do not settle it is, and the end of a run shows it.
"""

from __future__ import annotations

import math
from collections import Counter

import attrs

GRACE_S = 2.0
"""How long after the answer to a command it may still explain a difference."""

DIFFERENCES_SHOWN = 10


@attrs.frozen(kw_only=True)
class Answer:
    """`host` is empty for a login that was refused."""

    node: str
    host: str
    asked_at: float
    answered_at: float


@attrs.define(eq=False)
class Touch:
    """Something that explains differences while it lasts."""

    begun_at: float
    ended_at: float = math.inf

    def end(self, now: float) -> None:
        self.ended_at = now + GRACE_S

    def overlaps(self, start: float, end: float) -> bool:
        return self.begun_at <= end and start <= self.ended_at


@attrs.define(eq=False, kw_only=True)
class Ledger:
    """`limit_s` is how long a login may take while its node is well."""

    limit_s: float
    broken: list[str] = attrs.Factory(list)
    counts: Counter[str] = attrs.Factory(Counter)
    calm_waits_s: list[float] = attrs.Factory(list)
    turmoil_waits_s: list[float] = attrs.Factory(list)
    turmoil: list[Touch] = attrs.Factory(list)
    _answers: dict[str, Answer] = attrs.Factory(dict)
    _touches: dict[str, list[Touch]] = attrs.Factory(dict)

    # --- explanations -------------------------------------------------------------------------

    def touch(self, name: str, now: float) -> Touch:
        """An administrator begins to do something to a user or a host."""
        touch = Touch(now)
        self._touches.setdefault(name, []).append(touch)
        return touch

    def begin_turmoil(self, now: float) -> Touch:
        touch = Touch(now)
        self.turmoil.append(touch)
        return touch

    def is_in_turmoil(self, start: float, end: float) -> bool:
        return any(touch.overlaps(start, end) for touch in self.turmoil)

    # --- answers ------------------------------------------------------------------------------

    def answered(self, user: str, answer: Answer, *, was_well: bool) -> None:
        """A login was answered; `was_well` if its node ran all the time."""
        self.counts["logins"] += 1
        wait_s = answer.answered_at - answer.asked_at
        if was_well:
            is_calm = not self.is_in_turmoil(answer.asked_at, answer.answered_at)
            (self.calm_waits_s if is_calm else self.turmoil_waits_s).append(wait_s)
            if wait_s > self.limit_s:
                self.blame(f"{user} waited {wait_s:.1f} s at {answer.node}")
        if not answer.host:
            self._refused(user, answer)
            return
        before = self._answers.get(user)
        self._answers[user] = answer
        if before is not None and before.host != answer.host:
            self._differs(user, before, answer)

    def unanswered(self, user: str, node: str, waited_s: float) -> None:
        """A login got no answer from a node that was well."""
        self.blame(f"{user} got no answer from {node} within {waited_s:.1f} s")

    def blame(self, what: str) -> None:
        """A promise is broken."""
        self.counts["promises broken"] += 1
        if len(self.broken) < DIFFERENCES_SHOWN:
            self.broken.append(what)

    def _refused(self, user: str, answer: Answer) -> None:
        self.counts["logins refused"] += 1
        if not self.is_in_turmoil(answer.asked_at, answer.answered_at):
            self.blame(f"{user} was refused at {answer.node} while all nodes were well")

    def _differs(self, user: str, before: Answer, after: Answer) -> None:
        start, end = before.asked_at, after.answered_at
        names = [user, before.host]
        if after.asked_at - before.answered_at < GRACE_S:
            names.append(after.host)  # the later answer may be the older one
        touches = [touch for name in names for touch in self._touches.get(name, [])]
        if any(touch.overlaps(start, end) for touch in touches):
            self.counts["users moved by administrators"] += 1
        elif self.is_in_turmoil(start, end):
            self.counts["users moved in turmoil"] += 1
        else:
            self.blame(
                f"{user} was sent to {before.host} by {before.node} and {end - start:.2f} s later "
                f"to {after.host} by {after.node}, without a reason"
            )
