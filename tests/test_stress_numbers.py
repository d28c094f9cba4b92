"""Numbers at the ends of what numbers can be; `tests/stress.py` draws as many as are asked for."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from defined import OF_RANK, Defined
from draws import STORED, Draw, drawn
from exactly import ExactLayer, Matrix
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import Rounding, U
from stress import checked
from torch import nn

import nrcscan
from nrcscan import Moments
from nrcscan.metrics.layer_values import LayerMetrics
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.options.choices import DType, Precision
from nrcscan.statistics.blocks import digest, targets_of
from nrcscan.statistics.moments_on_gpu import OnDevice

pytestmark = pytest.mark.numerical

SEEDS = st.integers(0, 2**32)


@settings(max_examples=40)
@given(seed=SEEDS)
def test_every_number_is_within_its_bound_or_rightly_undefined(seed: int) -> None:
    assert [found for found in checked(seed, 0) if found.broken] == []


def test_the_bounds_are_no_mere_form() -> None:
    """What raw second moments come to is far beyond them, and so is one part in 10⁹."""
    rng = np.random.default_rng(0)
    h, y = rng.standard_normal((12, 3)) + 1e6, rng.standard_normal((12, 1))
    layer = ExactLayer(h, y, np.diag([3.0, 2, 1]), 1, 0.1)
    rounding = Rounding(layer)
    raw = h.T @ h / 12 - np.outer(h.mean(axis=0), h.mean(axis=0))
    off = np.abs(raw - np.array(layer.of_features.tolist(), float))
    assert (off > 1000 * rounding.of_covariances[:3, :3]).any()
    for quantity in ("noise_component", "cka", "cka_full", "alignment", "linear_mse"):
        assert rounding.of(quantity, 1) < 1e-9


# --- laws -------------------------------------------------------------------------------------


def of_unit_size(seed: int) -> Draw:
    """Return a draw whose largest numbers are about 1."""
    draw = drawn(seed, 1)

    def scaled(values: Matrix) -> Matrix:
        return np.ldexp(values, -np.frexp(np.abs(values).max() or 1.0)[1])

    y = scaled(draw.targets)
    mse = float(y.var(axis=0).mean()) / 8 or 1.0
    h, w = scaled(draw.features), scaled(draw.weight)
    return replace(draw, features=h, targets=y, weight=w, mse=mse, stored="float64")


def measured(draw: Draw) -> LayerMetrics:
    moments = Moments(draw.features.shape[1], draw.targets.shape[1])
    moments.update(draw.features, draw.targets)
    return nrcscan.metrics(
        moments.statistics(),
        draw.weight,
        k="t" if draw.k is None else draw.k,
        model_mse=draw.mse,
        epsilon=draw.epsilon,
    )


@settings(max_examples=40)
@given(seed=SEEDS, powers=st.tuples(*[st.integers(-60, 60)] * 3))
def test_powers_of_two_change_no_bit(seed: int, powers: tuple[int, int, int]) -> None:
    draw = of_unit_size(seed)
    h, y, w = (2.0**power for power in powers)
    other = replace(
        draw,
        features=draw.features * h,
        targets=draw.targets * y,
        weight=draw.weight * w,
        mse=draw.mse * y**2,
    )
    one, two = measured(draw), measured(other)
    assert one.undefined.keys() == two.undefined.keys()
    for name, value in one.values.items():
        assert two[name] == value * (y**2 if name.startswith("linear_mse") else 1), name


def same(one: Draw, two: Draw, roundings: int) -> None:
    """Assert that two layers have the same quantities.

    Args:
        one: a layer.
        two: the same to so many roundings of its numbers.
        roundings: that many.
    """
    k = one.signal_dim
    layer = ExactLayer(one.features, one.targets, one.weight, k, one.mse)
    rounding = Rounding(layer, apart=1 + roundings // 4)  # which loses four of each mean
    defined = Defined(layer, rounding, one.epsilon)
    found, other = measured(one), measured(two)
    for name in QUANTITIES:
        if name in OF_RANK or not defined.of(name, k):  # how many targets count may be open
            continue
        a, b = found[name], other[name]
        assert a is not None
        assert b is not None
        assert abs(a - b) <= 2 * rounding.of(name, k), name


@settings(max_examples=20)
@given(seed=SEEDS)
def test_the_order_of_samples_features_and_targets_changes_nothing(seed: int) -> None:
    draw, rng = of_unit_size(seed), np.random.default_rng(seed)
    (n, d), t = draw.features.shape, draw.targets.shape[1]
    rows, columns, targets = (rng.permutation(size) for size in (n, d, t))
    h, w = draw.features[rows][:, columns], draw.weight[:, columns]
    same(draw, replace(draw, features=h, targets=draw.targets[rows][:, targets], weight=w), 0)


@settings(max_examples=20)
@given(seed=SEEDS, scale=st.floats(1e-8, 1e8), target=st.floats(1e-8, 1e8))
def test_rotations_and_scales_change_nothing(seed: int, scale: float, target: float) -> None:
    draw, rng = of_unit_size(seed), np.random.default_rng(seed)
    d, t = draw.features.shape[1], draw.targets.shape[1]
    turn, turn_targets = (np.linalg.qr(rng.standard_normal((size, size)))[0] for size in (d, t))
    other = replace(
        draw,
        features=draw.features @ turn * scale,
        targets=draw.targets @ turn_targets,
        weight=draw.weight @ turn,
    )
    # A turned number is a sum of d, each off by d roundings of what may be √d times as large.
    same(draw, other, 4 * (d + t) ** 2)
    scaled = replace(draw, targets=draw.targets * target, mse=draw.mse * target**2)
    one, two = measured(draw), measured(scaled)
    for name in ("cka", "cka_full", "cka_debiased", "noise_component", "alignment"):
        if (a := one[name]) is not None and (b := two[name]) is not None:
            layer = ExactLayer(draw.features, draw.targets, draw.weight, draw.signal_dim, draw.mse)
            assert abs(a - b) <= 2 * Rounding(layer, apart=1).of(name, draw.signal_dim)


# --- constructed ------------------------------------------------------------------------------

CODES = scipy.linalg.hadamard(32).astype(float)[:, 1:]
"""Columns of ±1 that are orthogonal and of mean 0: their covariance is exactly I."""


@pytest.mark.parametrize("scale", [1e-30, 3e-7, 1.0, 1e30])
@pytest.mark.parametrize("mean", [0.0, 2.0**20])
@pytest.mark.parametrize("t", [1, 2, 3])
def test_exact_collapse(t: int, mean: float, scale: float) -> None:
    directions = scipy.linalg.hadamard(8)[:t].astype(float)  # orthogonal, in 8 features
    y = CODES[:, :t] * [4.0, 2.0, 1.0][:t]
    weight = np.array([[1.0, 0, 0], [0, 0.5, 0], [0, 0, 0.25]])[:, :t] @ directions
    draw = Draw((y @ directions + mean) * scale, y, weight, None, 0.125, "float64", "")
    found = measured(draw)
    lost = 1e-13 if scale == 1.0 else 1e-13 * (1 + mean)  # what rounding of the features makes
    for name in ("cka", "cka_full", "cka_debiased", "alignment", "weight_signal_energy"):
        assert found[name] == pytest.approx(1, abs=lost), name
    for name in ("noise_component", "linear_mse"):
        assert found[name] == pytest.approx(0, abs=lost), name
    assert found.excess == pytest.approx(-0.125 / float(y.var(axis=0).mean()), abs=lost)
    assert found.noise_alignment == pytest.approx(0, abs=lost)
    assert (found.feature_rank, found.weight_rank) == (t, t)


@pytest.mark.parametrize("angle", [10.0**-power for power in range(13)])
def test_known_values_that_are_no_collapse(angle: float) -> None:
    spreads = np.array([4.0, 2.0, 1.0, 0.5, 0.25, 0.125])
    h = CODES[:, :6] * spreads
    y = np.column_stack([CODES[:, 0] + CODES[:, 10], 2 * CODES[:, 1], CODES[:, 3]])
    weight = np.zeros((2, 6))  # its directions lean from the second and third to two others
    weight[[0, 1], [1, 2]] = 3 * math.cos(angle), 2 * math.cos(angle)
    weight[[0, 1], [4, 5]] = 3 * math.sin(angle), 2 * math.sin(angle)
    found = measured(Draw(h, y, weight, 3, 0.5, "float64", ""))
    signal, everything = float((spreads[:3] ** 2).sum()), float((spreads**2).sum())
    assert found.noise_component == pytest.approx(1 - signal / everything, abs=1e-14)
    across = 4.0**2 + (2 * 2) ** 2
    own, targets = math.sqrt(256 + 16 + 1), math.sqrt(2**2 + 4**2 + 1)
    assert found.cka == pytest.approx(across / own / targets, abs=1e-14)
    assert found.cka_full == pytest.approx(
        (across + 0.5**2) / math.sqrt(float((spreads**4).sum())) / targets, abs=1e-14
    )
    assert found.alignment == pytest.approx(math.cos(angle), abs=1e-14)
    # By sines: cosines of small angles would be lost at 10⁻⁸. sin 1 is over cos 1.
    assert found.noise_alignment == pytest.approx(math.sin(angle), rel=1e-3 * angle, abs=1e-15)
    assert found.weight_signal_energy == pytest.approx(math.cos(angle) ** 2, abs=1e-14)
    assert found.linear_mse == pytest.approx(1 / 3, abs=1e-14)
    assert found.excess == pytest.approx((1 / 3 - 0.5) / ((2 + 4 + 1) / 3), abs=1e-14)
    assert found.feature_stable_rank == pytest.approx((spreads**4).sum() / 256, abs=1e-14)
    assert found.weight_stable_rank == pytest.approx((9 + 4) / 9, abs=1e-14)


# --- more samples than one block --------------------------------------------------------------


@settings(max_examples=8)
@given(
    n=st.integers(1000, 5000),
    mean=st.sampled_from([0.0, 1e3, 1e8]),
    scale=st.sampled_from([1e-30, 1.0, 1e30]),
    cuts=st.lists(st.integers(0, 5000), max_size=4),
    seed=SEEDS,
)
def test_many_samples_against_two_passes(
    n: int, mean: float, scale: float, cuts: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    z = (rng.standard_normal((n, 5)) * [1, 1e-3, 1, 1e-6, 1] + mean) * scale
    shards = []
    for rows in np.split(z, np.sort(cuts)):
        moments = Moments(3, 2)
        for some in np.array_split(rows, int(rng.integers(1, 9))):
            moments.update(some[:, :3], some[:, 3:])
        shards.append(moments)
    rng.shuffle(shards)
    while len(shards) > 1:
        shards[int(rng.integers(len(shards) - 1))].merge(shards.pop())
    s = shards[0].statistics()
    centre = np.array([math.fsum(column) / n for column in z.T])
    left = (z - centre).mean(axis=0)  # what rounding has left of the mean
    expected = (z - centre).T @ (z - centre) / n - np.outer(left, left)
    ranges = np.ptp(z, axis=0) + n * U * np.abs(z).max(axis=0)
    gamma = 2 * (n + 8 + 6 * len(cuts)) * U  # of each of the two
    found = np.block(
        [[s.feature_covariance, s.cross_covariance], [s.cross_covariance.T, s.target_covariance]]
    )
    assert (np.abs(found - expected) <= gamma * np.outer(ranges, ranges)).all()
    off = np.abs(np.r_[s.feature_mean, s.target_mean] - centre)
    assert (off <= 3 * U * np.abs(centre) + gamma * ranges).all()


# --- what failed once -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scale", "mean"), [(1e-25, 0.0), (1e25, 0.0), (1e-12, 5.0), (1.0, 1e8), (1e12, 1e9)]
)
def test_float32_products_of_numbers_that_it_has_not(scale: float, mean: float) -> None:
    rng = np.random.default_rng(0)
    h, y = (rng.standard_normal((1500, 4)) + mean) * scale, rng.standard_normal((1500, 2)) / scale
    y[:, 1] *= 1e-20
    found: dict[Precision, Any] = {}
    for precision in ("float32", "float64"):
        moments = Moments(4, 2, precision=precision)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            moments.update(h, y)
            found[precision] = moments.statistics()
    on_device = OnDevice(Moments(4, 2, precision="float32"), torch.device("cpu"))
    on_device.take(torch.from_numpy(h), y)
    wide = found["float64"]
    trace = float(np.trace(wide.feature_covariance))
    narrow: Any
    for narrow in (found["float32"], on_device.hosted().statistics()):
        # As docs/metrics.md bounds it: 4ε of the trace, and of √(tr Σ_H σ_Y²) for a target.
        off = np.linalg.norm(narrow.feature_covariance - wide.feature_covariance, 2)
        assert off <= 4 * 2.0**-23 * trace
        off = np.linalg.norm(narrow.cross_covariance - wide.cross_covariance, axis=0)
        sizes = np.sqrt(trace * np.diagonal(wide.target_covariance))
        assert (off <= 4 * 2.0**-23 * sizes).all()
        for which in np.s_[0, -2], np.s_[0, -1], np.s_[1, -1]:  # mean ‖h‖⁴, ‖h‖²‖y‖², ‖y‖⁴
            assert narrow.norms[which] == pytest.approx(wide.norms[which], rel=1e-5)


def test_pairs_of_blocks_are_blocks() -> None:
    rng = np.random.default_rng(0)
    h = rng.standard_normal((60, 3)) + 1e8
    y = np.column_stack([rng.standard_normal(60) + 1e8, np.full(60, 0.1)])
    h[:10] += 3

    def of(rows: list[int]) -> Any:
        parts = [Moments(3, 2)]
        parts += [parts[0].fresh() for _ in rows[1:]]
        for part, some in zip(parts, np.split(np.arange(60), np.cumsum(rows)[:-1]), strict=True):
            part.update(h[some], y[some])
        total = Moments.merged(parts).statistics()
        blocks = digest(parts, total, targets_of(parts, None), np.eye(3), None)
        return blocks, total.feature_covariance

    blocks, covariance = of([10, 20, 7, 13, 10])
    found, (expected, _) = blocks.pooled(covariance), of([30, 20, 10])
    for name in ("trace", "inner", "along", "cross_covariance", "feature_mean"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-6, atol=1e-6
        )
    np.testing.assert_allclose(
        found.targets.covariance, expected.targets.covariance, rtol=1e-6, atol=1e-6
    )
    assert (found.targets.covariance[:, 1] == 0).all()  # what is constant stays it


def test_constant_targets_far_from_0() -> None:
    moments = Moments(1, 1)
    moments.update([[1.0], [2.0], [3.0]], np.full((3, 1), 1e290))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = nrcscan.metrics(moments.statistics(), [[1.0]], model_mse=1.0)
    assert found.cka is None
    assert found.undefined["cka_full"] == "the targets do not vary"


# --- end to end -------------------------------------------------------------------------------


def designed(
    rng: np.random.Generator,
) -> tuple[nn.Sequential, Matrix, list[Matrix], Matrix, Matrix]:
    """Return a linear network, its inputs, what reaches each layer, targets, and predictions.

    All are small integers: they are what they are in any precision and order of adding.
    """
    n, widths = int(rng.integers(6, 40)), (int(rng.integers(1, 5)), int(rng.integers(2, 6)), 2)
    features, weights = [rng.integers(-2, 3, (n, widths[0])).astype(float)], []
    for width, out in pairwise(widths):
        weights.append(rng.integers(-2, 3, (out, width)).astype(float))
        features.append(features[-1] @ weights[-1].T)
    *reaches, predicted = features
    net = nn.Sequential(*(nn.Linear(w.shape[1], len(w), bias=False) for w in weights))
    with torch.no_grad():
        for layer, w in zip(net, weights, strict=True):
            layer.weight.copy_(torch.from_numpy(w))  # type: ignore[operator]
    y = predicted + rng.integers(-1, 2, predicted.shape).astype(float)
    return net, features[0], reaches, y, predicted


@settings(max_examples=6)
@given(seed=SEEDS, dtype=st.sampled_from([*STORED]), power=st.integers(-40, 40))
def test_a_network_with_designed_features(
    seed: int, dtype: DType, power: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    net, x, reaches, y, predicted = designed(rng)
    scale = 2.0 ** (power if dtype != "float16" else power % 4)
    path = Path(tmp_path_factory.mktemp("designed")) / "acts.h5"
    nrcscan.extract(
        net.double() if dtype == "float64" else net,
        ((x * scale).astype(np.float64 if dtype == "float64" else np.float32), y * scale),
        path,
        dtype=None if dtype == "float64" else dtype,
        blocks=0,
        batch_size=int(rng.integers(1, 50)),
        on_note=lambda note: None,
    )
    report = nrcscan.report(path)
    mse = float(((predicted - y) ** 2).mean()) * scale**2
    _, epsilon = STORED[dtype]
    for result, h, layer in zip(report.layers, reaches, net, strict=True):
        weight = layer.weight.detach().double().numpy()  # type: ignore[operator]
        exact = ExactLayer(h * scale, y * scale, weight, 2, mse)
        rounding = Rounding(exact, merges=8)
        defined = Defined(exact, rounding, epsilon)
        dead = "constant" in str(result.metrics.undefined)
        for name in set(QUANTITIES) - set(OF_RANK):
            value, there = result.metrics[name], defined.of(name, 2)
            if there is False:
                assert value is None, name
            if there and not dead:
                assert value is not None, (name, result.metrics.undefined)
                truth = float(exact.quantity(name, 2))
                assert abs(value - truth) <= rounding.of(name, 2), name
            assert value is None or math.isfinite(value)
