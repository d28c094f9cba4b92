from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import nn

from nrcscan import Moments
from nrcscan.metrics.degenerate import CONSTANT_OUTPUT, constant, on_cutoff, unresolved
from nrcscan.metrics.directions import (
    Spectrum,
    spectrum,
    top_weight_directions,
    weight_directions,
)
from nrcscan.metrics.error_bounds import Resolution
from nrcscan.metrics.formulas import linear_mse, noise_component
from nrcscan.metrics.layer_metrics import input_matrix, layer_metrics
from nrcscan.metrics.layer_values import Layer, LayerMetrics, Setting
from nrcscan.metrics.passed_on import Kernel, lost, passed_on
from nrcscan.metrics.quantities import OF_RANK, QUANTITIES
from nrcscan.statistics.moments import Statistics

pytestmark = pytest.mark.numerical

Matrix = NDArray[Any]


def measure(
    h: Matrix, y: Matrix, w: Matrix | None, k: int | None = None, **kw: object
) -> LayerMetrics:
    moments = Moments(h.shape[1], y.shape[1])
    moments.update(h, y)
    s = moments.statistics()
    k = y.shape[1] if k is None else k
    setting = Setting(k, **{"model_mse": 0.1, **kw})  # type: ignore[arg-type]
    found = layer_metrics(Layer(s, spectrum(s.feature_covariance), w, setting))
    assert sorted([*found.values, *found.undefined]) == sorted(QUANTITIES)  # each exactly once
    return found


def debiased_cka(h: Matrix, y: Matrix) -> float:
    """As arXiv 2405.01012 has it, from Gram matrices without their diagonals."""

    def hsic(k: Matrix, m: Matrix) -> float:
        n = len(k)
        k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
        every = k.sum() * m.sum() / ((n - 1) * (n - 2))
        rows = 2 * (k.sum(0) @ m.sum(0)) / (n - 2)
        return float((k * m).sum() + every - rows) / (n * (n - 3))

    k, m = ((x - x.mean(0)) @ (x - x.mean(0)).T for x in (h, y))
    return hsic(k, m) / float(np.sqrt(hsic(k, k) * hsic(m, m)))


def reference(h: Matrix, y: Matrix, w: Matrix, k: int) -> dict[str, float]:
    """Straight from the definitions, on the samples themselves."""
    hc, yc = h - h.mean(0), y - y.mean(0)
    u, s, vt = np.linalg.svd(hc, full_matrices=False)
    _, sw, vw = np.linalg.svd(w, full_matrices=False)
    k_h, k_w = min(k, int((s > 1e-3 * s[0]).sum())), min(k, int((sw > 1e-3 * sw[0]).sum()))
    projected = hc @ vt[:k].T @ vt[:k]
    top, tw = vt[:k_h].T, vw[:k_w].T
    keep = s > 1e-3 * s[0]
    fitted = u[:, keep] @ (u[:, keep].T @ yc)

    def cka(a: Matrix) -> float:
        norm = np.linalg.norm
        return float(norm(a.T @ yc) ** 2 / (norm(a.T @ a) * norm(yc.T @ yc)))

    cosines = np.linalg.svd(top.T @ tw, compute_uv=False)
    sines = np.linalg.svd(tw - top @ (top.T @ tw), compute_uv=False)
    mse = float(((fitted - yc) ** 2).mean())
    held_out = mse / (1 - (int(keep.sum()) + 1) / len(h)) ** 2
    found = {
        "noise_component": float((s[k:] ** 2).sum() / (s**2).sum()),
        "cka": cka(projected),
        "cka_full": cka(hc),
        "cka_debiased": debiased_cka(h, y),
        "alignment": float(cosines.mean()),
        "noise_alignment": float(sines.mean()),
        "weight_signal_energy": float(np.linalg.norm(w @ top) ** 2 / np.linalg.norm(w) ** 2),
        "linear_mse": mse,
        "excess": (mse - 0.1) / float(yc.var(axis=0).mean()),
        "linear_mse_held_out": held_out,
        "error_ratio": held_out / 0.1,
        "feature_stable_rank": float((s**4).sum() / s[0] ** 4),
        "weight_stable_rank": float((sw**2).sum() / sw[0] ** 2),
        "feature_rank": int((s > 1e-3 * s[0]).sum()),
        "weight_rank": int((sw > 1e-3 * sw[0]).sum()),
    }
    return found | {name: found[of_k] for name, of_k in OF_RANK.items()}


