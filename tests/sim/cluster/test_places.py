"""Two clusters at a time never share what they live on."""

from __future__ import annotations

import socket

from sim.cluster.places import Places, listen


def test_two_clusters_have_different_nets_and_ports() -> None:
    first, second = Places(), Places()
    try:
        places = [first.node(), first.node(), second.node(), second.node()]
    finally:
        first.release()
        second.release()

    assert len({place.ip for place in places}) == 4
    assert len({place.hidden_ip for place in places}) == 4
    assert len({place.port for place in places}) == 4


def test_a_listener_on_one_address_comes_before_one_on_all() -> None:
    places = Places()
    place = places.node()
    try:
        with (
            listen("0.0.0.0", place.port) as everywhere,
            listen(place.ip, place.port) as here,
            socket.create_connection((place.ip, place.port)) as one,
            socket.create_connection((place.hidden_ip, place.port)) as other,
        ):
            for listener, client in ((here, one), (everywhere, other)):
                accepted, address = listener.accept()
                accepted.close()

                assert address == client.getsockname()
    finally:
        places.release()
