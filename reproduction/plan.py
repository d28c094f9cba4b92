"""What is trained: every network, with its data, weight decay and seed."""

from __future__ import annotations

from dataclasses import dataclass


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
        rate: of SGD; a tenth of it in the last fifth of the epochs.
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




SEEDS = (0, 1, 2)
MLP_WIDTH = 128
"""A quarter of the paper's, for time."""

FULL_RATE = 0.05


def _mlp(data: str, weight_decay: float, seed: int, epochs: int, depth: int = 8) -> Run:
    return Run(
        data=data,
        network="mlp",
        depth=depth,
        width=MLP_WIDTH,
        weight_decay=weight_decay,
        seed=seed,
        rate=FULL_RATE,
        momentum=0.9,
        batch=100,
        epochs=epochs,
        checkpoints=log_spaced(epochs, 9),
    )
