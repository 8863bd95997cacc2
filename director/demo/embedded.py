"""The world of the demo without Dovecot: everything around the director is a stand-in."""

from __future__ import annotations

from pathlib import Path

import trio

from director.demo.process import Director
from director.demo.proxies import LoginProcess, SessionRegister
from director.demo.standins import AuthService, TinyBackend, find_common_port, listen_unix
from director.demo.story import BACKEND_IPS, Outcome, Play, Say


async def play_embedded(directory: Path, say: Say) -> Outcome:
    """Play the story below `directory`, which must be empty and have a short name."""
    port = await find_common_port(list(BACKEND_IPS))
    backends = [
        TinyBackend(name=f"backend-{number}", ip=ip, port=port)
        for number, ip in enumerate(BACKEND_IPS, 1)
    ]
    name_by_ip = {backend.ip: backend.name for backend in backends}
    register = SessionRegister()
    async with trio.open_nursery() as nursery:
        for name, serve in (("auth-login", AuthService(port).serve), ("ipc", register.serve)):
            nursery.start_soon(trio.serve_listeners, serve, [await listen_unix(directory / name)])
        for backend in backends:
            await nursery.start(backend.run)
        director = Director(directory, ips=BACKEND_IPS)
        await nursery.start(director.run)
        first, second = (LoginProcess(number, register, name_by_ip) for number in (1, 2))
        for process in (first, second):
            await nursery.start(process.run, director.login_socket)
        say("A director, an auth service and 4 backends are up.")
        play = Play(director=director, backends=backends, proxies=(first, second), say=say)
        outcome = await play.run(nursery)
        await register.close_all()
        nursery.cancel_scope.cancel()
    return outcome
