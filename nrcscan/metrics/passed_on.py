"""How much of what reaches a layer it passes on, and whether that is lost beside what joins it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from nrcscan.metrics.directions import Spectrum
from nrcscan.statistics.moments import Array

ROUNDINGS = 4
"""A spread of so many roundings of what it is added to counts as none: ε/2 for each of the last few
steps that make a sum, with room, as for features beside their own mean."""

_AT_ONCE = 64
"""Outputs that are looked at together."""


class Kernel(NamedTuple):
    """A weight as the network holds it, and how it acts.

    Attributes:
        weight: (out, d), or a convolution's kernel: (c_out, c_in/groups, …), or
            (c_in, c_out/groups, …) when transposed.
        groups: of a convolution, else 1.
        transposed: whether it is a transposed one.
    """

    weight: Array
    groups: int = 1
    transposed: bool = False


def passed_on(kernel: Kernel, covariance: Array | Spectrum) -> Iterator[Array]:
    """Yield the variances of a layer's outputs, the diagonal of WΣWᵀ, some outputs at a time.

    Of a kernel they are sums over its places, each taken apart. What a sketch has not seen counts
    as if the weight pointed there: they are then at most as large as that.

    Args:
        kernel: the layer's.
        covariance: Σ (d, d) of the features, or the spectrum of a sketch of it.
    """
    places = kernel.weight.reshape(*kernel.weight.shape[:2], -1)
    d = places.shape[0] if kernel.transposed else places.shape[1] * kernel.groups
    inputs = np.split(np.arange(d), kernel.groups)
    for block, own in zip(np.split(places, kernel.groups), inputs, strict=True):
        matrices = block.transpose((1, 2, 0) if kernel.transposed else (0, 2, 1))
        for begin in range(0, len(matrices), _AT_ONCE):
            some = matrices[begin : begin + _AT_ONCE]  # (outputs, places, inputs)
            if isinstance(covariance, Spectrum):
                along = (some @ covariance.vectors[own]) ** 2 @ covariance.values
                yield along.sum(axis=1) + covariance.residual * (some**2).sum(axis=(1, 2))
            else:  # not by eigenvectors, in which one large unit hides small ones
                yield ((some @ covariance[np.ix_(own, own)]) * some).sum(axis=(1, 2))


def lost(kernel: Kernel, covariance: Array | Spectrum, beside: Array, epsilon: float) -> bool:
    """Say whether nothing of the features gets through a layer.

    That is so where the spread of each of its outputs is within a few roundings of what is added
    to it there. It is a comparison at the output: features that are small because a layer before
    made them so, and this one makes up for it, are none the less alive. To multiply a hidden unit
    of a ReLU network and divide the weights that read it changes neither side.

    Args:
        kernel: the layer's.
        covariance: of the features, see `passed_on`.
        beside: how large what is added to each output is, (out,).
        epsilon: machine epsilon of the arithmetic that made the sum.
    """
    if not kernel.weight.any():
        return False  # of which is said that the weight is zero
    least = (ROUNDINGS * epsilon * beside) ** 2
    begin = 0
    for variances in passed_on(kernel, covariance):  # the first few nearly always show it
        if (variances > least[begin : begin + len(variances)]).any():
            return False
        begin += len(variances)
    return True
