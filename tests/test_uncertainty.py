"""What bounds are made of: each number by hand, and each constant just below and just above."""

from __future__ import annotations

from math import inf, sqrt
from typing import Any

import numpy as np
import pytest

from nrcscan.metrics.directions import Spectrum
from nrcscan.metrics.error_bounds import Resolution, bounds, refused, resolution

ALL = dict.fromkeys(
    [
        "noise_component",
        "alignment",
        "noise_alignment",
        "weight_signal_energy",
        "feature_stable_rank",
        "feature_rank",
        "cka",
        "cka_full",
        "linear_mse",
        "excess",
    ],
    0.0,
)


def of(*values: float, width: int | None = None, residual: float = 0.0) -> Spectrum:
    vectors = np.eye(width or len(values))[:, : len(values)]
    return Spectrum(np.array(values), vectors, residual)


def bound(features: Spectrum, k: int = 1, cross: float = 0.5, **known: Any) -> dict[str, float]:
    """Return the bounds beside one target of variance 2, which goes with the first direction."""
    covariance = np.zeros((len(features.vectors), 1))
    covariance[0] = cross
    values = {**ALL, **known.pop("values", {})}
    return bounds(features, covariance, np.array([[2.0]]), values, k, Resolution(**known))


def test_products_and_sketches_are_known_to_so_many_roundings() -> None:
    features = of(3, 1, width=4, residual=0.5)
    for sketched in (True, False):
        known = resolution(features, 1e-7, sketched=sketched)
        assert known.tau == pytest.approx(0.5 + 4 * 4.5e-7, rel=1e-12)
        assert known.total == pytest.approx(0.5 + 64 * 4.5e-7, rel=1e-12)
        assert known.cross == pytest.approx(4e-7, rel=1e-12)
        assert known.sketched == sketched
    assert resolution(features, 2.0**-52, sketched=False) == Resolution()
    assert resolution(features, 2.0**-52, sketched=True).tau == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("quantity", "widest"),
    [
        ("cka", 0.05),
        ("noise_component", 0.05),
        ("feature_stable_rank", 0.05 * 3),
        ("excess", 0.01),
        ("linear_mse", 0.01 * 7),
    ],
)
def test_the_widest_bound_that_is_shown(quantity: str, widest: float) -> None:
    values = {quantity: 3.0}
    assert refused({quantity: 0.999 * widest}, values, 7.0) == []
    assert refused({quantity: 1.001 * widest}, values, 7.0) == [quantity]
    assert refused({quantity: np.nan}, values, 7.0) == [quantity]


def test_directions_are_off_by_the_error_over_what_is_left_of_the_gap() -> None:
    found = bound(of(1, 0.5, 0.1), tau=0.1)
    assert found["noise_alignment"] == pytest.approx(0.25)
    assert found["weight_signal_energy"] == pytest.approx(0.25)
    assert found["alignment"] == pytest.approx(sqrt(2) * 0.25)
    for tau, sine in ((0.24, 0.24 / 0.26), (0.26, 1.0), (0.6, 1.0)):
        found = bound(of(1, 0.5, 0.1), tau=tau)
        assert found["noise_alignment"] == pytest.approx(sine)
        assert found["alignment"] == min(1.0, sqrt(2) * sine)


def test_shares_are_off_by_the_error_of_the_trace() -> None:
    found = bound(of(1, 0.5, 0.1), tau=0.01, total=0.08)
    assert found["noise_component"] == pytest.approx(0.05)


def test_a_stable_rank_is_off_by_the_farther_of_two_ends() -> None:
    norm = sqrt(1.25)
    upper, lower = ((norm + 0.1) / 0.9) ** 2, ((norm - 0.1) / 1.1) ** 2
    for value, off in ((1.25, upper - 1.25), (1.8, 1.8 - lower)):
        found = bound(of(1, 0.5), total=0.1, values={"feature_stable_rank": value})
        assert found["feature_stable_rank"] == pytest.approx(off)
    assert bound(of(1, 0.5), total=1.0)["feature_stable_rank"] == inf


