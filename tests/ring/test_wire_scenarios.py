"""Every recorded wire scenario and malformed input of the real director, replayed against our node.

`vectors/wire.json` holds what a real Dovecot 2.3 director was seen to answer. Where the step says
who sends what and what the others hear, it is replayed as it stands; the rest is spelled out below.
"""

from __future__ import annotations

import json
import re
from ipaddress import ip_address
from pathlib import Path

import pytest

from ring.commands import Answer, UserMove
from ring.effects import CommandAnswered, Kick, KickHash, RunFlushProgram
from ring.hosts import MailHost
from tests.ring.rig import HOSTS, NOW, Peer, Rig, director, settings, wide_ring

VECTORS = json.loads((Path(__file__).parent / "vectors" / "wire.json").read_text())
SCENARIOS = {scenario["name"]: scenario for scenario in VECTORS["wire_scenarios"]}
DIALOGUES = [
    "USER flow",
    "host conflict",
    "USER-WEAK",
    "HOST dedup and sync",
    "overlapping HOST updates before sync",
    "foreign SYNC",
    "DIRECTOR",
]


def pattern(expected: str) -> str:
    """Return the regular expression of a recorded line: `...` and `<any>` stand for anything."""
    text = re.escape(expected).replace(r"\.\.\.", ".*").replace("\\\t", "\t")
    text = re.sub(r"<[^>]*>", r"\\d+", text)
    return text.replace("\\ .*", ".*").replace(".*\\ ", ".*").replace("\t.*\\ ", "\t.*")


def assert_heard(rig: Rig, expected: list[str], peer: Peer, where: str) -> None:
    """The peer heard exactly the recorded lines, PINGs aside."""
    got = peer.heard()
    wanted = [line for line in expected if line and not line.startswith("PING")]
    wanted = [rig.unfill(line) for line in wanted]

    assert len(wanted) == len(got), f"{where}: expected {wanted}, got {got}"
    for line, text in zip(wanted, got, strict=True):
        assert re.fullmatch(pattern(line), text), f"{where}: expected {line!r}, got {text!r}"


