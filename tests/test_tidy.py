"""The architecture as a test: who may import whom, and what must be written down.

Style beyond this is for readers, ruff and mypy. Every rule says what it found, where, and what to
do instead; none has exceptions that are not listed here with a reason.
"""

from __future__ import annotations

import ast
import functools
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

TOP = Path(__file__).resolve().parent.parent
PACKAGES = ("ring", "director", "sim")

MAY_IMPORT = {"ring": {"ring"}, "director": {"ring", "director"}, "sim": {"ring", "sim"}}
"""`sim.cluster` starts real daemons as programs; it does not import them."""

RING_DEPENDENCIES = {"attrs", "msgpack", "mmh3"}

BANNED_IN_RING = {
    "trio": "effects, performed by the shell",
    "asyncio": "effects, performed by the shell",
    "socket": "bytes in, bytes out",
    "ssl": "bytes in, bytes out",
    "select": "bytes in, bytes out",
    "subprocess": "an effect",
    "time": "`now` as an argument",
    "datetime": "`now` as an argument",
    "random": "a keyed mmh3 hash of the caller's seed",
    "secrets": "an argument",
    "uuid": "an argument",
    "logging": "an effect Noted",
    "os": "an argument",
    "pathlib": "an argument",
    "threading": "nothing: the core is single-threaded",
}
BANNED_CALLS_IN_RING = {
    "hash": "ring.hashing (the builtin differs from run to run)",
    "id": "a number the caller gave",
    "print": "an effect Noted",
    "open": "bytes as an argument",
}
BANNED_ANYWHERE = {
    "dataclasses": "attrs.frozen or attrs.define",
    "asyncio": "trio",
    "unittest.mock": "a fake, or a real socket in tmp_path",
    "pickle": "msgpack",
}
MACHINE_PATHS = re.compile(r"(?<![\w.$}])/(home|root|Users)/\w+")


