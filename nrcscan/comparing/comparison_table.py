"""A comparison as text: tables for people, JSON, CSV and Markdown for programs and pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from nrcscan.comparing.compare import Comparison
from nrcscan.comparing.runs import Row, Run
from nrcscan.errors import UsageError
from nrcscan.files.inert_csv import csv_text
from nrcscan.files.inert_json import json_text
from nrcscan.metrics.quantities import COLUMNS, CONDITIONS, JUDGED_BY, QUANTITIES
from nrcscan.options.choices import Format
from nrcscan.reporting import csv_rows
from nrcscan.reporting.fitted_grid import Cell, Column, FittedGrid, plain_column
from nrcscan.reporting.hanging import Hanging
from nrcscan.reporting.markdown import code, escaped, markdown_row
from nrcscan.reporting.marks import BLUE, MARKS, ORANGE, PURPLE
from nrcscan.reporting.numbers import NARROW, number, plain
from nrcscan.reporting.sentences import in_words
from nrcscan.short_names import shortened
from nrcscan.verdict.answers import Answer
from nrcscan.verdict.in_document import brief
from nrcscan.wording import listed, ordinal, printable, r_squared

BEGINS = "▼"
"""Before a run's number where it has collapsed from there on."""
DIFFERS = "≠"
HEAD = ("run", "R²", "MSE", *(c.upper() for c in CONDITIONS), "verdict")
LONGEST_VERDICT = 36
"""In a table a verdict is cut to so many columns: the name in its middle."""

_DIGITS = "1234"


def render(
    comparison: Comparison,
    form: Format,
    quantity: str = "noise_component",
    *,
    encoding: str = "utf-8",
) -> str:
    """Return a comparison as plain text in the given format, ending in a newline.

    Args:
        comparison: the runs.
        form: what to write; JSON and CSV hold every quantity.
        quantity: which of `QUANTITIES` a table shows.
        encoding: what a table has to be written in.

    Raises:
        UsageError: there is no such quantity.
    """
    shown = Tables(comparison, quantity, NARROW)
    if form == "json":
        return json_text(comparison.to_dict(), indent=2) + "\n"
    if form == "csv":
        return _csv(comparison)
    if form == "md":
        return _markdown(shown)
    return plain(shown, encoding)


@dataclass(frozen=True)
class Tables:
    """What `nrcscan compare` shows: a row per run, then layer by layer as many runs as fit.

    Attributes:
        comparison: the runs.
        quantity: which of `QUANTITIES` it shows of every layer.
        width: that its numbers have to fit; None for that of the terminal.
    """

    comparison: Comparison
    quantity: str = "noise_component"
    width: int | None = None

    def __post_init__(self) -> None:
        """Look at the quantity.

        Raises:
            UsageError: no quantity of layers is called so.
        """
        if self.quantity not in QUANTITIES:
            raise UsageError(f"--quantity {self.quantity}: choose one of {listed(QUANTITIES)}")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from (Hanging(line, "bold") for line in verdicts(self.comparison))
        yield Hanging(headline(self.comparison))
        yield Hanging(basis(self.comparison), "dim")
        for grid in (self._head(), self._layers()):
            yield Text()
            yield grid
        yield Text()
        yield Hanging(self.legend, "dim")
        yield from (Hanging(f"- {line}", "dim") for line in remarks(self))

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
        return self._layers().least_width

    def cell(self, run: Run, row: Row) -> tuple[str, str]:
        """Return a layer's number in a run and its four marks; a dash where the run has none."""
        layer = run.layers.get(row.name)
        if layer is None:
            return "—", ""
        collapsed = run.verdict["state"] == "collapsed"
        begins = BEGINS if collapsed and run.verdict["onset"] == row.name else ""
        marks = "".join(_mark(layer, condition)[0] for condition in CONDITIONS)
        return f"{begins}{number(layer[self.quantity])}", marks

    def _head(self) -> FittedGrid:
        runs = self.comparison.runs
        styles = [ORANGE if run.model["learned"] is False else "" for run in runs]
        _, *columns, brief_verdicts = zip(*map(_head_cells, runs), strict=True)
        columns.append(tuple(shortened(told, LONGEST_VERDICT) for told in brief_verdicts))
        return FittedGrid(
            [run.label for run in runs],
            HEAD[0],
            [
                [
                    Column(
                        (head,),
                        [((text, style),) for text, style in zip(texts, styles, strict=True)],
                        left=head == HEAD[-1],
                    )
                ]
                for head, texts in zip(HEAD[1:], columns, strict=True)
            ],
            width=self.width,
        )

    def _layers(self) -> FittedGrid:
        rows = self.comparison.rows
        places = ["" if row.step is None else str(row.step) for row in rows]
        differs: list[Cell] = [((differing(row), PURPLE),) for row in rows]
        apart = [Column(("",), differs, left=True)] if any(row.differs for row in rows) else []
        return FittedGrid(
            [printable(row.name) for row in rows],
            "layer",
            [[self._run(run)] for run in self.comparison.runs],
            before=[plain_column(("#",), places)],
            after=apart,
            width=self.width,
        )

    def _run(self, run: Run) -> Column:
        cells = [self._styled(run, row) for row in self.comparison.rows]
        return Column((run.label, f"{self.column} {_DIGITS}"), cells)

    def _styled(self, run: Run, row: Row) -> Cell:
        value, marks = self.cell(run, row)
        if not marks:
            return ((f"{value} {' ' * len(_DIGITS)}", "dim"),)
        styles = [_mark(run.layers[row.name], condition)[1] for condition in CONDITIONS]
        bold = ["bold " * (condition in row.differs) for condition in CONDITIONS]
        begins = f"bold {BLUE}" if value.startswith(BEGINS) else ""
        parts = zip(marks, map(str.__add__, bold, styles), strict=True)
        return ((f"{value} ", begins), *parts)


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
    own = ("position", "name", "kind", "width")
    head = ("run", "path", "epoch", *own, *csv_rows.HEAD)
    rows = (
        (run.label, str(run.path), run.epoch, *(layer[key] for key in own), *csv_rows.cells(layer))
        for run in comparison.runs
        for layer in run.layers.values()
    )
    return csv_text([head, *rows])


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
        name, apart = code(row.name), differing(row).removeprefix(f"{DIFFERS} ")
        lines.append(markdown_row([place, name, *cells, apart]))
    lines += ["", escaped(shown.legend), ""]
    lines += [f"- {escaped(line)}" for line in remarks(shown)]
    return "\n".join(lines).rstrip() + "\n"
