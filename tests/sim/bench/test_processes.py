"""Programs that benches start; the few real ones here live for milliseconds."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sim.bench.processes import (
    Program,
    command_name,
    cpu_s,
    kill_all,
    newest_member,
    resident_bytes,
    session_members,
    wait_until,
)


def test_waiting_ends_when_it_is_true_and_errors_count_as_not_yet() -> None:
    calls = iter(range(3))

    def is_true() -> bool:
        number = next(calls)
        if number == 0:
            raise OSError("not there")
        return number == 2

    assert wait_until(is_true, 5.0, "the third answer") > 0.0
    assert list(calls) == []


def test_waiting_in_vain_names_what_for_and_the_last_error() -> None:
    def is_true() -> bool:
        raise OSError("not there")

    with pytest.raises(TimeoutError, match=r"a miracle: not within 0 s \(not there\)"):
        wait_until(is_true, 0.001, "a miracle")


def test_our_own_process_uses_cpu_and_memory() -> None:
    pid = os.getpid()

    assert 0.0 < cpu_s(pid) <= cpu_s(pid)
    assert resident_bytes(pid) > 1_000_000
    assert command_name(pid) != ""


def test_a_process_that_is_gone_has_no_name_and_is_not_missed() -> None:
    program = Program(["true"], log=Path(os.devnull))
    wait_until(lambda: not program.is_running, 5.0, "end of a program that does nothing")

    assert command_name(program.pid) == ""

    kill_all([program.pid])


@pytest.mark.slow
@pytest.mark.parametrize("end", [Program.stop, Program.kill])
def test_a_program_ends_with_everything_it_started(
    tmp_path: Path, end: Callable[[Program], None]
) -> None:
    log = tmp_path / "log"
    program = Program(["sh", "-c", "sleep 100 & echo here; wait"], log=log)
    wait_until(lambda: newest_member(program.pid, "sleep") > 0, 5.0, "start of the sleeper")

    end(program)

    assert not program.is_running
    assert session_members(program.pid) == []
    assert log.read_text() == "here\n"
