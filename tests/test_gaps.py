"""The top k directions exist where the next one is weaker; elsewhere nothing is said of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_metrics import Matrix, case, exactly, measure

from nrcscan.metrics.directions import top_weight_directions, weight_directions
from nrcscan.metrics.gaps import EQUAL

pytestmark = pytest.mark.numerical

OF_FEATURES = ("cka", "alignment", "noise_alignment", "weight_signal_energy")
OF_BOTH = ("alignment", "noise_alignment")


def orthogonal(size: int, seed: int) -> Matrix:
    return np.linalg.qr(np.random.default_rng(seed).standard_normal((size, size)))[0]


def whitened(h: Matrix) -> Matrix:
    return np.linalg.qr(h - h.mean(0))[0] * np.sqrt(len(h))


def test_an_orthogonal_weight_has_no_top_directions() -> None:
    h, y, _ = case()
    found = measure(h, y, orthogonal(12, 1))
    for quantity in OF_BOTH:
        assert found.undefined[quantity] == (
            "directions 3 and 4 of the weight are equally strong (1 and 1 of the first): the top 3"
            " are arbitrary"
        )
    energy = found.values["weight_signal_energy"]
    assert energy == pytest.approx(3 / 12)  # whatever the directions
    assert {"noise_component", "cka", "weight_stable_rank"} <= set(found.values)


def test_whitened_features_have_no_top_directions() -> None:
    h, y, w = case()
    found = measure(whitened(h), y, w, k=1)
    for quantity in OF_FEATURES:
        assert found.undefined[quantity] == (
            "directions 1 and 2 of the features are equally strong (1 and 1 of the first): that"
            " one is arbitrary"
        )
    assert found.values["noise_component"] == pytest.approx(11 / 12)
    assert {"cka_full", "linear_mse", "excess"} <= set(found.values)


def test_the_published_cka_is_of_columns_and_stays() -> None:
    h, y, w = case()
    found = measure(whitened(h), y, w, convention="published")
    assert "cka" in found.values
    assert "alignment" in found.undefined


@pytest.mark.parametrize("gap", [0.9, 1.1])
def test_where_equally_strong_begins(gap: float) -> None:
    weight = np.diag([3.0, 2.0, 1.0])
    after = 0.5 * (1 - gap * EQUAL)
    of_features = exactly(np.diag([1.0, 0.5, after]), weight, n=1000, t=2)
    of_weight = exactly(np.diag([3.0, 2.0, 1.0]), np.diag([1.0, 0.5, after]), n=1000, t=2)
    for found in (of_features, of_weight):
        assert ("alignment" in found.values) == (gap > 1)
    assert ("cka" in of_features.values) == (gap > 1)
    assert "cka" in of_weight.values


def test_directions_that_do_not_count_may_be_equal() -> None:
    weight = np.diag([1.0, 1e-5, 1e-5, 1e-5])
    found = exactly(np.diag([1.0, 1e-9, 1e-9, 1e-9]), weight, t=2)
    assert found.values["alignment"] == pytest.approx(1)
    assert found.values["cka"] == 0.0


def test_equal_directions_within_the_top_ones_are_no_matter() -> None:
    found = exactly(np.diag([1.0, 1.0, 0.3]), np.diag([2.0, 2.0, 0.1]), t=2)
    assert found.values["alignment"] == pytest.approx(1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("width", [16, 256])
def test_a_weight_that_is_orthogonal_up_to_its_precision(dtype: torch.dtype, width: int) -> None:
    h, y, _ = case(n=600, d=width, t=3)
    stored = torch.from_numpy(orthogonal(width, 2)).to(dtype).double().numpy()
    found = measure(h, y, stored, epsilon=torch.finfo(dtype).eps)
    assert "are arbitrary" in found.undefined["alignment"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_whitened_features_up_to_their_precision(dtype: torch.dtype) -> None:
    h, y, w = case(n=2000, d=12, t=3)
    stored = torch.from_numpy(whitened(h)).to(dtype).double().numpy()
    found = measure(stored, y, w, epsilon=torch.finfo(dtype).eps)
    assert "are arbitrary" in found.undefined["alignment"]


def test_a_weak_direction_beside_a_large_mean_is_measured() -> None:
    h, y, w = case(n=2000, t=2)
    q = whitened(h)
    h = q * np.sqrt([1, 3e-4, *[1e-7] * 10]) + 100.0
    stored = h.astype(np.float32).astype(np.float64)
    assert "alignment" in measure(stored, y, w, epsilon=2**-23).values


def test_a_weak_direction_that_bfloat16_still_tells_is_measured() -> None:
    rng = np.random.default_rng(0)
    y = rng.standard_normal((800, 2))
    q = orthogonal(64, 3)
    h = y * [1.0, 0.1] @ q[:, :2].T + 1e-3 * rng.standard_normal((800, 64))
    stored = torch.from_numpy(h).bfloat16().double().numpy()
    found = measure(stored, y, np.diag([1.0, 0.1]) @ q[:, :2].T, epsilon=2**-7)
    assert found.values["alignment"] > 0.99


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 4),
    decay=st.sampled_from([0.0, 1e-9, 1e-5, 3e-4, 0.01, 0.5, 2.0]),
    of_weight=st.sampled_from([0.0, 1e-9, 3e-4, 0.1, 2.0]),
    scale=st.sampled_from([1.0, 2.0**-30, 2.0**17]),
)
def test_the_same_function_in_another_basis_has_the_same_alignment_or_none(
    seed: int, k: int, decay: float, of_weight: float, scale: float
) -> None:
    """A hidden basis is rotated, and scaled, with the weight after it turned back."""
    rng = np.random.default_rng(seed)
    n, d, t = 300, 10, 2
    h = whitened(rng.standard_normal((n, d))) * np.exp(-decay * np.arange(d)) @ orthogonal(d, seed)
    w = orthogonal(d, seed + 1) * np.exp(-of_weight * np.arange(d)) @ orthogonal(d, seed + 2)
    y = h @ rng.standard_normal((d, t)) + rng.standard_normal((n, t))
    q = orthogonal(d, seed + 3)
    one, other = measure(h, y, w, k=k), measure(scale * (h @ q), y, w @ q / scale, k=k)
    assert set(one.values) == set(other.values)
    for quantity, value in one.values.items():
        assert other.values[quantity] == pytest.approx(value, rel=1e-8, abs=1e-8), quantity


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_units_in_another_order_change_nothing(seed: int) -> None:
    h, y, w = case(seed=seed)
    order = np.random.default_rng(seed).permutation(12)
    h = np.maximum(h, 0)
    one, other = measure(h, y, w), measure(h[:, order], y, w[:, order])
    assert set(one.values) == set(other.values)
    for quantity, value in one.values.items():
        assert other.values[quantity] == pytest.approx(value, rel=1e-8, abs=1e-8), quantity


@pytest.mark.parametrize("shape", [(80, 90), (90, 80), (300, 70), (6, 90), (90, 6)])
@pytest.mark.parametrize("top", [False, True])
def test_singular_values_go_one_beyond_the_top(shape: tuple[int, int], top: bool) -> None:
    w = np.random.default_rng(0).standard_normal(shape) * np.geomspace(1, 0.01, shape[1])
    found = top_weight_directions(w, 3) if top else weight_directions(w, 3)
    assert found is not None
    values = np.linalg.svd(w, compute_uv=False)
    assert found.values[:4] == pytest.approx(values[:4] / values[0], rel=1e-6)
    assert found.vectors.shape[1] >= 3
