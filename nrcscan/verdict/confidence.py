"""How often a verdict would be the same on samples drawn anew: a bootstrap over blocks of them.

What a quantity is without each block tells how much each adds to it, to first order; a draw takes
as many blocks as there are, some of them twice. All quantities of all layers are drawn together,
because it is the same samples that they are of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrcscan.metrics.quantities import JUDGED, Condition
from nrcscan.options.report_options import Thresholds
from nrcscan.verdict.answers import Answer, within_chance
from nrcscan.verdict.depth import Step
from nrcscan.verdict.onset import Shape, onset, shape

DRAWS = 200
"""Draws of blocks: a share of them is known to 3.5 % at worst."""

SEED = 20260
"""Of the draws: the same file gives the same shares."""


@dataclass(frozen=True)
class Confidence:
    """The shares of draws in which a network reads as it does, or otherwise.

    Attributes:
        reading: of the verdict: the layer from which the network is collapsed, or its state.
        share: of draws that read the same, 0 … 1.
        others: what the other draws read → their share, the largest first; the name of a layer
            stands for collapse from there on.
        draws: how many there were.
    """

    reading: str
    share: float
    others: dict[str, float]
    draws: int = DRAWS

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def confidence(steps: Sequence[Step], thresholds: Thresholds, same: str) -> Confidence | None:
    """Return how often draws read the same, or None without blocks.

    Args:
        steps: in depth.
        thresholds: what counts as met; in a draw it is its values alone that decide.
        same: the reading of the verdict.
    """
    blocks = {len(v) for step in steps for v in step.metrics.without_block.values()}
    if len(blocks) != 1:
        return None
    (n_blocks,) = blocks
    rng = np.random.default_rng(SEED)
    taken = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks), size=DRAWS)
    met = np.stack([_met(step, thresholds, taken) for step in steps], axis=1)
    read = Counter(_reading(steps, row) for row in met)
    others = {name: n / DRAWS for name, n in read.most_common() if name != same}
    return Confidence(same, read[same] / DRAWS, others)


def _met(step: Step, thresholds: Thresholds, taken: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return in which draws all conditions are met at a step."""
    met = np.ones(len(taken), bool)
    for condition in JUDGED:
        if step.answers[condition.name] is Answer.NOT_JUDGED:
            return np.zeros(len(taken), bool)
        values = _drawn(step, condition, taken)
        met &= condition.inside(values, thresholds)
        met &= np.logical_not(within_chance(condition.quantity, values, step.metrics))
    return met


def _drawn(step: Step, condition: Condition, taken: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the quantity of a condition in every draw, the same in all where it has no error."""
    value = step.metrics.values[condition.quantity]
    without = step.metrics.without_block.get(condition.quantity)
    if without is None:
        return np.full(len(taken), value)
    n = len(without)  # scaled so that the draws spread as the jackknife over blocks says
    added = (without.mean() - without) * np.sqrt((n - 1) / n)
    return np.asarray(value + (taken - 1) @ added)


def _reading(steps: Sequence[Step], met: NDArray[np.bool_]) -> str:
    return reading(steps, [Answer.MET if one else Answer.NOT_MET for one in met])


def reading(steps: Sequence[Step], answers: Sequence[Answer]) -> str:
    """Return what steps read as: the layer from which they are collapsed, or their shape."""
    start, found = onset(answers), shape(answers)
    return steps[start].name if found is Shape.TO_THE_OUTPUT and start is not None else found.value
