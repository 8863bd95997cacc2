"""The user table against a plain dictionary, and the predicates of a user's lifetime."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ring.address import parse_ip
from ring.hosts import MailHost, MailHosts
from ring.lifetime import is_expired
from ring.messages import UNKNOWN_TIMESTAMP
from ring.users import ABSENT, SHARDS_COUNT, UserTable

WALL = 1_700_000_000
EXPIRE_S = 900


def make_hosts(count: int) -> tuple[MailHosts, list[MailHost]]:
    hosts = MailHosts()
    ips = [parse_ip(f"10.0.0.{index + 1}") for index in range(count)]
    return hosts, [hosts.add(ip, tag=b"", hostname=b"", weight=100) for ip in ips]


@pytest.fixture
def hosts() -> MailHosts:
    return make_hosts(3)[0]


@pytest.fixture
def table(hosts: MailHosts) -> UserTable:
    return UserTable(hosts)


def host(hosts: MailHosts, index: int) -> MailHost:
    return list(hosts)[index]


def packed(timestamp: int, mail_host: MailHost) -> int:
    return timestamp << 16 | mail_host.number


def merge(
    table: UserTable, *rows: tuple[int, int, int], special: frozenset[int] = frozenset()
) -> tuple[list[int], list[int]]:
    """Merge rows of user hash, host number and timestamp."""
    hashes, numbers, timestamps = (list(column) for column in zip(*rows, strict=True))
    return table.merge(hashes, numbers, timestamps, wall=WALL, expire_s=EXPIRE_S, special=special)


# --- one user ---------------------------------------------------------------------------------


def test_a_stored_user_is_found_until_it_is_removed(hosts: MailHosts, table: UserTable) -> None:
    table.store(7, host(hosts, 0).number, WALL)

    assert table.find(7) == packed(WALL, host(hosts, 0))
    assert table.find(8) == ABSENT
    assert table.remove(7)
    assert table.find(7) == ABSENT
    assert not table.remove(7)
    assert not table.remove(8)


def refresh(
    table: UserTable, hashes: Sequence[int], place: MailHost | None, *special: int
) -> tuple[list[int], dict[int, int]]:
    """Let users live on that were refreshed in the last hundred seconds."""
    return table.refresh_many(
        hashes, wall=WALL, fresh_from=WALL - 100, special=set(special), place=lambda _: place
    )


def test_known_users_are_refreshed_and_new_ones_placed(hosts: MailHosts, table: UserTable) -> None:
    first, second = host(hosts, 0), host(hosts, 1)
    table.store(7, first.number, WALL - 100)
    table.store(8, first.number, WALL)
    numbers, changed = refresh(table, [7, 8, 9, 9], second)

    assert [first.number, first.number, second.number, second.number] == numbers
    assert {7: packed(WALL, first), 9: packed(WALL, second)} == changed
    assert [changed[7], packed(WALL, first), changed[9]] == table.find_many([7, 8, 9])
    assert (2, 1) == (table.count(first.number), table.count(second.number))


def test_a_user_that_needs_thought_is_left_alone(hosts: MailHosts, table: UserTable) -> None:
    first = host(hosts, 0)
    table.store(7, first.number, WALL - 101)
    table.store(8, first.number, WALL - 1)
    special = refresh(table, [7, 8, 9], first, 8, 9)
    homeless = refresh(table, [9], None)

    assert ([0, 0, 0], {}) == special
    assert ([0], {}) == homeless
    assert [packed(WALL - 101, first), packed(WALL - 1, first), ABSENT] == table.find_many(
        [7, 8, 9]
    )


def test_a_user_of_a_flushed_host_is_placed_like_a_new_one(
    hosts: MailHosts, table: UserTable
) -> None:
    first, second = host(hosts, 0), host(hosts, 1)
    table.store(7, first.number, WALL)
    dead_number = first.number
    hosts.forget_users(first)
    table.store(8, second.number, WALL)
    table.remove(8)

    assert [second.number, second.number] == refresh(table, [7, 8], second)[0]
    assert (0, 2) == (table.count(dead_number), table.count(second.number))


def test_storing_again_replaces_host_and_timestamp(hosts: MailHosts, table: UserTable) -> None:
    first, second = host(hosts, 0), host(hosts, 1)
    table.store(7, first.number, WALL)
    table.store(7, second.number, WALL - 5)

    assert table.find(7) == packed(WALL - 5, second)
    assert (table.count(first.number), table.count(second.number)) == (0, 1)


def test_hash_zero_is_never_there(hosts: MailHosts, table: UserTable) -> None:
    assert table.find(0) == ABSENT
    assert not table.remove(0)
    assert merge(table, (0, host(hosts, 0).number, WALL)) == ([], [])
    with pytest.raises(AssertionError):
        table.store(0, host(hosts, 0).number, WALL)


def test_nobody_can_be_stored_on_a_dead_number(hosts: MailHosts, table: UserTable) -> None:
    number = host(hosts, 0).number
    hosts.forget_users(host(hosts, 0))
    with pytest.raises(AssertionError):
        table.store(7, number, WALL)


def test_a_flushed_host_has_no_users_any_more(hosts: MailHosts, table: UserTable) -> None:
    flushed = host(hosts, 0)
    old_number = flushed.number
    table.store(7, old_number, WALL)
    table.store(8, host(hosts, 1).number, WALL)
    hosts.forget_users(flushed)

    assert table.find(7) == ABSENT
    assert len(table) == 1
    assert table.count(flushed.number) == 0
    assert table.count(old_number) == 1  # so that the number is not given away yet
    assert not table.remove(7)
    assert table.count(old_number) == 0


def test_extreme_values_survive(hosts: MailHosts, table: UserTable) -> None:
    number = host(hosts, 2).number
    table.store(0xFFFFFFFF, number, 0xFFFFFFFE)
    table.store(1, number, 0)

    assert table.find(0xFFFFFFFF) == 0xFFFFFFFE << 16 | number
    assert table.find(1) == number
    assert [list(column) for column in table.shard(255)] == [[0xFFFFFFFF], [number], [0xFFFFFFFE]]


# --- merging ----------------------------------------------------------------------------------


def test_a_new_user_is_taken_and_its_time_not_after_now(hosts: MailHosts, table: UserTable) -> None:
    number = host(hosts, 0).number

    assert merge(table, (7, number, WALL - 5), (8, number, WALL + 5)) == ([0, 1], [])
    assert table.find(7) >> 16 == WALL - 5
    assert table.find(8) >> 16 == WALL
    assert table.count(number) == 2


def test_a_known_user_takes_a_newer_time_exactly(hosts: MailHosts, table: UserTable) -> None:
    number = host(hosts, 0).number
    table.store(7, number, WALL)
    rows = [(7, number, WALL - 1), (7, number, WALL), (7, number, WALL + 5)]

    assert merge(table, *rows) == ([2], [])
    assert table.find(7) >> 16 == WALL + 5


def test_only_newer_news_of_a_known_user_change_anything(
    hosts: MailHosts, table: UserTable
) -> None:
    number = host(hosts, 0).number
    table.store(7, number, WALL - 5)

    assert merge(table, *((7, number, WALL - ago_s) for ago_s in (6, 5, 4))) == ([2], [])
    assert table.find(7) >> 16 == WALL - 4


def test_expired_rows_and_unknown_hosts_are_passed_over(hosts: MailHosts, table: UserTable) -> None:
    number = host(hosts, 0).number
    rows = [(7, number, WALL - EXPIRE_S), (8, -1, WALL), (9, number, WALL - EXPIRE_S + 1)]

    assert merge(table, *rows) == ([2], [])
    assert len(table) == 1


def test_another_host_needs_the_slow_path(hosts: MailHosts, table: UserTable) -> None:
    first, second = host(hosts, 0), host(hosts, 1)
    table.store(7, first.number, WALL)

    assert merge(table, (7, second.number, WALL + 1)) == ([], [0])
    assert table.find(7) == packed(WALL, first)


def test_a_row_without_a_time_needs_the_slow_path(hosts: MailHosts, table: UserTable) -> None:
    assert merge(table, (7, host(hosts, 0).number, UNKNOWN_TIMESTAMP)) == ([], [0])
    assert table.find(7) == ABSENT


def test_a_special_user_needs_the_slow_path(hosts: MailHosts, table: UserTable) -> None:
    row = (7, host(hosts, 0).number, WALL)

    assert merge(table, row, special=frozenset({7})) == ([], [0])
    assert table.find(7) == ABSENT


def test_the_rows_of_a_user_keep_their_order_on_the_slow_path(
    hosts: MailHosts, table: UserTable
) -> None:
    first, second = host(hosts, 0), host(hosts, 1)
    table.store(7, first.number, WALL - 9)
    rows = [(7, second.number, WALL), (8, first.number, WALL), (7, first.number, WALL)]

    assert merge(table, *rows) == ([1], [0, 2])
    assert table.find(7) >> 16 == WALL - 9


@pytest.mark.parametrize("ahead_s", [-9, 9])
def test_a_user_whose_number_died_is_a_new_user(
    hosts: MailHosts, table: UserTable, ahead_s: int
) -> None:
    first, second = host(hosts, 0), host(hosts, 1)
    dead_number = first.number
    table.store(7, dead_number, WALL)
    hosts.forget_users(first)

    assert merge(table, (7, second.number, WALL + ahead_s)) == ([0], [])
    assert table.find(7) == packed(min(WALL, WALL + ahead_s), second)
    assert table.count(dead_number) == 0


def test_merging_nothing_changes_nothing(table: UserTable) -> None:
    nothing = array("I")
    result = table.merge(nothing, [], nothing, wall=WALL, expire_s=EXPIRE_S, special=())

    assert result == ([], [])


@pytest.mark.parametrize("is_one_shard", [True, False])
def test_a_shard_grows_while_rows_are_merged(
    hosts: MailHosts, table: UserTable, is_one_shard: bool
) -> None:
    number = host(hosts, 0).number
    rows = [(user_hash, number, WALL) for user_hash in range(1, 1001)]
    if not is_one_shard:
        rows.append((0xFF000001, number, WALL))

    assert merge(table, *rows) == (list(range(len(rows))), [])
    assert len(table) == len(rows)
    assert list(table.shard(0)[0]) == list(range(1, 1001))


def test_a_shard_that_is_told_in_steps_grows_once(hosts: MailHosts, table: UserTable) -> None:
    number = host(hosts, 0).number
    rows = [(0x05000001 + 5600 * row, number, WALL) for row in range(2990)]
    merge(table, *rows[:1024])
    slots = slots_count(table, 5)
    merge(table, *rows[1024:2048])
    merge(table, *rows[2048:])

    assert slots == slots_count(table, 5)
    assert 2990 == len(table)


@pytest.mark.parametrize("step", [1, -1])
def test_some_users_close_together_are_not_taken_for_the_beginning_of_a_million(
    hosts: MailHosts, table: UserTable, step: int
) -> None:
    number = host(hosts, 0).number
    merge(table, *[(0x05800000 + step * row, number, WALL) for row in range(20)])

    assert slots_count(table, 5) <= 128


# --- shards -----------------------------------------------------------------------------------


def test_a_shard_is_sorted_columns_of_users_that_have_a_host(
    hosts: MailHosts, table: UserTable
) -> None:
    first, second = host(hosts, 0), host(hosts, 1)
    table.store(0x05000009, first.number, WALL)
    table.store(0x05000001, second.number, WALL - 1)
    table.store(0x05000011, second.number, WALL - 2)
    table.store(0x06000001, first.number, WALL)
    first_number = first.number
    table.remove(0x05000011)

    assert [list(column) for column in table.shard(5)] == [
        [0x05000001, 0x05000009],
        [second.number, first_number],
        [WALL - 1, WALL],
    ]

    hosts.forget_users(first)

    assert list(table.shard(5)[0]) == [0x05000001]
    assert list(table.shard(6)[0]) == []


def test_a_sweep_removes_the_expired_and_the_dead(hosts: MailHosts, table: UserTable) -> None:
    first, second = host(hosts, 0), host(hosts, 1)
    dead_number = first.number
    table.store(1, dead_number, WALL)
    hosts.forget_users(first)
    for user_hash, timestamp in [(2, WALL), (3, WALL - 1), (4, WALL - 2), (5, WALL - 3)]:
        table.store(user_hash, second.number, timestamp)

    assert table.sweep(0, WALL - 1, keep={4}) == 2
    assert list(table.shard(0)[0]) == [2, 4]
    assert table.count(dead_number) == 0
    assert table.count(second.number) == 2
    assert table.sweep(0, WALL - 1, keep=()) == 1
    assert table.sweep(1, WALL, keep=()) == 0


def test_times_that_lie_ahead_are_brought_back(hosts: MailHosts, table: UserTable) -> None:
    first, second = host(hosts, 0), host(hosts, 1)
    for user_hash, timestamp in [(1, WALL + 3), (2, WALL + 4), (3, WALL + 4), (1 << 24, WALL + 4)]:
        table.store(user_hash, second.number, timestamp)
    table.store(4, first.number, WALL + 4)
    hosts.forget_users(first)
    changed = table.bring_back(0, WALL + 3, WALL, keep={3})

    assert {2: WALL << 16 | second.number} == changed
    assert [WALL + 3, WALL, WALL + 4] == list(table.shard(0)[2])
    assert {} == table.bring_back(0, WALL + 4, WALL, keep=())
    assert [WALL + 4] == list(table.shard(1)[2])


def slots_count(table: UserTable, index: int) -> int:
    return len(table._shards[index][0])


def test_a_mostly_empty_shard_shrinks_when_it_is_swept(hosts: MailHosts, table: UserTable) -> None:
    number = host(hosts, 0).number
    for user_hash in range(1, 2001):
        table.store(user_hash, number, WALL if user_hash <= 100 else WALL - 1)

    assert slots_count(table, 0) == 4096
    assert table.sweep(0, WALL - 1, keep=()) == 1900
    assert slots_count(table, 0) == 256
    assert len(table) == 100
    assert list(table.shard(0)[0]) == list(range(1, 101))
    assert table.sweep(0, WALL, keep=()) == 100
    assert slots_count(table, 0) == 8


def test_a_few_tombstones_are_left_for_those_who_come_back(
    hosts: MailHosts, table: UserTable
) -> None:
    number = host(hosts, 0).number
    for user_hash in range(1, 501):
        table.store(user_hash, number, WALL if user_hash > 10 else WALL - 1)
    room = table._room[0]

    assert table.sweep(0, WALL - 1, keep=()) == 10
    assert table._room[0] == room

    table.store(5, number, WALL)

    assert table._room[0] == room


def test_users_that_come_and_go_do_not_fill_a_shard(hosts: MailHosts, table: UserTable) -> None:
    number = host(hosts, 0).number
    for user_hash in range(1, 5001):
        table.store(user_hash, number, WALL)
        table.remove(user_hash)

    assert slots_count(table, 0) == 8
    assert len(table) == 0


def test_a_rebuild_forgets_the_dead(hosts: MailHosts, table: UserTable) -> None:
    dead_number = host(hosts, 0).number
    for user_hash in range(1, 6):
        table.store(user_hash, dead_number, WALL)
    hosts.forget_users(host(hosts, 0))
    table.store(6, host(hosts, 1).number, WALL)

    assert table.count(dead_number) == 0
    assert list(table.shard(0)[0]) == [6]


def test_a_digest_tells_hosts_and_times_but_not_numbers_or_order() -> None:
    hosts, (first, second) = make_hosts(2)
    other_hosts = MailHosts()
    other_second = other_hosts.add(second.ip, tag=b"", hostname=b"", weight=1)
    other_first = other_hosts.add(first.ip, tag=b"", hostname=b"", weight=1)
    table, other = UserTable(hosts), UserTable(other_hosts)
    table.store(1, first.number, WALL)
    table.store(2, second.number, WALL)
    other.store(2, other_second.number, WALL)

    assert table.digest(0, 0) != other.digest(0, 0)

    other.store(1, other_first.number, WALL)

    assert other_first.number != first.number
    assert table.digest(0, 0) == other.digest(0, 0)
    assert 0 < table.digest(0, 0) < 1 << 64

    other.store(1, other_first.number, WALL - 1)

    assert table.digest(0, 0) != other.digest(0, 0)

    other.store(1, other_second.number, WALL)

    assert table.digest(0, 0) != other.digest(0, 0)


def test_a_digest_leaves_out_who_is_expired(table: UserTable, hosts: MailHosts) -> None:
    empty = table.digest(0, WALL)
    table.store(1, host(hosts, 0).number, WALL)

    assert empty == table.digest(0, WALL)
    assert empty != table.digest(0, WALL - 1)


def test_the_digest_is_the_same_on_machines_of_the_other_byte_order(
    hosts: MailHosts, table: UserTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On such a machine the column's bytes are swapped; here swapping must be seen to happen."""
    table.store(1, host(hosts, 0).number, WALL)
    digest = table.digest(0, 0)
    monkeypatch.setattr("sys.byteorder", "big")

    assert digest != table.digest(0, 0)


