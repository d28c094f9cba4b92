"""What a scan found, and the two files it is kept in: see docs/scan.md. `read_scan` reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nrcscan.errors import UsageError
from nrcscan.files.inert_csv import csv_text
from nrcscan.files.inert_json import json_text
from nrcscan.files.open_safely import head
from nrcscan.files.write_atomically import write_text
from nrcscan.metrics.quantities import CONDITIONS
from nrcscan.scanning.cuts_in_scan import in_csv
from nrcscan.scanning.grouped_notes import grouped, lines
from nrcscan.wording import counted, printable

if TYPE_CHECKING:
    import pandas

NAME, VERSION = "nrcscan.scan", 2
SCHEMA = f"{NAME}/{VERSION}"

SCAN_FILE, CSV_FILE = "scan.json", "scan.csv"

_OWN = ("path", "run", "epoch", "step")

_BEGINS = {SCAN_FILE: f'{{\n "schema": "{NAME}/', CSV_FILE: ",".join(_OWN)}
"""What the files of every scan begin with."""


def require_own(output: Path) -> None:
    """Refuse to replace a file that no scan has written, by the names of those that this one will.

    Raises:
        UsageError: the output folder holds a file of another program by one of these names.
        InputError: it cannot be read.
    """
    for name, begins in _BEGINS.items():
        file = output / name
        if file.exists() and head(file, len(begins)) != begins.encode():
            raise UsageError(f"{file}: is there already, and of no scan; choose another -o")


ScanDocument = Mapping[str, Any]
"""A scan as scan.json has it, once it is written by `Scan` or read by `read_scan`."""

RESULT = ("n_samples", "signal_dim", "model", "verdict", "onset", "layers", "notes")
"""What a scan keeps of a checkpoint's report, by its names in the JSON report."""

IDENTITY = ("sha256", "x_key", "y_key", "rows")
"""What tells a pass's samples from those of others, by its names in a file's provenance."""

AS_NAMED = ("named_epoch", "named_step")
_NO_NUMBERS = (
    "met",
    "answers",
    "reach",
    "undefined",
    "notes",
    "bounds",
    "standard_error",
    "chance",
    "corrected",
    "measures",
)


DEPTH = "layer_step"
"""What `scan.csv` calls a layer's step in depth, beside the step of training."""


def is_scan(path: Path) -> bool:
    """Whether this is a scan's output folder, or the scan.json in it."""
    return path.name == SCAN_FILE or (path.is_dir() and (path / SCAN_FILE).is_file())


def whole_of(path: Path) -> Path:
    """Return what is read where `path` is named: of a scan.json the scan's whole folder."""
    return path.parent if path.name == SCAN_FILE else path


