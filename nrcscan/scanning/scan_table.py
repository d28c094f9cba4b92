"""A scan as a table: a row per checkpoint, and per run how the onset moved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nrcscan.metrics.quantities import COLUMNS as QUANTITY_COLUMNS
from nrcscan.metrics.quantities import CONDITIONS
from nrcscan.reporting.marks import MARKS
from nrcscan.reporting.numbers import number
from nrcscan.scanning.grouped_notes import grouped
from nrcscan.scanning.newest import training_order
from nrcscan.scanning.scan_file import Scan, ScannedCheckpoint
from nrcscan.verdict.in_document import at_the_end, brief, depth, step_of
from nrcscan.wording import listed, printable, r_squared, some

NOISE = QUANTITY_COLUMNS["noise_component"]
COLUMNS = ("checkpoint", "epoch", "R²", *(c.upper() for c in CONDITIONS), "verdict", NOISE)
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
    """Return, per run, how its verdict moved, and the sentence on its newest checkpoint."""
    lines = []
    for run, group in groupby(scan.checkpoints, key=lambda checkpoint: checkpoint.run):
        used = [checkpoint for checkpoint in group if checkpoint.result is not None]
        good = sorted(used, key=lambda checkpoint: training_order(vars(checkpoint)))
        if good:
            name = run or scan.folder.name or scan.folder
            if len(good) > 1:
                lines.append(f"{name}: {_movement(good)}")
            assert good[-1].result is not None
            lines.append(f"{name}, {_in_run(good[-1])}: {good[-1].result['verdict']['text']}")
    return lines


def _movement(checkpoints: list[ScannedCheckpoint]) -> str:
    """Say where the onset was at first, and every time that it moved."""
    moves = []
    for where, group in groupby(checkpoints, key=_brief):
        (unit, first), *later = [_when(checkpoint) for checkpoint in group]
        until = ""
        if later and later[-1] != (unit, first):
            last_unit, last = later[-1]
            until = f" to {last}" if last_unit == unit else f" to {last_unit} {last}"
        moves.append(f"{where} at {f'{unit} {first}'.strip()}{until}")
    return ", ".join(moves)


def _brief(checkpoint: ScannedCheckpoint) -> str:
    assert checkpoint.result is not None
    return brief(checkpoint.result["verdict"], checkpoint.result["layers"])


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
    yield Text(r_squared(model["r2"]), style="red" if model["learned"] is False else "")
    for condition in CONDITIONS:
        onset = step_of(layers, checkpoint.result["onset"][condition])
        if onset is not None:
            yield Text(str(onset), style="green")
        else:
            yield Text(*MARKS[at_the_end(layers, condition)])
    verdict = checkpoint.result["verdict"]
    begins = step_of(layers, verdict["onset"])
    if verdict["state"] == "collapsed":
        yield Text(f"from {begins} of {depth(layers)}", style="bold green")
    else:
        yield Text(verdict["state"])
    yield Text(number(layers[-1]["noise_component"]))


def _legend() -> str:
    return (
        "NRC1 to NRC4: step in depth from which each is met to the output (✗ nowhere, ~ undecided,"
        f" ? cannot be judged); {NOISE}: of the last layer"
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
