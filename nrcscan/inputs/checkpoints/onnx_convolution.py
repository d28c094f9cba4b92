"""How many positions a convolution of an ONNX graph gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import onnx


class ConvolutionSteps(NamedTuple):
    """Where a convolution puts its kernel, as the operation's definition says.

    Attributes:
        strides: axis by axis; empty for 1 everywhere.
        dilations: likewise.
        pads: at the beginning of every axis, then at the end of every axis; empty for none.
        fills: whether the pads are such that every stride has an output (SAME_UPPER, SAME_LOWER).
    """

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]
    fills: bool

    def numbers(self, features: Sequence[int], kernel: Sequence[int]) -> int:
        """Return how many numbers it gives.

        Args:
            features: the shape (n, channels, *positions) of what reaches it.
            kernel: the shape (out, in, *sizes) of its weight.
        """
        axes = len(kernel) - 2
        strides, dilations = self.strides or (1,) * axes, self.dilations or (1,) * axes
        pads = self.pads or (0,) * (2 * axes)
        places = []
        for axis, (length, size) in enumerate(zip(features[2:], kernel[2:], strict=True)):
            room = length + pads[axis] + pads[axes + axis] - dilations[axis] * (size - 1)
            places.append(-(-(length if self.fills else room) // strides[axis]))
        return features[0] * kernel[0] * math.prod(places)


def steps_of(node: onnx.NodeProto) -> ConvolutionSteps:
    """Return where a node puts its kernel."""
    several = {a.name: tuple(a.ints) for a in node.attribute}
    pads = next((a.s for a in node.attribute if a.name == "auto_pad"), b"NOTSET")
    return ConvolutionSteps(
        several.get("strides", ()),
        several.get("dilations", ()),
        () if pads == b"VALID" else several.get("pads", ()),
        pads.startswith(b"SAME"),
    )
