"""The runs of a comparison, their layers beside each other, and in what runs are not alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nrcscan.reporting.sentences import in_words
from nrcscan.verdict.answers import Answer
from nrcscan.verdict.in_document import at_the_end, step_of
from nrcscan.wording import listed, printable, r_squared


@dataclass(frozen=True, repr=False)
class Run:
    """One network of a comparison.

    Attributes:
        label: short, unlike every other one.
        path: the file or scan folder, and in that the checkpoint's.
        epoch: of a scan's checkpoint, if it is known.
        n_samples: N; None where a scan does not say.
        signal_dim: k; None where a scan does not say.
        model: mse, r2, learned, as in the JSON report.
        verdict: on it, as in the JSON report.
        onset: condition, or "all" → layer from which it is met through to the output, or None.
        layers: name → layer of the JSON report, in execution order.
        data: fingerprints of the samples; empty where there are none.
        judgement: convention and thresholds of its report, by name; empty if a scan is silent.
        of_scan: whether it is a scan's checkpoint.
    """

    label: str
    path: str
    epoch: int | None
    n_samples: int | None
    signal_dim: int | None
    model: Mapping[str, Any]
    verdict: Mapping[str, Any]
    onset: Mapping[str, str | None]
    layers: Mapping[str, Mapping[str, Any]]
    data: frozenset[object]
    judgement: Mapping[str, Any]
    of_scan: bool = False

    def __repr__(self) -> str:
        return f"<Run {printable(self.label)}: {printable(self.verdict['text'])}>"

    def step(self, condition: str) -> int | None:
        """Return the step in depth, from 1, where a condition's onset is; None if it has none."""
        return step_of(list(self.layers.values()), self.onset[condition])

    def at_the_end(self, condition: str) -> Answer:
        """Return the answer for a condition at the last step."""
        return at_the_end(list(self.layers.values()), condition)


@dataclass(frozen=True)
class Row:
    """A layer across the runs.

    Attributes:
        name: of the layer.
        step: its place in depth as the verdict counts it, from 1; None where the runs disagree, or
            the verdict leaves it out.
        differs: the conditions that hold in one run and not in another; runs that have learned
            nothing do not count beside two that have.
    """

    name: str
    step: int | None
    differs: tuple[str, ...]


def unlike(runs: Sequence[Run], rows: Sequence[Row]) -> Iterator[str]:
    """Yield what keeps runs from being compared number by number."""
    useless = [
        f"{run.label} (R² {'undefined' if (r2 := run.model['r2']) is None else r_squared(r2)})"
        for run in runs
        if run.model["learned"] is False
    ]
    if useless:
        verb = "has" if len(useless) == 1 else "have"
        yield f"{listed(useless)} {verb} learned nothing: such numbers describe no useful network"
    if sizes := _differing(runs, [run.signal_dim for run in runs]):
        yield f"k differs: {sizes}: their noise components leave out unlike numbers of directions"
    if counts := _differing(runs, [run.n_samples for run in runs]):
        yield f"the number of samples differs: {counts}"
    if len({run.data for run in runs if run.data}) > 1:
        yield "the runs were measured on different data (by their SHA-256)"
    yield from _judged_otherwise(runs)
    if not any(all(row.name in run.layers for run in runs) for row in rows):
        yield "no layer is in all runs: their names do not match, and nothing is compared"
        return
    widths: dict[str, list[str]] = {}
    for row in rows:
        found = [layer["width"] if (layer := run.layers.get(row.name)) else None for run in runs]
        if told := _differing(runs, found):
            widths.setdefault(told, []).append(row.name)
    for told, names in widths.items():
        yield f"{in_words(names)}: width differs: {told}"
    for run in runs:
        if own := [
            row.name
            for row in rows
            if row.name in run.layers
            and not any(row.name in r.layers for r in runs if r is not run)
        ]:
            yield f"{in_words(own)}: in {run.label} alone"


def _judged_otherwise(runs: Sequence[Run]) -> Iterator[str]:
    """Yield every option of the reports that differs."""
    for name in dict.fromkeys(name for run in runs for name in run.judgement):
        told = [run.judgement.get(name, "none") if run.judgement else None for run in runs]
        if differing := _differing(runs, told):
            yield f"{name} differs: {differing}"


def _differing(runs: Sequence[Run], values: Sequence[object]) -> str:
    """Say which runs have which value; empty where all that have one have the same."""
    groups: dict[object, list[str]] = {}
    for run, value in zip(runs, values, strict=True):
        if value is not None:
            groups.setdefault(value, []).append(run.label)
    if len(groups) < 2:
        return ""
    return ", ".join(f"{value} in {listed(who)}" for value, who in groups.items())
