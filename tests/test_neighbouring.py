"""Measures beside Deep NRC, against two-pass references on the features themselves."""

from __future__ import annotations

import builtins
import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import FIXTURES, Run, edited, mlp, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import nn

from nrcscan import InputError, UsageError, extract, merge, report, scan
from nrcscan.acts_file.reading import open_acts
from nrcscan.metrics import neighbouring_formulas as formulas
from nrcscan.metrics.directions import Spectrum, spectrum
from nrcscan.metrics.intrinsic_dimension import chosen_rows, intrinsic_dimension
from nrcscan.metrics.neighbouring import MEASURES, NAMES, OF_LAST
from nrcscan.reporting import neighbouring_measures as reported
from nrcscan.reporting import report_table
from nrcscan.reporting.numbers import number
from nrcscan.statistics.moments_on_gpu import OnDevice
from nrcscan.statistics.unit_features import UnitFeatures, UnitMoments

pytestmark = pytest.mark.numerical

Matrix = NDArray[np.float64]
SEEDS = st.integers(0, 1000)
ALL: dict[str, Any] = {"measures": "all"}


def features(seed: int, n: int = 60, d: int = 7) -> Matrix:
    """Some features, a few of them of norm 0."""
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + rng.standard_normal(d)
    h[rng.random(n) < 0.1] = 0
    return h


def seen(*batches: Matrix) -> UnitFeatures:
    units = UnitMoments(batches[0].shape[1])
    for batch in batches:
        units.take(batch)
    return units.result()


def units_of(h: Matrix) -> Matrix:
    """Straight from the definition."""
    norms = np.linalg.norm(h, axis=1)
    return h[norms > 0] / norms[norms > 0, None]


def residual(units: Matrix, basis: Matrix) -> float:
    projected = units @ basis @ np.linalg.pinv(basis)
    return float(((units - projected) ** 2).sum(axis=1).mean())


# --- features scaled to norm 1 ----------------------------------------------------------------


@settings(max_examples=40)
@given(seed=SEEDS, k=st.integers(1, 5), cut=st.integers(1, 59))
def test_residuals_follow_from_moments(seed: int, k: int, cut: int) -> None:
    h = features(seed)
    basis = np.linalg.qr(np.random.default_rng(seed + 1).standard_normal((7, k)))[0]
    found = seen(h[:cut], h[cut:])
    assert found.n_samples + found.n_zero == len(h)
    assert found.n_zero == (h == 0).all(axis=1).sum()
    assert found.residual(basis) == pytest.approx(residual(units_of(h), basis), rel=1e-12)


@settings(max_examples=30)
@given(seed=SEEDS, scale=st.sampled_from([2.0**-900, 3.7e-9, 1e150, 2.0**800]))
def test_scale_changes_nothing_not_even_of_one_sample(seed: int, scale: float) -> None:
    h = features(seed)
    scaled = h * np.where(np.random.default_rng(seed).random((len(h), 1)) < 0.5, 1, scale)
    one, two = seen(h), seen(scaled)
    np.testing.assert_allclose(two.mean, one.mean, atol=1e-12)
    np.testing.assert_allclose(two.covariance, one.covariance, atol=1e-12)


@settings(max_examples=30)
@given(seed=SEEDS, cut=st.integers(1, 59))
def test_units_merge_in_any_order(seed: int, cut: int) -> None:
    h = features(seed)
    whole = seen(h)
    for parts in ((h[:cut], h[cut:]), (h[cut:], h[:cut])):
        one, two = UnitMoments(7), UnitMoments.from_unit_features(seen(parts[1]))
        one.take(parts[0])
        one.merge(two)
        found = one.result()
        assert (found.n_samples, found.n_zero) == (whole.n_samples, whole.n_zero)
        np.testing.assert_allclose(found.mean, whole.mean, atol=1e-13)
        np.testing.assert_allclose(found.covariance, whole.covariance, atol=1e-13)


def test_small_residuals_keep_their_digits() -> None:
    rng = np.random.default_rng(0)
    h = np.c_[rng.standard_normal((5000, 2)), 1e-6 * rng.standard_normal((5000, 30))]
    found = seen(h).residual(np.eye(32, 2))
    assert found == pytest.approx(residual(units_of(h), np.eye(32, 2)), rel=1e-4)
    assert found < 1e-9


