"""A comparison as text: tables for people, JSON, CSV and Markdown for programs and pages."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from nrcscan.comparing.compare import Comparison
from nrcscan.comparing.runs import Row, Run
from nrcscan.errors import UsageError
from nrcscan.metrics.quantities import COLUMNS, CONDITIONS, JUDGED_BY, QUANTITIES
from nrcscan.options.choices import Format
from nrcscan.reporting import csv_rows
from nrcscan.reporting.markdown import escaped, markdown_row
from nrcscan.reporting.marks import MARKS
from nrcscan.reporting.numbers import number, plain
from nrcscan.reporting.report_table import NAME_WIDTH
from nrcscan.reporting.sentences import in_words
from nrcscan.verdict.answers import Answer
from nrcscan.verdict.in_document import brief
from nrcscan.wording import listed, ordinal, printable, r_squared

BEGINS = "▼"
"""Before a run's number where it has collapsed from there on."""
DIFFERS = "≠"
HEAD = ("run", "R²", "MSE", *(c.upper() for c in CONDITIONS), "verdict")
_DIGITS = "1234"


def render(comparison: Comparison, form: Format, quantity: str = "noise_component") -> str:
    """Return a comparison as plain text in the given format, ending in a newline.

    Args:
        comparison: the runs.
        form: what to write; JSON and CSV hold every quantity.
        quantity: which of `QUANTITIES` a table shows.

    Raises:
        UsageError: there is no such quantity.
    """
    shown = Tables(comparison, quantity)
    if form == "json":
        return json.dumps(comparison.to_dict(), indent=2, allow_nan=False) + "\n"
    if form == "csv":
        return _csv(comparison)
    if form == "md":
        return _markdown(shown)
    return plain(shown)


@dataclass(frozen=True)
class Tables:
    """What `nrcscan compare` shows: a row per run, then layer by layer as many runs as fit."""

    comparison: Comparison
    quantity: str = "noise_component"

    def __post_init__(self) -> None:
        """Look at the quantity.

        Raises:
            UsageError: no quantity of layers is called so.
        """
        if self.quantity not in QUANTITIES:
            raise UsageError(f"--quantity {self.quantity}: choose one of {listed(QUANTITIES)}")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in verdicts(self.comparison):
            yield Text(line, style="bold")
        yield Text(headline(self.comparison))
        yield Text(basis(self.comparison), style="dim")
        for table in (self._head(), *map(self._layers, self._blocks(options.max_width))):
            yield Text()
            yield table
        yield Text()
        yield Text(self.legend, style="dim")
        for line in remarks(self):
            yield Text(f"- {line}", style="dim")

    @property
    def column(self) -> str:
        """What the shown quantity is called above its numbers."""
        return COLUMNS.get(self.quantity, self.quantity.replace("_", " "))

    @property
    def legend(self) -> str:
        """What the marks mean."""
        return (
            f"{self.column}, then whether NRC1, 2, 3 and 4 hold · {BEGINS} collapsed from here on ·"
            f" {DIFFERS} holds in one run, not in another"
        )

    @property
    def least_width(self) -> int:
        """How many columns it takes to show one run without cutting a number."""
        return self._around + max(self._width(run) for run in self.comparison.runs)

    def cell(self, run: Run, row: Row) -> tuple[str, str]:
        """Return a layer's number in a run and its four marks; a dash where the run has none."""
        layer = run.layers.get(row.name)
        if layer is None:
            return "—", ""
        collapsed = run.verdict["state"] == "collapsed"
        begins = BEGINS if collapsed and run.verdict["onset"] == row.name else ""
        marks = "".join(_mark(layer, condition)[0] for condition in CONDITIONS)
        return f"{begins}{number(layer[self.quantity])}", marks

    @property
    def _around(self) -> int:
        """How wide a table is without its runs."""
        rows = self.comparison.rows
        names = max((len(printable(row.name)) for row in rows), default=0)
        differs = max((len(differing(row)) for row in rows), default=0)
        return 3 + max(len("layer"), min(names, NAME_WIDTH)) + 2 + differs

    def _width(self, run: Run) -> int:
        cells = [len(self.cell(run, row)[0]) for row in self.comparison.rows]
        return 2 + max(len(run.label), max(*cells, len(self.column)) + 1 + len(_DIGITS))

    def _blocks(self, width: int) -> Iterator[list[Run]]:
        """Yield the runs, as many at a time as stand side by side."""
        block: list[Run] = []
        for run in self.comparison.runs:
            if block and self._around + sum(map(self._width, [*block, run])) > width:
                yield block
                block = []
            block.append(run)
        yield block

    def _head(self) -> Table:
        grid = _grid()
        for column in HEAD:
            left = column in ("run", "verdict")
            grid.add_column(
                column,
                justify="left" if left else "right",
                overflow="fold",
                no_wrap=column != "verdict",
            )
        for run in self.comparison.runs:
            style = "red" if run.model["learned"] is False else ""
            grid.add_row(*(Text(cell, style) for cell in _head_cells(run)))
        return grid

    def _layers(self, runs: Sequence[Run]) -> Table:
        grid = _grid()
        grid.add_column("\n#", justify="right")
        grid.add_column("\nlayer", overflow="fold")
        for run in runs:
            header = Text(f"{run.label}\n{self.column} {_DIGITS}")
            grid.add_column(header, justify="right", no_wrap=True)
        grid.add_column("", no_wrap=True)
        for row in self.comparison.rows:
            cells = [self._styled(run, row) for run in runs]
            place = "" if row.step is None else str(row.step)
            mark = Text(differing(row), style="yellow")
            grid.add_row(place, Text(printable(row.name)), *cells, mark)
        return grid

    def _styled(self, run: Run, row: Row) -> Text:
        value, marks = self.cell(run, row)
        if not marks:
            return Text(f"{value} {' ' * len(_DIGITS)}", style="dim")
        text = Text(value, style="bold green" if value.startswith(BEGINS) else "")
        text.append(" ")
        for condition, mark in zip(CONDITIONS, marks, strict=True):
            style = _mark(run.layers[row.name], condition)[1]
            text.append(mark, f"bold {style}" if condition in row.differs else style)
        return text