def case(n: int = 400, d: int = 12, t: int = 3, out: int = 9, seed: int = 0) -> tuple[Matrix, ...]:
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((n, d)) @ np.diag(np.logspace(0, -1.5, d)) @ rng.standard_normal((d, d))
    y = h @ rng.standard_normal((d, t)) + 0.3 * rng.standard_normal((n, t))
    return h, y, rng.standard_normal((out, d))


@settings(max_examples=30)
@given(
    d=st.integers(4, 15),
    t=st.integers(1, 3),
    out=st.integers(1, 20),
    seed=st.integers(0, 1000),
    offset=st.sampled_from([0.0, 5.0, -300.0]),
)
def test_every_quantity_is_its_definition(
    d: int, t: int, out: int, seed: int, offset: float
) -> None:
    h, y, w = case(200, d, t, out, seed)
    h = h + offset
    found, expected = measure(h, y, w), reference(h, y, w, t)
    assert not found.undefined
    assert found.values.keys() == expected.keys() == set(QUANTITIES)
    for name, value in expected.items():
        assert found.values[name] == pytest.approx(value, rel=1e-8, abs=1e-10), name


@settings(max_examples=20)
@given(scale=st.sampled_from([2.0**-40, 2.0**30, 3.7e-9]), seed=st.integers(0, 100))
def test_scale_rotation_and_shift_change_nothing(scale: float, seed: int) -> None:
    h, y, w = case(seed=seed)
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((12, 12)))
    before = measure(h, y, w)
    after = measure(scale * (h @ q) + 4 * scale, y + 7, 5 * w @ q)
    for name in QUANTITIES:
        assert after.values[name] == pytest.approx(before.values[name], rel=1e-7, abs=1e-9), name


def test_a_collapsed_layer_reads_as_collapsed() -> None:
    rng = np.random.default_rng(1)
    y = rng.standard_normal((500, 2)) @ np.diag([1.0, 0.7])
    directions = np.linalg.qr(rng.standard_normal((20, 2)))[0]
    found = measure(y @ directions.T, y, directions.T, model_mse=0.0)
    assert found.values["noise_component"] < 20 * 2.0**-52  # each of 20 eigenvalues by a rounding
    for name in ("cka", "cka_full", "alignment", "weight_signal_energy"):
        assert found.values[name] == pytest.approx(1, abs=1e-12)
    assert found.values["noise_alignment"] < 1e-12
    assert abs(found.values["excess"]) < 1e-12
    assert found.undefined == {"error_ratio": "the network's MSE is nothing but rounding"}


def test_tiny_noise_is_measured_not_rounded_away() -> None:
    h, y, w = case()
    q, _ = np.linalg.qr(h - h.mean(0))
    spread = np.array([1, 0.5, 0.25, *[1e-6] * 9])
    found = measure(1e6 + 0 * q + q * np.sqrt(400) * spread, y, w)
    noise = 9e-12 / (1 + 0.25 + 0.0625 + 9e-12)
    # At a mean of 1e6 float64 itself keeps these features to 1e-10 only.
    assert found.values["noise_component"] == pytest.approx(noise, rel=1e-3)


def test_mean_a_million_times_the_spread() -> None:
    h, y, w = case()
    h = h / h.std() + 1e6  # as stored: the reference sees the same rounded values
    found = measure(h, y, w).values["noise_component"]
    c = h.astype(np.longdouble) - h.astype(np.longdouble).mean(0)
    lam = np.linalg.eigvalsh((c.T @ c).astype(np.float64))[::-1]
    assert found == pytest.approx(lam[3:].sum() / lam.sum(), rel=1e-6)


