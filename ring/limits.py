"""Every bound in one place: value, unit, reason, and what happens when it is reached.

Names end in their unit. A limit that an operator may want to move is a setting instead, and its
default stands in `director/settings.py`. Reaching a limit is always counted and noted.
"""

# --- ring links -------------------------------------------------------------------------------

CLASSIC_LINE_BYTES_MAX = 1023
"""A classic ring line without its LF (ring-protocol.md section 3). Longer: the link is hung up."""

FRAME_BYTES_MAX = 256 * 1024
"""A native frame with its header. 4,096 users need about 45 kB; longer: the link is hung up."""

FRAME_USERS_MAX = 4096
"""Users in one native frame that we accept. More: the link is hung up."""

STEP_USERS_MAX = 1024
"""Users in one native frame that we send, and in one step of an export: the receiver merges a frame
in one go, 2 us a user, and a login may have to wait for it. More: the sender starts a new frame."""

FRAME_TEXT_BYTES_MAX = 1000
"""A user name, tag or host name on the ring, so that it fits a classic line when escaped at worst
once more. Longer: refused where it enters (admin socket, configuration)."""

DIGESTS_STEP_USERS = 8192
"""Users whose digests are made, and compared by the receiver, in one go (about 3 ms), but a whole
shard at least. More: in the next step."""

DIGESTS_WAITING_MAX = 4096
"""Messages with digests that wait to be compared; a tag needs 256 at most. More: hung up."""

EXPORT_OUTPUT_BYTES_MAX = 16 * 1024
"""An export (handshake users) pauses while a link has this much unsent output, so that memory stays
bounded with any number of users, and that no step of the writer takes more than 2 ms. The original
has 128 KiB here."""

DIRECTORS_MAX = 1024
"""Directors one node remembers. The original's guidance is 9; a peer that announces more than this
is hung up, because the list would otherwise grow with every wrong ME or CONNECT."""

LINKS_MAX = 256
"""Ring connections at one time. More: the newest accepted one is closed at once."""

RECEIVE_BYTES = 16 * 1024
"""Read from a link at a time, some 450 classic users or 1,500 native ones (2 to 3 ms); then
everybody else gets a turn."""

SEND_BYTES = 64 * 1024
"""Given to a ring connection at a time; the rest stays in the outbox, where newer users replace
older ones."""

GOSSIP_PAUSE_S = 0.005
"""Users that are told to a neighbour less than this after others wait for the rest of it, so that
they travel together: waking up costs each end as much as 100 users. Anything else is sent at once,
and takes the users before it along."""

GOSSIP_PAUSE_S_MAX = 0.03
"""The same after GOSSIP_CROWD_BYTES or more were sent at a time: many users come, and every node
places a new one equally, whether it has heard of it or not."""

GOSSIP_CROWD_BYTES = 256
"""Some 45 users in 5 ms, which is 9,000 logins a second."""

FRAMES_REMEMBERED_MAX = 1024
"""Gossip frames a node remembers the digest of until their twin comes round the other way, 100 kB.
More: the oldest is forgotten, and its twin is read, which costs time and nothing else."""

HANGUP_SEND_S = 2.0
"""How long a ring connection that is being closed may take to send its last words."""

LISTEN_BACKLOG = 511
"""Connections the kernel holds for us on one listener. More: they wait in their own connect(2)."""

WEAK_COPIES_MAX = 8
"""Copies of one user's weak mark a node passes on after the first (each direction needs one). More:
dropped, because their originator is no longer there to take them off the ring."""

DIRECTOR_COPIES_MAX = 8
"""Times in a row a node passes on that a director exists while it learns nothing from it. More:
dropped. The original passes on every one, and nothing ends them while links form a circle that
leaves that director out, as they do while a partition heals (for up to ten seconds, as fast as the
network carries them)."""

SYNC_COPIES_MAX = 4
"""Copies of one director's same SYNC a node passes on (ring-protocol.md section 11.4). More:
dropped."""

# --- hosts ------------------------------------------------------------------------------------

WEIGHT_MAX = 1000
"""Points one mail host may have when an administrator sets it (users-and-hosts.md section 2.3).
More: refused with `vhost count too large`."""

RING_WEIGHT_MAX = 100_000
"""Points accepted from a neighbour. The original takes any number and then builds that many points;
we hang up instead (ring-protocol.md section 16)."""

HOSTS_MAX = 4096
"""Mail hosts in all. Users refer to hosts by 16-bit numbers, flushed ones included."""