def test_an_empty_table_costs_little(table: UserTable) -> None:
    assert len(table) == 0
    assert {table.digest(index, 0) for index in range(SHARDS_COUNT)} == {table.digest(0, 0)}
    assert sum(slots_count(table, index) for index in range(SHARDS_COUNT)) == 2048


# --- against a dictionary ---------------------------------------------------------------------

# Few shards and few low bits, so that hashes meet in slots and clusters wrap around the end.
HASHES = st.builds(
    lambda top, middle, low: (top << 24 | middle << 8 | low) or 1,
    st.sampled_from([0, 255]),
    st.integers(0, 40),
    st.sampled_from([0, 1, 6, 7, 255]),
)
TIMESTAMPS = st.integers(WALL - EXPIRE_S - 3, WALL + 3)


class TableMachine(RuleBasedStateMachine):
    """The model knows hosts by address; an entry of a flushed host is simply gone."""

    def __init__(self) -> None:
        super().__init__()
        self.hosts, self.mail_hosts = make_hosts(4)
        self.table = UserTable(self.hosts)
        self.model: dict[int, tuple[MailHost, int]] = {}

    @rule(user_hash=HASHES, index=st.integers(0, 3), timestamp=TIMESTAMPS)
    def store(self, user_hash: int, index: int, timestamp: int) -> None:
        self.table.store(user_hash, self.mail_hosts[index].number, timestamp)
        self.model[user_hash] = (self.mail_hosts[index], timestamp)

    @rule(start=st.integers(0, 300), count=st.integers(1, 60), index=st.integers(0, 3))
    def refresh_many(self, start: int, count: int, index: int) -> None:
        user_hashes = range(start * 3 + 1, (start + count) * 3 + 1, 3)
        placed = self.mail_hosts[index]
        numbers, changed = refresh(self.table, user_hashes, placed, start * 3 + 4)
        for user_hash, number in zip(user_hashes, numbers, strict=True):
            mail_host, timestamp = self.model.get(user_hash, (placed, WALL))
            if user_hash == start * 3 + 4 or timestamp < WALL - 100:
                assert (0, False) == (number, user_hash in changed)
                continue
            is_news = self.model.get(user_hash) != (mail_host, WALL)
            self.model[user_hash] = (mail_host, WALL)

            assert (mail_host.number, is_news) == (number, user_hash in changed)

    @rule(user_hash=HASHES)
    def remove(self, user_hash: int) -> None:
        expected = self.model.pop(user_hash, None) is not None

        assert expected == self.table.remove(user_hash)

    @rule(
        rows=st.lists(st.tuples(HASHES, st.integers(-1, 3), TIMESTAMPS), max_size=30),
        special=st.frozensets(HASHES, max_size=3),
    )
    def merge(self, rows: list[tuple[int, int, int]], special: frozenset[int]) -> None:
        changed, slow = [], []
        slow_hashes = set(special)
        for row, (user_hash, index, timestamp) in enumerate(rows):
            if index < 0 or is_expired(timestamp, WALL, EXPIRE_S):
                continue
            known = self.model.get(user_hash)
            if user_hash in slow_hashes or (known and known[0] is not self.mail_hosts[index]):
                slow.append(row)
                slow_hashes.add(user_hash)
            elif known is None:
                self.model[user_hash] = (self.mail_hosts[index], min(timestamp, WALL))
                changed.append(row)
            elif timestamp > known[1]:
                self.model[user_hash] = (known[0], timestamp)
                changed.append(row)
        actual = self.table.merge(
            [row[0] for row in rows],
            [self.mail_hosts[row[1]].number if row[1] >= 0 else -1 for row in rows],
            [row[2] for row in rows],
            wall=WALL,
            expire_s=EXPIRE_S,
            special=special,
        )

        assert (changed, slow) == actual

    @rule(index=st.integers(0, 3))
    def flush(self, index: int) -> None:
        flushed = self.mail_hosts[index]
        self.hosts.forget_users(flushed)
        self.model = {h: entry for h, entry in self.model.items() if entry[0] is not flushed}

    @rule(
        shard=st.sampled_from([0, 255]), before=TIMESTAMPS, keep=st.frozensets(HASHES, max_size=3)
    )
    def sweep(self, shard: int, before: int, keep: frozenset[int]) -> None:
        expired = [
            user_hash
            for user_hash, (_, timestamp) in self.model.items()
            if user_hash >> 24 == shard and timestamp <= before and user_hash not in keep
        ]
        for user_hash in expired:
            del self.model[user_hash]

        assert len(expired) == self.table.sweep(shard, before, keep)

    @rule()
    def reclaim_numbers(self) -> None:
        self.hosts.reclaim_numbers(lambda number: self.table.count(number) > 0)

    @rule(user_hash=HASHES)
    def find(self, user_hash: int) -> None:
        known = self.model.get(user_hash)
        expected = ABSENT if known is None else packed(known[1], known[0])

        assert expected == self.table.find(user_hash)
        assert [expected, ABSENT, expected] == self.table.find_many([user_hash, 0, user_hash])

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        actual = {}
        for index in (0, 255):
            for user_hash, number, timestamp in zip(*self.table.shard(index), strict=True):
                actual[user_hash] = (self.hosts.by_number[number], timestamp)

        assert self.model == actual
        assert len(self.model) == len(self.table)
        for mail_host in self.mail_hosts:
            expected = sum(entry[0] is mail_host for entry in self.model.values())

            assert expected == self.table.count(mail_host.number)

    @invariant()
    def shards_have_room_and_right_size(self) -> None:
        for index in (0, 255):
            hashes, values, mask = self.table._shards[index]
            taken_count = sum(1 for user_hash in hashes if user_hash)

            assert len(hashes) == len(values) == mask + 1
            assert taken_count + self.table._room[index] == (mask + 1) * 2 // 3


TestTableMachine = pytest.mark.slow(TableMachine.TestCase)
TableMachine.TestCase.settings = settings(stateful_step_count=25)