def test_a_cka_is_off_by_its_directions_its_norms_and_its_rounding() -> None:
    values = {"cka": 0.3, "cka_full": 0.2}
    found = bound(of(4, 3), tau=0.1, total=0.5, values=values)
    turned = 0.1 / (4 - 3 - 0.1)
    assert found["cka"] == pytest.approx(turned * 0.25 / (4 * 2) + 0.3 * 0.5 / 4.5)
    assert found["cka_full"] == pytest.approx(0.2 * 0.5 / 5.5)
    rounded = bounds(
        of(4, 3), np.array([[0.5], [0]]), np.array([[2.0]]), ALL, 1, Resolution(cross=0.01)
    )
    off = 0.01 * sqrt(7 * 2)
    assert rounded["cka"] == pytest.approx((2 * 0.5 * off + off**2) / (4 * 2))
    assert rounded["cka_full"] == pytest.approx((2 * 0.5 * off + off**2) / (5 * 2))


def test_what_is_explained_is_off_by_its_directions_and_its_rounding() -> None:
    found = bound(of(4, 3), tau=0.1)
    assert found["linear_mse"] == pytest.approx(0.5**2 / 4 * 0.1 / 4)
    assert found["excess"] == pytest.approx(found["linear_mse"] / 2)
    rounded = bounds(
        of(4, 3), np.array([[0.5], [0]]), np.array([[2.0]]), ALL, 1, Resolution(cross=0.01)
    )
    off = 0.01 * sqrt(7 * 2)
    assert rounded["linear_mse"] == pytest.approx(2 * off * 0.5 / 4 + off**2 / 3)


def test_a_direction_that_could_be_on_the_other_side_explains_all_or_nothing() -> None:
    tau = 1e-8
    for value, whole in ((1e-6 + 1.9e-8, True), (1e-6 + 2.1e-8, False)):
        features = of(value, 1.0)
        features = Spectrum(features.values[::-1], features.vectors[:, ::-1])
        share = 1e-8**2 / value
        found = bounds(
            features, np.array([[1e-8], [0]]), np.array([[2.0]]), ALL, 1, Resolution(tau=tau)
        )
        expected = share if whole else share * tau / value
        assert found["linear_mse"] == pytest.approx(expected)


@pytest.mark.parametrize("side", [1, -1])
def test_a_rank_is_known_where_no_eigenvalue_is_near_the_cutoff(side: int) -> None:
    for distance, known in ((1.9e-8, False), (2.1e-8, True)):
        found = bound(of(1, 1e-6 + side * distance), tau=1e-8)
        assert found["feature_rank"] == (0.0 if known else inf)


def test_directions_that_a_sketch_has_not_seen_count_from_the_cutoff_on() -> None:
    for tau, known in ((0.99e-6, True), (1.01e-6, False)):
        sketched = bound(of(1, 0.5, width=3), tau=tau)
        assert sketched["feature_rank"] == (0.0 if known else inf)
        whole = bound(of(1, 0.5, width=2), tau=tau)
        assert whole["feature_rank"] == 0.0


def test_what_is_left_could_explain_where_unseen_directions_count() -> None:
    cross = np.array([[0.5], [0.0], [3e-4]])
    for tau, left in ((0.99e-6, 0.0), (1.01e-6, 3e-4**2 / 1e-6)):
        found = bounds(of(1, 0.5, width=3), cross, np.array([[2.0]]), ALL, 1, Resolution(tau=tau))
        assert found["linear_mse"] == pytest.approx(0.25 * tau + left)
    found = bound(of(1, 0.5, width=3, residual=1e-6), tau=1e-6)
    assert found["linear_mse"] == inf
    assert bound(of(1, 0.5, width=3, residual=0.9e-6), tau=0.9e-6)["linear_mse"] < 1


@pytest.mark.parametrize("quantity", ["alignment", "noise_alignment", "weight_signal_energy"])
def test_alignments_need_to_know_how_many_directions_count(quantity: str) -> None:
    # Of k = 2 asked for, the second may count or not, or may not have been seen at all.
    for values, tau, known in (
        ((1, 1e-6 + 2.1e-9), 1e-9, True),
        ((1, 1e-6 + 1.9e-9), 1e-9, False),
        ((1,), 0.99e-6, True),
        ((1,), 1.01e-6, False),
    ):
        found = bound(of(*values, width=3), k=2, tau=tau)
        assert (found[quantity] < 0.01) == known
        if not known:
            assert found[quantity] == 1.0
