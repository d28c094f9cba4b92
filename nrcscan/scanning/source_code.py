"""The user's code that ran for a result, and whether the same code would run now.

Code is known by the names of its modules: what counts is what they would be imported from now, be
that another place or another file that has come before it. Nothing here imports what it looks at.
"""

from __future__ import annotations

import secrets
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path
from typing import Any

from nrcscan.errors import InputError
from nrcscan.files import open_safely
from nrcscan.options.pass_options import PassOptions

INSTALLED = frozenset({"site-packages", "dist-packages"})
"""What folders of installed packages are called."""

Sources = Mapping[str, str]
"""Module → SHA-256 of its file; the file's path, where its name does not lead there."""


def search_path(data: Any, settings: PassOptions) -> list[str]:
    """Return where a worker looks for modules, in order, before it has run any code.

    Args:
        data: as `nrcscan.scan` takes it, which can be code.
        settings: of the pass, which name code and the folder that is added for imports.
    """
    added = [] if settings["pythonpath"] is None else [Path(settings["pythonpath"])]
    for spec in specs_of(data, settings["factory"]):
        where = spec.rpartition(":")[0]
        added.append(Path(where).parent if where.endswith(".py") else Path.cwd())
    return [*(entry for entry in sys.path if entry), *(str(path.resolve()) for path in added)]


def is_code(given: Any) -> bool:
    """Whether this is "where:callable", rather than a path or a value."""
    return isinstance(given, str) and ":" in given and not Path(given).exists()


def specs_of(data: Any, factory: Any) -> list[str]:
    """Return what names the user's code: that of the network, then that of the data."""
    return [spec for spec in (factory, data) if is_code(spec)]


class SourceCode:
    """What is known of the user's code; every file is looked at once.

    Attributes:
        search: where modules are looked for, in order.
    """

    def __init__(self, search: Sequence[str]) -> None:
        self.search = search
        self._now: dict[str, str | None] = {}
        self._then: dict[str, str] = {}

    def in_use(self) -> dict[str, str]:
        """Return what has been imported by now, of code that belongs to no library."""
        for name, module in list(sys.modules.items()):
            # What other code puts in there need not be a module.
            file = getattr(module, "__dict__", {}).get("__file__")
            if not isinstance(file, str) or name in self._then or _is_library(file):
                continue
            found = module_file(name, self.search)
            known = found is not None and found.resolve() == Path(file).resolve()
            self._then.setdefault(name if known else str(Path(file).resolve()), _sha256(Path(file)))
        return dict(self._then)

    def is_same(self, sources: Sources) -> bool:
        """Whether the same would be imported now."""
        return all(self._sha256_now(source) == then for source, then in sources.items())

    def _sha256_now(self, source: str) -> str | None:
        if source not in self._now:
            file = Path(source) if "/" in source else module_file(source, self.search)
            self._now[source] = None if file is None else _sha256(file)
        return self._now[source]


def module_file(name: str, search: Sequence[str]) -> Path | None:
    """Return where a module would come from, without importing it or what it is in.

    Not importlib's own way, which for a namespace within another has to import the outer one.
    """
    places, file = [Path(entry) for entry in search], None
    for part in name.split("."):
        file = next(filter(None, (_module_in(place, part) for place in places)), None)
        if file is None:  # a folder without a module is a package too, wherever it is
            places = [place / part for place in places if (place / part).is_dir()]
        else:
            places = [file.parent] if file.stem == "__init__" else []
    return file


def _module_in(folder: Path, name: str) -> Path | None:
    for stem in (Path(name, "__init__"), Path(name)):
        for suffix in (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES):
            file = folder / f"{stem}{suffix}"
            if file.is_file():
                return file
    return None


@cache
def _libraries() -> tuple[Path, ...]:
    """Return the folders of Python, of what is installed in it, and of nrcscan itself."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return (*(Path(folder).resolve() for folder in folders), Path(__file__).resolve().parents[1])


@cache
def _is_library(file: str) -> bool:
    path = Path(file).resolve()
    if not INSTALLED.isdisjoint(path.parts):  # also of another environment, by a .pth or PYTHONPATH
        return True
    return any(path.is_relative_to(folder) for folder in _libraries())


def _sha256(file: Path) -> str:
    """Return the SHA-256 of a file; of one that is gone or cannot be read, what no other has."""
    try:
        return open_safely.sha256(file)
    except InputError:
        return f"unreadable: {secrets.token_hex(8)}"
