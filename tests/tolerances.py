"""How far results may lie apart by rounding alone, where processors have kernels of their own.

A float32 network gives other last digits on every processor, and for every batch size, because each
kernel adds the same products in an order of its own. How much of that reaches a quantity depends on
the quantity: CKA moves by about a rounding, the mean sine of small angles by a rounding over the
gap between eigenvalues, a noise component of 1e-12 by a hundredth of itself. No relative tolerance
is right for all of them.

In any order a computed sum of n products is the exact one of factors that are off by n u relative
at most, u = 2⁻²⁴, and by √n u where roundings are independent (Higham, "Accuracy and Stability of
Numerical Algorithms", sections 2.8 and 3.1). The order is the same for every sample, so these
factors are no fresh noise per sample: they act as other weights do, and move the top directions of
all samples together. So roundings are drawn: the network runs in float64, with every weight off by
√n u times a normal number, and every result by u times another, for its storage. How far a quantity
moves is a draw of what another kernel does to it, and the tolerance is `MARGIN` times the largest
of `DRAWS`: once in a thousand times they all stay within a fifth of the standard deviation, and
then two deviations are still within the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
UNIT = 2.0**-24
"""Rounding of a float32 number, relative to it."""

EXACT = 1e-9
"""Relative tolerance of what is computed in float64 from the same numbers."""

DRAWS = 4
MARGIN = 10

SHALLOW = 4 * 2 * 4 * np.sqrt(64) * UNIT
"""Relative tolerance of quantities of a small network that is run in other batches, 1.5e-5.

Four layers of at most 64 inputs each add √64 roundings; eigenvalues are squares, which doubles
them; and directions turn by as much over a gap, which is a quarter of the largest or more.
"""


def features(
    weights: Sequence[Matrix], x: Matrix, draw: np.random.Generator | None
) -> Iterator[Matrix]:
    """Yield what reaches each layer of a ReLU network without biases, and its output last.

    Args:
        weights: of the layers in order, (out, in) each.
        x: inputs (n, d).
        draw: where roundings of a float32 kernel come from; without it there are none.
    """
    for number, weight in enumerate(weights):
        x = np.maximum(x, 0) if number else x
        yield x
        if draw is not None:
            spread = UNIT * np.sqrt(weight.shape[1])
            weight = weight * (1 + spread * draw.standard_normal(weight.shape))
        x = x @ weight.T
        if draw is not None:
            x = x * (1 + UNIT * draw.standard_normal(x.shape))
    yield x


def of_roundings(
    measure: Callable[[np.random.Generator | None], dict[str, float]],
) -> dict[str, float]:
    """Return how far each quantity may be off, in its own unit, from a float32 forward pass.

    Args:
        measure: computes the quantities with roundings from a generator, or with none.
    """
    exact = measure(None)
    drawn = [measure(draw) for draw in np.random.default_rng(0).spawn(DRAWS)]
    return {
        quantity: EXACT * abs(value) + MARGIN * max(abs(other[quantity] - value) for other in drawn)
        for quantity, value in exact.items()
    }


def of_sums(weight: Matrix, bias: Matrix, x: Matrix) -> Matrix:
    """Return how far each sum x Wᵀ + b in float32 may be off (n, out), in any order of adding."""
    terms = np.abs(x) @ np.abs(weight).T + np.abs(bias)
    return np.asarray((weight.shape[1] + 1) * UNIT * terms)