def test_features_of_norm_zero_alone() -> None:
    nothing = seen(np.zeros((5, 3)))
    assert (nothing.n_samples, nothing.n_zero) == (0, 5)
    units = UnitMoments.from_unit_features(nothing)
    units.take(np.eye(3))
    assert (units.result().n_samples, units.result().n_zero) == (3, 5)


# --- NRC of the last layer --------------------------------------------------------------------


def apart(a: Matrix, target_covariance: Matrix, c: float) -> float:
    """The distance at γ = c², straight from the definition."""
    values, vectors = np.linalg.eigh(target_covariance)
    b = (vectors * np.sqrt(values)) @ vectors.T - c * np.eye(len(values))
    return float(np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2)


@settings(max_examples=60)
@given(seed=SEEDS, t=st.integers(2, 5), scale=st.sampled_from([1.0, 1e-150, 1e6]))
def test_nrc3a_is_the_least_distance(seed: int, t: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    w, y = rng.standard_normal((t, 9)), rng.standard_normal((50, t)) @ rng.standard_normal((t, t))
    covariance = np.cov(y.T, bias=True)
    found, gamma = formulas.nrc3a(scale * w, covariance)
    top = math.sqrt(np.linalg.eigvalsh(covariance)[0])
    grid = np.linspace(0, top * (1 - 1e-9), 2001)
    distances = [apart(w @ w.T, covariance, c) for c in grid]
    best = grid[int(np.argmin(distances))]
    near = (max(best - top / 1000, 0), min(best + top / 1000, top * (1 - 1e-9)))
    finest = minimize_scalar(lambda c: apart(w @ w.T, covariance, c), bounds=near, method="bounded")
    least = min(*distances, float(finest.fun))
    assert found == pytest.approx(least, rel=1e-5, abs=1e-9)
    assert found <= least * (1 + 1e-9) + 1e-12
    assert 0 <= gamma <= top**2 * (1 + 1e-9)
    assert 0 <= found <= 2


@pytest.mark.parametrize("t", [2, 3, 5])
def test_nrc3a_of_a_collapsed_weight_is_0(t: int) -> None:
    rng = np.random.default_rng(t)
    covariance = np.cov(rng.standard_normal((t, 100)))
    values, vectors = np.linalg.eigh(covariance)
    shape = np.sqrt(np.sqrt(values) - math.sqrt(0.3 * values[0]))
    w = (vectors * shape) @ vectors.T @ np.linalg.qr(rng.standard_normal((12, t)))[0].T
    found, gamma = formulas.nrc3a(7 * w, covariance)
    assert found == pytest.approx(0, abs=1e-20)
    assert gamma == pytest.approx(0.3 * values[0], rel=1e-6)


def test_nrc3a_of_targets_that_vary_alike_or_not_at_all() -> None:
    assert formulas.nrc3a(np.eye(3, 8), 4 * np.eye(3))[0] == pytest.approx(0, abs=1e-15)
    found, gamma = formulas.nrc3a(np.eye(2, 8), np.diag([1.0, 0.0]))
    assert found == pytest.approx(2 - math.sqrt(2))
    assert gamma == 0


def test_rows_that_rounding_alone_makes_are_no_direction() -> None:
    rng = np.random.default_rng(0)
    row = rng.standard_normal(40)
    w = np.stack([row, 3 * row]).astype(np.float32).astype(float)
    assert formulas.row_space(w).shape == (40, 1)
    w[1] += 2e-4 * rng.standard_normal(40)
    assert formulas.row_space(w).shape == (40, 2)


# --- spectra ----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40).filter(lambda v: max(v) > 1e-3))
def test_ranks_of_a_spectrum(values: list[float]) -> None:
    found = np.sort(values)[::-1]
    count = np.count_nonzero(found)
    effective, participation = formulas.effective_rank(found), formulas.participation_ratio(found)
    assert 1 - 1e-9 <= participation <= effective * (1 + 1e-9) <= count * (1 + 2e-9)
    assert formulas.effective_rank(3e-7 * found) == pytest.approx(effective)
    assert formulas.participation_ratio(3e-7 * found) == pytest.approx(participation)
    explained = formulas.explained_variance(Spectrum(found, np.eye(len(found))))
    assert (np.diff(explained) >= 0).all()
    assert explained[-1] == pytest.approx(1)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_ranks_of_equal_directions_count_them(n: int) -> None:
    values = np.r_[np.full(n, 0.3), np.zeros(5)]
    assert formulas.effective_rank(values) == pytest.approx(n)
    assert formulas.participation_ratio(values) == pytest.approx(n)


# --- intrinsic dimension ----------------------------------------------------------------------


def cube(d: int, seed: int) -> Matrix:
    return np.random.default_rng(seed).uniform(size=(2000, d))


def sphere(d: int, seed: int) -> Matrix:
    x = np.random.default_rng(seed).standard_normal((2000, d + 1))
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def gaussian(d: int, seed: int) -> Matrix:
    return np.random.default_rng(seed).standard_normal((2000, d))


def swiss_roll(d: int, seed: int) -> Matrix:
    rng = np.random.default_rng(seed)
    angle = 1.5 * np.pi * (1 + 2 * rng.random(2000))
    return np.c_[angle * np.cos(angle), 21 * rng.random(2000), angle * np.sin(angle)]


@pytest.mark.parametrize("width", [24, 64])  # the library takes another way from 26 on
@pytest.mark.parametrize(
    ("manifold", "d"),
    [
        *((cube, d) for d in (1, 2, 3)),
        *((sphere, d) for d in (1, 2, 5)),
        *((gaussian, d) for d in (2, 5)),
        (swiss_roll, 2),
    ],
)
def test_the_dimension_of_known_manifolds(manifold: Any, d: int, width: int) -> None:
    found = []
    for seed in range(5):
        x = manifold(d, seed)
        rng = np.random.default_rng(seed + 100)
        axes = np.linalg.qr(rng.standard_normal((width, x.shape[1])))[0]
        rows = (1e-3 * x @ axes.T).astype(np.float32)
        found.append(float(intrinsic_dimension(rows, 2.0**-23)))
    assert np.mean(found) == pytest.approx(d, rel=0.05)
    assert np.std(found) < 0.05 * d


@pytest.mark.parametrize("width", [5, 40])
def test_the_dimension_is_the_estimate_of_the_paper(width: int) -> None:
    """Step by step as Facco et al. have it, which a library was once off by one from."""
    x = np.random.default_rng(3).standard_normal((50, width))
    distances = np.sort(np.linalg.norm(x[:, None] - x[None], axis=2), axis=1)
    ratios = np.sort(distances[:, 2] / distances[:, 1])
    n = len(x)
    kept = int(0.9 * n)
    shares = np.arange(1, kept + 1) / n
    log, rate = np.log(ratios[:kept]), -np.log(1 - shares)
    assert intrinsic_dimension(x) == pytest.approx(log @ rate / (log @ log), rel=1e-12)


@settings(max_examples=10)
@given(seed=SEEDS, scale=st.sampled_from([2.0**-600, 1e-3, 1e90]))
def test_the_dimension_knows_no_units(seed: int, scale: float) -> None:
    x = np.random.default_rng(seed).standard_normal((100, 4))
    turned = scale * x @ np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 4)))[0]
    assert intrinsic_dimension(turned) == pytest.approx(float(intrinsic_dimension(x)), rel=1e-6)


