"""Where modules would be imported from, told without importing anything."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from functools import cache
from importlib.machinery import BYTECODE_SUFFIXES, EXTENSION_SUFFIXES, SOURCE_SUFFIXES
from pathlib import Path

INSTALLED = frozenset({"site-packages", "dist-packages"})
"""What folders of installed packages are called."""


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


def own_files(module: str, search: Sequence[str]) -> list[Path]:
    """Return the user's own files that importing a module runs: of its packages, then its own."""
    parts = module.split(".")
    found = [module_file(".".join(parts[:end]), search) for end in range(1, len(parts) + 1)]
    return [f for f in found if f is not None and f.suffix == ".py" and not is_library(str(f))]


def _module_in(folder: Path, name: str) -> Path | None:
    for stem in (Path(name, "__init__"), Path(name)):
        for suffix in (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES):
            file = folder / f"{stem}{suffix}"
            if file.is_file():
                return file
    return None


@cache
def is_library(file: str) -> bool:
    """Whether a file belongs to Python, to an installed package or to nrcscan itself."""
    path = Path(file).resolve()
    if not INSTALLED.isdisjoint(path.parts):  # also of another environment, by a .pth or PYTHONPATH
        return True
    return any(path.is_relative_to(folder) for folder in _libraries())


@cache
def _libraries() -> tuple[Path, ...]:
    """Return the folders of Python, of what is installed in it, and of nrcscan itself."""
    paths = sysconfig.get_paths()
    folders = [paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    return (*(Path(folder).resolve() for folder in folders), Path(__file__).resolve().parents[1])
