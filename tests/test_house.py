"""The house: no room, module, function or name in it that a reader would stumble over."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from conftest import ROOT

from nrcscan.extras import PACKAGES

PACKAGE = ROOT / "nrcscan"
MODULES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}

MOST_LINES = 60
MOST_PARAMETERS = 8
LONG_MODULE = 300
MOST_AT_ROOT = 8
PUBLIC = (PACKAGE, PACKAGE / "training")  # whose names users import from the package itself

# Function → why it may be longer than others, or take more.
LARGE_FUNCTIONS = {
    # A set of options, each of which is declared and described.
    "cli/measure_command.py: measure": "what the command alone takes, beside two sets of options",
    "cli/scan_command.py: scan": "what the command alone takes, beside two sets of options",
    "cli/cut_command.py: cut": "what the command alone takes, beside two sets of options",
    "cli/report_command.py: report": "what the command alone takes, beside a set of options",
}

# Module → why it is longer than others.
LONG_MODULES = {
    "comparing/comparison_table.py": "one table as text, CSV and Markdown",
    "gating/rules/parsing.py": "one grammar, a function to a line of it",
    "statistics/moments.py": "one accumulator and its arithmetic",
    "metrics/quantities.py": "the catalogue: an entry for each quantity and condition",
    "options/pass_options.py": "the options of a pass: an entry for each",
}


def _name(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many parameters a caller meets: `self` is none."""
    given = function.args
    named = [*given.posonlyargs, *given.args]
    bound = bool(named) and named[0].arg in ("self", "cls")
    return len(named) - bound + len(given.kwonlyargs) + bool(given.vararg) + bool(given.kwarg)


def _repeated(names: list[str]) -> set[str]:
    return {name for name, count in Counter(names).items() if count > 1}


def test_functions_are_short_and_take_few_parameters() -> None:
    large = {
        f"{_name(path)}: {function.name}": (lines, _parameters(function))
        for path, tree in TREES.items()
        for function in _functions(tree)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > MOST_LINES
        or _parameters(function) > MOST_PARAMETERS
    }
    new = {name: size for name, size in large.items() if name not in LARGE_FUNCTIONS}
    assert not new, f"longer than {MOST_LINES} lines, or more than {MOST_PARAMETERS} parameters"
    assert not LARGE_FUNCTIONS.keys() - large, "no longer large: take it off the list"


def test_modules_are_of_a_size_to_be_read() -> None:
    long = {
        _name(path): lines
        for path in MODULES
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONG_MODULE
    }
    new = {name: lines for name, lines in long.items() if name not in LONG_MODULES}
    assert not new, f"longer than {LONG_MODULE} lines"
    assert not LONG_MODULES.keys() - long, "no longer long: take it off the list"


def test_a_name_says_which_module_or_class_is_meant() -> None:
    modules = [path.stem for path in MODULES if not path.stem.startswith("__")]
    assert not _repeated(modules)
    classes = [
        node.name
        for tree in TREES.values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]
    assert not _repeated(classes)


def test_packages_hold_a_sentence_on_themselves_alone() -> None:
    for path, tree in TREES.items():
        callable_room = path.parent.name == "metrics"  # the room that is a function too
        if path.name == "__init__.py" and path.parent not in PUBLIC and not callable_room:
            assert ast.get_docstring(tree), path
            assert len(tree.body) == 1, f"{path}: import from the module itself"


def test_every_folder_of_the_package_is_a_room() -> None:
    for path in MODULES:
        assert (path.parent / "__init__.py").is_file(), path.parent


def test_few_modules_lie_outside_the_rooms() -> None:
    assert len([path for path in MODULES if path.parent == PACKAGE]) <= MOST_AT_ROOT


def test_the_page_on_the_house_has_every_room() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    table = [line for line in page.splitlines() if line.startswith("| `")]
    assert {name for line in table for name in re.findall(r"`(\w+)/`", line.split("|")[1])} == rooms


def test_extras_bring_what_the_project_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = project["optional-dependencies"]
    named = {
        extra: tuple(re.match(r"[\w-]+", one).group() for one in needs)  # type: ignore[union-attr]
        for extra, needs in optional.items()
        if extra != "all"
    }
    assert named == dict(PACKAGES)
    listed = re.findall(r"[\w-]+(?=[,\]])", " ".join(optional["all"]))
    assert sorted(listed) == sorted(PACKAGES)


def test_what_to_type_names_packages_that_an_index_has() -> None:
    shown = [*MODULES, ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for path in shown:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"pip install\W+nrcscan\[\w", text), path
