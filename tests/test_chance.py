"""What quantities come to by chance, against chance itself: permutations and random subspaces."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_metrics import Matrix, measure

from nrcscan.metrics import chance as of
from nrcscan.metrics.layer_values import LayerMetrics
from nrcscan.metrics.quantities import JUDGED
from nrcscan.options.report_options import Thresholds

pytestmark = pytest.mark.numerical

DRAWS = 4000


def random_subspaces(draw: np.random.Generator, size: int, width: int) -> Matrix:
    return np.linalg.qr(draw.standard_normal((DRAWS, width, size)))[0]


SIZES = "1 1 2, 1 1 9, 2 2 3, 2 2 4, 2 2 40, 2 3 4, 3 1 7, 3 3 4, 5 5 6, 5 5 12, 10 10 16"


@pytest.mark.parametrize("sizes", SIZES.split(", "))
def test_directions_by_chance_are_those_of_random_subspaces(sizes: str) -> None:
    a, b, width = map(int, sizes.split())
    draw = np.random.default_rng(1)
    u, v = random_subspaces(draw, a, width), random_subspaces(draw, b, width)
    inner = u.transpose(0, 2, 1) @ v
    cosines = np.linalg.svd(inner, compute_uv=False).mean(axis=1)
    sines = np.linalg.svd(v - u @ inner, compute_uv=False).mean(axis=1)
    alignment, noise = of.of_alignment(a, b, width), of.of_noise_alignment(a, b, width)
    assert alignment.level == pytest.approx(cosines.mean(), abs=0.01)
    assert alignment.quantile == pytest.approx(np.quantile(cosines, 0.99), abs=0.02)
    assert noise.level == pytest.approx(sines.mean(), abs=0.01)
    assert noise.quantile == pytest.approx(np.quantile(sines, 0.01), abs=0.05)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(2, 40))
def test_chance_of_directions_is_in_range_and_knows_no_order(a: int, b: int, width: int) -> None:
    a, b = min(a, width - 1), min(b, width - 1)
    alignment, noise = of.of_alignment(a, b, width), of.of_noise_alignment(a, b, width)
    assert 0 <= alignment.level <= alignment.quantile <= 1
    assert 0 <= noise.quantile <= noise.level <= 1
    assert alignment == of.of_alignment(b, a, width)


def test_chance_is_fast() -> None:
    of._simulated.cache_clear()
    start = time.process_time()
    for k in (1, 2, 5, 10, 50):
        of.of_alignment(k, k, 512)
    first = time.process_time() - start
    start = time.process_time()
    for _ in range(100):
        of.of_alignment(10, 10, 512)
    assert first < 2  # about 0.1 s
    assert time.process_time() - start < 0.1  # about 1 ms


@pytest.mark.parametrize("columns", [1, 2, 5])
@pytest.mark.parametrize("decay", [0.0, 1.0, 3.0])
def test_cka_by_chance_is_that_of_permuted_targets(columns: int, decay: float) -> None:
    draw = np.random.default_rng(columns)
    n, d = 200, 12
    h = draw.standard_normal((n, d)) * np.arange(1, d + 1) ** -decay
    h = h @ np.linalg.qr(draw.standard_normal((d, d)))[0] + 3
    y = draw.standard_normal((n, columns)) ** 3 @ draw.standard_normal((columns, columns))
    hc, yc = h - h.mean(0), y - y.mean(0)
    own = np.linalg.norm(hc.T @ hc) * np.linalg.norm(yc.T @ yc)
    permuted = [((hc.T @ draw.permutation(yc)) ** 2).sum() / own for _ in range(3000)]
    found = measure(h, y, draw.standard_normal((3, d)), k=min(columns, d - 1)).chance["cka_full"]
    assert found.level == pytest.approx(np.mean(permuted), rel=0.06)
    assert found.quantile == pytest.approx(np.quantile(permuted, 0.99), rel=0.12)


def test_linear_r2_by_chance_is_that_of_permuted_targets() -> None:
    draw = np.random.default_rng(0)
    n, d, t = 60, 20, 3
    h, y = draw.standard_normal((n, d)), draw.standard_normal((n, t)) * [1.0, 2.0, 0.1]
    fit = np.linalg.qr(h - h.mean(0))[0]
    yc = y - y.mean(0)
    left = [(yc**2).sum() - ((fit.T @ draw.permutation(yc)) ** 2).sum() for _ in range(3000)]
    found = measure(h, y, None).chance["linear_mse"]
    assert found.level == pytest.approx(np.mean(left) / n / t, rel=0.02)
    assert found.quantile == pytest.approx(np.quantile(left, 0.01) / n / t, rel=0.05)


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_energy_by_chance_is_no_more_than_that_of_random_directions(rows: int) -> None:
    draw = np.random.default_rng(3)
    width, k = 12, 3
    w = draw.standard_normal((rows, width)) * np.geomspace(1, 0.01, rows)[:, None]
    u = random_subspaces(draw, k, width)
    energy = (np.linalg.norm(w @ u, axis=(1, 2)) / np.linalg.norm(w)) ** 2
    stable_rank = float((np.linalg.norm(w) / np.linalg.norm(w, 2)) ** 2)
    found = of.of_energy(k, stable_rank, width)
    assert found.level == pytest.approx(energy.mean(), abs=0.01)
    assert np.quantile(energy, 0.99) - 0.02 < found.quantile < np.quantile(energy, 0.99) + 0.1


def met(found: LayerMetrics, *, by_chance: bool) -> bool:
    for condition in JUDGED:
        value = found.get(condition.quantity)
        if value is None or not condition.met(value, Thresholds(), learned=True):
            return False
        chance = found.chance.get(condition.quantity)
        if by_chance and chance is not None:
            beyond = chance.quantile - value if condition.at_most else value - chance.quantile
            if beyond <= 0:
                return False
    return True


@pytest.mark.parametrize("t", [2, 3, 5])
def test_narrow_random_networks_are_collapsed_by_threshold_and_not_beyond_chance(t: int) -> None:
    """Their targets are what they predict: all is met but for what few directions leave to it."""
    draw = np.random.default_rng(t)
    d, n, naive, beyond = t + 1, 500, 0, 0
    for _ in range(100):
        h = draw.standard_normal((n, 8)) @ draw.standard_normal((8, d))
        h = np.maximum(np.maximum(h, 0) @ draw.standard_normal((d, d)), 0)
        w = draw.standard_normal((t, d))
        y = h @ w.T
        if min(h.std(0).max(), y.std(0).min()) == 0:
            continue
        found = measure(h, y, w, model_mse=0.0)
        naive += met(found, by_chance=False)
        beyond += met(found, by_chance=True)
    assert naive >= 15
    assert beyond <= 4


def test_chance_of_what_is_undefined_is_not_told() -> None:
    draw = np.random.default_rng(0)
    found = measure(draw.standard_normal((50, 4)), draw.standard_normal((50, 2)), None)
    assert {"cka", "cka_full", "linear_mse", "excess"} <= set(found.chance)
    assert "alignment" not in found.chance
