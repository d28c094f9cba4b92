"""How well each target is predicted, and what is unusual about the targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nrcscan.acts_file.kept_in_memory import MeasuredActs
from nrcscan.metrics.quantities import learned
from nrcscan.wording import listed


def r2_of_each(acts: MeasuredActs) -> tuple[float | None, ...]:
    """Return the network's R² on each target; None where there is none."""
    variances = np.diagonal(acts.target_covariance)
    if acts.predictions is None:
        return (None,) * len(variances)
    errors = acts.predictions.squared_error
    return tuple(
        1 - float(error / variance) if variance > 0 else None
        for error, variance in zip(errors, variances, strict=True)
    )


def not_predicted(each: Sequence[float | None], r2: float | None) -> list[str]:
    """Say which targets the network does not predict, although it predicts others."""
    missed = {column: found for column, found in enumerate(each) if found is not None}
    missed = {column: found for column, found in missed.items() if not learned(found)}
    if not missed or not learned(r2):
        return []
    columns, values = (
        listed(missed),
        listed(f"{round(value, 2) + 0.0:.2f}" for value in missed.values()),
    )
    which, are = ("column", "is") if len(missed) == 1 else ("columns", "are")
    return [
        f"target {which} {columns} (from 0) {are} not predicted (R² {values}); the mean over"
        " targets hides it"
    ]


def notes_on_targets(acts: MeasuredActs, target_rank: int, k: int, source: str) -> list[str]:
    """Say what is unusual about the targets."""
    variances = np.diagonal(acts.target_covariance)
    constant = [i for i, variance in enumerate(variances) if variance == 0]
    t = len(variances)
    notes = []
    if len(constant) == t:
        notes.append("no target ever varies: there is nothing to collapse onto")
    elif constant:
        columns = listed(constant)
        notes.append(f"target column {columns} of {t} (from 0) never varies and adds no signal")
    if 0 < target_rank < t and source == "t":
        notes.append(
            f"the targets have rank {target_rank}, less than k = {k}: --signal-dim auto takes"
            " the rank"
        )
    return notes
