"""One login per protocol through Dovecot 2.4, each telling which backend answered."""

from __future__ import annotations

import imaplib
import re
import socket
import ssl
from pathlib import Path

from tests.interop.clients import (
    LOGIN_PROTOCOLS,
    PASSWORD,
    TIMEOUT_S,
    sieve_answer,
)


def sieve_backend(ip: str, user: str) -> str:
    """Each backend has one script, which has its name."""
    lines = sieve_answer(ip, user, b"LISTSCRIPTS\r\n")
    assert len(lines) == 1, lines
    return lines[0].split(b'"')[1].decode()


LOGINS = LOGIN_PROTOCOLS | {"sieve": sieve_backend}


def imaps_backend(ip: str, port: int, certificate: Path, user: str) -> str:
    """Log in over TLS, trusting this certificate only."""
    context = ssl.create_default_context(cafile=str(certificate))
    client = imaplib.IMAP4_SSL(ip, port, ssl_context=context, timeout=TIMEOUT_S)
    try:
        client.login(user, PASSWORD)
        return named(client.capability()[1][0].decode())
    finally:
        client.shutdown()


def starttls_backend(ip: str, port: int, certificate: Path, user: str) -> str:
    context = ssl.create_default_context(cafile=str(certificate))
    client = imaplib.IMAP4(ip, port, timeout=TIMEOUT_S)
    try:
        client.starttls(context)
        client.login(user, PASSWORD)
        return named(client.capability()[1][0].decode())
    finally:
        client.shutdown()


def haproxy_backend(ip: str, port: int, client_ip: str, user: str) -> str:
    """Log in as a load balancer does that tells the client's address with the PROXY protocol."""
    with (
        socket.create_connection((ip, port), TIMEOUT_S) as connection,
        connection.makefile("rb") as reader,
    ):
        connection.sendall(f"PROXY TCP4 {client_ip} {ip} 56789 143\r\n".encode())
        reader.readline()
        connection.sendall(f'a LOGIN "{user}" "{PASSWORD}"\r\nb CAPABILITY\r\n'.encode())
        text = ""
        while not text.rpartition("\n")[0].rpartition("\n")[2].startswith("b "):
            line = reader.readline().decode()
            assert line, f"connection closed after {text!r}"
            text += line
    return named(text)


def named(capabilities: str) -> str:
    found = re.search(r"XBACKEND-(\S+)", capabilities)
    assert found, f"no XBACKEND in {capabilities!r}"
    return found[1]
