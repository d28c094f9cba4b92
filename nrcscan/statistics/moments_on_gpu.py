"""Moments added up where the network runs, so that features need not leave a GPU.

Blocks, shift and sums are those of `Moments`, as tensors: only the sums come back, at the end.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from nrcscan.statistics.moments import BLOCK_ROWS, NARROW, Moments
from nrcscan.statistics.sketch import Sketch


def accumulates(device: torch.device) -> bool:
    """Whether a device is one to accumulate on: it has float64, and memory of its own."""
    return device.type == "cuda"


class OnDevice:
    """Accumulates on a device for moments on the host, which may be a sketch.

    Args:
        host: an empty accumulator, which takes over the sums.
        device: where the features are.
    """

    def __init__(self, host: Moments, device: torch.device) -> None:
        self._host = host
        self._dtype = torch.float32 if host.precision == "float32" else torch.float64
        size = host.width + host.n_targets + 1
        self._block = torch.ones(BLOCK_ROWS, size, dtype=torch.float64, device=device)
        self._filled, self._n = 0, 0
        self._shift: Tensor | None = None
        self._test: Tensor | None = None
        if isinstance(host, Sketch):
            self._test = torch.from_numpy(host.test_matrix).to(device, self._dtype)
        columns = size if self._test is None else self._test.shape[1] + host.n_targets + 1
        self._products = torch.zeros(size, columns, dtype=torch.float64, device=device)
        self._squares = torch.zeros(
            0 if self._test is None else host.width, dtype=torch.float64, device=device
        )
        self._norms = torch.zeros(2, size + 2, dtype=torch.float64, device=device)

    @property
    def n_samples(self) -> int:
        """How many samples have been seen."""
        return self._n + self._filled

    def take(self, features: Tensor, targets: NDArray[Any]) -> bool:
        """Take in features (n, d) on the device, and say whether they are surely finite."""
        d = self._host.width
        y = torch.from_numpy(targets).to(self._block.device, torch.float64)
        start = 0
        while start < len(features):
            stop = min(len(features), start + BLOCK_ROWS - self._filled)
            rows = self._block[self._filled : self._filled + stop - start]
            rows[:, :d] = features[start:stop]
            rows[:, d:-1] = y[start:stop]
            self._filled += stop - start
            start = stop
            if self._filled == BLOCK_ROWS:
                self._close()
        return math.isfinite(float(features.sum()))

    def hosted(self) -> Moments:
        """Return the moments on the host, with everything that was seen."""
        if self._filled:
            self._close()
        if self._shift is not None:
            self._host.absorb(
                self._n,
                self._shift.cpu().numpy(),
                self._products.cpu().numpy(),
                self._squares.cpu().numpy(),
                self._norms.cpu().numpy() if self._test is None else None,
            )
        return self._host

    def _close(self) -> None:
        """Add the products of the rows that the block holds."""
        rows, d = self._block[: self._filled], self._host.width
        if self._shift is None:
            self._shift = self._shift_for(rows[:, :-1])
        shifted = torch.cat([rows[:, :-1] - self._shift, rows[:, -1:]], dim=1)
        shifted = shifted.to(self._dtype_for(shifted))
        right = shifted
        squares, norms = None, []
        if self._test is not None:
            test = self._test.to(shifted.dtype)
            right = torch.cat([shifted[:, :d] @ test, shifted[:, d:]], dim=1)
            squares = shifted[:, :d].double().square().sum(dim=0)
        else:
            squared = shifted[:, :-1].double().square()
            two = torch.stack([squared[:, :d].sum(dim=1), squared[:, d:].sum(dim=1)])
            norms = [two @ shifted.double(), two @ two.T]
        products, exact = shifted.T @ right, None
        columns = self._host.n_targets + 1
        if self._dtype != torch.float64:  # of targets alone, as in `Moments`
            y = torch.cat([rows[:, d:-1] - self._shift[d:], rows[:, -1:]], dim=1)
            exact = self._products[d:, -columns:] + y.T @ y
        # All memory is there by now: what is counted is counted whole.
        if squares is not None:
            self._squares += squares
        for own, added in zip((self._norms[:, :-2], self._norms[:, -2:]), norms, strict=False):
            own += added
        self._products += products
        if exact is not None:
            self._products[d:, -columns:] = exact
        self._n += self._filled
        self._filled = 0

    def _dtype_for(self, shifted: Tensor) -> torch.dtype:
        """Return what shifted rows [h, y, 1] are multiplied in, as `Moments` has it."""
        d, largest = self._host.width, shifted[:, :-1].abs().amax(dim=0)
        each = torch.cat([largest[:d].amax(dim=0, keepdim=True), largest[d:]])
        held = (each == 0) | ((each > 1 / NARROW) & (each < NARROW))
        return self._dtype if bool(held.all()) else torch.float64

    def _shift_for(self, rows: Tensor) -> Tensor:
        """Return the shift that the first rows suggest; of what never varies, its very value."""
        return torch.where(rows.amax(dim=0) == rows.amin(dim=0), rows[0], rows.mean(dim=0))