def lines_of(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize("name", DIALOGUES)
def test_node_answers_as_the_real_director_did(name: str) -> None:
    rig = Rig()
    left, right = rig.ring()
    timestamp = NOW + 10_000  # the T of the recordings; only its order matters
    for number, step in enumerate(SCENARIOS[name]["steps"]):
        if "send" not in step:
            continue
        where = f"{name}, step {number}"
        sender = left if step["from"] == "L" else right
        rig.pass_time(step.get("delay", 0))
        text = re.sub(r"\bT(\+\d+)?\b", lambda m: str(timestamp + int(m[1] or 0)), step["send"])
        for _ in range(step.get("repeat", 1)):
            sender.say(text)
        for key, peer in (("X", right), ("L", left)):
            if key not in step:
                continue
            expected = lines_of(step[key])
            if expected == ["one own HOST line per host"]:
                heard = peer.heard()

                assert [h for h in heard if h.startswith("HOST\t127.0.1.2")] == heard
                assert len(HOSTS) == len(heard)
                continue
            expected = [
                re.sub(r"\bT(\+\d+)?\b", lambda m: str(timestamp + int(m[1] or 0)), line)
                for line in expected
            ]
            assert_heard(rig, expected, peer, where)
        if name == "DIRECTOR" and not rig.node.is_synced:
            rig.sync(left, right)
        left.heard()
        right.heard()


def test_outgoing_handshake_of_a_fresh_director() -> None:
    steps = SCENARIOS["outgoing handshake of a fresh director"]["steps"]
    rig = Rig()
    right = rig.accept_dial()

    assert_heard(rig, steps[0]["R_sends_to_X"], right, "greeting")
    right.say(*steps[1]["X_sends"])
    assert_heard(rig, steps[2]["R_sends_to_X"], right, "hosts")
    right.say(*steps[3]["X_sends"])
    rig.pass_time(3.2)
    heard = right.heard(pings=True)

    assert ["PING"] * len(heard) == [line.split("\t")[0] for line in heard]
    assert len(heard) == 1  # the next one would come when this one is answered


def test_incoming_handshake_completes_the_ring() -> None:
    steps = SCENARIOS["incoming handshake completes the ring"]["steps"]
    rig = Rig()
    right = rig.complete_right()
    right.heard()
    left = rig.dial_in("127.0.1.1")
    left.say(*steps[0]["L_sends"])

    assert_heard(rig, steps[1]["R_sends_to_X"], right, "right")
    assert_heard(rig, steps[2]["R_sends_to_L"], left, "left")
    assert not rig.node.is_synced
    left.say(*steps[3]["L_sends"])

    assert rig.node.is_synced


def test_joining_a_completed_ring_replaces_hosts() -> None:
    steps = SCENARIOS["joining a completed ring replaces hosts"]["steps"]
    rig = Rig()
    right = rig.complete_right()
    right.heard()
    rig.dial_in("127.0.1.1").say(*steps[0]["L_sends"])
    heard = right.heard()

    for line, text in zip(steps[1]["R_sends_to_X"][:3], heard[:3], strict=True):
        assert line == text
    assert {"DIRECTOR", "SYNC"} == {line.split("\t")[0] for line in heard[3:]}


def pair() -> tuple[Rig, Peer, Peer]:
    """A ring of two: left and right are two connections of the same peer."""
    rig = Rig(settings(others=("127.0.1.1",)))
    right = rig.complete_right()
    left = rig.dial_in("127.0.1.1")
    left.shake()
    rig.sync(left, right)
    return rig, left, right


def test_weak_user_goes_out_on_the_other_link_of_a_pair() -> None:
    rig, left, right = pair()
    for number, step in enumerate(SCENARIOS["USER-WEAK in a two-node ring"]["steps"]):
        if "send" not in step:
            continue
        sender = left if step["from"].startswith("left") else right
        sender.say(step["send"])
        for key, peer in (("left", left), ("right", right)):
            if key in step:
                assert_heard(rig, lines_of(step[key]), peer, f"step {number}")
        left.heard()
        right.heard()


def test_own_sync_with_another_hosts_hash_is_sent_again_and_a_stale_one_ignored() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("HOST\t127.0.1.1\t19001\t3\t10.1.0.2\t50\t\tU0\t")
    sync = next(line for line in right.heard() if line.startswith("SYNC"))
    left.say(sync.replace("HH", "123"))

    assert [sync] == right.heard()
    sequence = sync.split("\t")[3]
    left.say(sync.replace(f"\t{sequence}\t", "\t1\t", 1))
    assert [] == right.heard()
    assert not rig.node.is_synced
    left.say(sync)
    assert [] == right.heard()
    assert rig.node.is_synced


def test_unsynced_node_sends_its_sync_again_every_five_seconds() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("HOST\t127.0.1.1\t19001\t3\t10.1.0.2\t50\t\tU0\t")
    sync = next(line for line in right.heard() if line.startswith("SYNC"))
    rig.pass_time(4.9)
    assert [] == right.heard()
    rig.pass_time(0.2)

    assert [sync] == right.heard()


def test_ring_minimum_version_rules_the_fields_of_a_host() -> None:
    step = SCENARIOS["ring minimum version"]["steps"][1]
    rig = Rig()
    left, right = rig.ring()
    left.say("HOST\t127.0.1.1\t19001\t2\t10.1.0.3\t33\t\tU0\t")
    sync = next(line for line in right.heard() if line.startswith("SYNC"))
    left.say(sync.replace("\t9\tNOW", "\t5\tNOW"))
    left.say(step["send"])

    assert_heard(rig, step["X"], right, "ring minimum")


def test_removed_director_is_left_and_refused() -> None:
    steps = SCENARIOS["DIRECTOR-REMOVE"]["steps"]
    rig = Rig()
    left, right = rig.ring()
    left.say("DIRECTOR\t127.0.1.9\t19001")
    right.heard()
    left.say(steps[0]["send"])
    assert_heard(rig, steps[0]["X"], right, "other director")
    left.say(steps[1]["send"])
    assert [] == left.heard() + right.heard()
    left.say(steps[2]["send"])

    assert ["DIRECTOR-REMOVE\t127.0.1.3\t19001", "QUIT\tRemoving from ring"] == right.heard()
    assert right.is_closed
    assert director("127.0.1.1") == rig.dialled[-1].address
    assert rig.node.link_accepted(ip_address("127.0.1.3"), rig.now) is None


def host(rig: Rig, ip: str) -> MailHost:
    found = rig.node.hosts.get(ip_address(ip))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "name", ["move started elsewhere", "move to the host the user already has"]
)
def test_move_started_elsewhere(name: str) -> None:
    rig = Rig()
    left, right = rig.ring()
    first = "10.1.0.1" if name == "move started elsewhere" else "10.1.0.2"
    left.say(f"USER\t700\t{first}\tNOW")
    right.heard()
    for number, step in enumerate(SCENARIOS[name]["steps"]):
        if "send" not in step:
            continue
        rig.pass_time(step.get("delay", 1 if step["send"].startswith("USER\t") else 0))
        left.heard()
        right.heard()
        (left if step["from"] == "L" else right).say(step["send"])
        for key, peer in (("X", right), ("L", left)):
            if key in step:
                assert_heard(rig, lines_of(step[key]), peer, f"{name}, step {number}")


