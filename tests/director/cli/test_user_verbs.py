"""status USER, map, move and kick against a scripted director (captures 12 to 14)."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from tests.director.cli.conftest import Director
from tests.director.cli.outcome import Outcome
from tests.director.cli.scripted_server import HANDSHAKE, ScriptedServer

U1, U2, EMPTY = 3833023709, 655104776, 3558706393
LIST = b"655104776\t1700000000\t1.2.3.4\n5\t0\t1.2.3.5\n3833023709\t1\t1.2.3.4\textra\n\n"


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["u1"], b"USER-LOOKUP\tu1\t"),
        (["u1", "tagX"], b"USER-LOOKUP\tu1\ttagX"),
        (["--tag", "tagX", "u1"], b"USER-LOOKUP\tu1\ttagX"),
        (["u1", "-t", "tagX"], b"USER-LOOKUP\tu1\ttagX"),
        ([""], b"USER-LOOKUP\t\t"),
        (["12345"], b"USER-LOOKUP\t12345\t"),
        (["a\tb", "c\td"], b"USER-LOOKUP\ta\x01tb\tc\x01td"),
    ],
)
def test_a_user_is_looked_up_by_name_and_tag(
    director: Director, tmp_path: Path, words: list[str], sent: bytes
) -> None:
    reply = b"1.2.3.4\t1700000000\t5.6.7.8\t\n"
    with ScriptedServer(tmp_path, {b"USER-LOOKUP": reply}) as server:
        outcome = director("status", *words, "-a", str(server.path))

    assert outcome == Outcome(
        0,
        "Current: 1.2.3.4 (expires 2023-11-14 22:13:20)\nHashed: 5.6.7.8\nInitial config: \n",
        "",
    )
    assert server.received == [HANDSHAKE, sent + b"\n"]


def test_an_unknown_user_is_nowhere(director: Director, tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {b"USER-LOOKUP": b"\t0\t1.2.3.4\t1.2.3.5\n"}) as server:
        text = director("status", "u1", "-a", str(server.path))
        json = director("-f", "json", "status", "u1", "-a", str(server.path))

    assert text.stdout == "Current: n/a (expires -1)\nHashed: 1.2.3.4\nInitial config: 1.2.3.5\n"
    assert json.stdout == (
        '[{"status":"n/a","expires":"-1","hashed":"1.2.3.4","initial-config":"1.2.3.5"}]'
    )


@pytest.mark.parametrize(
    "reply", [b"x", b"", b"TRYAGAIN", b"1.2.3.4\t5\t", b"1.2.3.4\tx\t\t", b"1.2.3.4\t5\t\t\textra"]
)
def test_a_strange_lookup_reply_is_a_protocol_error(
    director: Director, tmp_path: Path, reply: bytes
) -> None:
    with ScriptedServer(tmp_path, {b"USER-LOOKUP": reply + b"\n"}) as server:
        outcome = director("status", "u1", "-a", str(server.path))

    assert outcome == Outcome(76, "", "Error: Invalid reply from director\n")


def test_verbosity_tells_of_a_move_that_is_under_way(director: Director, tmp_path: Path) -> None:
    replies = {b"USER-LOOKUP": b"\t0\t\t\n", b"USER-STATUS": b"waiting-for-everyone\tweak\n"}
    with ScriptedServer(tmp_path, replies) as server:
        outcome = director("-v", "status", "u1", "gold", "-a", str(server.path))

    assert outcome.stderr == "Info: u1: move waiting-for-everyone, weak\n"
    assert server.received[-1] == b"USER-STATUS\tu1\tgold\n"


@pytest.mark.parametrize("reply", [b"", b"none\t\n", b"ERROR\tunknown command\n"])
def test_verbosity_is_silent_about_users_at_rest_and_towards_dovecot(
    director: Director, tmp_path: Path, reply: bytes
) -> None:
    replies = {b"USER-LOOKUP": b"\t0\t\t\n", b"USER-STATUS": reply}
    with ScriptedServer(tmp_path, replies) as server:
        outcome = director("-v", "status", "u1", "-a", str(server.path))

    assert (outcome.status, outcome.stderr) == (0, "")


def test_map_gives_names_to_hashes(director: Director, tmp_path: Path) -> None:
    """Last listed first; blank lines, blanks and carriage returns as in the original."""
    names = tmp_path / "names"
    names.write_bytes(b"u1\nU1\r\nu2\n\n u2 \nlast")
    with ScriptedServer(tmp_path, {b"USER-LIST": LIST}) as server:
        outcome = director("-f", "tab", "map", "-f", str(names), "-a", str(server.path))

    assert outcome == Outcome(
        0,
        "user\thash\tmail server ip\texpire time\n"
        "u2\t655104776\t1.2.3.4\t2023-11-14 22:13:20\n"
        "<unknown>\t5\t1.2.3.5\t1970-01-01 00:00:00\n"
        "U1\t3833023709\t1.2.3.4\t1970-01-01 00:00:01\n"
        "u1\t3833023709\t1.2.3.4\t1970-01-01 00:00:01\n",
        "",
    )


def test_map_reads_names_from_stdin(
    director: Director, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"u1\nU1\nu2\n")))

    with ScriptedServer(tmp_path, {}) as server:
        outcome = director("-f", "flow", "map", "-h", "-f", "-", str(U1), "-a", str(server.path))

    assert (outcome.stdout, server.received) == ("U1\nu1\n", [HANDSHAKE])


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        ([], b"USER-LIST"),
        (["1.2.3.4"], b"USER-LIST\t1.2.3.4"),
        (["--host", "fd00:0::5"], b"USER-LIST\tfd00::5"),
    ],
)
def test_map_asks_for_all_users_or_those_of_a_host(
    director: Director, tmp_path: Path, words: list[str], sent: bytes
) -> None:
    with ScriptedServer(tmp_path, {b"USER-LIST": b"\n"}) as server:
        outcome = director("map", "-f", "/dev/null", *words, "-a", str(server.path))

    assert outcome.stdout == "user                       hash mail server ip expire time\n"
    assert server.received == [HANDSHAKE, sent + b"\n"]


def test_map_goes_on_after_a_strange_line(director: Director, tmp_path: Path) -> None:
    reply = b"abc\tdef\n5\t1\tnoip\n5\tx\t1.2.3.4\n4294967296\t1\t1.2.3.4\n6\t-1\t1.2.3.4\n\n"
    with ScriptedServer(tmp_path, {b"USER-LIST": reply}) as server:
        outcome = director("-f", "flow", "map", "-f", "/dev/null", "-a", str(server.path))

    assert outcome == Outcome(
        76,
        "user=<unknown> hash=6 mail server ip=1.2.3.4 expire time=1969-12-31 23:59:59\n",
        "Error: Invalid USER-LIST reply: abc\tdef\n"
        "Error: Invalid USER-LIST reply: 5\t1\tnoip\n"
        "Error: Invalid USER-LIST reply: 5\tx\t1.2.3.4\n"
        "Error: Invalid USER-LIST reply: 4294967296\t1\t1.2.3.4\n",
    )


def test_map_without_a_user_database_shows_hashes(director: Director, tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {b"USER-LIST": LIST}) as server:
        outcome = director("-o", f"base_dir={tmp_path}", "-h", "-f", "flow", "map")

    assert (outcome.status, outcome.stdout.count("<unknown>")) == (75, 3)
    assert outcome.stderr.splitlines() == [
        f"Error: auth-master: userdb list: {tmp_path}/auth-userdb: No such file or directory",
        "Error: user listing failed",
    ]
    assert server.received[-1] == b"USER-LIST\n"


@pytest.mark.parametrize(
    ("name", "user_hash"), [("u1", U1), ("U1", U1), ("", EMPTY), ("u1@foo", 1447321618)]
)
def test_map_hashes_a_name_without_a_director(
    director: Director, name: str, user_hash: int
) -> None:
    outcome = director("-f", "flow", "map", "-u", "-a", "/nonexistent/x", name)

    assert outcome == Outcome(0, f"{user_hash}\n", "")


def test_the_hash_follows_the_configuration(director: Director) -> None:
    outcome = director(
        "-f", "flow", "-o", "director_username_hash=%Ln", "map", "-u", "U1@example.com"
    )

    assert outcome.stdout == f"{U1}\n"


@pytest.mark.parametrize("digits", ["abc", "4294967296", "-1"])
def test_map_refuses_what_is_no_hash(director: Director, tmp_path: Path, digits: str) -> None:
    with ScriptedServer(tmp_path, {}) as server:
        outcome = director("map", "-hf/dev/null", "-a", str(server.path), "--", digits)

    assert outcome == Outcome(75, "", f"Fatal: Invalid username hash: {digits}\n")


def test_move_hashes_even_numbers(director: Director, tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {}) as server:
        outcome = director("-v", "move", "3833023709", "1.2.3.4", "-a", str(server.path))

    assert outcome == Outcome(0, "", "Info: User hash 2606635019 moved to 1.2.3.4\n")
    assert server.received[-1] == b"USER-MOVE\t2606635019\t1.2.3.4\n"


@pytest.mark.parametrize(
    ("reply", "status", "message"),
    [
        (b"NOTFOUND\n", 68, "Host '1.2.3.4' doesn't exist"),
        (
            b"TRYAGAIN\n",
            75,
            "User is already being moved, wait a while for it to be finished",
        ),
        (b"xyz\n", 75, "failed: xyz"),
    ],
)
def test_a_refused_move_has_doveadm_s_words_and_status(
    director: Director, tmp_path: Path, reply: bytes, status: int, message: str
) -> None:
    with ScriptedServer(tmp_path, {b"USER-MOVE": reply}) as server:
        outcome = director("move", "u1", "1.2.3.4", "-a", str(server.path))

    assert outcome == Outcome(status, "", f"Error: {message}\n")


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["u1"], b"USER-KICK\tu1"),
        (["a\tb"], b"USER-KICK\ta\x01tb"),
        (["-f", "user_x", "a\tb"], b"USER-KICK-ALT\tuser_x\ta\x01tb"),
        (["--hash", "77"], b"USER-KICK-HASH\t77"),
    ],
)
def test_kick_names_the_user_as_asked(
    director: Director, tmp_path: Path, words: list[str], sent: bytes
) -> None:
    with ScriptedServer(tmp_path, {}) as server:
        outcome = director("-v", "kick", *words, "-a", str(server.path))

    assert outcome == Outcome(0, "", f"Info: User {words[-1]} kicked\n")
    assert server.received[-1] == sent + b"\n"


def test_a_refused_kick_is_an_error(director: Director, tmp_path: Path) -> None:
    with ScriptedServer(tmp_path, {b"USER-KICK": b"TRYAGAIN\n"}) as server:
        refused = director("kick", "u1", "-a", str(server.path))
        wrong = director("kick", "--hash", "u1", "-a", str(server.path))

    assert refused == Outcome(75, "", "Error: failed: TRYAGAIN\n")
    assert wrong.status == 64


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["move", "u1", "1.2.3.4"], b"USER-MOVE"),
        (["kick", "u1"], b"USER-KICK"),
        (["status", "u1"], b"USER-LOOKUP"),
        (["map", "-f", "/dev/null"], b"USER-LIST"),
    ],
)
def test_no_reply_at_all_is_an_error(
    director: Director, tmp_path: Path, words: list[str], name: bytes
) -> None:
    with ScriptedServer(tmp_path, {name: b""}) as server:
        outcome = director("-h", *words, "-a", str(server.path))

    assert outcome == Outcome(75, "", f"Error: {server.path} unexpectedly disconnected\n")
