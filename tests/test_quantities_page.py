"""docs/quantities.md: a section per quantity, its facts from the catalogue, its numbers true."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FIXTURES, ROOT
from numpy.typing import NDArray

from nrcscan import Moments
from nrcscan.metrics import neighbouring_formulas as beside
from nrcscan.metrics.directions import spectrum
from nrcscan.metrics.layer_metrics import layer_metrics
from nrcscan.metrics.layer_values import Layer, Setting
from nrcscan.metrics.neighbouring import NAMES
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.metrics.target_spectrum import target_spectrum
from nrcscan.reporting.numbers import number
from nrcscan.statistics.unit_features import UnitMoments

PAGE = (ROOT / "docs" / "quantities.md").read_text(encoding="utf-8")

Matrix = NDArray[np.float64]
Numbers = Mapping[str, float]


def sections() -> dict[str, str]:
    """Return the page's sections by the quantity in their heading."""
    parts = re.split(r"^### `(\w+)`.*$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def normal(*shape: int, seed: int = 0) -> Matrix:
    return np.random.default_rng(seed).standard_normal(shape)


def values(
    h: Matrix,
    y: Matrix,
    w: Matrix | None = None,
    mse: float = 1.0,
    rank: int | None = None,
) -> Numbers:
    """Return what the report makes of features, targets and a weight."""
    moments = Moments(h.shape[1], y.shape[1])
    moments.update(h, y)
    s = moments.statistics()
    setting = Setting(y.shape[1], mse, target_rank=rank)
    return layer_metrics(Layer(s, spectrum(s.feature_covariance), w, setting)).values


def standard(x: Matrix) -> Matrix:
    return (x - x.mean(0)) / x.std(0)


def fitted(h: Matrix, y: Matrix, to: Matrix) -> Matrix:
    """Return the least-squares prediction at `to` of what was fitted on h and y."""
    return np.c_[to, np.ones(len(to))] @ np.linalg.lstsq(np.c_[h, np.ones(len(h))], y)[0]


def held_out(h: Matrix, y: Matrix, n_blocks: int = 20) -> float:
    blocks = np.array_split(np.arange(len(h)), n_blocks)
    errors = [
        (fitted(np.delete(h, block, 0), np.delete(y, block, 0), h[block]) - y[block]) ** 2
        for block in blocks
    ]
    return float(np.concatenate(errors).mean())


# --- the examples ----------------------------------------------------------------------------


def noise_component(folder: Path) -> list[str]:
    """The collapsed Swimmer network, all of it scaled by 1/20 a layer."""
    data = np.load(FIXTURES / "swimmer" / "data.npz")
    h, y = data["X"].astype(float), data["y"].astype(float)
    state = torch.load(FIXTURES / "swimmer" / "wd0.01" / "epoch_600.pt")["model"]
    weights = [w.double().numpy() for name, w in state.items() if name.endswith("weight")]
    for weight in weights[:-1]:
        h = np.maximum(h @ (weight.T / 20), 0)
    error = ((h @ (weights[-1].T / 20) - y) ** 2).sum()
    r2 = 1 - error / ((y - y.mean(0)) ** 2).sum()
    return [number(values(h, y)["noise_component"]), f"{abs(r2):.2f}"]


def cka(folder: Path) -> list[str]:
    x = np.load(FIXTURES / "swimmer" / "data.npz")
    h, y = x["X"].astype(float), x["y"].astype(float)
    for layer in range(3):
        h = np.maximum(h @ normal(h.shape[1], 256, seed=layer) / 16, 0)
    return [f"{values(h, y)['cka']:.2f}"]


def cka_full(folder: Path) -> list[str]:
    h, y = normal(100, 2000), normal(100, 20, seed=1)
    return [f"{values(h, y)['cka_full']:.2f}"]


def cka_debiased(folder: Path) -> list[str]:
    def debiased(h: Matrix, y: Matrix) -> float:
        return _hsic(h, y) / np.sqrt(_hsic(h, h) * _hsic(y, y))

    found = [debiased(normal(12, 5, seed=s), normal(12, 2, seed=s + 500)) for s in range(400)]
    wide = debiased(normal(100, 2000), normal(100, 20, seed=1))
    return [f"{np.quantile(found, 0.95):.2f}", f"{abs(wide):.2f}"]


def _hsic(a: Matrix, b: Matrix) -> float:
    """The unbiased estimator of Song et al. 2012, from Gram matrices."""
    n = len(a)
    k, m = (x @ x.T for x in (a, b))
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    both = (k * m).sum() + k.sum() * m.sum() / (n - 1) / (n - 2) - 2 * (k @ m).sum() / (n - 2)
    return float(both / (n * (n - 3)))


def _random_subspaces(name: str, d: int, k: int) -> float:
    found = [
        values(normal(200, d, seed=s), normal(200, k, seed=s + 99), normal(k, d, seed=s + 999))
        for s in range(100)
    ]
    return float(np.mean([one[name] for one in found]))


def alignment(folder: Path) -> list[str]:
    return [f"{_random_subspaces('alignment', 6, 5):.2f}"]


def noise_alignment(folder: Path) -> list[str]:
    return [f"{_random_subspaces('noise_alignment', 6, 5):.2f}"]


def _nearly_one_target() -> Numbers:
    """Targets y₁ and y₁ + 0.04 z, features y₁ and 1.5 z, a weight that makes those of these."""
    h = normal(2000, 8) * [1, 1.5, *[1e-3] * 6]
    w = np.zeros((2, 8))
    w[:, 0], w[1, 1] = 1, 0.04 / 1.5
    y = h @ w.T
    rank = target_spectrum(y.mean(0), np.cov(y.T, bias=True)).rank
    assert rank == 1
    return values(h, y, w, rank=rank)


def _with_rank_and_with_k(name: str) -> list[str]:
    found = _nearly_one_target()
    return [f"{found[f'{name}_r']:.2f}", f"{found[name]:.2f}"]


def noise_component_r(folder: Path) -> list[str]:
    return _with_rank_and_with_k("noise_component")


def alignment_r(folder: Path) -> list[str]:
    return _with_rank_and_with_k("alignment")


def noise_alignment_r(folder: Path) -> list[str]:
    return _with_rank_and_with_k("noise_alignment")


def weight_signal_energy(folder: Path) -> list[str]:
    return [f"{_random_subspaces('weight_signal_energy', 6, 5):.2f}"]


def linear_mse(folder: Path) -> list[str]:
    h, y = normal(100, 90), normal(100, 1, seed=1)
    y = standard(y)
    return [f"{values(h, y)['linear_mse']:.2f}"]


def linear_mse_held_out(folder: Path) -> list[str]:
    x = np.linspace(-1, 1, 2000)[:, None]
    y = standard(x**3)
    mixed = np.random.default_rng(0).permutation(len(x))
    return [f"{held_out(x, y):.2f}", f"{held_out(x[mixed], y[mixed]):.2f}"]


def excess(folder: Path) -> list[str]:
    found = values(normal(800, 64), standard(normal(800, 1, seed=1)), mse=1.0)
    return [f"{found['excess']:.2f}".replace("-", "−")]


def error_ratio(folder: Path) -> list[str]:
    x = normal(2000, 3)
    y = standard(x[:, :1] + 0.1 * normal(2000, 1, seed=1))
    network = np.sign(x[:, :1])
    mse = float(((network * (network * y).mean() - y) ** 2).mean())
    return [f"{held_out(x, y) / mse:.2f}"]


def feature_stable_rank(folder: Path) -> list[str]:
    h = normal(2000, 64)
    h[:, 0] *= 10
    return [f"{values(h, normal(2000, 1, seed=1))['feature_stable_rank']:.2f}"]


def weight_stable_rank(folder: Path) -> list[str]:
    found = values(normal(300, 64), normal(300, 2, seed=1), normal(64, 64, seed=2))
    return [f"{found['weight_stable_rank']:.0f}", f"{found['weight_rank']:.0f}"]


def feature_rank(folder: Path) -> list[str]:
    y = normal(2000, 2)
    h = y @ np.linalg.qr(normal(64, 2, seed=1))[0].T + 0.01 * normal(2000, 64, seed=2)
    found = values(h, y)
    return [f"{found['feature_rank']:.0f}", f"{found['noise_component']:.3f}"]


def weight_rank(folder: Path) -> list[str]:
    v = np.linalg.qr(normal(64, 2, seed=1))[0]
    found = values(normal(300, 64), normal(300, 2), 10 * v @ v.T + 0.01 * normal(64, 64, seed=2))
    return [f"{found['weight_rank']:.0f}", f"{found['weight_stable_rank']:.2f}"]


def explained_variance(folder: Path) -> list[str]:
    h = normal(2000, 64)
    h[:, 0] *= 100
    return [f"{beside.explained_variance(spectrum(np.cov(h.T)))[0]:.3f}"]


SPLIT = np.array([0.5] + [0.5 / 63] * 63)
"""Half of the variance in one direction, the rest spread evenly over 63."""


def effective_rank(folder: Path) -> list[str]:
    return [f"{beside.effective_rank(SPLIT):.1f}"]


def participation_ratio(folder: Path) -> list[str]:
    return [f"{beside.participation_ratio(SPLIT):.1f}"]


def intrinsic_dimension(folder: Path) -> list[str]:
    pytest.importorskip("skdim")
    from nrcscan.metrics.intrinsic_dimension import intrinsic_dimension as dimension

    step = np.linspace(0, 30, 2000)
    path = np.stack([np.sin(step), np.sin(np.sqrt(2) * step)], axis=1)
    drawn = np.sin(np.random.default_rng(0).uniform(0, 1e4, (2000, 2)))
    cube = np.random.default_rng(0).uniform(size=(2000, 10))
    wide = path @ np.linalg.qr(normal(16, 2))[0].T
    return [f"{dimension(rows):.1f}" for rows in (wide, drawn, cube)]


def _with_mean(folder: Path) -> tuple[Matrix, UnitMoments]:
    """Two directions of signal, and a constant third, five times as large."""
    h = np.c_[normal(2000, 2), np.full(2000, 5.0), np.zeros((2000, 5))]
    units = UnitMoments(8)
    units.take(h)
    return h, units


def nrc1a(folder: Path) -> list[str]:
    h, units = _with_mean(folder)
    found = beside.nrc1a(units.result(), spectrum(np.cov(h.T)), 2)
    return [f"{found:.2f}", f"{values(h, h[:, :2])['noise_component']:.0f}"]


def nrc2a(folder: Path) -> list[str]:
    h, units = _with_mean(folder)
    found = beside.nrc2a(units.result(), beside.row_space(np.eye(2, 8)))
    return [f"{found:.2f}", f"{values(h, h[:, :2], np.eye(2, 8))['alignment']:.0f}"]


def nrc3a(folder: Path) -> list[str]:
    return [f"{beside.nrc3a(normal(2, 256), np.eye(2))[0]:.3f}"]


EXAMPLES: dict[str, Callable[[Path], list[str]]] = {
    example.__name__: example
    for example in (
        noise_component, cka, cka_full, cka_debiased, alignment, noise_alignment,
        noise_component_r, alignment_r, noise_alignment_r,
        weight_signal_energy, linear_mse, linear_mse_held_out, excess, error_ratio,
        feature_stable_rank, weight_stable_rank, feature_rank, weight_rank, explained_variance,
        effective_rank, participation_ratio, intrinsic_dimension, nrc1a, nrc2a, nrc3a,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_quantity_misleads_as_the_page_says(name: str, tmp_path: Path) -> None:
    (told,) = re.findall(r"\*\*Misleads:\*\* (.*?)(?:\n\n|\Z)", sections()[name], re.DOTALL)
    for shown in EXAMPLES[name](tmp_path):
        assert re.search(rf"(?<![\d.]){re.escape(shown)}(?![\d])", told), (shown, told)


def test_every_quantity_has_a_section_with_all_that_is_to_be_said() -> None:
    found = sections()
    assert {*QUANTITIES, *NAMES} <= found.keys() == EXAMPLES.keys()
    for name, text in found.items():
        assert f"<!-- quantity {name}: " in text, name
        assert "**Source:**" in text or "| source |" in text, name
        assert "**Chance:**" in text, name
