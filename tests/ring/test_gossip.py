"""Stamps, flooding, users heard of: ring-protocol.md 8, users-and-hosts.md 8."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from ring import limits
from ring.commands import UserKickHash, UserMove
from ring.effects import Kick, KickField, KickHash, KickName
from ring.messages import CLASSIC_MINOR, NATIVE_MINOR
from tests.ring.net import Net
from tests.ring.rig import NOW, Peer, Rig, director, settings

LOW, HOST, HIGH = "10.1.0.1", "10.1.0.2", "10.1.0.3"
USER = 700


def entry(rig: Rig, user_hash: int = USER, tag: bytes = b"") -> tuple[str, int] | None:
    """Return host and age in seconds of a user, None if it is nowhere."""
    status = rig.node.user_status(user_hash, tag, rig.now)
    if status.current is None:
        return None
    return str(status.current.ip), int(rig.wall) + 900 - status.expires_at


def is_weak(rig: Rig, user_hash: int = USER) -> bool:
    return rig.node.user_status(user_hash, b"", rig.now).is_weak


def kicks(rig: Rig) -> list[KickName | KickField | KickHash]:
    return [effect.what for effect in rig.effects if isinstance(effect, Kick)]


def ring_with_user(age_s: int, ip: str = HOST) -> tuple[Rig, Peer, Peer]:
    """A ring whose members know USER since so long."""
    rig = Rig()
    left, right = rig.ring()
    left.say(f"USER\t{USER}\t{ip}\tNOW-{age_s}")
    right.heard()
    return rig, left, right


def pair() -> tuple[Rig, Peer, Peer]:
    """A ring of two, so that left and right are the same director."""
    rig = Rig(settings(others=("127.0.1.1",)))
    right = rig.complete_right()
    left = rig.dial_in("127.0.1.1")
    left.shake()
    rig.sync(left, right)
    return rig, left, right


# --- stamps (section 8.0) ---


def test_command_is_done_and_passed_on_once() -> None:
    rig = Rig()
    left, right = rig.ring()
    line = "USER-KICK\t127.0.1.1\t19001\t5\tbob"
    left.say(line, line, "USER-KICK\t127.0.1.1\t19001\t4\tbob")

    assert [line] == right.heard()
    assert [KickName(b"bob")] == kicks(rig)


@pytest.mark.parametrize(("sequence", "times"), [(5, 2), (1_000_000_005, 1)])
def test_announcing_a_director_makes_only_commands_of_the_original_news_again(
    sequence: int, times: int
) -> None:
    rig = Rig()
    left, right = rig.ring()
    line = f"USER-KICK\t127.0.1.1\t19001\t{sequence}\tbob"
    left.say(line)
    right.say("DIRECTOR\t127.0.1.1\t19001")
    left.say(line)

    assert [line] * times == right.heard()


def test_dovecot_director_in_place_of_one_of_ours_is_believed() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("USER-KICK\t127.0.1.1\t19001\t1600000000\tbob")
    line = "USER-KICK\t127.0.1.1\t19001\t1\tbob"
    left.say(line, line)

    assert ["USER-KICK\t127.0.1.1\t19001\t1600000000\tbob", line] == right.heard()


def test_command_of_an_unknown_director_is_passed_on_as_ours() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("USER-KICK\t127.0.1.77\t19001\t5\tbob")

    assert ["USER-KICK\t127.0.1.2\t19001\t1\tbob"] == right.heard()


def test_command_of_a_removed_director_is_passed_on_as_ours() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("DIRECTOR\t127.0.1.9\t19001", "DIRECTOR-REMOVE\t127.0.1.9\t19001")
    right.heard()
    left.say("USER-KICK\t127.0.1.9\t19001\t5\tbob")

    assert ["USER-KICK\t127.0.1.2\t19001\t1\tbob"] == right.heard()


def test_sequence_never_leaves_its_32_bits() -> None:
    """What came back to us from a former life sets it, and may be anything."""
    rig = Rig()
    left, right = rig.ring()
    left.say(f"USER-KICK\t127.0.1.2\t19001\t{0xFFFFFFFF}\tbob")
    right.heard()
    rig.node.command("c", UserKickHash(USER), rig.now)

    assert [f"USER-KICK-HASH\t127.0.1.2\t19001\t1000000000\t{USER}\t0.0.0.0"] == right.heard()


def test_sequence_that_begins_again_after_its_last_one_is_believed() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(f"USER-KICK\t127.0.1.1\t19001\t{0xFFFFFFFF}\tbob")
    left.say("USER-KICK\t127.0.1.1\t19001\t1000000000\tbob")
    left.say(f"USER-KICK\t127.0.1.1\t19001\t{0xFFFFFFFF}\tbob")

    assert ["4294967295", "1000000000"] == [line.split("\t")[3] for line in right.heard()]


# --- flooding ---


def test_news_go_to_every_link_but_those_of_the_director_they_came_from() -> None:
    rig, left, right = pair()
    third = rig.dial_in("127.0.1.1")
    third.greet()
    left.heard()
    right.heard()
    third.heard()
    right.say("USER-KICK\t127.0.1.1\t19001\t5\tbob")

    assert [] == left.heard() + right.heard() + third.heard()


def test_news_wait_for_the_version_of_a_peer_and_are_not_kept_for_one_being_dialled() -> None:
    rig = Rig(settings(others=("127.0.1.3",)))
    left = rig.dial_in("127.0.1.3")
    left.greet()
    left.heard()
    dialled = rig.dialled[-1]
    waiting = rig.dial_in("127.0.1.3")
    rig.node.command("c", UserKickHash(USER), rig.now)
    line = f"USER-KICK-HASH\t127.0.1.2\t19001\t1\t{USER}\t0.0.0.0"

    assert [line] == left.heard()
    assert [] == [text for text in waiting.heard() if text.startswith("USER")]
    waiting.say("VERSION\tdirector\t1\t9")
    assert [line] == waiting.heard()
    rig.node.link_connected(dialled.link_id, rig.now)
    dialled.greet()
    assert line not in dialled.heard()


def test_forced_change_is_told_to_the_sender_too() -> None:
    _, left, right = ring_with_user(0)
    left.heard()
    left.say(f"USER\t{USER}\t{LOW}\tNOW")

    assert f"USER\t{USER}\t{LOW}\tNOW" in left.heard()
    assert f"USER\t{USER}\t{LOW}\tNOW" in right.heard()


# --- columns of users (sections 7.4 and 8.1) ---


def test_gossiped_user_on_an_unknown_host_is_ignored() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(f"USER\t{USER}\t10.9.9.9\tNOW", f"USER\t{USER + 1}\t{HOST}\tNOW")

    assert entry(rig) is None
    assert [f"USER\t{USER + 1}\t{HOST}\tNOW"] == right.heard()


def test_exported_user_on_an_unknown_host_costs_the_link() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say(f"U\t{USER}\t10.9.9.9\tNOW")

    assert "QUIT\tInvalid input: U" == left.heard()[-1]
    assert "unknown host 10.9.9.9" in str(rig.notes("link_broke_protocol")[0]["error"])


def test_exported_users_are_taken_and_not_passed_on() -> None:
    rig = Rig()
    right = rig.complete_right()
    right.heard()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say(f"U\t{USER}\t{HOST}\tNOW-9", f"U\t{USER + 1}\t{HOST}\tNOW+100")

    assert (HOST, 9) == entry(rig)
    assert (HOST, 0) == entry(rig, USER + 1)
    assert [] == [line for line in right.heard() if line.startswith("U")]


def test_users_of_several_tags_in_one_batch_go_to_their_tables() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say("HOST\t127.0.1.1\t19001\t1\t10.1.0.9\t100\tfast\tU0\t")
    right.heard()
    left.say(f"USER\t{USER}\t10.1.0.9\tNOW", f"USER\t{USER}\t{HOST}\tNOW")

    assert ("10.1.0.9", 0) == entry(rig, tag=b"fast")
    assert (HOST, 0) == entry(rig)
    assert 2 == len(right.heard())


def test_new_user_of_the_future_is_passed_on_with_the_time_we_keep() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(f"USER\t{USER}\t{HOST}\tNOW+50")

    assert (HOST, 0) == entry(rig)
    assert [f"USER\t{USER}\t{HOST}\tNOW"] == right.heard()


def test_exported_weak_user_is_weak_here() -> None:
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    left.say(f"U\t{USER}\t{HOST}\tNOW-9\tw", f"U\t{USER + 1}\t{HOST}\tNOW-900\tw")

    assert is_weak(rig)
    assert entry(rig, USER + 1) is None
    assert {USER} == rig.node.pools[b""].special


def test_exported_weak_user_that_has_sessions_here_is_not_weak() -> None:
    rig, _left, right = ring_with_user(9)
    again = rig.dial_in("127.0.1.1")
    again.greet()
    again.say(f"U\t{USER}\t{LOW}\tNOW-9\tw")

    assert (HOST, 9) == entry(rig)
    assert set() == rig.node.pools[b""].special
    assert [] == [line for line in right.heard() if line.startswith("U")]


# --- one user heard of (users-and-hosts.md section 8), by the letters of its table ---


def test_expired_news_change_nothing() -> None:
    rig, left, right = ring_with_user(100)
    left.say(f"USER\t{USER}\t{LOW}\tNOW-900", f"USER-MOVE\t127.0.1.1\t19001\t1\t{USER}\t{HOST}")
    right.heard()
    left.say(f"USER\t{USER}\t{LOW}\tNOW-900")

    assert [] == right.heard()
    assert (HOST, 0) == entry(rig)


def test_a_weak_user_heard_of_as_settled_is_settled_where_it_is_said_to_be() -> None:
    rig, left, right = ring_with_user(600)
    left.say(f"USER-WEAK\t127.0.1.1\t19001\t1\t{USER}\t{HOST}")
    assert is_weak(rig)
    right.heard()
    left.say(f"USER\t{USER}\t{LOW}\tNOW")

    assert not is_weak(rig)
    assert [f"USER\t{USER}\t{LOW}\tNOW"] == right.heard()
    assert (LOW, 0) == entry(rig)


def test_b_weak_user_heard_of_as_weak_elsewhere_goes_there() -> None:
    rig, left, right = ring_with_user(600)
    left.say(f"USER-WEAK\t127.0.1.1\t19001\t1\t{USER}\t{HOST}")
    left.say(f"USER-WEAK\t127.0.1.1\t19001\t2\t{USER}\t{HIGH}")

    assert is_weak(rig)
    assert (HIGH, 0) == entry(rig)
    assert 2 == len(right.heard())


def test_c_user_not_recently_updated_becomes_weak_where_it_is_said_to_be() -> None:
    rig, left, right = ring_with_user(451)
    line = f"USER-WEAK\t127.0.1.1\t19001\t1\t{USER}\t{HIGH}"
    left.say(line)

    assert is_weak(rig)
    assert (HIGH, 0) == entry(rig)
    assert [line] == right.heard()


def test_d_recently_updated_user_is_kept_and_everybody_told_the_sender_too() -> None:
    rig, left, right = ring_with_user(450)
    left.heard()
    left.say(f"USER-WEAK\t127.0.1.1\t19001\t1\t{USER}\t{HIGH}")

    assert not is_weak(rig)
    assert [f"USER\t{USER}\t{HOST}\tNOW"] == right.heard()
    assert [f"USER\t{USER}\t{HOST}\tNOW"] == left.heard()


def test_e_same_host_only_refreshes() -> None:
    rig, left, right = ring_with_user(100)
    left.say(f"USER\t{USER}\t{HOST}\tNOW-50", f"USER\t{USER}\t{HOST}\tNOW-60")

    assert [f"USER\t{USER}\t{HOST}\tNOW-50"] == right.heard()
    assert (HOST, 50) == entry(rig)


def test_f_user_near_its_expiry_goes_where_it_is_said_to_be() -> None:
    rig, left, right = ring_with_user(871)
    left.say(f"USER\t{USER}\t{HIGH}\tNOW")

    assert (HIGH, 0) == entry(rig)
    assert [f"USER\t{USER}\t{HIGH}\tNOW"] == right.heard()
    assert [] == kicks(rig)


def test_g_user_being_moved_stays_but_is_refreshed() -> None:
    rig, left, right = ring_with_user(100)
    left.say(f"USER-MOVE\t127.0.1.1\t19001\t1\t{USER}\t{HOST}")
    rig.pass_time(1)
    right.heard()
    left.say(f"USER\t{USER}\t{LOW}\tNOW")

    assert (HOST, 0) == entry(rig)
    assert [f"USER\t{USER}\t{HOST}\tNOW"] == right.heard()


@pytest.mark.parametrize("other", [LOW, HIGH])
def test_h_conflict_is_won_by_the_lower_host_and_the_others_sessions_are_closed(
    other: str,
) -> None:
    rig, left, right = ring_with_user(100)
    left.heard()
    left.say(f"USER\t{USER}\t{other}\tNOW-90")
    winner = min(other, HOST)

    assert (winner, 90) == entry(rig)
    kick = f"USER-KICK-HASH\t127.0.1.2\t19001\t1\t{USER}\t{winner}"
    assert [kick, f"USER\t{USER}\t{winner}\tNOW-90"] == right.heard()
    assert ([kick] if other == HIGH else [kick, f"USER\t{USER}\t{winner}\tNOW-90"]) == left.heard()
    assert [KickHash(user_hash=USER, except_ip=ip_address(winner))] == kicks(rig)
    assert [
        {
            "user_hash": USER,
            "host": ip_address(winner),
            "loser": ip_address(max(other, HOST)),
            "last_refreshed": NOW - 100,
        }
    ] == rig.notes("user_conflict_settled")


@pytest.mark.parametrize(("age_s", "is_refreshed"), [(15, False), (16, True)])
def test_line_without_a_time_refreshes_only_what_is_older_than_fifteen_seconds(
    age_s: int, is_refreshed: bool
) -> None:
    rig, left, right = ring_with_user(age_s)
    left.say(f"USER\t{USER}\t{HOST}")

    assert (HOST, 0 if is_refreshed else age_s) == entry(rig)
    assert is_refreshed == bool(right.heard())


# --- weak marks on the ring (section 8.2) ---


def test_weak_mark_on_an_unknown_host_is_ignored() -> None:
    rig = Rig()
    left, right = rig.ring()
    left.say(f"USER-WEAK\t127.0.1.1\t19001\t1\t{USER}\t10.9.9.9")

    assert [] == right.heard()


def test_user_that_is_settled_again_is_not_weak_after_its_host_was_flushed() -> None:
    rig, left, _right = ring_with_user(600)
    left.say(f"USER-WEAK\t127.0.1.1\t19001\t1\t{USER}\t{HOST}")
    left.say(f"HOST-FLUSH\t127.0.1.1\t19001\t2\t{HOST}", f"USER\t{USER}\t{LOW}\tNOW")

    assert not is_weak(rig)
    assert (LOW, 0) == entry(rig)


def test_move_settles_a_weak_user() -> None:
    rig, left, _ = ring_with_user(600)
    left.say(f"USER-WEAK\t127.0.1.1\t19001\t1\t{USER}\t{HOST}")
    rig.node.command("c", UserMove(user_hash=USER, ip=ip_address(LOW)), rig.now)

    assert not is_weak(rig)


def test_our_own_mark_that_tells_nothing_new_is_not_answered() -> None:
    """It is our former life's, and we have just been told the same."""
    _, left, right = ring_with_user(0)
    left.say(f"USER-WEAK\t127.0.1.2\t19001\t0\t{USER}\t{HOST}")

    assert [] == right.heard()


