"""From a folder to the checkpoints in it, in natural order, and why the rest is skipped.

Nothing is opened here beyond the first bytes of a file and the list of names in a zip archive.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from nrcscan.errors import InputError, UsageError
from nrcscan.files import natural_order, open_safely, sniff
from nrcscan.files.natural_order import natural_path

SUFFIXES = {".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".pt2"}
"""What checkpoints are usually called; a file of such a name has to be one."""

_NOT_WEIGHTS = re.compile(r"(optim|sched|rng_state|scaler|training_args|random_states)", re.I)
_HEADS = (b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",)  # torch.save before it used zip
_INDEX_LIMIT = 100_000_000


@dataclass(frozen=True)
class Candidate:
    """What is taken to be a checkpoint.

    Attributes:
        path: relative to the folder, with slashes.
        files: all files that make it up, relative likewise; one, or those of a folder or shards.
        problem: why it cannot be opened at all; None when it is worth trying.
    """

    path: str
    files: tuple[str, ...] = ()
    problem: str | None = None

    @property
    def run(self) -> str:
        """The sub-folder it is in; empty for the folder itself."""
        parent = str(PurePosixPath(self.path).parent)
        return "" if parent == "." else parent


@dataclass
class Found:
    """What is in a folder: checkpoints, and what was skipped with its reason."""

    candidates: list[Candidate] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)


def find(
    folder: Path,
    *,
    patterns: Sequence[str] = (),
    follow_links: bool = False,
    apart: Sequence[Path] = (),
) -> Found:
    """Find every checkpoint in a folder and its sub-folders.

    Args:
        folder: where to look.
        patterns: globs of which a checkpoint's name or relative path must match one.
        follow_links: follow links that lead out of the folder.
        apart: files and folders that are no checkpoints: the data, the output.

    Raises:
        InputError: there is no such folder, or it cannot be read.
        UsageError: it is a file.
    """
    if not folder.exists():
        raise InputError(f"{folder}: no such folder; check the path")
    if not folder.is_dir():
        raise UsageError(f"{folder}: is a file; nrcscan extract measures a single checkpoint")
    try:
        any(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read: {error.strerror}; check its permissions"
        ) from error
    search = _Search(folder.resolve(), patterns, follow_links, {_identity(p) for p in apart})
    search.walk(folder.resolve(), "")
    found = search.found
    found.candidates.sort(key=lambda candidate: natural_path(candidate.path))
    found.skipped.sort(key=lambda entry: natural_path(entry[0]))
    return found


class _Search:
    """A walk through a folder, depth first."""

    def __init__(
        self, root: Path, patterns: Sequence[str], follow_links: bool, apart: set[object]
    ) -> None:
        self._root = root
        self._patterns = patterns
        self._follow = follow_links
        self._apart = apart
        self._entered = {_identity(root)}
        self.found = Found()

    def walk(self, folder: Path, name: str) -> None:
        try:
            entries = sorted(
                os.scandir(folder), key=lambda entry: natural_order.natural_key(entry.name)
            )
        except OSError as error:
            self._fail(name, f"the folder cannot be read: {error.strerror}; check its permissions")
            return
        whole = _whole_folder(folder, entries) if name else None
        if whole is not None:
            self._take(Candidate(name, tuple(f"{name}/{part}" for part in whole)))
            return
        if name and _suffix(name) in SUFFIXES:
            self._fail(name, "is a folder, and not one of a checkpoint; rename it to look inside")
            return
        shards: set[str] = set()
        for entry in entries:
            path = f"{name}/{entry.name}" if name else entry.name
            if entry.name.startswith("."):
                self._skip(path, "hidden")
            elif entry.name.endswith(".index.json") and entry.is_file():
                parts = _shards(Path(entry.path))
                shards |= {part for part in parts if (folder / part).is_file()}
        for entry in entries:
            path = f"{name}/{entry.name}" if name else entry.name
            if not entry.name.startswith(".") and entry.name not in shards:
                self._look(entry, path)

    def _look(self, entry: os.DirEntry[str], path: str) -> None:
        there = Path(entry.path)
        if entry.is_symlink():
            try:
                target = there.resolve(strict=True)
            except (OSError, RuntimeError):
                return self._skip(path, "a link to nowhere, or to itself")
            if target.is_relative_to(self._root):
                inside = target.relative_to(self._root).as_posix()
                return self._skip(path, f"a link to {inside}")
            if not self._follow:
                return self._skip(path, "a link out of the folder; --follow-links follows it")
        try:
            mode = there.stat().st_mode
        except OSError as error:
            return self._fail(path, f"cannot be read: {error.strerror}")
        identity = _identity(there)
        if identity in self._apart:
            return self._skip(path, "the data or the output of this scan")
        if stat.S_ISDIR(mode):
            if identity in self._entered:
                return self._skip(path, "a link to a folder that is scanned already")
            self._entered.add(identity)
            return self.walk(there, path)
        if not stat.S_ISREG(mode):
            return self._skip(path, "not a regular file")
        return self._file(there, path)

    def _file(self, there: Path, path: str) -> None:
        name = there.name
        if _NOT_WEIGHTS.match(name):
            return self._skip(path, "by its name, a training state beside the weights")
        try:
            what = None if _suffix(name) in SUFFIXES else _no_checkpoint(there)
        except InputError:
            return self._skip(path, "cannot be read, and not called like a checkpoint")
        if what is not None:
            return self._skip(path, what)
        beside: tuple[str, ...] = ()
        if name.endswith(".index.json"):
            prefix = path.removesuffix(name)
            beside = tuple(f"{prefix}{shard}" for shard in _shards(there))
        return self._take(Candidate(path, (path, *beside)))

    def _take(self, candidate: Candidate) -> None:
        if self._wanted(candidate.path):
            self.found.candidates.append(candidate)
        else:
            self._skip(candidate.path, "matches no --pattern")

    def _wanted(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        return not self._patterns or any(
            fnmatchcase(name, pattern) or fnmatchcase(path, pattern) for pattern in self._patterns
        )

    def _fail(self, path: str, problem: str) -> None:
        self._take(Candidate(path, problem=problem))

    def _skip(self, path: str, why: str) -> None:
        self.found.skipped.append((path, why))


def _no_checkpoint(path: Path) -> str | None:
    """Say what a file is that is not called like a checkpoint; None if it may be one after all."""
    if path.name.endswith(".index.json"):
        return None if _shards(path) else "JSON, but no index of shards"
    if path.stat().st_size == 0:
        return "empty"
    start = open_safely.head(path, 64)
    size = int.from_bytes(start[:8], "little")
    if start.startswith(_HEADS) or (start[8:9] == b"{" and 2 <= size <= path.stat().st_size):
        return None
    if start.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                leaves = {member.split("/", 1)[-1] for member in archive.namelist()}
        except Exception:  # zipfile raises almost anything on a damaged directory
            return "a damaged zip archive"
        if leaves & {"data.pkl", "constants.pkl", "archive_format", "model.json"}:
            return None
        arrays = any(leaf.endswith(".npy") for leaf in leaves)
        return "a NumPy archive (.npz)" if arrays else "a zip archive"
    return sniff.foreign(path)


def _whole_folder(folder: Path, entries: Sequence[os.DirEntry[str]]) -> list[str] | None:
    """Return the files of a folder that is one checkpoint of Hugging Face, or None."""
    names = {entry.name for entry in entries}
    if "config.json" not in names:
        return None
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(config, dict) or "model_type" not in config:
        return None
    weights = [
        name
        for name in names
        if name.endswith((".safetensors", ".bin", ".index.json")) and not _NOT_WEIGHTS.match(name)
    ]
    return ["config.json", *sorted(weights)] if weights else None


def _shards(index: Path) -> list[str]:
    """Return the names that an index of shards gives for files beside it, as far as it is one."""
    try:
        if index.stat().st_size > _INDEX_LIMIT:
            return []
        held = json.loads(index.read_text(encoding="utf-8"))
        names = set(held["weight_map"].values())
        return sorted(name for name in names if "/" not in name and "\0" not in name)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _identity(path: Path) -> object:
    """Return what is the same for two names of one file or folder."""
    try:
        found = path.stat()
    except OSError:
        return str(path)
    return found.st_dev, found.st_ino
