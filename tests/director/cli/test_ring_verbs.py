"""ring add, ring remove and ring status against a scripted director (captures 13 to 15)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.director.cli.conftest import Director
from tests.director.cli.outcome import Outcome
from tests.director.cli.scripted_server import HANDSHAKE, ScriptedServer


@pytest.mark.parametrize(
    ("words", "sent"),
    [
        (["add", "1.2.3.4"], b"DIRECTOR-ADD\t1.2.3.4"),
        (["add", "[fd00::1]", "9090"], b"DIRECTOR-ADD\tfd00::1\t9090"),
        (["add", "--port", "9090", "12"], b"DIRECTOR-ADD\t0.0.0.12\t9090"),
        (["remove", "1.2.3.4"], b"DIRECTOR-REMOVE\t1.2.3.4"),
        (["remove", "1.2.3.4", "1"], b"DIRECTOR-REMOVE\t1.2.3.4\t1"),
    ],
)
def test_success_is_silent(
    director: Director, tmp_path: Path, words: list[str], sent: bytes
) -> None:
    with ScriptedServer(tmp_path, {}) as server:
        outcome = director("-v", "ring", *words, "-a", str(server.path))

    assert (outcome, server.received) == (Outcome(0, "", ""), [HANDSHAKE, sent + b"\n"])


@pytest.mark.parametrize(
    ("verb", "reply", "outcome"),
    [
        ("add", b"xyz\n", Outcome(75, "", "Error: Failed: xyz\n")),
        ("add", b"NOTFOUND\n", Outcome(75, "", "Error: Failed: NOTFOUND\n")),
        ("remove", b"NOTFOUND\n", Outcome(68, "", "Error: Not found\n")),
        ("remove", b"xyz\n", Outcome(75, "", "Error: Failed: xyz\n")),
    ],
)
def test_a_refusal_has_doveadm_s_words_and_status(
    director: Director, tmp_path: Path, verb: str, reply: bytes, outcome: Outcome
) -> None:
    replies = {b"DIRECTOR-ADD": reply, b"DIRECTOR-REMOVE": reply}
    with ScriptedServer(tmp_path, replies) as server:
        assert director("ring", verb, "1.2.3.4", "-a", str(server.path)) == outcome


@pytest.mark.parametrize(
    "words", [["x"], ["localhost"], ["1.2.3.4", "0"], ["1.2.3.4", "70000"], ["1.2.3.4", "x"]]
)
def test_what_is_no_address_or_port_is_wrong_usage(
    director: Director, tmp_path: Path, words: list[str]
) -> None:
    with ScriptedServer(tmp_path, {}) as server:
        outcome = director("ring", "add", *words, "-a", str(server.path))

    assert outcome == Outcome(
        64, "", "director ring add [-a <director socket path>] <ip> [<port>]\n"
    )


def test_status_fills_up_short_lines_and_knows_three_times(
    director: Director, tmp_path: Path
) -> None:
    reply = (
        b"1.2.3.4\t9090\tleft\t1700000000\tsynced\t1\t10\t20\t30\t40\t1700000002\t0\n"
        b"1.2.3.5\t9090\tself\t0\tring syncing - last sync 5 secs ago\t33\n"
        b"1.2.3.6\t9090\t\tx\t\n"
        b"short\n\n"
    )
    with ScriptedServer(tmp_path, {b"DIRECTOR-LIST": reply}) as server:
        outcome = director("-f", "tab", "-h", "ring", "status", "-a", str(server.path))

    assert outcome == Outcome(
        0,
        "1.2.3.4\t9090\tleft\t2023-11-14 22:13:20\tsynced\t1\t10\t20\t30\t40\t"
        "2023-11-14 22:13:22\tnever\n"
        "1.2.3.5\t9090\tself\tnever\tring syncing - last sync 5 secs ago\t33\t-\t-\t-\t-\t-\t-\n"
        "1.2.3.6\t9090\t\tx\t\t-\t-\t-\t-\t-\t-\t-\n"
        "short\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-\t-\n",
        "",
    )


@pytest.mark.parametrize("words", [["add", "1.2.3.4"], ["remove", "1.2.3.4"], ["status"]])
def test_no_reply_at_all_is_an_error(director: Director, tmp_path: Path, words: list[str]) -> None:
    names = (b"DIRECTOR-ADD", b"DIRECTOR-REMOVE", b"DIRECTOR-LIST")
    with ScriptedServer(tmp_path, dict.fromkeys(names, b"")) as server:
        outcome = director("-h", "ring", *words, "-a", str(server.path))

    assert outcome == Outcome(75, "", f"Error: {server.path} unexpectedly disconnected\n")
