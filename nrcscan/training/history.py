"""What was measured while a network trained, as the scan.json that a scan of checkpoints writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from nrcscan.errors import OutputError, UsageError
from nrcscan.files.write_atomically import require_free, write_text
from nrcscan.reporting.report_document import Report
from nrcscan.scanning.read_scan import read_scan
from nrcscan.scanning.scan_file import (
    IDENTITY,
    RESULT,
    SCAN_FILE,
    Scan,
    ScannedCheckpoint,
)
from nrcscan.wording import listed

SAME = {"data": "samples", "options": "options of a pass", "report": "options of a report"}
"""What of its provenance a history that goes on has in common with what it was, in words."""


class History:
    """The entries of a training, in its order.

    Attributes:
        entries: an epoch each.
    """

    def __init__(self, output: Path | None, provenance: Mapping[str, Any], existing: str) -> None:
        self._file = None if output is None else output / SCAN_FILE
        self._output = output or Path()
        self._provenance = {"folder": str(self._output), **provenance}
        self.entries: list[ScannedCheckpoint] = []
        if self._file is not None:
            self._begin(self._file, existing)

    def _begin(self, file: Path, existing: str) -> None:
        """Read what an earlier training left, or see that the file can be written.

        Raises:
            UsageError: there is a history, and nothing says that it is to go on or be replaced.
            OutputError: the folder of the output cannot be made or written to.
        """
        if file.exists() and existing == "refuse":
            raise UsageError(
                f'{file}: exists already; go on with it by existing="continue", replace it by'
                ' existing="replace", or choose another output'
            )
        if file.exists() and existing == "continue":
            self._continue(file)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"{file.parent}: cannot be made: {error.strerror}; choose another output"
            ) from error
        require_free(file, force=True)

    def _continue(self, file: Path) -> None:
        """Take over the entries of an earlier training.

        Raises:
            UsageError: the history is of other samples or options, or no training's.
        """
        found = read_scan(file)
        before = found.get("provenance") or {}
        if "training" not in before:
            raise UsageError(
                f"{file}: is of nrcscan scan, and no training's; choose another output"
            )
        unlike = [what for name, what in SAME.items() if before.get(name) != self._provenance[name]]
        if unlike:
            raise UsageError(
                f"{file}: was measured with other {listed(unlike)}; go on with the same, or choose"
                " another output"
            )
        notes: dict[str, list[str]] = {}
        for told in found.get("notes", ()):
            for path in told["checkpoints"]:
                notes.setdefault(path, []).append(told["note"])
        self.entries = [_entry(one, notes.get(one["path"], [])) for one in found["checkpoints"]]

    def add(self, epoch: int, step: int | None, found: Report | str) -> ScannedCheckpoint:
        """Take what an epoch came to: a report, or why there is none.

        Entries of the same moment of training or later ones are of a training that went on from an
        earlier checkpoint since, and are dropped.
        """
        now = (epoch, -1 if step is None else step)
        self.entries = [one for one in self.entries if _moment(one) < now]
        path = f"epoch_{epoch}" if step is None else f"epoch_{epoch}-step_{step}"
        if isinstance(found, str):
            entry = ScannedCheckpoint(path, "", epoch, step, reason=found)
        else:
            entry = entry_of(path, epoch, step, found)
        self.entries.append(entry)
        return entry

    def write(self) -> None:
        """Write the file, whole or not at all.

        Raises:
            OutputError: it cannot be written.
        """
        if self._file is not None:
            scan = Scan(self._output, self._output, tuple(self.entries), {}, self._provenance)
            write_text(self._file, scan.to_json())


def entry_of(path: str, epoch: int, step: int | None, found: Report) -> ScannedCheckpoint:
    """Return a report as a checkpoint of a scan."""
    whole, data = found.to_dict(), found.provenance["data"]
    return ScannedCheckpoint(
        path,
        "",
        epoch,
        step,
        data={name: data[name] for name in IDENTITY if name in data},
        result={name: whole[name] for name in RESULT},
        notes=found.notes,
    )


def _entry(held: Mapping[str, Any], notes: list[str]) -> ScannedCheckpoint:
    """Return a checkpoint of a scan as it was before it was JSON."""
    entry = ScannedCheckpoint(
        held["path"], held["run"], held["epoch"], held["step"], reason=held.get("reason")
    )
    if held["status"] != "ok":
        return entry
    result = {name: held[name] for name in RESULT if name != "notes"} | {"notes": notes}
    return replace(entry, data=held.get("data"), result=result, notes=tuple(notes))


def _moment(entry: ScannedCheckpoint) -> tuple[int, int]:
    return (entry.epoch or 0, -1 if entry.step is None else entry.step)
