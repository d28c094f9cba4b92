"""The files of an unfinished extraction: each written once, and a list that says which count.

The list is written last, and names each with its SHA-256: what a killed program leaves is the
files of one list, whole, and others that no list names, which go. Nothing else is believed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nrcscan.errors import UsageError
from nrcscan.files import claims, open_safely
from nrcscan.files.read_json import read_json
from nrcscan.files.write_atomically import put_in_place, sync_entry, told, write_bytes

FORMAT = 1
"""Of the list: raised when it, or what it names, changes its meaning."""

LIST = "kept.json"
"""The name of the list."""

_OURS = re.compile(r"(rows|pass|sums)-\d+")


@dataclass
class KeptList:
    """What belongs together. A file is its name and its SHA-256.

    Attributes:
        alike: what an extraction must have to go on with it.
        rows: of the samples that are done in the first pass, in order.
        passes: what each pass that has ended has added up.
        sums: of every worker, in the pass under way; None before the first samples of it.
        done: samples of that pass.
        batches: that they came in.
        block: of which the last of them was.
        seen: a hash of them, where nothing else tells whether they are the same.
        most: samples that memory has room for at once; None for as many as a batch has.
        number: how many files have had a name.
    """

    alike: dict[str, Any]
    rows: list[list[str]] = field(default_factory=list)
    passes: list[list[str]] = field(default_factory=list)
    sums: list[str] | None = None
    done: int = 0
    batches: int = 0
    block: int = 0
    seen: str | None = None
    most: int | None = None
    number: int = 0

    @property
    def files(self) -> list[list[str]]:
        """All files."""
        return [*self.rows, *self.passes, *([] if self.sums is None else [self.sums])]

    def makes_sense(self) -> bool:
        """Whether everything in it is of its kind."""
        counts = (self.done, self.batches, self.block, self.number, self.most or 0)
        kinds: list[tuple[Any, Any]] = [(self.alike, dict), (self.seen, str | None)]
        words = [word for file in self.files for word in file]
        return (
            all(isinstance(value, kind) for value, kind in kinds)
            and all(type(count) is int and count >= 0 for count in counts)
            and all(isinstance(word, str) for word in words)
            and all(len(file) == len(("name", "hash")) for file in self.files)
            and all(_OURS.fullmatch(name) for name, _ in self.files)
            and (self.sums is not None) == (self.done > 0)
        )


class KeptFiles:
    """They, in a folder beside the output.

    Args:
        output: that is unfinished.
        alike: what an extraction must have to go on with what is kept.

    Attributes:
        folder: where they are.
        list: which of them count.
    """

    def __init__(self, output: Path, alike: dict[str, Any]) -> None:
        self.folder = folder_of(output)
        self.list = KeptList(alike)

    def there(self) -> KeptList | None:
        """Return the list that is there, once all of its files are seen to be whole.

        Raises:
            ValueError: it is none, or a file is another than it says.
            InputError: it cannot be read.
            UsageError: there is something else where the folder would be.
        """
        if open_safely.is_link(self.folder) or open_safely.is_regular(self.folder):
            raise UsageError(f"{self.folder}: is a link or a file, and not a folder; remove it")
        path = self.folder / LIST
        if not open_safely.is_there(path) and not open_safely.is_link(path):
            return None
        said = read_json(path, "list")
        if not isinstance(said, dict) or said.get("format") != FORMAT:
            raise ValueError(f"{LIST} is of another nrcscan")
        try:
            found = KeptList(**said["kept"])
            sensible = found.makes_sense()
        except (TypeError, KeyError) as error:
            raise ValueError(f"{LIST} makes no sense") from error
        if not sensible or said.get("sha256") != _hash_of(said["kept"]):
            raise ValueError(f"{LIST} is not what was written")
        for name, known in found.files:
            kept = self.folder / name
            if open_safely.is_link(kept) or not open_safely.is_regular(kept):
                raise ValueError(f"{name} is missing")
            if open_safely.sha256(kept) != known:
                raise ValueError(f"{name} is not what was written")
        return found

    def go_on(self, found: KeptList | None) -> None:
        """Keep a list that was there, or begin a new one, and remove what it does not name.

        Raises:
            OutputError: the folder cannot be made, or written to.
        """
        if found is not None:
            self.list = found
        else:
            self.remove()
        with told(self.folder):
            if not open_safely.is_folder(self.folder):
                self.folder.mkdir()
                sync_entry(self.folder)
        self._sweep()

    def new(self, kind: str) -> Path:
        """Return where a new file of a kind, rows, pass or sums, is to be."""
        self.list.number += 1
        return self.folder / f"{kind}-{self.list.number}"

    def write(self, kind: str, fill: Callable[[Path], None]) -> list[str]:
        """Return a new file, filled by what is given its place, and on disk.

        Raises:
            OutputError: it cannot be written.
        """
        path = self.new(kind)
        with put_in_place(path, force=True) as partial, told(path):
            fill(partial)
        return self.hashed(path)

    def hashed(self, path: Path) -> list[str]:
        """Return a file that is written, as the list names it."""
        return [path.name, open_safely.sha256(path)]

    def flush(self, **changes: Any) -> None:
        """Have the list with some changes be what counts.

        Raises:
            OutputError: it cannot be written.
        """
        changed = replace(self.list, **changes)
        kept = asdict(changed)
        said = {"format": FORMAT, "sha256": _hash_of(kept), "kept": kept}
        text = json.dumps(said, indent=1)
        write_bytes(self.folder / LIST, text.encode(), force=True)
        self.list = changed
        self._sweep()

    def remove(self) -> None:
        """Remove everything: the output is there, or it is begun anew."""
        self.list = KeptList(self.list.alike)
        if not open_safely.is_folder(self.folder):
            return
        with suppress(OSError):
            (self.folder / LIST).unlink()
        self._sweep()
        with suppress(OSError):
            self.folder.rmdir()

    def _sweep(self) -> None:
        """Remove what the list does not name."""
        named = {name for name, _ in self.list.files}
        with suppress(OSError):
            claims.sweep(self.folder)
            for entry in list(os.scandir(self.folder)):
                if _OURS.fullmatch(entry.name) and entry.name not in named:
                    with suppress(OSError):
                        Path(entry.path).unlink()


def _hash_of(kept: Any) -> str:
    """Return the SHA-256 of a list, in hex."""
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def folder_of(output: Path) -> Path:
    """Return the folder where an unfinished output keeps what it has."""
    return output.with_name(f".{output.name}.resume")


def size_of_rows(output: Path) -> int:
    """Return how many bytes of rows an unfinished output has on disk."""
    with suppress(OSError):
        return sum(path.stat().st_size for path in folder_of(output).glob("rows-*"))
    return 0
