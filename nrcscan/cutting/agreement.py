r"""Whether a cut network errs by as much as its statistics say, up to rounding.

The predicted error is that of the head on stored moments, the direct one that of the network as it
runs: equal but for rounding. With u the unit roundoff of the network's precision and n the products
that are added up on the way from the inputs to a prediction, one layer's width after the other, a
prediction of target i is off, in the root mean square, by about

    e_i = 4 √n · u · s_i,    s_i² = Σ_j W_ij² E(h_j²) + b_i²

s_i is the size of what the head adds up, which the rounding of W, b, h and of every partial sum is
relative to, whatever cancels; √n is how n rounding errors of either sign add up, and 4 makes that
hold with high probability (Higham & Mary, SIAM J. Sci. Comput. 41, 2019). By Cauchy and Schwarz the
mean of (y − ŷ)² is then off by at most 2 √MSE_i · e_i + e_i². The moments were added up in a
precision of their own, of unit roundoff v: the predicted error is a difference of products of them,
off by about 4 √n · v · (s_i + √E(y_i²))².
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nrcscan.acts_file.reading import Acts
from nrcscan.cutting.linear_head import LinearHead
from nrcscan.cutting.measured_network import Samples
from nrcscan.errors import InputError
from nrcscan.network.forward import Forward
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.wording import reason

CLOSE = 1e-9
"""What two errors may differ by, as a share of them, whatever the precision."""

LIKELY = 4.0
"""How many times √n · u rounding errors may add up to."""


@dataclass(frozen=True)
class Agreement:
    """The error of a cut network on some samples, as predicted and as it is.

    Attributes:
        samples: what they are, TRAIN or TEST.
        n_samples: how many.
        predicted: mean squared error from statistics, the mean over targets.
        direct: likewise, of the network as it was written.
        tolerance: by how much they may differ, of rounding alone.
    """

    samples: str
    n_samples: int
    predicted: float
    direct: float
    tolerance: float

    @property
    def holds(self) -> bool:
        """Whether they agree."""
        return abs(self.direct - self.predicted) <= self.tolerance


def tolerance(head: LinearHead, statistics: Statistics, acts: Acts, n_products: int) -> float:
    """Return by how much predicted and direct error may differ, the mean over targets.

    Args:
        head: of the cut.
        statistics: of the features that reach it, and of the targets.
        acts: the file that they are from, which knows the precisions.
        n_products: that are added up on the way to a prediction.
    """
    s, w = statistics, head.weight
    features = np.diagonal(s.feature_covariance).clip(0) + s.feature_mean**2
    targets = np.diagonal(s.target_covariance).clip(0) + s.target_mean**2
    size = np.sqrt(w**2 @ features + head.bias**2)
    steps = LIKELY * np.sqrt(n_products)
    off = steps * acts.epsilon / 2 * size
    sums = steps * acts.product_epsilon / 2 * (size + np.sqrt(targets)) ** 2
    allowed = 2 * np.sqrt(head.squared_error(s)) * off + off**2 + sums
    return max(CLOSE * float(head.squared_error(s).mean()), float(allowed.mean()))


def direct_error(
    predict: Callable[[Any], Tensor], run: Forward, parts: Iterable[Samples], size: int
) -> tuple[Array, int]:
    """Return the mean squared error (n_targets,) of a network as it runs, and on how many samples.

    Args:
        predict: inputs as a network takes them → predictions (n, n_targets).
        run: the whole network, which knows how inputs are given to it.
        parts: the samples.
        size: of a batch.

    Raises:
        InputError: the predictions are not of the targets' shape.
    """
    total: Array | float = 0.0
    done = 0
    for part in parts:
        for x, y in part.dataset.batches(size, part.limit, part.offset):
            made = _predicted(predict, run.inputs(x, done))
            if made.shape != y.shape:
                raise InputError(
                    f"the cut network predicts shape {made.shape} where the targets have {y.shape};"
                    " cut before another layer"
                )
            total = total + ((made - y) ** 2).sum(axis=0)
            done += len(y)
    return np.asarray(total) / max(done, 1), done


def _predicted(predict: Callable[[Any], Tensor], inputs: Any) -> Array:
    """Return predictions as an array.

    Raises:
        InputError: what was written does not run, on another number of samples than its example.
    """
    try:
        with torch.inference_mode():
            return predict(inputs).cpu().double().numpy()
    except Exception as error:  # of whatever runs it
        raise InputError(
            f"the cut network does not run as it was written ({type(error).__name__}:"
            f" {reason(error)}): nothing was written; write it as .pt, or cut before another layer"
        ) from error


def require_agreement(found: Agreement, path: Path) -> None:
    """Refuse a network that errs otherwise than was predicted.

    Args:
        found: how it errs, and how it was to.
        path: of the file that tells of the samples.

    Raises:
        InputError: the network that was cut, or its samples, are not those that were measured, or
            the form that it was written in computes something else.
    """
    if not found.holds:
        raise InputError(
            f"the cut network's MSE on the samples of {found.samples} is {found.direct:.6g}, where"
            f" {path} has {found.predicted:.6g} (rounding explains {found.tolerance:.1g}): nothing"
            " was written; extract the file anew from the network and the samples of now"
        )
