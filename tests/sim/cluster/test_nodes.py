"""The configuration of a node, and what its log is blamed for; a whole run starts real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from director.settings import load
from tests.sim.cluster.rig import make_node


def test_our_daemon_understands_its_configuration(directory: Path) -> None:
    node = make_node(directory)
    file = directory / "director.conf"
    file.write_text(node.our_configuration())
    settings = load(file, {}, {})

    assert 30 == settings.user_expire_s
    assert node.run == Path(settings.base_dir)


def test_a_real_director_dials_all_others_at_the_port_of_the_proxy(directory: Path) -> None:
    text = make_node(directory, is_real=True).dovecot_configuration()

    assert "director_user_expire = 30 s\n" in text
    assert "executable = director -t 20499\n" in text
    assert "    address = 127.0.3.1\n    port = 20401\n" in text


@pytest.mark.parametrize(
    ("line", "is_complaint"),
    [
        ("director: Error: bug what=everything", True),
        ("Traceback (most recent call last):", True),
        ("director: Error: link_broke_protocol peer=127.0.3.2", True),
        ("director: Panic: file director.c", True),
        ("director: Error: director(127.0.3.2:20402/left): Invalid input", True),
        ("director: Error: director(127.0.3.2:20402/left): connect() failed", False),
        ("director: Info: link_lost peer=127.0.3.2", False),
    ],
)
def test_only_what_no_fault_explains_is_a_complaint(
    directory: Path, line: str, *, is_complaint: bool
) -> None:
    node = make_node(directory)
    assert [] == node.complaints()  # there is no log yet
    (node.directory / "log").write_text(f"director: Info: daemon_started\n{line}\n")

    assert ([f"127.0.3.1: {line}"] if is_complaint else []) == node.complaints()


def test_a_node_was_well_only_as_long_as_nothing_befell_it(directory: Path) -> None:
    node = make_node(directory)
    assert not node.was_well_since(5.0)
    node.is_well, node.well_since = True, 3.0

    assert node.was_well_since(5.0)
    assert not node.was_well_since(2.0)


def test_the_end_of_a_node_that_never_ran_is_no_error(directory: Path) -> None:
    node = make_node(directory)
    node.kill()

    assert not node.is_well
