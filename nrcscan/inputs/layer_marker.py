"""An operation that does nothing but say which features reach which weight.

Networks that run outside torch call it for every layer, so that the capture sees their layers
as it sees those of torch.
"""

from __future__ import annotations

import torch
from torch import Tensor

_library = torch.library.Library("nrcscan", "DEF")
_library.define("reaches(Tensor features, Tensor weight, str kind, int groups) -> ()")


def _nothing(features: Tensor, weight: Tensor, kind: str, groups: int) -> None:
    pass


_library.impl("reaches", _nothing, "CompositeExplicitAutograd")

REACHES = torch.ops.nrcscan.reaches
"""(features, weight, kind, groups) of a layer that is about to run, both as torch has them."""
