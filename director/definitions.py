"""Every setting once: its name, its default, its bounds, and what an operator should know.

`settings.py` reads values by these definitions, `director check-config --explain` and the
files in `conf/` show them, and a test proves that no setting is missing there. Defaults are in
Dovecot's spelling, so that they are read by the same code as a value in a file. Classic names,
units and defaults are those of users-and-hosts.md section 14.
"""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class Definition:
    """One setting. `lowest` and `highest` bound times (seconds), sizes (bytes) and numbers."""

    name: str
    kind: str
    default: str = ""
    lowest: int = 0
    highest: int | None = None
    choices: tuple[str, ...] = ()
    meaning: str
    trade_off: str = ""
    in_doubt: str
    is_ours: bool = False
    """False: Dovecot 2.3 has it too."""

    @property
    def range(self) -> str:
        """What is accepted, in words."""
        if self.choices:
            return " | ".join(self.choices)
        if self.kind not in ("time", "size", "number"):
            return self.kind
        unit = {"time": " seconds", "size": " bytes", "number": ""}[self.kind]
        upper = f" to {self.highest}" if self.highest is not None else " or more"
        return f"{self.kind}, {self.lowest}{upper}{unit}"


USER_EXPIRE_LOWEST_S = 10

DEFINITIONS = (
    Definition(
        name="director_servers",
        kind="list of directors",
        meaning="All directors of the ring, this one included: addresses or host names, separated "
        "by blanks, each with an optional :port (default: the port of our own ring listener). "
        "Only the start of the ring is taken from here; later changes come over the ring.",
        trade_off="A name is resolved once, at start; all its addresses are members.",
        in_doubt="leave it empty for a single director; else the same list on all.",
    ),
    Definition(
        name="director_mail_servers",
        kind="list of mail hosts",
        meaning="All backends: addresses, ranges (10.0.0.10-10.0.0.30) or host names, separated by "
        "blanks, each with an optional @tag that puts it into a pool of its own. Not empty. "
        "A ring that is already running knows better, and its list is taken instead.",
        trade_off="A name is resolved once, at start; all its addresses are backends.",
        in_doubt="the addresses of all backends, the same list on all directors.",
    ),
    Definition(
        name="director_username_hash",
        kind="template",
        default="%Lu",
        meaning="What of the user name decides the backend: %u the whole name, %n the part before "
        "the @, %d the domain, with L in lower case; or in 2.4's spelling %{user | lower}. Must be "
        "the same on all directors and login processes.",
        trade_off="%Ld keeps a whole domain on one backend, for mailboxes that are shared within "
        "it, but one large domain then is one large load.",
        in_doubt="%Lu; %Ln if users log in both with and without their domain.",
    ),
    Definition(
        name="director_user_expire",
        kind="time",
        default="15 min",
        lowest=USER_EXPIRE_LOWEST_S,
        meaning="How long a user stays assigned to a backend after the last session ended. Must be "
        "the same on all directors.",
        trade_off="Shorter lets users spread sooner after a change, but must stay longer than what "
        "the file system between backends caches.",
        in_doubt="15 min.",
    ),
    Definition(
        name="director_user_kick_delay",
        kind="time",
        default="2 s",
        highest=600,
        meaning="How long a moved user waits, after the old sessions are gone everywhere, before "
        "the new backend is opened.",
        trade_off="0 lets users in while processes on the old backend may still be writing.",
        in_doubt="2 s.",
    ),
    Definition(
        name="director_flush_socket",
        kind="address",
        meaning="Called for each user that is moved, before the new backend is opened, so that "
        "caches of the old one can be flushed: unix:/path, tcp:host:port or exec:/program. %{ip} "
        "(%i) and %{host} (%h) stand for the new backend. Empty: nobody is called. Paths are the "
        "machine's, where Dovecot's director saw them from inside base_dir.",
        trade_off="Every move waits for it, at most 30 s.",
        in_doubt="empty.",
    ),
    Definition(
        name="director_max_parallel_moves",
        kind="number",
        default="100",
        lowest=1,
        meaning="How many users `director flush` moves at one time.",
        trade_off="More is faster, and more users meet cold caches at the same moment.",
        in_doubt="100.",
    ),
    Definition(
        name="director_max_parallel_kicks",
        kind="number",
        default="100",
        lowest=1,
        meaning="How many `director kick` commands run at one time; further ones wait.",
        in_doubt="100.",
    ),
    Definition(
        name="director_output_buffer_size",
        kind="size",
        default="10M",
        lowest=64 * 1024,
        meaning="How much may wait to be sent to a neighbour. When it is full, the connection is "
        "dropped and made again.",
        trade_off="More memory rides out a longer pause of the neighbour.",
        in_doubt="10M.",
    ),
    Definition(
        name="director_ping_idle_timeout",
        kind="time",
        default="30 s",
        lowest=1,
        meaning="How long a neighbour may owe the answer to a ping while nothing at all comes from "
        "it. Then the connection is made again.",
        trade_off="Shorter notices a dead neighbour sooner, and takes a slow one for dead.",
        in_doubt="30 s; among directors of this program a silent one is noticed within 3 s anyway.",
    ),
    Definition(
        name="director_ping_max_timeout",
        kind="time",
        default="60 s",
        lowest=1,
        meaning="The same while other data still comes from the neighbour.",
        in_doubt="60 s.",
    ),
    Definition(
        name="auth_master_user_separator",
        kind="one character",
        meaning="What stands between a user and the master user who logs in for him "
        "(user*master). From there on the name is ignored. Before 2.3.20 the director read "
        "master_user_separator instead, which is read here if this is empty.",
        in_doubt="what your auth configuration says; empty if it says nothing.",
    ),
    Definition(
        name="master_user_separator",
        kind="one character",
        meaning="The old name of auth_master_user_separator (2.3.19 and before).",
        in_doubt="leave it out.",
    ),
    Definition(
        name="base_dir",
        kind="path",
        default="/run/dovecot",
        meaning="Where Dovecot keeps its sockets; paths of listeners are relative to it.",
        in_doubt="what `doveconf base_dir` says.",
    ),
    Definition(
        name="default_internal_user",
        kind="user name",
        default="dovecot",
        meaning="Whom Dovecot's trusted processes run as. The director needs to be this user to "
        "reach the auth sockets.",
        in_doubt="dovecot.",
    ),
    Definition(
        name="default_login_user",
        kind="user name",
        default="dovenull",
        meaning="Whom Dovecot's login processes run as; they must reach the login socket.",
        in_doubt="dovenull.",
    ),
    Definition(
        name="default_client_limit",
        kind="number",
        default="1000",
        lowest=1,
        meaning="Connections taken at one time, unless service director sets client_limit.",
        trade_off="Every login process holds one connection: too few make logins wait.",
        in_doubt="`client_limit = 10000` in service director.",
    ),
    Definition(
        name="listen",
        kind="list of addresses",
        default="*, ::",
        meaning="Where TCP listeners listen if they have no address of their own.",
        in_doubt="give the ring listener its own address instead.",
    ),
    Definition(
        name="director_hash",
        kind="choice",
        default="md5",
        choices=("md5", "murmur3"),
        is_ours=True,
        meaning="How the user name is hashed. Must be the same on all directors; one that "
        "disagrees is refused.",
        trade_off="md5 is what Dovecot's directors do, and is needed for a ring with any of them; "
        "murmur3 takes a tenth of the time.",
        in_doubt="md5 when replacing Dovecot's director, murmur3 for a new ring.",
    ),
    Definition(
        name="director_log_format",
        kind="choice",
        default="text",
        choices=("text", "json"),
        is_ours=True,
        meaning="How log lines on stderr look: as Dovecot's, or one JSON object each.",
        in_doubt="text.",
    ),
    Definition(
        name="director_kick",
        kind="choice",
        default="auto",
        choices=("auto", "ipc", "anvil", "none"),
        is_ours=True,
        meaning="How sessions on this machine are closed: over Dovecot 2.3's ipc socket, over "
        "2.4's anvil socket, or not at all. auto takes the one that is there.",
        trade_off="none makes moves unsafe: old sessions stay where they are.",
        in_doubt="auto.",
    ),
    Definition(
        name="director_proxy_refresh",
        kind="choice",
        default="auto",
        choices=("auto", "yes", "no"),
        is_ours=True,
        meaning="Whether login processes are asked to report live sessions on the proxy-notify "
        "FIFO. auto: if we have that FIFO.",
        trade_off="With yes and a FIFO that nobody reads, login processes hang.",
        in_doubt="auto.",
    ),
    Definition(
        name="director_auth_login_socket",
        kind="path",
        default="auth-login",
        is_ours=True,
        meaning="Where the auth service answers login processes, relative to base_dir.",
        in_doubt="auth-login.",
    ),
    Definition(
        name="director_auth_userdb_socket",
        kind="path",
        default="auth-userdb",
        is_ours=True,
        meaning="Where the auth service answers lmtp and doveadm, relative to base_dir.",
        in_doubt="auth-userdb.",
    ),
    Definition(
        name="director_snapshot_path",
        kind="path",
        is_ours=True,
        meaning="A file that keeps users and host states over a restart. Empty: none is kept, and "
        "a restarted director learns them from its neighbours.",
        trade_off="A single director without it forgets where its users are.",
        in_doubt="/var/lib/ringdirector/snapshot for a single director, empty in a ring.",
    ),
    Definition(
        name="director_snapshot_interval",
        kind="time",
        default="0",
        is_ours=True,
        meaning="How often the snapshot is written besides at the end. 0: only then.",
        trade_off="Shorter loses less in a crash, and writes the whole table each time.",
        in_doubt="60 s for a single director, 0 in a ring.",
    ),
)

BY_NAME = {definition.name: definition for definition in DEFINITIONS}

REMOVED = {
    "director_consistent_hashing": "2.3 always behaves as with yes; remove the setting",
    "director_doveadm_port": "give the inet_listener in service director the name doveadm instead",
}
"""Settings of 2.2 that no longer exist, and what to do about them."""

VARIABLES = {d.name: d.default for d in DEFINITIONS} | {"default_internal_group": "dovecot"}
"""What `$name` stands for where nothing was set."""
