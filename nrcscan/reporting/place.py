"""Where a layer is, in the first column of every table of layers."""

from __future__ import annotations

from nrcscan.reporting.layer_result import LayerResult

INPUTS, SHORTCUT = "in", "cut"
"""In place of a step's number: features that are the network's inputs, and a block's shortcut."""


def place(layer: LayerResult) -> str:
    """Return a layer's place as the verdict counts it, or what it is that it leaves out."""
    return INPUTS if layer.inputs else SHORTCUT if layer.step is None else str(layer.step)
