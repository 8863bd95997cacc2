"""Messages on stderr: which are shown, and how they begin."""

from __future__ import annotations

import pytest

from director.cli.failures import Messages, write_error_line


def say_everything(messages: Messages) -> None:
    messages.debug("d")
    messages.info("i")
    messages.warning("w")
    messages.error("e")
    messages.fatal("f")


@pytest.mark.parametrize(
    ("is_verbose", "is_debugging", "classes"),
    [
        (False, False, ["Warning:", "Error:", "Fatal:"]),
        (True, False, ["Info:", "Warning:", "Error:", "Fatal:"]),
        (False, True, ["Debug:", "Info:", "Warning:", "Error:", "Fatal:"]),
    ],
)
def test_verbosity_decides_what_is_said(
    capsys: pytest.CaptureFixture[str], is_verbose: bool, is_debugging: bool, classes: list[str]
) -> None:
    say_everything(Messages(is_verbose=is_verbose, is_debugging=is_debugging))
    lines = capsys.readouterr().err.splitlines()

    assert [line.split()[3 if is_debugging else 0] for line in lines] == classes


def test_names_that_are_no_text_are_shown_somehow(capsys: pytest.CaptureFixture[str]) -> None:
    write_error_line("User " + b"\xff".decode("utf-8", "surrogateescape"))

    assert capsys.readouterr().err == "User \ufffd\n"