# --- degenerate layers: each has a named outcome ----------------------------------------------


def test_constant_features() -> None:
    _, y, w = case()
    found = measure(np.full((400, 12), 0.1), y, w)
    assert not found.varies
    assert found.undefined["noise_component"] == "the features do not vary"
    assert set(found.values) == {"weight_rank", "weight_stable_rank"}


def test_features_that_vary_by_rounding_alone() -> None:
    _, y, w = case()
    h = np.float32(0.1) + np.float32(2**-27) * np.random.default_rng(0).integers(0, 2, (400, 12))
    assert not measure(h, y, w, epsilon=2**-23).varies
    assert measure(h, y, w, epsilon=2**-52).varies


def test_fewer_directions_than_k() -> None:
    h, y, w = case(t=2)
    rank_one = np.outer(w[:, 0], w[0])
    found = measure(h, y, rank_one)
    assert found.values["weight_rank"] == 1
    assert "alignment over 1 of k = 2 directions" in found.notes[0]
    assert found.values["alignment"] == pytest.approx(reference(h, y, rank_one, 2)["alignment"])
    naive = measure(h, y, rank_one, convention="published").values["alignment"]
    assert naive != pytest.approx(found.values["alignment"], abs=1e-3)


def test_zero_weight() -> None:
    h, y, w = case()
    found = measure(h, y, 0 * w)
    assert found.undefined["alignment"] == found.undefined["weight_rank"] == "the weight is zero"
    assert found.values["noise_component"] > 0


@pytest.mark.parametrize("d", [2, 3])
def test_narrow_layer(d: int) -> None:
    h, y, w = case(d=d, t=3)
    found = measure(h, y, w)
    expected = f"width {d} leaves nothing beside k = 3 directions"
    assert found.undefined == dict.fromkeys(
        [*OF_RANK, *OF_RANK.values(), "weight_signal_energy"], expected
    )
    assert found.values["cka"] == pytest.approx(found.values["cka_full"])


def test_one_target() -> None:
    h, y, w = case(t=1)
    found = measure(h, y, w)
    assert not found.undefined
    assert 0 < found.values["cka"] <= 1


def test_fewer_samples_than_features() -> None:
    h, y, w = case(n=10, d=30, t=2)
    found = measure(h, y, w)
    assert found.values["feature_rank"] == 9
    assert found.undefined["linear_mse"] == (
        "10 samples for features of rank 9: any targets would be fitted"
    )
    assert found.notes == ["10 samples for width 30: the features have rank 9 at most"]
    assert found.values["noise_component"] > 0


def test_hardly_any_samples() -> None:
    h, y, w = case(n=3, t=2)
    found = measure(h, y, w)
    assert found.undefined["noise_component"] == "3 samples have at most 2 directions, and k = 2"
    assert "alignment" in found.undefined


def test_targets_that_do_not_vary() -> None:
    h, y, w = case()
    found = measure(h, np.ones_like(y), w)
    for name in ("cka", "cka_full", "linear_mse", "excess"):
        assert found.undefined[name] == "the targets do not vary"
    assert "noise_component" in found.values


def test_flattened_features_have_no_alignment() -> None:
    h, y, _ = case()
    found = measure(h, y, None)
    assert found.undefined["alignment"] == "the weight does not act on flattened features"


def test_a_singular_value_on_the_cutoff_is_said() -> None:
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((50, 4)))
    q -= q.mean(0)
    q, _ = np.linalg.qr(q)
    y = q[:, :1] + q[:, 3:]
    w = np.eye(4)
    on = measure(q * [1, 0.5, 0.1, 1e-3], y, w, epsilon=2**-23)
    off = measure(q * [1, 0.5, 0.1, 1.1e-3], y, w, epsilon=2**-23)
    assert any("sits on the cut-off" in note for note in on.notes)
    assert not off.notes


def test_published_convention_reads_dead_units_as_zero() -> None:
    h, y, w = case(t=2)
    h[:, :2] = 0.0
    assert measure(h, y, w, convention="published").values["cka"] == 0.0
    assert measure(h, y, w).values["cka"] > 0