IPV4_RANGE_HOSTS_MAX = 256
IPV6_RANGE_HOSTS_MAX = 65536
"""Addresses in one range of `director_mail_servers` (users-and-hosts.md sec. 2.2). The IPv6 bound
is the original's; HOSTS_MAX is reached first. More: the configuration is refused."""

# --- lookups and moves ------------------------------------------------------------------------

LOOKUP_TIMEOUT_S = 30.0
"""A parked lookup fails with a temporary error after this long; the original: after 30 to 60
(login-sockets.md section 5.3)."""

PARKED_LOOKUPS_MAX = 100_000
"""Lookups waiting at one time, about 60 MB. More: the newest fails at once (temporary error)."""

MOVE_TIMEOUT_S = 30.0
"""A move that is not finished everywhere by then is given up (users-and-hosts.md section 11)."""

WALK_USERS_MAX = 4096
"""Users one step of a flush, or one retry of parked lookups, looks at (about 4 ms), and timers one
tick looks at (each move has one). More: the rest has its turn in the next tick."""

COMMAND_TIMEOUT_S = 30.0
"""An administrator's command waits this long for a synced ring, before and after its change."""

COMMANDS_WAITING_MAX = 1000
"""Administrator's commands waiting for the ring or for a kick slot. More: answered TRYAGAIN."""

# --- start and end of the daemon ----------------------------------------------------------------

RECALL_S = 10.0
"""From the start until logins are answered, for asking login processes who is live. More than
IPC_REPLY_TIMEOUT_S, so that one that hangs costs only its own sessions. Longer: that is given up,
and users are placed by the snapshot or by their hash."""

SAVE_S = 5.0
"""Writing the snapshot at the end. Longer: the last one stays."""

LIVE_POLL_S_MAX = 60.0
"""Login processes are asked for live users at least this often if they do not report them."""

# --- log --------------------------------------------------------------------------------------

LOG_LINES_PER_S_MAX = 50
"""Log lines of one kind in one second. More: counted, and their number told in the next line."""

# --- local sockets ----------------------------------------------------------------------------

AUTH_LINE_BYTES_MAX = 16384
"""A line of the auth protocols (login-sockets.md section 2.3). Longer: connection closed."""

ADMIN_LINE_BYTES_MAX = 1024
"""A line on director-admin (doveadm-director.md section 1.1). Longer: the connection is closed."""

ADMINISTRATORS_MAX = 256
"""Connections on director-admin. More: the one that has been idle longest is closed, so that
forgotten ones of a monitoring script cannot lock an administrator out."""

ADMIN_INPUT_BYTES_MAX = 64 * 1024
"""Lines of one administrator that wait for an answer to an earlier one. More: we stop reading."""

ADMIN_STEPS_MAX = 64
"""Answers or pieces of a list made for one administrator before others have their turn."""

ADMIN_STUCK_S = 60.0
"""An administrator who has not read a byte of a waiting reply for so long is hung up."""

NOTIFY_LINE_BYTES_MAX = 1024
"""A line on proxy-notify. Longer: that line is dropped, the reader goes on."""

SESSION_OUTPUT_BYTES_MAX = 1024 * 1024
"""Unsent bytes of one local connection before we stop reading its other side (back-pressure), so a
client that never reads costs this much and no more."""

SESSION_READ_BYTES = 64 * 1024
"""Read from one local connection at a time; then the next ready one has its turn."""

POLL_DESCRIPTORS_MAX = 256
"""Ready descriptors in one batch of the poll set; more wait for the next."""

POLL_TURN_S = 0.005
"""One turn of the poll set, give or take one descriptor; then a checkpoint for everybody else."""

POLL_LINGER_S = 0.001
"""How long the poll set waits for the next event by itself before it lets everybody wait together;
at most POLL_TURN_S in a row, and never while others have something to do."""

POLL_GATHER_S = 0.001
"""How long the poll set rests before each turn while one read brings several replies of the auth
service. More would delay ring links, which rest too; logins in crowds wait for 10 ms anyway."""

POLL_CROWD_S = 0.005
"""How long after such a read it goes on resting."""

AUTH_PENDING_MAX = 65536
"""Requests held back (parked) on one login connection. More: the newest is answered temp_fail."""

