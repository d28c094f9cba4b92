"""Whether what reaches a layer is the network's inputs, just as they were given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from nrcscan.inputs.arrays import parts
from nrcscan.network.features_from_tensor import Placed


class RawInputs:
    """Keeps a few samples' inputs, as the network may write to the ones it is given.

    Args:
        inputs: as the network takes them, the samples on the first axis.
    """

    def __init__(self, inputs: Any) -> None:
        given = [x for x in parts(inputs).values() if isinstance(x, Tensor)]
        self._given = [x.detach().clone() for x in given]

    def are(self, reached: Placed) -> bool:
        """Say whether every number that reached a layer is one of its sample's inputs.

        They may be cast, arranged anew, side by side, and padded with zeros; not all may be zero.
        """
        features = reached.features.detach()
        if not bool(features.any()):
            return False
        for sample, numbers in enumerate(features):
            allowed = [x[sample].to(features.dtype).reshape(-1) for x in self._given]
            known = torch.cat([torch.zeros_like(allowed[0][:1]), *allowed]).double()
            if not bool(torch.isin(numbers.double().reshape(-1), known).all()):
                return False
        return True
