"""Reads Dovecot's configuration syntax into a tree in which every value knows where it stands.

This module decides what the text says, never what it means: which names exist and which values are
good is `settings.py`'s business, so a file full of settings of other services reads without
complaint. The rules were taken from what the installed `doveconf` 2.3.19.1 answers
(`tests/interop/test_doveconf.py` asks it again), and the parts of 2.4's syntax that an operator may
have in the same file are read too (dovecot-2.4-plug.md section 8.1).

* A `#` starts a comment wherever it stands, unless it is between quotes; a quote that is not closed
  on its line hides everything to the end of the line.
* A backslash at the end of a line joins the next one with one blank. The comment goes first, so a
  backslash in a comment joins nothing.
* A value that begins and ends with a quote loses both, and a backslash between them protects the
  next character. Any other value is verbatim, quotes and all.
* `$name` is expanded where it begins a word of an unquoted value. It is what the setting was so
  far, or else its default. `$SET:name` (2.4) is the same, `$ENV:NAME` an environment variable.
* `<path` stands for the content of a file, seen from the file that says so.
* `!include pattern` and `!include_try pattern` are relative to the including file as well.
* A section that is named again goes on where it stopped; one without a name is a new one each time.

What a value needs from outside (a variable, a file) is looked up when somebody reads the value:
a private key that only root can read and a variable of some plugin are nobody's problem here.

Where this differs from the original, on purpose: a `$name` that is set only later in the file has
its later value instead of its default, because `doveconf -n` sorts settings by name and keeps the
variables; a line that is continued and followed by an empty line or a comment is kept, where the
original forgets it. Neither generation takes a section on one line, so neither do we.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs

from ring.limits import CONFIG_FILE_BYTES_MAX, INCLUDE_DEPTH_MAX

_KEY = re.compile(r"[^\s={}]+")
_WORD = re.compile(r"\S+")
_BLANKS = " \t\r\n\f\v"


@attrs.frozen
class Position:
    """Where a value stands; line 0 means that the source has no lines (an option)."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


class ConfigError(Exception):
    """The configuration cannot be used; says where, what was got, and what was expected."""

    def __init__(self, position: Position, message: str) -> None:
        super().__init__(f"{position}: {message}")
        self.position = position
        self.message = message


@attrs.frozen
class Value:
    """The right-hand side of one setting.

    `text` is the value with its quotes removed; variables are still in it if `has_variables`, and
    it is the path of a file if `is_file`.
    """

    text: str
    position: Position
    has_variables: bool = False
    is_file: bool = False
    before: Mapping[str, Value] = attrs.field(factory=dict, repr=False, eq=False)
    """What the variables in `text` were when the value was read."""

    @property
    def is_open(self) -> bool:
        """Return whether `text` is not yet what the value says."""
        return self.has_variables or self.is_file


@attrs.define(eq=False)
class Section:
    """A `name label { ... }` block; the whole configuration is the section without a name."""

    name: str
    label: str
    position: Position
    values: dict[str, Value] = attrs.field(factory=dict)
    sections: list[Section] = attrs.field(factory=list)

    def children(self, name: str) -> Iterator[Section]:
        return (section for section in self.sections if section.name == name)

    def child(self, name: str, label: str) -> Section | None:
        return next((s for s in self.children(name) if s.label == label), None)

    def open(self, name: str, label: str, position: Position) -> Section:
        """Return the section to continue, or a new one."""
        section = self.child(name, label) if label else None
        if section is None:
            section = Section(name, label, position)
            self.sections.append(section)
        return section

    def assign(self, path: str, value: Value) -> None:
        """Set `a/b/key` in section `a b`, or plain `key` here (`\\s` stands for a slash)."""
        *names, key = path.split("/")
        if len(names) % 2:
            names, key = [], path
        section = self
        for name, label in zip(names[::2], names[1::2], strict=True):
            section = section.open(name, label.replace("\\s", "/"), value.position)
        section.values[key] = value


@attrs.frozen
class Config:
    """A configuration as read: the tree, and what its variables fall back to."""

    root: Section
    defaults: Mapping[str, str]
    environ: Mapping[str, str]
    files: tuple[Path, ...] = ()
    """Every file that was read."""

    def text(self, value: Value) -> str:
        """Return what the value says, with its variables expanded or its file read.

        Raises:
            ConfigError: an unknown variable, or a file that cannot be read.
        """
        if value.is_file:
            return _read(Path(value.text), value.position).removesuffix("\n")
        return self._expand(value, frozenset())

    def _expand(self, value: Value, seen: frozenset[str]) -> str:
        if not value.has_variables:
            return value.text if not value.is_file else self.text(value)
        return _WORD.sub(lambda word: self._word(word[0], value, seen), value.text)

    def _word(self, word: str, value: Value, seen: frozenset[str]) -> str:
        if not word.startswith("$"):
            return word
        if word.startswith("$ENV:"):
            return self.environ.get(word[5:], "")
        name = _variable_name(word)
        earlier = value.before.get(name)
        if earlier is not None:
            return self._expand(earlier, seen)
        later = self.root.values.get(name)
        if later is not None and later is not value and name not in seen:
            return self._expand(later, seen | {name})
        if name in self.defaults:
            return self.defaults[name]
        raise ConfigError(
            value.position, f"got the unknown variable {word}, expected the name of a setting"
        )


