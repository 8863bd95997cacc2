"""Who is logged in on this machine, as the login processes themselves say.

Three uses: a daemon that starts asks where live users are, so that a restarted lone director leaves
them on their backends; `director status` shows sessions; and where no proxy-notify FIFO can be
had, asking every so often refreshes users instead (dovecot-2.4-plug.md sections 4.5 and 8.3).

LMTP deliveries are in no list. A list of 2.3 to which one login process did not contribute, because
it hangs, is still used: what it names is true.

A user with sessions on two hosts goes where more of them are, on a tie to the lower address; such
users are counted, because there should be none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import trio

from director.kick.anvil_client import anvil_connection
from director.kick.choice import detect
from director.kick.ipc_client import IpcClient, Patience, list_sessions
from director.kick.listing import LiveSession, UserHash, parse_anvil_row
from director.kick.queue import KickFailed
from director.settings import KickMethod
from ring import limits
from ring.address import IpAddress, ip_key
from ring.effects import Noted
from ring.hosts import MailHosts
from ring.node import RingNode
from ring.users import ABSENT


@attrs.frozen(kw_only=True)
class LiveUsers:
    """Columns of one tag. `split_count` users had sessions on more than one host of the tag."""

    tag: bytes
    hashes: list[int]
    ips: list[IpAddress]
    split_count: int


async def live_sessions(
    base_dir: Path, method: KickMethod, user_hash: UserHash
) -> list[LiveSession]:
    """Return the proxied sessions of this machine, at most SESSIONS_MAX.

    Raises:
        KickFailed: nobody told; with `method` NONE there is nobody to ask and no session.
    """
    sessions: list[LiveSession] = []

    def keep(session: LiveSession) -> None:
        if len(sessions) < limits.SESSIONS_MAX:
            sessions.append(session)

    if method is KickMethod.AUTO:
        method = await detect(base_dir)
    if method is KickMethod.IPC:
        await _list_ipc(base_dir / "ipc", user_hash, sessions, keep)
    elif method is KickMethod.ANVIL:
        await _list_anvil(base_dir / "anvil", user_hash, keep)
    else:
        await trio.lowlevel.checkpoint()
    return sessions


def live_users(sessions: list[LiveSession], hosts: MailHosts) -> list[LiveUsers]:
    """Return the users of `sessions` by tag; sessions to unknown hosts are left out."""
    counts: dict[bytes, dict[int, Counter[IpAddress]]] = {}
    for session in sessions:
        host = hosts.get(session.ip)
        if host is not None:
            of_tag = counts.setdefault(host.tag, {})
            of_tag.setdefault(session.user_hash, Counter())[session.ip] += 1
    return [
        LiveUsers(
            tag=tag,
            hashes=list(by_hash),
            ips=[_main_ip(by_ip) for by_ip in by_hash.values()],
            split_count=sum(len(by_ip) > 1 for by_ip in by_hash.values()),
        )
        for tag, by_hash in counts.items()
    ]


async def restore_live_users(
    node: RingNode,
    sessions: list[LiveSession],
    *,
    clock: Callable[[], float],
    wall: int,
) -> tuple[int, int]:
    """Let the node know where live users are, as of `wall`; return how many were news and split.

    In steps of FRAME_USERS_MAX; the caller performs the node's effects afterwards.
    """
    news_count = split_count = 0
    for users in live_users(sessions, node.hosts):
        split_count += users.split_count
        for start in range(0, len(users.hashes), limits.FRAME_USERS_MAX):
            hashes = users.hashes[start : start + limits.FRAME_USERS_MAX]
            ips = users.ips[start : start + limits.FRAME_USERS_MAX]
            news_count += node.restore_users(users.tag, hashes, ips, [wall] * len(hashes), clock())
            await trio.lowlevel.checkpoint()
    return news_count, split_count


def hosts_of(node: RingNode, user_hash: int) -> frozenset[IpAddress]:
    """Return the hosts that the users of a hash belong to now, one for each tag at most."""
    found = (pool.table.find(user_hash) for pool in node.pools.values())
    hosts = (node.hosts.by_number[packed & 0xFFFF] for packed in found if packed != ABSENT)
    return frozenset(host.ip for host in hosts if host is not None)


async def poll_live_users(
    list_live: Callable[[], Awaitable[list[LiveSession]]],
    refresh_users: Callable[[list[int]], None],
    note: Callable[[Noted], None],
    interval_s: float,
) -> None:
    """Refresh users with live sessions every `interval_s`, in place of proxy-notify.

    `refresh_users` gets at most FRAME_USERS_MAX user hashes at a time.
    """
    while True:
        await trio.sleep(interval_s)
        try:
            hashes = list({session.user_hash for session in await list_live()})
        except KickFailed as error:
            note(Noted("live_session_list_failed", (("reason", str(error)),)))
            continue
        for start in range(0, len(hashes), limits.FRAME_USERS_MAX):
            refresh_users(hashes[start : start + limits.FRAME_USERS_MAX])
            await trio.lowlevel.checkpoint()


def _main_ip(by_ip: Counter[IpAddress]) -> IpAddress:
    return min(by_ip, key=lambda ip: (-by_ip[ip], ip_key(ip)))


async def _list_ipc(
    path: Path,
    user_hash: UserHash,
    sessions: list[LiveSession],
    keep: Callable[[LiveSession], None],
) -> None:
    client = IpcClient(path, Patience())
    try:
        await list_sessions(client, user_hash, keep)
    except KickFailed:
        if not sessions:
            raise
    finally:
        client.close()


async def _list_anvil(path: Path, user_hash: UserHash, keep: Callable[[LiveSession], None]) -> None:
    def parse(rows: list[bytes]) -> None:
        for row in rows:
            session = parse_anvil_row(row, user_hash)
            if session is not None:
                keep(session)

    async with anvil_connection(path) as anvil:
        await anvil.dump(parse)
