"""The steps of a network in depth, as the verdict judges them.

A step is what reads the same features, on the main branch. The network's inputs are data and no
step, shortcuts are left out, and what was not measured is a step that cannot be judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nrcscan.acts_file.schema import LayerRecord, Unmeasured
from nrcscan.metrics.layer_values import LayerMetrics
from nrcscan.metrics.quantities import CONDITIONS
from nrcscan.options.report_options import Thresholds
from nrcscan.verdict.answers import Answer, answers, at_position, together


@dataclass(frozen=True)
class Step:
    """A step in depth.

    Attributes:
        names: of its layers, in execution order.
        number: its place among the steps that were measured, from 1; 0 for one that was not.
        metrics: what its layers share, and the mean of what depends on their weights.
        answers: for every condition.
        unmeasured: why it was not measured, where it was not.
    """

    names: tuple[str, ...]
    number: int
    metrics: LayerMetrics
    answers: dict[str, Answer]
    unmeasured: Unmeasured | None = None

    @property
    def name(self) -> str:
        """The first of its layers."""
        return self.names[0]

    @property
    def together(self) -> Answer:
        """Whether all four conditions are met."""
        return together(self.answers.values())


def are_inputs(records: Sequence[LayerRecord]) -> list[bool]:
    """Say of every layer whether its features are the network's inputs.

    Where a file of before does not tell, those of the first position are.
    """
    told = any(record.reads_inputs is not None for record in records)
    return [
        record.reads_inputs is True if told else record.position == records[0].position
        for record in records
    ]


def steps(
    records: Sequence[LayerRecord],
    metrics: Sequence[LayerMetrics],
    unmeasured: Sequence[Unmeasured],
    thresholds: Thresholds,
    *,
    learned: Answer,
) -> list[Step]:
    """Return the steps of a network, from its inputs to its output.

    Args:
        records: of its layers, in execution order.
        metrics: of each of them.
        unmeasured: the weight layers that are not among them.
        thresholds: what counts as met.
        learned: whether the network predicts anything.
    """
    layers = list(zip(records, metrics, are_inputs(records), strict=True))
    missed = [one for one in unmeasured if not (one.shortcut or one.reads_inputs)]
    waiting = sorted(missed, key=lambda one: one.position)
    found: list[Step] = []
    number = 0
    for position in sorted({record.position for record in records}):
        while waiting and waiting[0].position <= position:
            found.append(_not_measured(waiting.pop(0)))
        here = [
            (record, values)
            for record, values, inputs in layers
            if record.position == position and not record.shortcut and not inputs
        ]
        if here:
            number += 1
            own = at_position([values for _, values in here])
            judged = answers(own, thresholds, learned=learned)
            found.append(Step(tuple(record.name for record, _ in here), number, own, judged))
    return [*found, *map(_not_measured, waiting)]


def _not_measured(one: Unmeasured) -> Step:
    unknown = dict.fromkeys(CONDITIONS, Answer.NOT_JUDGED)
    return Step((one.name,), 0, LayerMetrics(), unknown, one)
