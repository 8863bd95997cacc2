"""Definitions are complete and agree with themselves."""

from __future__ import annotations

import pytest

from director.definitions import BY_NAME, DEFINITIONS, REMOVED, VARIABLES, Definition
from director.settings import load_text

MAIL_SERVERS = "director_mail_servers = 10.0.0.1\n"


def test_names_are_unique_and_ours_begin_alike() -> None:
    assert len(BY_NAME) == len(DEFINITIONS)
    assert not set(REMOVED) & set(BY_NAME)
    assert all(d.name.startswith("director_") for d in DEFINITIONS if d.is_ours)
    assert VARIABLES["default_internal_group"] == "dovecot"


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
def test_definition_says_what_an_operator_needs(definition: Definition) -> None:
    assert definition.meaning.endswith((".", ")"))
    assert definition.in_doubt.endswith(".")
    assert definition.range


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.name)
def test_writing_the_default_changes_nothing(definition: Definition) -> None:
    if definition.name == "director_mail_servers":
        return
    written = load_text(f"{definition.name} = {definition.default}\n{MAIL_SERVERS}", "t.conf")

    assert written == load_text(MAIL_SERVERS, "t.conf")


def test_range_is_in_words() -> None:
    assert BY_NAME["director_user_kick_delay"].range == "time, 0 to 600 seconds"
    assert BY_NAME["director_output_buffer_size"].range == "size, 65536 or more bytes"
    assert BY_NAME["director_hash"].range == "md5 | murmur3"
    assert BY_NAME["base_dir"].range == "path"
