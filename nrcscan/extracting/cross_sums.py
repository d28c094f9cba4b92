"""Cross-covariances of positions: from the moments of all their features side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import numpy as np
import torch
from torch import Tensor

from nrcscan.errors import UsageError
from nrcscan.network.predictions import to_numpy
from nrcscan.options.pass_options import PassOptions
from nrcscan.statistics.moments import Array, Moments
from nrcscan.statistics.moments_on_gpu import OnDevice
from nrcscan.wording import counted


def require_rows_of_samples(settings: PassOptions) -> None:
    """Refuse cross-covariances of tokens.

    Raises:
        UsageError: the cross-covariances are wanted of features that are tokens, not samples.
    """
    if settings["cross"] and settings["pool"] == "tokens":
        raise UsageError(
            "--cross compares features of the same samples, and with --pool tokens layers may have"
            " other tokens; choose another --pool, or leave --cross out"
        )


def refuse_in_turn(settings: PassOptions, n_positions: int, lack: str) -> None:
    """Refuse to take positions in turn where cross-covariances are wanted.

    Args:
        settings: the options.
        n_positions: how many there are.
        lack: how much memory they need and there is, in words.

    Raises:
        UsageError: the cross-covariances of all layers do not fit into memory.
    """
    if settings["cross"]:
        raise UsageError(
            f"the cross-covariances at {counted(n_positions, 'depth')} need {lack}; choose fewer"
            " layers with --layers or --exclude, or leave --cross out"
        )


class CrossSums:
    """The moments of every position's features side by side, as one worker sees them.

    They are multiplied in float64 whatever the pass is asked for.

    Args:
        widths: of the positions, in order.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        self._widths = widths
        self._moments = Moments(sum(widths), 1)  # beside a target that never varies
        self._on_device: OnDevice | None = None
        self._held: dict[int, Tensor] = {}

    def move(self, device: torch.device) -> None:
        """Have features added up on the device that they come from; see `bring_back`."""
        self._on_device = OnDevice(self._moments, device)

    def bring_back(self) -> None:
        """Have the sums on the host again."""
        if self._on_device is not None:
            self._moments = self._on_device.hosted()
            self._on_device = None

    def hold(self, position: int, rows: Tensor) -> None:
        """Hold a position's features (n, d), as a copy, until those of all are there."""
        self._held[position] = rows.clone()

    def take_held(self) -> None:
        """Take in what is held of a batch."""
        rows = torch.cat([self._held.pop(p) for p in range(len(self._widths))], dim=1)
        beside = np.zeros((len(rows), 1))
        if self._on_device is not None:
            self._on_device.take(rows, beside)
        else:
            self._moments.take(to_numpy(rows), beside)

    def merge(self, other: CrossSums) -> None:
        """Take in everything that another worker has seen, which is then of no more use."""
        self._moments.merge(other._moments, spoil=True)

    def result(self) -> Iterator[tuple[tuple[int, int], Array]]:
        """Yield each two positions, in order, and their cross-covariance (d_i, d_j).

        Raises:
            ValueError: the values' squares overflow float64.
        """
        covariance = self._moments.statistics().feature_covariance
        ends = np.cumsum([0, *self._widths])
        of = [slice(start, stop) for start, stop in pairwise(ends)]
        for i, j in combinations(range(len(of)), 2):
            yield (i, j), covariance[of[i], of[j]].copy()
