"""What a result depends on, as hashes: checkpoint, data, code, options and versions.

Nothing here imports torch: a scan in which nothing is new has no use for it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from nrcscan.errors import InputError
from nrcscan.files import open_safely
from nrcscan.inputs.module_files import module_file
from nrcscan.inputs.user_code import where_of
from nrcscan.options.option import declared
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.record import as_json
from nrcscan.options.report_options import ReportOptions
from nrcscan.wording import reason

CACHE_VERSION = 4
"""Raised when entries of the cache change their meaning."""

LIBRARIES = ("nrcscan", "torch", "numpy", "scipy")


def digest(value: object) -> str:
    """Return the SHA-256 of a value as JSON has it, in hex."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def versions() -> dict[str, str]:
    """Return the version of every library that numbers depend on."""
    return {name: metadata.version(name) for name in LIBRARIES}


def of_files(paths: Sequence[Path]) -> str:
    """Return the SHA-256 of a file's content; of several, that of theirs.

    Raises:
        InputError: a file of the network's code cannot be read.
    """
    hashes = []
    for path in paths:
        try:
            hashes.append(open_safely.sha256(path))
        except OSError as error:
            why = error.strerror or reason(error)
            raise InputError(f"{path}: cannot be read: {why}; check its permissions") from error
    return hashes[0] if len(hashes) == 1 else digest(hashes)


def of_settings(settings: PassOptions) -> dict[str, Any]:
    """Return the options of a pass, and hashes of the files and the code that they name."""
    values: Mapping[str, Any] = settings
    chosen = {name: as_json(value) for name, value in values.items()}
    for name, field in declared(PassOptions).items():
        value = values[name]
        if value is not None and field.is_code:
            chosen["code"] = of_code(str(value))
        elif value is not None and field.is_path and Path(value).is_file():
            chosen[name] = of_files([Path(value)])
    return chosen


def of_code(spec: str) -> str | None:
    """Return a hash of the file that "package.module:name" or "file.py:name" is in.

    What it imports is known once it has run, see `source_code`. None where the file is not found;
    whoever imports it says so.
    """
    where = where_of(spec)
    file = (
        Path(where) if where.endswith(".py") else module_file(where, [*sys.path, str(Path.cwd())])
    )
    return open_safely.sha256(file) if file is not None and file.is_file() else None


def key(checkpoint: str, depends_on: Sequence[object]) -> str:
    """Return the name of a checkpoint's statistics: the same inputs, the same name."""
    return digest([CACHE_VERSION, checkpoint, *depends_on])[:32]


def judgement_key(judgement: ReportOptions, within: float | None = None) -> str:
    """Return the name of a report's options, and of the tolerance of cuts if there are any."""
    told = as_json(judgement)
    return digest(told if within is None else [told, within])[:16]
