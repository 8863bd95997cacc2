"""What explains a difference and what does not."""

from __future__ import annotations

from sim.cluster.ledger import GRACE_S, Answer, Ledger

USER, OLD, NEW = "user1", "10.0.0.1", "10.0.0.2"


def answer(host: str, at: float, *, waited_s: float = 0.1) -> Answer:
    return Answer(node="node1", host=host, asked_at=at - waited_s, answered_at=at)


def ledger_with_answer(host: str, at: float) -> Ledger:
    ledger = Ledger(limit_s=30.0)
    ledger.answered(USER, answer(host, at), was_well=True)
    return ledger


def test_the_same_host_again_breaks_nothing() -> None:
    ledger = ledger_with_answer(OLD, 10.0)
    ledger.answered(USER, answer(OLD, 20.0), was_well=True)

    assert ledger.broken == []
    assert ledger.counts["logins"] == 2


def test_another_host_without_a_reason_breaks_a_promise() -> None:
    ledger = ledger_with_answer(OLD, 10.0)
    ledger.answered(USER, answer(NEW, 20.0), was_well=True)

    assert len(ledger.broken) == 1
    assert "user1 was sent to 10.0.0.1" in ledger.broken[0]


def test_an_administrator_explains_what_happens_to_the_user_and_to_the_host_it_was_on() -> None:
    for name in (USER, OLD):
        ledger = ledger_with_answer(OLD, 10.0)
        ledger.touch(name, 15.0).end(16.0)
        ledger.answered(USER, answer(NEW, 20.0), was_well=True)

        assert ledger.broken == []
        assert ledger.counts["users moved by administrators"] == 1


def test_a_command_explains_nothing_that_comes_later() -> None:
    ledger = ledger_with_answer(OLD, 10.0)
    ledger.touch(USER, 2.0).end(10.0 - GRACE_S - 1.0)
    ledger.answered(USER, answer(NEW, 20.0), was_well=True)

    assert len(ledger.broken) == 1


def test_what_is_done_to_another_host_explains_nothing() -> None:
    ledger = ledger_with_answer(OLD, 10.0)
    ledger.touch(NEW, 15.0)
    ledger.answered(USER, answer(NEW, 20.0), was_well=True)

    assert len(ledger.broken) == 1


def test_answers_close_together_may_have_come_the_other_way_round() -> None:
    ledger = ledger_with_answer(NEW, 10.0)
    ledger.touch(OLD, 9.9)
    ledger.answered(USER, answer(OLD, 10.02), was_well=True)

    assert ledger.broken == []


def test_in_turmoil_differences_and_refusals_are_counted() -> None:
    ledger = ledger_with_answer(OLD, 10.0)
    ledger.begin_turmoil(15.0)
    ledger.answered(USER, answer(NEW, 20.0), was_well=True)
    ledger.answered(USER, answer("", 21.0), was_well=True)

    assert ledger.broken == []
    assert ledger.counts["users moved in turmoil"] == 1
    assert ledger.counts["logins refused"] == 1
    assert (len(ledger.calm_waits_s), len(ledger.turmoil_waits_s)) == (1, 2)


def test_a_refusal_in_calm_breaks_a_promise() -> None:
    ledger = ledger_with_answer("", 10.0)

    assert ledger.broken == ["user1 was refused at node1 while all nodes were well"]


def test_only_nodes_that_are_well_must_answer_in_time() -> None:
    ledger = Ledger(limit_s=30.0)
    ledger.begin_turmoil(0.0)
    ledger.answered(USER, answer(OLD, 50.0, waited_s=40.0), was_well=False)

    assert ledger.broken == []

    ledger.answered(USER, answer(OLD, 100.0, waited_s=40.0), was_well=True)
    ledger.unanswered(USER, "node1", 35.0)

    assert ledger.broken == [
        "user1 waited 40.0 s at node1",
        "user1 got no answer from node1 within 35.0 s",
    ]


def test_only_the_first_broken_promises_are_kept_and_all_are_counted() -> None:
    ledger = Ledger(limit_s=30.0)
    for number in range(100):
        ledger.blame(f"number {number}")

    assert ledger.counts["promises broken"] == 100
    assert ledger.broken[0] == "number 0"
    assert len(ledger.broken) == 10
