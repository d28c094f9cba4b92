"""A network on two sets of samples as text: the verdict on each, and the gap layer by layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from nrcscan.comparing.against import Gap, TrainTest
from nrcscan.files.inert_csv import csv_text
from nrcscan.files.inert_json import json_text
from nrcscan.metrics.quantities import COLUMNS, ENTRIES, JUDGED, Condition
from nrcscan.options.choices import Format
from nrcscan.reporting.fitted_grid import Cell, Column, FittedGrid, plain_column
from nrcscan.reporting.hanging import Hanging
from nrcscan.reporting.headings import range_met
from nrcscan.reporting.layer_result import LayerResult
from nrcscan.reporting.markdown import code, escaped, markdown_row
from nrcscan.reporting.marks import FAILURES, MARKS, PURPLE
from nrcscan.reporting.numbers import NARROW, number, plain
from nrcscan.reporting.place import place
from nrcscan.verdict.answers import Answer
from nrcscan.wording import printable, r_squared

SIDES = ("train", "test")
CLEAR = 2.0
"""A gap of so many of its standard errors is shown as one."""


def render(found: TrainTest, form: Format, *, wide: bool = False, encoding: str = "utf-8") -> str:
    """Return it as plain text in the given format, ending in a newline.

    Args:
        found: it.
        form: what to write.
        wide: whether a table may be wider than 80 columns.
        encoding: what a table has to be written in.
    """
    if form == "json":
        return json_text(found.to_dict(), indent=2) + "\n"
    if form == "csv":
        return _csv(found)
    if form == "md":
        return _markdown(found)
    return plain(BothSides(found, None if wide else NARROW), encoding)


@dataclass(frozen=True)
class BothSides:
    """What `nrcscan report --against` shows: as many conditions side by side as fit."""

    found: TrainTest
    width: int | None = None

    @property
    def least_width(self) -> int:
        """How many columns it takes to cut no number."""
        return self._grid().least_width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from (Hanging(line, "bold") for line in verdicts(self.found))
        yield Hanging(fit(self.found))
        yield Text()
        yield self._grid()
        yield Text()
        yield Hanging(f"{LEGEND}; {MARKED}", "dim")
        yield from (Hanging(f"- {printable(note)}", "dim") for note in self.found.notes)

    def _grid(self) -> FittedGrid:
        layers = [layer for layer, _ in self.found.layers()]
        return FittedGrid(
            [printable(layer.name) for layer in layers],
            "layer",
            [self._group(condition) for condition in JUDGED],
            before=[plain_column(("#",), [place(layer) for layer in layers])],
            width=self.width,
        )

    def _group(self, condition: Condition) -> list[Column]:
        """Return a condition's quantity on both sides, and the gap; what is not met is marked."""
        heads = (
            condition.name.upper(),
            COLUMNS[condition.quantity],
            range_met(condition, self.found.train.thresholds),
        )
        sides: list[list[Cell]] = [
            [_side(layer, condition) for layer in report.layers]
            for report in (self.found.train, self.found.test)
        ]
        gaps = [gaps.get(condition.quantity) for _, gaps in self.found.layers()]
        shown: list[Cell] = [
            ((_gap_text(gap), PURPLE if gap is not None and _is_clear(gap) else ""),)
            for gap in gaps
        ]
        return [
            Column((head, name), cells)
            for head, name, cells in zip(heads, (*SIDES, "gap"), (*sides, shown), strict=True)
        ]


LEGEND = (
    "each quantity on train, on test, and the gap (test less train) with its standard error; !"
    " where it is more than two of these"
)

MARKED = " · ".join(f"{m} {a.value}" for a, (m, _) in FAILURES.items() if a is not Answer.MET)


def verdicts(found: TrainTest) -> list[str]:
    """Return the verdict on each set of samples."""
    texts = (found.train.verdict.text, found.test.verdict.text)
    return [printable(f"{side}: {text}") for side, text in zip(SIDES, texts, strict=True)]


def fit(found: TrainTest) -> str:
    """Say how well the network fits each set of samples."""
    r2, mse = found.model.get("r2"), found.model.get("mse")
    parts = [f"{found.train.n_samples} and {found.test.n_samples} samples"]
    if r2 is not None:
        parts.append(f"R² {r_squared(r2.train)} and {r_squared(r2.test)}, gap {_difference(r2)}")
    if mse is not None:
        parts.append(f"MSE {mse.train:.3g} and {mse.test:.3g}, gap {_difference(mse)}")
    return " · ".join(parts)


def _head(conditions: Sequence[Condition]) -> list[str]:
    columns = [COLUMNS[condition.quantity] for condition in conditions]
    return ["#", "layer", *(cell for name in columns for cell in (name, "test", "gap"))]


def _rows(found: TrainTest, conditions: Sequence[Condition]) -> Iterator[list[str]]:
    others = {layer.name: layer for layer in found.test.layers}
    for layer, gaps in found.layers():
        cells = [place(layer), printable(layer.name)]
        for condition in conditions:
            for one in (layer, others[layer.name]):
                mark = "" if one.step is None else f" {MARKS[one.answers[condition.name]][0]}"
                cells.append(f"{_value(one, condition)}{mark}")
            cells.append(_gap_text(gaps.get(condition.quantity)))
        yield cells


def _side(layer: LayerResult, condition: Condition) -> Cell:
    answer = Answer.MET if layer.step is None else layer.answers[condition.name]
    mark, style = FAILURES[answer]
    return ((f"{_value(layer, condition)} {mark}", style),)


def _value(layer: LayerResult, condition: Condition) -> str:
    quantity = condition.quantity
    return number(layer.metrics.get(quantity), ENTRIES[quantity].digits)


def _gap_text(gap: Gap | None) -> str:
    return "—" if gap is None else _difference(gap)


def _difference(gap: Gap) -> str:
    error = gap.standard_error
    if error is None:
        return f"{gap.value:+.2g}"
    return f"{gap.value:+.2g} ±{error:.1g}" + " !" * _is_clear(gap)


def _is_clear(gap: Gap) -> bool:
    return gap.standard_error is not None and abs(gap.value) > CLEAR * gap.standard_error


def _csv(found: TrainTest) -> str:
    """Return a row per layer and quantity."""
    head = ("name", "quantity", "train", "test", "gap", "standard_error")
    rows = (
        (layer.name, quantity, gap.train, gap.test, gap.value, gap.standard_error)
        for layer, gaps in found.layers()
        for quantity, gap in gaps.items()
    )
    return csv_text([head, *rows])


def _markdown(found: TrainTest) -> str:
    head = _head(JUDGED)
    lines = [
        *(f"- **{escaped(line)}**" for line in verdicts(found)),
        "",
        escaped(fit(found)),
        "",
        markdown_row(head),
        markdown_row("---" if column == "layer" else "---:" for column in head),
        *(markdown_row([row[0], code(row[1]), *row[2:]]) for row in _rows(found, JUDGED)),
        "",
        escaped(LEGEND),
        "",
        *(f"- {escaped(note)}" for note in found.notes),
    ]
    return "\n".join(lines).rstrip() + "\n"
