"""How cross-covariances of two positions' features lie in the file, where a pass took them."""

from __future__ import annotations

from collections.abc import Callable

import h5py

from nrcscan.statistics.moments import Array


def where(earlier: int, later: int) -> str:
    """Return the dataset's name."""
    return f"positions/{later:04d}/cross/{earlier:04d}"


def read(
    file: h5py.File,
    earlier: int,
    later: int,
    array: Callable[[str, tuple[int | None, ...] | None], Array],
) -> Array | None:
    """Return one (d_i, d_j) with what a reader has for it; None where there is none.

    Raises:
        LookupError, ValueError: it is damaged.
    """
    at = where(earlier, later)
    if at not in file:
        return None
    widths = (file[f"positions/{position:04d}/mean"].shape[0] for position in (earlier, later))
    return array(at, tuple(widths))
