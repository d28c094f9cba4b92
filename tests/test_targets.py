"""Targets in different units, targets of few directions, and targets that are not predicted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_metrics import Matrix, case, measure
from torch import nn

from nrcscan import Report, extract, report
from nrcscan.metrics.quantities import OF_RANK
from nrcscan.metrics.target_spectrum import TargetSpectrum, target_spectrum
from nrcscan.reporting import sentences

pytestmark = pytest.mark.numerical


def of(y: Matrix) -> TargetSpectrum:
    return target_spectrum(y.mean(0), np.cov(y.T, bias=True).reshape(y.shape[1], -1))


def low_rank(rank: int, t: int, noise: float = 0.0, n: int = 2000) -> Matrix:
    draw = np.random.default_rng(t)
    y = draw.standard_normal((n, rank)) @ np.linalg.qr(draw.standard_normal((t, rank)))[0].T
    return y / y.std(0) + noise * draw.standard_normal((n, t))


@pytest.mark.parametrize(("rank", "t"), [(1, 2), (2, 3), (2, 6), (3, 10)])
@pytest.mark.parametrize("noise", [0.0, 1e-7, 1e-4, 1e-2])
def test_targets_of_few_directions_beside_noise(rank: int, t: int, noise: float) -> None:
    found = of(low_rank(rank, t, noise))
    assert found.rank == rank
    assert found.explained > 0.999
    assert found.gap is None or found.gap > 100
    assert len(found.spectrum) == t
    assert sum(found.spectrum) == pytest.approx(1)


@pytest.mark.parametrize("t", [1, 2, 5])
@pytest.mark.parametrize("decay", [1.0, 3.0])
def test_directions_that_fade_without_a_gap_all_count(t: int, decay: float) -> None:
    draw = np.random.default_rng(0)
    y = draw.standard_normal((3000, t)) @ draw.standard_normal((t, t))
    assert of(y).rank == t
    faded = draw.standard_normal((3000, t)) * decay ** -np.arange(t) @ draw.standard_normal((t, t))
    assert of(faded).rank == t


@pytest.mark.parametrize("noise", [0.3, 0.1])
def test_much_noise_is_signal(noise: float) -> None:
    assert of(low_rank(2, 4, noise)).rank == 4


@settings(max_examples=30)
@given(
    units=st.lists(st.floats(1e-6, 1e6), min_size=3, max_size=3),
    rank=st.integers(1, 3),
    offset=st.sampled_from([0.0, -40.0]),
)
def test_units_do_not_matter(units: list[float], rank: int, offset: float) -> None:
    y = low_rank(rank, 3)
    plain, scaled = of(y), of((y + offset) * units)
    assert plain.rank == scaled.rank == rank
    assert scaled.spectrum == pytest.approx(plain.spectrum, abs=1e-9)


def test_targets_that_do_not_vary_have_no_directions() -> None:
    y = low_rank(2, 3)
    y[:, 1] = 0.3
    assert of(y).rank == 2
    assert of(np.ones((9, 2))) == TargetSpectrum((), 0, 0.0, None)


def test_the_evidence_in_words() -> None:
    exact = of(low_rank(2, 3))
    assert exact.evidence.startswith(
        "the targets' correlation matrix has 2 directions that count (explaining 100 %, the next "
    )
    one = TargetSpectrum((0.9996, 0.0004), 1, 0.9996, 2499.0).evidence
    assert one.endswith("has 1 direction that counts (explaining 99.96 %, the next 0.0004)")
    assert TargetSpectrum((0.6, 0.4), 2, 1.0, None).evidence.endswith("(explaining 100 %)")


# --- what a report says -----------------------------------------------------------------------


def reported(tmp_path: Path, x: Matrix, y: Matrix, fitted: Matrix, **options: object) -> Report:
    """Report on a network that predicts `x @ fitted` by way of a hidden layer."""
    d, t = fitted.shape
    first, last = nn.Linear(d, d, bias=False), nn.Linear(d, t, bias=False)
    first.weight = nn.Parameter(torch.eye(d))
    last.weight = nn.Parameter(torch.from_numpy(fitted.T.copy()))
    model = nn.Sequential(first, last).double()
    path = tmp_path / "acts.h5"
    extract(model, (x, y), path, dtype="float64", force=True)
    return report(path, **options)  # type: ignore[arg-type]


def test_a_target_that_the_mean_hides(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x, w = draw.standard_normal((500, 4)), draw.standard_normal((4, 2))
    x -= x.mean(0)
    y = x @ w * [1000.0, 1.0]
    fitted = w * [1000.0, 0.0]
    found = reported(tmp_path, x, y, fitted, signal_dim="auto")
    assert found.r2 == pytest.approx(1, abs=1e-5)
    assert found.target_r2 == pytest.approx([1, 0], abs=0.01)
    assert found.signal_dim == found.target_rank == 2  # 1 by the covariance, in these units
    hides = "target column 1 (from 0) is not predicted (R² 0.00); the mean over targets hides it"
    assert hides in found.notes
    assert not any("hides" in note for note in reported(tmp_path, x, y, 0 * w).notes)
    assert not any("hides" in note for note in reported(tmp_path, x, y, w * [1000, 1]).notes)


def test_targets_in_json(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((500, 6))
    w = draw.standard_normal((6, 2)) @ draw.standard_normal((2, 3))
    y = x @ w
    y[:, 2] = 1.0
    targets = json.loads(json.dumps(reported(tmp_path, x, y, w).to_dict()))["targets"]
    assert targets["r2"][:2] == pytest.approx([1, 1])
    assert targets["r2"][2] is None
    assert targets["undefined"]["r2"] == "a target does not vary"
    assert targets["rank"] == len(targets["spectrum"]) == 2
    assert targets["explained"] == pytest.approx(1)
    assert targets["gap"] is None
    assert "gap" in targets["undefined"]


def test_auto_shows_what_it_rests_on(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((500, 6))
    w = draw.standard_normal((6, 2)) @ draw.standard_normal((2, 3))
    y = x @ w + 1e-3 * draw.standard_normal((500, 3))
    found = reported(tmp_path, x, y, w, signal_dim="auto")
    assert found.signal_dim == 2
    assert "2 directions that count (explaining over 99.99 %, the next " in sentences.signal(found)
    plain = reported(tmp_path, x, y, w)
    assert any("the targets have rank 2, less than k = 3" in note for note in plain.notes)
    for layer in plain.layers:
        assert layer.metrics.values["noise_component_r"] == pytest.approx(
            found.layers[layer.index].metrics.values["noise_component"]
        )


# --- quantities at the targets' rank ----------------------------------------------------------


@pytest.mark.parametrize("convention", ["default", "published"])
@pytest.mark.parametrize("rank", [1, 2])
def test_quantities_at_the_rank_are_those_with_it_for_k(rank: int, convention: str) -> None:
    h, y, w = case(t=3)
    found = measure(h, y, w, target_rank=rank, convention=convention)
    other = measure(h, y, w, k=rank, convention=convention)
    for name, of_k in OF_RANK.items():
        assert found.values[name] == pytest.approx(other.values[of_k])
        assert found.chance.get(name) == other.chance.get(of_k)
        assert found.values[name] != found.values[of_k]


@pytest.mark.parametrize("rank", [None, 0, 3, 5])
def test_with_no_lower_rank_they_are_the_same(rank: int | None) -> None:
    h, y, w = case(t=3)
    found = measure(h, y, w, target_rank=rank)
    for name, of_k in OF_RANK.items():
        assert found.values[name] == found.values[of_k]


def test_a_layer_too_narrow_for_k_may_have_them() -> None:
    h, y, w = case(d=3, t=3)
    found = measure(h, y, w, target_rank=2)
    for name, of_k in OF_RANK.items():
        assert name in found.values
        assert of_k in found.undefined


def test_they_are_undefined_where_that_many_directions_do_not_exist() -> None:
    h, y, _ = case(t=3)
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((12, 12)))[0]
    w = np.array([2.0, 2.0, 2.0, *[1.0] * 9])[:, None] * q
    found = measure(h, y, w, target_rank=2)
    assert "alignment" in found.values
    assert "directions 2 and 3 of the weight" in found.undefined["alignment_r"]
    assert "noise_component_r" in found.values
