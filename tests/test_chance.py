"""What quantities come to by chance, against chance itself: permutations and random subspaces."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import edited
from hypothesis import given
from hypothesis import strategies as st
from test_metrics import Matrix, debiased_cka, measure
from torch import nn

from nrcscan import Moments, extract, merge, report
from nrcscan.metrics import chance as of
from nrcscan.metrics.layer_values import LayerMetrics
from nrcscan.metrics.quantities import JUDGED
from nrcscan.options.choices import Precision
from nrcscan.options.report_options import Thresholds
from nrcscan.statistics.moments_on_gpu import OnDevice
from nrcscan.verdict.answers import within_chance

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
    """Whether NRC1 to NRC3 are; a network that predicts its targets exactly has no NRC4."""
    for condition in JUDGED:
        if condition.of_learned:
            continue
        value = found.get(condition.quantity)
        if value is None or condition.margin(value, Thresholds()) < 0:
            return False
        if by_chance and within_chance(condition.quantity, value, found):
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


# --- debiased CKA -----------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize(("n", "d", "t"), [(4, 5, 2), (10, 30, 3), (300, 6, 1), (80, 400, 2)])
def test_the_debiased_cka_is_that_of_gram_matrices(n: int, d: int, t: int, offset: float) -> None:
    draw = np.random.default_rng(n)
    h, y = draw.standard_normal((n, d)), draw.standard_normal((n, t)) - 7
    h[:, 0] += y[:, 0]
    found = measure(h + offset, y, None, k=1).values["cka_debiased"]
    assert found == pytest.approx(debiased_cka(h, y), rel=1e-9, abs=1e-12)


def test_debiasing_takes_away_what_few_samples_add() -> None:
    draw = np.random.default_rng(0)
    values, chances = [], []
    for _ in range(200):
        h, y = draw.standard_normal((40, 30)), draw.standard_normal((40, 2))
        found = measure(h, y, None)
        values.append((found.values["cka_full"], found.values["cka_debiased"]))
        chances.append(found.chance["cka_debiased"].quantile)
    plain, debiased = np.mean(values, axis=0)
    assert plain > 0.14
    assert abs(debiased) < 0.01
    assert np.quantile([v[1] for v in values], 0.99) == pytest.approx(np.mean(chances), rel=0.25)


@given(
    cuts=st.lists(st.integers(0, 60), max_size=4),
    offset=st.sampled_from([0.0, -30.0, 1e4]),
    seed=st.integers(0, 99),
)
def test_norms_are_those_of_all_samples_however_they_came(
    cuts: list[int], offset: float, seed: int
) -> None:
    draw = np.random.default_rng(seed)
    h, y = draw.standard_normal((60, 4)) + offset, draw.standard_normal((60, 2)) ** 3
    h[30:] += 5  # parts have other means, and so other shifts
    whole, parts = Moments(4, 2), Moments(4, 2)
    for a, b in itertools.pairwise([0, *sorted(cuts), 60]):
        part = Moments(4, 2)
        part.update(h[a:b], y[a:b])
        if a < b:  # through what a file keeps
            part = Moments.from_statistics(part.statistics())
        parts.merge(part)
    whole.update(h, y)
    hc, yc = h - h.mean(0), y - y.mean(0)
    c = np.stack([(hc**2).sum(1), (yc**2).sum(1)])
    expected = c @ np.hstack([hc, yc, c.T]) / 60
    size = np.abs(expected).max()
    for found in (whole, parts):
        norms = found.statistics().norms
        assert norms is not None
        assert norms == pytest.approx(expected, rel=1e-9, abs=1e-9 * size)


def test_norms_that_overflow_are_not_kept_and_the_rest_is() -> None:
    draw = np.random.default_rng(0)
    moments = Moments(3, 1)
    moments.update(1e90 * draw.standard_normal((20, 3)), draw.standard_normal((20, 1)))
    found = moments.statistics()
    assert found.norms is None
    assert np.isfinite(found.feature_covariance).all()


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_file_keeps_what_debiasing_takes(tmp_path: Path, precision: Precision) -> None:
    x, y = (np.random.default_rng(0).standard_normal((70, 3)) for _ in range(2))
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))
    path = tmp_path / "acts.h5"
    extract(model, (x, y), path, precision=precision, dtype="float64", batch_size=16)
    with torch.no_grad():
        h = model.double()[:2](torch.from_numpy(x)).numpy()
    found = report(path).layers[1].metrics
    assert found.values["cka_debiased"] == pytest.approx(debiased_cka(h, y), rel=1e-5)
    if precision == "float32":
        assert 0 < found.bounds["cka_debiased"] < 1e-3
    parts = []
    for part in (slice(0, 20), slice(20, 70)):
        parts.append(tmp_path / f"{part.start}.h5")
        extract(model, (x[part], y[part]), parts[-1], precision=precision, dtype="float64")
    merged = (
        report(merge(parts, tmp_path / "merged.h5").path).layers[1].metrics.values["cka_debiased"]
    )
    assert merged == pytest.approx(found.values["cka_debiased"], rel=1e-5)


def test_a_file_of_before_and_a_sketch_say_why_there_is_none(tmp_path: Path) -> None:
    x, y = (np.random.default_rng(0).standard_normal((70, 3)) for _ in range(2))
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))
    path = tmp_path / "acts.h5"
    extract(model, (x, y), path)
    with edited(path) as file:
        for position in file["positions"].values():
            del position["norms"]
    assert "of an nrcscan that did not" in report(path).layers[1].metrics.undefined["cka_debiased"]
    extract(model, (x, y), path, sketch=8, force=True)
    assert "a sketch does not keep" in report(path).layers[1].metrics.undefined["cka_debiased"]


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_norms_added_up_as_tensors_are_the_same(precision: Precision) -> None:
    draw = np.random.default_rng(0)
    h, y = draw.standard_normal((1500, 5)) + 3, draw.standard_normal((1500, 2))
    on_host, on_device = (Moments(5, 2, precision=precision) for _ in range(2))
    on_host.update(h, y)
    device = OnDevice(on_device, torch.device("cpu"))
    device.take(torch.from_numpy(h), y)
    found, expected = device.hosted().statistics().norms, on_host.statistics().norms
    assert found is not None
    assert expected is not None
    rel = 1e-4 if precision == "float32" else 1e-10
    assert found == pytest.approx(expected, rel=rel, abs=rel * np.abs(expected).max())
