"""The flush program against scripted programs on real sockets; the exchanges are recorded ones."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from director.flush import (
    FlushFailed,
    FlushProgram,
    FlushRunner,
    FlushScheme,
    parse_tcp_target,
    read_result,
)
from ring import limits
from ring.effects import Noted, RunFlushProgram
from ring.errors import ValueRefused

REQUEST = b"VERSION\tscript\t4\t0\n-\nFLUSH\n3833023709\n127.0.0.2\n127.0.0.3\nup\n100\n\n"


def move(flush_id: int = 1, hostname: bytes = b"") -> RunFlushProgram:
    return RunFlushProgram(
        flush_id=flush_id,
        user_hash=3833023709,
        old_ip=ipaddress.ip_address("127.0.0.2"),
        old_is_down=False,
        old_weight=100,
        new_ip=ipaddress.ip_address("127.0.0.3"),
        new_hostname=hostname,
    )


class Bench:
    """A runner, the results and notes it produced, and a way to wait for one result."""

    def __init__(self, setting: str, base_dir: Path) -> None:
        self.notes: list[Noted] = []
        self.results: list[bool] = []
        self._change = trio.Event()
        self.runner = FlushRunner(FlushProgram.parse(setting), base_dir, self.notes.append)

    def start(self, effect: RunFlushProgram) -> None:
        self.runner.start(effect, self._finished)

    async def result(self) -> bool:
        while not self.results:
            await self._change.wait()
            self._change = trio.Event()
        return self.results.pop(0)

    def texts(self) -> list[object]:
        assert all(note.kind == "flush_program_failed" for note in self.notes)
        return [dict(note.fields)["text"] for note in self.notes]

    def _finished(self, is_success: bool) -> None:
        self.results.append(is_success)
        self._change.set()


@asynccontextmanager
async def running(setting: str, base_dir: Path) -> AsyncIterator[Bench]:
    bench = Bench(setting, base_dir)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.runner.run)
        with trio.fail_after(5):
            yield bench
        nursery.cancel_scope.cancel()


def listen_unix(path: Path) -> trio.SocketListener:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(8)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


async def answer(listener: trio.SocketListener, reply: bytes) -> bytes:
    """Accept one connection, read it to its end, reply, and return what was read."""
    request = bytearray()
    async with await listener.accept() as stream:
        async for data in stream:
            request += data
        await stream.send_all(reply)
    return bytes(request)


@pytest.mark.parametrize(
    "reply, is_success, texts",
    [
        (b"+\n", True, []),
        (b"some error line\n-\n", False, ["some error line"]),
        (b"text+\n", True, []),
        (b"a\nb\n-\n", False, ["a", "b"]),
        (b"-\n", False, ["(no output)"]),
        (b"hello\n+", False, ["expected a result line, + or -, at the end, got hello\\x0a+"]),
        (b"", False, ["expected a result line, + or -, at the end, got "]),
    ],
)
async def test_unix_exchange_is_the_recorded_one(
    tmp_path: Path, reply: bytes, is_success: bool, texts: list[str]
) -> None:
    listener = listen_unix(tmp_path / "flush-127.0.0.3")
    async with listener, running("unix:flush-%i", tmp_path) as bench:
        bench.start(move())

        assert await answer(listener, reply) == REQUEST
        assert is_success == await bench.result()
        assert texts == bench.texts()


@pytest.mark.parametrize(
    "reply, is_success, texts",
    [
        (b".\r\n+\n", True, []),
        (b"text\n..dot\n.\n+\n", True, []),
        (b"bad\r\n..dot\r\n.\r\n-\n", False, ["bad", ".dot"]),
        (b"+\n", False, ["expected a line with one dot before the result, got "]),
    ],
)
async def test_tcp_exchange_is_dot_stuffed_both_ways(
    tmp_path: Path, reply: bytes, is_success: bool, texts: list[str]
) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with listeners[0], running(f"tcp:127.0.0.1:{port}", tmp_path) as bench:
        bench.start(move())

        assert await answer(listeners[0], reply) == REQUEST + b"\r\n.\r\n"
        assert is_success == await bench.result()
        assert texts == bench.texts()


def program(path: Path, text: str) -> str:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return f"exec:{path.name}"


async def test_program_gets_the_arguments_and_its_exit_code_counts(tmp_path: Path) -> None:
    setting = program(tmp_path / "flush me", 'echo "$@" > "$0.seen"\n')
    async with running(setting, tmp_path) as bench:
        bench.start(move())

        assert await bench.result()
    assert (tmp_path / "flush me.seen").read_text() == (
        "FLUSH 3833023709 127.0.0.2 127.0.0.3 up 100\n"
    )


async def test_failed_program_is_noted_with_its_output(tmp_path: Path) -> None:
    setting = program(tmp_path / "flush", "echo cannot; echo really >&2; exit 3\n")
    async with running(setting, tmp_path) as bench:
        bench.start(move())

        assert not await bench.result()
        assert bench.texts() == ["exit code 3", "cannot", "really"]


async def test_missing_program_and_missing_socket_are_failures(tmp_path: Path) -> None:
    for setting in ("exec:nothing", "unix:nothing"):
        async with running(setting, tmp_path) as bench:
            bench.start(move())

            assert not await bench.result()
            assert "No such file or directory" in str(bench.texts())


async def test_program_with_endless_output_is_killed(tmp_path: Path) -> None:
    async with running(program(tmp_path / "flush", "exec yes\n"), tmp_path) as bench:
        bench.start(move())

        assert not await bench.result()
        assert [f"more than {limits.FLUSH_OUTPUT_BYTES_MAX} bytes of output"] == bench.texts()


async def test_aborted_program_ends_and_is_not_reported(tmp_path: Path) -> None:
    listener = listen_unix(tmp_path / "flush")
    async with listener, running("unix:flush", tmp_path) as bench:
        bench.start(move(1))
        async with await listener.accept() as stream:
            bench.runner.abort(1)
            bench.runner.abort(2)
            received = bytearray()
            async for data in stream:
                received += data
            with pytest.raises(trio.BrokenResourceError):
                await send_until_broken(stream)
        bench.start(move(1))
        await answer(listener, b"+\n")

        assert await bench.result()
        assert bench.results == []


async def send_until_broken(stream: trio.SocketStream) -> None:
    while True:
        await stream.send_all(b"text\n")


async def test_program_started_before_the_runner_runs_is_not_lost(tmp_path: Path) -> None:
    bench = Bench("unix:flush", tmp_path)
    bench.start(move())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.runner.run)

        assert not await bench.result()
        nursery.cancel_scope.cancel()


async def test_silent_program_is_given_up_before_the_move_is(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    listener = listen_unix(tmp_path / "flush")
    bench = Bench("unix:flush", tmp_path)
    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(bench.runner.run)
        bench.start(move())

        assert not await bench.result()
        assert bench.texts() == ["no result in time"]
        assert pytest.approx(trio.current_time() % 1e6, abs=1) == limits.MOVE_TIMEOUT_S
        nursery.cancel_scope.cancel()


async def test_busy_unix_socket_is_tried_until_the_connect_limit(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    full = socket.socket(socket.AF_UNIX)
    full.bind(str(tmp_path / "flush"))
    full.listen(0)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(str(tmp_path / "flush"))
    bench = Bench("unix:flush", tmp_path)
    with full, waiting:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bench.runner.run)
            bench.start(move())

            assert not await bench.result()
            assert bench.texts() == ["flush did not accept within 10 s"]
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("hostname", [b"x" * 64, b"two..dots"])
async def test_name_that_cannot_be_one_is_a_failure(tmp_path: Path, hostname: bytes) -> None:
    async with running("tcp:%h:9000", tmp_path) as bench:
        bench.start(move(hostname=hostname))

        assert not await bench.result()
        assert len(bench.texts()) == 1


@pytest.mark.parametrize(
    "text, scheme, target",
    [
        ("unix:flush-%i", FlushScheme.UNIX, "flush-10.0.0.1"),
        ("unix:/run/%{host}/%{ip}", FlushScheme.UNIX, "/run/b1/10.0.0.1"),
        ("tcp:%h:9000", FlushScheme.TCP, "b1:9000"),
        ("exec:/usr/bin/100%%", FlushScheme.EXEC, "/usr/bin/100%"),
    ],
)
def test_setting_is_expanded_for_the_new_host(text: str, scheme: FlushScheme, target: str) -> None:
    program = FlushProgram.parse(text)

    assert scheme is program.scheme
    assert target == program.target(ip="10.0.0.1", hostname="b1")


@pytest.mark.parametrize(
    "text, reason",
    [
        ("/run/flush", "expected unix:PATH, tcp:HOST:PORT or exec:PROGRAM"),
        ("http://flush", "expected unix:PATH, tcp:HOST:PORT or exec:PROGRAM"),
        ("unix:", "names no program"),
        ("unix:%u", "unknown variable '%u'"),
        ("unix:%{user}", "unknown variable '%{user}'"),
        ("unix:flush%", "unknown variable '%'"),
        ("tcp:localhost", "expected tcp:HOST:PORT"),
        ("tcp::9000", "expected tcp:HOST:PORT"),
        ("tcp:localhost:0", "expected tcp:HOST:PORT"),
        ("tcp:localhost:x", "expected tcp:HOST:PORT"),
    ],
)
def test_bad_setting_is_refused_when_it_is_read(text: str, reason: str) -> None:
    with pytest.raises(ValueRefused, match="^.*" + reason.replace("{", r"\{")):
        FlushProgram.parse(text)


@pytest.mark.parametrize("text", ["[2001:db8::1]:9000", "2001:db8::1:9000"])
def test_tcp_target_may_be_ipv6(text: str) -> None:

    assert parse_tcp_target(text) == ("2001:db8::1", 9000)


def test_result_is_the_last_two_bytes() -> None:
    read_result(b"+\n", is_dotted=False)
    with pytest.raises(FlushFailed, match="expected a result line"):
        read_result(b"+\r\n", is_dotted=False)
