"""What a scan keeps of the cuts of a checkpoint: the smallest, the best, and the sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # who only reads a scan needs no statistics
    from nrcscan.cutting.cuts import Cut, Cuts

CutsOfCheckpoint = Mapping[str, Any]
"""What `kept_of` returns, as scan.json has it."""

CHOSEN = ("smallest", "best")
"""Of the cuts of a checkpoint: the smallest that does as well, and that of the least error."""

OF_NETWORK = ("weights", "multiply_adds", "held_out")
"""What is kept of the whole network, by its names in the JSON of cuts."""

OF_CUT = ("layer", "position", "inputs", "weights", "multiply_adds", "ridge", "held_out", "change")
"""What is kept of a cut, likewise."""


def kept_of(cuts: Cuts) -> dict[str, Any]:
    """Return what a scan keeps of the cuts of a checkpoint."""
    judged = [cut for cut in cuts.cuts if cut.held_out is not None and not cut.inputs]
    best = min(judged, key=_error, default=None)
    whole = cuts.to_dict()
    chosen = dict(zip(CHOSEN, map(_kept, (cuts.smallest, best)), strict=True))
    model = {name: whole["model"][name] for name in OF_NETWORK}
    return {"within": cuts.within, "text": cuts.text, "model": model, **chosen}


def _error(cut: Cut) -> float:
    assert cut.held_out is not None
    return cut.held_out.value


def _kept(cut: Cut | None) -> dict[str, Any] | None:
    if cut is None:
        return None
    told = cut.to_dict()
    return {name: told[name] for name in OF_CUT}


def in_csv(told: CutsOfCheckpoint) -> dict[str, Any]:
    """Return a checkpoint's cuts as columns of `scan.csv`; empty where there is none."""
    row: dict[str, Any] = {}
    for which in CHOSEN:
        cut = told[which] or {}
        own = {name: cut.get(name) for name in ("layer", "weights", "multiply_adds")}
        for name, key in (("mse", "held_out"), ("change", "change")):
            found = cut.get(key) or {}
            own |= {name: found.get("value"), f"{name}_standard_error": found.get("standard_error")}
        row |= {f"{which}_cut_{name}": value for name, value in own.items()}
    return row
