"""What ends a pass: the network's predictions, what is noted of them, how the file came about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from nrcscan.acts_file.kept_in_memory import KeptInMemory, TakesActs
from nrcscan.acts_file.schema import OutputStatistics
from nrcscan.errors import InputError
from nrcscan.extracting.accumulate import Accumulated
from nrcscan.extracting.notes_on_network import off_scale, without_predictions
from nrcscan.extracting.plan_passes import PassPlan
from nrcscan.inputs.datasets.batches import Dataset
from nrcscan.network.predictions import to_numpy
from nrcscan.reporting.make_report import report_of
from nrcscan.statistics.sketch import Sketch

WIDE_HEAD = 2048
"""Of a wider head only a report says it, which takes the eigenvectors of its features anyway."""


def ended(
    passes: PassPlan,
    dataset: Dataset,
    accumulated: Accumulated,
    provenance: dict[str, Any],
    writer: TakesActs,
    note: Callable[[str], None],
    notes: list[str],
) -> OutputStatistics:
    """Write what the network predicted and how the file came about, and return the former.

    Args:
        passes: what was measured, and how.
        dataset: on which samples.
        accumulated: what the last pass has added up.
        provenance: how the file came about; takes the notes.
        writer: takes what is known.
        note: takes one more note.
        notes: all of them.

    Raises:
        InputError: the values' squares overflow float64.
    """
    with overflow(dataset):
        outcome = accumulated.output()
    if outcome.predictions is None:
        note(without_predictions(asked=not passes.settings["predictions"]))
    for text in off_scale(outcome.r2, accumulated, indices=passes.run.indices):
        note(text)
    provenance["notes"] = list(notes)
    writer.finish(outcome, provenance, passes.feature_epsilon, passes.epsilon)
    return outcome


@contextmanager
def overflow(dataset: Dataset) -> Iterator[None]:
    """Turn values whose squares overflow into one message."""
    try:
        yield
    except ValueError as error:
        raise InputError(f"{dataset.name}: {error}; rescale inputs and targets") from error


def doubts_of(
    passes: PassPlan,
    accumulated: Accumulated,
    outcome: OutputStatistics,
    provenance: dict[str, Any],
) -> tuple[str, ...]:
    """Return why an inferred network may be another than was trained, as its report will."""
    plan = passes.plan
    at = plan.records[-1].position
    moments = accumulated.positions.get(at)
    if moments is None or plan.widths[at] > WIDE_HEAD:
        return ()
    head = KeptInMemory()
    last = replace(plan.records[-1], position=0)
    head.add_layer(last, to_numpy(plan.weights[-1]), plan.beside[-1])
    found = moments.sketched() if isinstance(moments, Sketch) else moments.statistics()
    own = plan.per_token[at]
    errors = accumulated.token_errors(at)
    head.add_statistics(0, found, outcome, per_token=own, squared_error=errors)
    head.finish(outcome, provenance, passes.feature_epsilon, passes.epsilon)
    return report_of(head, signal_dim="t", convention="default", thresholds=None).doubts