def test_samples_without_a_dimension() -> None:
    x = np.random.default_rng(0).standard_normal((100, 4))
    assert intrinsic_dimension(np.ones((100, 4))) == "all samples are the same"
    assert intrinsic_dimension(x[:19]) == "19 distinct samples: 20 are needed"
    assert "20 of 100 samples are repeated" in str(intrinsic_dimension(np.r_[x[:80], x[:20]]))
    once = intrinsic_dimension(x[:95])
    assert intrinsic_dimension(np.r_[x[:95], x[:5]]) == once  # a few are taken once
    curve = np.stack([np.sin(x[:, 0]), np.cos(x[:, 0])], axis=1)
    assert intrinsic_dimension(curve, 2.0**-23) == pytest.approx(1, abs=0.3)
    for far in (1e4, 1e7):  # on float32's grid, what is a curve is a cloud
        rounded = (curve + far).astype(np.float32)
        assert isinstance(intrinsic_dimension(rounded, 2.0**-23), str)
    even = np.stack([np.linspace(0, 1, 200), np.zeros(200)], axis=1)
    assert "spaced too evenly to be draws" in str(intrinsic_dimension(even))
    assert "rounding of the values" in str(intrinsic_dimension(curve + 1e4, 2.0**-23))


def test_the_same_rows_are_looked_at_each_time() -> None:
    assert (chosen_rows(50) == np.arange(50)).all()
    found = chosen_rows(10_000)
    assert len(set(found.tolist())) == 2000
    assert (np.diff(found) > 0).all()
    assert (found == chosen_rows(10_000)).all()
    pieces = iter(np.array_split(np.arange(10_000)[:, None], 7))
    assert (reported._sampled(pieces, 10_000)[:, 0] == found).all()


