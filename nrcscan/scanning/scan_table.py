"""A scan as a table: a row per checkpoint, and per run how the onset moved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text

from nrcscan.metrics.quantities import COLUMNS as QUANTITY_COLUMNS
from nrcscan.metrics.quantities import CONDITIONS
from nrcscan.reporting.fitted_grid import Cell, Column, FittedGrid, plain_column
from nrcscan.reporting.hanging import Hanging
from nrcscan.reporting.marks import ALARM, BLUE, MARKS, ORANGE
from nrcscan.reporting.numbers import number
from nrcscan.scanning import onset_strip
from nrcscan.scanning.cuts_in_scan import CHOSEN, CutsOfCheckpoint
from nrcscan.scanning.grouped_notes import grouped
from nrcscan.scanning.newest import training_order
from nrcscan.scanning.scan_file import Scan, ScannedCheckpoint
from nrcscan.verdict.answers import Answer
from nrcscan.verdict.in_document import at_the_end, brief, depth, step_of
from nrcscan.wording import counted, listed, printable, r_squared, some

NOISE = QUANTITY_COLUMNS["noise_component"]
COLUMNS = ("epoch", "R²", *(c.upper() for c in CONDITIONS), "verdict", NOISE)
"""Beside the names of the checkpoints."""

NAMED = 3
"""So many names stand for a group of skipped files."""


def table(scan: Scan, width: int | None = None) -> RenderableType:
    """Return what `nrcscan scan` shows in a terminal.

    Args:
        scan: it.
        width: that its numbers have to fit; None for that of the terminal.
    """
    runs = _runs(scan)
    diverged = {run for run, own in runs.items() if _diverged(own)}
    good = [c for run, own in runs.items() if run not in diverged for c in own if c.result]
    over_time = {
        _name(run, scan): [(*_when(c), c) for c in own]
        for run, own in runs.items()
        if run not in diverged and len(own) > 1 and any(c.result for c in own)
    }
    parts: list[RenderableType] = []
    if over_time:
        strip = onset_strip.OnsetStrip(over_time, width)
        parts += [strip, Text(), Hanging(onset_strip.LEGEND, "dim"), Text()]
    if good:
        parts += [_grid(good, width), Text(), Hanging(_legend(), "dim"), *_cut_legend(good), Text()]
    parts += [Hanging(printable(line), "bold") for line in movements(scan)]
    bad = [c for c in scan.checkpoints if c.reason is not None]
    if bad:
        parts.append(Text(f"{counted(len(bad), 'checkpoint')} could not be used:", style=ALARM))
        alike = grouped({c.path: [str(c.reason)] for c in bad})
        parts += [Hanging(printable(f"- {some(own)}: {reason}")) for reason, own in alike.items()]
    parts += [Hanging(f"- skipped {line}", "dim") for line in _skipped(scan)]
    return Group(*parts)


def _runs(scan: Scan) -> dict[str, list[ScannedCheckpoint]]:
    """Return the checkpoints of every run, in the order of training."""
    runs: dict[str, list[ScannedCheckpoint]] = {}
    for checkpoint in scan.checkpoints:
        runs.setdefault(checkpoint.run, []).append(checkpoint)
    return {
        run: sorted(own, key=lambda checkpoint: training_order(vars(checkpoint)))
        for run, own in runs.items()
    }


def _name(run: str, scan: Scan) -> str:
    return run or scan.folder.name or str(scan.folder)


def _diverged(checkpoints: Sequence[ScannedCheckpoint]) -> bool:
    """Say whether nothing was learned at any time: then a line says all there is to say."""
    good = [c.result for c in checkpoints if c.result is not None]
    return bool(good) and all(one["verdict"]["state"] == "learned nothing" for one in good)


def movements(scan: Scan) -> list[str]:
    """Return, per run, how its verdict moved, and the sentence on its newest checkpoint.

    A run that has learned nothing at any time is a line, with the best R² of it.
    """
    lines = []
    for run, own in _runs(scan).items():
        good = [checkpoint for checkpoint in own if checkpoint.result is not None]
        if good:
            name = _name(run, scan)
            if _diverged(good):
                best = max(c.result["model"]["r2"] for c in good if c.result is not None)
                doubtful = any(
                    c.result["model"].get("doubts") for c in good if c.result is not None
                )
                told = f"R² {r_squared(best)}" + "; inferred, and doubtful" * doubtful
                lines.append(f"{name}: {_movement(good)} ({told})")
                continue
            if len(good) > 1:
                lines.append(f"{name}: {_movement(good)}")
            newest = good[-1].result
            assert newest is not None
            lines.append(f"{name}, {_in_run(good[-1])}: {newest['verdict']['text']}")
            if "cuts" in newest:
                lines.append(f"{name}, cuts: {newest['cuts']['text']}")
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


def _grid(checkpoints: list[ScannedCheckpoint], width: int | None) -> FittedGrid:
    stepped = all(c.epoch is None for c in checkpoints) and any(c.step for c in checkpoints)
    names: list[str] = []
    rows: list[list[Cell]] = []
    for run, group in groupby(checkpoints, key=lambda checkpoint: checkpoint.run):
        if run:
            names.append(printable(run))
            rows.append([(("", ""),) for _ in COLUMNS])
        for checkpoint in group:
            names.append("  " * bool(run) + printable(_in_run(checkpoint)))
            rows.append([(cell,) for cell in _cells(checkpoint, stepped=stepped)])
    heads = ("step" if head == "epoch" and stepped else head for head in COLUMNS)
    columns = [
        [Column((head,), cells)] for head, cells in zip(heads, zip(*rows, strict=True), strict=True)
    ]
    if any("cuts" in (checkpoint.result or {}) for checkpoint in checkpoints):
        columns += [_cut_columns(checkpoints, which) for which in CHOSEN]
    return FittedGrid(names, "checkpoint", columns, width=width)


def _cut_columns(checkpoints: Sequence[ScannedCheckpoint], which: str) -> list[Column]:
    """Return the columns of a cut of each checkpoint, with a row for each run's name."""
    rows: list[tuple[str, str, str]] = []
    for run, group in groupby(checkpoints, key=lambda checkpoint: checkpoint.run):
        rows += [("", "", "")] if run else []
        for checkpoint in group:
            told = (checkpoint.result or {}).get("cuts")
            rows.append(("", "", "") if told is None else _cut_cells(told, which))
    before, kept, error = zip(*rows, strict=True)
    return [
        plain_column((which, "cut before"), before, left=True),
        plain_column(("weights",), kept),
        plain_column(("MSE",), error, left=True),
    ]


