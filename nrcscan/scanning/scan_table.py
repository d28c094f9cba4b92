"""A scan as a table: a row per checkpoint, and per run how the onset moved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nrcscan.metrics.quantities import COLUMNS as QUANTITY_COLUMNS
from nrcscan.metrics.quantities import CONDITIONS, NEED_PREDICTIONS
from nrcscan.reporting.numbers import number
from nrcscan.scanning.grouped_notes import grouped
from nrcscan.scanning.newest import training_order
from nrcscan.scanning.scan_file import Scan, ScannedCheckpoint
from nrcscan.wording import listed, printable, some

NOISE = QUANTITY_COLUMNS["noise_component"]
COLUMNS = ("checkpoint", "epoch", "R²", *(c.upper() for c in CONDITIONS), "collapsed", NOISE)
NAMED = 3
"""So many names stand for a group of skipped files."""


def table(scan: Scan) -> RenderableType:
    """Return what `nrcscan scan` shows in a terminal."""
    good = [c for c in scan.checkpoints if c.result is not None]
    parts: list[RenderableType] = []
    if good:
        parts += [_grid(good), Text(_legend(), style="dim")]
        parts += [Text(printable(line), style="bold") for line in movements(scan)]
    bad = [c for c in scan.checkpoints if c.reason is not None]
    if bad:
        parts.append(Text(f"{_count(len(bad), 'checkpoint')} could not be used:", style="bold red"))
        alike = grouped({c.path: [str(c.reason)] for c in bad})
        parts += [Text(printable(f"- {some(own)}: {reason}")) for reason, own in alike.items()]
    parts += [Text(f"- skipped {line}", style="dim") for line in _skipped(scan)]
    return Group(*parts)


def movements(scan: Scan) -> list[str]:
    """Return one line per run: from where on it is collapsed, and since when."""
    lines = []
    for run, group in groupby(scan.checkpoints, key=lambda checkpoint: checkpoint.run):
        used = [checkpoint for checkpoint in group if checkpoint.result is not None]
        good = sorted(used, key=lambda checkpoint: training_order(vars(checkpoint)))
        if good:
            lines.append(f"{run or scan.folder.name or scan.folder}: {_movement(good)}")
    return lines


def _movement(checkpoints: list[ScannedCheckpoint]) -> str:
    """Say where the onset was at first, and every time that it moved."""
    moves = []
    for where, group in groupby(checkpoints, key=_begins):
        (unit, first), *later = [_when(checkpoint) for checkpoint in group]
        until = ""
        if later and later[-1] != (unit, first):
            last_unit, last = later[-1]
            until = f" to {last}" if last_unit == unit else f" to {last_unit} {last}"
        moves.append(f"{where} at {f'{unit} {first}'.strip()}{until}")
    return ", ".join(moves)


def _begins(checkpoint: ScannedCheckpoint) -> str:
    onset = _onset(checkpoint, "all")
    assert checkpoint.result is not None
    if checkpoint.result["model"]["learned"] is None:
        return "not judged, without predictions,"
    if onset is None:
        return "not collapsed"
    return f"from {checkpoint.result['onset']['all']} (#{onset} of {_depth(checkpoint)})"


def _when(checkpoint: ScannedCheckpoint) -> tuple[str, str]:
    """Return a unit of time and the time; the name of a checkpoint that tells none."""
    if checkpoint.epoch is not None:
        return "epoch", str(checkpoint.epoch)
    if checkpoint.step is not None:
        return "step", str(checkpoint.step)
    return "", _in_run(checkpoint)


def _in_run(checkpoint: ScannedCheckpoint) -> str:
    """Return the path of a checkpoint in the folder of its run."""
    return checkpoint.path.removeprefix(f"{checkpoint.run}/")


def _grid(checkpoints: list[ScannedCheckpoint]) -> Table:
    stepped = all(c.epoch is None for c in checkpoints) and any(c.step for c in checkpoints)
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for column in COLUMNS:
        left = column == "checkpoint"
        shown = "step" if column == "epoch" and stepped else column
        grid.add_column(
            shown, justify="left" if left else "right", no_wrap=not left, overflow="fold"
        )
    for run, group in groupby(checkpoints, key=lambda checkpoint: checkpoint.run):
        if run:
            grid.add_row(Text(printable(run), style="bold"))
        for checkpoint in group:
            name = printable(_in_run(checkpoint))
            grid.add_row(Text(f"  {name}" if run else name), *_cells(checkpoint, stepped=stepped))
    return grid


def _cells(checkpoint: ScannedCheckpoint, *, stepped: bool) -> Iterator[Text]:
    assert checkpoint.result is not None
    model, layers = checkpoint.result["model"], checkpoint.result["layers"]
    time = checkpoint.step if stepped else checkpoint.epoch
    named = checkpoint.named_step if stepped else checkpoint.named_epoch
    as_named = "" if named is None else f" (name: {named})"
    yield Text("—" if time is None else f"{time}{as_named}")
    yield Text(_fit(model["r2"]), style="red" if model["learned"] is False else "")
    judged = model["learned"] is not None
    for condition in CONDITIONS:
        onset = _onset(checkpoint, condition)
        if condition in NEED_PREDICTIONS and not judged:
            yield Text("—")
            continue
        yield Text("✗" if onset is None else str(onset), style="red" if onset is None else "green")
    onset, depth = _onset(checkpoint, "all"), _depth(checkpoint)
    collapsed = 0 if onset is None else depth - onset + 1
    so_many = f"{collapsed} of {depth}" if judged else "—"
    yield Text(so_many, style="bold green" if collapsed else "")
    yield Text(number(layers[-1]["noise_component"]))


def _fit(r2: float | None) -> str:
    if r2 is None:
        return "—"
    return f"{r2:.3f}" if r2 > -100 else f"{r2:.3g}"


def _onset(checkpoint: ScannedCheckpoint, condition: str) -> int | None:
    """Return the position in depth, from 1, from which a condition holds."""
    assert checkpoint.result is not None
    name = checkpoint.result["onset"][condition]
    layers = checkpoint.result["layers"]
    return next((la["position"] + 1 for la in layers if la["name"] == name), None)


def _depth(checkpoint: ScannedCheckpoint) -> int:
    assert checkpoint.result is not None
    return 1 + max(layer["position"] for layer in checkpoint.result["layers"])


def _legend() -> str:
    return (
        "NRC1 to NRC4: position in depth from which each holds on (✗ nowhere);"
        " collapsed: positions from where all four do;"
        f" {NOISE}: of the last layer"
    )


def _skipped(scan: Scan) -> Iterator[str]:
    """Yield a line for every reason."""
    by_reason: dict[str, list[str]] = {}
    for path, why in scan.skipped.items():
        by_reason.setdefault(why, []).append(printable(path))
    for why, paths in by_reason.items():
        more = [f"{len(paths) - NAMED} more"] if len(paths) > NAMED else []
        yield f"{listed([*paths[:NAMED], *more])}: {printable(why)}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
