"""Which operations the weights of a network have a part in, be they layers or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from nrcscan.network.computed_weights import tensors
from nrcscan.network.find_layers import LayerWeight
from nrcscan.network.recurrence import RECURRENT

_aten = torch.ops.aten

_PRODUCTS = {
    _aten.linear, _aten.matmul, _aten.mm, _aten.bmm, _aten.mv, _aten.einsum, _aten.tensordot,
    _aten.inner, _aten.addmm, _aten.addmv, _aten.addbmm, _aten.baddbmm, _aten.bilinear,
    _aten._trilinear, _aten.convolution, _aten._convolution, _aten.conv1d, _aten.conv2d,
    _aten.conv3d, _aten.conv_transpose1d, _aten.conv_transpose2d, _aten.conv_transpose3d,
    *RECURRENT,
}  # fmt: skip
"""Operations by which a weight acts on features, and does not merely scale or shift them."""

LOOK_UPS = {_aten.embedding, _aten.embedding_bag, _aten._embedding_bag}
"""Operations that take rows of a weight as features."""


class ProductUse(NamedTuple):
    """A product of a weight with features: the operation, and how many calls came before it."""

    operation: str
    calls_before: int


class WeightUses:
    """What the weights of a network were used in, in one pass.

    Args:
        stored: storage → the weights in it.
    """

    def __init__(self, stored: Mapping[int, Sequence[LayerWeight]]) -> None:
        self._stored = stored
        self.last: dict[str, str] = {}
        """Weight → the last operation that it had a part in."""
        self.products: dict[str, ProductUse] = {}
        """Weight → the last product with features that it had a part in."""

    def note(self, packet: Any, args: Sequence[Any]) -> None:
        """Keep which operation each weight has a part in, as it may be no layer's."""
        for layer in self._among(args):
            self.last[layer.name] = _name(packet, args)

    def note_product(
        self, packet: Any, args: Sequence[Any], calls_before: int
    ) -> list[LayerWeight]:
        """Keep which weights meet features in an operation, if it is a product.

        Returns:
            Those that meet features in one, or that are looked up in.
        """
        if packet in LOOK_UPS:
            return self._among(args)
        if packet not in _PRODUCTS:
            return []
        found = self._among(args)
        for layer in found:
            self.products[layer.name] = ProductUse(_name(packet, args), calls_before)
        return found

    def _among(self, args: Sequence[Any]) -> list[LayerWeight]:
        return [
            layer
            for tensor in tensors(args)
            if tensor.layout is torch.strided
            for layer in self._stored.get(tensor.untyped_storage().data_ptr(), ())
        ]


def _name(packet: Any, args: Sequence[Any]) -> str:
    return f"einsum {args[0]!r}" if packet is _aten.einsum else str(packet.__name__)
