"""What a notebook shows of a comparison."""

from __future__ import annotations

from nrcscan.comparing.compare import Comparison
from nrcscan.comparing.runs import Row, Run
from nrcscan.metrics.quantities import COLUMNS, CONDITIONS
from nrcscan.reporting.marks import LEGEND, MARKS
from nrcscan.reporting.notebook import shown, small, table
from nrcscan.reporting.numbers import number
from nrcscan.verdict.answers import Answer
from nrcscan.wording import r_squared

QUANTITY = "noise_component"
"""What the table shows of every layer."""


def of_comparison(comparison: Comparison) -> str:
    """Return a comparison: a verdict per run, and the runs side by side, layer by layer."""
    runs = comparison.runs
    rows = [
        [
            "" if row.step is None else str(row.step),
            row.name,
            *(_cell(run, row) for run in runs),
            ", ".join(condition.upper() for condition in row.differs),
        ]
        for row in comparison.rows
    ]
    legend = f"{COLUMNS[QUANTITY]}, then NRC1 to NRC4: {LEGEND}"
    return shown(
        [f"{run.label}: {run.verdict['text']}" for run in runs],
        ["; ".join(f"{run.label}: R² {r_squared(run.model['r2'])}" for run in runs)],
        table(
            ["#", "layer", *(run.label for run in runs), "differ"],
            rows,
            left=("layer", "differ"),
        )
        + small(legend),
        list(comparison.notes),
    )


def _cell(run: Run, row: Row) -> str:
    layer = run.layers.get(row.name)
    if layer is None:
        return ""
    value = number(layer[QUANTITY])
    if layer["step"] is None:
        return value
    return f"{value} {''.join(MARKS[Answer(layer['answers'][c])][0] for c in CONDITIONS)}"
