"""doveadm's verbs side by side: the same invocations by two programs, on two directors each.

`admin_invocations.txt` is what operators type. The original client on the original director says
what is right; our client must print the same bytes on stdout, the same class of message on stderr
and the same exit status, on either director, and so must the original client on our director.

Every pair of client and director starts fresh and runs the whole list, because an invocation means
what its predecessors made of the state. Times of day become a placeholder of the same width, paths
and addresses of the lab are equally long everywhere. Our client runs in this process, because two
hundred interpreter starts would take a minute.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from director.cli import administration
from tests.interop.dovecot import DOVEADM
from tests.interop.lab import Lab
from tests.interop.proxies import DirectorKind, Proxy, ProxySettings

pytestmark = [pytest.mark.interop, pytest.mark.slow]

INVOCATIONS = Path(__file__).with_name("admin_invocations.txt")
SETTINGS = {
    "director_mail_servers": "127.0.0.2 127.0.0.3 127.0.0.4@tagA fd00::5",
    # Longer than the list takes: a user that was moved is still being moved at the end.
    "director_user_kick_delay": "5 min",
}
TIME = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


@attrs.frozen
class Invocation:
    """`words` as doveadm gets them, with the lab's paths still to be filled in."""

    line: str
    words: tuple[str, ...]
    stdin: bytes

    def filled(self, proxy: Proxy, plain_file: Path) -> list[str]:
        run = proxy.dovecot.run
        places = {
            "$ADMIN": str(run / "director-admin"),
            "$USERDB": str(run / "auth-userdb"),
            "$PLAIN": str(plain_file),
        }
        words = list(self.words)
        for place, path in places.items():
            words = [word.replace(place, path) for word in words]
        return words


@attrs.frozen
class Observation:
    stdout: bytes
    stderr: tuple[str, ...]
    status: int

    def without_order(self) -> Observation:
        """Sort the records: users of the same second come in any order out of our table."""
        records = re.split(rb"\n\f\n|\n|\},\{", self.stdout.strip(b"[]{}"))
        return attrs.evolve(self, stdout=b"|".join(sorted(records)))


def read_invocations() -> list[Invocation]:
    invocations = []
    for line in INVOCATIONS.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        words, _, stdin = line.partition(" < ")
        data = stdin.encode().decode("unicode_escape").encode()
        invocations.append(Invocation(line, tuple(shlex.split(words)), data))
    return invocations


def run_doveadm(words: list[str], stdin: bytes) -> tuple[bytes, bytes, int]:
    result = subprocess.run(
        ["doveadm", *words],
        executable=DOVEADM,
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return result.stdout, result.stderr, result.returncode


def run_director(words: list[str], stdin: bytes) -> tuple[bytes, bytes, int]:
    """Run our client on the same words, without the one that names doveadm's group of verbs."""
    if "director" in words:
        words.remove("director")
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", "surrogateescape") for _ in range(2)]
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin))
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            status = administration.run(words, ())
    finally:
        sys.stdin = before
    assert status is not None
    outputs = []
    for stream in streams:
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        outputs.append(stream.buffer.getvalue())
    return outputs[0], outputs[1], status


PROGRAMS = {"doveadm": run_doveadm, "director": run_director}


def message_classes(stderr: bytes) -> tuple[str, ...]:
    """Return the first word of each line; a list of usages, which names more verbs here, is one."""
    words = [line.split(" ")[0] for line in stderr.decode(errors="replace").splitlines()]
    if words and words[0] == "usage:":
        return ("usage:",)
    # Programs name themselves, in usages and in messages before they know their verb.
    return tuple(re.sub("^(doveadm|director)(:?)$", r"PROGRAM\2", word) for word in words)


def observe(program: str, proxy: Proxy, plain_file: Path) -> Iterator[Observation]:
    start = ["-c", str(proxy.dovecot.configuration_file)]
    for invocation in read_invocations():
        words = start + invocation.filled(proxy, plain_file)
        stdout, stderr, status = PROGRAMS[program](words, invocation.stdin)
        stdout = stdout.replace(str(proxy.dovecot.run).encode(), b"RUN")
        stdout = stdout.replace(proxy.ip.encode(), b"OWN")
        stdout = TIME.sub(b"YYYY-MM-DD HH:MM:SS", stdout)
        yield Observation(stdout, message_classes(stderr), status)


def started_proxy(lab: Lab, name: str, kind: DirectorKind) -> Proxy:
    ip = lab.address()
    settings = ProxySettings(
        kind=kind,
        director={**SETTINGS, "director_servers": ip},
        users=dict.fromkeys(["u1", "u2", "tagged", "Zoe@Example.COM"], "proxy=y"),
        protocols=(),
        is_ring_member=True,
    )
    proxy = Proxy(lab, name, ip, settings)
    proxy.start()
    return proxy


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        yield made


@pytest.fixture(scope="module")
def plain_file(lab: Lab) -> Path:
    file = lab.directory / "names"
    file.write_text("u1\nU2\n")
    return file


@pytest.fixture(scope="module")
def expected(lab: Lab, plain_file: Path) -> list[Observation]:
    """What the original client says of the original director."""
    proxy = started_proxy(lab, "proxy0", DirectorKind.REAL)
    return list(observe("doveadm", proxy, plain_file))


@pytest.mark.parametrize(
    ("name", "program", "kind"),
    [
        ("proxy1", "director", DirectorKind.REAL),
        ("proxy2", "doveadm", DirectorKind.STANDALONE),
        ("proxy3", "director", DirectorKind.STANDALONE),
    ],
)
def test_every_invocation_has_the_same_outcome(
    lab: Lab,
    plain_file: Path,
    expected: list[Observation],
    name: str,
    program: str,
    kind: DirectorKind,
) -> None:
    proxy = started_proxy(lab, name, kind)

    observed = list(observe(program, proxy, plain_file))
    differences = [
        f"{invocation.line}\n  expected {right}\n  got      {observation}"
        for invocation, right, observation in zip(
            read_invocations(), expected, observed, strict=True
        )
        if observation != right
        and ("map" not in invocation.words or observation.without_order() != right.without_order())
    ]

    assert not differences, "\n".join(differences)