@dataclass(frozen=True, repr=False)
class ScannedCheckpoint:
    """One checkpoint of a scan.

    Attributes:
        path: relative to the folder, with slashes.
        run: the sub-folder it is in; empty for the folder itself.
        epoch: from its own keys, else from its name; None if neither tells.
        step: likewise.
        named_epoch: what its name tells where its own keys tell otherwise; else None.
        named_step: likewise.
        reason: why it could not be used; None when it could.
        statistics: its statistics file, relative to the output folder.
        data: what tells the samples that it was measured on from others.
        result: the parts of its report in `RESULT`, and its `cuts` where they were asked for, as
            JSON has them; None for an error.
        notes: those of its report, and of the scan on it.
    """

    path: str
    run: str
    epoch: int | None
    step: int | None
    named_epoch: int | None = None
    named_step: int | None = None
    reason: str | None = None
    statistics: str | None = None
    data: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        told = self.reason if self.result is None else self.result["verdict"]["text"]
        return f"<ScannedCheckpoint {printable(f'{self.path}: {told}')}>"

    @property
    def status(self) -> Literal["ok", "error"]:
        """Whether there is a result."""
        return "ok" if self.reason is None else "error"

    @cached_property
    def line(self) -> str:
        """The checkpoint as a line of JSON, made once however often it is written."""
        return json_text(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the checkpoint as JSON has it."""
        row: dict[str, Any] = {name: getattr(self, name) for name in (*_OWN, "status", "reason")}
        named = {name: getattr(self, name) for name in AS_NAMED}
        row |= {name: value for name, value in named.items() if value is not None}
        if self.result is not None:
            row |= {"statistics": self.statistics, "data": self.data, **self.result}
            del row["notes"]  # which the scan has, each once
        return row


@dataclass(frozen=True, repr=False)
class Scan:
    """What a scan found in a folder; where the path of its output is taken, it is taken too.

    Attributes:
        folder: as it was given.
        output: the folder of `scan.json`, `scan.csv` and the statistics files.
        checkpoints: in natural order of their paths.
        skipped: path → why it was not taken for a checkpoint.
        provenance: what was scanned, on which data, with which options and versions.
        n_known: how many results an earlier scan had found; no part of the files.
    """

    folder: Path
    output: Path
    checkpoints: tuple[ScannedCheckpoint, ...]
    skipped: dict[str, str]
    provenance: dict[str, Any]
    n_known: int = 0

    def __fspath__(self) -> str:
        """Return the path of the output folder, for `nrcscan.compare`."""
        return str(self.output)

    @property
    def size(self) -> str:
        """How many checkpoints there are, in words."""
        bad = sum(c.result is None for c in self.checkpoints)
        runs = counted(len({c.run for c in self.checkpoints}), "run")
        told = f"{counted(len(self.checkpoints), 'checkpoint')} of {runs}"
        return told + (f", {bad} could not be used" if bad else "")

    def __repr__(self) -> str:
        return f"<Scan {printable(str(self.output))}: {self.size}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from nrcscan.scanning.scan_in_notebook import of_scan

        return of_scan(self)

    def to_frame(self) -> pandas.DataFrame:
        """Return a row per checkpoint and layer, these two the index.

        See `nrcscan.reporting.frames`; a checkpoint that could not be used has no row.

        Raises:
            UsageError: pandas is not installed.
        """
        from nrcscan.reporting.frames import frame

        rows = (
            {**layer, "path": c.path, "run": c.run, "epoch": c.epoch, "training_step": c.step}
            for c in self.checkpoints
            for layer in (c.result or {"layers": ()})["layers"]
        )
        return frame(rows, ["path", "name"], ["run", "epoch", "training_step"])

    def to_dict(self) -> dict[str, Any]:
        """Return the scan as JSON has it: the same for the same inputs, however it ran."""
        return self._with([checkpoint.to_dict() for checkpoint in self.checkpoints])

    def _with(self, checkpoints: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "provenance": self.provenance,
            "checkpoints": checkpoints,
            "skipped": [{"path": path, "reason": why} for path, why in self.skipped.items()],
            "notes": [
                {"note": note, "checkpoints": paths} for note, paths in grouped(self.notes).items()
            ],
        }

    @property
    def notes(self) -> dict[str, tuple[str, ...]]:
        """The notes on every checkpoint that could be used, by its path."""
        return {c.path: c.notes for c in self.checkpoints if c.result is not None}

    def to_json(self) -> str:
        """Return `scan.json`, with a line per checkpoint."""
        whole = self._with([])
        listed = ",\n  ".join(checkpoint.line for checkpoint in self.checkpoints)
        values = {name: json_text(value) for name, value in whole.items()}
        values["checkpoints"] = f"[\n  {listed}\n ]"
        return "{\n" + ",\n".join(f' "{name}": {text}' for name, text in values.items()) + "\n}\n"

    def to_csv(self) -> str:
        """Return `scan.csv`: a row per checkpoint and layer."""
        rows = list(self._rows())
        names = list(rows[0]) if rows else list(_OWN)
        return csv_text([names, *([row.get(name) for name in names] for row in rows)])

    def tell(self, say: Callable[[str], None]) -> None:
        """Say every note on a checkpoint, those that differ in measured numbers alone once."""
        for line in lines(self.notes):
            say(line)

    def write(self) -> None:
        """Write both files into the output folder.

        Raises:
            OutputError: they cannot be written.
        """
        write_text(self.output / CSV_FILE, self.to_csv())
        write_text(self.output / SCAN_FILE, self.to_json())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for checkpoint in self.checkpoints:
            if checkpoint.result is None:
                continue
            model = checkpoint.result["model"]
            for layer in checkpoint.result["layers"]:
                row = {name: getattr(checkpoint, name) for name in _OWN}
                row |= {"model_mse": model["mse"], "model_r2": model["r2"]}
                row |= {"verdict": checkpoint.result["verdict"]["state"]}
                if "cuts" in checkpoint.result:
                    row |= in_csv(checkpoint.result["cuts"])
                row |= {
                    DEPTH if name == "step" else name: value
                    for name, value in layer.items()
                    if name not in _NO_NUMBERS
                }
                row |= {f"met_{c}": layer["met"][c] for c in CONDITIONS}
                yield row
