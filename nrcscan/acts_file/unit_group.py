"""How the moments of features scaled to norm 1 lie in the file, where a pass took them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import h5py
from numpy.typing import NDArray

from nrcscan.acts_file.plain_attributes import PlainAttributes
from nrcscan.statistics.moments import Array
from nrcscan.statistics.unit_features import UnitFeatures


def where(position: int) -> str:
    """Return the group's name."""
    return f"positions/{position:04d}/unit_features"


def write(
    found: UnitFeatures,
    at: str,
    group: Callable[[str], h5py.Group],
    put: Callable[[str, NDArray[Any]], None],
) -> None:
    """Write the moments with what a writer has for it."""
    group(at).attrs["n_samples"] = found.n_samples
    group(at).attrs["n_zero"] = found.n_zero
    put(f"{at}/mean", found.mean)
    put(f"{at}/covariance", found.covariance)


def read(
    file: h5py.File,
    at: str,
    array: Callable[[str, tuple[int | None, ...] | None], Array],
    attributes: Callable[[str], PlainAttributes],
) -> UnitFeatures | None:
    """Return the moments with what a reader has for it; None where there are none.

    Raises:
        LookupError, ValueError: the group is damaged.
    """
    if at not in file:
        return None
    n_samples, n_zero = (int(attributes(at)[name]) for name in ("n_samples", "n_zero"))
    if min(n_samples, n_zero) < 0:
        raise ValueError(f"{at} counts less than no features")
    mean = array(f"{at}/mean", (None,))
    covariance = array(f"{at}/covariance", (len(mean), len(mean)))
    return UnitFeatures(n_samples, n_zero, mean, covariance)
