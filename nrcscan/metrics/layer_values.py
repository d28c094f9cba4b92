"""What the quantities of a layer are computed from, and what they come to."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from nrcscan.metrics.chance_level import Chance
from nrcscan.metrics.directions import (
    Spectrum,
    WeightDirections,
    spectrum,
    top_weight_directions,
    weight_directions,
)
from nrcscan.metrics.error_bounds import Resolution
from nrcscan.metrics.quantities import COLUMNS, ENTRIES
from nrcscan.options.choices import Convention
from nrcscan.statistics.blocks import Blocks, Fits
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.statistics.sketch import Sketched

EXACT = Resolution()

FLATTENED = "the weight does not act on flattened features"


@dataclass(frozen=True)
class Setting:
    """What is the same for all layers of a network.

    Attributes:
        signal_dim: k.
        model_mse: the network's own MSE on the same samples, each as often as the layer has it;
            None without predictions.
        convention: "published" follows the authors' script where it differs.
        epsilon: machine epsilon of the arithmetic that made the features.
        target_rank: r, how many directions the targets have; None stands for k.
    """

    signal_dim: int
    model_mse: float | None
    convention: Convention = "default"
    epsilon: float = 0.0
    target_rank: int | None = None

    @property
    def published(self) -> bool:
        """Whether the authors' script is followed."""
        return self.convention == "published"


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer as it was measured; what takes long is computed when it is first asked for.

    Attributes:
        statistics: of the features that reach it, width d, beside the targets.
        features: the spectrum of their covariance.
        weight: W as a matrix (rows, d), see `input_matrix`; None when it does not act on
            these features, or not alone.
        setting: what it shares with the network's other layers.
        known: how well the covariance is known.
        no_weight: why W is None, where it is.
        blocks: of the samples; None where there are none.
    """

    statistics: Statistics | Sketched
    features: Spectrum
    weight: Array | None
    setting: Setting
    known: Resolution = EXACT
    no_weight: str = FLATTENED
    blocks: Blocks | None = None

    @property
    def target_variance(self) -> float:
        """Mean over the targets."""
        covariance = self.statistics.target_covariance
        return float(np.trace(covariance)) / len(covariance)

    @cached_property
    def directions(self) -> WeightDirections | None:
        """Input directions of the weight, of a wide one the top k; None if there are none."""
        if self.weight is None or not self.weight.any():
            return None
        if self.known.sketched:
            return top_weight_directions(self.weight, self.setting.signal_dim)
        return weight_directions(self.weight, self.setting.signal_dim)

    @property
    def fits(self) -> Fits | None:
        """Errors of linear fits without blocks of samples; None where there are none."""
        return None if self.blocks is None or self.setting.published else self.blocks.fits

    @cached_property
    def at_rank(self) -> Layer:
        """The same with the targets' rank r for k, where it is less; else this one itself."""
        rank = self.setting.target_rank
        if not rank or rank >= self.setting.signal_dim:
            return self
        other = replace(self, setting=replace(self.setting, signal_dim=rank))
        other.__dict__["directions"] = self.directions  # of more directions than it needs
        other.__dict__["predictors"] = self.predictors
        return other

    @cached_property
    def predictors(self) -> Spectrum:
        """The features as targets are predicted from them: about their mean, or as published."""
        if self.setting.published and isinstance(self.statistics, Statistics):
            mean = self.statistics.feature_mean
            return spectrum(self.statistics.feature_covariance + np.outer(mean, mean))
        return self.features

    @property
    def signal(self) -> Array:
        """The features' top directions that count (d, k at most), as columns."""
        return self.features.vectors[:, : min(self.setting.signal_dim, self.features.rank)]

    @property
    def gap(self) -> float | None:
        """(λ_c − λ_{c+1})/λ_1 of the c directions that count; None where there is no other one."""
        values, counted = self.features.values, self.signal.shape[1]
        if not 0 < counted < len(values):
            return None
        return float((values[counted - 1] - values[counted]) / values[0])

    @property
    def weight_signal(self) -> Array:
        """The weight's top input directions that count (d, k at most), as columns."""
        assert self.directions is not None
        return self.directions.vectors[:, : min(self.setting.signal_dim, self.directions.rank)]


