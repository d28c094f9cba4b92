"""What a file holds, kept in memory as it is written: a report at once need not read it back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nrcscan.acts_file.schema import DOUBLE, LayerRecord, OutputStatistics, Predictions
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.statistics.sketch import Sketched
from nrcscan.statistics.unit_features import UnitFeatures


class MeasuredActs(Protocol):
    """What a report is made from: an open file, or what went into one; see `Acts`."""

    path: Path
    n_samples: int
    epsilon: float
    product_epsilon: float
    target_mean: Array
    target_covariance: Array
    predictions: Predictions | None
    n_positions: int
    layers: list[LayerRecord]
    provenance: dict[str, Any]

    def statistics(self, position: int) -> Statistics | Sketched:
        """Return the statistics of the features at a position."""

    def own_squared_error(self, position: int) -> Array | None:
        """Return the network's mean squared error (n_targets,) over a position's tokens."""

    def variances(self, position: int) -> Array:
        """Return the variances of the features (width,) at a position."""

    @property
    def last_units(self) -> UnitFeatures | None:
        """The moments of the last layer's features scaled to norm 1; None if none were taken."""

    @property
    def has_activations(self) -> bool:
        """Whether the features themselves are there, at every position."""

    def weight(self, index: int) -> Array:
        """Return a layer's weight as the network holds it."""

    def target_rows(self) -> Iterator[NDArray[Any]]:
        """Yield the targets (n, n_targets), piece by piece."""

    def activation_rows(self, position: int) -> Iterator[NDArray[Any]]:
        """Yield the features (n, width) at a position, piece by piece."""


class KeptInMemory:
    """Takes what a `Writer` is given, and is then read as its file would be.

    Attributes:
        complete: whether everything is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.complete = False
        self.layers: list[LayerRecord] = []
        self._weights: list[NDArray[Any]] = []
        self._positions: dict[int, Statistics | Sketched] = {}
        self._own_errors: dict[int, Array | None] = {}
        self._unit_features: UnitFeatures | None = None

    def add_layer(self, record: LayerRecord, weight: NDArray[Any]) -> None:
        """Take a layer, in execution order."""
        self.layers.append(record)
        self._weights.append(weight)

    def add_statistics(
        self, position: int, statistics: Statistics | Sketched, squared_error: Array | None
    ) -> None:
        """Take what a pass has left of the features at a position; see `Writer`."""
        self._positions[position] = statistics
        self._own_errors[position] = squared_error

    def add_unit_features(self, found: UnitFeatures) -> None:
        """Take the moments of the last layer's features scaled to norm 1."""
        self._unit_features = found

    def finish(
        self,
        output: OutputStatistics,
        provenance: dict[str, Any],
        epsilon: float,
        product_epsilon: float = DOUBLE,
    ) -> None:
        """Take what is known at the end of the pass."""
        self.n_samples = output.n_samples
        self.target_mean = output.target_mean
        self.target_covariance = output.target_covariance
        self.predictions = output.predictions
        self.provenance = provenance
        self.epsilon, self.product_epsilon = epsilon, product_epsilon
        self.n_positions = len(self._positions)
        self.complete = True

    def statistics(self, position: int) -> Statistics | Sketched:
        """Return the statistics of the features at a position."""
        return self._positions[position]

    def own_squared_error(self, position: int) -> Array | None:
        """Return the network's mean squared error (n_targets,) over a position's tokens."""
        return self._own_errors[position]

    def variances(self, position: int) -> Array:
        """Return the variances of the features (width,) at a position."""
        return self._positions[position].variances

    def weight(self, index: int) -> Array:
        """Return a layer's weight as the network holds it."""
        return self._weights[index].astype(np.float64, copy=False)

    @property
    def last_units(self) -> UnitFeatures | None:
        """The moments of the last layer's features scaled to norm 1; None if none were taken."""
        return self._unit_features

    @property
    def has_activations(self) -> bool:
        """Whether the features themselves are there: no rows of samples are kept."""
        return False

    def target_rows(self) -> Iterator[NDArray[Any]]:
        """Yield nothing: rows are in the file alone."""
        yield from ()

    def activation_rows(self, position: int) -> Iterator[NDArray[Any]]:
        """Yield nothing: rows are in the file alone."""
        yield from ()
