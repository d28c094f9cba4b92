"""From a folder to the checkpoints in it, in natural order, and why the rest is skipped.

Which form a file is of, `inputs.checkpoints.recognise` says, as it does to all that open one.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from nrcscan.errors import InputError, UsageError
from nrcscan.files import natural_order
from nrcscan.files.natural_order import natural_path
from nrcscan.files.open_safely import is_folder, is_regular, is_there
from nrcscan.inputs.checkpoints.recognise import SUFFIXES, files_of, parts_beside, recognise
from nrcscan.inputs.checkpoints.signs import FURTHER, TRAINING, is_deepspeed
from nrcscan.inputs.checkpoints.training_state import BY_NAME, why_not
from nrcscan.scanning.epoch_from_name import NO_TIME, epoch_and_step, is_moment


@dataclass(frozen=True)
class Candidate:
    """What is taken to be a checkpoint.

    Attributes:
        path: relative to the folder, with slashes.
        files: all files that make it up, relative likewise: one, or those beside it or in it.
        problem: why it cannot be opened at all; None when it is worth trying.
        is_folder: whether it is a folder of files.
        moment: the folder it stands in alone, where that is called after a moment of training.
        is_further: whether the number in its name tells it from the network beside it.
    """

    path: str
    files: tuple[str, ...] = ()
    problem: str | None = None
    is_folder: bool = False
    moment: str | None = None
    is_further: bool = False

    @property
    def run(self) -> str:
        """The sub-folder it is in, or that its moment is in; empty for the folder itself."""
        parent = str(PurePosixPath(self.moment or self.path).parent)
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
        InputError: the folder does not exist, or cannot be read.
        UsageError: a scan takes a folder, and this is a file.
    """
    if not is_there(folder):
        raise InputError(f"{folder}: no such folder; check the path")
    if not is_folder(folder):
        raise UsageError(f"{folder}: is a file; measure a single checkpoint with nrcscan extract")
    try:
        any(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be read: {error.strerror}; check its permissions"
        ) from error
    search = _Search(folder.resolve(), patterns, follow_links, {_identity(p) for p in apart})
    search.walk(folder.resolve(), "")
    found = search.found
    where = [PurePosixPath(one.path) for one in found.candidates]
    there = Counter(str(place) for path in where for place in (path, *path.parents))
    found.candidates = [_in_its_moment(one, there) for one in found.candidates]
    found.candidates.sort(key=lambda one: (natural_path(f"{one.run}/"), natural_path(one.path)))
    found.skipped.sort(key=lambda entry: natural_path(entry[0]))
    return found


def _in_its_moment(candidate: Candidate, there: Mapping[str, int]) -> Candidate:
    """Return a checkpoint with what tells its time.

    Args:
        candidate: as it was found.
        there: how many checkpoints each path leads to.
    """
    folder, _, name = candidate.path.rpartition("/")
    first = f"{name.rpartition('_')[0]}{PurePosixPath(name).suffix}"
    if FURTHER.fullmatch(name) and str(PurePosixPath(folder, first)) in there:
        return replace(candidate, is_further=True)
    if candidate.is_folder or not is_moment(folder) or epoch_and_step(candidate.path) != NO_TIME:
        return candidate
    return replace(candidate, moment=folder) if there[folder] == 1 else candidate


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
        form = recognise(folder)
        parts = [] if isinstance(form, str) else files_of(folder, form)
        prefix = f"{name}/" if name else ""
        if parts and name and TRAINING.match(folder.name):
            self._skip(name, BY_NAME)
            return
        if parts:
            files = tuple(f"{prefix}{part}" for part in parts)
            self._take(Candidate(name or ".", files, is_folder=True))
            if name:
                return
        elif name and _suffix(name) in SUFFIXES and not is_deepspeed(folder):
            self._fail(name, "is a folder, and not one of a checkpoint; rename it to look inside")
            return
        seen = [entry for entry in entries if entry.name not in parts]
        inside = {part for entry in seen for part in _parts(entry) if is_regular(folder / part)}
        for entry in seen:
            if entry.name.startswith("."):
                self._skip(f"{prefix}{entry.name}", "hidden")
            elif entry.name not in inside:
                self._look(entry, f"{prefix}{entry.name}")

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
        if (why := why_not(there)) is not None:
            return self._skip(path, why)
        try:
            form = recognise(there)
        except InputError:  # whoever opens it says why
            form = ""
        if isinstance(form, str):
            return self._take(Candidate(path, (path,)))
        prefix = path.removesuffix(name)
        return self._take(Candidate(path, tuple(f"{prefix}{n}" for n in files_of(there, form))))

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


def _parts(entry: os.DirEntry[str]) -> list[str]:
    """Return the names of files that belong to a file beside them."""
    try:
        plain = entry.is_file(follow_symlinks=False) and not entry.name.startswith(".")
        return parts_beside(Path(entry.path)) if plain else []
    except (InputError, OSError):  # whoever opens it says so
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
