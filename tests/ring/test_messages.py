"""The few things messages can do by themselves."""

import ipaddress

import attrs
import pytest

from ring.messages import CLASSIC_MINOR, NATIVE_MINOR, Connect, Users

IP = ipaddress.ip_address("10.1.0.1")


def test_users_are_counted_by_rows() -> None:
    users = Users(hashes=[1, 2], timestamps=[5, 6], hosts=[IP], host_indexes=[0, 0])

    assert len(users) == 2
    assert not users.is_handshake
    assert users.weak == frozenset()


def test_our_version_is_above_every_dovecot() -> None:
    assert CLASSIC_MINOR < NATIVE_MINOR


def test_messages_are_values() -> None:
    from_name = {field.name for field in attrs.fields(Connect)}

    assert from_name == {"address"}
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Users(hashes=[], timestamps=[], hosts=[], host_indexes=[]).hashes = []
