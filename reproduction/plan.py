"""What is trained: every network, with its data, weight decay and seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Run:
    """One network, trained by SGD with momentum on one data set.

    Attributes:
        data: of `sample_sets.SETS`.
        network: "mlp", "convolutional" or "resnet18".
        depth: layers; a ResNet-18 has its own.
        width: of an MLP's layers, or channels of the first convolution.
        weight_decay: λ, on every parameter.
        seed: of the first weights and of the order of samples.
        rate: of SGD; it rises in the first five epochs, and is a tenth in their last fifth.
        momentum: of SGD.
        batch: samples to a step.
        epochs: passes over the training samples.
        checkpoints: epochs, the last one included, after which the network is saved.
    """

    data: str
    network: str
    depth: int
    width: int
    weight_decay: float
    seed: int
    rate: float
    momentum: float
    batch: int
    epochs: int
    checkpoints: tuple[int, ...]

    @property
    def name(self) -> str:
        """What its files are called."""
        network = "" if self.network == "mlp" else f"-{self.network}"
        return f"{self.data}{network}-wd{self.weight_decay:g}-seed{self.seed}"


def log_spaced(epochs: int, count: int) -> tuple[int, ...]:
    """Return at most so many epochs from the first to the last, evenly in their logarithms."""
    return tuple(int(one) for one in np.unique(np.geomspace(1, epochs, count).round()))


SEEDS = (0, 1, 2)

SWEEP = (0.0, 1e-3, 2e-3, 5e-3, 1e-2, 5e-2, 0.5)
"""Weight decays from none to one that leaves nothing of a network."""

BASE = Run(
    data="",
    network="mlp",
    depth=8,
    width=128,  # the paper's are wider: fewer, for time, but where it is told otherwise
    weight_decay=0.0,
    seed=0,
    rate=0.02,
    momentum=0.9,
    batch=100,
    epochs=600,
    checkpoints=log_spaced(600, 9),
)


def _trained_on(
    data: str, weight_decays: Sequence[float], epochs: int, seeds: int = 3, **changes: object
) -> Iterator[Run]:
    """Yield the runs on a data set, seed by seed."""
    for seed in SEEDS[:seeds]:
        for weight_decay in weight_decays:
            yield replace(
                BASE,
                data=data,
                weight_decay=weight_decay,
                seed=seed,
                epochs=epochs,
                checkpoints=log_spaced(epochs, 9),
                **changes,  # type: ignore[arg-type]
            )


def _plan() -> tuple[Run, ...]:
    """Return all runs, the first seed's first: what is ended early has something on everything."""
    images: dict[str, Any] = {"width": 16, "batch": 50}
    runs = [
        *_trained_on("swimmer", SWEEP, 600, width=256),
        *_trained_on("reacher", SWEEP, 600, width=256),
        *_trained_on("hopper", SWEEP, 300, width=256),
        *_trained_on("synthetic", (0.0, 5e-3, 2e-2), 300),
        *_trained_on("low-rank", (0.0, 5e-3, 2e-2), 300, depth=10),
        *_trained_on("gemm", (0.0, 5e-3, 2e-2), 300),
        *_trained_on("road", (0.0, 2e-3, 5e-3), 60, 2, network="convolutional", **images),
        *_trained_on("road", (0.0, 2e-3, 2e-2, 5e-2), 50, 2, network="resnet18", **images),
    ]
    return tuple(sorted(runs, key=lambda run: run.seed))


PLAN = _plan()

REDUCED = (
    *_trained_on("swimmer", (0.0, 5e-2), 150, 1),
    *_trained_on("swimmer", (0.5,), 40, 1),
    *_trained_on("low-rank", (2e-2,), 60, 1, depth=10),
    *_trained_on("road", (5e-3,), 20, 1, network="convolutional", width=16, batch=50),
)