@pytest.mark.parametrize("n", [30, 1000])
@pytest.mark.parametrize("spread", [1.0, 1e-4, 1e-8, 1e-12])
def test_the_published_cka_is_that_of_the_script(n: int, spread: float) -> None:
    h, y, w = case(n=n, t=2)
    h[:, :2] = spread * np.random.default_rng(1).standard_normal((n, 2))
    gram = [(x - x.mean(0)) @ (x - x.mean(0)).T for x in (h[:, :2], y)]
    crossed, of_h, of_y = ((a * b).sum() for a, b in (gram, gram[:1] * 2, gram[1:] * 2))
    found = measure(h, y, w, convention="published").values["cka"]
    assert found == pytest.approx(crossed / np.sqrt(of_h * of_y + 1e-12), rel=1e-9)


def test_the_published_alignment_says_where_float32_makes_noise_of_it() -> None:
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((50, 4)))
    q, _ = np.linalg.qr(q - q.mean(0))
    _, y, w = case(n=50, d=4, t=2)
    for share, noise in ((1.01e-7, False), (0.99e-7, True)):
        h = q * np.sqrt([1, share, share / 2, 0])
        for convention in ("default", "published"):
            notes = measure(h, y, w, convention=convention, epsilon=2**-52).notes
            said = "direction 2 of the features has 1e-07 of the variance of the first, which"
            told = any(note.startswith(said) for note in notes)
            assert told == (noise and convention == "published")
    assert "float32 cannot resolve: the published alignment is noise here" in notes[-1]


# --- just below and just above ----------------------------------------------------------------


def exactly(
    covariance: Matrix, weight: Matrix, *, n: int = 100, t: int = 1, **options: Any
) -> LayerMetrics:
    """Measure features of exactly this covariance, beside targets that go with none of them."""
    d = len(covariance)
    s = Statistics(n, np.zeros(d), np.zeros(t), covariance, np.zeros((d, t)), np.eye(t))
    setting = Setting(**{"signal_dim": t, "model_mse": 0.1, **options})
    return layer_metrics(Layer(s, spectrum(covariance), weight, setting))


def layer_of(features: Spectrum, cross: Matrix, targets: Matrix, k: int = 1) -> Layer:
    """Return a layer of which no more is known."""
    d, t = cross.shape
    s = Statistics(100, np.zeros(d), np.zeros(t), np.zeros((d, d)), cross, targets)
    return Layer(s, features, None, Setting(k, 0.1))


def test_noise_is_also_what_lies_in_no_known_direction() -> None:
    sketched = Spectrum(np.array([3.0, 1.0]), np.eye(3)[:, :2], residual=1.0)
    none = np.zeros((3, 1))
    assert noise_component(layer_of(sketched, none, np.eye(1), 1)) == 2 / 5
    assert noise_component(layer_of(sketched, none, np.eye(1), 2)) == 1 / 5


def test_where_a_constant_output_begins() -> None:
    for share, dead in ((0.99, True), (1, True), (1.01, False)):
        assert constant(share * CONSTANT_OUTPUT) == dead


def test_features_vary_from_four_roundings_of_their_own_values_on() -> None:
    epsilon = 2.0**-10
    for spread, varies in ((3.99, False), (4.0, False), (4.01, True)):
        covariance = np.diag([0.0, (spread * epsilon * 8) ** 2])
        s = Statistics(
            9, np.array([8.0, -8.0]), np.zeros(1), covariance, np.zeros((2, 1)), np.eye(1)
        )
        assert unresolved(s, epsilon) == (None if varies else "the features do not vary")


@pytest.mark.parametrize("side", [-1, 1])
def test_a_value_is_on_the_cutoff_within_ten_roundings(side: int) -> None:
    epsilon = 2.0**-23
    for roundings, on in ((9.9, True), (10.1, False)):
        smaller = (1e-3 + side * roundings * epsilon) ** 2
        features = Spectrum(np.array([1.0, smaller]), np.eye(2))
        assert on_cutoff(features, epsilon) == on
        assert linear_mse(layer_of(features, np.zeros((2, 1)), np.eye(1))) == 1.0


