"""Which calls of a pass are watched, and what reaches them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from nrcscan.acts_file.prefixes import Prefixes
from nrcscan.acts_file.schema import LayerRecord, Unmeasured
from nrcscan.network.computed_weights import Constants
from nrcscan.network.features_from_tensor import Layout
from nrcscan.network.find_layers import LayerWeight
from nrcscan.network.masks import MaskUse
from nrcscan.statistics.moments import Array


@dataclass
class CallPlan:
    """What the probe found: the calls of a pass in order, and which of them are watched."""

    layers: list[LayerWeight]
    """Every weight of the network that a call may run with."""
    calls: list[str]
    """Names of the calls of layers, in order."""
    stateless: bool
    """Whether a pass leaves nothing behind in the network, so that several can run at once."""
    constants: Constants | None = None
    """Of a network that computes weights from its parameters as it runs."""
    records: list[LayerRecord] = field(default_factory=list)
    weights: list[Tensor] = field(default_factory=list)
    beside: list[Array | None] = field(default_factory=list)
    """Layer → how large what its outputs are added to is, (out,); None where none is known."""
    unmeasured: list[Unmeasured] = field(default_factory=list)
    """The weight layers that run and are not watched."""
    prefixes: Prefixes | None = None
    """What the network costs up to each position; None until that is found out."""
    readers: dict[str, int] = field(default_factory=dict)
    """Call whose features stand for a position → that position."""
    layouts: dict[str, Layout] = field(default_factory=dict)
    """Call → where the samples are in what reaches it."""
    masks: dict[str, MaskUse] = field(default_factory=dict)
    """Call → what says which positions of its features count, if anything does."""
    whole: dict[str, str] = field(default_factory=dict)
    """Mask that has to count every position → a call that it could not be applied to."""
    widths: list[int] = field(default_factory=list)
    per_token: list[bool] = field(default_factory=list)
    """Position → whether each of its tokens is a sample, with the targets of its sequence."""
    work: float = 0.0
    """Multiply-adds of the largest layer, per sample."""
    largest: float = 0.0
    """Numbers in the largest tensor that reaches a layer, per sample."""
    batch: int = 0
    """Samples per forward pass."""

    @property
    def head(self) -> str | None:
        """The network's last layer, if it is watched."""
        last = self.records[-1].name
        return last if self.calls[-1] == last else None


class Features(NamedTuple):
    """What reached a position: features (rows, width), in as many rows per sample as told.

    Attributes:
        rows: the features.
        counts: rows of each sample, shape (n,); None where each has one.
    """

    rows: Tensor
    counts: NDArray[np.int64] | None
