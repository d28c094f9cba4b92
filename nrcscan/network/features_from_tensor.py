"""How the tensor that reaches a layer becomes features (N, width)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from nrcscan.options.choices import Pool

Layout = Literal["rows", "columns", "flat rows", "flat columns"]
"""Where the samples are: on the first axis, on the second, or in the first one together with
time, either sample by sample or step by step."""

LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def arranged(features: Tensor, layout: Layout, n: int) -> Tensor:
    """Return features with the n samples as their first axis.

    Raises:
        RuntimeError: their shape does not allow this layout.
    """
    if layout in ("flat rows", "flat columns"):
        steps = features.unflatten(0, (n, -1) if layout == "flat rows" else (-1, n))
        return steps if layout == "flat rows" else steps.movedim(1, 0)
    return features.movedim(1, 0) if layout == "columns" else features


def layouts_of(features: Tensor, reordered: Tensor, order: Sequence[int]) -> tuple[Layout, ...]:
    """Return where the samples may be in a tensor: nowhere, at one place, or it cannot be told.

    Args:
        features: what reached a layer, for a few samples.
        reordered: what reached it for the same samples in another order.
        order: that order: sample `order[i]` came as the i-th.
    """
    n = len(order)
    if features.shape != reordered.shape or not features.numel():
        return ()
    # A few roundings, which differ with the order of the samples.
    rounding = 4 * torch.finfo(features.dtype).eps if features.is_floating_point() else 0.0
    tolerance = max(1e-4, rounding)
    largest = float(features.abs().nan_to_num().max())
    off: dict[Layout, float] = {}
    for layout in LAYOUTS:
        flat = layout.startswith("flat")
        axis = 1 if layout == "columns" else 0
        if features.ndim < 2 + (layout == "columns"):
            continue
        size = features.shape[axis]
        if (size % n or size == n) if flat else size != n:
            continue
        before, after = arranged(features, layout, n)[list(order)], arranged(reordered, layout, n)
        close = max(1e-5, rounding) * largest
        if torch.allclose(before, after, rtol=tolerance, atol=close, equal_nan=True):
            off[layout] = float((before - after).abs().nan_to_num().max())
    if n == 1:  # a network that takes one sample at a time: all layouts say the same
        return tuple(off)[:1]
    least = 100 * min(off.values(), default=0.0) + rounding * largest
    return tuple(layout for layout, distance in off.items() if distance <= least)


class Placed(NamedTuple):
    """What reached a layer, its samples on the first axis.

    Attributes:
        features: (N, width), (N, *positions, width) or (N, *positions, width, *positions).
        channel_axis: where the width is.
    """

    features: Tensor
    channel_axis: int

    @property
    def positions(self) -> tuple[int, ...]:
        """How many positions each sample has, axis by axis."""
        axes = list(self.features.shape[1:])
        del axes[self.channel_axis - 1 if self.channel_axis > 0 else self.channel_axis]
        return tuple(axes)


def placed(tensor: Tensor, channel_axis: int, layout: Layout, n: int) -> Placed:
    """Return what reached a layer with the n samples on the first axis.

    Raises:
        RuntimeError: its shape does not allow this layout.
    """
    features = arranged(tensor, layout, n)
    unflattened = channel_axis > 0 and layout.startswith("flat")
    return Placed(features, channel_axis + unflattened)


def pooled(features: Tensor, channel_axis: int, pool: Pool, mask: Tensor | None = None) -> Tensor:
    """Return features as (N, width): positions in space or time reduced as `pool` says.

    Args:
        features: (N, width), (N, *positions, width) or (N, width, *positions).
        channel_axis: where the width is: -1, or after the samples (and time, if they are
            apart).
        pool: mean over positions, the first or last of them, all side by side (flatten), or
            each a row of its own (tokens), which gives (N · positions, width).
        mask: (N, positions), which of them count; None for all.
    """
    if features.ndim == 2:
        return features
    if pool == "flatten":
        return features.flatten(1)
    if pool == "mean" and channel_axis == 1 and mask is None and features.device.type == "cpu":
        if features.dtype == torch.float32:  # NumPy widens as it adds, torch copies first
            wide = features.flatten(2).numpy().mean(axis=-1, dtype=np.float64)
            return torch.from_numpy(wide)
        return features.flatten(2).mean(dim=-1, dtype=torch.float64)
    positions = features.movedim(channel_axis, -1).flatten(1, -2)
    if mask is not None:
        return _pooled_real(positions, pool, mask)
    if pool == "tokens":
        return positions.flatten(0, 1)
    if pool == "mean":
        return positions.mean(dim=1, dtype=torch.float64)
    return positions[:, 0 if pool == "first" else -1]


def _pooled_real(positions: Tensor, pool: Pool, mask: Tensor) -> Tensor:
    """Pool only those positions (N, positions, width) that a mask (N, positions) counts."""
    if pool == "tokens":
        return positions[mask]
    if pool == "mean":
        counted = torch.where(mask[..., None], positions, 0).sum(dim=1, dtype=torch.float64)
        return counted / mask.sum(dim=1, keepdim=True)
    places = torch.arange(mask.shape[1], device=mask.device)
    chosen = (
        torch.where(mask, places, mask.shape[1]).amin(dim=1)
        if pool == "first"
        else torch.where(mask, places, -1).amax(dim=1)
    )
    return positions[torch.arange(len(positions), device=mask.device), chosen]