def test_a_direction_counts_above_a_thousandth() -> None:
    for sigma, counts in ((1.001e-3, True), (0.999e-3, False)):
        features = Spectrum(np.array([4.0, 4 * sigma**2]), np.eye(2))
        assert features.rank == 1 + counts
        cross = np.array([[0.0], [sigma]])
        assert linear_mse(layer_of(features, cross, np.eye(1))) == pytest.approx(1 - counts / 4)
        for width in (2, 100):  # by an SVD, and by squares
            values = np.array([3.0, 3 * sigma, *[0.0] * (width - 2)])
            assert weight_directions(np.diag(values), 1).rank == 1 + counts
        top = top_weight_directions(np.diag([3.0, 3 * sigma, *[0.0] * 98]), 2)
        assert top is not None
        assert top.rank == 1 + counts
        assert not top.whole


def test_a_prediction_is_never_better_than_perfect() -> None:
    features = Spectrum(np.ones(1), np.ones((1, 1)))
    assert linear_mse(layer_of(features, np.ones((1, 1)), np.full((1, 1), 1 - 1e-15))) == 0.0


def test_the_linear_mse_is_a_mean_over_targets() -> None:
    features = Spectrum(np.ones(1), np.ones((1, 1)))
    found = linear_mse(layer_of(features, np.array([[1.0, 0.0]]), np.diag([2.0, 4.0])))
    assert found == (2 + 4 - 1) / 2


def test_directions_that_do_not_count_have_no_part_in_alignment_or_energy() -> None:
    covariance = np.diag([1.0, 0.9e-6, 0.0])
    found = exactly(covariance, np.diag([2.0, 1.0, 1.5]), signal_dim=2).values
    assert found["feature_rank"] == 1
    assert found["alignment"] == pytest.approx(1)  # of e₁ with e₁ and e₃, not of e₂ with e₃ too
    assert found["weight_signal_energy"] == pytest.approx(4 / (4 + 1 + 2.25))
    assert found["noise_alignment"] == pytest.approx(0.5)
    rank_one = exactly(np.diag([1.0, 0.5, 0.1]), np.diag([0.9e-3, 0.0, 1.0]), signal_dim=2)
    assert rank_one.values["alignment"] == pytest.approx(0)
    assert rank_one.values["noise_alignment"] == pytest.approx(1)
    assert "alignment over 1 of k = 2 directions" in rank_one.notes[0]


def test_samples_that_are_no_more_than_features() -> None:
    for n, said in ((4, True), (5, True), (6, False)):
        found = exactly(np.diag([5.0, 4, 3, 0, 0]), np.eye(5), n=n)
        note = f"{n} samples for width 5: the features have rank {n - 1} at most"
        assert found.notes == [note] * said


def test_samples_that_are_no_more_than_directions() -> None:
    for n, defined in ((4, False), (5, True)):
        found = exactly(np.diag([5.0, 4, 3, 0]), np.eye(4), n=n)  # of rank 3
        assert ("linear_mse" in found.values) == ("excess" in found.values) == defined
    for n, defined in ((3, False), (4, True)):
        found = exactly(np.diag([5.0, 4, 3, 2]), np.eye(4), n=n, t=2)
        assert ("noise_component" in found.values) == ("cka" in found.values) == defined


def test_a_width_that_is_no_more_than_k() -> None:
    for k, defined in ((2, True), (3, False)):
        found = exactly(np.diag([5.0, 4, 3]), np.diag([3.0, 2, 1]), signal_dim=k)
        assert ("noise_component" in found.values) == ("alignment" in found.values) == defined
        assert "cka" in found.values


def test_the_first_thing_that_a_layer_lacks_is_the_reason() -> None:
    found = exactly(np.diag([5.0, 4, 3]), np.zeros((2, 3)), n=3, signal_dim=3).undefined
    assert found["alignment"] == "the weight is zero"
    assert found["noise_component"] == "3 samples have at most 2 directions, and k = 3"
    assert found["cka"] == found["linear_mse"] == found["noise_component"]


