"""From a file to the measures beside those of Deep NRC: `--measures all`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrcscan.acts_file.kept_in_memory import MeasuredActs
from nrcscan.errors import UsageError
from nrcscan.extras import to_install
from nrcscan.metrics import neighbouring_formulas as formulas
from nrcscan.metrics.directions import Spectrum
from nrcscan.metrics.intrinsic_dimension import chosen_rows, intrinsic_dimension
from nrcscan.metrics.layer_values import LayerMetrics
from nrcscan.metrics.neighbouring import NAMES, OF_LAST
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.statistics.unit_features import UnitFeatures

SHOWN = 64
"""Entries of the explained variance that a report holds at most."""

NOT_STORED = "the features are not stored: extract without --no-activations"
SKETCH = "a sketch knows the top directions alone: extract without --sketch"
NO_UNITS = "the pass did not take it: extract with --measures all, and without --sketch"
NOT_LAST = "of the last layer alone"


@dataclass
class LayerMeasures:
    """The neighbouring measures of one layer.

    Attributes:
        values: measure → number; every name of the catalogue is here or in `undefined`, but for
            `explained_variance`.
        undefined: measure → why it is not a number here.
        explained_variance: for k = 1, 2, …, the first ones; empty where it is undefined.
        n_eigenvalues: how many there are in all.
        gamma: the γ of `nrc3a`, in the targets' unit squared; None where that is undefined.
        notes: what a reader should know about the numbers.
    """

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    explained_variance: list[float] = field(default_factory=list)
    n_eigenvalues: int = 0
    gamma: float | None = None
    notes: list[str] = field(default_factory=list)

    def put(self, name: str, found: float | str) -> None:
        """Take a number, or why there is none."""
        if isinstance(found, str):
            self.undefined[name] = found
        else:
            self.values[name] = found

    def to_dict(self) -> dict[str, Any]:
        """Return the measures as JSON has them."""
        named: dict[str, Any] = {name: self.values.get(name) for name in NAMES}
        named["explained_variance"] = self.explained_variance or None
        return {
            **named,
            "n_eigenvalues": self.n_eigenvalues,
            "gamma": self.gamma,
            "undefined": self.undefined,
            "notes": self.notes,
        }


@dataclass(frozen=True)
class Neighbouring:
    """The neighbouring measures of a report.

    Attributes:
        layers: in execution order.
        targets: the intrinsic dimension of the targets, or why there is none.
    """

    layers: tuple[LayerMeasures, ...]
    targets: float | str

    @property
    def target_dimension(self) -> float | None:
        """The intrinsic dimension of the targets, or None."""
        return None if isinstance(self.targets, str) else self.targets

    def put_into(self, report: dict[str, Any]) -> None:
        """Put the measures into the JSON report."""
        for layer, found in zip(report["layers"], self.layers, strict=True):
            layer["measures"] = found.to_dict()
        undefined = {"intrinsic_dimension": self.targets} if isinstance(self.targets, str) else {}
        report["targets"]["measures"] = {
            "intrinsic_dimension": self.target_dimension,
            "undefined": undefined,
        }


def neighbouring(
    acts: MeasuredActs,
    metrics: Sequence[LayerMetrics],
    spectrum_at: Callable[[int], Spectrum],
    weight: Array | None,
) -> Neighbouring:
    """Return the neighbouring measures of what was measured.

    Args:
        acts: what was measured.
        metrics: of every layer, in execution order.
        spectrum_at: returns the spectrum of the features at a position.
        weight: of the last layer, as a matrix (rows, d); None where it is not known.

    Raises:
        InputError: the file cannot be read.
        UsageError: scikit-dimension is needed, and not installed.
    """
    _require_estimator(acts)
    features: dict[int, Spectrum | str] = {}
    at: dict[int, LayerMeasures] = {}
    for record, found in zip(acts.layers, metrics, strict=True):
        if (position := record.position) not in at:
            why = found.undefined.get("feature_stable_rank", "the features do not vary")
            features[position] = spectrum_at(position) if found.varies else why
            at[position] = _of_features(acts, position, features[position])
    layers = [deepcopy(at[record.position]) for record in acts.layers]
    for layer in layers[:-1]:
        layer.undefined |= dict.fromkeys(OF_LAST, NOT_LAST)
    _put_last(layers[-1], acts, features[acts.layers[-1].position], weight)
    targets = acts.target_rows() if acts.has_activations else None
    return Neighbouring(tuple(layers), _dimension(targets, acts.n_samples))


def _require_estimator(acts: MeasuredActs) -> None:
    """Refuse to begin what cannot be ended.

    Raises:
        UsageError: the package that estimates intrinsic dimensions is not installed.
    """
    if not acts.has_activations:
        return
    try:
        import skdim.id  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--measures all: the intrinsic dimension needs scikit-dimension;"
            f" {to_install('measures')}"
        ) from error


def _of_features(acts: MeasuredActs, position: int, features: Spectrum | str) -> LayerMeasures:
    """Return what the features of a position come to; that they do not vary is a reason."""
    found = LayerMeasures(n_eigenvalues=len(acts.variances(position)))
    if isinstance(features, str):
        names = [name for name in NAMES if name not in OF_LAST]
        found.undefined |= dict.fromkeys(names, features)
        return found
    found.explained_variance = formulas.explained_variance(features)[:SHOWN].tolist()
    statistics = acts.statistics(position)
    whole = isinstance(statistics, Statistics)
    for rank in (formulas.effective_rank, formulas.participation_ratio):
        found.put(rank.__name__, rank(features.values) if whole else SKETCH)
    rows = acts.activation_rows(position) if acts.has_activations else None
    found.put("intrinsic_dimension", _dimension(rows, statistics.n_samples, acts.epsilon))
    return found


def _dimension(rows: Iterator[NDArray[Any]] | None, n: int, epsilon: float = 0.0) -> float | str:
    """Return the intrinsic dimension of n samples, or why there is none."""
    return NOT_STORED if rows is None else intrinsic_dimension(_sampled(rows, n), epsilon)


def _sampled(pieces: Iterator[NDArray[Any]], n: int) -> NDArray[Any]:
    """Return the rows of n that are looked at."""
    wanted, seen, kept = chosen_rows(n), 0, []
    for rows in pieces:
        inside = wanted[(wanted >= seen) & (wanted < seen + len(rows))]
        kept.append(rows[inside - seen])
        seen += len(rows)
    return np.concatenate(kept)


def _put_last(
    layer: LayerMeasures,
    acts: MeasuredActs,
    features: Spectrum | str,
    weight: Array | None,
) -> None:
    """Put what is of the last layer alone; features that do not vary are a reason."""
    units = _units(acts, features)
    if isinstance(features, str) or isinstance(units, str):
        layer.undefined |= {"nrc1a": str(units), "nrc2a": _no_rows(weight) or str(units)}
    else:
        layer.put("nrc1a", _nrc1a(units, features, len(acts.target_mean)))
        layer.put("nrc2a", _nrc2a(units, weight))
        if units.n_zero:
            layer.notes.append(
                f"{units.n_zero} of {units.n_zero + units.n_samples} features have norm 0 and no"
                " direction: nrc1a and nrc2a leave them out"
            )
    distance, layer.gamma = _nrc3a(weight, acts.target_covariance)
    layer.put("nrc3a", distance)


def _units(acts: MeasuredActs, features: Spectrum | str) -> UnitFeatures | str:
    """Return the last layer's features scaled to norm 1, or why there are none."""
    units = acts.last_units
    if isinstance(features, str):
        return features
    if units is None:
        return NO_UNITS
    return units if units.n_samples else "all features have norm 0, and no direction"


