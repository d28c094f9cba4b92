"""Has all checkpoints of a run inferred as one network, by what the best fitting one tells."""

from __future__ import annotations

from collections.abc import Mapping

from nrcscan.network.guess import Guess
from nrcscan.scanning.messages import Inference
from nrcscan.verdict.doubtful_network import EXPLAINS, clearly_worse


def agreed(run: Mapping[str, Inference]) -> dict[str, Guess]:
    """Return what every checkpoint of a run is to be inferred as.

    They are one network at several times: what explains one of them best, and beyond doubt if
    that is to be had, is taken for all. An untrained one, whose own best means nothing, follows.
    One that fits well by itself and clearly worse as the others are is another network, and stays.

    Args:
        run: checkpoint → what it tells by itself; all of one architecture, in order.
    """
    leader = max(run.values(), key=lambda one: (not one.doubtful, one.r2[0][1]))
    return {
        name: own.best if _stands(own, leader.best) else leader.best for name, own in run.items()
    }


def _stands(own: Inference, guess: Guess) -> bool:
    """Whether a checkpoint speaks for its own guess too strongly to be taken for another."""
    if own.best == guess:
        return True
    explained = dict(own.r2)
    best = explained[own.best]
    as_others = explained.get(guess, min(explained.values()))  # or less
    fits = not own.doubtful and best >= EXPLAINS
    return fits and clearly_worse(1 - as_others, 1 - best, 1.0)
