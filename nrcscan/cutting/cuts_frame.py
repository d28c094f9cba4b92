"""Cuts as rows of numbers, for a CSV and for pandas: a row each, and the network's own beside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nrcscan.cutting.cuts import Cuts, Estimate
from nrcscan.cutting.cuts_in_words import is_chosen
from nrcscan.reporting.frames import ERROR, pandas_itself

if TYPE_CHECKING:
    import pandas

_SHARES = ("ridge", "change", "against_refitted")
_WHOLE = ("position", "step", "weights", "multiply_adds", "width")


def rows(cuts: Cuts) -> Iterator[dict[str, Any]]:
    """Yield every cut, in order; None stands for what is not known."""
    for cut in cuts.cuts:
        yield {
            "layer": cut.layer,
            "position": cut.position,
            "step": cut.step,
            "refused": cut.refused,
            "weights": cut.weights,
            "weights_kept": _share(cut.weights, cuts.weights),
            "multiply_adds": cut.multiply_adds,
            "multiply_adds_kept": _share(cut.multiply_adds, cuts.multiply_adds),
            "width": cut.width,
            "ridge": None if cut.head is None else cut.head.ridge,
            **_pair("train_mse", cut.train),
            **_pair("cross_validated_mse", cut.cross_validated),
            **_pair("held_out_mse", cut.held_out),
            **_pair("change", cut.change),
            **_pair("against_refitted", cut.against_refitted),
            "within": cut.answer.value,
            "smallest": is_chosen(cut, cuts),
            **_pair("model_train_mse", cuts.own_train),
            **_pair("model_held_out_mse", cuts.own_held_out),
        }


def frame_of(cuts: Cuts) -> pandas.DataFrame:
    """Return them as a table, by layer.

    Raises:
        UsageError: pandas is not installed.
    """
    pandas = pandas_itself()
    found = pandas.DataFrame(list(rows(cuts)))
    floats = [n for n in found if n.endswith(("_kept", "_mse", ERROR)) or n in _SHARES]
    kinds = {**dict.fromkeys(_WHOLE, "Int64"), **dict.fromkeys(floats, "float64")}
    return found.astype(kinds).set_index("layer")


def _share(part: int | None, whole: int | None) -> float | None:
    return None if part is None or not whole else part / whole


def _pair(name: str, estimate: Estimate | None) -> dict[str, float | None]:
    if estimate is None:
        return {name: None, f"{name}{ERROR}": None}
    return {name: estimate.value, f"{name}{ERROR}": estimate.standard_error}
