"""Which layers are watched, and how the tensor that reaches one becomes features (N, width)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nrcscan.errors import InputError, UsageError
from nrcscan.options.choices import Pool
from nrcscan.wording import listed

LAYER_TYPES: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_LAYER_NAMES = {layer.__name__ for layer in LAYER_TYPES}
RECURRENT_NAMES = {"LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"}


@dataclass(frozen=True, eq=False)
class LayerWeight:
    """A weight that a layer may run with.

    Attributes:
        name: the layer's path in the network, such as "layers.0"; for weights that are not
            called "weight", their own.
        weight: the tensor that reaches the operation.
        owner: path and class of the module that holds it, such as "embed (Embedding)".
        expected: whether it is the weight of a Linear or convolution module, and so ought to run.
        known: whether it is that, or a weight is computed from it.
        recurrent: whether it is one of several weights of an LSTM, GRU or RNN.
        pads_itself: whether the module pads its input before the convolution (circular, …).
    """

    name: str
    weight: Tensor
    owner: str
    expected: bool
    known: bool
    recurrent: bool = False
    pads_itself: bool = False


def find_layers(model: nn.Module) -> list[LayerWeight]:
    """Return every weight of a network that may be a layer's, in the order it lists them.

    The module need not tell what it is: a program's modules have no class of ours. Which
    weights are layers, and of which kind, shows when they run.

    Raises:
        InputError: a layer is lazy, and has never run.
    """
    layers = []
    for path, module in model.named_modules():
        kind = getattr(module, "original_name", type(module).__name__)  # of a TorchScript module
        expected = isinstance(module, LAYER_TYPES) or kind in _LAYER_NAMES
        weights = dict(module.named_parameters(recurse=False))
        if expected and "weight" not in weights and hasattr(module, "weight"):
            weights["weight"] = module.weight  # parametrised: computed from other parameters
        for name, weight in weights.items():
            if is_lazy(weight):
                raise InputError(f"layer {path} has no width yet; run the network once before")
            if weight.ndim < 2 or not weight.is_floating_point():
                continue
            own = name == "weight"
            layers.append(
                LayerWeight(
                    name=(path or kind) if own else ".".join(filter(None, (path, name))),
                    weight=weight,
                    owner=f"{path} ({kind})" if path else kind,
                    expected=expected and own,
                    known=expected or "parametrizations" in path.split("."),
                    recurrent=kind in RECURRENT_NAMES,
                    pads_itself=getattr(module, "padding_mode", "zeros") != "zeros",
                )
            )
    return layers


def select(names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the names that match any `include` glob (all, if none is given) and no `exclude`.

    Raises:
        UsageError: nothing is left.
    """
    chosen = [
        name
        for name in names
        if (not include or any(fnmatchcase(name, glob) for glob in include))
        and not any(fnmatchcase(name, glob) for glob in exclude)
    ]
    if names and not chosen:
        wanted = " ".join(
            [*(f"--layers {g!r}" for g in include), *(f"--exclude {g!r}" for g in exclude)]
        )
        raise UsageError(f"no layer matches {wanted}: the layers are {listed(names)}")
    return chosen


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
