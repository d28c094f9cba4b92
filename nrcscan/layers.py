"""Which layers are watched, and how the tensor that reaches one becomes features (N, width)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import cast

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


@dataclass(frozen=True, eq=False)
class Layer:
    """A weight-bearing layer of a network.

    Attributes:
        name: its path in the network, such as "layers.0".
        kind: "Linear", "Conv2d", ….
        weight: the parameter that reaches the operation.
        groups: of a convolution, else 1.
        transposed: whether it is a transposed convolution.
        pads_itself: whether it pads its input before the convolution (circular, reflect, …).
    """

    name: str
    kind: str
    weight: Tensor
    groups: int = 1
    transposed: bool = False
    pads_itself: bool = False

    @property
    def channel_axis(self) -> int:
        """Where the channels are in the tensor that reaches the layer."""
        return -1 if self.kind == "Linear" else 1


def find_layers(model: nn.Module) -> list[Layer]:
    """Return the Linear and convolution layers of a network, in the order it lists them.

    Raises:
        InputError: a layer is lazy, and has never run.
    """
    layers = []
    for name, module in model.named_modules():
        kind = next((t.__name__ for t in LAYER_TYPES if isinstance(module, t)), None)
        if kind is None:
            continue
        if is_lazy(module.weight):
            raise InputError(f"layer {name} has no width yet; run the network once before")
        layers.append(
            Layer(
                name=name or kind,
                kind=kind,
                weight=cast(Tensor, module.weight),
                groups=getattr(module, "groups", 1),
                transposed=kind.startswith("ConvTranspose"),
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