def test_marks_of_a_dead_originator_do_not_circle_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "WEAK_COPIES_MAX", 3)
    _rig, left, right = ring_with_user(600)
    line = f"USER-WEAK\t127.0.1.9\t19001\t1\t{USER}\t{HOST}"
    left.say("DIRECTOR\t127.0.1.9\t19001")
    right.heard()
    left.say(*[line] * 9)

    assert [line] * 4 == right.heard()


def test_pair_that_knows_better_answers_at_all() -> None:
    """Flooding leaves the sender's director out, which in a pair is everybody."""
    _rig, left, right = pair()
    left.say(f"USER\t{USER}\t{HOST}\tNOW")
    left.say(f"USER-WEAK\t127.0.1.1\t19001\t1\t{USER}\t{HIGH}")

    assert [f"USER\t{USER}\t{HOST}\tNOW"] == left.heard()
    assert [f"USER\t{USER}\t{HOST}\tNOW"] == right.heard()


def test_weak_mark_goes_out_on_the_other_link_of_a_pair() -> None:
    _, left, right = pair()
    line = f"USER-WEAK\t127.0.1.1\t19001\t1\t{USER}\t{HOST}"
    left.say(line)
    assert [line] == right.heard()
    right.say(line)

    assert [line] == left.heard()


def test_login_near_the_expiry_sends_a_weak_mark_both_ways() -> None:
    rig, left, right = ring_with_user(875)
    hashed = rig.node.hosts.lookup(USER, b"")
    assert hashed is not None
    other = next(ip for ip in (LOW, HOST, HIGH) if ip != str(hashed.ip))
    left.say(f"USER\t{USER}\t{other}\tNOW-874")
    left.heard()
    right.heard()
    rig.node.lookup("login", USER, b"", rig.now)
    line = f"USER-WEAK\t127.0.1.2\t19001\t1\t{USER}\t{other}"

    assert [line] == left.heard()
    assert [line] == right.heard()


