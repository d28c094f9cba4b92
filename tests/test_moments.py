from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nrcscan import Moments, Statistics
from nrcscan.extracting.accumulate import Accumulated
from nrcscan.statistics.moments import BLOCK_ROWS
from nrcscan.statistics.sketch import Sketch
from nrcscan.statistics.sketch import test_matrix as directions

pytestmark = pytest.mark.numerical


def fill(h: NDArray[np.float64], y: NDArray[np.float64], batch: int) -> Moments:
    moments = Moments(h.shape[1], y.shape[1])
    for start in range(0, len(h), batch):
        moments.update(h[start : start + batch], y[start : start + batch])
    return moments


def two_pass(h: NDArray[np.float64], y: NDArray[np.float64]) -> Statistics:
    """An independent reference, in long double."""
    z = np.hstack([h, y]).astype(np.longdouble)
    mean = z.mean(axis=0)
    c = ((z - mean).T @ (z - mean) / len(z)).astype(np.float64)
    m, d = mean.astype(np.float64), h.shape[1]
    return Statistics(len(h), m[:d], m[d:], c[:d, :d], c[:d, d:], c[d:, d:])


def relative(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def worst(a: Statistics, b: Statistics) -> float:
    return max(
        relative(getattr(a, name), getattr(b, name))
        for name in (
            "feature_mean",
            "target_mean",
            "feature_covariance",
            "cross_covariance",
            "target_covariance",
        )
    )


def make(n: int, d: int = 6, t: int = 2, mean: float = 0.0) -> tuple[NDArray[np.float64], ...]:
    rng = np.random.default_rng(n)
    h = rng.standard_normal((n, d)) * np.logspace(0, -2, d) + mean
    return h, h[:, :t] @ rng.standard_normal((t, t)) + 0.1 * rng.standard_normal((n, t))


@pytest.mark.parametrize("mean", [0.0, 1e3, 1e6])
def test_agrees_with_a_two_pass_reference_where_raw_moments_fail(mean: float) -> None:
    h, y = make(20_000, mean=mean)
    reference = two_pass(h, y)
    assert worst(fill(h, y, 333).statistics(), reference) < 1e-12
    if mean == 1e6:  # the formula that must not be used loses everything that matters here
        naive = h.T @ h / len(h) - np.outer(h.mean(0), h.mean(0))
        assert relative(naive, reference.feature_covariance) > 1e-6


def test_first_rows_unlike_the_rest() -> None:
    h, y = make(20_000, mean=1e6)
    h[:256] = 0.0
    assert worst(fill(h, y, 100).statistics(), two_pass(h, y)) < 1e-10


@settings(max_examples=25)
@given(n=st.integers(1, 3 * BLOCK_ROWS), batches=st.lists(st.integers(1, 2000), min_size=2))
def test_batches_do_not_change_a_bit(n: int, batches: list[int]) -> None:
    h, y = make(n)
    whole = fill(h, y, n).statistics()
    pieces = Moments(6, 2)
    start = 0
    while start < n:
        size = batches[start % len(batches)]
        pieces.update(h[start : start + size], y[start : start + size])
        start += size
    other = pieces.statistics()
    assert np.array_equal(whole.feature_covariance, other.feature_covariance)
    assert np.array_equal(whole.cross_covariance, other.cross_covariance)
    assert np.array_equal(whole.feature_mean, other.feature_mean)


@settings(max_examples=25)
@given(
    cuts=st.lists(st.integers(0, 4000), max_size=4),
    mean=st.sampled_from([0.0, 1e3, 1e6]),
    order=st.randoms(use_true_random=False),
)
def test_merged_equals_having_seen_both(cuts: list[int], mean: float, order: object) -> None:
    h, y = make(4000, mean=mean)
    edges = [0, *sorted(cuts), 4000]
    shards = [fill(h[a:b], y[a:b], 500) for a, b in pairwise(edges)]
    order.shuffle(shards)  # type: ignore[attr-defined]
    total = Moments(6, 2)
    for shard in shards:
        total.merge(shard)
    assert total.n_samples == 4000
    assert worst(total.statistics(), two_pass(h, y)) < 1e-12


def test_sketches_merge_their_variances_whatever_their_shifts() -> None:
    h, y = make(4 * BLOCK_ROWS)
    h += np.linspace(0, 9, len(h))[:, None]  # so that no shift is near its mean
    parts = [Sketch(directions(6, 2), 2) for _ in range(2)]
    for start in range(0, len(h), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        parts[start // (2 * BLOCK_ROWS)].update(h[rows], y[rows])
    parts[0].merge(parts[1])
    assert parts[0].sketched().variances == pytest.approx(h.var(axis=0), rel=1e-12)


def test_empty_is_neutral() -> None:
    h, y = make(700)
    before = fill(h, y, 100).statistics()
    full = fill(h, y, 100)
    full.merge(Moments(6, 2))
    assert np.array_equal(full.statistics().feature_covariance, before.feature_covariance)


def test_a_merge_leaves_the_other_as_it_was() -> None:
    h, y = make(3 * BLOCK_ROWS)
    other = fill(h, y, BLOCK_ROWS)
    before = other.statistics().feature_covariance
    total = Moments(6, 2)
    total.merge(other)
    total.merge(other)
    total.update(h, y)
    assert np.array_equal(other.statistics().feature_covariance, before)
    doubled = Moments(6, 2)
    doubled.update(h, y)
    doubled.merge(doubled)
    assert doubled.n_samples == 2 * len(h)
    assert relative(doubled.statistics().feature_covariance, before) < 1e-12


def test_goes_on_after_merging_and_after_a_look() -> None:
    h, y = make(3000)
    moments = fill(h[:1000], y[:1000], 1000)
    moments.merge(fill(h[1000:1500], y[1000:1500], 70))
    moments.statistics()
    moments.update(h[1500:], y[1500:])
    assert worst(moments.statistics(), two_pass(h, y)) < 1e-12


def test_statistics_and_back() -> None:
    h, y = make(3000, mean=1e3)
    first = Moments.from_statistics(fill(h[:2000], y[:2000], 64).statistics())
    first.update(h[2000:], y[2000:])
    assert worst(first.statistics(), two_pass(h, y)) < 1e-12


def test_a_constant_feature_has_a_variance_of_exactly_zero() -> None:
    h, y = make(2500)
    h[:, 3] = 0.1
    assert fill(h, y, 77).statistics().feature_covariance[3, 3] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_takes_tensors(dtype: torch.dtype) -> None:
    h = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    y = torch.arange(50)[:, None]
    moments = Moments(3, 1)
    moments.update(h, y)
    reference = two_pass(h.detach().double().numpy(), y.double().numpy())
    assert worst(moments.statistics(), reference) < 1e-12


@pytest.mark.parametrize(
    ("features", "targets", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 1)), r"features must have shape \(n, 3\), got \(3, 2\)"),
        (np.zeros((3, 3)), np.zeros((2, 1)), "3 rows of features but 2 rows of targets"),
        (np.zeros((3, 3)), np.zeros(3), r"targets must have shape \(n, 1\), got \(3,\)"),
        (np.zeros((3, 3), complex), np.zeros((3, 1)), "must be real numbers, got dtype complex128"),
        (np.full((3, 3), np.nan), np.zeros((3, 1)), "features hold nan at row 0, column 0"),
    ],
)
def test_refuses_and_stays_as_it_was(features: object, targets: object, message: str) -> None:
    moments = Moments(3, 1)
    with pytest.raises(ValueError, match=message):
        moments.update(features, targets)
    assert moments.n_samples == 0
    with pytest.raises(ValueError, match="no samples"):
        moments.statistics()


def test_merge_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match="width 4 with 1 targets cannot be merged into width 3"):
        Moments(3, 1).merge(Moments(4, 1))


def test_inputs_of_unit_scale() -> None:
    for largest, far in ((0.0999, True), (0.1001, False), (19.99, False), (20.01, True)):
        for sign in (1, -1):
            seen = Accumulated({}, 1)
            x = np.array([[sign * largest], [0.0]])
            seen.look_at(x)
            assert seen.far_from_unit_scale == far


def test_targets_are_exact_beside_narrow_products() -> None:
    h, y = make(3000, mean=1e3)
    for batch in (100, 3000):
        single, double = Moments(6, 2, precision="float32"), Moments(6, 2)
        for moments in (single, double):
            for start in range(0, 3000, batch):
                moments.update(h[start : start + batch], y[start : start + batch])
        found, exact = single.statistics(), double.statistics()
        np.testing.assert_allclose(found.target_mean, exact.target_mean, rtol=1e-14)
        np.testing.assert_allclose(found.target_covariance, exact.target_covariance, rtol=1e-13)
