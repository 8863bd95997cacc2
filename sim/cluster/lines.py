"""Lines over the unix sockets of a director, with a deadline for each answer."""

from __future__ import annotations

from pathlib import Path

import trio


class Lines:
    """One connection. OSError whenever the other side does not do as it should."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = b""
        self._lines: list[bytes] = []

    @classmethod
    async def connect(cls, path: Path) -> Lines:
        return cls(await trio.open_unix_socket(str(path)))

    async def send(self, data: bytes) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise ConnectionError(f"sending failed: {error}") from None

    async def line(self) -> bytes:
        """Return the next line without its end."""
        while not self._lines:
            try:
                data = await self._stream.receive_some(65536)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise ConnectionError(f"receiving failed: {error}") from None
            if not data:
                raise ConnectionError("closed by the director")
            *lines, self._buffer = (self._buffer + data).split(b"\n")
            self._lines = lines[::-1]
        return self._lines.pop()

    async def close(self) -> None:
        await trio.aclose_forcefully(self._stream)