AUTH_PENDING_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of replies held back on one login connection. More: the newest is answered temp_fail."""

AUTH_RETRY_S = 0.1
"""How often the auth service is dialled again while clients wait for it."""

AUTH_WAIT_S = 60.0
"""A client that found no auth service is held this long, then closed. Login processes themselves
give up a silent connection after 30 s (dovecot-2.4-lab.md section 4)."""

ACCEPTS_MAX = 32
"""Clients accepted from one listener at a time; then the next ready descriptor has its turn."""

ACCEPT_PAUSE_S = 0.2
"""A listener rests this long when there are no descriptors or sessions left; clients wait in its
queue meanwhile."""

KEEP_S = 60.0
"""The keeper holds the connections of a daemon that is away so long. Longer: they end, and login
processes connect anew."""

LEAVE_S = 5.0
"""At its end a daemon still answers what waits for a host. Longer: those logins fail for now."""

# --- kicks and flush programs -----------------------------------------------------------------

KICK_TIMEOUT_S = 20.0
"""A kick that Dovecot has not answered by then is reported as failed; below MOVE_TIMEOUT_S, so that
a move still goes on in order. The original waits for ever."""

KICKS_WAITING_MAX = 10_000
"""Kicks not yet sent to Dovecot, about 5 MB. More: the newest fails at once."""

IPC_CONNECTIONS_MAX = 4
"""Connections to Dovecot 2.3's `ipc`, each for one command at a time (ipc-kick.md section 1.2)."""

IPC_BATCH_KICKS_MAX = 16
"""Kicks that one connection takes at a time and that share one list of sessions."""

IPC_REPLY_TIMEOUT_S = 5.0
"""One command to `ipc`. Longer: one login process hangs; the others have done what was asked, the
connection is given up, the kick is reported as failed."""

IPC_HUNG_REPLY_TIMEOUT_S = 0.2
"""The same while a login process is known to hang, so that one of them cannot make every kick of a
flush take five seconds."""

IPC_VALUES_MAX = 500
"""Values in one KICK-ALT; about 20 kB. More: several commands. 8,000 were accepted by 2.3.19.1."""

SESSION_LINE_BYTES_MAX = 64 * 1024
"""A line in Dovecot's lists of sessions. Longer: the connection is closed, the kick fails."""

SESSIONS_MAX = 1_000_000
"""Sessions kept of one list, about 300 MB. More: the rest is left out, and that is noted."""

ANVIL_REPLY_TIMEOUT_S = 5.0
"""One answer of Dovecot 2.4's `anvil`, or the next part of its list. Longer: the kick fails."""

ANVIL_COMMAND_BYTES_MAX = 1023
"""A command to `anvil` (dovecot-2.4-lab.md section 5). Longer: not sent, the kick fails."""

ANVIL_ROUND_KICKS_MAX = 256
"""Kicks that share one list of anvil's. More wait for the next round."""

ADMIN_SOCKETS_MAX = 16
"""Login processes asked at the same time over their admin sockets."""

ADMIN_SOCKET_TIMEOUT_S = 2.0
"""One kick over the admin socket of a login process. Longer: the next round tries again."""

FLUSH_CONNECT_TIMEOUT_S = 10.0
"""Connecting to the flush program, names included. Longer: failure, the kick delay applies."""

FLUSH_OUTPUT_BYTES_MAX = 64 * 1024
"""What a flush program may say. More: it is hung up or killed, and counts as failed."""

FLUSH_OUTPUT_LINES_MAX = 20
"""Lines of a failed flush program that are logged. More are left out."""

FLUSH_PROGRAMS_MAX = 100
"""Flush programs that run at the same time. More wait, within MOVE_TIMEOUT_S."""

FLUSH_PROGRAM_END_S = 2.0
"""From SIGTERM to SIGKILL for a flush program that is no longer wanted."""

# --- configuration ----------------------------------------------------------------------------

INCLUDE_DEPTH_MAX = 16
"""Configuration files that include each other. Deeper: refused, it is a loop through links."""

CONFIG_FILE_BYTES_MAX = 4 * 1024 * 1024
"""One configuration file, or one file named by `<`. Longer: refused, it is not a configuration."""

# --- snapshot ---------------------------------------------------------------------------------

SNAPSHOT_BYTES_MAX = 1024 * 1024 * 1024
"""A snapshot file; 80 M users. Larger: it is not read."""

SNAPSHOT_FRAME_BYTES_MAX = 0xFFFF_FFFF
"""One shard of one tag, or the host list; what its length field can say."""

SNAPSHOT_HOLD_S = 5.0
"""For our predecessor to write its last snapshot and go. Longer: we start without the right to
write, so that two daemons never overwrite each other's file."""

SNAPSHOT_WRITE_BYTES = 256 * 1024
"""Handed to the writing thread at a time."""