def test_move_started_here_runs_the_flush_program_once_everybody_has_killed() -> None:
    steps = SCENARIOS["move started by the administrator of R, with flush script"]["steps"]
    steps = [step for step in steps if "admin" in step]
    rig = Rig(settings(has_flush_program=True))
    left, right = rig.ring()
    left.say("USER\t701\t10.1.0.1\tNOW")
    right.heard()
    rig.node.command("one", UserMove(user_hash=701, ip=ip_address("10.1.0.3")), rig.now)
    rig.run()

    assert CommandAnswered(token="one", answer=Answer.OK) in rig.effects
    assert_heard(rig, steps[0]["X"], right, "right")
    assert_heard(rig, lines_of(steps[0]["L"]), left, "left")
    rig.node.command("two", UserMove(user_hash=701, ip=ip_address("10.1.0.2")), rig.now)
    rig.run()
    assert CommandAnswered(token="two", answer=Answer.TRY_AGAIN) in rig.effects
    left.say("USER-KILLED\t701")

    assert_heard(rig, ["USER-KILLED-EVERYWHERE\t127.0.1.2\t19001\t<seq>\t701"], right, "right")
    assert_heard(rig, ["USER-KILLED-EVERYWHERE\t127.0.1.2\t19001\t<seq>\t701"], left, "left")
    programs = [effect for effect in rig.effects if isinstance(effect, RunFlushProgram)]
    assert [
        (701, "10.1.0.1", "10.1.0.3", False, 100),
    ] == [
        (p.user_hash, str(p.old_ip), str(p.new_ip), p.old_is_down, p.old_weight) for p in programs
    ]
    assert rig.node.lookup("login", 701, b"", rig.now) is None
    rig.node.flush_finished(programs[0].flush_id, True, rig.now)
    rig.run()

    assert host(rig, "10.1.0.3") is rig.node.lookup("again", 701, b"", rig.now)
    assert Kick(kick_id=1, what=KickHash(user_hash=701, except_ip=None)) in rig.effects


# --- placement: R = 127.0.1.5, L = 127.0.1.3 or .1, X = 127.0.1.9 -----------------------------


def test_connect_is_obeyed_only_if_it_names_a_nearer_director() -> None:
    rig, left, right = wide_ring("127.0.1.3")
    right.say("CONNECT\t127.0.1.7\t19001")

    assert ["QUIT\tCONNECT requested"] == right.heard()
    assert right.is_closed
    assert director("127.0.1.7") == rig.dialled[-1].address
    seventh = rig.complete_right()
    seventh.heard()
    seventh.say("CONNECT\t127.0.1.9\t19001")
    assert not seventh.is_closed
    rig.pass_time(1.1)
    assert ["QUIT\tWrong CONNECT requested"] == [q for q in seventh.heard() if "QUIT" in q]
    assert seventh.is_closed
    assert director("127.0.1.7") == rig.dialled[-1].address
    seventh = rig.complete_right()
    left.say("CONNECT\t127.0.1.6\t19001")
    assert seventh.is_closed
    assert director("127.0.1.6") == rig.dialled[-1].address
    rig.refuse_dial()
    assert director("127.0.1.7") == rig.dialled[-1].address
    names = [str(entry.address) for entry in rig.node.directors_status(rig.now)]
    assert "127.0.1.6:19001" in names


def test_better_left_waits_until_the_old_one_has_gone() -> None:
    rig, old, right = wide_ring("127.0.1.1")
    new = rig.dial_in("127.0.1.3")
    new.shake()

    assert ["CONNECT\t127.0.1.3\t19001", "DIRECTOR\t127.0.1.3\t19001"] == old.heard()
    assert "DONE" == new.heard()[-1]
    assert ["DIRECTOR\t127.0.1.3\t19001"] == right.heard()
    old.say("QUIT\tCONNECT requested")

    assert old.is_closed
    assert "PING" in new.heard(pings=True)[0]
    assert ["SYNC"] == [line.split("\t")[0] for line in right.heard()]


def test_better_left_that_stays_silent_times_out_after_40_seconds() -> None:
    rig, old, _ = wide_ring("127.0.1.1")
    new = rig.dial_in("127.0.1.3")
    new.shake()
    for _ in range(39):
        rig.pass_time(1.0)
        old.say("PONG", "PING")
    assert not new.is_closed
    rig.pass_time(1.1)

    assert "QUIT\tHandshake timeout" == new.heard()[-1]


def test_worse_left_is_sent_to_the_left_that_proves_to_live() -> None:
    rig, left, _ = wide_ring("127.0.1.3")
    new = rig.dial_in("127.0.1.9")
    new.greet()

    assert ["PING"] == [line.split("\t")[0] for line in left.heard(pings=True)]
    left.say("PONG")
    assert "CONNECT\t127.0.1.3\t19001" == new.heard()[-1]
    new.say("FOO")  # its input is discarded meanwhile
    assert not new.is_closed
    rig.pass_time(10.1)

    assert "QUIT\tTimeout waiting for disconnect after CONNECT" == new.heard()[-1]
    assert new.is_closed


