"""Being a child of Dovecot's master process: its private interface, and nothing else knows it.

dovecot-2.4-plug.md section 6 and dovecot-2.4-lab.md section 7 are what this follows. The master
opens the listeners, starts us as root with the base directory as working directory, and says the
rest in environment variables and on fixed descriptors. Our duties:

- find the listeners: they stand in one row whose first number changed twice (7, 8, 9), so it is
  found, never assumed;
- report 12 bytes on descriptor 5 within 30 s, once everything works. A failure before the report
  is throttled by the master (2, 4 .. 60 s), one after it is restarted in a tight loop;
- end when descriptor 6 hangs up (reload or stop);
- never close or unlink a listener: they are the master's, and outlive us;
- give up root as RESTRICT_* says, unless the master did (`drop_priv_before_exec`).

The free slots in the report stay at one below the limit for our whole life. Zero would make the
master take the listeners over and drop clients after a while, any other number means nothing to it
(measured), and counting costs a system call per login. We have limits of our own.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping

import attrs

from director.descriptors import Inherited, kind_of, seal
from director.errors import StartupRefused

STATUS_DESCRIPTOR = 5
ALIVE_DESCRIPTOR = 6
_FIRST_DESCRIPTOR_MIN = 7
_DESCRIPTORS_SEARCHED = 64
_STATUS = struct.Struct("=iII")


@attrs.frozen(kw_only=True)
class Restrictions:
    """What RESTRICT_* asks for; None leaves an id alone."""

    user_id: int | None
    group_id: int | None
    extra_groups: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Master:
    """What the master told us at start."""

    service_name: str
    dovecot_version: str
    generation: int
    client_limit: int
    restrictions: Restrictions
    listeners: tuple[Inherited, ...]


def find_master(environ: Mapping[str, str]) -> Master | None:
    """Return what Dovecot's master says, None if it did not start us.

    Raises:
        StartupRefused: it did, but not as any version we know does.
    """
    if "GENERATION" not in environ or "SOCKET_COUNT" not in environ:
        return None
    return Master(
        service_name=environ.get("SERVICE_NAME", "director"),
        dovecot_version=environ.get("DOVECOT_VERSION", ""),
        generation=_number(environ, "GENERATION", "0"),
        client_limit=_number(environ, "CLIENT_LIMIT", "1"),
        restrictions=Restrictions(
            user_id=_optional_number(environ, "RESTRICT_SETUID"),
            group_id=_optional_number(environ, "RESTRICT_SETGID"),
            extra_groups=tuple(
                name for name in environ.get("RESTRICT_SETEXTRAGROUPS", "").split(",") if name
            ),
        ),
        listeners=_find_listeners(environ),
    )


def report_status(master: Master) -> None:
    """Tell the master that this process is up and takes clients."""
    available = max(1, master.client_limit - 1)
    os.write(STATUS_DESCRIPTOR, _STATUS.pack(os.getpid(), master.generation, available))


def _find_listeners(environ: Mapping[str, str]) -> tuple[Inherited, ...]:
    count = _number(environ, "SOCKET_COUNT", "0")
    if count == 0:
        raise StartupRefused("Dovecot's master started us without any listener")
    first = _first_listener()
    listeners = []
    for index in range(count):
        # The base name of the path (or the name of an inet_listener), then TAB separated flags.
        name, *flags = environ.get(f"SOCKET{index}_SETTINGS", "").split("\t")
        descriptor = first + index
        kind = kind_of(descriptor)
        if kind is None:
            raise StartupRefused(
                f"Dovecot's master announced {count} listeners from descriptor {first} on, but "
                f"number {descriptor} ({name or 'without a name'}) cannot be listened on"
            )
        seal(descriptor)
        listeners.append(
            Inherited(name=name, descriptor=descriptor, kind=kind, flags=frozenset(flags))
        )
    return tuple(listeners)


def _first_listener() -> int:
    for descriptor in range(_FIRST_DESCRIPTOR_MIN, _DESCRIPTORS_SEARCHED):
        if kind_of(descriptor) is not None:
            return descriptor
    raise StartupRefused(
        "Dovecot's master announced listeners, but none of the descriptors "
        f"{_FIRST_DESCRIPTOR_MIN} to {_DESCRIPTORS_SEARCHED - 1} can be listened on"
    )


def _number(environ: Mapping[str, str], name: str, default: str) -> int:
    text = environ.get(name, default)
    if not text.isdecimal():
        raise StartupRefused(f"environment variable {name} is {text!r}, expected a number")
    return int(text)


def _optional_number(environ: Mapping[str, str], name: str) -> int | None:
    return _number(environ, name, "") if name in environ else None