def _cells(checkpoint: ScannedCheckpoint, *, stepped: bool) -> Iterator[tuple[str, str]]:
    """Yield the texts of `COLUMNS`, each with its style."""
    assert checkpoint.result is not None
    model, layers = checkpoint.result["model"], checkpoint.result["layers"]
    time = checkpoint.step if stepped else checkpoint.epoch
    named = checkpoint.named_step if stepped else checkpoint.named_epoch
    as_named = "" if named is None else f" (name: {named})"
    yield "—" if time is None else f"{time}{as_named}", ""
    yield r_squared(model["r2"]), ORANGE if model["learned"] is False else ""
    for condition in CONDITIONS:
        onset = step_of(layers, checkpoint.result["onset"][condition])
        yield MARKS[at_the_end(layers, condition)] if onset is None else (str(onset), "")
    verdict = checkpoint.result["verdict"]
    if verdict["state"] == "collapsed":
        yield f"from {step_of(layers, verdict['onset'])} of {depth(layers)}", f"bold {BLUE}"
    else:
        yield verdict["state"], ""
    yield number(layers[-1]["noise_component"]), ""


def _legend() -> str:
    nowhere, undecided, not_judged = (MARKS[a][0] for a in Answer if a is not Answer.MET)
    return (
        f"NRC1 to NRC4: step in depth from which each is met to the output ({nowhere} nowhere,"
        f" {undecided} undecided, {not_judged} cannot be judged); {NOISE}: of the last layer"
    )


def _cut_cells(told: CutsOfCheckpoint, which: str) -> tuple[str, str, str]:
    """Return a checkpoint's cut as its columns have it: before what, what stays, its MSE."""
    from nrcscan.cutting.numbers_of_cuts import kept  # which needs NumPy

    cut = told[which]
    if cut is None:
        return "none", "", ""
    error = cut["held_out"]["standard_error"]
    shown = f"{cut['held_out']['value']:.3g}" + ("" if error is None else f"±{error:.1g}")
    before = "the inputs" if cut["inputs"] else printable(cut["layer"])
    return before, kept(cut["weights"], told["model"]["weights"]), shown


def _cut_legend(checkpoints: Sequence[ScannedCheckpoint]) -> Iterator[RenderableType]:
    """Yield what the columns of cuts mean, if there are any."""
    told = next((c.result["cuts"] for c in checkpoints if c.result and "cuts" in c.result), None)
    if told is not None:
        from nrcscan.cutting.numbers_of_cuts import share

        yield Hanging(
            "cuts: networks that end before a layer, in a linear head; their share of the weights,"
            " and their MSE on blocks of samples, each by a fit without it; smallest: surely within"
            f" {share(told['within'])} of the network's MSE on these samples, which it may have"
            " been trained on; best: of the least MSE",
            "dim",
        )


def _skipped(scan: Scan) -> Iterator[str]:
    """Yield a line for every reason."""
    by_reason: dict[str, list[str]] = {}
    for path, why in scan.skipped.items():
        by_reason.setdefault(why, []).append(printable(path))
    for why, paths in by_reason.items():
        more = [f"{len(paths) - NAMED} more"] if len(paths) > NAMED else []
        yield f"{listed([*paths[:NAMED], *more])}: {printable(why)}"
