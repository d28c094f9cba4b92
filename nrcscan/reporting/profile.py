"""What figures show of a network, whether a report has it or a scan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from nrcscan.drawing.shapes import Axis, Face
from nrcscan.drawing.words import NAME
from nrcscan.metrics.quantities import ENTRIES
from nrcscan.reporting.place import INPUTS
from nrcscan.reporting.report_document import Report
from nrcscan.short_names import common_prefix, shortened
from nrcscan.verdict.answers import Answer

LayerFields = Mapping[str, Any]
"""A layer as the JSON report has it."""

FACES = {Answer.MET: Face.FULL, Answer.UNDECIDED: Face.HALF, Answer.NOT_MET: Face.HOLLOW}
"""How a value is marked whose condition has an answer."""

MARK_WORDS = {
    **{face: answer.value for answer, face in FACES.items()},
    Face.CROSS: "not judged",
    Face.UNKNOWN: "undefined",
}

LONGEST_LABEL = 40


def face_of(layer: LayerFields, condition: str) -> Face:
    """Return how a layer's value is marked; what the verdict leaves out is not judged."""
    answer = Answer(layer["answers"][condition])
    return Face.CROSS if layer["step"] is None else FACES.get(answer, Face.CROSS)


@dataclass(frozen=True)
class Profile:
    """One network over its depth.

    Attributes:
        label: what the key calls it; networks of one label are drawn as one curve.
        layers: in execution order.
        verdict: on it, as in the JSON report.
        thresholds: by name; of those that are not known nothing is drawn.
        signal_dim: k; None where it is not known.
        target_rank: r, likewise.
        target_stable_rank: of the targets, likewise.
        spectra: layer → eigenvalues of its features' covariance, descending, as far as known.
    """

    label: str
    layers: Sequence[LayerFields]
    verdict: Mapping[str, Any]
    thresholds: Mapping[str, float]
    signal_dim: int | None
    target_rank: int | None = None
    target_stable_rank: float | None = None
    spectra: Mapping[str, Sequence[float]] = field(default_factory=dict)


def profile(report: Report, label: str) -> Profile:
    """Return what figures show of a report."""
    return Profile(
        label=label,
        layers=[layer.to_dict() for layer in report.layers],
        verdict=report.verdict.to_dict(),
        thresholds=asdict(report.thresholds),
        signal_dim=report.signal_dim,
        target_rank=report.target_rank,
        target_stable_rank=report.target_stable_rank,
        spectra={layer.name: layer.metrics.eigenvalues.tolist() for layer in report.layers},
    )


def share_axis(quantity: str) -> Axis:
    """Return the axis of a share of a whole: logarithmic where collapse is towards 0."""
    if ENTRIES[quantity].worse == "higher":
        return Axis(log=True, ends=(0.1, 1.0), bounds=(1e-18, 1.0))
    return Axis(ends=(-0.04, 1.04), bounds=(-0.04, 1.04))


@dataclass(frozen=True)
class Places:
    """Where in a figure every layer is.

    Attributes:
        axis: along which they are.
        places: for every network, layer → its place.
    """

    axis: Axis
    places: Sequence[Mapping[str, int]]


def depth_of(profiles: Sequence[Profile]) -> Places:
    """Return where layers are: by name where all networks have the same, else by their steps."""
    names = [str(layer["name"]) for layer in profiles[0].layers]
    if all([layer["name"] for layer in other.layers] == names for other in profiles):
        shared = common_prefix(names, NAME)
        label = f"layer ({shortened(shared, 30)}*)" if shared else "layer"
        places = {name: place for place, name in enumerate(names)}
        shown = tuple(name.removeprefix(shared) for name in names)
        return Places(Axis(label, names=shown), [places] * len(profiles))
    deepest = max(layer["step"] or 0 for p in profiles for layer in p.layers)
    inputs = any(layer.get("inputs") for p in profiles for layer in p.layers)
    named = [*([INPUTS] if inputs else []), *map(str, range(1, deepest + 1))]
    by_step: list[dict[str, int]] = []
    for one in profiles:
        found: dict[str, int] = {}
        for layer in one.layers:
            if layer["step"] or layer.get("inputs"):
                found[layer["name"]] = (layer["step"] or 0) - (not inputs)
        by_step.append(found)
    return Places(Axis("step in depth", names=tuple(named)), by_step)
