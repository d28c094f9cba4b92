"""The digest of blocks of samples as datasets: how each field is called and shaped in the file."""

from __future__ import annotations

from collections.abc import Callable

from nrcscan.statistics.blocks import Blocks, Fits, Targets
from nrcscan.statistics.moments import Array

Read = Callable[[str, tuple[int | None, ...]], Array]
"""Returns a dataset of a group, once its shape is as it must be."""

SHARED = "blocks"
"""The group of the targets of all positions that have none of their own."""


def of_targets(targets: Targets) -> dict[str, Array]:
    """Return dataset → values, of the targets of blocks."""
    found = {
        "n_samples": targets.n_samples,
        "mean": targets.mean,
        "covariance": targets.covariance,
    }
    if targets.squared_error is not None:
        found["squared_error"] = targets.squared_error
    return found


def targets_from(read: Read, has: Callable[[str], bool], t: int) -> Targets:
    """Return the targets of blocks.

    Raises:
        ValueError: there is no block, or one without samples.
    """
    n_samples = read("n_samples", (None,))
    count = len(n_samples)
    if count < 2 or not (n_samples >= 1).all():
        raise ValueError("a block of samples is empty")
    error = read("squared_error", (count, t)) if has("squared_error") else None
    return Targets(n_samples, read("mean", (count, t)), read("covariance", (count, t, t)), error)


def of_blocks(blocks: Blocks) -> dict[str, Array]:
    """Return dataset → values, of the features of blocks."""
    found = {
        "mean": blocks.feature_mean,
        "target_covariance": blocks.cross_covariance,
        "trace": blocks.trace,
        "inner": blocks.inner,
        "basis": blocks.basis,
        "along": blocks.along,
    }
    return (
        found
        if blocks.fits is None
        else found | {f"fit_{k}": v for k, v in vars(blocks.fits).items()}
    )


def blocks_from(read: Read, has: Callable[[str], bool], targets: Targets, d: int) -> Blocks:
    """Return the digest of a position's blocks."""
    count, t = targets.mean.shape
    basis = read("basis", (d, None))
    fits = None
    if has("fit_held_out"):
        fits = Fits(*(read(f"fit_{name}", (count, t)) for name in Fits.__dataclass_fields__))
    return Blocks(
        targets=targets,
        feature_mean=read("mean", (count, d)),
        cross_covariance=read("target_covariance", (count, d, t)),
        trace=read("trace", (count,)),
        inner=read("inner", (count,)),
        basis=basis,
        along=read("along", (count, *basis.shape)),
        fits=fits,
    )


def missing(told: object, *, there: bool) -> str | None:
    """Return why some positions have no blocks of samples, or None where all have.

    Args:
        told: the section on blocks of a file's provenance.
        there: whether any position has some.
    """
    if isinstance(told, dict):
        why = told.get("lacking")
        return why if isinstance(why, str) else None
    return None if there else "the file is of an nrcscan that kept no blocks of samples"