@attrs.frozen(kw_only=True, slots=False)
class Module:
    """One Python file: dotted name, file, syntax tree."""

    name: str
    file: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.name.split(".")[0]

    @property
    def place(self) -> str:
        return str(self.file.relative_to(TOP))

    @functools.cached_property
    def imports(self) -> list[tuple[str, int]]:
        """Each imported module or name as a dotted name with its line."""
        return list(self._imports())

    def _imports(self) -> Iterator[tuple[str, int]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield alias.name, node.lineno
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.place}:{node.lineno}: imports are absolute here"
                for alias in node.names:
                    yield f"{node.module}.{alias.name}", node.lineno

    @functools.cached_property
    def typing_only(self) -> set[int]:
        """Return the lines under `if TYPE_CHECKING:`; at run time they import nothing."""
        return {
            inner.lineno
            for node in ast.walk(self.tree)
            if isinstance(node, ast.If)
            and isinstance(node.test, ast.Name)
            and node.test.id == "TYPE_CHECKING"
            for inner in node.body
        }

    @functools.cached_property
    def functions(self) -> set[str]:
        """Return the names of all functions and methods."""
        return {
            node.name
            for node in ast.walk(self.tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }


def modules(*directories: str) -> list[Module]:
    return [module for directory in directories for module in modules_in(directory)]


@functools.cache
def modules_in(directory: str) -> list[Module]:
    found = []
    for file in sorted((TOP / directory).rglob("*.py")):
        parts = file.relative_to(TOP).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
        found.append(Module(name=name, file=file, tree=tree))
    return found


@functools.cache
def written_files() -> list[Path]:
    """Return all text files a person wrote."""
    hidden = {".venv", ".git", ".coverage", "build", "dist", "__pycache__"}
    return [
        file
        for file in sorted(TOP.rglob("*"))
        if file.is_file()
        and not hidden & set(file.relative_to(TOP).parts)
        and not any(part.endswith("_cache") for part in file.relative_to(TOP).parts)
        and (file.suffix in {".py", ".md", ".toml", ".conf", ".txt", ".service"} or not file.suffix)
    ]


@functools.cache
def module_names() -> frozenset[str]:
    return frozenset(module.name for module in modules(*PACKAGES))


def known_module(name: str) -> str | None:
    """Return the longest prefix of a dotted name that is one of our modules."""
    names = module_names()
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if ".".join(parts[:length]) in names:
            return ".".join(parts[:length])
    return None


def starts_with(name: str, banned: str) -> bool:
    return name == banned or name.startswith(f"{banned}.")


def test_packages_import_only_downwards() -> None:
    wrong = [
        f"{module.place}:{line}: imports {name}; {module.package} may import "
        f"{sorted(MAY_IMPORT[module.package])} of ours"
        for module in modules(*PACKAGES)
        for name, line in module.imports
        if name.split(".")[0] in PACKAGES and name.split(".")[0] not in MAY_IMPORT[module.package]
    ]

    assert wrong == []


def test_the_core_only_computes() -> None:
    """`ring/` gets time, chance and bytes as arguments, or the simulator could not run it."""
    wrong = []
    for module in modules("ring"):
        for name, line in module.imports:
            for banned, instead in BANNED_IN_RING.items():
                if starts_with(name, banned):
                    wrong.append(f"{module.place}:{line}: imports {name}; use {instead}")
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                instead = BANNED_CALLS_IN_RING.get(node.func.id, "")
                if instead:
                    wrong.append(f"{module.place}:{node.lineno}: {node.func.id}(); use {instead}")

    assert wrong == []


def test_the_core_depends_on_three_libraries_only() -> None:
    wrong = [
        f"{module.place}:{line}: imports {name}"
        for module in modules("ring")
        for name, line in module.imports
        if name.split(".")[0] not in {"ring", *RING_DEPENDENCIES, *sys.stdlib_module_names}
    ]

    assert wrong == []


def test_nobody_uses_what_has_a_better_name_here() -> None:
    wrong = [
        f"{module.place}:{line}: imports {name}; use {instead}"
        for module in modules(*PACKAGES, "tests")
        for name, line in module.imports
        for banned, instead in BANNED_ANYWHERE.items()
        if starts_with(name, banned)
    ]

    assert wrong == []


def layers(package: str) -> dict[str, int]:
    """Return the layer of each module by the numbered list in the package's README.

    A line names modules in backticks, relative to the package; `codec/` means all modules below.
    """
    readme = (TOP / package / "README.md").read_text()
    lines = re.findall(r"^(\d+)\. (.+)$", readme, re.MULTILINE)
    return {
        f"{package}.{name.strip('/').replace('/', '.')}": int(number)
        for number, line in lines
        for name in re.findall(r"`([\w/]+)`", line)
    }


def layer_of(module: str, listed: dict[str, int]) -> int | None:
    """Return the layer of a module, or of the nearest package above it that is listed."""
    while module:
        if module in listed:
            return listed[module]
        module = module.rpartition(".")[0]
    return None


def test_modules_import_only_from_their_layer_or_above_it_in_the_list() -> None:
    """Names for annotations only do not count: a world and its machines may know each other."""
    wrong = []
    for package in PACKAGES:
        listed = layers(package)
        for module in modules(package):
            own = layer_of(module.name, listed)
            if own is None:
                continue
            for name, line in module.imports:
                other = known_module(name)
                layer = layer_of(other, listed) if other else None
                if layer is not None and layer > own and line not in module.typing_only:
                    wrong.append(
                        f"{module.place}:{line}: layer {own} imports {other} of layer {layer}"
                    )

    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_stands_in_the_layer_list(package: str) -> None:
    listed = layers(package)
    missing = [
        module.name
        for module in modules(package)
        if module.file.name not in ("__init__.py", "__main__.py")
        and layer_of(module.name, listed) is None
    ]

    assert missing == [], f"{package}/README.md does not say on which layer they are"


def test_imports_have_no_cycle() -> None:
    """Names for annotations only do not count here either."""
    graph = {
        module.name: {
            other
            for name, line in module.imports
            if (other := known_module(name)) and other != module.name
            if line not in module.typing_only
        }
        for module in modules(*PACKAGES)
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"import cycle: {' -> '.join([*path[path.index(name) :], name])}"
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*path, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def test_every_module_says_what_it_decides() -> None:
    wrong = [
        module.place
        for module in modules(*PACKAGES)
        if module.tree.body and not ast.get_docstring(module.tree)
    ]

    assert wrong == [], "these modules do not start with a docstring"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_has_its_test_module(package: str) -> None:
    """Benches have none of their own: they are measured, and `test_benches.py` has the rest."""
    missing = []
    for module in modules(package):
        name = module.file.name
        if name in ("__init__.py", "__main__.py") or not module.functions:
            continue
        if module.name.startswith("sim.bench.") and "measure" in module.functions:
            continue
        test = TOP / "tests" / module.file.relative_to(TOP).parent / f"test_{name}"
        if not test.exists():
            missing.append(f"{module.place} needs {test.relative_to(TOP)}")

    assert missing == []


def test_every_limit_says_what_happens_there() -> None:
    """The text after a limit, or after a group of them, gives reason and consequence."""
    undocumented: list[str] = []
    waiting: list[str] = []
    tree = next(module.tree for module in modules("ring") if module.name == "ring.limits")
    for node in tree.body[1:]:
        if isinstance(node, ast.Assign):
            assert isinstance(node.targets[0], ast.Name)
            waiting.append(node.targets[0].id)
            continue
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            undocumented += waiting
        waiting = []

    assert undocumented + waiting == []


def noted_kinds() -> Iterator[tuple[str, str]]:
    for module in modules(*PACKAGES):
        for node in ast.walk(module.tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in ("Noted", "note", "_note") and node.args:
                kind = node.args[0]
                if isinstance(kind, ast.Constant) and isinstance(kind.value, str):
                    yield kind.value, f"{module.place}:{node.lineno}"


def test_everything_noted_is_asserted_by_a_test() -> None:
    tests = "".join(
        file.read_text()
        for file in (TOP / "tests").rglob("*")
        if file.is_file() and file.suffix in (".py", ".txt")
    )
    wrong = [
        f"{place}: no test names {kind!r}" for kind, place in noted_kinds() if kind not in tests
    ]

    assert wrong == []


def test_links_in_documents_lead_somewhere() -> None:
    wrong = []
    for file in written_files():
        if file.suffix == ".md":
            for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8")):
                path = target.partition("#")[0]
                if not re.match(r"\w+:", target) and path and not (file.parent / path).exists():
                    wrong.append(f"{file.relative_to(TOP)}: {target} does not exist")

    assert wrong == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    wrong = [
        f"{file.relative_to(TOP)}:{number}: {line.strip()[:80]}"
        for file in written_files()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if MACHINE_PATHS.search(line)
    ]

    assert wrong == []
