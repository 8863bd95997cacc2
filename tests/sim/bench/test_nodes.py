"""The configuration of a node; real nodes are started by benches only."""

from pathlib import Path

import pytest

from sim.bench.nodes import RING_PORT, Auth, Node, NodeSettings
from sim.bench.results import Kind
from sim.bench.tools import Tools


def make_node(kind: Kind, directory: Path, *, is_relayed: bool = False) -> Node:
    settings = NodeSettings(
        ip="127.0.0.5",
        director={"director_user_expire": "15 min"},
        has_dovecot_auth=True,
        is_relayed=is_relayed,
    )
    return Node(kind, "node1", directory, Tools(directory / "tools"), settings)


@pytest.mark.parametrize("kind", list(Kind))
def test_both_kinds_read_the_same_director_settings(tmp_path: Path, kind: Kind) -> None:
    text = make_node(kind, tmp_path).director_settings()

    assert "director_user_expire = 15 min\n" in text
    assert f"    address = 127.0.0.5\n    port = {RING_PORT}\n" in text


def test_dovecot_lends_its_auth_but_not_its_director_to_ours(tmp_path: Path) -> None:
    text = make_node(Kind.OURS, tmp_path).dovecot_configuration()

    assert "unix_listener dovecot-auth-login" in text
    assert "director_user_expire" not in text


def test_a_relayed_real_director_dials_the_port_of_the_relay(tmp_path: Path) -> None:
    plain = make_node(Kind.REAL, tmp_path).director_settings()
    relayed = make_node(Kind.REAL, tmp_path, is_relayed=True).director_settings()

    assert "executable" not in plain
    assert "executable = director -t " in relayed


def test_the_auth_service_is_a_link_that_can_be_turned(tmp_path: Path) -> None:
    node = make_node(Kind.OURS, tmp_path)
    node.run.mkdir(parents=True)

    node.use_auth(Auth.STAND_IN)
    node.use_auth(Auth.DOVECOT)

    assert node.auth_login_socket.readlink() == Path("dovecot-auth-login")
    assert sorted(path.name for path in node.run.iterdir()) == ["auth-login", "auth-userdb"]