def headline(comparison: Comparison) -> str:
    """Return the sentence on how far the runs are alike, layer by layer."""
    shared = [r for r in comparison.rows if sum(r.name in x.layers for x in comparison.runs) > 1]
    if not shared:
        return "No layer is shared."
    shared = [row for row in shared if any(_judged(run, row) for run in comparison.runs)]
    apart = [row for row in shared if row.differs]
    if not apart:
        return "The same conditions hold at every layer."
    return f"Conditions differ at {len(apart)} of {len(shared)} layers."


def _judged(run: Run, row: Row) -> bool:
    return row.name in run.layers and run.layers[row.name]["step"] is not None


def verdicts(comparison: Comparison) -> list[str]:
    """Return the verdict on every run, after its label."""
    return [printable(f"{run.label}: {run.verdict['text']}") for run in comparison.runs]


def _mark(layer: Mapping[str, Any], condition: str) -> tuple[str, str]:
    """Return the mark of a layer's condition; what the verdict leaves out has none."""
    return (" ", "") if layer["step"] is None else MARKS[Answer(layer["answers"][condition])]


def basis(comparison: Comparison) -> str:
    """Say what all runs were measured with."""

    def span(values: set[int | None]) -> str:
        known = sorted(value for value in values if value is not None)
        return " or ".join(map(str, known)) if len(known) < 3 else f"{known[0]} to {known[-1]}"

    signal_dims = span({run.signal_dim for run in comparison.runs})
    samples = span({run.n_samples for run in comparison.runs})
    words = [f"{len(comparison.runs)} runs"]
    if signal_dims:
        words.append(f"k = {signal_dims} signal directions")
    if samples:
        words.append(f"{samples} samples")
    if comparison.convention == "published":
        words.append("published convention")
    return ", ".join(words)