def test_answer_by_a_clock_far_behind_ends_the_asking() -> None:
    """The answer is near its expiry here, too; the login that waits must not ask again."""
    rig, left, right = ring_with_user(875)
    hashed = rig.node.hosts.lookup(USER, b"")
    assert hashed is not None
    other = next(ip for ip in (LOW, HOST, HIGH) if ip != str(hashed.ip))
    left.say(f"USER\t{USER}\t{other}\tNOW-874")
    rig.node.lookup("login", USER, b"", rig.now)
    assert is_weak(rig)
    right.heard()
    left.say(f"USER\t{USER}\t{other}\tNOW-873")

    assert [f"USER\t{USER}\t{other}\tNOW"] == right.heard()
    assert not is_weak(rig)
    assert (other, 0) == entry(rig)


def test_weak_mark_never_travels_on_an_outgoing_link_before_its_handshake_is_done() -> None:
    """A real director would abort (section 16, hazard 3)."""
    rig = Rig()
    left = rig.dial_in("127.0.1.1")
    left.greet()
    right = rig.accept_dial()
    right.greet()
    right.heard()
    left.say(f"USER-WEAK\t127.0.1.9\t19001\t1\t{USER}\t{HOST}")

    assert [] == [line for line in right.heard() if line.startswith("USER")]
    assert director("127.0.1.3") == right.address


