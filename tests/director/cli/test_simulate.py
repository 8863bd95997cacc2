"""`director simulate`: from a log and options to lines a script reads and tables a person reads."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from director import cli
from director.cli.simulate import show
from director.whatif import Change, apply, compare, even_population, mail_hosts
from ring.address import parse_ip
from ring.settings import HostSetting

HOSTS = "director_mail_servers=10.0.0.1 10.0.0.2 10.0.1.1@gold"


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("DIRECTOR_"):
            monkeypatch.delenv(name)


def simulate(*arguments: str) -> int:
    return cli.run(["simulate", "-c", "/dev/null", "-o", HOSTS, *arguments])


def rows(output: str, kind: str) -> list[list[str]]:
    lines = [line.split("\t") for line in output.splitlines()]
    return [cells[1:] for cells in lines if cells[0] == kind]


def proxied(user: str, backend: str) -> bytes:
    return (
        f"imap-login: Info: proxy({user},{backend}:143): Started proxying to <{backend}> "
        f"(0.004 secs): user=<{user}>, method=PLAIN\n"
    ).encode()


def test_counts_users_and_sessions_of_a_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "mail.log.gz"
    logins = proxied("A@x.org", "10.0.0.1") + proxied("a@x.org", "10.0.0.2")
    logins += proxied("rich@x.org", "10.0.1.1")
    own = b"imap-login: Info: Login: user=<resident@x.org>, lip=10.0.0.9\n"
    log.write_bytes(gzip.compress(logins + own))

    status = simulate("--log", str(log), "--remove", "10.0.1.1", "--down", "10.0.0.2")

    output = capsys.readouterr().out
    assert status == os.EX_OK
    assert rows(output, "total") == [["2", "3"]]
    assert rows(output, "homeless") == [["1", "1"]]
    assert [(cells[0], cells[7]) for cells in rows(output, "host")] == [
        ("10.0.1.1", "0"),
        ("10.0.0.1", "2"),
        ("10.0.0.2", "0"),
    ]


def test_a_backends_log_counts_who_logged_in_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "mail.log"
    log.write_text("imap-login: Info: Login: user=<a@x.org>, lip=10.0.1.1, mpid=1\n")

    status = simulate("--log", str(log))

    output = capsys.readouterr().out
    assert status == os.EX_OK
    assert rows(output, "host")[2][:2] == ["10.0.1.1", "gold"]
    assert rows(output, "host")[2][5] == "1"


def test_without_a_log_it_says_that_users_are_invented(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = simulate("--users", "400", "--add", "10.0.0.3", "--weight", "10.0.0.1=200")

    captured = capsys.readouterr()
    assert status == os.EX_OK
    assert captured.err == "No log: 400 invented users of each tag, evenly spread.\n"
    assert rows(captured.out, "total") == [["800", "800"]]
    assert {new for _, new, _, _ in rows(captured.out, "move")} == {"10.0.0.1", "10.0.0.3"}


def test_a_ring_member_can_be_simulated_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "director.conf"
    file.write_text(
        "director_servers = 192.0.2.1 192.0.2.2\ndirector_mail_servers = 192.0.2.10\n"
        "service director {\n inet_listener ring {\n  port = 9090\n }\n"
        " unix_listener login/director {\n  mode = 0666\n }\n}\n"
    )

    status = cli.run(["simulate", "-c", str(file), "--users", "10"])

    assert status == os.EX_OK
    assert rows(capsys.readouterr().out, "host")[0][0] == "192.0.2.10"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--remove", "10.0.0.7"], "10.0.0.7 is no mail host"),
        (["--remove", "nobody"], "'nobody' is not an IP address"),
        (["--weight", "10.0.0.1"], "expected HOST=N"),
        (["--weight", "10.0.0.1=x"], "expected HOST=N"),
        (["--add", "10.0.0.1"], "10.0.0.1 is a mail host already"),
        (["--add", "@gold"], "no address before the tag"),
    ],
)
def test_wrong_change_is_wrong_usage(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status = simulate(*arguments)

    assert status == os.EX_USAGE
    assert reason in capsys.readouterr().err


def test_log_without_logins_or_damaged_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, damaged = tmp_path / "empty", tmp_path / "damaged.gz"
    empty.write_bytes(b"nothing\n")
    damaged.write_bytes(gzip.compress(proxied("a", "10.0.0.1"))[:-9])

    assert simulate("--log", str(empty)) == 1
    assert "no login was found" in capsys.readouterr().err
    assert simulate("--log", str(damaged)) == 1
    assert f"{damaged}: " in capsys.readouterr().err


def test_wrong_configuration_has_its_own_status(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.run(["simulate", "-c", "/dev/null"])

    assert status == os.EX_CONFIG
    assert "director_mail_servers" in capsys.readouterr().err


def test_a_person_reads_tables_and_a_sentence() -> None:
    settings = [HostSetting(ip=parse_ip(f"10.0.0.{n}")) for n in (1, 2)]
    before, after = mail_hosts(settings), mail_hosts(settings)
    apply(after, Change(removed=(settings[0].ip, settings[1].ip)))
    console = Console(width=120, record=True, file=io.StringIO())

    show(console, compare(even_population([b""], 10), before, after))

    text = console.export_text()
    assert "Who would belong elsewhere" in text
    assert "10 of 10 users (100.0 %) and 10 of 10 sessions (100.0 %)" in text
    assert "10 users (10 sessions) would have no mail host." in text


def test_json_says_the_same_as_the_lines(capsys: pytest.CaptureFixture[str]) -> None:
    change = ("--users", "100", "--remove", "10.0.0.2")
    simulate(*change)
    lines = capsys.readouterr().out
    assert os.EX_OK == simulate(*change, "-f", "json")
    answer = json.loads(capsys.readouterr().out)

    assert rows(lines, "host") == [list(row.values()) for row in answer["hosts"]]
    assert rows(lines, "move") == [list(row.values()) for row in answer["moves"]]
    for title in ("total", "moved", "homeless"):
        assert rows(lines, title) == [list(answer[title].values())]
    assert {"10.0.0.1", "10.0.0.2", "10.0.1.1"} == {row["mail_host"] for row in answer["hosts"]}
    assert answer["moved"].keys() == {"users", "sessions"}


def test_a_table_can_be_asked_for_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    simulate("--users", "100", "-f", "table")

    assert "Mail hosts, now and then" in capsys.readouterr().out
