"""A network on two sets of samples as text: the verdict on each, and the gap layer by layer."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from nrcscan.comparing.against import Gap, TrainTest
from nrcscan.metrics.quantities import COLUMNS, ENTRIES, JUDGED, Condition
from nrcscan.options.choices import Format
from nrcscan.reporting.markdown import escaped, markdown_row
from nrcscan.reporting.marks import MARKS
from nrcscan.reporting.numbers import number, plain
from nrcscan.reporting.place import place
from nrcscan.wording import printable, r_squared

SIDES = ("train", "test")
CLEAR = 2.0
"""A gap of so many of its standard errors is shown as one."""


def render(found: TrainTest, form: Format) -> str:
    """Return it as plain text in the given format, ending in a newline."""
    if form == "json":
        return json.dumps(found.to_dict(), indent=2, allow_nan=False) + "\n"
    if form == "csv":
        return _csv(found)
    if form == "md":
        return _markdown(found)
    return plain(BothSides(found))


@dataclass(frozen=True)
class BothSides:
    """What `nrcscan report --against` shows: as many conditions side by side as fit."""

    found: TrainTest

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in verdicts(self.found):
            yield Text(line, style="bold")
        yield Text(fit(self.found))
        for conditions in self._blocks(options.max_width):
            yield self._grid(conditions)
        yield Text(LEGEND, style="dim")
        for note in self.found.notes:
            yield Text(f"- {printable(note)}", style="dim")

    def _blocks(self, width: int) -> Iterator[list[Condition]]:
        """Yield the conditions, as many at a time as stand side by side."""
        block: list[Condition] = []
        for condition in JUDGED:
            if block and self._width([*block, condition]) > width:
                yield block
                block = []
            block.append(condition)
        yield block

    def _width(self, conditions: Sequence[Condition]) -> int:
        rows = [_head(conditions), *_rows(self.found, conditions)]
        return sum(max(len(row[i]) for row in rows) + 1 for i in range(len(rows[0]))) + 1

    def _grid(self, conditions: Sequence[Condition]) -> Table:
        grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        for column in _head(conditions):
            left = column == "layer"
            grid.add_column(
                column, justify="left" if left else "right", no_wrap=not left, overflow="fold"
            )
        for row in _rows(self.found, conditions):
            grid.add_row(*(Text(cell) for cell in row))
        return grid


LEGEND = (
    "each quantity on train, on test, and the gap (test less train) with its standard error; !"
    " where it is more than two of these"
)


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
    columns = [COLUMNS[condition.beside] for condition in conditions]
    return ["#", "layer", *(cell for name in columns for cell in (name, "test", "gap"))]


def _rows(found: TrainTest, conditions: Sequence[Condition]) -> Iterator[list[str]]:
    others = {layer.name: layer for layer in found.test.layers}
    for layer, gaps in found.layers():
        cells = [place(layer), printable(layer.name)]
        for condition in conditions:
            quantity = condition.quantity
            digits = ENTRIES[quantity].digits
            for one in (layer, others[layer.name]):
                mark = "" if one.step is None else f" {MARKS[one.answers[condition.name]][0]}"
                cells.append(f"{number(one.metrics.get(quantity), digits)}{mark}")
            gap = gaps.get(quantity)
            cells.append("—" if gap is None else _difference(gap))
        yield cells


def _difference(gap: Gap) -> str:
    error = gap.standard_error
    if error is None:
        return f"{gap.value:+.2g}"
    clear = " !" if abs(gap.value) > CLEAR * error else ""
    return f"{gap.value:+.2g} ±{error:.1g}{clear}"


def _csv(found: TrainTest) -> str:
    """Return a row per layer and quantity."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["name", "quantity", "train", "test", "gap", "standard_error"])
    for layer, gaps in found.layers():
        for quantity, gap in gaps.items():
            error = "" if gap.standard_error is None else repr(gap.standard_error)
            numbers = [repr(value) for value in (gap.train, gap.test, gap.value)]
            writer.writerow([printable(layer.name), quantity, *numbers, error])
    return buffer.getvalue()


def _markdown(found: TrainTest) -> str:
    head = _head(JUDGED)
    lines = [
        *(f"- **{escaped(line)}**" for line in verdicts(found)),
        "",
        escaped(fit(found)),
        "",
        markdown_row(head),
        markdown_row("---" if column == "layer" else "---:" for column in head),
        *(markdown_row([row[0], f"`{row[1]}`", *row[2:]]) for row in _rows(found, JUDGED)),
        "",
        escaped(LEGEND),
        "",
        *(f"- {escaped(note)}" for note in found.notes),
    ]
    return "\n".join(lines).rstrip() + "\n"
