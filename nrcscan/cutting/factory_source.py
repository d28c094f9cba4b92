"""The Python file of a cut network: what makes it anew, without nrcscan and the user's code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from nrcscan.cutting.graph_source import as_class
from nrcscan.cutting.python_text import documented
from nrcscan.cutting.sequential_source import as_sequential
from nrcscan.cutting.source_material import SourceMaterial


@dataclass(frozen=True)
class CutSource:
    """A cut network as a file of Python and its weights.

    Attributes:
        text: of the file; its `build()` returns the network.
        state: the network's state dict.
    """

    text: str
    state: Mapping[str, Tensor]


def cut_source(of: SourceMaterial, told: Sequence[str]) -> CutSource:
    """Return a cut network as source and weights.

    Args:
        of: what runs before the cut, and the head.
        told: paragraphs of the file's docstring.
    """
    text = "\n".join(as_sequential(of) or as_class(of))
    imports = ["from torch import nn"]
    if "Tensor" in text:
        imports = ["from torch import Tensor, nn"]
    if "torch." in text or "aten." in text:
        imports = ["import torch", *imports]
    if "OrderedDict(" in text:
        imports = ["from collections import OrderedDict", "", *imports]
    if "aten." in text.replace("torch.ops.aten", ""):
        imports += ["", "aten = torch.ops.aten"]
    document = "\n\n".join(map(documented, told))
    return CutSource("\n".join([f'"""{document}\n"""', "", *imports, "", "", text, ""]), of.state)