def parse_file(path: Path, defaults: Mapping[str, str], environ: Mapping[str, str]) -> Config:
    """Read a configuration file and what it includes.

    Raises:
        ConfigError: a line that is no configuration, or an include that cannot be read.
    """
    parser = _Parser(str(path))
    parser.read_file(path, Position(str(path)), ())
    return Config(parser.finish(), defaults, environ, tuple(parser.files))


def parse_text(
    text: str, source: str, defaults: Mapping[str, str], environ: Mapping[str, str]
) -> Config:
    """Read a configuration that is no file (includes are relative to the working directory)."""
    parser = _Parser(source)
    parser.read_text(text, source, Path(), ())
    return Config(parser.finish(), defaults, environ, tuple(parser.files))


def extend(config: Config, text: str, source: str) -> None:
    """Read more settings into the tree, as if `text` stood behind what was read.

    Raises:
        ConfigError: as for `parse_text`.
    """
    parser = _Parser(source, config.root)
    parser.read_text(text, source, Path(), ())
    parser.finish()


def assign(config: Config, path: str, text: str, source: str) -> None:
    """Overrule one setting, written as in a file but coming from `source`."""
    value = _make_value(text.strip(_BLANKS), Position(source), Path(), config.root)
    config.root.assign(path, value)


# --- lines ------------------------------------------------------------------------------------


@attrs.frozen
class _Line:
    """One logical line; `starts` maps offsets in `text` to physical lines and columns."""

    text: str
    source: str
    starts: tuple[tuple[int, int, int], ...]

    def at(self, offset: int) -> Position:
        start, line, column = next(s for s in reversed(self.starts) if s[0] <= offset)
        return Position(self.source, line, column + offset - start)


def _logical_lines(text: str, source: str) -> Iterator[_Line]:
    pieces: list[str] = []
    starts: list[tuple[int, int, int]] = []
    length = 0
    for number, physical in enumerate(text.split("\n"), 1):
        line = _without_comment(physical).rstrip(_BLANKS)
        content = line.lstrip(_BLANKS)
        is_continued = content.endswith("\\")
        if is_continued:
            content = content[:-1].rstrip(_BLANKS)
        if content:
            starts.append((length, number, len(line) - len(line.lstrip(_BLANKS)) + 1))
            pieces.append(content)
            length += len(content) + 1
        if pieces and not is_continued:
            yield _Line(" ".join(pieces), source, tuple(starts))
            pieces, starts, length = [], [], 0
    if pieces:
        yield _Line(" ".join(pieces), source, tuple(starts))


def _without_comment(line: str) -> str:
    index = 0
    while index < len(line):
        character = line[index]
        if character == "#":
            return line[:index]
        if character in "\"'":
            index = _closing_quote(line, index)
            if index < 0:
                return line
        index += 1
    return line


def _closing_quote(text: str, opening: int) -> int:
    """Return the index of the quote that closes the one at `opening`, or -1."""
    index = opening + 1
    while index < len(text):
        if text[index] == "\\":
            index += 1
        elif text[index] == text[opening]:
            return index
        index += 1
    return -1


# --- statements -------------------------------------------------------------------------------