def test_left_that_connects_again_replaces_its_old_connection() -> None:
    rig, old, _ = wide_ring("127.0.1.3")
    new = rig.dial_in("127.0.1.3")
    new.greet()

    assert ["QUIT\tReplacing with new incoming connection"] == old.heard()
    assert old.is_closed
    new.say("DONE")
    roles = {entry.role: entry for entry in rig.node.directors_status(rig.now)}
    assert director("127.0.1.3") == roles["left"].address


# --- hazards of the original that must not be ours ---------------------------------------------


def test_weak_user_from_a_third_connection_is_forwarded_on_both_links_of_a_pair() -> None:
    rig = Rig(settings("127.0.1.2", ("127.0.1.1", "127.0.1.3")))
    right = rig.complete_right()
    left = rig.dial_in("127.0.1.3")
    left.shake()
    rig.sync(left, right)
    third = rig.dial_in("127.0.1.1")
    third.greet()
    left.heard()
    weak = "USER-WEAK\t127.0.1.1\t19001\t1\t900\t10.1.0.2"
    third.say(weak)

    assert [weak] == left.heard()
    assert [weak] == right.heard()


def test_user_hash_zero_is_a_protocol_error() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("USER\t0\t10.1.0.2\tNOW")

    assert ["QUIT\tInvalid input: USER"] == left.heard()
    assert [] == [line for line in right.heard() if line.startswith("USER")]


def test_own_sync_before_the_left_is_established_is_ignored() -> None:
    rig = Rig()
    right = rig.complete_right()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say("HOST-HAND-START\t0", "HOST\t10.1.0.4\t70", "HOST-HAND-END\t0")
    sync = next(line for line in right.heard() if line.startswith("SYNC"))
    left.say(sync)

    assert not left.is_closed
    assert not rig.node.is_synced


# --- malformed input ---------------------------------------------------------------------------


def malformed_line(text: str) -> str:
    return {"<1023 bytes, unknown word>": "W" * 1023, "<1024 bytes>": "W" * 1024}.get(text, text)


@pytest.mark.parametrize(
    "vector", VECTORS["malformed_input"]["vectors"], ids=lambda v: v["line"][:30]
)
def test_malformed_line_from_the_left(vector: dict[str, str]) -> None:
    rig = Rig()
    left, right = rig.ring()
    line = malformed_line(vector["line"]).replace("<time>", "NOW")
    left.say(line)

    if vector["outcome"] == "accepted":
        assert not left.is_closed
        if "reply" in vector:
            assert [vector["reply"]] == left.heard(pings=True)
        if vector.get("forward"):
            assert [rig.unfill(vector["forward"].replace("<time>", "NOW"))] == right.heard()
        return
    assert left.is_closed
    quit_line = vector["quit"].replace("<the whole word>", "W" * 1023)
    assert [quit_line[:1023]] == left.heard()
    again = rig.dial_in("127.0.1.1")
    again.greet()
    is_stamped = vector["outcome"] == "drop_with_protocol_failure_stamp"
    assert is_stamped == again.is_closed
    assert is_stamped == ("QUIT\tInvalid input: ME" in again.heard())


@pytest.mark.parametrize("vector", VECTORS["handshake_input"]["vectors"], ids=lambda v: v["name"])
def test_handshake_input(vector: dict[str, str]) -> None:
    rig = Rig()
    right = rig.complete_right()
    right.heard()
    left = rig.dial_in("127.0.1.1")
    for line in vector["lines"]:
        left.say(line)
    heard = left.heard(pings=True)

    assert ["VERSION", "ME"] == [line.split("\t")[0] for line in heard[:2]]
    result = vector["result"]
    if result == "two PONG lines":
        assert ["PONG"] * 2 == [line.split("\t")[0] for line in heard[2:]]
    elif "closed" in result:
        assert left.is_closed
        assert (vector["quit"] is not None) == any(line.startswith("QUIT") for line in heard)
        if vector["quit"]:
            assert vector["quit"] == heard[-1]
        else:
            assert "QUIT" not in [line.split("\t")[0] for line in heard]
        assert ("DONE" in vector["lines"] and "OPTIONS\tfoo" not in vector["lines"]) == (
            "DONE" in heard
        )
    else:
        assert not left.is_closed
        assert "DONE" in heard
    forwarded = right.heard()
    for line in vector.get("to_X", []):
        if line.startswith("SYNC"):
            continue  # "order depends on how the input is split into reads"
        assert rig.unfill(line) in forwarded
    if "to_X" in vector:
        users = [line for line in forwarded if line.startswith("USER\t")]
        assert users == [rig.unfill(x) for x in vector["to_X"] if x.startswith("USER\t")]
