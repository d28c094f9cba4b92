"""What measuring while a network trains costs, as a share of an epoch at the defaults.

    python benchmarks/training.py [--repeat N]

An epoch is one pass of Adam over 50,000 samples. What is timed is processor time of the whole
process, as on a busy machine wall time says little; epochs and measurements take turns. What a
measurement costs is spread over the epochs between two of them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch import nn

from nrcscan.options.option import declared
from nrcscan.options.training_options import TrainingOptions
from nrcscan.training import Monitor

N = 50_000
EVERY = declared(TrainingOptions)["every"].default


def chain(*widths: int) -> nn.Sequential:
    """Return a ReLU network."""
    modules: list[nn.Module] = []
    for width, out in pairwise(widths):
        modules += [nn.Linear(width, out), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def convolutions() -> nn.Sequential:
    """Return a small network for images of 3×16×16."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, 2),
    )  # fmt: skip


def epoch(model: nn.Module, x: torch.Tensor, y: torch.Tensor, batch: int) -> None:
    """Train for one epoch."""
    optimizer = torch.optim.Adam(model.parameters())
    for start in range(0, len(x), batch):
        rows = slice(start, start + batch)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x[rows]), y[rows]).backward()
        optimizer.step()


def compare(name: str, model: nn.Module, shape: tuple[int, ...], batch: int, repeat: int) -> None:
    """Time epochs and measurements in turns, and print what comes of it."""
    torch.manual_seed(0)
    x = torch.randn(N, *shape)
    y = torch.tanh(x.flatten(1)[:, :8] @ torch.randn(8, 2))
    epochs, costs = [], []
    with tempfile.TemporaryDirectory() as folder:
        monitor = Monitor((x, y), Path(folder) / "training")
        monitor.measure(model, 0)  # what is done once: libraries wake up
        for number in range(1, repeat + 1):
            start = time.process_time()
            epoch(model, x, y, batch)
            trained = time.process_time()
            monitor.measure(model, number * EVERY)
            epochs.append(trained - start)
            costs.append(time.process_time() - trained)
    one, cost = statistics.median(epochs), statistics.median(costs)
    print(
        f"{name:24} batch {batch:5}  epoch {one:6.2f} s  measurement {cost:5.2f} s"
        f"  every {EVERY}: {cost / EVERY / one:.1%} of an epoch",
        flush=True,
    )


def main() -> None:
    """Time what is common."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    torch.manual_seed(0)
    for batch in (64, 256, 1024):
        compare("MLP 8→256×8→2", chain(8, *[256] * 8, 2), (8,), batch, repeat)
    compare("small convolutions", convolutions(), (3, 16, 16), 128, repeat)
    compare("MLP 8→64×3→2", chain(8, 64, 64, 64, 2), (8,), 256, repeat)
    compare("MLP 8→1024×4→2", chain(8, *[1024] * 4, 2), (8,), 256, repeat)


if __name__ == "__main__":
    main()
