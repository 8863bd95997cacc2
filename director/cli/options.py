"""Options and arguments as `doveadm` takes them: getopt_long with a name for every argument.

Decides which parameter each word of a command line belongs to, and the message when there is none.
Options and arguments may be mixed, a long option may be shortened while it stays unambiguous, and
every positional argument can also be given by its long name (`status --tag x u1`); options are
taken first, then the remaining words fill the arguments that are still open, in order.

Rejected: click. It cannot take an argument by name or by position alike, has no abbreviations,
and words its errors its own way; scripts that read doveadm's exit codes deserve doveadm's parser.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs


class OptionRefused(Exception):
    """The command line does not parse; the message is getopt's."""


@attrs.frozen(kw_only=True)
class Parameter:
    """One thing a verb can be told: `--name TEXT`, `-letter TEXT`, and by position.

    A flag takes no text. `is_ours` marks what doveadm does not know.
    """

    name: str
    letters: str = ""
    """Short options, each a letter; the first is the one to document."""
    is_flag: bool = False
    is_positional: bool = False
    is_ours: bool = False
    help: str = ""


@attrs.frozen(kw_only=True)
class Arguments:
    """What was given, by parameter name; flags are present or absent."""

    values: dict[str, str]
    extraneous: tuple[str, ...]

    def get(self, name: str) -> str | None:
        return self.values.get(name)

    def has(self, name: str) -> bool:
        return name in self.values


def parse_arguments(
    program: str, parameters: Sequence[Parameter], words: Sequence[str]
) -> Arguments:
    """Return which parameter has which value; what is left over stands in `extraneous`.

    Raises:
        OptionRefused: an unknown, ambiguous or incomplete option.
    """
    values: dict[str, str] = {}
    plain: list[str] = []
    queue = list(reversed(words))
    while queue:
        word = queue.pop()
        if word == "--":
            plain.extend(reversed(queue))
            break
        if word.startswith("--"):
            _take_long(program, parameters, word, queue, values)
        elif word.startswith("-") and word != "-":
            _take_short(program, parameters, word, queue, values)
        else:
            plain.append(word)
    open_names = [p.name for p in parameters if p.is_positional and p.name not in values]
    values.update(zip(open_names, plain, strict=False))
    return Arguments(values=values, extraneous=tuple(plain[len(open_names) :]))


def _take_long(
    program: str,
    parameters: Sequence[Parameter],
    word: str,
    queue: list[str],
    values: dict[str, str],
) -> None:
    name, has_text, text = word[2:].partition("=")
    exact = [p for p in parameters if p.name == name]
    begun = [p for p in parameters if p.name.startswith(name)]
    # Our additions must not make an abbreviation ambiguous that doveadm understands.
    found = exact or [p for p in begun if not p.is_ours] or begun
    if not found:
        raise OptionRefused(f"{program}: unrecognized option '{word}'")
    if len(found) > 1:
        possibilities = " ".join(f"'--{p.name}'" for p in found)
        raise OptionRefused(
            f"{program}: option '{word}' is ambiguous; possibilities: {possibilities}"
        )
    parameter = found[0]
    if parameter.is_flag:
        if has_text:
            raise OptionRefused(f"{program}: option '--{parameter.name}' doesn't allow an argument")
    elif not has_text:
        if not queue:
            raise OptionRefused(f"{program}: option '--{parameter.name}' requires an argument")
        text = queue.pop()
    values[parameter.name] = text


def _take_short(
    program: str,
    parameters: Sequence[Parameter],
    word: str,
    queue: list[str],
    values: dict[str, str],
) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        parameter = next((p for p in parameters if letter in p.letters), None)
        if parameter is None:
            raise OptionRefused(f"{program}: invalid option -- '{letter}'")
        if parameter.is_flag:
            values[parameter.name] = ""
            continue
        if not letters and not queue:
            raise OptionRefused(f"{program}: option requires an argument -- '{letter}'")
        values[parameter.name] = letters or queue.pop()
        return
