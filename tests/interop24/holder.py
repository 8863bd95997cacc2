"""What systemd does for `conf/systemd`: hold the listening sockets, and restart the daemon.

Run inside the chroot by its own Python, as root: `holder.py SPECIFICATION`, a JSON object with
`sockets` (path, mode, user), `user`, `groups`, `command`, `restart_s` and `pid_file`. The sockets
stay open whatever happens to the daemon, which is started anew `restart_s` seconds after its
end. SIGTERM ends both; the sockets are removed.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import signal
import socket
import sys
import time
from pathlib import Path

FIRST_DESCRIPTOR = 3
OUT_OF_THE_WAY = 100


def main() -> None:
    specification = json.loads(sys.argv[1])
    signal.signal(signal.SIGTERM, end)
    sockets = [listen(**item) for item in specification["sockets"]]
    try:
        while True:
            run_once(specification, sockets)
            time.sleep(specification["restart_s"])
    finally:
        for item in specification["sockets"]:
            Path(item["path"]).unlink()


def end(number: int, frame: object) -> None:
    raise SystemExit(0)


def listen(*, path: str, mode: int, user: str) -> socket.socket:
    Path(path).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    Path(path).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    Path(path).chmod(mode)
    if user:
        account = pwd.getpwnam(user)
        os.chown(path, account.pw_uid, account.pw_gid)
    listener.listen(4096)
    return listener


def run_once(specification: dict[str, object], sockets: list[socket.socket]) -> None:
    """Start the daemon and wait for its end; end it if we are told to end."""
    user, groups, command = (specification[name] for name in ("user", "groups", "command"))
    assert isinstance(user, str)
    assert isinstance(groups, list)
    assert isinstance(command, list)
    account = pwd.getpwnam(user)
    extra = [grp.getgrnam(name).gr_gid for name in groups]
    pid = os.fork()
    if pid == 0:
        try:
            pass_on(sockets)
            os.setgroups([account.pw_gid, *extra])
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)
            os.execv(command[0], command)
        finally:
            os._exit(70)
    Path(str(specification["pid_file"])).write_text(f"{pid}\n")
    try:
        _, status = os.waitpid(pid, 0)
        print(f"holder: daemon {pid} ended with {status}", file=sys.stderr, flush=True)
    except SystemExit:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)
        raise


def pass_on(sockets: list[socket.socket]) -> None:
    """Put the sockets where sd_listen_fds(3) looks for them. In the child."""
    for index, item in enumerate(sockets):
        os.dup2(item.fileno(), OUT_OF_THE_WAY + index)
    for index in range(len(sockets)):
        os.dup2(OUT_OF_THE_WAY + index, FIRST_DESCRIPTOR + index)
        os.close(OUT_OF_THE_WAY + index)
    os.environ["LISTEN_PID"] = str(os.getpid())
    os.environ["LISTEN_FDS"] = str(len(sockets))
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


if __name__ == "__main__":
    main()
