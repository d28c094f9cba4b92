"""Error bars: what is kept of blocks of samples says what leaving one out would really change."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FIXTURES
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from nrcscan import Report, extract, merge, report
from nrcscan.acts_file.reading import Acts, open_acts
from nrcscan.metrics import formulas
from nrcscan.metrics.directions import spectrum
from nrcscan.metrics.jackknife import corrected, standard_error
from nrcscan.metrics.layer_metrics import input_matrix
from nrcscan.metrics.layer_values import Layer, Setting
from nrcscan.metrics.quantities import CATALOGUE
from nrcscan.metrics.standard_errors import TURNING, UNSURE
from nrcscan.statistics import held_out
from nrcscan.statistics.blocks import targets_of, top_directions
from nrcscan.statistics.conjugate_fits import SMALL_ENOUGH
from nrcscan.statistics.moments import Array, Moments, Statistics

FITTED = ("linear_mse", "linear_mse_held_out", "error_ratio", "excess")
SAMPLED = [quantity.name for quantity in CATALOGUE if quantity.sampled]
CUTOFF = 1e-6


def statistics(h: Array, y: Array) -> Statistics:
    """Return statistics in two passes."""
    h_mean, y_mean = h.mean(axis=0), y.mean(axis=0)
    a, b, n = h - h_mean, y - y_mean, len(h)
    squares = np.stack([(a**2).sum(axis=1), (b**2).sum(axis=1)])
    norms = squares @ np.hstack([a, b, squares.T]) / n
    return Statistics(n, h_mean, y_mean, a.T @ a / n, a.T @ b / n, b.T @ b / n, norms)


def predicted(h: Array, y: Array, seen: np.ndarray[Any, Any], at: Array) -> Array:
    """Return what the fit to the samples that are seen makes of features."""
    s = statistics(h[seen], y[seen])
    values, vectors = np.linalg.eigh(s.feature_covariance)
    kept = values > CUTOFF * values[-1]
    fit = vectors[:, kept] @ ((vectors[:, kept].T @ s.cross_covariance).T / values[kept]).T
    return np.asarray(s.target_mean + (at - s.feature_mean) @ fit)


def cross_validated(h: Array, y: Array, folds: list[np.ndarray[Any, Any]]) -> Array:
    """Return, without each fold, the MSE of all others, each predicted by a fit on the rest."""
    errors = np.zeros(len(folds))
    for i, j in combinations(range(len(folds)), 2):  # what has seen neither predicts both
        pair = np.concatenate([folds[i], folds[j]])
        made = predicted(h, y, np.setdiff1d(np.arange(len(h)), pair), h[pair])
        squares = ((made - y[pair]) ** 2).sum(axis=1)
        errors[j] += squares[: len(folds[i])].sum()
        errors[i] += squares[len(folds[i]) :].sum()
    return np.array([e / (y.size - y[fold].size) for e, fold in zip(errors, folds, strict=True)])


def really_without(acts: Acts, index: int, made: Array, k: int, rank: int) -> dict[str, Array]:
    """Return quantity → its values with the whole report made again without each block."""
    record = acts.layers[index]
    h = np.concatenate(list(acts.activation_rows(record.position))).astype(float)
    y = np.concatenate(list(acts.target_rows()))
    matrix = input_matrix(acts.weight(index), groups=record.groups, transposed=record.transposed)
    blocks = acts.blocks(record.position)
    assert blocks is not None
    ends = np.cumsum(blocks.n_samples).astype(int)
    folds = np.split(np.arange(len(h)), ends[:-1])
    found: dict[str, list[float]] = {name: [] for name in (*SAMPLED, "gap")}
    errors = []
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(h)), fold)
        s = statistics(h[rest], y[rest])
        mse = float(((made[rest] - y[rest]) ** 2).mean())
        errors.append(mse)
        layer = Layer(s, spectrum(s.feature_covariance), matrix, Setting(k, mse, target_rank=rank))
        gap = layer.gap
        found["gap"].append(np.nan if gap is None else gap)
        for name in SAMPLED:
            if name not in ("linear_mse_held_out", "error_ratio"):
                found[name].append(getattr(formulas, name)(layer))
    for error, mse in zip(cross_validated(h, y, folds), errors, strict=True):
        found["linear_mse_held_out"].append(error)
        found["error_ratio"].append(error / mse)
    return {name: np.array(values) for name, values in found.items()}


def case(name: str) -> tuple[Path, tuple[Array, Array]]:
    """Return a checkpoint among the fixtures, and its training samples."""
    path = FIXTURES / name
    folder = path.parent if (path.parent / "data.npz").exists() else path.parent.parent
    with np.load(folder / "data.npz") as data:
        return path, (data["X"], data["y"])


CASES = [
    "swimmer/wd0/epoch_600.pt",
    "swimmer/wd0.01/epoch_600.pt",
    "swimmer/wd0.05/epoch_100.pt",
    "reacher/wd0/epoch_600.pt",
    "reacher/wd0.002/epoch_600.pt",
]


@pytest.mark.parametrize("name", CASES)
def test_standard_errors_are_those_of_really_leaving_blocks_out(name: str, tmp_path: Path) -> None:
    """Within 10 % of a report made again, in two passes, without each of the blocks."""
    network, (x, y) = case(name)
    path = tmp_path / "a.h5"
    extract(network, (x, y), path)
    found = report(path)
    assert found.target_spectrum is not None
    with open_acts(path) as acts:
        last = len(acts.layers) - 1
        head = np.concatenate(list(acts.activation_rows(acts.layers[last].position)))
        made = (head @ acts.weight(last).astype(np.float32).T).astype(float)
        for index in range(0, last + 1, 3):
            metrics = found.layers[index].metrics
            if not metrics.standard_errors:
                assert not metrics.varies
                continue
            blocks = acts.blocks(acts.layers[index].position)
            assert blocks is not None
            assert len(blocks) == 25
            real = really_without(acts, index, made, found.signal_dim, found.target_spectrum.rank)
            defined = {q for q in SAMPLED if q in metrics.values}
            assert set(metrics.standard_errors) == defined
            for q in defined:
                error = standard_error(metrics.values[q], real[q], blocks.n_samples)
                if q in TURNING and metrics.gap and metrics.gap_error:
                    error *= np.hypot(1, UNSURE * metrics.gap_error / metrics.gap)
                assert metrics.standard_errors[q] == pytest.approx(error, rel=0.1), (index, q)
            if metrics.gap is not None:
                error = standard_error(metrics.gap, real["gap"], blocks.n_samples)
                assert metrics.gap_error == pytest.approx(error, rel=0.1), index


def in_float64(path: Path, **options: Any) -> Report:
    """Return the report of one of the fixtures, as measured with options."""
    network, samples = case("swimmer/wd0.01/epoch_600.pt")
    extract(network, samples, path, activations=False, dtype="float64", **options)
    return report(path)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return in_float64(tmp_path_factory.mktemp("usual") / "a.h5")


@pytest.mark.parametrize("batch_size", [7, 64, 1024])
def test_blocks_do_not_depend_on_batches_or_workers(
    batch_size: int, usual: Report, tmp_path: Path
) -> None:
    a, b = usual, in_float64(tmp_path / "b.h5", batch_size=batch_size, n_workers=3)
    for ours, theirs in zip(a.layers, b.layers, strict=True):
        for q, without in ours.metrics.without_block.items():
            np.testing.assert_allclose(theirs.metrics.without_block[q], without, rtol=1e-6)


def test_blocks_leave_the_numbers_as_they_are_without(tmp_path: Path) -> None:
    network, samples = case("reacher/wd0/epoch_600.pt")
    extract(network, samples, tmp_path / "a.h5", activations=False)
    extract(network, samples, tmp_path / "b.h5", activations=False, blocks=0)
    a, b = report(tmp_path / "a.h5"), report(tmp_path / "b.h5")
    for ours, theirs in zip(a.layers, b.layers, strict=True):
        assert not theirs.metrics.standard_errors
        for q, value in ours.metrics.values.items():
            close = 0.2 if q in ("linear_mse_held_out", "error_ratio") else 1e-9
            assert theirs.metrics.values[q] == pytest.approx(value, rel=close, abs=1e-13), q
    with open_acts(tmp_path / "b.h5") as acts:
        assert acts.no_blocks == "--blocks 0"
        assert acts.blocks(0) is None


def test_merged_blocks_are_close_to_those_of_one_pass(tmp_path: Path) -> None:
    network, (x, y) = case("swimmer/wd0/epoch_600.pt")
    extract(network, (x, y), tmp_path / "whole.h5", activations=False)
    for part in range(2):
        extract(
            network,
            (x, y),
            tmp_path / f"{part}.h5",
            activations=False,
            blocks=10,
            offset=416 * part,
            limit=416,
        )
    merge([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "merged.h5")
    whole, merged = report(tmp_path / "whole.h5"), report(tmp_path / "merged.h5")
    for one, other in zip(whole.layers, merged.layers, strict=True):
        for q, error in one.metrics.standard_errors.items():
            if q in FITTED:
                continue
            assert other.metrics.standard_errors[q] == pytest.approx(error, rel=0.1), (one.name, q)


def test_a_stream_of_unknown_length_has_at_least_as_many_blocks(tmp_path: Path) -> None:
    network, (x, y) = case("swimmer/wd0.01/epoch_600.pt")
    for n, expected in ((9, None), (10, 5), (100, 25), (160, 20), (790, 25), (800, 25), (6000, 23)):
        rows = np.arange(n) % len(x)
        batches = ((x[at], y[at]) for at in np.array_split(rows, 11))
        extract(network, batches, tmp_path / f"{n}.h5", activations=False)
        with open_acts(tmp_path / f"{n}.h5") as acts:
            blocks = acts.blocks(0)
            assert (None if blocks is None else len(blocks)) == expected
            if blocks is None:
                assert acts.no_blocks == "the samples are too few for 5 blocks of them"
            else:
                assert blocks.n_samples.sum() == n


def test_little_memory_drops_blocks_before_it_takes_more_passes(tmp_path: Path) -> None:
    network, samples = case("swimmer/wd0.01/epoch_600.pt")
    notes: list[str] = []
    extract(
        network,
        samples,
        tmp_path / "a.h5",
        activations=False,
        memory=13_000_000,
        on_note=notes.append,
    )
    assert not any("passes over the data" in note for note in notes)
    with open_acts(tmp_path / "a.h5") as acts:
        assert "GB of memory and 0.013 GB are allowed" in str(acts.no_blocks)


def test_few_blocks_are_none(tmp_path: Path) -> None:
    network, (x, y) = case("swimmer/wd0.01/epoch_600.pt")
    extract(network, (x, y), tmp_path / "a.h5", blocks=3, activations=False)
    with open_acts(tmp_path / "a.h5") as acts:
        assert acts.no_blocks == "--blocks 3, of at least 5"
    extract(network, (x[:9], y[:9]), tmp_path / "b.h5", activations=False)
    with open_acts(tmp_path / "b.h5") as acts:
        assert acts.no_blocks == "the samples are too few for 5 blocks of them"


def test_wide_fits_without_blocks_are_those_of_factorisations() -> None:
    draw = np.random.default_rng(0)
    parts: list[Moments] = []
    mix = draw.standard_normal((180, 180)) / 13
    for size in (400, 500, 450, 420, 480, 510):
        parts.append(parts[0].fresh() if parts else Moments(180, 2))
        z = draw.standard_normal((size, 180))
        parts[-1].update(np.maximum(z @ mix, 0), z[:, :2] + 0.1 * draw.standard_normal((size, 2)))
    total = Moments.merged(parts).statistics()
    basis = top_directions(total.feature_covariance, 16)
    targets = targets_of(parts, None)
    found = []
    for most in (10, 1000):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(held_out, "FACTORISED", most)
            fits = held_out.fits_without_blocks(parts, total, targets, basis)
        assert fits is not None
        found.append(fits)
    second_order = SMALL_ENOUGH**2  # what gradients of that size leave of what a fit changes
    for name, close in (
        ("held_out", second_order),
        ("others", second_order),
        ("held_out_of_others", 0.05),
    ):
        np.testing.assert_allclose(getattr(found[0], name), getattr(found[1], name), rtol=close)


def test_a_network_that_errs_nowhere_has_no_ratio(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
    x = np.random.default_rng(0).standard_normal((400, 6)).astype(np.float32)
    with torch.no_grad():
        y = net(torch.from_numpy(x)).numpy()
    extract(net, (x, y), tmp_path / "a.h5", activations=False)
    metrics = report(tmp_path / "a.h5").layers[1].metrics
    assert metrics.undefined["error_ratio"] == "the network's MSE is nothing but rounding"
    assert "linear_mse_held_out" in metrics.standard_errors


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=8), st.floats(-5, 5), st.integers(0, 2**32 - 1)
)
def test_the_jackknife_of_a_mean_is_exact(sizes: list[int], at: float, seed: int) -> None:
    """A mean has no bias, and its standard error is that of the block means."""
    n = np.array(sizes, float)
    means = at + np.random.default_rng(seed).standard_normal(len(n))
    value = float(np.average(means, weights=n))
    without = (n.sum() * value - n * means) / (n.sum() - n)
    spread = n / n.sum() / (1 - n / n.sum()) * (means - value) ** 2
    assert corrected(value, without, n) == pytest.approx(value, rel=1e-9, abs=1e-9)
    assert standard_error(value, without, n) ** 2 == pytest.approx(
        spread.sum() / len(n) * 1, rel=1e-6
    )