def differing(row: Row) -> str:
    """Name the conditions that hold in one run and not in another.

    >>> differing(Row("layers.0", 0, ("nrc1", "nrc3")))
    '≠ NRC1,3'
    """
    digits = ",".join(condition[-1] for condition in row.differs)
    return f"{DIFFERS} NRC{digits}" if digits else ""


def remarks(shown: Tables) -> list[str]:
    """Return the lines below the tables: what labels stand for, notes, and what is undefined."""
    runs = shown.comparison.runs
    lines = []
    if any(run.label not in run.path for run in runs):  # letters, that say nothing themselves
        lines += [f"{run.label} = {run.path}" for run in runs]
    lines += [f"{r.label}: epoch {r.epoch:g} of {r.path}" for r in runs if r.epoch is not None]
    return [printable(line) for line in [*lines, *shown.comparison.notes, *_undefined(shown)]]


def _undefined(shown: Tables) -> Iterator[str]:
    """Yield why there are dashes and dots, once per run and reason."""
    quantities = dict.fromkeys((shown.quantity, *JUDGED_BY.values()))
    for run in shown.comparison.runs:
        reasons: dict[tuple[str, str], list[str]] = {}
        for name, layer in run.layers.items():
            by_reason: dict[str, list[str]] = {}
            for quantity in quantities:
                why = layer["undefined"].get(quantity)
                if why is not None:
                    by_reason.setdefault(why, []).append(COLUMNS.get(quantity, quantity))
            for why, columns in by_reason.items():
                reasons.setdefault((why, listed(columns)), []).append(name)
        for (why, what), names in reasons.items():
            yield f"{run.label}, {in_words(names)}: {what} undefined: {why}"


def _grid() -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        header_style="bold",
    )


def _head_cells(run: Run) -> list[str]:
    places = {condition: run.step(condition) for condition in CONDITIONS}
    return [
        run.label,
        r_squared(run.model["r2"]),
        number(run.model["mse"]),
        *(
            MARKS[run.at_the_end(c)][0] if step is None else ordinal(step)
            for c, step in places.items()
        ),
        printable(brief(run.verdict, list(run.layers.values()))),
    ]


def _csv(comparison: Comparison) -> str:
    """Return a row per run and layer."""
    buffer = io.StringIO()
    own = ("position", "name", "kind", "width")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["run", "path", "epoch", *own, *csv_rows.HEAD])
    for run in comparison.runs:
        for layer in run.layers.values():
            texts: list[Any] = [run.label, run.path, "" if run.epoch is None else run.epoch]
            texts += [layer[key] for key in own]
            writer.writerow([*(printable(str(text)) for text in texts), *csv_rows.cells(layer)])
    return buffer.getvalue()


def _markdown(shown: Tables) -> str:
    runs = shown.comparison.runs
    lines = [
        *(f"- **{escaped(line)}**" for line in verdicts(shown.comparison)),
        "",
        headline(shown.comparison),
        "",
        f"{basis(shown.comparison)}.",
        "",
        markdown_row(HEAD),
        markdown_row("---" if c in ("run", "verdict") else "---:" for c in HEAD),
        *(markdown_row(escaped(cell) for cell in _head_cells(run)) for run in runs),
        "",
        markdown_row(["#", "layer", *(escaped(run.label) for run in runs), DIFFERS]),
        markdown_row(["---:", "---", *("---:" for _ in runs), "---"]),
    ]
    for row in shown.comparison.rows:
        place = "" if row.step is None else str(row.step)
        cells = [" ".join(shown.cell(run, row)).strip() for run in runs]
        name, apart = f"`{printable(row.name)}`", differing(row).removeprefix(f"{DIFFERS} ")
        lines.append(markdown_row([place, name, *cells, apart]))
    lines += ["", escaped(shown.legend), ""]
    lines += [f"- {escaped(line)}" for line in remarks(shown)]
    return "\n".join(lines).rstrip() + "\n"
