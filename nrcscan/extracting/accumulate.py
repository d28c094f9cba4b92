"""What one worker adds up of the batches it is given, and how their sums become one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nrcscan.acts_file import schema
from nrcscan.errors import InputError
from nrcscan.extracting.worker_threads import most_workers
from nrcscan.inputs.arrays import Inputs, parts
from nrcscan.network.call_plan import CallPlan, Features
from nrcscan.network.forward import Forward
from nrcscan.network.predictions import to_numpy
from nrcscan.statistics.moments import Array, Moments
from nrcscan.statistics.moments_on_gpu import OnDevice

UNIT_SCALE = (0.1, 20.0)
"""The largest input, in absolute value, of a usually scaled dataset lies between these."""


@dataclass(frozen=True)
class NumberedBatch:
    """Inputs and targets on their way to a worker.

    Attributes:
        first_sample: which sample of the dataset is its first.
        x: inputs.
        y: targets.
        sent: the inputs as the network takes them, where they are on its device already.
    """

    first_sample: int
    x: Inputs
    y: Array
    sent: Any = None


@dataclass(frozen=True)
class Taken:
    """What is left of a batch once it is added up.

    Attributes:
        y: its targets.
        features: of every position, as they are stored; empty where none are.
    """

    y: Array
    features: dict[int, NDArray[Any]]


class Accumulated:
    """The moments of some positions, and of the network's predictions.

    Args:
        positions: position → an accumulator of its features, which may be a sketch.
        n_targets: t.
    """

    def __init__(self, positions: dict[int, Moments], n_targets: int) -> None:
        self.positions = positions
        self._on_device: dict[int, OnDevice] = {}
        # Predictions beside residuals: each keeps its own small variance.
        self._output = Moments(2 * n_targets, n_targets)
        self._t = n_targets
        self._lowest, self._highest = np.inf, -np.inf

    @property
    def far_from_unit_scale(self) -> bool:
        """Whether the inputs are unlike what a network is usually trained on."""
        largest = max(abs(self._lowest), abs(self._highest))
        return not UNIT_SCALE[0] <= largest <= UNIT_SCALE[1]

    @property
    def input_range(self) -> str:
        """The range of the inputs, in words."""
        return f"{self._lowest:.3g} to {self._highest:.3g}"

    def update(self, x: Inputs, predictions: Array, y: Array) -> None:
        """Take in inputs, predictions and targets of a batch."""
        for part in parts(x).values():
            if part.size:
                self._lowest = min(self._lowest, float(part.min()))
                self._highest = max(self._highest, float(part.max()))
        self._output.update(np.hstack([predictions, predictions - y]), y)

    def move(self, device: torch.device) -> None:
        """Have features added up on the device that they come from; see `bring_back`.

        Raises:
            InputError: they do not fit there.
        """
        try:
            self._on_device = {p: OnDevice(host, device) for p, host in self.positions.items()}
        except torch.OutOfMemoryError as error:
            raise InputError(
                f"the covariances do not fit on {device}: allow less with --memory, or sketch them"
                " with --sketch 64"
            ) from error

    def bring_back(self) -> None:
        """Have the sums on the host again."""
        self.positions |= {p: moments.hosted() for p, moments in self._on_device.items()}
        self._on_device = {}

    def take(self, position: int, rows: Tensor, y: Array) -> bool:
        """Take in features beside targets, and say whether they are surely finite."""
        if position in self._on_device:
            return self._on_device[position].take(rows, y)
        if position in self.positions:
            return self.positions[position].take(to_numpy(rows), y)
        return True  # another pass will tell

    def merge(self, other: Accumulated) -> None:
        """Take in everything that another worker has seen, which is then of no more use."""
        with ThreadPoolExecutor(most_workers()) as pool:  # the workers are idle by now
            positions = list(self.positions)
            list(pool.map(lambda p: self.positions[p].merge(other.positions.pop(p)), positions))
        self._output.merge(other._output)
        self._lowest = min(self._lowest, other._lowest)
        self._highest = max(self._highest, other._highest)

    def output(self) -> schema.OutputStatistics:
        """Return the statistics of predictions and targets.

        Raises:
            ValueError: the values' squares overflow float64.
        """
        s, t = self._output.statistics(), self._t
        squared = np.diagonal(s.feature_covariance)[t:] + s.feature_mean[t:] ** 2
        predictions = schema.Predictions(squared, s.feature_mean[:t], s.feature_covariance[:t, :t])
        return schema.OutputStatistics(s.n_samples, s.target_mean, s.target_covariance, predictions)


@dataclass(frozen=True)
class Part:
    """What some of the samples, or all, have added up to.

    Attributes:
        accumulated: the sums.
        targets: batches of targets, in order, where they have not been written yet.
        n_samples: how many there were.
        rows: files that hold what else has not been written yet, in order.
    """

    accumulated: Accumulated
    targets: list[Array]
    n_samples: int
    rows: list[Path] = field(default_factory=list)


def worker(
    run: Forward, plan: CallPlan, accumulated: Accumulated, *, keep: bool
) -> Callable[[NumberedBatch], Taken]:
    """Return what takes a batch through the network and into an accumulator of its own.

    Args:
        run: the network, shared with other workers.
        plan: which of its layers are watched.
        accumulated: this worker's own.
        keep: whether the features are wanted afterwards, to be stored.
    """

    def work(batch: NumberedBatch) -> Taken:
        kept: dict[int, NDArray[Any]] = {}

        def take(position: int, reached: Features) -> bool:
            rows, counts = reached
            y = batch.y if counts is None else np.repeat(batch.y, counts, axis=0)
            if keep:  # as a copy: the network may still write to these
                kept[position] = to_numpy(rows).astype(run.stored_dtype)
            return accumulated.take(position, rows, y)

        with torch.inference_mode():  # known to each thread alone
            inputs = run.inputs(batch.x, batch.first_sample) if batch.sent is None else batch.sent
            predictions = run.forward(
                inputs, batch.y, plan, first_sample=batch.first_sample, take=take
            )
        accumulated.update(batch.x, predictions, batch.y)
        return Taken(batch.y, kept)

    return work


def together(sums: Sequence[Accumulated]) -> Accumulated:
    """Merge what workers have added up into the first of them, in order."""
    first, *others = sums
    for other in others:
        first.merge(other)
    return first
