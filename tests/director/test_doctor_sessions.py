"""Can sessions be closed, and is it known that they live? Mistakes one at a time."""

from __future__ import annotations

import pytest

from director.doctor_sessions import check_kicks, check_refresh
from director.facts import DovecotFacts, Finding
from director.settings import Settings
from tests.director.doctored import (
    BASE,
    DOVECOT_23,
    DOVECOT_24,
    OURS,
    FakeMachine,
    dovecot,
    settings,
    unix_socket,
    wrongs,
)

FIFO = OURS.replace(
    "  unix_listener director-userdb",
    "  fifo_listener login/proxy-notify {\n    mode = 0666\n  }\n  unix_listener director-userdb",
)


def kicks(ours: Settings, facts: DovecotFacts, machine: FakeMachine) -> list[Finding]:
    return list(check_kicks(ours, facts, machine, machine.account("dovecot")))


def refresh(
    ours: Settings, machine: FakeMachine, facts: DovecotFacts | None = None
) -> list[Finding]:
    return list(check_refresh(ours, facts or dovecot(), machine, machine.account("dovecot")))


def texts(findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings]


def test_the_way_to_close_sessions_is_named() -> None:
    modern = kicks(settings(), dovecot(), FakeMachine())
    classic = kicks(settings(), dovecot(DOVECOT_23, version="2.3.19.1"), FakeMachine())

    assert wrongs(modern + classic) == {}
    assert texts(modern)[0] == "sessions are closed through anvil"
    assert texts(classic)[0] == "sessions are closed through ipc"


def test_no_kicks_at_all() -> None:
    found = wrongs(kicks(settings(OURS + "director_kick = none\n"), dovecot(), FakeMachine()))

    assert list(found.values()) == ["director.conf: director_kick = auto"]


def test_kicks_of_the_other_dovecot() -> None:
    found = wrongs(kicks(settings(OURS + "director_kick = ipc\n"), dovecot(), FakeMachine()))

    assert list(found) == ["director_kick = ipc, but Dovecot 2.4.1 is kicked by anvil"]


def test_anvil_that_we_may_not_ask() -> None:
    machine = FakeMachine()
    machine.entries[f"{BASE}/anvil"] = unix_socket(0o600)
    found = wrongs(kicks(settings(), dovecot(), machine))

    assert len(found) == 1
    assert "unix_listener anvil { mode = 0660 group = dovecot }" in next(iter(found.values()))


def test_anvil_that_is_missing() -> None:
    machine = FakeMachine()
    del machine.entries[f"{BASE}/anvil"]

    assert list(wrongs(kicks(settings(), dovecot(), machine)).values()) == [
        "systemctl restart dovecot"
    ]


@pytest.mark.parametrize(("version", "count"), [("2.4.1", 1), ("2.4.4", 1), ("2.4.5", 0)])
def test_login_processes_that_ignore_kicks(version: str, count: int) -> None:
    text = DOVECOT_24.replace("= unlimited", "= 1")
    found = wrongs(kicks(settings(), dovecot(text, version=version), FakeMachine()))

    assert len(found) == count
    assert all(
        "service imap-login { restart_request_count = unlimited" in f for f in found.values()
    )


def test_root_can_end_every_session() -> None:
    machine = FakeMachine()
    facts = dovecot(DOVECOT_24.replace("= unlimited", "= 1"))

    assert wrongs(list(check_kicks(settings(), facts, machine, machine.account("root")))) == {}


def test_lists_tell_who_lives_where_there_is_no_fifo() -> None:
    found = refresh(settings(), FakeMachine())

    assert len(found) == 1
    assert "Dovecot's own list of sessions" in found[0].text


def test_fifo_tells_who_lives() -> None:
    found = refresh(settings(FIFO), FakeMachine())

    assert wrongs(found) == {}
    assert f"{BASE}/login/proxy-notify" in found[0].text


def test_fifo_that_nobody_reads() -> None:
    machine = FakeMachine(unread={f"{BASE}/login/proxy-notify"})
    found = wrongs(refresh(settings(FIFO), machine))

    assert len(found) == 1
    assert "freeze" in next(iter(found))


def test_fifo_that_is_wanted_and_not_there() -> None:
    ours = settings(OURS + "director_proxy_refresh = yes\n")
    found = wrongs(refresh(ours, FakeMachine()))

    assert list(found.values()) == ["director.conf: director_proxy_refresh = auto"]


EVENTS = OURS.replace(
    "  unix_listener director-userdb",
    "  unix_listener director-events {\n    mode = 0600\n  }\n  unix_listener director-userdb",
)
EXPORTER = f"""\
event_exporter director {{
  driver = unix
  format = json
  unix_path = {BASE}/director-events
}}
metric director_sessions {{
  exporter = director
  filter = event=proxy_session_established OR event=proxy_session_finished
}}
"""


def test_events_tell_who_lives_only_where_sessions_cannot_be_listed() -> None:
    ours, facts, machine = settings(EVENTS), dovecot(DOVECOT_24 + EXPORTER), FakeMachine()

    assert "Dovecot's own list of sessions" in refresh(ours, machine, facts)[0].text

    machine.entries[f"{BASE}/anvil"] = unix_socket(0o600)
    [found] = refresh(ours, machine, facts)

    assert wrongs([found]) == {}
    assert found.text.endswith(f"the sessions that Dovecot exports to {BASE}/director-events")


@pytest.mark.parametrize(
    "exporter", ["", EXPORTER.replace("unix\n", "log\n"), EXPORTER.replace("finished", "started")]
)
def test_events_that_nobody_exports(exporter: str) -> None:
    ours = settings(EVENTS + "director_kick = none\n")
    found = wrongs(refresh(ours, FakeMachine(), dovecot(DOVECOT_24 + exporter)))

    assert list(found) == [
        f"nobody exports sessions to {BASE}/director-events, so live users are not known"
    ]
    assert f"unix_path = {BASE}/director-events" in next(iter(found.values()))


def test_nobody_tells_who_lives() -> None:
    [found] = refresh(settings(OURS + "director_kick = none\n"), FakeMachine())

    assert "live users are not known" in found.text