def _nrc1a(units: UnitFeatures, features: Spectrum, t: int) -> float | str:
    if units.n_samples <= t + 1:
        return f"{units.n_samples} samples have at most {units.n_samples - 1} directions"
    if len(units.mean) <= t:
        return f"width {len(units.mean)} leaves nothing beside t = {t} directions"
    return formulas.nrc1a(units, features, t)


def _nrc2a(units: UnitFeatures, weight: Array | None) -> float | str:
    if (why := _no_rows(weight)) is not None or weight is None:
        return str(why)
    rows = formulas.row_space(weight)
    if rows.shape[1] == len(rows):
        return f"the weight's rows span all {len(rows)} directions"
    return formulas.nrc2a(units, rows)


def _nrc3a(weight: Array | None, target_covariance: Array) -> tuple[float | str, float | None]:
    t = len(target_covariance)
    if t == 1:
        return "one target: any W has the shape", None
    if (why := _no_rows(weight)) is not None or weight is None:
        return str(why), None
    if len(weight) != t:
        return f"the weight has {len(weight)} rows for {t} targets", None
    if not target_covariance.any():
        return "the targets do not vary", None
    return formulas.nrc3a(weight, target_covariance)


def _no_rows(weight: Array | None) -> str | None:
    """Say why a weight has no rows to speak of, or None if it has."""
    if weight is None:
        return "the weight that acts on the features is not known"
    return None if weight.any() else "the weight is zero"
