"""What a cut network's source is made of, whichever way it is written: names, layers, the head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, fx, nn

from nrcscan.cutting.layers_in_source import SourceLayer, source_layer
from nrcscan.cutting.network_graph import GraphPrefix
from nrcscan.cutting.python_text import Group
from nrcscan.options.choices import Pool


@dataclass(frozen=True)
class SourceMaterial:
    """What is written.

    Attributes:
        prefix: what runs before the cut.
        weight: of the head, (n_targets, width), in the precision of the network.
        bias: of the head, (n_targets,).
        pool: how the features become one row per sample.
    """

    prefix: GraphPrefix
    weight: Tensor
    bias: Tensor
    pool: Pool

    @cached_property
    def layers(self) -> dict[fx.Node, SourceLayer]:
        """The operations that modules of torch run: one module to each path."""
        found: dict[fx.Node, SourceLayer] = {}
        made: dict[str, Group] = {}
        unlike: set[str] = set()
        for node in self.prefix.operations:
            layer = source_layer(node, self.prefix)
            if layer is not None:
                found[node] = layer
                if made.setdefault(layer.path, layer.made) != layer.made:
                    unlike.add(layer.path)
        return {node: layer for node, layer in found.items() if layer.path not in unlike}

    @cached_property
    def stored(self) -> dict[str, Tensor]:
        """Every tensor that is kept, by its name in the whole network."""
        found = dict(self.prefix.state)
        for layer in self.layers.values():
            found |= layer.beside
        return found

    @cached_property
    def renamed(self) -> Mapping[str, str]:
        """Under which name every tensor is kept: its own, if a module of torch can have that."""
        return {name: _possible(name) for name in self.stored}

    @cached_property
    def head(self) -> str:
        """The name of the head."""
        taken = {name.partition(".")[0] for name in self.renamed.values()}
        names = ("head", "linear_head", "cut_head", *(f"head_{n}" for n in range(len(taken))))
        return next(name for name in names if name not in taken)

    @property
    def head_made(self) -> Group:
        """How the head is made."""
        out, width = self.weight.shape
        return Group("nn.Linear(", [str(width), str(out)])

    @property
    def in_precision(self) -> str:
        """What puts the network into its precision."""
        dtype = self.weight.dtype
        if dtype == torch.float32:
            return ""
        return ".double()" if dtype == torch.float64 else f".to({dtype})"

    @property
    def state(self) -> dict[str, Tensor]:
        """The state dict."""
        found = {
            self.renamed[name]: tensor.detach().cpu().contiguous().clone()
            for name, tensor in self.stored.items()
        }
        return found | {f"{self.head}.weight": self.weight, f"{self.head}.bias": self.bias}

    def path(self, layer: SourceLayer) -> str:
        """Return where a layer is in the cut network."""
        return self.renamed[layer.tensors[0]].rpartition(".")[0]


def _possible(name: str) -> str:
    """Return a name whose parts are none that every module of torch has.

    >>> _possible("body.forward.weight"), _possible("0.type")
    ('body.forward_.weight', '0.type_')
    """
    own, (*folders, last) = nn.Sequential(), name.split(".")
    usual = last in ("weight", "bias")
    parts = [*folders] if usual else [*folders, last]
    shown = [f"{part}_" if hasattr(own, part) else part for part in parts]
    return ".".join([*shown, last] if usual else shown)
