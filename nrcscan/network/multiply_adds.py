"""How many multiply-adds the products of a network's weights with features take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nrcscan.network.call import Call
from nrcscan.network.weight_uses import LOOK_UPS

_aten = torch.ops.aten

_MATRICES = {
    _aten.bmm: (0, 1), _aten.matmul: (0, 1), _aten.mm: (0, 1), _aten.mv: (0, 1),
    _aten.baddbmm: (1, 2), _aten.addmm: (1, 2), _aten.addmv: (1, 2), _aten.addbmm: (1, 2),
}  # fmt: skip
"""Product of matrices → where among its arguments its two operands are."""


def of_call(call: Call, features: Tensor, made: int | None) -> int | None:
    """Return the multiply-adds of a layer's call: positions times the numbers in its weight.

    Args:
        call: the call.
        features: what reaches it.
        made: numbers in what it returned; None where not known.

    Returns:
        Of all samples together, None where not known. The positions of a convolution are those it
        returns, of any other layer, and of a transposed convolution, those that reach it.
    """
    weight = call.weight
    if call.kind.startswith("Conv") and not call.transposed:
        return None if made is None else made // len(weight) * weight.numel()
    return features.numel() // int(features.shape[call.channel_axis]) * weight.numel()


def of_other_use(packet: Any, args: Sequence[Any], out: Any) -> int | None:
    """Return the multiply-adds of an operation with a weight that is no layer's.

    Returns:
        Of all samples together; None for an operation that is not known here.
    """
    if packet in LOOK_UPS:
        return 0
    if packet in _MATRICES and isinstance(out, Tensor):
        first, second = (args[at] for at in _MATRICES[packet])
        made = out.numel() * (len(first) if packet is _aten.addbmm else 1)
        return int(made * second.shape[-2 if second.ndim > 1 else 0])
    if packet is _aten.bilinear:
        return int(math.prod(args[0].shape[:-1]) * args[2].numel())
    if packet is _aten.einsum and len(args[1]) == 2:
        terms, _, _ = args[0].replace(" ", "").partition("->")
        if "." not in terms:
            axes = "".join(terms.split(","))
            sizes = [*args[1][0].shape, *args[1][1].shape]
            return math.prod(dict(zip(axes, sizes, strict=True)).values())
    return None
