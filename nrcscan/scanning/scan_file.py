"""What a scan found, and the two files it is kept in: see docs/scan.md."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nrcscan.files.write_atomically import write_text
from nrcscan.metrics.quantities import CONDITIONS
from nrcscan.wording import printable

SCHEMA = "nrcscan.scan/1"

_OWN = ("path", "run", "epoch", "step")
_NO_NUMBERS = ("met", "undefined", "notes", "bounds")


@dataclass(frozen=True)
class ScannedCheckpoint:
    """One checkpoint of a scan.

    Attributes:
        path: relative to the folder, with slashes.
        run: the sub-folder it is in; empty for the folder itself.
        epoch: from its own keys, else from its name; None if neither tells.
        step: likewise.
        reason: why it could not be used; None when it could.
        statistics: its statistics file, relative to the output folder.
        result: `model`, `onset` and `layers` of its report, as JSON has them; None for an error.
    """

    path: str
    run: str
    epoch: int | None
    step: int | None
    reason: str | None = None
    statistics: str | None = None
    result: Mapping[str, Any] | None = None

    @property
    def status(self) -> Literal["ok", "error"]:
        """Whether there is a result."""
        return "ok" if self.reason is None else "error"

    def to_dict(self) -> dict[str, Any]:
        """Return the checkpoint as JSON has it."""
        row: dict[str, Any] = {name: getattr(self, name) for name in (*_OWN, "status", "reason")}
        if self.result is not None:
            row |= {"statistics": self.statistics, **self.result}
        return row


@dataclass(frozen=True)
class Scan:
    """What a scan found in a folder.

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

    def to_dict(self) -> dict[str, Any]:
        """Return the scan as JSON has it: the same for the same inputs, however it ran."""
        return {
            "schema": SCHEMA,
            "provenance": self.provenance,
            "checkpoints": [checkpoint.to_dict() for checkpoint in self.checkpoints],
            "skipped": [{"path": path, "reason": why} for path, why in self.skipped.items()],
        }

    def to_json(self) -> str:
        """Return `scan.json`, with a line per checkpoint."""
        whole = self.to_dict()
        lines = [json.dumps(c, allow_nan=False) for c in whole["checkpoints"]]
        listed = ",\n  ".join(lines)
        values = {name: json.dumps(value, allow_nan=False) for name, value in whole.items()}
        values["checkpoints"] = f"[\n  {listed}\n ]"
        return "{\n" + ",\n".join(f' "{name}": {text}' for name, text in values.items()) + "\n}\n"

    def to_csv(self) -> str:
        """Return `scan.csv`: a row per checkpoint and layer."""
        rows = list(self._rows())
        names = list(rows[0]) if rows else list(_OWN)
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, names, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()

    def write(self) -> None:
        """Write both files into the output folder.

        Raises:
            OutputError: they cannot be written.
        """
        write_text(self.output / "scan.csv", self.to_csv())
        write_text(self.output / "scan.json", self.to_json())

    def _rows(self) -> Iterator[dict[str, Any]]:
        for checkpoint in self.checkpoints:
            if checkpoint.result is None:
                continue
            model = checkpoint.result["model"]
            for layer in checkpoint.result["layers"]:
                row = {name: getattr(checkpoint, name) for name in _OWN}
                row |= {"model_mse": model["mse"], "model_r2": model["r2"]}
                row |= {name: value for name, value in layer.items() if name not in _NO_NUMBERS}
                row |= {f"met_{c}": layer["met"][c] for c in CONDITIONS}
                yield {name: _cell(value) for name, value in row.items()}


def _cell(value: Any) -> Any:
    """Return a value as CSV has it: an undefined one is empty."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return printable(value) if isinstance(value, str) else value
