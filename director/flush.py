"""The flush program: tell the operator's script that a user moved, before logins go on.

users-and-hosts.md section 12 and ipc-kick.md section 4.1. `director_flush_socket` is `unix:PATH`,
`tcp:HOST:PORT` or `exec:PROGRAM`, with `%i`/`%{ip}` and `%h`/`%{host}` = the new host's IP and host
name. The setting is checked when the configuration is read; the original crashed on the first move.

The exchange, recorded from 2.3.19.1 (unix: also in capture 07):

    VERSION <TAB> script <TAB> 4 <TAB> 0 LF  - LF
    FLUSH LF  hash LF  old-ip LF  new-ip LF  up|down LF  weight LF  LF      then end of file

    unix answer  any output, then "+" LF or "-" LF as the last two bytes, then end of file
    tcp          the same bytes, then an empty dot-stuffed body (CR LF . CR LF); the answer is
                 dot-stuffed too: lines, "." on a line, and only then "+" LF or "-" LF

Anything else (no code, a code without LF, tcp without the dot line) is no success: the kick
delay applies, as in the original. `exec:` takes the rest of the setting as one path; exit code 0 is
success. A relative path counts from Dovecot's base_dir.

What this module does not decide: when a program runs, and what its result means (`ring/moves.py`).
An aborted program's result is not reported: nobody waits for it any more.
"""

from __future__ import annotations

import contextlib

# Names are looked up in this encoding, which Python loads at the first one. By then root is given
# up, and its account need not be able to read where Python is installed.
import encodings.idna  # noqa: F401
import enum
import functools
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import trio

from director.streams import connect_unix
from ring import limits
from ring.effects import Noted, RunFlushProgram
from ring.errors import ValueRefused, excerpt

Done = Callable[[bool], None]

_VARIABLE = re.compile(r"%(?:\{(?P<long>[^}]*)\}|(?P<short>.?))", re.DOTALL)
_NAMES = {"i": "ip", "h": "host", "%": "%", "ip": "ip", "host": "host"}


class FlushScheme(enum.Enum):
    UNIX = "unix"
    TCP = "tcp"
    EXEC = "exec"


class FlushFailed(Exception):
    """The program did not say that it succeeded; the text says what happened instead."""


@attrs.frozen
class FlushProgram:
    """A checked value of `director_flush_socket`."""

    scheme: FlushScheme
    template: str

    @classmethod
    def parse(cls, text: str) -> FlushProgram:
        """Return the program that the setting `text` names.

        Raises:
            ValueRefused: unknown scheme or variable, or tcp without host and port.
        """
        name, colon, template = text.partition(":")
        if not colon or name not in {scheme.value for scheme in FlushScheme}:
            raise ValueRefused(
                f"{text!r} does not say how to reach the flush program:"
                " expected unix:PATH, tcp:HOST:PORT or exec:PROGRAM"
            )
        program = cls(FlushScheme(name), template)
        sample = program.target(ip="192.0.2.1", hostname="backend.example.com")
        if not sample:
            raise ValueRefused(f"{text!r} names no program after the scheme")
        if program.scheme is FlushScheme.TCP:
            parse_tcp_target(sample)
        return program

    def target(self, *, ip: str, hostname: str) -> str:
        """Return the path, or host and port, for a user that goes to this host."""
        values = {"ip": ip, "host": hostname, "%": "%"}

        def value(match: re.Match[str]) -> str:
            name = match["short"] if match["long"] is None else match["long"]
            if name not in _NAMES:
                raise ValueRefused(
                    f"unknown variable {match[0]!r} in director_flush_socket"
                    f" {self.scheme.value}:{self.template}:"
                    " expected %i or %{ip}, %h or %{host}, %%"
                )
            return values[_NAMES[name]]

        return _VARIABLE.sub(value, self.template)


