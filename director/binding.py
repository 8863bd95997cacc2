"""Open the listeners: take over what a parent opened, bind the rest ourselves.

An inherited listener (systemd, Dovecot's master) is matched to a configured one by its path, or by
its name (the base name of the path), or, for TCP, by its port. Under Dovecot's master the
configuration of the master decides, so everything inherited is served by what its name says and
nothing is bound.

A socket of our own is bound under a name beginning with a dot, gets its owner and mode, and is then
renamed to its place: nobody ever sees it with the wrong mode, and the rename replaces what a dead
predecessor left behind. If a live one answers there we refuse to start, because its logins would
silently become ours. Dovecot's master ignores names with a dot in front when it looks through
`login/` (dovecot-2.4-lab.md section 4).

A FIFO is opened for reading and writing, so that it always has a reader while we live; one without
a reader freezes login processes that open it (login-sockets.md section 8.1). That is why `close`
removes our own sockets and FIFOs: an error is better than a freeze. Inherited ones are never
removed: they must outlive us.
"""

from __future__ import annotations

import grp
import os
import pwd
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs

from director.descriptors import Inherited, kind_of, seal
from director.errors import StartupRefused
from director.listeners import Listener, ListenerKind, Role, role_of
from ring import limits
from ring.address import parse_ip

_FIFO_OPEN = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC


@attrs.define(eq=False, kw_only=True)
class Opened:
    """A listener that is open; `inode` is (device, inode) of its path if we made it, else None."""

    listener: Listener
    descriptor: int
    inode: tuple[int, int] | None

    def take_socket(self) -> socket.socket:
        """Return the listening socket; from now on it is the caller's to close."""
        assert self.listener.kind is not ListenerKind.FIFO
        return socket.socket(fileno=self.descriptor)

    def remove(self) -> None:
        """Remove the path from the file system if it is ours and still what we made."""
        path = self.listener.path
        if self.inode is None or path is None:
            return
        try:
            if _inode(path) == self.inode:
                path.unlink()
        except OSError:
            pass  # gone, or no longer ours to remove since we gave up root


def open_listeners(
    listeners: Sequence[Listener], inherited: Sequence[Inherited]
) -> tuple[Opened, ...]:
    """Return every configured listener, open.

    Raises:
        StartupRefused: one cannot be opened, or something was inherited that is not configured.
    """
    left = list(inherited)
    opened: list[Opened] = []
    try:
        for listener in listeners:
            found = next((i for i in left if _is_same(i, listener)), None)
            if found is None:
                opened.append(_bind(listener))
                continue
            left.remove(found)
            opened.append(Opened(listener=listener, descriptor=found.descriptor, inode=None))
        if left:
            names = ", ".join(f"{i.kind.value} {i.name!r}" for i in left)
            raise StartupRefused(
                f"the service manager passed {names}, which the configuration does not name; "
                "give the socket unit FileDescriptorName= the name of a listener of "
                f"service director: {', '.join(str(listener) for listener in listeners)}"
            )
    except BaseException:
        for item in opened:
            item.remove()
            os.close(item.descriptor)
        raise
    return tuple(opened)


def adopt_listeners(inherited: Sequence[Inherited]) -> tuple[Opened, ...]:
    """Return what Dovecot's master opened, each in the role of its name."""
    return tuple(
        Opened(
            listener=_describe(item, role_of(item.kind, item.name)),
            descriptor=item.descriptor,
            inode=None,
        )
        for item in inherited
    )


def _describe(item: Inherited, role: Role) -> Listener:
    if item.kind is ListenerKind.FIFO:
        return Listener(kind=item.kind, role=role, name=item.name, path=Path(item.name))
    with socket.socket(fileno=os.dup(item.descriptor)) as copy:
        address = copy.getsockname()
    if item.kind is ListenerKind.UNIX:
        return Listener(kind=item.kind, role=role, name=item.name, path=Path(str(address)))
    return Listener(
        kind=item.kind, role=role, name=item.name, ip=parse_ip(address[0]), port=address[1]
    )


