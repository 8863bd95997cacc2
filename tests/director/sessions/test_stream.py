"""A non-blocking socket with the bytes that could not be sent yet."""

from __future__ import annotations

import socket

from director.sessions.stream import Stream
from tests.director.sessions.rig import Desk


class Reader:
    """A handler that keeps what it reads."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.data = b""
        self.errors: list[Exception] = []

    def readable(self) -> None:
        self.data += self.stream.receive()

    def writable(self) -> None:
        self.stream.flush()

    def failed(self, error: Exception) -> None:
        self.errors.append(error)
        self.stream.close()


def start(desk: Desk, *, is_reading: bool = True) -> tuple[Reader, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    reader = Reader(Stream(desk.poll_set, ours))
    reader.stream.start(reader, is_reading=is_reading)
    return reader, theirs


def test_what_does_not_fit_is_sent_when_it_does(desk: Desk) -> None:
    reader, theirs = start(desk)
    data = bytes(range(256)) * 8000
    reader.stream.send(data)
    assert reader.stream.output_bytes > 0
    reader.stream.send(b"end")
    received = bytearray()
    while len(received) < len(data) + 3:
        try:
            received += theirs.recv(1 << 20)
        except BlockingIOError:
            desk.settle()
    assert data + b"end" == received
    assert reader.stream.output_bytes == 0
    reader.stream.close()
    theirs.close()


def test_later_means_with_the_next_turn(desk: Desk) -> None:
    reader, theirs = start(desk)
    reader.stream.send_later(b"a")
    reader.stream.send_later(b"b")
    assert 2 == reader.stream.output_bytes
    desk.settle()

    assert b"ab" == theirs.recv(9)
    reader.stream.close()
    theirs.close()


def test_paused_stream_is_not_read_until_told(desk: Desk) -> None:
    reader, theirs = start(desk, is_reading=False)
    theirs.send(b"x")
    desk.settle()
    assert b"" == reader.data
    reader.stream.read_on()
    reader.stream.read_on()
    desk.settle()
    assert b"x" == reader.data
    reader.stream.pause_reading()
    theirs.send(b"y")
    desk.settle()

    assert b"x" == reader.data
    reader.stream.close()
    theirs.close()


def test_end_of_a_peer_is_noticed_even_when_nobody_reads(desk: Desk) -> None:
    reader, theirs = start(desk, is_reading=False)
    theirs.close()
    desk.settle()

    assert 1 == len(reader.errors)
    assert not reader.stream.is_open
    reader.stream.close()


def test_peer_is_described(desk: Desk) -> None:
    reader, theirs = start(desk)

    assert reader.stream.describe_peer().startswith("pid ")
    reader.stream.close()
    desk.settle()
    assert "gone" == reader.stream.describe_peer()
    theirs.close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        stream = Stream(desk.poll_set, accepted)
        stream.start(Reader(stream), is_reading=True)

        assert "127.0.0.1" == stream.describe_peer()
        stream.close()
        client.close()
