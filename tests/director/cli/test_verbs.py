"""The list of verbs: complete, in doveadm's order, and without clashes of our own making."""

from __future__ import annotations

import pytest

from director.cli.verbs import VERBS, Verb


def test_every_verb_of_doveadm_director_is_there() -> None:
    words = "add down dump flush kick map move remove ring-add ring-remove ring-status status up"

    assert [verb.words for verb in VERBS if verb.words != "drain"] == [
        word.replace("-", " ") for word in [*words.split(), "update"]
    ]


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.words)
def test_options_are_told_apart_and_explained(verb: Verb) -> None:
    names = [parameter.name for parameter in verb.parameters]
    letters = "".join(parameter.letters for parameter in verb.parameters)

    assert len(set(names)) == len(names)
    assert len(set(letters)) == len(letters)
    assert all(parameter.help for parameter in verb.parameters)