class FlushRunner:
    """Runs flush programs, each in its own task, each reported once unless it was aborted."""

    def __init__(
        self, program: FlushProgram, base_dir: Path, note: Callable[[Noted], None]
    ) -> None:
        self._program = program
        self._base_dir = base_dir
        self._note = note
        self._nursery: trio.Nursery | None = None
        self._early: list[tuple[RunFlushProgram, Done]] = []
        self._scopes: dict[int, trio.CancelScope] = {}
        self._limiter = trio.CapacityLimiter(limits.FLUSH_PROGRAMS_MAX)

    async def run(self) -> None:
        """Hold the tasks of the programs; ends only by cancellation."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for effect, done in self._early:
                nursery.start_soon(self._run_one, effect, done)
            self._early.clear()
            await trio.sleep_forever()

    def start(self, effect: RunFlushProgram, done: Callable[[bool], None]) -> None:
        """Run the program; `done(is_success)` comes later, within MOVE_TIMEOUT_S."""
        assert effect.flush_id not in self._scopes, effect
        self._scopes[effect.flush_id] = trio.CancelScope()
        if self._nursery is None:
            self._early.append((effect, done))
        else:
            self._nursery.start_soon(self._run_one, effect, done)

    def abort(self, flush_id: int) -> None:
        """End the program if it still runs; its `done` is not called."""
        scope = self._scopes.get(flush_id)
        if scope is not None:
            scope.cancel()

    async def _run_one(self, effect: RunFlushProgram, done: Done) -> None:
        scope = self._scopes[effect.flush_id]
        is_success = False
        address = f"{self._program.scheme.value}:{self._program.template}"
        with scope:
            try:
                with trio.fail_after(limits.MOVE_TIMEOUT_S):
                    async with self._limiter:
                        await self._exchange(effect)
                is_success = True
            except trio.TooSlowError:
                self._failed(effect, address, "no result in time")
            except (
                FlushFailed,
                ValueRefused,
                OSError,
                UnicodeError,  # of a host name that no name service can be asked for
                trio.BrokenResourceError,
            ) as error:
                for line in str(error).splitlines()[: limits.FLUSH_OUTPUT_LINES_MAX]:
                    self._failed(effect, address, line)
        del self._scopes[effect.flush_id]
        if not scope.cancelled_caught:
            done(is_success)

    def _failed(self, effect: RunFlushProgram, address: str, text: str) -> None:
        fields = (("user_hash", effect.user_hash), ("host", effect.new_ip), ("program", address))
        self._note(Noted("flush_program_failed", (*fields, ("text", text))))

    async def _exchange(self, effect: RunFlushProgram) -> None:
        hostname = effect.new_hostname.decode("utf-8", "surrogateescape")
        target = self._program.target(ip=str(effect.new_ip), hostname=hostname)
        match self._program.scheme:
            case FlushScheme.UNIX:
                with _connect_deadline(target):
                    stream = await connect_unix(self._base_dir / target)
                await _converse(stream, effect, is_dotted=False)
            case FlushScheme.TCP:
                host, port = parse_tcp_target(target)
                with _connect_deadline(target):
                    stream = await trio.open_tcp_stream(host, port)
                await _converse(stream, effect, is_dotted=True)
            case FlushScheme.EXEC:
                await _execute(self._base_dir / target, effect)


def flush_arguments(effect: RunFlushProgram) -> tuple[str, ...]:
    """Return what a flush program is told, in order."""
    state = "down" if effect.old_is_down else "up"
    ips = str(effect.old_ip), str(effect.new_ip)
    return ("FLUSH", str(effect.user_hash), *ips, state, str(effect.old_weight))


def parse_tcp_target(text: str) -> tuple[str, int]:
    """Return host and port; an IPv6 address may stand in brackets or bare.

    Raises:
        ValueRefused: host or port is missing, or the port is no port.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueRefused(f"tcp:{text} is no address of a flush program: expected tcp:HOST:PORT")
    return host, int(port)


def read_result(output: bytes, *, is_dotted: bool) -> None:
    """Return if `output`, all that came before the end of file, says success.

    Raises:
        FlushFailed: it does not; the text is the program's own output if it gave a result.
    """
    text, code = output[:-2], output[-2:]
    if code not in (b"+\n", b"-\n"):
        raise FlushFailed(
            f"expected a result line, + or -, at the end, got {excerpt(output[-80:])}"
        )
    if is_dotted:
        text = _undotted(text)
    if code == b"-\n":
        raise FlushFailed(text.decode("utf-8", "replace").strip() or "(no output)")


def _undotted(text: bytes) -> bytes:
    lines = [line.removesuffix(b"\r") for line in text.split(b"\n")]
    if lines[-2:] != [b".", b""]:
        raise FlushFailed(f"expected a line with one dot before the result, got {excerpt(text)}")
    return b"\n".join(line.removeprefix(b".") for line in lines[:-2])


@contextlib.contextmanager
def _connect_deadline(target: str) -> Iterator[None]:
    with trio.move_on_after(limits.FLUSH_CONNECT_TIMEOUT_S) as scope:
        yield
    if scope.cancelled_caught:
        raise FlushFailed(f"{target} did not accept within {limits.FLUSH_CONNECT_TIMEOUT_S:g} s")


async def _converse(stream: trio.SocketStream, effect: RunFlushProgram, *, is_dotted: bool) -> None:
    request = b"VERSION\tscript\t4\t0\n-\n"
    request += b"".join(word.encode("ascii") + b"\n" for word in flush_arguments(effect)) + b"\n"
    if is_dotted:
        request += b"\r\n.\r\n"
    async with stream:
        await stream.send_all(request)
        await stream.send_eof()
        read_result(await _read_output(stream), is_dotted=is_dotted)


async def _read_output(stream: trio.abc.ReceiveStream) -> bytes:
    output = bytearray()
    async for data in stream:
        output += data
        if len(output) > limits.FLUSH_OUTPUT_BYTES_MAX:
            raise FlushFailed(f"more than {limits.FLUSH_OUTPUT_BYTES_MAX} bytes of output")
    return bytes(output)


async def _execute(path: Path, effect: RunFlushProgram) -> None:
    """Run a program; its errors are read like its output. Whoever cancels this ends the program."""
    run = functools.partial(
        trio.run_process,
        [str(path), *flush_arguments(effect)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env={"PATH": os.defpath},
        deliver_cancel=_end_program,
    )
    failure: Exception | None = None
    output = b""
    # Nothing is raised inside the nursery: it would arrive in an exception group.
    async with trio.open_nursery() as nursery:
        try:
            process: trio.Process = await nursery.start(run)
            assert process.stdout is not None
            output = await _read_output(process.stdout)
            if await process.wait() != 0:
                text = output.decode("utf-8", "replace").strip() or "(no output)"
                failure = FlushFailed(f"exit code {process.returncode}\n{text}")
        except (FlushFailed, OSError) as error:
            failure = error
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _end_program(process: trio.Process) -> None:
    process.terminate()
    await trio.sleep(limits.FLUSH_PROGRAM_END_S)
    process.kill()
