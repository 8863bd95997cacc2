"""status, add, update, up, down, remove, flush and dump against a scripted director.

What is sent and said was recorded from doveadm 2.3 (captures 12 to 14).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.director.cli.conftest import Director
from tests.director.cli.outcome import Outcome
from tests.director.cli.scripted_server import HANDSHAKE, ScriptedServer

HOSTS = (
    b"1.2.3.4\t100\t5\tt1\tU\t0\n"
    b"short\tline\n"
    b"5.6.7.8\t1\t2\t\tD\t1700000000\n"
    b"9.9.9.9\t7\t0\ta\x01tb\tU\tzz\textra\n"
    b"\n"
)


def test_status_skips_lines_that_are_too_short(director: Director, tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {b"HOST-LIST": HOSTS}) as server:
        outcome = director("-f", "flow", "status", "-a", str(server.path))

    assert outcome == Outcome(
        0,
        "mail server ip=1.2.3.4 tag=t1 vhosts=100 state=up state changed=- users=5\n"
        "mail server ip=5.6.7.8 tag= vhosts=1 state=down state changed=2023-11-14 22:13:20 "
        "users=2\n"
        "mail server ip=9.9.9.9 tag=a\tb vhosts=7 state=up state changed=- users=0\n",
        "",
    )


def test_status_counts_sessions_when_asked_to(director: Director, tmp_path: Path) -> None:
    replies = {b"HOST-LIST": HOSTS, b"SESSION-COUNTS": b"1.2.3.4\t9\t5\n8.8.8.8\t2\t1\n\n"}
    with ScriptedServer(tmp_path, replies) as server:
        outcome = director("-f", "tab", "status", "--sessions", "-a", str(server.path))

    assert [line.split("\t")[-1] for line in outcome.stdout.splitlines()] == [
        "sessions",
        "9",
        "0",
        "0",
    ]
    assert (outcome.status, outcome.stderr) == (
        0,
        "Warning: 2 sessions to 8.8.8.8, which is no mail server\n",
    )


def test_status_says_why_sessions_cannot_be_counted(director: Director, tmp_path: Path) -> None:
    replies = {b"HOST-LIST": HOSTS, b"SESSION-COUNTS": b"ERROR\tno anvil\n\n"}
    with ScriptedServer(tmp_path, replies) as server:
        outcome = director("-f", "flow", "status", "--sessions", "-a", str(server.path))

    assert outcome.stdout.count("sessions=-\n") == 3
    assert (outcome.status, outcome.stderr) == (
        0,
        "Warning: sessions cannot be counted: no anvil\n",
    )


@pytest.mark.parametrize("verb", ["status", "dump"])
def test_rows_before_a_lost_connection_are_shown(
    director: Director, tmp_path: Path, verb: str
) -> None:
    replies = {b"HOST-LIST": b"1.2.3.4\t100\t5\t\tU\t0\nhalf a"}
    with ScriptedServer(tmp_path, replies, is_closing=True) as server:
        outcome = director(verb, "-a", str(server.path))

    assert (outcome.status, outcome.stdout.count("1.2.3.4")) == (75, 1)
    assert outcome.stderr == f"Error: {server.path} unexpectedly disconnected\n"


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["add", "1.2.3.4"], b"HOST-SET\t1.2.3.4"),
        (["add", "1.2.3.4", "5"], b"HOST-SET\t1.2.3.4\t5"),
        (["add", "1.2.3.4@tt", "005"], b"HOST-SET\t1.2.3.4@tt\t5"),
        (["add", "1.2.3.4@"], b"HOST-SET\t1.2.3.4"),
        (["add", "-t", "tt", "1.2.3.4"], b"HOST-SET\t1.2.3.4@tt"),
        (["add", "-t", "", "1.2.3.4@x"], b"HOST-SET\t1.2.3.4@x"),
        (["add", "--tag", "a\tb", "0x01020304"], b"HOST-SET\t1.2.3.4@a\x01tb"),
        (["add", "12@x"], b"HOST-SET\t0.0.0.12@x"),
        (["add", "FD00::0:5"], b"HOST-SET\tfd00::5"),
        (["update", "1.2.3.4@q", "7"], b"HOST-UPDATE\t1.2.3.4@q\t7"),
        (["up", "1.2.3.4"], b"HOST-UP\t1.2.3.4"),
        (["down", "12"], b"HOST-DOWN\t0.0.0.12"),
        (["remove", "[fd00::5]"], b"HOST-REMOVE\tfd00::5"),
        (["flush", "1.2.3.4"], b"HOST-RESET-USERS\t1.2.3.4"),
        (["flush", "--max-parallel", "7", "1.2.3.4"], b"HOST-RESET-USERS\t1.2.3.4\t7"),
        (["flush", "--max-parallel", "x", "1.2.3.4"], b"HOST-RESET-USERS\t1.2.3.4"),
        (["flush", "--max-parallel", "0", "all"], b"HOST-RESET-USERS"),
        (["flush", "--max-parallel", "-5", "all"], b"HOST-RESET-USERS"),
        (["flush", "--max-parallel", "7", "all"], b"HOST-RESET-USERS\t\t7"),
        (["flush", "-F", "--max-parallel", "7", "1.2.3.4"], b"HOST-FLUSH\t1.2.3.4"),
        (["flush", "--force-flush", "all"], b"HOST-FLUSH"),
        (["flush", "-f", "all"], b"HOST-FLUSH"),
    ],
)
def test_a_verb_sends_one_line_and_is_silent_when_it_worked(
    director: Director, tmp_path: Path, words: list[str], sent: bytes
) -> None:
    with ScriptedServer(tmp_path, {}) as server:
        outcome = director(*words, "-a", str(server.path))

    assert (outcome, server.received) == (Outcome(0, "", ""), [HANDSHAKE, sent + b"\n"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["add", "1.2.3.4"], "Info: 1.2.3.4: OK"),
        (["update", "1.2.3.4", "5"], "Info: 1.2.3.4: OK"),
        (["up", "1.2.3.4"], "Info: 1.2.3.4: up"),
        (["down", "1.2.3.4"], "Info: 1.2.3.4: down"),
        (["remove", "1.2.3.4"], "Info: 1.2.3.4: removed"),
        (["flush", "1.2.3.4"], "Info: 1.2.3.4: flushed"),
        (["flush", "all"], "Info: flushed"),
    ],
)
def test_success_is_told_when_asked_to(
    director: Director, tmp_path: Path, words: list[str], message: str
) -> None:
    with ScriptedServer(tmp_path, {}) as server:
        outcome = director("-v", *words, "-a", str(server.path))

    assert outcome == Outcome(0, "", message + "\n")


@pytest.mark.parametrize(
    ("words", "reply", "status", "message"),
    [
        (["add", "1.2.3.4"], b"NOTFOUND", 75, "Error: 1.2.3.4: doesn't exist"),
        (["add", "1.2.3.4"], b"Ring sync timed out", 75, "Error: 1.2.3.4: Ring sync timed out"),
        (["update", "1.2.3.4", "5"], b"NOTFOUND", 75, "Error: 1.2.3.4: doesn't exist"),
        (["update", "1.2.3.4", "5"], b"xyz", 75, "Error: 1.2.3.4: xyz"),
        (["up", "1.2.3.4"], b"NOTFOUND", 68, "Error: 1.2.3.4: doesn't exist"),
        (["down", "1.2.3.4"], b"xyz", 75, "Error: 1.2.3.4: xyz"),
        (["remove", "1.2.3.4"], b"NOTFOUND", 68, "Error: 1.2.3.4: doesn't exist"),
        (["flush", "1.2.3.4"], b"NOTFOUND", 68, "Warning: 1.2.3.4: doesn't exist"),
        (["flush", "1.2.3.4"], b"something", 75, "Warning: 1.2.3.4: something"),
        (["flush", "all"], b"something", 75, "Error: failed: something"),
    ],
)
def test_a_refusal_has_doveadm_s_words_and_status(
    director: Director, tmp_path: Path, words: list[str], reply: bytes, status: int, message: str
) -> None:
    commands = (b"HOST-SET", b"HOST-UPDATE", b"HOST-UP", b"HOST-DOWN", b"HOST-REMOVE")
    replies = dict.fromkeys((*commands, b"HOST-RESET-USERS"), reply + b"\n")
    with ScriptedServer(tmp_path, replies) as server:
        outcome = director(*words, "-a", str(server.path))

    assert outcome == Outcome(status, "", message + "\n")


@pytest.mark.parametrize(
    "words",
    [["add", "1.2.3.4"], ["update", "1.2.3.4", "5"], ["up", "1.2.3.4"], ["flush", "1.2.3.4"]],
)
def test_no_reply_at_all_is_an_error(director: Director, tmp_path: Path, words: list[str]) -> None:
    names = (b"HOST-SET", b"HOST-UPDATE", b"HOST-UP", b"HOST-RESET-USERS")
    with ScriptedServer(tmp_path, dict.fromkeys(names, b"")) as server:
        outcome = director(*words, "-a", str(server.path))

    assert outcome == Outcome(75, "", f"Error: {server.path} unexpectedly disconnected\n")


@pytest.mark.parametrize(
    ("words", "stderr"),
    [
        (["add", "12"], "Error: Invalid host '12'\ndirector add "),
        (["update", "12", "5"], "Error: Invalid host '12'\ndirector update "),
        (["add", "1.2.3.4", "x"], "director add "),
        (["add", "1.2.3.4", "+5"], "director add "),
        (["add", "1.2.3.4", "4294967296"], "director add "),
        (["update", "1.2.3.4", "5x"], "director update "),
    ],
)
def test_wrong_values_show_the_usage_after_connecting(
    director: Director, tmp_path: Path, words: list[str], stderr: str
) -> None:
    with ScriptedServer(tmp_path, {}) as server:
        outcome = director(*words, "-a", str(server.path))

    assert (outcome.status, outcome.stderr.startswith(stderr)) == (64, True)
    assert server.received == [HANDSHAKE]


@pytest.mark.parametrize("verb", ["add", "up", "flush"])
def test_a_host_that_does_not_exist_is_an_error(
    director: Director, tmp_path: Path, verb: str
) -> None:
    with ScriptedServer(tmp_path, {}) as server:
        outcome = director(verb, "", "-a", str(server.path))

    assert outcome == Outcome(75, "", "Error: gethostname() failed: Name or service not known\n")


def test_dump_prints_commands(director: Director, tmp_path: Path) -> None:
    replies = {b"HOST-LIST": HOSTS, b"HOST-LIST-REMOVED": b"9.9.9.8\n\n"}
    with ScriptedServer(tmp_path, replies) as server:
        default = director("-o", f"base_dir={tmp_path}", "dump")
        named = director("dump", "-a", str(server.path), "--program", "director")
        table = director("-f", "tab", "dump", "-a", str(server.path))

    assert default.stdout == (
        "doveadm director add 1.2.3.4@t1 100\n"
        "doveadm director add short line\n"
        "doveadm director add 5.6.7.8 1\n"
        "doveadm director add 9.9.9.9@a\tb 7\n"
        "doveadm director remove 9.9.9.8 \n"
    )
    assert named.stdout.splitlines()[0] == f"director add -a {server.path} 1.2.3.4@t1 100"
    assert table.stdout.splitlines()[-1] == f"remove\t{server.path}\t9.9.9.8\t"
