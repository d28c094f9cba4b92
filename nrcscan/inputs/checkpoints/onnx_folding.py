"""Tells the layers of an ONNX graph into whose weights an exporter folded a BatchNorm.

What is measured there are features and weights after folding. Some exporters say so in the node,
or in the weight's name. That of torch's traces says nothing, but gives such weights names of its
own, where it keeps the network's for all other convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nrcscan.wording import some

if TYPE_CHECKING:
    import onnx

    from nrcscan.inputs.checkpoints.onnx_graph import LayerNode

_SAID_UNDER = ("pkg.onnxscript.rewriter.rule_name", "pkg.torch.onnx.class_hierarchy")
_SAID_OF_NODE = re.compile(r"FuseBatchNorm|\.BatchNorm\dd'")
_SAID_IN_NAME = re.compile(r"fused?_?bn|bn_?fus|batch_?norm", re.IGNORECASE)
_UNNAMED = re.compile(r"onnx::Conv(Transpose)?_\d+")


def notes_on_folding(layers: Sequence[LayerNode], nodes: Sequence[onnx.NodeProto]) -> Iterator[str]:
    """Yield what is to be said of layers into which a BatchNorm was, or may have been, folded."""
    made = {node.output[0]: node for node in nodes if node.output}
    said, likely = [], []
    for layer in layers:
        props = made[layer.output].metadata_props
        told = [entry.value for entry in props if entry.key in _SAID_UNDER]
        name = layer.names[0].removesuffix(".weight")
        if any(map(_SAID_OF_NODE.search, told)) or _SAID_IN_NAME.search(layer.origin):
            said.append(name)
        elif _UNNAMED.fullmatch(layer.origin):
            likely.append(name)
    after = "features and weights are measured as they are after folding"
    if said:
        yield f"the exporter folded BatchNorm into the weights of {some(said)}: {after}"
    if likely:
        yield (
            f"the weights of {some(likely)} have no names of the network's own, as exporters leave"
            f" those into which they fold BatchNorm: if so, {after}"
        )