# --- from the network to the report -----------------------------------------------------------

X, Y = samples(300, 5, 2)
NET = (5, 16, 12, 2)


def measured(path: Path, model: Any = None, data: Any = (X, Y), **kw: Any) -> Any:
    extract(mlp(*NET) if model is None else model, data, path, force=True, **{**ALL, **kw})
    return report(path, measures="all")


def test_a_report_has_them_from_the_features(tmp_path: Path) -> None:
    model: Any = mlp(*NET).double()
    found = measured(tmp_path / "a.h5", model).measures
    with open_acts(tmp_path / "a.h5") as acts:
        h = [np.concatenate(list(acts.activation_rows(p))) for p in range(3)]
        covariance = acts.target_covariance
    w = model[-1].weight.detach().numpy()
    top = spectrum(np.cov(h[2].T)).vectors[:, :2]
    rows = np.linalg.svd(w, full_matrices=False)[2].T
    last = found.layers[-1]
    assert last.values["nrc1a"] == pytest.approx(residual(units_of(h[2]), top), rel=1e-9)
    assert last.values["nrc2a"] == pytest.approx(residual(units_of(h[2]), rows), rel=1e-9)
    assert last.values["nrc3a"] == formulas.nrc3a(w, covariance)[0]
    assert last.values["intrinsic_dimension"] == intrinsic_dimension(h[2])
    assert found.targets == pytest.approx(float(intrinsic_dimension(Y)), rel=1e-6)
    for layer, rows_of in zip(found.layers, h, strict=True):
        values = np.linalg.eigvalsh(np.cov(rows_of.T))[::-1].clip(0)
        shares = values / values.sum()
        np.testing.assert_allclose(layer.explained_variance, np.cumsum(shares), rtol=1e-9)
        assert layer.values["participation_ratio"] == pytest.approx(1 / (shares @ shares))
        assert set(NAMES) == {*layer.values, *layer.undefined, "explained_variance"}
    assert {found.layers[0].undefined[name] for name in OF_LAST} == {"of the last layer alone"}


def test_off_by_default_and_then_nothing_of_them_shows(tmp_path: Path) -> None:
    extract(mlp(*NET), (X, Y), tmp_path / "a.h5")
    found = report(tmp_path / "a.h5")
    assert found.measures is None
    with h5py.File(tmp_path / "a.h5") as file:
        assert not [name for name in file["positions/0002"] if "unit" in name]
    for form in ("table", "csv", "md", "json"):
        text = report_table.render(found, form)
        assert not [name for name in (*NAMES, "Neighbouring", '"measures": {') if name in text]
    later = report(tmp_path / "a.h5", measures="all").measures
    assert later is not None  # of such a file, all but what a pass has to take
    assert later.layers[-1].undefined == dict.fromkeys(("nrc1a", "nrc2a"), reported.NO_UNITS)


def test_every_format_has_them(tmp_path: Path) -> None:
    found = measured(tmp_path / "a.h5")
    last = found.measures.layers[-1]
    table = report_table.render(found, "table")
    assert table.index("Neighbouring measures") > table.index("NRC4 ratio")
    for measure in MEASURES:
        assert (measure.column or measure.name) in table
    assert f"nrc3a {number(last.values['nrc3a'])}" in table
    assert "| 3 | `4` |" in report_table.render(found, "md")
    rows = list(csv.DictReader(io.StringIO(report_table.render(found, "csv"))))
    assert float(rows[-1]["nrc1a"]) == last.values["nrc1a"]
    assert float(rows[0]["explained_variance"]) == found.measures.layers[0].explained_variance[1]
    assert float(rows[0]["target_intrinsic_dimension"]) == found.measures.targets
    assert rows[0]["nrc1a"] == ""
    document = json.loads(report_table.render(found, "json"))
    held = document["layers"][-1]["measures"]
    assert held["nrc1a"] == last.values["nrc1a"]
    assert held["n_eigenvalues"] == len(held["explained_variance"]) == 12
    assert document["targets"]["measures"]["intrinsic_dimension"] == found.measures.targets


