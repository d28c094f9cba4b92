"""Measures how often nominal 95 % intervals hold the truth, and prints a table.

    python benchmarks/coverage.py [--draws 200] [--samples 800] [--population 40000] [--seed 0]

The population is made of a fixture's own samples: inputs are drawn from it and moved by a little
noise (a tenth of their spread), the targets are the nearest samples' own and the network's error
there, so that the truth is well defined, and as large as memory allows. The truth of a quantity is
its value on the whole population; of a held-out error, the mean over draws, for it depends on how
many samples were fitted to. A draw takes runs of neighbouring samples, as of trajectories, and the
interval is its centre ± as many standard errors as Student's t has at one less than the blocks.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import scipy.stats

import nrcscan
from nrcscan.metrics.quantities import CATALOGUE

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
NETWORKS = (
    "swimmer/wd0/epoch_600.pt",
    "swimmer/wd0.01/epoch_600.pt",
    "reacher/wd0/epoch_600.pt",
    "reacher/wd0.002/epoch_600.pt",
)
SAMPLED = [quantity.name for quantity in CATALOGUE if quantity.sampled]
RUN = 10
"""Samples that are drawn together, one after another in the population."""


def population(name: str, size: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and targets of a population around a fixture's samples."""
    with np.load(FIXTURES / name.partition("/")[0] / "data.npz") as data:
        x = np.concatenate([data["X"], data["X_test"]])
        y = np.concatenate([data["y"], data["y_test"]])
    starts = draw.integers(0, len(x) - RUN, size // RUN)
    rows = (starts[:, None] + np.arange(RUN)).ravel()
    moved = x[rows] + 0.1 * draw.standard_normal((len(rows), x.shape[1])).astype(x.dtype)
    return moved, y[rows] + 0.02 * draw.standard_normal((len(rows), y.shape[1])).astype(y.dtype)


def measured(name: str, x: np.ndarray, y: np.ndarray, folder: Path) -> nrcscan.Report:
    """Return a report on some samples."""
    path = folder / "acts.h5"
    nrcscan.extract(FIXTURES / name, (x, y), path, activations=False, force=True)
    return nrcscan.report(path)


def coverage(name: str, draws: int, samples: int, size: int, seed: int) -> dict[str, list[float]]:
    """Return quantity → for every layer the share of intervals that hold the truth."""
    draw = np.random.default_rng(seed)
    x, y = population(name, size, draw)
    values: dict[tuple[str, int], list[tuple[float, float]]] = {}
    with TemporaryDirectory() as folder:
        truth = measured(name, x, y, Path(folder))
        for _ in range(draws):
            starts = RUN * draw.integers(0, len(x) // RUN, samples // RUN)
            rows = (starts[:, None] + np.arange(RUN)).ravel()
            for layer in measured(name, x[rows], y[rows], Path(folder)).layers:
                m = layer.metrics
                for q, error in m.standard_errors.items():
                    centre = m.corrected.get(q, m.values[q])
                    width = float(scipy.stats.t.ppf(0.975, len(m.without_block[q]) - 1))
                    values.setdefault((q, layer.index), []).append((centre, width * error))
    found: dict[str, list[float]] = {q: [] for q in SAMPLED}
    for (q, index), pairs in values.items():
        centres, halves = np.array(pairs).T
        real = truth.layers[index].metrics.values[q]
        if q in ("linear_mse_held_out", "error_ratio"):
            real = float(np.mean(centres))
        found[q].append(float((np.abs(centres - real) <= halves).mean()))
    return found


def main() -> None:
    """Print the table."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--draws", type=int, default=200)
    given.add_argument("--samples", type=int, default=800)
    given.add_argument("--population", type=int, default=40_000)
    given.add_argument("--seed", type=int, default=0)
    chosen = given.parse_args()
    print(f"{'mean over layers (lowest layer)':34}" + "".join(f"{n[:-13]:>16}" for n in NETWORKS))
    columns = [
        coverage(n, chosen.draws, chosen.samples, chosen.population, chosen.seed) for n in NETWORKS
    ]
    for q in SAMPLED:
        cells = [
            f"{np.mean(c[q]):.2f} ({min(c[q]):.2f})" if c[q] else "not defined" for c in columns
        ]
        print(f"{q:34}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
