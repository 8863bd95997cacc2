"""The verbs of `doveadm director`: their names, their options, and what runs them.

`usage` is doveadm's own text for what may follow the verb. Beyond doveadm: `drain`, and (`is_ours`)
`status --watch`, `status --sessions`, `status -t`, `flush -f`, `flush --progress`, `kick --hash`,
`dump --program`, and `-c` and `--help` everywhere. None of them takes a spelling that doveadm
understands otherwise.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from director.cli import drain, host_verbs, progress, ring_verbs, user_verbs
from director.cli.call import Call
from director.cli.options import Arguments, Parameter

SOCKET = Parameter(
    name="socket-path", letters="a", help="the admin socket: a path, or host:port over TCP"
)
CONFIG = Parameter(
    name="config", letters="c", is_ours=True, help="our configuration file, as before the verb"
)
HELP = Parameter(name="help", is_flag=True, is_ours=True, help="show this")
USER = Parameter(name="user", is_positional=True, help="a user name")
HOST = Parameter(name="host", is_positional=True, help="a mail server's address or name")
WEIGHT = Parameter(
    name="vhost-count", is_positional=True, help="its weight: 0 to 1000, 100 for a new one"
)
TAG = Parameter(name="tag", letters="t", help="the tag of the mail server")
DIRECTOR_IP = Parameter(name="ip", is_positional=True, help="a director's address")
DIRECTOR_PORT = Parameter(
    name="port", is_positional=True, help="its ring port; the asked director's own if not given"
)


@attrs.frozen(kw_only=True)
class Verb:
    """One verb; `is_formatted` says for which arguments its own text is the default format."""

    words: str
    usage: str
    help: str
    run: Callable[[Call], None]
    parameters: tuple[Parameter, ...]
    is_formatted: Callable[[Arguments], bool] = lambda arguments: False


def _status(call: Call) -> None:
    if call.arguments.has("watch"):
        progress.watch(call, _show_status)
    else:
        _show_status(call)


def _show_status(call: Call) -> None:
    client = call.connect()
    user = call.arguments.get("user")
    if user is None:
        host_verbs.show_hosts(call, client)
    else:
        user_verbs.show_user(call, client, user)


VERBS = (
    Verb(
        words="add",
        usage="[-a <director socket path>] [-t <tag>] <host> [<vhost count>]",
        help="Add a mail server, or change the weight of one.",
        run=host_verbs.add,
        parameters=(SOCKET, TAG, HOST, WEIGHT, CONFIG, HELP),
    ),
    Verb(
        words="down",
        usage="[-a <director socket path>] <host>",
        help="Send no new users to a mail server; those it has stay.",
        run=host_verbs.down,
        parameters=(SOCKET, HOST, CONFIG, HELP),
    ),
    Verb(
        words="drain",
        usage="[-a <director socket path>] [--max-parallel <n>] [--timeout <s>] <host>",
        help="Take a mail server out of use: down, flush, and wait until it has no users and no "
        "sessions. The exit status is 0 if it is empty, 75 if time was up or it is the last one. "
        "Interrupting it stops only the waiting. `director up HOST` takes it back.",
        run=drain.drain,
        parameters=(
            SOCKET,
            Parameter(name="max-parallel", help="users moved at one time"),
            Parameter(
                name="timeout",
                help=f"seconds to wait at most, {drain.TIMEOUT_S_DEFAULT} if not given",
            ),
            HOST,
            CONFIG,
            HELP,
        ),
    ),
    Verb(
        words="dump",
        usage="[-a <director socket path>]",
        help="Print the commands that bring a fresh ring to this state.",
        run=host_verbs.dump,
        parameters=(
            SOCKET,
            Parameter(
                name="program",
                is_ours=True,
                help='what the commands begin with, "doveadm director" if not given',
            ),
            CONFIG,
            HELP,
        ),
        is_formatted=lambda arguments: True,
    ),
    Verb(
        words="flush",
        usage="[-a <director socket path>] [-F] [--max-parallel <n>] <host>|all",
        help="Move users to where they belong now: all of a mail server that is down or has "
        "weight 0, else those that it only has by history. Their sessions are closed.",
        run=host_verbs.flush,
        parameters=(
            SOCKET,
            Parameter(
                name="force-flush",
                letters="Ff",
                is_flag=True,
                help="only forget the users; their sessions go on (dangerous).",
            ),
            Parameter(name="max-parallel", help="users moved at one time"),
            HOST,
            Parameter(
                name="progress", is_flag=True, is_ours=True, help="say how many users are left"
            ),
            CONFIG,
            HELP,
        ),
    ),
    Verb(
        words="kick",
        usage="[-a <director socket path>] [-f <passdb field>] <user>",
        help="Close the sessions of a user everywhere.",
        run=user_verbs.kick,
        parameters=(
            SOCKET,
            Parameter(
                name="passdb-field", letters="f", help="the user is known by this passdb field"
            ),
            USER,
            Parameter(
                name="hash", is_flag=True, is_ours=True, help="the user is given by its hash"
            ),
            CONFIG,
            HELP,
        ),
    ),
    Verb(
        words="map",
        usage="[-a <director socket path>] [-f <users file>] [-h | -u] [<host>]",
        help="List which user is where.",
        run=user_verbs.map_users,
        parameters=(
            SOCKET,
            Parameter(
                name="users-file", letters="f", help="names, one a line, instead of the userdb; -"
            ),
            Parameter(
                name="hash-map", letters="h", is_flag=True, help="list the names of a hash instead"
            ),
            Parameter(
                name="user-map", letters="u", is_flag=True, help="print the hash of a name instead"
            ),
            Parameter(
                name="host", is_positional=True, help="a mail server; with -h a hash, -u a name"
            ),
            CONFIG,
            HELP,
        ),
    ),
    Verb(
        words="move",
        usage="[-a <director socket path>] <user> <host>",
        help="Send a user to a mail server, closing its sessions elsewhere.",
        run=user_verbs.move,
        parameters=(SOCKET, USER, HOST, CONFIG, HELP),
    ),
    Verb(
        words="remove",
        usage="[-a <director socket path>] <host>",
        help="Forget a mail server and its users.",
        run=host_verbs.remove,
        parameters=(SOCKET, HOST, CONFIG, HELP),
    ),
    Verb(
        words="ring add",
        usage="[-a <director socket path>] <ip> [<port>]",
        help="Let the ring know a director.",
        run=ring_verbs.ring_add,
        parameters=(SOCKET, DIRECTOR_IP, DIRECTOR_PORT, CONFIG, HELP),
    ),
    Verb(
        words="ring remove",
        usage="[-a <director socket path>] <ip> [<port>]",
        help="Let the ring forget a director.",
        run=ring_verbs.ring_remove,
        parameters=(SOCKET, DIRECTOR_IP, DIRECTOR_PORT, CONFIG, HELP),
    ),
    Verb(
        words="ring status",
        usage="[-a <director socket path>]",
        help="List the directors and the connections to them.",
        run=ring_verbs.ring_status,
        parameters=(SOCKET, CONFIG, HELP),
    ),
    Verb(
        words="status",
        usage="[-a <director socket path>] [<user>] [<tag>]",
        help="List the mail servers, or show where a user is and would be.",
        run=_status,
        parameters=(
            SOCKET,
            USER,
            Parameter(
                name="tag", letters="t", is_positional=True, help="look among users of this tag"
            ),
            Parameter(name="watch", is_flag=True, is_ours=True, help="show it again and again"),
            Parameter(
                name="sessions",
                is_flag=True,
                is_ours=True,
                help="count the open sessions, too, as far as the director's machine has them",
            ),
            CONFIG,
            HELP,
        ),
        is_formatted=lambda arguments: arguments.has("user"),
    ),
    Verb(
        words="up",
        usage="[-a <director socket path>] <host>",
        help="Send users to a mail server again.",
        run=host_verbs.up,
        parameters=(SOCKET, HOST, CONFIG, HELP),
    ),
    Verb(
        words="update",
        usage="[-a <director socket path>] <host> <vhost count>",
        help="Change the weight of a mail server that is known.",
        run=host_verbs.update,
        parameters=(SOCKET, HOST, WEIGHT, CONFIG, HELP),
    ),
)

BY_WORDS = {verb.words: verb for verb in VERBS}
