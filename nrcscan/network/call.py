"""One use of a layer, as it is seen in a pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nrcscan.network.find_layers import LayerWeight


@dataclass(frozen=True)
class Call:
    """One use of a layer in a pass.

    Attributes:
        layer: the layer.
        name: its name, with "#2" and so on from the second use in the same pass.
        kind: "Linear", "Conv2d", …, as the operation shows it.
        weight: what the operation runs with, (out, in) or a convolution's kernel: the layer's,
            turned where it multiplies from the other side, or some rows of it.
        groups: of a convolution, else 1.
        source: what tells tensors apart within a pass; two calls with the same source read
            the same features. Empty unless sources are traced.
    """

    layer: LayerWeight
    name: str
    kind: str
    weight: Tensor
    groups: int
    source: tuple[Any, ...] = ()

    @property
    def transposed(self) -> bool:
        """Whether it is a transposed convolution."""
        return "Transpose" in self.kind

    @property
    def channel_axis(self) -> int:
        """Where the channels are in the tensor that reaches the layer."""
        return 1 if self.kind.startswith("Conv") else -1
