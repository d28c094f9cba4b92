"""The data sets, each as training and held-out samples, standardised by the first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reproduction.road_images import road_images

ROOT = Path(__file__).parent.parent
COMMITTED = Path(__file__).parent / "data"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Samples:
    """Inputs (N, …) and targets (N, t) to train on, and as many axes of held-out ones."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    x_test: NDArray[np.float32]
    y_test: NDArray[np.float32]

    def save(self, path: Path) -> None:
        """Write them as nrcscan reads them."""
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, X=self.x, y=self.y, X_test=self.x_test, y_test=self.y_test)


def samples(name: str) -> Samples:
    """Return a data set of `SETS`."""
    return SETS[name]()


def _committed(path: Path) -> Samples:
    with np.load(path) as held:
        return Samples(held["X"], held["y"], held["X_test"], held["y_test"])


def standardised(x: Array, y: Array, n_train: int) -> Samples:
    """Return the first `n_train` samples to train on, the rest held out, by the spread of those.

    Args:
        x: inputs (N, d).
        y: targets (N, t).
        n_train: how many are trained on.
    """

    def scaled(values: Array) -> NDArray[np.float32]:
        train = values[:n_train]
        return ((values - train.mean(axis=0)) / train.std(axis=0)).astype(np.float32)

    x_all, y_all = scaled(x), scaled(y)
    return Samples(x_all[:n_train], y_all[:n_train], x_all[n_train:], y_all[n_train:])


def _hidden_functions(x: Array, count: int, rng: np.random.Generator) -> Array:
    """Return non-linear functions (N, count) of inputs (N, d), each of a few directions."""
    inward = rng.standard_normal((x.shape[1], 6)) / np.sqrt(x.shape[1])
    outward = rng.standard_normal((6, count))
    return np.tanh(1.5 * x @ inward) @ outward


def synthetic(n_train: int = 2000, n_test: int = 500) -> Samples:
    """Return 20 normal inputs and 3 non-linear targets."""
    rng = np.random.default_rng(10)
    x = rng.standard_normal((n_train + n_test, 20))
    return standardised(x, _hidden_functions(x, 3, rng), n_train)


def low_rank(n_train: int = 2000, n_test: int = 500) -> Samples:
    """Return 20 normal inputs and 10 targets that are linear in 2 non-linear functions."""
    rng = np.random.default_rng(11)
    x = rng.standard_normal((n_train + n_test, 20))
    functions = _hidden_functions(x, 2, rng)
    return standardised(x, functions @ rng.standard_normal((2, 10)), n_train)


def road(n_train: int = 1200, n_test: int = 400) -> Samples:
    """Return images of a road (3, 32, 64), steering and speed; pixels less their overall mean."""
    images, targets = road_images(n_train + n_test, seed=12)
    y = standardised(targets, targets, n_train)
    mean, spread = images[:n_train].mean(), images[:n_train].std()
    x = ((images - mean) / spread).astype(np.float32)
    return Samples(x[:n_train], y.y, x[n_train:], y.y_test)


SETS: dict[str, Callable[[], Samples]] = {
    "swimmer": lambda: _committed(ROOT / "fixtures" / "swimmer" / "data.npz"),
    "reacher": lambda: _committed(ROOT / "fixtures" / "reacher" / "data.npz"),
    "hopper": lambda: _committed(COMMITTED / "hopper.npz"),
    "synthetic": synthetic,
    "low-rank": low_rank,
    "gemm": lambda: _committed(COMMITTED / "gemm.npz"),
    "road": road,
}

DIRECTIONS = {"gemm": 1}
"""How many directions targets have beside noise, where noise gives them more: four timings of one
product are one number, as in the paper's SGEMM."""
