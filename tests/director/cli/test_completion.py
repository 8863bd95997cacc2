"""What the shells are told: the script is valid bash and offers what the parser takes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from director import cli
from director.cli.completion import bash_script
from director.cli.verbs import VERBS

PROBE = """
COMP_WORDS=({words}); COMP_CWORD=$(({count} - 1))
_director
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def complete(tmp_path: Path, *words: str) -> list[str]:
    """Return what bash offers for the last word; `director` is a program that knows two hosts."""
    program = tmp_path / "director"
    program.write_text("#!/bin/sh\nprintf '10.0.0.1\\tx\\n10.0.0.2\\ty\\n'\n")
    program.chmod(0o755)
    quoted = " ".join(f"'{word}'" for word in words)
    script = bash_script(["serve", "demo"]) + PROBE.format(words=quoted, count=len(words))
    result = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert result.stderr == ""

    return result.stdout.split()


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["director", "se"], ["serve"]),
        (["director", "-f", "json", "-v", "st"], ["status"]),
        (["director", "-f", "js"], ["json"]),
        (["director", "ring", "re"], ["remove"]),
        (["director", "flush", "--m"], ["--max-parallel"]),
        (["director", "flush", "-F", ""], ["10.0.0.1", "10.0.0.2", "all"]),
        (["director", "up", "10.0.0.2"], ["10.0.0.2"]),
        (["director", "ring", "status", "-"], ["-a", "--socket-path", "-c", "--config", "--help"]),
        (["director", "kick", ""], []),
    ],
)
def test_bash_is_offered_what_may_come_next(
    tmp_path: Path, words: list[str], offered: list[str]
) -> None:
    assert complete(tmp_path, *words) == offered


def test_every_verb_is_offered(tmp_path: Path) -> None:
    offered = complete(tmp_path, "director", "") + complete(tmp_path, "director", "ring", "")

    assert {verb.words.split()[-1] for verb in VERBS} <= set(offered)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_both_shells_get_a_script(capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert cli.run(["completion", shell]) == 0
    assert "complete -o default -F _director director" in capsys.readouterr().out
