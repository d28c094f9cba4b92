"""Blocks of samples of data shards as those of all samples.

Each part kept its blocks along directions of its own. Within these a block is known in any other
direction; what lies outside is taken to be as in the part as a whole, scaled by its trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from nrcscan.acts_file.reading import Acts
from nrcscan.statistics.blocks import (
    MOST,
    Blocks,
    Fits,
    Targets,
    directions_kept,
    top_directions,
)
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.statistics.sketch import Sketched
from nrcscan.wording import some


def lacking(parts: Sequence[Acts]) -> str | None:
    """Return why the merged file has no blocks at some positions, or None."""
    bare = [acts.path for acts in parts if acts.block_targets is None]
    if bare:
        return f"{some(bare)} {'has' if len(bare) == 1 else 'have'} no blocks of samples"
    return next((acts.no_blocks for acts in parts if acts.no_blocks is not None), None)


def merged_targets(parts: Sequence[Acts]) -> Targets | None:
    """Return the targets of all blocks; None where a part has none."""
    found = [targets for acts in parts if (targets := acts.block_targets) is not None]
    if len(found) < len(parts):
        return None
    targets = _joined_targets(found)
    while len(targets.n_samples) > MOST:
        targets = targets.pooled()
    return targets


def merged_blocks(
    parts: Sequence[Acts], position: int, total: Statistics | Sketched
) -> Blocks | None:
    """Return a position's blocks of all parts, one after another; None where a part has none.

    Args:
        parts: files of shards.
        position: in depth.
        total: the statistics of all parts together.
    """
    found = [blocks for acts in parts if (blocks := acts.blocks(position)) is not None]
    if len(found) < len(parts) or not isinstance(total, Statistics):
        return None
    d, t = total.cross_covariance.shape
    basis = top_directions(total.feature_covariance, directions_kept(d, t))
    turned = []
    for acts, blocks in zip(parts, found, strict=True):
        own = acts.statistics(position)
        assert isinstance(own, Statistics)
        turned.append(_along(blocks, own.feature_covariance, total.feature_covariance, basis))
    merged = _joined(turned)
    while len(merged) > MOST:
        merged = merged.pooled(total.feature_covariance)
    return merged


def _along(blocks: Blocks, own: Array, total: Array, basis: Array) -> Blocks:
    """Return a part's blocks along other directions, beside the total of all parts.

    Args:
        blocks: of the part.
        own: Σ_H of the part.
        total: Σ_H of all parts.
        basis: orthonormal columns (d, m), the directions.
    """
    q, along = blocks.basis, blocks.along
    outside = basis - q @ (q.T @ basis)
    rest = own @ outside
    rest -= q @ (q.T @ rest)
    within = q.T @ along
    left = np.trace(own) - np.trace(q.T @ own @ q)
    scale = (blocks.trace - np.trace(within, axis1=1, axis2=2)) / max(left, 1e-300)
    turned = along @ (q.T @ basis) + q @ (np.swapaxes(along, 1, 2) @ outside)
    turned = turned + np.maximum(scale, 0.0)[:, None, None] * rest
    # ⟨Σ, Σ_b⟩: what Q tells of Σ_b, and what lies outside of it.
    acted = total @ q
    inner = 2 * np.einsum("dm,bdm->b", acted, along) - np.einsum("ml,bml->b", q.T @ acted, within)
    beside = own - q @ (q.T @ own)
    beside = beside - (beside @ q) @ q.T
    inner = inner + np.maximum(scale, 0.0) * np.einsum("ij,ij->", total, beside)
    return replace(blocks, basis=basis, along=turned, inner=inner)


def _joined(parts: Sequence[Blocks]) -> Blocks:
    """Return blocks along the same directions one after another."""

    def every(name: str) -> Array:
        return np.concatenate([getattr(blocks, name) for blocks in parts])

    return Blocks(
        targets=_joined_targets([blocks.targets for blocks in parts]),
        feature_mean=every("feature_mean"),
        cross_covariance=every("cross_covariance"),
        trace=every("trace"),
        inner=every("inner"),
        basis=parts[0].basis,
        along=every("along"),
        fits=_joined_fits(parts),
    )


def _joined_targets(parts: Sequence[Targets]) -> Targets:
    errors = [targets.squared_error for targets in parts if targets.squared_error is not None]
    return Targets(
        np.concatenate([targets.n_samples for targets in parts]),
        np.concatenate([targets.mean for targets in parts]),
        np.concatenate([targets.covariance for targets in parts]),
        np.concatenate(errors) if len(errors) == len(parts) else None,
    )


def _joined_fits(parts: Sequence[Blocks]) -> Fits | None:
    """Return errors of fits, each of which saw other samples of its own part alone.

    What leaving a block out of its part changes there, it changes by the part's share in all.
    """
    every = [(blocks.n_samples, blocks.fits) for blocks in parts if blocks.fits is not None]
    if len(every) < len(parts):
        return None
    n = sum(own.sum() for own, _ in every)

    def without(name: str, centres: Sequence[Array]) -> Array:
        middle = np.average(centres, axis=0, weights=[own.sum() for own, _ in every])
        return np.concatenate(
            [
                middle + (getattr(fits, name) - centre) * ((own.sum() - own) / (n - own))[:, None]
                for (own, fits), centre in zip(every, centres, strict=True)
            ]
        )

    held_out = [np.average(fits.held_out, axis=0, weights=own) for own, fits in every]
    in_sample = [np.average(fits.others, axis=0, weights=own.sum() - own) for own, fits in every]
    return Fits(
        np.concatenate([fits.held_out for _, fits in every]),
        without("others", in_sample),
        without("held_out_of_others", held_out),
    )
