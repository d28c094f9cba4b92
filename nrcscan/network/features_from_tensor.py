"""How the tensor that reaches a layer becomes features (N, width)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

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


def find_layout(features: Tensor, reordered: Tensor, order: Sequence[int]) -> Layout | None:
    """Return where the samples are in a tensor, or None if nowhere.

    Args:
        features: what reached a layer, for a few samples.
        reordered: what reached it for the same samples in another order.
        order: that order: sample `order[i]` came as the i-th.
    """
    n = len(order)
    # A few roundings, which differ with the order of the samples.
    rounding = 4 * torch.finfo(features.dtype).eps if features.is_floating_point() else 0.0
    tolerance = max(1e-4, rounding)
    close = (
        max(1e-5, rounding) * float(features.abs().nan_to_num().max()) if features.numel() else 0.0
    )
    for layout in LAYOUTS:
        flat = layout.startswith("flat")
        axis = 1 if layout == "columns" else 0
        if features.ndim < 2 + (layout == "columns") or features.shape != reordered.shape:
            continue
        size = features.shape[axis]
        if (size % n or size == n) if flat else size != n:
            continue
        before, after = arranged(features, layout, n), arranged(reordered, layout, n)
        if torch.allclose(before[list(order)], after, rtol=tolerance, atol=close, equal_nan=True):
            return layout
    return None


def pooled(features: Tensor, channel_axis: int, pool: Pool, mask: Tensor | None = None) -> Tensor:
    """Return features as (N, width): positions in space or time reduced as `pool` says.

    Args:
        features: (N, width), (N, *positions, width) or (N, width, *positions).
        channel_axis: where the width is: -1, or after the samples (and time, if they are
            apart).
        pool: mean over positions, the first or last of them, all side by side (flatten), or
            each a row of its own (tokens), which gives (N · positions, width).
        mask: (N, positions), which of them count; of no account where there are others.
    """
    if features.ndim == 2:
        return features
    if pool == "flatten":
        return features.flatten(1)
    if pool == "mean" and channel_axis == 1 and features.device.type == "cpu":
        if features.dtype == torch.float32:  # NumPy widens as it adds, torch copies first
            wide = features.flatten(2).numpy().mean(axis=-1, dtype=np.float64)
            return torch.from_numpy(wide)
        return features.flatten(2).mean(dim=-1, dtype=torch.float64)
    positions = features.movedim(channel_axis, -1).flatten(1, -2)
    if mask is not None and mask.shape == positions.shape[:2]:
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
