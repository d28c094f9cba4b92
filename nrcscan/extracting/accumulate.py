"""The sums that one worker makes of the batches it is given, and how several become one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nrcscan.acts_file import schema
from nrcscan.errors import InputError
from nrcscan.extracting.cross_sums import CrossSums
from nrcscan.extracting.input_rounding import PARTS_OF_ROUNDING, InputRounding
from nrcscan.extracting.smaller_batches import RowsHad, for_sums
from nrcscan.extracting.unit_sums import UnitSums
from nrcscan.inputs.arrays import Inputs, parts
from nrcscan.network.predictions import to_numpy
from nrcscan.statistics.blocks import Targets, targets_of
from nrcscan.statistics.moments import PARTS_OF_MOMENTS, Array, Moments
from nrcscan.statistics.moments_on_gpu import OnDevice
from nrcscan.statistics.sketch import Sketch
from nrcscan.statistics.unit_features import UnitMoments

UNIT_SCALE = (0.1, 20.0)
"""The largest input, in absolute value, of a usually scaled dataset lies between these."""


class Accumulated:
    """The moments of some positions, and of the network's predictions.

    Args:
        positions: position → an accumulator of its features, which may be a sketch.
        n_targets: t.
        dtype: what the network runs in.
        units: of one position's features scaled to norm 1, where they are wanted.
        cross: of all positions' features side by side, likewise.
    """

    def __init__(
        self,
        positions: dict[int, Moments],
        n_targets: int,
        dtype: torch.dtype = torch.float64,
        units: UnitSums | None = None,
        cross: CrossSums | None = None,
    ) -> None:
        self.positions = positions
        self._dtype = dtype
        self.units = units
        self.cross = cross
        self.rounding = InputRounding(dtype)
        self._on_device: dict[int, OnDevice] = {}
        # Predictions beside residuals: each keeps its own small variance.
        self._output = Moments(2 * n_targets, n_targets)
        self._t = n_targets
        self._predicts = True
        self._tokens: Counter[int] = Counter()
        self._token_errors: dict[int, Array] = {}
        self._lowest, self._highest = np.inf, -np.inf
        self.whole_inputs = True
        """Whether all inputs so far are whole numbers."""

    @property
    def far_from_unit_scale(self) -> bool:
        """Whether the inputs are unlike what a network is usually trained on."""
        largest = max(abs(self._lowest), abs(self._highest))
        return not UNIT_SCALE[0] <= largest <= UNIT_SCALE[1]

    @property
    def input_range(self) -> str:
        """The range of the inputs, in words."""
        return f"{self._lowest:.3g} to {self._highest:.3g}"

    def update(
        self,
        predictions: Array | None,
        y: Array,
        counts: Mapping[int, NDArray[np.int64]],
    ) -> None:
        """Take in what the network made of a batch.

        Args:
            predictions: (n, n_targets), if there are any.
            y: targets (n, n_targets).
            counts: position where every token counts as a sample → tokens of each sample (n,).
        """
        for position, tokens in counts.items():
            if predictions is None:  # of which there are no errors
                break
            self._tokens[position] += int(tokens.sum())
            self._add_errors(position, tokens @ (predictions - y) ** 2)
        if self.cross is not None:
            self.cross.take_held()
        self._predicts = self._predicts and predictions is not None
        made = np.zeros_like(y) if predictions is None else predictions
        self._output.update(np.hstack([made, made - y]), y)

    def look_at(self, x: Inputs) -> None:
        """Take in the inputs of a batch."""
        self.rounding.update(x)
        for part in parts(x).values():
            if part.size:
                self._lowest = min(self._lowest, float(part.min()))
                self._highest = max(self._highest, float(part.max()))
                if self.whole_inputs and part.dtype.kind not in "biu":
                    self.whole_inputs = bool((part == np.floor(part)).all())

    def move(self, device: torch.device) -> None:
        """Have features added up on the device that they come from; see `bring_back`.

        Raises:
            InputError: the covariances of the layers take more memory than the device has.
        """
        try:
            self._on_device = {p: OnDevice(host, device) for p, host in self.positions.items()}
            for further in (self.units, self.cross):
                if further is not None:
                    further.move(device)
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"the covariances do not fit on {device}: allow less with --memory, or sketch them"
                " with --sketch 64"
            ) from error

    def bring_back(self) -> None:
        """Have the sums on the host again."""
        self.positions |= {p: moments.hosted() for p, moments in self._on_device.items()}
        self._on_device = {}
        for further in (self.units, self.cross):
            if further is not None:
                further.bring_back()

    def take(self, position: int, rows: Tensor, y: Array, had: RowsHad | None = None) -> bool:
        """Take in features beside targets, and say whether they are surely finite.

        Args:
            position: where the features are.
            rows: (n, width).
            y: targets (n, n_targets).
            had: which of the rows are in already, if they may come again.
        """
        had = had or RowsHad()
        if self.units is not None and self.units.position == position:
            with for_sums():
                self.units.take(rows[had.of(self.units, len(rows)) :])
        if self.cross is not None:
            self.cross.hold(position, rows)
        moments = self._on_device.get(position) or self.positions.get(position)
        if moments is None:
            return True  # another pass will tell, or a block
        seen = had.of(moments, len(rows))
        if seen == len(rows):
            return True
        rows, y = (rows[seen:], y[seen:]) if seen else (rows, y)
        if isinstance(moments, OnDevice):
            return moments.take(rows, y)
        return moments.take(to_numpy(rows), y)

    def fresh(self) -> Accumulated:
        """Return an empty one for the next block of samples."""
        positions = {position: sums.fresh() for position, sums in self.positions.items()}
        new = Accumulated(positions, self._t, self._dtype)
        new._output = self._output.fresh()
        return new

    def rest(self) -> None:
        """Take as little memory as can be, for nothing may come any more."""
        for moments in (self._output, *self.positions.values()):
            moments.rest()

    @property
    def n_samples(self) -> int:
        """How many samples have been seen."""
        return self._output.n_samples

    def merge(self, other: Accumulated) -> None:
        """Take in everything that another worker has seen, which is then of no more use."""
        for position, moments in self.positions.items():
            moments.merge(other.positions.pop(position), spoil=True)
        if self.units is not None and other.units is not None:
            self.units.units.merge(other.units.units)
        if self.cross is not None and other.cross is not None:
            self.cross.merge(other.cross)
        self._output.merge(other._output)
        self._predicts = self._predicts and other._predicts
        self.rounding.merge(other.rounding)
        self._tokens += other._tokens
        for position, errors in other._token_errors.items():
            self._add_errors(position, errors)
        self._lowest = min(self._lowest, other._lowest)
        self._highest = max(self._highest, other._highest)
        self.whole_inputs = self.whole_inputs and other.whole_inputs

    def _add_errors(self, position: int, errors: Array) -> None:
        self._token_errors[position] = self._token_errors.get(position, 0.0) + errors

    def token_errors(self, position: int) -> Array | None:
        """Return the network's squared errors (n_targets,), the mean over a position's tokens.

        None where samples are not taken token by token.
        """
        errors = self._token_errors.get(position)
        return None if errors is None else errors / self._tokens[position]

    @staticmethod
    def targets(blocks: Sequence[Accumulated], position: int | None = None) -> Targets:
        """Return the targets of blocks of samples, and the network's errors on them.

        Args:
            blocks: in order.
            position: where every token counts as a sample: which one, at which they differ.
        """
        if position is None:
            parts = [block._output for block in blocks]
            own = [block._squared_error() for block in blocks]
        else:
            parts = [block.positions[position] for block in blocks]
            own = [block.token_errors(position) for block in blocks]
        known = [errors for errors in own if errors is not None]
        return targets_of(parts, np.array(known) if len(known) == len(blocks) else None)

    def _squared_error(self) -> Array | None:
        """Return the network's mean squared error (n_targets,), where it predicts."""
        if not self._predicts:
            return None
        n, shift, products = self._output.sums
        residuals = slice(self._t, 2 * self._t)
        left = products[residuals, -1] / n
        spread = np.diagonal(products)[residuals] / n - left**2
        return np.asarray(np.maximum(spread, 0.0) + (shift[residuals] + left) ** 2)

    def output(self) -> schema.OutputStatistics:
        """Return the statistics of predictions and targets.

        Raises:
            ValueError: the values' squares overflow float64.
        """
        s, t = self._output.statistics(), self._t
        squared, predictions = self._squared_error(), None
        if squared is not None:
            made = s.feature_mean[:t], s.feature_covariance[:t, :t]
            predictions = schema.Predictions(squared, *made)
        return schema.OutputStatistics(s.n_samples, s.target_mean, s.target_covariance, predictions)


STATE_CLASSES = (
    *(Accumulated, UnitSums, UnitMoments, CrossSums, OnDevice, Sketch),
    *(*PARTS_OF_ROUNDING, *PARTS_OF_MOMENTS),
)
"""Whatever a saved one may be made of."""


def together(sums: Sequence[Accumulated]) -> Accumulated:
    """Merge what workers have added up into the first of them, in order."""
    first, *others = sums
    for other in others:
        first.merge(other)
    return first