def test_wide_layers_tell_the_first_directions(tmp_path: Path) -> None:
    found = measured(tmp_path / "a.h5", mlp(5, 90, 2)).measures.layers[-1]
    assert (len(found.explained_variance), found.n_eigenvalues) == (64, 90)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The measures of the last layer, from all samples in one pass, in float64."""
    path = tmp_path_factory.mktemp("whole") / "whole.h5"
    return measured(path, mlp(*NET).double()).measures.layers[-1]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(30, 270))
def test_shards_merge_to_one_pass(whole: Any, tmp_path: Path, cut: int) -> None:
    model = mlp(*NET).double()
    for name, rows in (("a", slice(cut)), ("b", slice(cut, None))):
        extract(model, (X[rows], Y[rows]), tmp_path / f"{name}.h5", force=True, **ALL)
    merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "ab.h5", force=True)
    found = report(tmp_path / "ab.h5", measures="all").measures
    assert found is not None
    for name in NAMES[1:]:
        assert found.layers[-1].values[name] == pytest.approx(whole.values[name], rel=1e-8), name


def test_a_shard_without_them(tmp_path: Path) -> None:
    measured(tmp_path / "a.h5", data=(X[:100], Y[:100]))
    extract(mlp(*NET), (X[100:], Y[100:]), tmp_path / "b.h5")
    merged = merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "ab.h5")
    assert [note for note in merged.notes if "b.h5 without --measures all" in note]
    found = report(tmp_path / "ab.h5", measures="all").measures
    assert found is not None
    assert found.layers[-1].undefined["nrc1a"] == reported.NO_UNITS


@pytest.mark.parametrize("pool", ["mean", "tokens"])
def test_a_gpu_adds_up_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: str) -> None:
    net = nn.Sequential(mlp(5, 16, 12), nn.ReLU(), nn.Linear(12, 2), nn.Flatten(1)).double()
    net = nn.Sequential(*list(net)[:-1], nn.Flatten(1), nn.Linear(4, 2)).double()
    data = np.stack([X, 0 * X], axis=1), Y
    found = []
    monkeypatch.setattr("nrcscan.extracting.accumulate.OnDevice", OnDevice)
    for moved in (False, True):
        monkeypatch.setattr(
            "nrcscan.extracting.add_up.accumulates", lambda device, moved=moved: moved
        )
        path = tmp_path / f"{moved}.h5"
        extract(net, data, path, pool=pool, batch_size=70, **ALL)  # type: ignore[arg-type]
        with open_acts(path) as acts:
            found.append(acts.last_units)
    host, device = found
    assert host is not None
    assert device is not None
    assert (host.n_samples, host.n_zero) == (device.n_samples, device.n_zero)
    np.testing.assert_allclose(device.mean, host.mean, atol=1e-13)
    np.testing.assert_allclose(device.covariance, host.covariance, atol=1e-13)


def test_memory_counts_the_second_covariance(tmp_path: Path) -> None:
    model = mlp(5, 16, 64, 2)
    for memory in (None, 1_400_000):
        notes: list[str] = []
        extract(
            model, (X, Y), tmp_path / f"{memory}.h5", memory=memory, on_note=notes.append, **ALL
        )
        assert any("passes over the data" in note for note in notes) == (memory is not None)
    one, two = (report(tmp_path / f"{m}.h5", measures="all").measures for m in (None, 1_400_000))
    assert one is not None
    assert two is not None
    for name in NAMES[1:]:
        assert one.layers[-1].values[name] == pytest.approx(two.layers[-1].values[name], rel=1e-6)


# --- what is undefined ------------------------------------------------------------------------


def test_what_one_target_leaves(tmp_path: Path) -> None:
    found = measured(tmp_path / "a.h5", mlp(5, 16, 1), (X, Y[:, :1])).measures
    assert found.layers[-1].undefined == {"nrc3a": "one target: any W has the shape"}
    assert found.layers[-1].gamma is None


def test_a_narrow_last_layer(tmp_path: Path) -> None:
    undefined = measured(tmp_path / "a.h5", mlp(5, 16, 2, 2)).measures.layers[-1].undefined
    assert undefined["nrc1a"] == "width 2 leaves nothing beside t = 2 directions"
    assert undefined["nrc2a"] == "the weight's rows span all 2 directions"


def test_weights_without_rows(tmp_path: Path) -> None:
    model: Any = mlp(*NET)
    with torch.no_grad():
        model[-1].weight.zero_()
    undefined = measured(tmp_path / "a.h5", model).measures.layers[-1].undefined
    assert undefined["nrc2a"] == undefined["nrc3a"] == "the weight is zero"
    undefined = measured(tmp_path / "b.h5", layers=["0", "2"]).measures.layers[-1].undefined
    assert undefined == {"nrc3a": "the weight has 12 rows for 2 targets"}


def test_without_stored_features(tmp_path: Path) -> None:
    found = measured(tmp_path / "a.h5", activations=False)
    assert found.measures.targets == reported.NOT_STORED
    for layer in found.measures.layers:
        assert "extract without --no-activations" in layer.undefined["intrinsic_dimension"]
    assert "all layers: no intrinsic_dimension: the feat" in report_table.render(found, "table")


def test_a_sketch(tmp_path: Path) -> None:
    found = measured(tmp_path / "a.h5", sketch=6).measures.layers[-1]
    assert found.undefined == {
        **dict.fromkeys(("effective_rank", "participation_ratio"), reported.SKETCH),
        **dict.fromkeys(("nrc1a", "nrc2a"), reported.NO_UNITS),
    }
    assert 0 < found.explained_variance[1] <= 1


def test_features_that_do_not_vary_and_targets_neither(tmp_path: Path) -> None:
    model: Any = mlp(*NET)
    with torch.no_grad():
        model[2].weight.zero_()
    found = measured(tmp_path / "a.h5", model, (X, np.ones_like(Y))).measures
    undefined = found.layers[-1].undefined
    assert "do not vary" in undefined["effective_rank"]
    assert "do not vary" in undefined["nrc1a"]
    assert undefined["nrc3a"] == "the targets do not vary"
    assert found.targets == "all samples are the same"


def test_features_of_norm_zero_are_counted(tmp_path: Path) -> None:
    x = X.copy()
    x[:7] = 0
    found = measured(tmp_path / "a.h5", mlp(5, 16, 12, 2, bias=False), (x, Y))
    (note,) = found.measures.layers[-1].notes
    assert note.startswith("7 of 300 features have norm 0")
    assert f"4: {note}" in report_table.render(found, "table")


def test_the_extra_is_named_where_it_lacks(
    tmp_path: Path, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(mlp(*NET), (X, Y), tmp_path / "a.h5", **ALL)
    bare = builtins.__import__

    def without(name: str, *args: Any, **kw: Any) -> Any:
        if name.startswith("skdim"):
            raise ImportError(name)
        return bare(name, *args, **kw)

    monkeypatch.setattr(builtins, "__import__", without)
    said = r"needs scikit-dimension; pip install scikit-dimension$"
    with pytest.raises(UsageError, match=said):
        report(tmp_path / "a.h5", measures="all")
    assert cli("report", tmp_path / "a.h5", "--measures", "all").returncode == 2
    extract(mlp(*NET), (X, Y), tmp_path / "b.h5", activations=False, **ALL)
    assert report(tmp_path / "b.h5", measures="all").measures  # which needs it not


@pytest.mark.parametrize("damage", ["count", "shape"])
def test_a_damaged_group(tmp_path: Path, damage: str) -> None:
    extract(mlp(*NET), (X, Y), tmp_path / "a.h5", **ALL)
    with edited(tmp_path / "a.h5") as file:
        group = file["positions/0002/unit_features"]
        if damage == "count":
            group.attrs["n_zero"] = -1
        else:
            del group["covariance"]
            group["covariance"] = np.eye(3)
    with pytest.raises(InputError, match="damaged or cut short"):
        report(tmp_path / "a.h5", measures="all")


@pytest.mark.usefixtures("workers_here")
def test_a_scan_has_them_in_its_json(tmp_path: Path) -> None:
    data = FIXTURES / "swimmer"
    options: dict[str, Any] = {"jobs": 1, "patterns": ["epoch_600.pt"], "activations": True, **ALL}
    scan(data / "wd0.01", data / "data.npz", tmp_path / "scan", **options)
    held = json.loads((tmp_path / "scan" / "scan.json").read_text())
    (checkpoint,) = held["checkpoints"]
    last = checkpoint["layers"][-1]["measures"]
    assert last["nrc1a"] < 1e-4
    assert last["intrinsic_dimension"] > 0
    assert "measures" not in (tmp_path / "scan" / "scan.csv").read_text().partition("\n")[0]
