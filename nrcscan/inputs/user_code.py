"""Finds what a user names in their own code: package.module:name, or path/file.py:name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from nrcscan.errors import UsageError
from nrcscan.wording import listed, reason


def load_callable(spec: str, option: str) -> Callable[..., Any]:
    """Return the callable that "package.module:name" or "path/file.py:name" names.

    Args:
        spec: what the user wrote.
        option: the option it was written for.

    Raises:
        UsageError: the module cannot be imported or has no such callable.
    """
    where, colon, name = spec.rpartition(":")
    if not colon or not where or not name:
        raise UsageError(f"{option} {spec}: write package.module:factory or path/file.py:factory")
    try:
        module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UsageError(
            f"{option} {spec}: importing {where} failed: {type(error).__name__}: {reason(error)}"
        ) from error
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        public = [n for n in vars(module) if not n.startswith("_") and callable(vars(module)[n])]
        raise UsageError(f"{option} {spec}: {where} has no {name!r}; it has {listed(public)}")
    if not callable(found):
        raise UsageError(f"{option} {spec}: {name} is a {type(found).__name__}, not a callable")
    return cast("Callable[..., Any]", found)


def importable(folder: Path) -> None:
    """Let modules of a folder be imported; last, so that nothing there can pose as a library.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"--pythonpath {folder}: no such folder")
    if str(folder.resolve()) not in sys.path:
        sys.path.append(str(folder.resolve()))


def _import_module(name: str) -> Any:
    importable(Path.cwd())
    return importlib.import_module(name)


def _import_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    spec = importlib.util.spec_from_file_location(f"nrcscan_user_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and the like look themselves up there
    importable(path.parent)
    spec.loader.exec_module(module)
    return module
