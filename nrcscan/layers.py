"""Which layers are watched, and how the tensor that reaches one becomes features (N, width)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nrcscan.errors import InputError, UsageError, listed
from nrcscan.options import Pool

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


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight that a layer may run with.

    Attributes:
        name: the layer's path in the network, such as "layers.0"; for weights that are not
            called "weight", their own.
        weight: the tensor that reaches the operation.
        owner: path and class of the module that holds it, such as "embed (Embedding)".
        expected: whether that is a Linear or convolution module, and so ought to run.
        pads_itself: whether the module pads its input before the convolution (circular, …).
    """

    name: str
    weight: Tensor
    owner: str
    expected: bool
    pads_itself: bool = False


def find_layers(model: nn.Module) -> list[Layer]:
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
                Layer(
                    name=(path or kind) if own else ".".join(filter(None, (path, name))),
                    weight=weight,
                    owner=f"{path} ({kind})" if path else kind,
                    expected=expected and own,
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


def pooled(features: Tensor, channel_axis: int, pool: Pool) -> Tensor:
    """Return features as (N, width): positions in space or time reduced as `pool` says.

    Args:
        features: (N, width), (N, *positions, width) or (N, width, *positions).
        channel_axis: -1 or 1, where the width is.
        pool: mean over positions, the first or last of them, or all side by side.
    """
    if features.ndim == 2:
        return features
    if pool == "flatten":
        return features.flatten(1)
    positions = features.movedim(channel_axis, -1).flatten(1, -2)
    if pool == "mean":
        return positions.mean(dim=1, dtype=torch.float64)
    return positions[:, 0 if pool == "first" else -1]