class Quantities:
    """Gives every quantity of a layer as an attribute and as an item, by its name.

    One that is not defined is None, either way; `undefined` of its name says why.
    """

    def get(self, quantity: str) -> float | None:
        """Return a quantity, or None where it is undefined."""
        raise NotImplementedError

    def __getitem__(self, quantity: str) -> float | None:
        """Return a quantity, or None where it is undefined.

        Raises:
            KeyError: there is none of this name.
        """
        if quantity not in ENTRIES:
            raise KeyError(f"there is no quantity {quantity!r}{_nearest(quantity)}")
        return self.get(quantity)

    def __getattr__(self, name: str) -> float | None:
        if name not in ENTRIES:
            of = type(self).__name__
            raise AttributeError(f"{of!r} has no attribute {name!r}{_nearest(name)}", name=name)
        return self.get(name)

    def __dir__(self) -> list[str]:
        """List the quantities too."""
        return sorted({*super().__dir__(), *ENTRIES})

    def in_short(self) -> str:
        """Return the quantities that tables show, on one line."""
        shown = [(q, self.get(q)) for q in COLUMNS]
        return ", ".join(f"{q}={'—' if v is None else f'{v:.3g}'}" for q, v in shown)


def _nearest(name: str) -> str:
    near = difflib.get_close_matches(str(name), ENTRIES, n=1)
    return f"; did you mean {near[0]}?" if near else ""


@dataclass(repr=False)
class LayerMetrics(Quantities):
    """The quantities of one layer: `values` that are defined, reasons for those that are not.

    A quantity is an attribute and an item too: `metrics.cka`, `metrics["cka"]`; None where it is
    undefined.

    Attributes:
        values: quantity → number; every name of `QUANTITIES` is here or in `undefined`.
        undefined: quantity → why it is not a number here.
        notes: what a reader should know about the numbers.
        bounds: quantity → how far it can be off, where the covariance is not exact.
        standard_errors: quantity → its standard error over samples; empty without blocks.
        without_block: quantity → its values without each block of samples, shape (B,).
        corrected: quantity → its value with the bias taken off, where that is large beside its
            standard error: the centre of its interval.
        chance: quantity → what it is by chance.
        between: quantity → two values that fewer samples push apart, what it is with more lies
            between; of those alone that are biased so.
        floor: noise component that the rounding of the features alone can make; None if unknown.
        gap: by how much the last of the features' directions that count is stronger than the next,
            as a share of the first, (λ_k − λ_{k+1})/λ_1; None where there is no next one. Near 0
            they may trade places, and what is measured of the top k is of one or the other.
        gap_error: its standard error over samples; None without blocks.
        varies: whether the features vary at all; nothing holds at a layer where they do not.
        eigenvalues: of the features' covariance, descending, shape (d,), or as many as a sketch
            knows.
    """

    values: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    bounds: dict[str, float] = field(default_factory=dict)
    standard_errors: dict[str, float] = field(default_factory=dict)
    without_block: dict[str, Array] = field(default_factory=dict, compare=False)
    corrected: dict[str, float] = field(default_factory=dict)
    chance: dict[str, Chance] = field(default_factory=dict)
    between: dict[str, tuple[float, float]] = field(default_factory=dict)
    floor: float | None = None
    gap: float | None = None
    gap_error: float | None = None
    varies: bool = True
    eigenvalues: Array = field(default_factory=lambda: np.empty(0), compare=False)

    def get(self, quantity: str) -> float | None:
        """Return a quantity, or None where it is undefined."""
        return self.values.get(quantity)

    def __repr__(self) -> str:
        return f"<LayerMetrics {self.in_short()}>"