class _Parser:
    def __init__(self, source: str, root: Section | None = None) -> None:
        self.root = root if root is not None else Section("", "", Position(source))
        self.source = source
        self.open_sections = [self.root]
        self.files: list[Path] = []

    def finish(self) -> Section:
        if len(self.open_sections) > 1:
            raise ConfigError(
                Position(self.source),
                "got the end of the file, expected '}' for the section that starts at "
                f"{self.open_sections[-1].position}",
            )
        return self.root

    def read_file(self, path: Path, named_at: Position, above: tuple[Path, ...]) -> None:
        if path in above:
            raise ConfigError(named_at, f"{path} includes itself")
        if len(above) >= INCLUDE_DEPTH_MAX:
            raise ConfigError(
                named_at, f"got includes deeper than {INCLUDE_DEPTH_MAX} files at {path}"
            )
        text = _read(path, named_at)
        self.files.append(path)
        self.read_text(text, str(path), path.parent, (*above, path))

    def read_text(self, text: str, source: str, folder: Path, above: tuple[Path, ...]) -> None:
        for line in _logical_lines(text, source):
            if line.text.split(None, 1)[0] in ("!include", "!include_try"):
                self.include(line, folder, above)
            else:
                self.statement(line, folder)

    def include(self, line: _Line, folder: Path, above: tuple[Path, ...]) -> None:
        verb, _, pattern = line.text.partition(" ") if " " in line.text else (line.text, "", "")
        pattern = pattern.strip(_BLANKS)
        where = line.at(len(line.text) - len(pattern))
        if not pattern:
            raise ConfigError(where, f"got {verb} alone, expected a file name behind it")
        matches = sorted(_glob(folder, pattern))
        if not matches and verb == "!include":
            raise ConfigError(where, f"got {pattern}, which no file matches, expected one at least")
        for path in matches:
            try:
                self.read_file(path, where, above)
            except _Unreadable:
                if verb == "!include":
                    raise

    def statement(self, line: _Line, folder: Path) -> None:
        """Read `key = value`, `name label {` or `}`."""
        text = line.text
        if text == "}":
            return self.close(line.at(0))
        if text[0] == "=":
            raise ConfigError(line.at(0), "got '=', expected the name of a setting before it")
        key = _KEY.match(text)
        if key is None:
            raise ConfigError(line.at(0), f"got {text[0]!r}, expected the name of a setting")
        rest = _skip_blanks(text, key.end())
        if text[rest : rest + 1] == "=":
            value_at = _skip_blanks(text, rest + 1)
            section = self.open_sections[-1]
            where = line.at(min(value_at, len(line.text) - 1))
            value = _make_value(text[value_at:], where, folder, self.root)
            return section.assign(key[0], value)
        return self.section(line, key, rest)

    def section(self, line: _Line, key: re.Match[str], label_at: int) -> None:
        text = line.text
        label_end = label_at
        if text[label_at : label_at + 1] in ("'", '"'):
            label_end = _closing_quote(text, label_at) + 1
        elif word := re.compile(r"[^\s{}]+").match(text, label_at):
            label_end = word.end()
        brace = _skip_blanks(text, label_end)
        if text[brace : brace + 1] != "{" or text[brace - 1] not in _BLANKS:
            got = repr(text[label_at:]) if label_at < len(text) else "the end of the line"
            where = line.at(min(label_at, len(text) - 1))
            raise ConfigError(where, f"got {got} after {key[0]!r}, expected '=' or '{{'")
        label = _unquoted(text[label_at:label_end])
        if _skip_blanks(text, brace + 1) < len(text):
            got = repr(text[brace + 1 :].strip(_BLANKS))
            raise ConfigError(line.at(brace), f"got {got} after '{{', expected the end of the line")
        opened = self.open_sections[-1].open(key[0], label, line.at(key.start()))
        self.open_sections.append(opened)

    def close(self, where: Position) -> None:
        if len(self.open_sections) == 1:
            raise ConfigError(where, "got '}', but no section is open")
        self.open_sections.pop()


def _make_value(text: str, position: Position, folder: Path, root: Section) -> Value:
    if _is_quoted(text):
        return Value(_unquoted(text), position)
    if text.startswith("<"):
        return Value(str(folder / text[1:].strip(_BLANKS)), position, is_file=True)
    words = [word for word in _WORD.findall(text) if word.startswith("$")]
    names = {_variable_name(word) for word in words}
    before = {name: root.values[name] for name in names if name in root.values}
    if before and all(n in before and not before[n].is_open for n in names):
        # Now, so that a setting that grows over a thousand lines is no chain of a thousand values.
        known = {name: value.text for name, value in before.items()}
        return Value(_WORD.sub(lambda w: known.get(_variable_name(w[0]), w[0]), text), position)
    return Value(text, position, has_variables=bool(words), before=before)


def _variable_name(word: str) -> str:
    """Return the setting that a word stands for, empty if it is no variable."""
    return word.removeprefix("$SET:").removeprefix("$") if word.startswith("$") else ""


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.?)", r"\1", text[1:-1]) if _is_quoted(text) else text


def _is_quoted(text: str) -> bool:
    return text[:1] in ("'", '"') and text[0] == text[-1]


def _skip_blanks(text: str, index: int) -> int:
    while index < len(text) and text[index] in _BLANKS:
        index += 1
    return index


# --- files ------------------------------------------------------------------------------------


class _Unreadable(ConfigError):
    """A file could not be opened."""


def _read(path: Path, named_at: Position) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_FILE_BYTES_MAX + 1)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror}"
        raise _Unreadable(named_at, message) from None
    if len(data) > CONFIG_FILE_BYTES_MAX:
        raise ConfigError(named_at, f"{path} is longer than {CONFIG_FILE_BYTES_MAX} bytes")
    return data.decode("utf-8", "surrogateescape")


def _glob(folder: Path, pattern: str) -> Iterator[Path]:
    if not re.search(r"[*?\[]", pattern):
        path = folder / pattern
        return iter([path] if path.exists() else [])
    if pattern.startswith("/"):
        return Path("/").glob(pattern.lstrip("/"))
    return folder.glob(pattern)
