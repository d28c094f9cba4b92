"""No worse than last time: a scan's checkpoints beside those of an earlier scan."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nrcscan.errors import InputError
from nrcscan.gating.onset_of_checkpoint import Depth, onset_of
from nrcscan.gating.rules.evaluating import Truth, Value
from nrcscan.options.choices import Gate
from nrcscan.scanning.conditions_of_scan import (
    ScanConditions,
    conditions_of,
    incomparable,
    other_thresholds,
)
from nrcscan.scanning.newest import newest
from nrcscan.scanning.read_scan import read_scan
from nrcscan.scanning.scan_file import ScanDocument
from nrcscan.verdict.in_document import Layer, depth
from nrcscan.wording import listed

LAST_LAYERS = 3
"""How many of the last layers the noise component is taken from: the largest of them."""
ROUNDING = 1e-12
"""What a difference of two floats may be beside: 0.9 and 0.89 differ by 0.01, not by more."""
QUANTITIES = {
    "r2": "R² no lower than in the baseline",
    "noise": "noise component of the last layers no higher than in the baseline",
    "onset": "onset no deeper than in the baseline",
}

Compared = tuple[str, Truth, str, dict[str, Value]]
"""A comparison's name, whether it holds (None: not applied), why, and the two values."""


@dataclass(frozen=True)
class ComparedValues:
    """What is compared of a checkpoint.

    Attributes:
        path: in its scan.
        r2: None where undefined.
        noise: the largest noise component of the last layers, 0 … 1; None where undefined.
        onset: of all conditions, as a share of the network's depth, 0 … 1; infinite if never;
            None where it is not known.
        onset_layer: its name, or "never", or why it is not known.
    """

    path: str
    r2: float | None
    noise: float | None
    onset: float | None
    onset_layer: str


@dataclass(frozen=True)
class Baseline:
    """An earlier scan.

    Attributes:
        path: of the file.
        by_path: every checkpoint that could be used.
        newest: run → its newest such checkpoint.
        conditions: under which its numbers were made.
    """

    path: Path
    by_path: dict[str, ComparedValues]
    newest: dict[str, ComparedValues]
    conditions: ScanConditions

    def counterpart(self, checkpoint: Mapping[str, Any], gate: Gate) -> ComparedValues | None:
        """Return what a checkpoint is compared with.

        That is its run's newest; if all are judged, the one of the same path where there is one.
        """
        same = self.by_path.get(checkpoint["path"]) if gate == "all" else None
        return same or self.newest.get(checkpoint["run"])


def read_baseline(path: str | Path) -> Baseline:
    """Read an earlier scan.

    Raises:
        InputError: `read_scan` cannot read it.
    """
    scan = read_scan(path)
    usable = [entry for entry in scan["checkpoints"] if entry["status"] == "ok"]
    return Baseline(
        path=Path(path),
        by_path={entry["path"]: compared_values(entry) for entry in usable},
        newest={run: compared_values(entry) for run, entry in newest(usable).items()},
        conditions=conditions_of(scan),
    )


def require_comparable(scan: ScanDocument, baseline: Baseline) -> None:
    """Refuse a baseline whose numbers mean something else than those of a scan.

    Raises:
        InputError: the baseline was measured on other data, or in another way.
    """
    if differences := list(incomparable(conditions_of(scan), baseline.conditions)):
        raise InputError(
            f"--baseline {baseline.path}: cannot be compared with this scan: {listed(differences)};"
            " scan the baseline's checkpoints again with the same data and options"
        )


def why_no_onsets(scan: ScanDocument, baseline: Baseline) -> str | None:
    """Say why the onsets of a scan and a baseline mean different things; None if they do not."""
    unlike = list(other_thresholds(conditions_of(scan), baseline.conditions))
    return f"thresholds differ from the baseline's: {listed(unlike)}" if unlike else None


