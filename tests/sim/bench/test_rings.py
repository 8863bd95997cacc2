"""Addresses and members of rings that are never started."""

from pathlib import Path

from sim.bench.nodes import RING_PORT
from sim.bench.results import Kind
from sim.bench.rings import BACKENDS_COUNT, Addresses, Ring, Site
from sim.bench.tools import Tools


def test_no_two_benches_get_the_same_addresses() -> None:
    first, second = Addresses(), Addresses()
    blocks = [first.next_block(), second.next_block(), first.next_block()]
    first.release()
    second.release()

    assert len(set(blocks)) == 3
    assert all(block.startswith("127.") for block in blocks)


def test_every_node_knows_all_members_and_backends(tmp_path: Path) -> None:
    addresses = Addresses()
    tools = Tools(tmp_path / "tools")
    site = Site(tools=tools, directory=tmp_path, addresses=addresses, is_quick=True)

    with Ring(site, Kind.OURS, 3, settings={"director_user_kick_delay": "1 s"}) as ring:
        settings = ring.nodes[2].settings
    addresses.release()

    members = " ".join(f"{node.ip}:{RING_PORT}" for node in ring.nodes)

    assert len(ring.nodes) == 3
    assert len(ring.backends) == BACKENDS_COUNT
    assert settings.director["director_servers"] == members
    assert settings.director["director_mail_servers"] == " ".join(ring.backends)
    assert settings.director["director_user_kick_delay"] == "1 s"
