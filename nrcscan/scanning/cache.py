"""What earlier scans found: statistics files, and a record beside each that vouches for it.

An entry is `<key>.h5` and `<key>.json`. The record is written last, holds the SHA-256 of the
file and its own, and replaces an older one in one step: half of an entry is never taken for one.
A file of the size and time of writing that its record tells is not read to know it again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nrcscan.errors import InputError
from nrcscan.files import open_safely
from nrcscan.files.read_json import LARGEST_RESULT, read_json
from nrcscan.files.write_atomically import told, write_text
from nrcscan.scanning.fingerprint import digest
from nrcscan.scanning.messages import Inference
from nrcscan.scanning.source_code import SourceCode

FOLDER = "statistics"


@dataclass
class Record:
    """What is known of a checkpoint.

    Attributes:
        sha256: of the statistics file.
        epoch: as the checkpoint's own keys tell it, or None.
        step: likewise.
        stamp: of the statistics file, see `stamp_of`.
        sources: the user's code that ran, see `source_code`.
        data: what tells the samples from others, by its names in a file's provenance.
        reports: options of a report, as `judgement_key` names them → what it found.
        inference: of an inferred network, what the checkpoint tells of it, as JSON has it.
    """

    sha256: str = ""
    epoch: int | None = None
    step: int | None = None
    stamp: list[int] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    inference: dict[str, Any] | None = None

    def content(self) -> dict[str, Any]:
        """Return the record as JSON has it."""
        return {
            "sha256": self.sha256,
            "epoch": self.epoch,
            "step": self.step,
            "stamp": self.stamp,
            "sources": self.sources,
            "data": self.data,
            "reports": self.reports,
            "inference": self.inference,
        }

    @property
    def inferred(self) -> Inference | None:
        """What the checkpoint tells of its inferred network."""
        return None if self.inference is None else Inference.from_json(self.inference)


class Cache:
    """The entries in a folder.

    Attributes:
        folder: where they are.
        code: of the user, as it is now.
    """

    def __init__(self, folder: Path, code: SourceCode) -> None:
        self.folder = folder
        self.code = code

    def statistics(self, key: str) -> Path:
        """Return where the statistics file of an entry is."""
        return self.folder / f"{key}.h5"

    def load(self, key: str) -> Record | None:
        """Return an entry's record if it and its file are whole, and its code is as it was."""
        try:
            held = read_json(self._record(key), "record", limit=LARGEST_RESULT)
            content, vouched = held["record"], held["sha256"]
            if digest(content) != vouched:
                return None
            record = Record(**content)
            _ = record.inferred  # which has to be readable
            file = self.statistics(key)
            whole = stamp_of(file) == record.stamp or open_safely.sha256(file) == record.sha256
            same = whole and self.code.is_same(record.sources)
        except (InputError, OSError, ValueError, LookupError, TypeError, AttributeError):
            return None
        return record if same else None

    def save(self, key: str, record: Record) -> None:
        """Write an entry's record; its file is in place.

        Raises:
            OutputError: it cannot be written, or the file is gone.
        """
        with told(self.statistics(key)):
            record.stamp = stamp_of(self.statistics(key))
        content = record.content()
        text = json.dumps({"sha256": digest(content), "record": content}, allow_nan=False)
        write_text(self._record(key), text)

    def _record(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def stamp_of(path: Path) -> list[int]:
    """Return what tells that a file is as it was: its size, and when it was last written to."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
