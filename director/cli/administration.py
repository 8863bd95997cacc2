"""From a command line to an administrative verb, and from its outcome to an exit status.

Global options come before the verb, the verb's own after it, as doveadm has it: `-f` before is the
output format, after `map` a file and after `kick` a field; `-h` before hides titles, after `map` it
asks for names. Only `-c` may stand in both places: behind a verb it means nothing to doveadm.
`run` takes a whole command line and returns the exit status, or None if it is not
about these verbs (the others are click's, see `director/cli/__init__.py`).

Statuses and the order of checks are doveadm's: the format, the configuration, the words, missing
arguments, the connection, and wrong values last. A table that was asked for is finished even after
an error, so `-f json` prints `[]`; only a fatal one or wrong usage leaves it as it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence

import attrs

from director.cli.call import Call
from director.cli.environment import Environment
from director.cli.failures import (
    EXIT_OPTION_REFUSED,
    Fatal,
    Messages,
    UsageWrong,
    reader_left,
    write_error_line,
)
from director.cli.options import Arguments, OptionRefused, parse_arguments
from director.cli.tables import TABLE_COLUMNS_DEFAULT, Table, TemplateMissing, make_table
from director.cli.verbs import BY_WORDS, VERBS, Verb

TEXT_OPTIONS = "facoi"
FLAG_OPTIONS = "Dvhk"


@attrs.define
class Options:
    """The global options; `socket_name` before the verb is our addition."""

    format_name: str | None = None
    config_path: str | None = None
    overrides: list[str] = attrs.field(factory=list)
    socket_name: str | None = None
    is_debugging: bool = False
    is_verbose: bool = False
    are_titles_shown: bool = True


def run(words: Sequence[str], other_verbs: Collection[str]) -> int | None:
    """Run a command line; None if it begins with one of `other_verbs`, or asks for general help."""
    options = Options()
    try:
        rest = _take_options(options, words)
    except OptionRefused as error:
        write_error_line(f"director: {error}")
        return EXIT_OPTION_REFUSED
    if rest is None or (rest[:1] and rest[0] in other_verbs):
        return None
    messages = Messages(is_verbose=options.is_verbose, is_debugging=options.is_debugging)
    try:
        return _run_words(options, messages, rest, other_verbs)
    except Fatal as error:
        messages.fatal(str(error))
        return error.status
    except TemplateMissing as error:
        messages.fatal(str(error))
        return os.EX_TEMPFAIL
    except BrokenPipeError:
        return reader_left()
    except KeyboardInterrupt:
        return 130


def _run_words(
    options: Options, messages: Messages, words: Sequence[str], other_verbs: Collection[str]
) -> int:
    if options.format_name is not None and _table(options, options.format_name) is None:
        write_error_line(f"director: Fatal: Unknown print formatter: {options.format_name}")
        return os.EX_TEMPFAIL
    environment = Environment(options.config_path, options.overrides, os.environ)
    verb = BY_WORDS.get(" ".join(words[:2])) or BY_WORDS.get(" ".join(words[:1]))
    if verb is None:
        write_error_line(usage_of_all(other_verbs))
        if words:
            write_error_line(f"unknown command: {' '.join(words[:2])}")
        return os.EX_USAGE
    return _run_verb(options, messages, environment, verb, words[verb.words.count(" ") + 1 :])


def _run_verb(
    options: Options,
    messages: Messages,
    environment: Environment,
    verb: Verb,
    words: Sequence[str],
) -> int:
    arguments, refusal = _parse(verb, words)
    if refusal:
        write_error_line(refusal)
        table = _table(options, options.format_name or "table")
        assert table is not None
        table.finish()
        return os.EX_USAGE
    if arguments.has("help"):
        sys.stdout.write(help_of(verb))
        return os.EX_OK
    if arguments.has("config"):
        environment = Environment(arguments.get("config"), options.overrides, os.environ)
    if options.socket_name is not None:
        arguments.values.setdefault("socket-path", options.socket_name)
    name = options.format_name or ("formatted" if verb.is_formatted(arguments) else "table")

    def fresh_table() -> Table:
        table = _table(options, name)
        assert table is not None
        return table

    call = Call(
        arguments=arguments,
        environment=environment,
        messages=messages,
        table=fresh_table(),
        make_table=fresh_table,
    )
    try:
        verb.run(call)
    except UsageWrong as error:
        messages.debug(str(error))
        write_error_line(usage_of(verb))
        return os.EX_USAGE
    finally:
        call.close()
    call.table.finish()
    sys.stdout.flush()
    return call.status


def _parse(verb: Verb, words: Sequence[str]) -> tuple[Arguments, str]:
    """Return the arguments, and what is wrong with them or an empty text."""
    last_word = verb.words.rpartition(" ")[2]
    try:
        arguments = parse_arguments(last_word, verb.parameters, words)
    except OptionRefused as error:
        return Arguments(values={}, extraneous=()), str(error)
    refusal = ""
    if arguments.extraneous:
        refusal = f"Error: Extraneous arguments found: {' '.join(arguments.extraneous)}"
    return arguments, refusal


def _take_options(options: Options, words: Sequence[str]) -> Sequence[str] | None:
    """Read the options before the verb; return the rest, None if it is click's to answer.

    Raises:
        OptionRefused: an option nobody knows, or one without its text.
    """
    queue = list(words)
    while queue and queue[0].startswith("-") and queue[0] != "-":
        word = queue.pop(0)
        if word == "--":
            break
        if word in ("--help", "--version"):
            return None
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in FLAG_OPTIONS:
                _set_flag(options, letter)
            elif letter not in TEXT_OPTIONS:
                raise OptionRefused(f"invalid option -- '{letter}'")
            elif not letters and not queue:
                raise OptionRefused(f"option requires an argument -- '{letter}'")
            else:
                _set_text(options, letter, letters or queue.pop(0))
                letters = ""
    is_plain_help = not queue and list(words) == ["-h"]
    return None if is_plain_help else queue


def _set_flag(options: Options, letter: str) -> None:
    match letter:
        case "D":
            options.is_debugging = True
        case "v":
            options.is_verbose = True
        case "h":
            options.are_titles_shown = False
        case _:
            pass  # -k keeps doveadm's environment; ours is never cleaned


def _set_text(options: Options, letter: str, text: str) -> None:
    match letter:
        case "f":
            options.format_name = text
        case "c":
            options.config_path = text
        case "o":
            options.overrides.append(text)
        case "a":
            options.socket_name = text
        case _:
            raise OptionRefused(f"there are no instances to choose from -- '{letter}'")


def _table(options: Options, name: str) -> Table | None:
    columns = TABLE_COLUMNS_DEFAULT
    if sys.stdout.isatty():
        columns = os.get_terminal_size(sys.stdout.fileno()).columns
    return make_table(
        name,
        sys.stdout.buffer.write,
        are_titles_shown=options.are_titles_shown,
        terminal_columns=columns,
    )


def usage_of(verb: Verb) -> str:
    return f"director {verb.words} {verb.usage}"


def usage_of_all(other_verbs: Collection[str]) -> str:
    """Return the text for a command line without a (known) verb."""
    usages = {verb.words: verb.usage for verb in VERBS if " " not in verb.words}
    usages["ring"] = "add|remove|status"
    usages.update(dict.fromkeys(other_verbs, "[--help]"))
    lines = [f"  {words:<12} {usage}" for words, usage in sorted(usages.items())]
    return "\n".join(["usage: director [-Dv] [-f <formatter>] <command> [<args>]", *lines])


def help_of(verb: Verb) -> str:
    """Return what `director VERB --help` prints."""
    lines = [f"usage: {usage_of(verb)}", "", verb.help, ""]
    for parameter in verb.parameters:
        letter = f"-{parameter.letters[0]}, " if parameter.letters else "    "
        lines.append(f"  {letter}{'--' + parameter.name:<16} {parameter.help}")
    lines.append("")
    lines.append("Before the verb: -f FORMAT, -c CONFIG, -o SETTING=VALUE, -a SOCKET, -D, -v, -h.")
    return "\n".join(lines) + "\n"
