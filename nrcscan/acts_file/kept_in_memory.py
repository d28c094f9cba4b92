"""What a file holds, kept in memory as it is written: a report at once need not read it back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nrcscan.acts_file.block_datasets import missing
from nrcscan.acts_file.schema import (
    DOUBLE,
    LayerRecord,
    OutputStatistics,
    Predictions,
    Unmeasured,
    unmeasured_in,
)
from nrcscan.statistics.blocks import Blocks, Targets
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.statistics.sketch import Sketched
from nrcscan.statistics.unit_features import UnitFeatures

NO_FILE = Path("what was measured")
"""What messages call what is in memory alone."""


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
    unmeasured: list[Unmeasured]
    provenance: dict[str, Any]

    @property
    def block_targets(self) -> Targets | None:
        """The targets of blocks of samples, and the network's errors; None without blocks."""

    def statistics(self, position: int) -> Statistics | Sketched:
        """Return the statistics of the features at a position."""

    def own_squared_error(self, position: int) -> Array | None:
        """Return the network's mean squared error (n_targets,) over a position's tokens."""

    def per_token(self, position: int) -> bool:
        """Whether every token counts as a sample at a position, which has targets of its own."""

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

    def beside(self, index: int) -> Array | None:
        """Return how large what a layer's outputs (out,) are added to is; None if unknown."""

    def blocks(self, position: int) -> Blocks | None:
        """Return what is kept of blocks of samples at a position; None where there are none."""

    @property
    def no_blocks(self) -> str | None:
        """Why some positions have no blocks of samples, or all; None where all have them."""

    def cross(self, earlier: int, later: int) -> Array | None:
        """Return the cross-covariance (d_i, d_j) of the features at two positions; None without."""

    def target_rows(self) -> Iterator[NDArray[Any]]:
        """Yield the targets (n, n_targets), piece by piece."""

    def activation_rows(self, position: int) -> Iterator[NDArray[Any]]:
        """Yield the features (n, width) at a position, piece by piece."""


class TakesActs(Protocol):
    """What a pass gives what it measures to: a `Writer` of a file, or `KeptInMemory` alone."""

    def add_layer(
        self, record: LayerRecord, weight: NDArray[Any], beside: Array | None = None
    ) -> None:
        """Take a layer, in execution order."""

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Take rows of samples (n, width)."""

    def append_from(self, rows: Path) -> None:
        """Take all rows that another writer has put into a file."""

    def add_statistics(
        self,
        position: int,
        statistics: Statistics | Sketched,
        output: OutputStatistics,
        *,
        per_token: bool,
        squared_error: Array | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        """Take what a pass has left of the features at a position, beside the output's."""

    def add_unit_features(self, position: int, found: UnitFeatures) -> None:
        """Take the moments of the last layer's features scaled to norm 1."""

    def add_cross(self, earlier: int, later: int, values: Array) -> None:
        """Take the cross-covariance (d_i, d_j) of the features at two positions, in order."""

    def add_block_targets(self, targets: Targets) -> None:
        """Take the targets of blocks of samples."""

    def finish(
        self,
        output: OutputStatistics,
        provenance: dict[str, Any],
        epsilon: float,
        product_epsilon: float = DOUBLE,
    ) -> None:
        """Take what is known at the end of the pass."""


def beside_output(
    statistics: Statistics | Sketched, output: OutputStatistics
) -> Statistics | Sketched:
    """Return a position's statistics with the targets that the whole pass has."""
    return replace(
        statistics,
        n_samples=output.n_samples,
        target_mean=output.target_mean,
        target_covariance=output.target_covariance,
    )


class KeptInMemory:
    """Takes what a `Writer` is given, or stands for one, and is read as its file would be.

    Args:
        path: of the file, or what messages call it where there is none.

    Attributes:
        complete: whether everything is there.
        block_targets: the targets of blocks of samples; None without blocks.
    """

    def __init__(self, path: Path = NO_FILE) -> None:
        self.path = path
        self.complete = False
        self.layers: list[LayerRecord] = []
        self._weights: list[NDArray[Any]] = []
        self._beside: list[Array | None] = []
        self._positions: dict[int, Statistics | Sketched] = {}
        self._own_errors: dict[int, Array | None] = {}
        self._per_token: dict[int, bool] = {}
        self._blocks: dict[int, Blocks] = {}
        self.block_targets: Targets | None = None
        self._unit_features: UnitFeatures | None = None
        self._cross: dict[tuple[int, int], Array] = {}

    def add_layer(
        self, record: LayerRecord, weight: NDArray[Any], beside: Array | None = None
    ) -> None:
        """Take a layer, in execution order; see `Writer`."""
        self.layers.append(record)
        self._weights.append(weight)
        self._beside.append(beside)

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Take nothing: rows are in a file alone."""

    def append_from(self, rows: Path) -> None:
        """Take nothing: rows are in a file alone."""

    def add_statistics(
        self,
        position: int,
        statistics: Statistics | Sketched,
        output: OutputStatistics,
        *,
        per_token: bool,
        squared_error: Array | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        """Take what a pass has left of the features at a position; see `Writer`."""
        if blocks is not None:
            self._blocks[position] = blocks
        self._positions[position] = statistics if per_token else beside_output(statistics, output)
        self._own_errors[position] = squared_error
        self._per_token[position] = per_token

    def add_unit_features(self, position: int, found: UnitFeatures) -> None:
        """Take the moments of the last layer's features, at its position, scaled to norm 1."""
        self._unit_features = found

    def add_cross(self, earlier: int, later: int, values: Array) -> None:
        """Take the cross-covariance (d_i, d_j) of the features at two positions; see `Writer`."""
        self._cross[earlier, later] = values

    def add_block_targets(self, targets: Targets) -> None:
        """Take the targets of blocks of samples."""
        self.block_targets = targets

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
        self.unmeasured = unmeasured_in(provenance)
        self.epsilon, self.product_epsilon = epsilon, product_epsilon
        self.n_positions = len(self._positions)
        self.complete = True

    def statistics(self, position: int) -> Statistics | Sketched:
        """Return the statistics of the features at a position."""
        return self._positions[position]

    def own_squared_error(self, position: int) -> Array | None:
        """Return the network's mean squared error (n_targets,) over a position's tokens."""
        return self._own_errors[position]

    def per_token(self, position: int) -> bool:
        """Whether every token counts as a sample at a position, which has targets of its own."""
        return self._per_token[position]

    def variances(self, position: int) -> Array:
        """Return the variances of the features (width,) at a position."""
        return self._positions[position].variances

    def weight(self, index: int) -> Array:
        """Return a layer's weight as the network holds it."""
        return self._weights[index].astype(np.float64, copy=False)

    def beside(self, index: int) -> Array | None:
        """Return how large what a layer's outputs (out,) are added to is; None if unknown."""
        return self._beside[index]

    def blocks(self, position: int) -> Blocks | None:
        """Return what is kept of blocks of samples at a position; None where there are none."""
        return self._blocks.get(position)

    def cross(self, earlier: int, later: int) -> Array | None:
        """Return the cross-covariance (d_i, d_j) of the features at two positions; None without."""
        return self._cross.get((earlier, later))

    @property
    def no_blocks(self) -> str | None:
        """Why some positions have no blocks of samples, or all; None where all have them."""
        return missing(self.provenance.get("blocks"), there=self.block_targets is not None)

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
