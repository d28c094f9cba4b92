"""How the paper trained its networks: facts of its table 2 and appendix A, and of figure 3."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trained:
    """How the paper trained networks on a data set.

    Attributes:
        data: what it was.
        network: and of which size.
        samples: in all, of which a fifth was held out.
        epochs: passes over the others.
        weight_decay: λ of its collapsed networks; None where it does not say.
    """

    data: str
    network: str
    samples: int
    epochs: int | None
    weight_decay: float | None


PAPER = {
    "swimmer": Trained("Swimmer", "8-layer MLP, width 256", 1_000, 1000, 5e-3),
    "reacher": Trained("Reacher", "8-layer MLP, width 512", 1_000, 1000, 1e-4),
    "hopper": Trained("Hopper", "8-layer MLP, width 256", 5_000, 1000, 1e-3),
    "synthetic": Trained("non-linear, d = 20, t = 3", "10-layer MLP", 10_000, None, None),
    "low-rank": Trained(
        "non-linear, d = 20, t = 10, r = 2", "10-layer MLP, width 1024", 10_000, None, None
    ),
    "gemm": Trained("SGEMM, timings of a GPU", "8-layer MLP, width 512", 240_000, 200, 1e-3),
    "road": Trained("Carla2D", "ResNet-18", 50_000, 250, 5e-3),
}
"""Data set of ours → that of the paper which it stands for."""
