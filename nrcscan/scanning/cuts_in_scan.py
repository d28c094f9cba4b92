"""What a scan keeps of the cuts of a checkpoint: the smallest, the best, and the sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nrcscan.reporting.json_shapes import COUNT, FLAG, NUMBER, TEXT, Schema, closed, or_null

if TYPE_CHECKING:  # who only reads a scan needs no statistics
    from nrcscan.cutting.cuts import Cut, Cuts, Estimate

CutsOfCheckpoint = Mapping[str, Any]
"""What `kept_of` returns, as scan.json has it."""


def kept_of(cuts: Cuts) -> dict[str, Any]:
    """Return what a scan keeps of the cuts of a checkpoint."""
    judged = [cut for cut in cuts.cuts if cut.held_out is not None and not cut.inputs]
    best = min(judged, key=_error, default=None)
    return {
        "within": cuts.within,
        "text": cuts.text,
        "model": {
            "weights": cuts.weights,
            "multiply_adds": cuts.multiply_adds,
            "held_out": _estimate(cuts.own_held_out),
        },
        "smallest": _kept(cuts.smallest),
        "best": _kept(best),
    }


def _error(cut: Cut) -> float:
    assert cut.held_out is not None
    return cut.held_out.value


def _kept(cut: Cut | None) -> dict[str, Any] | None:
    if cut is None:
        return None
    return {
        "layer": cut.layer,
        "position": cut.position,
        "inputs": cut.inputs,
        "weights": cut.weights,
        "multiply_adds": cut.multiply_adds,
        "held_out": _estimate(cut.held_out),
        "change": _estimate(cut.change),
    }


def _estimate(found: Estimate | None) -> dict[str, Any] | None:
    return None if found is None else asdict(found)


def cuts_shape() -> Schema:
    """Return the shape of what `kept_of` returns."""
    estimate = or_null(closed({"value": NUMBER, "standard_error": or_null(NUMBER)}))
    size = {"weights": or_null(COUNT), "multiply_adds": or_null(COUNT)}
    where = {"layer": TEXT, "position": COUNT, "inputs": FLAG}
    cut = or_null(closed({**where, **size, "held_out": estimate, "change": estimate}))
    return closed(
        {
            "within": NUMBER,
            "text": TEXT,
            "model": closed({**size, "held_out": estimate}),
            "smallest": cut,
            "best": cut,
        }
    )


def in_csv(told: CutsOfCheckpoint) -> dict[str, Any]:
    """Return a checkpoint's cuts as columns of `scan.csv`; empty where there is none."""
    row: dict[str, Any] = {}
    for which in CHOSEN:
        cut = told[which] or {}
        own = {name: cut.get(name) for name in ("layer", "weights", "multiply_adds")}
        for name, key in (("mse", "held_out"), ("change", "change")):
            found = cut.get(key) or {}
            own |= {name: found.get("value")}
            own |= {f"{name}_standard_error": found.get("standard_error")}
        row |= {f"{which}_cut_{name}": value for name, value in own.items()}
    return row


def cells(told: CutsOfCheckpoint, which: str) -> tuple[str, str, str]:
    """Return a checkpoint's cut as a table shows it: before what, what stays, its MSE.

    Args:
        told: of its cuts.
        which: of `CHOSEN`.
    """
    cut = told[which]
    if cut is None:
        return "none", "", ""
    before = INPUTS_ONLY if cut["inputs"] else cut["layer"]
    kept, whole = cut["weights"], told["model"]["weights"]
    share = f"{100 * kept / whole:.3g}%" if kept is not None and whole else ""
    found = cut["held_out"]
    error = found["standard_error"]
    return before, share, f"{found['value']:.3g}" + ("" if error is None else f"±{error:.1g}")


CHOSEN = ("smallest", "best")
"""Of the cuts of a checkpoint: the smallest that does as well, and that of the least error."""

INPUTS_ONLY = "the inputs"
"""Stands for the layer where a linear model of the inputs does as well."""
