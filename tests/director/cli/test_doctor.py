"""`director doctor` on machines of a few files."""

from __future__ import annotations

from pathlib import Path

import pytest

from director import cli
from director.cli.doctor import report, ring_status
from director.facts import Finding, Level
from tests.director.cli.scripted_server import ScriptedServer


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A machine with our configuration and a doveconf, and nothing that runs."""
    (tmp_path / "run").mkdir()
    (tmp_path / "director.conf").write_text(
        f"base_dir = {tmp_path}/run\ndirector_mail_servers = 10.0.0.10\n"
    )
    answer_with(tmp_path, f"# 2.4.1 (x): y\nbase_dir = {tmp_path}/run\nprotocols = imap\n")
    return tmp_path


def answer_with(machine: Path, text: str, status: int = 0) -> None:
    program = machine / "doveconf"
    program.write_text(
        "#!/bin/sh\ncase $1 in\n-h) exit ;;\n"
        f"base_dir) exec grep base_dir {machine}/answer ;;\n"
        f"esac\ncat {machine}/answer\nexit {status}\n"
    )
    program.chmod(0o755)
    (machine / "answer").write_text(text)


def run(machine: Path, *arguments: str) -> int:
    options = ["-c", str(machine / "director.conf"), "--doveconf", str(machine / "doveconf")]
    return cli.run(["doctor", *options, *arguments])


def test_what_is_wrong_comes_with_its_fix(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(machine, "-q")
    lines = capsys.readouterr().out.splitlines()

    assert status == 1
    assert f"WRONG  no Dovecot runs in {machine}/run" in lines
    assert "       -> systemctl start dovecot" in lines
    assert all(line.startswith(("WRONG", "       -> ")) for line in lines)


def test_the_whole_report_ends_with_a_count(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(machine)
    out = capsys.readouterr().out

    assert "note   Dovecot 2.4.1\n" in out
    assert out.rstrip().rpartition("\n")[2] == f"{out.count('WRONG')} wrong."


def test_a_refused_dovecot_configuration_is_a_finding(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (machine / "doveconf").write_text(
        "#!/bin/sh\necho 'Unknown setting: director_mail_servers' >&2\nexit 89\n"
    )
    status = run(machine)
    out = capsys.readouterr().out

    assert status == 1
    assert "Unknown setting: director_mail_servers" in out
    assert "take the director_* settings out of Dovecot's configuration" in out


def test_any_other_refusal(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer_with(machine, "", 89)
    run(machine)

    assert "doveconf -n must succeed" in capsys.readouterr().out


def test_our_own_configuration_must_be_right(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (machine / "director.conf").write_text("director_mail_serverss = 10.0.0.10\n")

    assert run(machine) == 78
    assert "perhaps director_mail_servers" in capsys.readouterr().err


def test_report_is_one_line_each() -> None:
    text = report([Finding(Level.FINE, "good", ""), Finding(Level.WRONG, "bad", "do")])

    assert text == "ok     good\nWRONG  bad\n       -> do\n"


SELF_ROW = b"10.0.0.1\t9090\tself\t0\tring synced\n"
LEFT_ROW = b"10.0.0.2\t9090\tleft\t0\tconnected\n"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (SELF_ROW + LEFT_ROW, "ring synced"),
        (LEFT_ROW, ""),
        (SELF_ROW, ""),
    ],
    ids=["neighbours", "no-self", "alone"],
)
def test_director_is_asked_about_its_ring(tmp_path: Path, rows: bytes, expected: str) -> None:
    with ScriptedServer(tmp_path, {b"DIRECTOR-LIST": rows + b"\n"}) as server:
        assert ring_status(server.path) == expected


def test_director_that_is_not_there_or_hangs_up(tmp_path: Path) -> None:
    assert ring_status(tmp_path / "director-admin") is None
    with ScriptedServer(tmp_path, {b"DIRECTOR-LIST": b""}) as server:
        assert ring_status(server.path) is None
