"""Errors over training, and when collapse appears: figure 5 of Rangamani & Unal, CPAL 2026."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nrcscan.drawing.shapes import DASHED, Axis, Curve, Drawing, Key, Level, Panel, Point
from nrcscan.errors import UsageError
from nrcscan.reporting.profile import LONGEST_LABEL
from nrcscan.scanning.heat_map_figure import Entries, runs_of, unit_of
from nrcscan.scanning.newest import Checkpoint
from nrcscan.scanning.scan_file import ScanDocument
from nrcscan.short_names import shortened
from nrcscan.verdict.state import State

WIDE = 20
"""Times that are further apart have a logarithmic axis."""


@dataclass(frozen=True)
class Training:
    """One run over its time.

    Attributes:
        label: what its panel is called.
        errors: what the samples are called → time, and the network's MSE on them; None where it
            is not known.
        collapsed_from: the time from which on it has collapsed, at all that follow too; None
            where it has not at the end.
    """

    label: str
    errors: Mapping[str, Sequence[tuple[float, float | None]]]
    collapsed_from: float | None = None


def error_figure(runs: Sequence[Training], unit: str) -> Drawing:
    """Return the figure: a panel for each run, a curve for each set of samples.

    Args:
        runs: they.
        unit: of their time.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.errors))
    lines = [Key(name, look=look) for look, name in enumerate(names)]
    key = [Key("collapsed from here on", dash=DASHED)]
    collapsed = any(run.collapsed_from is not None for run in runs)
    panels = [_panel(run, names, unit) for run in runs]
    return Drawing(
        panels,
        (min(len(panels), 3), 1),
        head=lines if len(names) > 1 else [],
        key=key if collapsed else [],
    )


def _panel(run: Training, names: Sequence[str], unit: str) -> Panel:
    times = [time for points in run.errors.values() for time, _ in points]
    wide = min(times) > 0 and max(times) > WIDE * min(times)
    curves = [
        Curve(
            tuple(Point(time, mse) for time, mse in run.errors[name] if mse is not None),
            look,
            tuple(time for time, mse in run.errors[name] if mse is None),
        )
        for look, name in enumerate(names)
        if name in run.errors
    ]
    at = run.collapsed_from
    return Panel(
        shortened(run.label, LONGEST_LABEL),
        Axis(unit, log=wide, ends=(min(times), max(times))),
        Axis("MSE", log=True),
        tuple(curves),
        () if at is None else (Level(at, DASHED, upright=True),),
    )


def trainings_of(scans: Mapping[str, ScanDocument]) -> tuple[list[Training], str]:
    """Return the runs of scans of the same networks on several sets of samples, and their time.

    When they collapse is told by the first scan that has the run.

    Args:
        scans: what the samples of each are called → it.

    Raises:
        UsageError: checkpoints have to tell their time.
    """
    by_run: dict[str, dict[str, Entries]] = {}
    for name, scan in scans.items():
        for run, entries in runs_of(scan).items():
            by_run.setdefault(run, {})[name] = entries
    every = [entry for own in by_run.values() for entries in own.values() for entry in entries]
    unit = unit_of(every)
    if not unit:
        raise UsageError(
            "--kind error: not every checkpoint tells its epoch or step; name them like"
            " epoch_10.pt, and scan again"
        )
    return [_training(run, own, unit) for run, own in by_run.items()], unit


def _training(run: str, scans: Mapping[str, Entries], unit: str) -> Training:
    errors = {
        name: [(float(entry[unit]), _error(entry)) for entry in entries]
        for name, entries in scans.items()
    }
    first = next(iter(scans.values()))
    return Training(run, errors, next(iter(_collapsed(first, unit)), None))


def _error(entry: Checkpoint) -> float | None:
    mse = (entry.get("model") or {}).get("mse")
    return None if mse is None else float(mse)


def _collapsed(entries: Entries, unit: str) -> Iterator[float]:
    """Yield the times of the stretch of collapsed checkpoints that goes on to the last."""
    stretch: list[float] = []
    for entry in entries:
        if entry["status"] != "ok":
            continue
        state = (entry.get("verdict") or {}).get("state")
        stretch = [*stretch, float(entry[unit])] if state == State.COLLAPSED.value else []
    yield from stretch
