"""The kernel says what a descriptor is."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from director.descriptors import kind_of, seal
from director.listeners import ListenerKind


def test_listening_sockets_and_fifos_are_told_apart(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    fifo = os.open(tmp_path / "fifo", os.O_RDWR)
    with socket.create_server(("127.0.0.1", 0)) as inet, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        unix.listen()
        kinds = [kind_of(descriptor) for descriptor in (fifo, inet.fileno(), unix.fileno())]
    os.close(fifo)

    assert kinds == [ListenerKind.FIFO, ListenerKind.INET, ListenerKind.UNIX]


def test_other_descriptors_are_no_listeners(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, socket.socket() as idle:
        kinds = [kind_of(descriptor) for descriptor in (file.fileno(), idle.fileno(), 999_999)]

    assert kinds == [None, None, None]


def test_a_sealed_descriptor_neither_blocks_nor_leaks() -> None:
    read_end, write_end = os.pipe()
    os.set_inheritable(read_end, True)
    seal(read_end)
    is_blocking, is_inheritable = os.get_blocking(read_end), os.get_inheritable(read_end)
    os.close(read_end)
    os.close(write_end)

    assert not is_blocking
    assert not is_inheritable
