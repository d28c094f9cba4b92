"""The order of training, and the newest checkpoint of every run: asked here by all who need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nrcscan.files.natural_order import natural_path

Checkpoint = Mapping[str, Any]
"""One as scan.json has it."""


def training_order(checkpoint: Checkpoint) -> tuple[Any, ...]:
    """Return a sort key: by epoch, then step, then path in natural order.

    What tells no time comes before all that does: it is not known to be newer than anything.

    >>> final, first, best = {"path": "a", "epoch": 600}, {"path": "b", "epoch": 1}, {"path": "c"}
    >>> sorted([final, first, best], key=training_order) == [best, first, final]
    True
    """
    told = (checkpoint.get("epoch"), checkpoint.get("step"))
    return (
        *(-1 if moment is None else moment for moment in told),
        natural_path(checkpoint["path"]),
    )


def newest(checkpoints: Iterable[Checkpoint]) -> dict[str, Checkpoint]:
    """Return the newest checkpoint of every run, by its run, in the order that runs come in."""
    found: dict[str, Checkpoint] = {}
    for checkpoint in checkpoints:
        run = checkpoint["run"]
        found[run] = max(found.get(run, checkpoint), checkpoint, key=training_order)
    return found
