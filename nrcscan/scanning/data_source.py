"""Where the data of a scan comes from: what a worker opens, and what it is known by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from nrcscan.errors import NrcscanError, UsageError
from nrcscan.files import open_safely
from nrcscan.inputs.check_first import is_code
from nrcscan.scanning import fingerprint
from nrcscan.scanning.messages import DataQuestion
from nrcscan.scanning.source_code import specs_of


def data_paths(data: Any) -> list[Path]:
    """Return the files and folders that data is in; none if it is in memory or comes from code.

    Raises:
        InputError: one is missing, or neither a file nor a folder.
    """
    if is_code(data):
        return []
    if isinstance(data, str | Path):
        data = [data]
    if not isinstance(data, list | tuple) or not all(isinstance(part, str | Path) for part in data):
        return []
    paths = [Path(part) for part in data]
    return [
        path if open_safely.is_folder(path) else open_safely.regular_file(path, "data")
        for path in paths
    ]


def data_fingerprint(data: Any, ask: Callable[[DataQuestion], Any]) -> dict[str, Any]:
    """Return what data is known by.

    Args:
        data: as `nrcscan.scan` takes it.
        ask: has a worker read it, where nothing else tells.

    Raises:
        NrcscanError: it cannot be read.
        UsageError: data in memory, other than two arrays, cannot be sent to workers.
    """
    paths = data_paths(data)
    if paths:
        return {
            "files": [str(path) for path in paths],
            "sha256": [_content(path) for path in paths],
        }
    pair = isinstance(data, list | tuple) and len(data) == 2
    if not is_code(data) and not pair:
        raise UsageError(
            f"data is a {type(data).__name__}, which a scan cannot hand to its workers: give"
            " paths, two arrays, or package.module:callable"
        )
    answer = ask(DataQuestion())
    if isinstance(answer, NrcscanError):
        raise answer
    return {"source": data if is_code(data) else None, "sha256": [answer]}


def _content(path: Path) -> str:
    """Return the SHA-256 of a file, or of the names and contents of all files in a folder.

    Raises:
        InputError: a file cannot be read.
    """
    if not open_safely.is_folder(path):
        return open_safely.sha256(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return fingerprint.digest([[str(f.relative_to(path)), open_safely.sha256(f)] for f in files])


def code_of(data: Any, factory: object) -> list[str | None]:
    """Return hashes of the code that data and the network come from, as far as they do."""
    return [fingerprint.of_code(spec) for spec in specs_of(data, factory)]
