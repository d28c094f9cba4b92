"""The linear map from the features at one position to those at a later one, and its errors.

It is a `LinearHead` whose targets are the later features. All follows from statistics, but for
error bars and for parts held out: these take the features themselves, where a file keeps them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nrcscan.acts_file.kept_in_memory import MeasuredActs
from nrcscan.cutting.linear_head import LinearHead
from nrcscan.cutting.ridge_by_blocks import (
    by_blocks,
    folds,
    heads_with,
    moments_of_folds,
    ridges,
    rounding,
)
from nrcscan.statistics.blocks import Targets
from nrcscan.statistics.moments import Array, Moments, Statistics

EVERY = 4
"""Of the ridges that heads choose from, maps have every so many: they have as many targets as there
are features, and what is left of these depends little on it."""


def statistics_between(acts: MeasuredActs, start: int, end: int) -> Statistics | None:
    """Return the statistics of the features at a position, those at a later one being the targets.

    None where a file has none.
    """
    earlier, later, cross = acts.statistics(start), acts.statistics(end), acts.cross(start, end)
    if not isinstance(earlier, Statistics) or not isinstance(later, Statistics) or cross is None:
        return None
    return Statistics(
        n_samples=earlier.n_samples,
        feature_mean=earlier.feature_mean,
        target_mean=later.feature_mean,
        feature_covariance=earlier.feature_covariance,
        cross_covariance=cross,
        target_covariance=later.feature_covariance,
    )


def chained(linear_map: LinearHead, head: LinearHead) -> LinearHead:
    """Return the head that maps features first, and predicts the targets from what comes out."""
    return LinearHead(
        weight=head.weight @ linear_map.weight,
        centre=linear_map.centre,
        target_centre=head.predictions(linear_map.target_centre[None])[0],
        ridge=head.ridge,
    )


class Squares(NamedTuple):
    """Mean squares over samples, of shape (), or over each of B blocks of them, (B,).

    Attributes:
        left: of what a map leaves of the later features, summed over these.
        spread: of the later features about their mean over all samples, likewise.
        own: of the errors of a head on the later features, the mean over targets.
        replaced: of the errors of the same head on what the map gives, likewise.
    """

    left: Array
    spread: Array
    own: Array
    replaced: Array


def squares(
    acts: MeasuredActs, pair: tuple[int, int], one: LinearHead, head: LinearHead
) -> Squares:
    """Return what a map and a head leave of samples, exactly, from their statistics.

    Args:
        acts: of the samples, with cross-covariances.
        pair: the two positions.
        one: the map from the earlier to the later.
        head: at the later.
    """
    both = statistics_between(acts, *pair)
    earlier, later = (acts.statistics(position) for position in pair)
    assert both is not None
    assert isinstance(earlier, Statistics)
    assert isinstance(later, Statistics)
    return Squares(
        one.squared_error(both).sum(),
        np.trace(both.target_covariance),
        head.squared_error(later).mean(),
        chained(one, head).squared_error(earlier).mean(),
    )


def block_squares(
    acts: MeasuredActs, pair: tuple[int, int], maps: list[LinearHead], head: LinearHead
) -> Squares | None:
    """Return what maps and a head leave of every block of samples; None without their features.

    Args:
        acts: of the samples.
        pair: the two positions.
        maps: one for all blocks, or one for each fold of them.
        head: at the later position.
    """
    targets = kept_blocks(acts)
    if targets is None:
        return None
    count = len(targets.n_samples)
    of = folds(count) if len(maps) > 1 else np.zeros(count, int)
    found = np.zeros((4, count))
    earlier, later = pair
    centre = acts.statistics(later).feature_mean
    rows = acts.activation_rows(earlier), acts.activation_rows(later)
    for block, x, h in by_blocks(*rows, targets.n_samples):
        found[0, block] += ((h - maps[of[block]].predictions(x)) ** 2).sum()
        found[1, block] += ((h - centre) ** 2).sum()
    heads = [chained(one, head) for one in maps]
    rows = acts.activation_rows(later), acts.target_rows()
    for block, h, y in by_blocks(*rows, targets.n_samples):
        found[2, block] += ((y - head.predictions(h)) ** 2).mean(axis=1).sum()
    rows = acts.activation_rows(earlier), acts.target_rows()
    for block, x, y in by_blocks(*rows, targets.n_samples):
        found[3, block] += ((y - heads[of[block]].predictions(x)) ** 2).mean(axis=1).sum()
    return Squares(*(found / targets.n_samples))


class FoldedMaps(NamedTuple):
    """What is known of maps from parts of the samples.

    Attributes:
        ridge: as a share of the largest eigenvalue, that leaves least of parts not fitted to.
        maps: with it, each fitted without one of the folds.
    """

    ridge: float
    maps: list[LinearHead]


def folded_maps(acts: MeasuredActs, pair: tuple[int, int], top: float) -> FoldedMaps | None:
    """Return maps that are fitted without a fold each; None without features.

    Args:
        acts: of the samples that they are fitted to.
        pair: the two positions.
        top: the largest eigenvalue of Σ_H at the earlier.
    """
    targets = kept_blocks(acts)
    if targets is None:
        return None
    rows = acts.activation_rows(pair[0]), acts.activation_rows(pair[1])
    fold_of = folds(len(targets.n_samples))
    parts = moments_of_folds(by_blocks(*rows, targets.n_samples), fold_of)
    shares = ridges(max(acts.epsilon, acts.product_epsilon))
    shares = np.array([0.0, *shares[1::EVERY]])
    every, left, lost = [], np.zeros(len(shares)), np.zeros(len(shares))
    for fold, part in enumerate(parts):
        others = Moments.merged([*parts[:fold], *parts[fold + 1 :]]).statistics()
        held_out = part.statistics()
        every.append(heads_with(others, shares, top))
        share = held_out.n_samples / acts.n_samples
        left += [share * one.squared_error(held_out).mean() for one in every[-1]]
        lost = np.maximum(lost, [rounding(o, others, acts.product_epsilon) for o in every[-1]])
    best = int(np.maximum(left, lost).argmin())  # less than is lost in rounding is not known
    return FoldedMaps(float(shares[best]), [maps[best] for maps in every])


def kept_blocks(acts: MeasuredActs) -> Targets | None:
    """Return the blocks of samples whose features a file keeps; None where there are none."""
    return acts.block_targets if acts.has_activations else None
