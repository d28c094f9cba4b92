"""Whether an inferred network may be another than the one that was trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

EXPLAINS = 0.5
"""An inferred network that was trained explains at least this share of the targets' variance."""

CLEARLY = 2.0
"""By this factor in its error, a network fits clearly worse than it should. Trained heads are
within 1.2 of the best linear map of their features; where an activation was another or a skip
was left out, it was 3 to 50."""

MATTERS = 0.01
"""Of the targets' variance: errors that differ by less are those of a training's last steps."""

ROWS_PER_DIRECTION = 2
"""A least-squares fit of fewer samples than so many per direction says little of new samples."""

REMEDY = "name the network's factory with --model, or the activation with --activation"


@dataclass(frozen=True)
class Fit:
    """How an inferred network fits, beside the best linear map of its last features.

    Attributes:
        r2: of the network; None when the targets do not vary.
        mse: of the network, in units of the targets squared.
        variance: of the targets, in the mean over them.
        n_samples: N.
        head_mse: linear MSE of what reaches the network's last layer; None where that was not
            measured, or is undefined.
        head_rank: how many directions of these features count.
    """

    r2: float | None
    mse: float
    variance: float
    n_samples: int
    head_mse: float | None
    head_rank: int | None


def clearly_worse(mse: float, best: float, variance: float) -> bool:
    """Whether an error is so far above another that no training leaves it there."""
    return mse > CLEARLY * best and mse - best > MATTERS * variance


def doubts(fit: Fit) -> Iterator[str]:
    """Yield why an inferred network may be another than was trained; nothing if it seems right."""
    if fit.r2 is None:
        return
    why = []
    if fit.r2 < EXPLAINS:
        r2 = f"{fit.r2:.3f}" if fit.r2 > -100 else f"{fit.r2:.3g}"
        why.append(f"it explains {'nothing' if fit.r2 < 0.1 else 'too little'} (R² = {r2})")
    best = _on_new_samples(fit)
    if best is not None and clearly_worse(fit.mse, best, fit.variance):
        times = f", {fit.mse / best:.3g} times less than the network" if best > 0 else ""
        why.append(
            f"its head does not fit its features (a linear map of them has an MSE of"
            f" {best:.3g}{times})"
        )
    if why:
        yield (
            f"DOUBTFUL NETWORK: as inferred, {' and '.join(why)}: unless training was stopped"
            f" early or the data is another, the inference is wrong; {REMEDY}"
        )


def _on_new_samples(fit: Fit) -> float | None:
    """Return the linear MSE that the samples it was fitted to make look smaller; None if unknown.

    A least-squares fit with r directions and a mean leaves 1 − (r + 1)/N of the noise.
    """
    if fit.head_mse is None or fit.head_rank is None:
        return None
    taken = fit.head_rank + 1
    if fit.n_samples < ROWS_PER_DIRECTION * taken:
        return None
    return fit.head_mse / (1 - taken / fit.n_samples)
