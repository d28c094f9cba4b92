"""Moments of the samples' squared norms, beside the usual ones: what debiasing a CKA takes.

With c = [‖h‖², ‖y‖²] of a sample z = [h, y] they are Σ c zᵀ, Σ c and Σ c cᵀ, side by side in one
array (2, width + n_targets + 3). All follow when z is taken about another shift.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def norms_of(rows: NDArray[Any], width: int) -> Array:
    """Return Σ c [z, 1, c]ᵀ of rows [h, y, 1], the first `width` columns of which are h."""
    h, y = rows[:, :width], rows[:, width:-1]
    squared = [np.einsum("ij,ij->i", part, part) for part in (h, y)]
    wide = np.array(squared, np.float64)  # fourth powers overflow float32
    of_rows = [one @ rows for one in squared]  # twice as fast as one product of two rows
    return np.hstack([np.array(of_rows, np.float64), wide @ wide.T])


def moved(norms: Array, products: Array, move: Array, width: int) -> Array:
    """Return what these sums would be with `move` added to every z.

    Args:
        norms: Σ c [z, 1, c]ᵀ.
        products: Σ [z, 1] [z, 1]ᵀ, shape (d + t + 1, d + t + 1).
        move: shape (d + t,).
        width: d.
    """
    # c becomes c + D [z, 1].
    change = np.zeros((2, len(move) + 1))
    for row, part in enumerate((slice(None, width), slice(width, len(move)))):
        change[row, part] = 2 * move[part]
        change[row, -1] = move[part] @ move[part]
    of_rows, of_squares = norms[:, :-2], norms[:, -2:]
    new_rows = of_rows + change @ products
    new_squares = of_squares + change @ of_rows.T + new_rows @ change.T
    new_rows[:, :-1] += np.outer(new_rows[:, -1], move)
    return np.hstack([new_rows, new_squares])
