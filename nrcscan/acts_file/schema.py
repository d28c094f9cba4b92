"""What the file holds, shared by its writer and its reader; see docs/file-format.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from nrcscan.statistics.moments import Array

FORMAT = "nrcscan.acts"
VERSION = 3
"""Of a file without predictions, and the newest that is read."""
SKETCH_VERSION = 2
"""Of a file with a sketch, or of products in less than float64."""
PLAIN_VERSION = 1
"""Of any other, which older programs read as well."""
DOUBLE = 2.0**-52
"""Machine epsilon of the products of such a file."""
LARGEST_TEXT = 1 << 26
"""Bytes of what is told of a file in JSON."""
OWN_FILTERS = {
    h5py.h5z.FILTER_DEFLATE,
    h5py.h5z.FILTER_SHUFFLE,
    h5py.h5z.FILTER_FLETCHER32,
}
"""What a file of statistics may be written with."""
FILTERS = OWN_FILTERS | {h5py.h5z.FILTER_SCALEOFFSET, h5py.h5z.FILTER_LZF}
"""What every h5py can undo, without a plug-in."""


@dataclass(frozen=True)
class LayerRecord:
    """A layer in the file.

    Attributes:
        name: in the network; from its second use in a pass on with "#2" and so on.
        kind: "Linear", "Conv2d", ….
        position: which features reach it; layers that read the same tensor share one.
        groups: of a convolution, else 1.
        transposed: whether it is a transposed convolution.
        flattened: whether its features are all positions side by side, on which W does not act.
        acts_alone: whether W is all that acts on its features; else what does is not known.
        shortcut: whether it leads past the main branch of its block.
        reads_inputs: whether its features are the network's inputs as they are given; None where
            a file of before does not tell.
    """

    name: str
    kind: str
    position: int
    groups: int = 1
    transposed: bool = False
    flattened: bool = False
    acts_alone: bool = True
    shortcut: bool = False
    reads_inputs: bool | None = None


@dataclass(frozen=True)
class Unmeasured:
    """A weight layer of the network that ran, and is not in the file.

    Attributes:
        name: in the network.
        reason: why it is not there, such as "left out by --exclude".
        position: how many positions that are in the file begin before it.
        shortcut: whether it leads past the main branch of its block.
        reads_inputs: whether what reaches it is the network's inputs as they are given.
    """

    name: str
    reason: str
    position: int
    shortcut: bool = False
    reads_inputs: bool = False


def unmeasured_in(provenance: Mapping[str, Any]) -> list[Unmeasured]:
    """Return what a file's provenance says was not measured; nothing in files of before.

    Raises:
        ValueError: it is damaged.
    """
    told = provenance.get("unmeasured", [])
    found = []
    for one in told if isinstance(told, list) else [told]:
        match one:
            case {
                "name": str(name),
                "reason": str(reason),
                "position": int(position),
                "shortcut": bool(shortcut),
                "reads_inputs": bool(reads_inputs),
            }:
                found.append(Unmeasured(name, reason, position, shortcut, reads_inputs))
            case _:
                raise ValueError("what it says was not measured makes no sense")
    return found


@dataclass(frozen=True)
class Predictions:
    """The network's own predictions on the samples.

    Attributes:
        squared_error: mean over samples, per target, shape (n_targets,).
        mean: shape (n_targets,).
        covariance: shape (n_targets, n_targets).
    """

    squared_error: Array
    mean: Array
    covariance: Array


@dataclass(frozen=True)
class OutputStatistics:
    """What the network predicts, beside the targets.

    Attributes:
        n_samples: N.
        target_mean: μ_Y, shape (n_targets,).
        target_covariance: Σ_Y, shape (n_targets, n_targets).
        predictions: the network's own; None where it makes none.
    """

    n_samples: int
    target_mean: Array
    target_covariance: Array
    predictions: Predictions | None

    @property
    def r2(self) -> float | None:
        """R² of the predictions; None when there are none or the targets do not vary."""
        if self.predictions is None:
            return None
        variance = float(np.trace(self.target_covariance))
        return 1 - float(self.predictions.squared_error.sum()) / variance if variance > 0 else None