# --- among our own nodes ---


def test_weak_mark_passed_on_again_keeps_its_stamp() -> None:
    """With the last stamp heard of its origin, as on classic links, that would look seen."""
    rig = Rig(settings(minor=NATIVE_MINOR))
    rig.serve_alone()
    one, other = rig.dial_in("127.0.1.1"), rig.dial_in("127.0.1.3")
    for peer in (one, other):
        peer.greet()
    other.heard()
    mark = f"USER-WEAK\t127.0.1.1\t19001\t3\t{USER}\t{HOST}"
    one.say(mark, "HOST-REMOVE\t127.0.1.1\t19001\t7\t10.9.9.9", mark)

    assert [mark, mark] == other.heard()


def test_users_heard_of_are_passed_on_to_all_others_of_our_kind() -> None:
    net = Net(4)
    net.start_all()
    host = net.login(1, USER)
    net.run(1)

    assert {host} == {net.users(number)[USER][0] for number in net.nodes}


def test_users_heard_of_are_passed_on_over_classic_links_too() -> None:
    net = Net(4, {3: CLASSIC_MINOR})
    net.start_all()
    host = net.login(1, USER)
    net.run(1)

    assert {host} == {net.users(number)[USER][0] for number in net.nodes}


def test_a_director_that_joins_is_told_the_users_of_the_ring() -> None:
    net = Net(3)
    net.start(1, 2)
    net.run_until(net.is_synced, 60)
    host = net.login(1, USER)
    net.start(3)
    net.run(1)

    assert host == net.users(3)[USER][0]
