"""Finds what a user names in their own code: package.module:name, or path/file.py:name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from nrcscan.errors import UsageError
from nrcscan.files import at_work
from nrcscan.files.open_safely import is_folder, is_regular
from nrcscan.inputs.module_files import module_file, own_files
from nrcscan.inputs.runs_on_import import Doing, OnImport
from nrcscan.wording import listed, reason

_SHOWN = 3
"""Statements that a message names."""

_WIDTH = 48
"""Characters of each."""


def require_definitions(spec: str, option: str, *, run_script: bool, within: Path | None) -> None:
    """Look at the user's code before any of it runs.

    Args:
        spec: "package.module:name", "path/file.py:name" or the path of a script.
        option: the option it was written for.
        run_script: whether importing it may do more than define things.
        within: a further folder that modules are imported from.

    Raises:
        UsageError: the file is missing, is no Python, or does not define such a name.
    """
    where, name = _parted(spec, option)
    search = _search(within)
    if where.endswith(".py"):
        if not is_regular(Path(where)):
            raise UsageError(f"{option} {spec}: no such file: {where}; check the path")
        files = [Path(where).resolve()]
        search.append(str(files[0].parent))
    else:
        search.append(str(Path.cwd()))
        files = own_files(where, search)
        if not files or module_file(where, search) != files[-1]:
            return  # whoever imports it says so
    with _readable(f"{option} {spec}"):
        look = OnImport(search)
        known = look.script(files[-1])
        if name and known.names is not None and name.partition(".")[0] not in known.names:
            raise _no_such_name(spec, option, where, name, known.offered)
        doings = [] if run_script else look.doings(files, name or None)
    _refuse(doings, f"{option} {spec}", files[-1])


def require_modules_define(names: Sequence[str], what: str, *, within: Path | None) -> None:
    """Look at the user's own modules before something imports them.

    Args:
        names: of the modules.
        what: imports them, in words.
        within: a further folder that modules are imported from.

    Raises:
        UsageError: importing one would do more than define things; all of that is named.
    """
    search = _search(within)
    for name in names:
        files = own_files(name, search)
        if files:
            with _readable(what):
                doings = OnImport(search).doings(files)
            _refuse(doings, what, files[-1])


def load_callable(spec: str, option: str) -> Callable[..., Any]:
    """Return the callable that "package.module:name" or "path/file.py:name" names.

    Args:
        spec: what the user wrote.
        option: the option it was written for.

    Raises:
        UsageError: the code cannot be imported, or has no callable of that name.
    """
    where, name = _parted(spec, option)
    if not name:
        raise UsageError(f"{option} {spec}: write package.module:factory or path/file.py:factory")
    module = _imported(where, spec, option)
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        public = [n for n in vars(module) if not n.startswith("_") and callable(vars(module)[n])]
        raise _no_such_name(spec, option, where, name, public)
    if not callable(found):
        raise UsageError(
            f"{option} {spec}: {name} is a {type(found).__name__}, not a callable;"
            " name a function or class"
        )
    return cast("Callable[..., Any]", found)


def is_script(given: object) -> bool:
    """Whether this names a script without anything in it, for the classes of `__main__`."""
    return isinstance(given, str) and given.endswith(".py") and ":" not in given


def where_of(spec: str) -> str:
    """Return the module or the file that "where:name" or the path of a script names."""
    return spec if is_script(spec) else spec.rpartition(":")[0]


def named_in(given: Any) -> tuple[Any, str | None]:
    """Return what builds a network, and the script that one was pickled in: one of the two."""
    return (None, given) if is_script(given) else (given, None)


def require_pickled_define(path: Path, within: str | Path | None) -> None:
    """Look at the user's own modules that a trusted checkpoint has imported as it loads.

    Raises:
        UsageError: importing one would do more than define things; all of that is named.
    """
    from nrcscan.inputs.checkpoints.pickle_globals import wanted_globals

    try:
        wanted = wanted_globals(path) if is_regular(path) else []
    except Exception:  # of a damaged file, as whoever opens it says
        return
    modules = {name.rpartition(".")[0] for name in wanted} - {"__main__", ""}
    folder = None if within is None else Path(within)
    require_modules_define(sorted(modules), f"--trust {path}", within=folder)


@contextmanager
def pickled_in(script: str | None) -> Iterator[None]:
    """Have what was pickled in a script, as `__main__`, found there.

    Args:
        script: its path; None for none.

    Raises:
        UsageError: it cannot be imported.
    """
    if script is None:
        yield
        return
    module, own = _imported(script, script, "--model"), sys.modules["__main__"]
    sys.modules["__main__"] = module
    try:
        yield
    finally:
        sys.modules["__main__"] = own


def importable(folder: Path) -> None:
    """Let modules of a folder be imported; last, so that nothing there can pose as a library.

    Raises:
        UsageError: the folder to import from does not exist.
    """
    if not is_folder(folder):
        raise UsageError(f"--pythonpath {folder}: no such folder; check the path")
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))


def _parted(spec: str, option: str) -> tuple[str, str]:
    """Return the module or file, and the name in it; no name for a script.

    Raises:
        UsageError: code is named as module:name or file:name, and this is neither.
    """
    if is_script(spec):
        return spec, ""
    where, colon, name = spec.rpartition(":")
    if not colon or not where or not name:
        raise UsageError(f"{option} {spec}: write package.module:factory or path/file.py:factory")
    return where, name


def _no_such_name(
    spec: str, option: str, where: str, name: str, offered: Sequence[str]
) -> UsageError:
    near = difflib.get_close_matches(name, offered, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    has = f"; it has {listed(offered)}" if offered else "; it defines nothing"
    return UsageError(f"{option} {spec}: {where} has no {name!r}{has}{hint}")


def _search(within: Path | None) -> list[str]:
    """Return where modules are looked for."""
    return [*(entry for entry in sys.path if entry), *([] if within is None else [str(within)])]


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """Have files read, and say which of them is no Python.

    Raises:
        UsageError: the file of the code cannot be read as Python.
    """
    try:
        yield
    except SyntaxError as error:
        at = "" if error.lineno is None else f" line {error.lineno}"
        raise UsageError(
            f"{what}: {error.filename}{at} is no Python ({error.msg}); mend it first"
        ) from error
    except OSError as error:
        raise UsageError(
            f"{what}: cannot be read: {reason(error)}; check its permissions"
        ) from error


def _refuse(doings: Sequence[Doing], what: str, own: Path) -> None:
    """Refuse code that does something on import.

    Raises:
        UsageError: importing the file would do more than define things; the lines are named.
    """
    shown = []
    for doing in doings[:_SHOWN]:
        text = doing.text if len(doing.text) <= _WIDTH else f"{doing.text[:_WIDTH]}…"
        where = "line" if doing.path == own.resolve() else f"{doing.path.name} line"
        shown.append(f"{where} {doing.line} ({text})")
    more = [f"{len(doings) - len(shown)} more"] if len(doings) > len(shown) else []
    if doings:
        raise UsageError(
            f"{what}: not imported, because this would run too: {listed([*shown, *more])}; put it"
            ' under if __name__ == "__main__", or let it run with --run-script'
        )


def _imported(where: str, spec: str, option: str) -> Any:
    """Import the code.

    Raises:
        UsageError: the code fails as it is imported.
    """
    try:
        with at_work.doing(f"the code of {where} ran"):
            return _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UsageError(
            f"{option} {spec}: importing {where} failed: {type(error).__name__}: {reason(error)};"
            " mend it, or name the folder of what it imports with --pythonpath"
        ) from error


def _import_module(name: str) -> Any:
    importable(Path.cwd())
    return importlib.import_module(name)


def _import_file(path: Path) -> Any:
    if not is_regular(path):
        raise FileNotFoundError(f"no such file: {path}")
    spec = importlib.util.spec_from_file_location(f"nrcscan_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and the like look themselves up there
    importable(path.parent)
    spec.loader.exec_module(module)
    return module