def test_one_target_that_varies_is_enough() -> None:
    covariance = np.diag([2.0, 1.0, 0.5])
    cross = np.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    s = Statistics(50, np.zeros(3), np.zeros(2), covariance, cross, np.diag([1.0, 0.0]))
    layer = Layer(s, spectrum(covariance), np.eye(3), Setting(2, 0.2))
    found = layer_metrics(layer).values
    assert found["linear_mse"] == pytest.approx(0.25)
    assert found["excess"] == pytest.approx((0.25 - 0.2) / 0.5)
    worse = Layer(s, spectrum(covariance), np.eye(3), Setting(2, 3.0))  # than no network at all
    assert layer_metrics(worse).values["excess"] == pytest.approx((0.25 - 3.0) / 0.5)


def test_the_published_linear_mse_knows_no_intercept() -> None:
    s = Statistics(50, np.array([3.0, 0]), np.zeros(1), np.eye(2), np.eye(2)[:, :1], np.eye(1))
    for convention, explained in (("default", 1.0), ("published", 1 / (1 + 9))):
        setting = Setting(1, 0.0, convention)  # type: ignore[arg-type]
        found = layer_metrics(Layer(s, spectrum(s.feature_covariance), None, setting))
        assert found.values["linear_mse"] == pytest.approx(1 - explained, abs=1e-12)


def test_a_noise_component_below_its_bound_is_shown_as_the_bound() -> None:
    features = Spectrum(np.array([1.0, 1e-3, 1e-9]), np.eye(3))
    for total, shown in ((0.9e-3, 1e-3), (1.1e-3, 1.1e-3)):
        s = Statistics(
            50, np.zeros(3), np.zeros(1), np.diag(features.values), np.ones((3, 1)), np.eye(1)
        )
        known = Resolution(tau=1e-9, total=total)
        found = layer_metrics(Layer(s, features, np.eye(3), Setting(1, 0.0), known))
        assert found.values["noise_component"] == pytest.approx(shown, rel=2e-3)
        assert any("all that can be resolved" in note for note in found.notes) == (total > 1e-3)


# --- the dead branch -------------------------------------------------------------------------

BESIDE = np.array([1.0, 2.0, 4.0])


def alive(kernel: Kernel, h: Matrix, beside: Matrix = BESIDE, epsilon: float = 2.0**-23) -> bool:
    return not lost(kernel, np.atleast_2d(np.cov(h.T, bias=True)), beside, epsilon)


@pytest.mark.parametrize(
    ("kernel", "layer"),
    [
        (Kernel(np.ones((3, 4))), nn.Linear(4, 3)),
        (Kernel(np.ones((3, 4, 1, 1))), nn.Conv2d(4, 3, 1)),
        (Kernel(np.ones((6, 2, 1)), 2), nn.Conv1d(4, 6, 1, groups=2)),
        (Kernel(np.ones((4, 3, 1)), 2, transposed=True), nn.ConvTranspose1d(4, 6, 1, groups=2)),
    ],
    ids=lambda x: type(x).__name__,
)
def test_what_a_layer_passes_on(kernel: Kernel, layer: nn.Module) -> None:
    rng = np.random.default_rng(0)
    h = rng.normal(size=(50, 4)) @ rng.normal(size=(4, 4))
    weight = rng.normal(size=kernel.weight.shape)
    x = torch.from_numpy(h.reshape(50, 4, *[1] * (weight.ndim - 2)))
    module = layer.double()
    with torch.no_grad():
        next(module.parameters()).copy_(torch.from_numpy(weight))
        out = module(x).reshape(50, -1).numpy()
    covariance = np.cov(h.T, bias=True)
    for known in (covariance, spectrum(covariance)):
        found = np.concatenate([*passed_on(kernel._replace(weight=weight), known)])
        assert found == pytest.approx(out.var(axis=0))


