"""Sums of a position's features scaled to norm 1, added up where the features are."""

from __future__ import annotations

import torch
from torch import Tensor

from nrcscan.network.predictions import to_numpy
from nrcscan.statistics.moments_on_gpu import OnDevice
from nrcscan.statistics.unit_features import UnitMoments


class UnitSums:
    """The moments of h/‖h‖ at one position, as one worker sees it.

    Args:
        position: whose features they are.
        width: d.
    """

    def __init__(self, position: int, width: int) -> None:
        self.position = position
        self.units = UnitMoments(width)
        self._on_device: OnDevice | None = None

    @property
    def n_samples(self) -> int:
        """How many features have been seen."""
        seen = self.units.moments if self._on_device is None else self._on_device
        return self.units.n_zero + seen.n_samples

    def move(self, device: torch.device) -> None:
        """Have features added up on the device that they come from; see `bring_back`."""
        self._on_device = OnDevice(self.units.moments, device)

    def bring_back(self) -> None:
        """Have the sums on the host again."""
        if self._on_device is not None:
            self.units.moments = self._on_device.hosted()
            self._on_device = None

    def take(self, rows: Tensor) -> None:
        """Take in features (n, width)."""
        if self._on_device is None:
            self.units.take(to_numpy(rows))
            return
        wide = rows.double()
        largest = wide.abs().amax(dim=1, keepdim=True)
        there = largest[:, 0] != 0
        scaled = wide[there] / largest[there]
        units = scaled / torch.linalg.vector_norm(scaled, dim=1, keepdim=True)
        self.units.n_zero += len(rows) - len(units)
        self._on_device.take(units, torch.zeros(len(units), 1).double().numpy())