def _is_same(item: Inherited, listener: Listener) -> bool:
    if item.kind is not listener.kind:
        return False
    described = _describe(item, listener.role)
    if item.kind is ListenerKind.INET:
        is_there = described.ip == listener.ip or (
            described.ip is not None and described.ip.is_unspecified
        )
        return described.port == listener.port and is_there
    if described.path == listener.path:
        return True
    return item.name in (listener.name, Path(listener.name).name)


def _bind(listener: Listener) -> Opened:
    try:
        if listener.kind is ListenerKind.INET:
            return _bind_inet(listener)
        if listener.kind is ListenerKind.FIFO:
            return _make_fifo(listener)
        return _bind_unix(listener)
    except OSError as error:
        raise StartupRefused(
            f"{listener.kind.value} {listener}: {error.strerror or error}"
        ) from error


def _bind_inet(listener: Listener) -> Opened:
    ip = listener.ip
    assert ip is not None
    sock = socket.socket(socket.AF_INET6 if ip.version == 6 else socket.AF_INET)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ip.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((str(ip), listener.port))
        sock.listen(limits.LISTEN_BACKLOG)
    except BaseException:
        sock.close()
        raise
    seal(sock.fileno())
    return Opened(listener=listener, descriptor=sock.detach(), inode=None)


def _bind_unix(listener: Listener) -> Opened:
    path = listener.path
    assert path is not None
    _refuse_live_socket(path)
    _make_directory(listener)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.bind(str(draft))
        _set_owner(draft, listener)
        draft.chmod(listener.mode)
        sock.listen(limits.LISTEN_BACKLOG)
        draft.rename(path)
    except BaseException:
        sock.close()
        draft.unlink(missing_ok=True)
        raise
    seal(sock.fileno())
    return Opened(listener=listener, descriptor=sock.detach(), inode=_inode(path))


def _make_directory(listener: Listener) -> None:
    """Make the directory of a listener like `login/ext/director`: nobody else does.

    Not base_dir and not `login`: those are Dovecot's to make, and if they are missing the
    configuration is probably about another place.
    """
    path = listener.path
    assert path is not None
    if len(Path(listener.name).parts) > 2 and not path.parent.exists():
        path.parent.mkdir()
        path.parent.chmod(0o755)  # login processes must get in, whatever our umask is


def _refuse_live_socket(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartupRefused(f"unix_listener {path}: there is something that is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return
        except BlockingIOError:
            pass  # its backlog is full: somebody lives there
    raise StartupRefused(
        f"unix_listener {path}: another process answers there; stop it first, or give this "
        "director another path"
    )


def _make_fifo(listener: Listener) -> Opened:
    path = listener.path
    assert path is not None
    _make_directory(listener)
    try:
        os.mkfifo(path, 0)
    except FileExistsError:
        if not stat.S_ISFIFO(path.lstat().st_mode):
            raise StartupRefused(
                f"fifo_listener {path}: there is something that is no FIFO"
            ) from None
    _set_owner(path, listener)
    path.chmod(listener.mode | 0o600)  # so that we can open it
    descriptor = os.open(path, _FIFO_OPEN)
    path.chmod(listener.mode)
    assert kind_of(descriptor) is ListenerKind.FIFO
    return Opened(listener=listener, descriptor=descriptor, inode=_inode(path))


def _set_owner(path: Path, listener: Listener) -> None:
    if not listener.user and not listener.group:
        return
    try:
        user_id = _identify(listener.user, lambda name: pwd.getpwnam(name).pw_uid)
        group_id = _identify(listener.group, lambda name: grp.getgrnam(name).gr_gid)
    except KeyError as error:
        raise StartupRefused(
            f"{listener.kind.value} {listener}: user = {listener.user}, group = {listener.group}: "
            f"no such account: {error}"
        ) from None
    os.chown(path, user_id, group_id)


def _identify(name: str, find: Callable[[str], int]) -> int:
    if not name:
        return -1
    return int(name) if name.isdecimal() else find(name)


def _inode(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
