"""The delaying relay between real sockets; delays of nothing, so that nothing waits."""

import socket

from sim.bench.relay import Relay

IP = "127.0.0.1"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((IP, 0))
        port: int = probe.getsockname()[1]
        return port


def test_data_and_ends_pass_in_both_directions() -> None:
    with socket.socket() as target:
        target.bind((IP, 0))
        target.listen(1)
        relay = Relay(
            [IP],
            port=(port := free_port()),
            target_port=target.getsockname()[1],
            delay_s_max=0.0,
            seed=1,
        )
        with socket.create_connection((IP, port), timeout=10) as caller:
            caller.sendall(b"from the caller")
            called, (caller_ip, _) = target.accept()
            with called:
                assert called.recv(100) == b"from the caller"
                assert caller_ip == IP

                called.sendall(b"from the called")
                called.shutdown(socket.SHUT_WR)

                assert caller.recv(100) == b"from the called"
                assert caller.recv(100) == b""
        relay.close()


def test_a_refused_connection_ends_the_callers() -> None:
    relay = Relay(
        [IP], port=(port := free_port()), target_port=free_port(), delay_s_max=0.0, seed=1
    )
    with socket.create_connection((IP, port), timeout=10) as caller:
        assert caller.recv(100) == b""
    relay.close()
