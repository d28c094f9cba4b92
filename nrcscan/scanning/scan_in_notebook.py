"""What a notebook shows of a scan."""

from __future__ import annotations

from nrcscan.reporting.notebook import shown, table
from nrcscan.scanning.grouped_notes import lines
from nrcscan.scanning.newest import newest
from nrcscan.scanning.scan_file import Scan, ScannedCheckpoint
from nrcscan.verdict.in_document import brief
from nrcscan.wording import r_squared

_COLUMNS = ("run", "checkpoint", "epoch", "R²", "verdict")


def of_scan(scan: Scan) -> str:
    """Return a scan: the verdict on every run's newest checkpoint, and a row per checkpoint."""
    entries = [c.to_dict() for c in scan.checkpoints if c.result is not None]
    verdicts = [
        f"{entry['path']}{what}: {entry[told]['text']}"
        for entry in newest(entries).values()
        for what, told in (("", "verdict"), (", cuts", "cuts"))
        if told in entry
    ]
    return shown(
        verdicts,
        [scan.size],
        table(
            _COLUMNS,
            map(_cells, scan.checkpoints),
            left=("run", "checkpoint", "verdict"),
        ),
        lines(scan.notes),
    )


def _cells(checkpoint: ScannedCheckpoint) -> list[str]:
    told = checkpoint.epoch
    own = [
        checkpoint.run,
        checkpoint.path.removeprefix(f"{checkpoint.run}/"),
        "" if told is None else str(told),
    ]
    if checkpoint.result is None:
        return [*own, "", f"could not be used: {checkpoint.reason}"]
    result = checkpoint.result
    return [*own, r_squared(result["model"]["r2"]), brief(result["verdict"], result["layers"])]