def test_a_branch_is_dead_within_four_roundings_of_what_it_joins_at_every_output() -> None:
    h = np.array([[1.0], [-1.0]])  # of spread 1
    for spread, dead in ((3.99, True), (4.0, True), (4.01, False)):
        outputs = (spread * 2.0**-23 * BESIDE)[:, None]
        assert alive(Kernel(outputs), h) == (not dead)
    assert alive(Kernel(np.array([[0.0], [0.0], [1.0]])), h)


def test_no_weight_is_no_dead_branch() -> None:
    assert alive(Kernel(np.zeros((3, 1))), np.array([[1.0], [-1.0]]))


def test_what_a_sketch_has_not_seen_may_get_through() -> None:
    seen = Spectrum(np.array([1e-30]), np.eye(2)[:, :1], residual=1.0)
    assert not lost(Kernel(np.ones((3, 2))), seen, BESIDE, 2.0**-23)


@settings(max_examples=40)
@given(
    powers=st.lists(st.integers(-60, 60), min_size=5, max_size=5),
    spread=st.integers(-40, 20),
    seed=st.integers(0, 5),
)
def test_rescaled_hidden_units_are_as_alive_as_before(
    powers: list[int], spread: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    scales = 2.0 ** np.array(powers)
    h = rng.normal(size=(30, 5)) * 2.0**spread
    weight = rng.normal(size=(3, 5))
    assert alive(Kernel(weight / scales), h * scales) == alive(Kernel(weight), h)
    outputs = scales[:3]
    scaled = Kernel(weight * outputs[:, None])
    assert alive(scaled, h, BESIDE * outputs) == alive(Kernel(weight), h)


# --- weights ---------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize(
    "layer",
    [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d],
)
def test_convolutions_act_on_their_own_channels(layer: type[nn.Module], groups: int) -> None:
    torch.manual_seed(0)
    module = layer(6, 12, 3, groups=groups, bias=False)
    weight = module.weight.detach().double().numpy()  # type: ignore[operator]
    dims = weight.ndim - 2
    transposed = "Transpose" in layer.__name__
    matrix = input_matrix(weight, groups=groups, transposed=transposed)
    # Run the layer on one-hot channels: column c of W is all that channel c does.
    size = 3
    responses = []
    for channel in range(6):
        x = torch.zeros(1, 6, *[size] * dims, dtype=torch.float64)
        x[(0, channel, *[size // 2] * dims)] = 1.0
        with torch.no_grad():
            padded = module.double()(nn.functional.pad(x, [0 if transposed else 2] * 2 * dims))
        responses.append(padded.flatten().numpy())
    dense = np.array(responses).T
    assert matrix.shape[1] == 6
    np.testing.assert_allclose(matrix.T @ matrix, dense.T @ dense, atol=1e-12)


@pytest.mark.parametrize("shape", [(3, 8), (8, 8), (40, 8), (90, 150), (128, 128), (400, 70)])
@pytest.mark.parametrize("scale", [1.0, 1e-170, 1e170])
def test_weight_directions_are_those_of_an_svd(shape: tuple[int, int], scale: float) -> None:
    rng = np.random.default_rng(0)
    u, s, vt = np.linalg.svd(rng.standard_normal(shape), full_matrices=False)
    for k, values in (
        (2, s),  # as it is
        (5, np.where(np.arange(len(s)) < 6, s, 1e-5 * s)),  # most directions do not count
        (1, np.where(np.arange(len(s)) < 2, s[0], s)),  # no top direction
        (3, s[0] * 20.0 ** -np.arange(len(s))),  # squares of the third lose its digits
    ):
        w = (u * values) @ vt * scale
        found = weight_directions(w, k)
        assert found.rank == np.count_nonzero(values > 1e-3 * values[0])
        assert found.stable_rank == pytest.approx((values @ values) / values[0] ** 2, rel=1e-11)
        top = found.vectors[:, :k]
        np.testing.assert_allclose(top.T @ top, np.eye(top.shape[1]), atol=1e-11)
        if k < len(s) and values[k - 1] > values[k]:
            expected = vt[:k].T @ vt[:k]
            np.testing.assert_allclose(top @ top.T, expected, atol=1e-11)