def compared_values(checkpoint: Mapping[str, Any]) -> ComparedValues:
    """Return what is compared of a checkpoint that could be used."""
    layers = checkpoint["layers"]
    noises = [layer["noise_component"] for layer in layers[-LAST_LAYERS:]]
    onset = onset_of(checkpoint, "all")
    return ComparedValues(
        path=checkpoint["path"],
        r2=checkpoint["model"]["r2"],
        noise=None if None in noises else max(noises),
        onset=_share(onset, layers) if isinstance(onset, Depth) else None,
        onset_layer=onset.name if isinstance(onset, Depth) else onset,
    )


def compared(
    checkpoint: Mapping[str, Any],
    baseline: Baseline,
    *,
    gate: Gate,
    tolerance: float,
    known: bool,
    no_onsets: str | None = None,
) -> Iterator[Compared]:
    """Compare a checkpoint with its counterpart in the baseline.

    R² may be lower by `tolerance`, the noise component higher by it, and the onset deeper by that
    share of the network's depth. What only the checkpoint leaves undefined fails; what only the
    baseline leaves undefined cannot have got worse; what both do is not compared. An onset that is
    not known counts as undefined.

    Args:
        checkpoint: that could be used.
        baseline: of the earlier scan.
        gate: decides on the counterpart.
        tolerance: 0 … 1, an absolute difference.
        known: whether the baseline has a counterpart of any checkpoint of the scan; if it has
            none, nothing at all would be compared, and that is a failure.
        no_onsets: why onsets are not compared, see `why_no_onsets`.
    """
    before = baseline.counterpart(checkpoint, gate)
    if before is None:
        new = "its run is not in the baseline"
        runs = listed(sorted(run or "the folder itself" for run in baseline.newest)[:5])
        lost = f"no run of this scan is in {baseline.path}, which begins with {runs}"
        for name in QUANTITIES.values():
            yield name, None if known else False, new if known else lost, {}
        return
    now = compared_values(checkpoint)
    yield _beside("r2", now.r2, before.r2, before.path, tolerance, sign=-1)
    yield _beside("noise", now.noise, before.noise, before.path, tolerance, sign=1)
    if no_onsets is not None:
        yield QUANTITIES["onset"], None, no_onsets, {}
        return
    yield _onsets(now, before, tolerance)


def _onsets(now: ComparedValues, before: ComparedValues, tolerance: float) -> Compared:
    """Compare where collapse begins."""
    name, where = QUANTITIES["onset"], f"in the baseline's {before.path}"
    known = [None if m.onset is None else m.onset_layer for m in (now, before)]
    values: dict[str, Value] = dict(zip(("now", "baseline"), known, strict=True))
    if now.onset is None:
        holds = None if before.onset is None else False
        return name, holds, f"{now.onset_layer}{', as ' + where if holds is None else ''}", values
    if before.onset is None:
        return name, True, f"{now.onset_layer}, and not known {where}", values
    deeper = now.onset > before.onset + tolerance + ROUNDING
    shown = f"{now.onset_layer}, and {before.onset_layer} {where}{_slack(tolerance)}"
    return name, not deeper, shown, values


def _share(onset: Depth, layers: Sequence[Layer]) -> float:
    """Return how deep an onset is; infinite if it never comes."""
    return math.inf if onset.step is None else onset.step / depth(layers)


def _beside(
    quantity: str,
    now: float | None,
    before: float | None,
    path: str,
    tolerance: float,
    *,
    sign: int,
) -> Compared:
    """Compare a number of which more (sign 1) or less (sign -1) is worse."""
    values: dict[str, Value] = {"now": now, "baseline": before}
    where = f"in the baseline's {path}"
    if now is None and before is None:
        return QUANTITIES[quantity], None, f"undefined, as {where}", values
    if now is None:
        return QUANTITIES[quantity], False, "undefined in this checkpoint", values
    if before is None:
        return QUANTITIES[quantity], True, f"{now:.4g}, and undefined {where}", values
    holds = sign * (now - before) <= tolerance + ROUNDING
    digits = ".4g" if f"{now:.4g}" != f"{before:.4g}" else ""
    shown = f"{now:{digits}}, and {before:{digits}} {where}{_slack(tolerance)}"
    return QUANTITIES[quantity], holds, shown, values


def _slack(tolerance: float) -> str:
    return f" (tolerance {tolerance:g})" if tolerance else ""
