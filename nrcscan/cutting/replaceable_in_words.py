"""Stretches of a network that a linear map could replace, in words: what they say, and how."""

from __future__ import annotations

from collections.abc import Sequence

from nrcscan.cutting.conclusion import estimate
from nrcscan.cutting.cuts import Estimate
from nrcscan.cutting.numbers_of_cuts import MANIFOLD, change, share
from nrcscan.cutting.replaceable import Replacement, closest, longest
from nrcscan.verdict.answers import Answer
from nrcscan.wording import printable, some

RESOLVED = 1e-9
"""A smaller share of a variance is rounding: of the sums' 2⁻⁵² as much as the cut-off, 10⁻⁶ of the
largest variance, lets through, with room."""


def concluded_of(
    stretches: Sequence[Replacement], within: float, *, nothing_learned: bool = False
) -> str:
    """Return what the stretches of a network say, in a few sentences.

    Args:
        stretches: all of them.
        within: how much of the variance may be left, and how far the error may be above the head's.
        nothing_learned: whether the network predicts no better than the mean.
    """
    if nothing_learned:
        return "LEARNED NOTHING: the network predicts no better than the mean; nothing to replace."
    sure, perhaps = longest(stretches), longest(stretches, Answer.UNDECIDED)
    if sure:
        count = sure[0].steps
        what = "ONE LAYER IS" if count == 1 else f"{count} LAYERS ARE"
        return f"{what} REPLACEABLE: {_cost(sure[0])}{_saving(sure[0])}{_others(sure[1:])}"
    if perhaps:
        return (
            f"UNDECIDED whether layers are replaceable: within {share(within)} none surely are."
            f" Most that may be: {_cost(perhaps[0])}"
        )
    near = closest(stretches)
    if near is not None:
        return f"NO LAYERS ARE REPLACEABLE within {share(within)}. The closest: {_cost(near)}"
    return f"CANNOT BE JUDGED: {_why_none(stretches)}."


def _why_none(stretches: Sequence[Replacement]) -> str:
    refused = next((one for one in stretches if one.refused is not None), None)
    if refused is not None and refused.refused is not None:
        return f"of {named(refused)}, {refused.refused}"
    if any(one.unexplained is not None for one in stretches):
        return "linear heads make no errors here that others could be compared with"
    return (
        "what maps leave of samples that they have not seen is not known; name a file of other"
        " samples with --against"
    )


def named(stretch: Replacement) -> str:
    """Return the layers that a stretch replaces, by the first and the last."""
    first, last = (printable(stretch.layers[i]) for i in (0, -1))
    return first if first == last else f"{first} … {last}"


def _cost(stretch: Replacement) -> str:
    assert stretch.unexplained is not None
    assert stretch.own is not None
    assert stretch.replaced is not None
    bars = [
        " ".join(filter(None, one)) for one in (left(stretch.unexplained), change(stretch.change))
    ]
    return (
        f"one linear map in place of {named(stretch)} leaves {bars[0]} of the variance of what"
        f" reaches {printable(stretch.reaches)}, and a linear head there has MSE"
        f" {estimate(stretch.replaced)} in place of {estimate(stretch.own)} ({bars[1]})."
    )


def _saving(stretch: Replacement) -> str:
    if stretch.weights is None or stretch.map_weights is None:
        return ""
    if stretch.map_weights >= stretch.weights:
        return " That saves no weights."
    return f" It has {stretch.map_weights:,} weights in place of {stretch.weights:,}."


def _others(stretches: Sequence[Replacement]) -> str:
    if not stretches:
        return ""
    which = some([named(one) for one in stretches])
    return f" So {'is' if len(stretches) == 1 else 'are'}, by a map of its own each, {which}."


def short(stretch: Replacement) -> str:
    """Return the same without what both names begin with, but once.

    >>> short(Replacement(("net.0", "net.2"), 0, 2, "net.4")), short(Replacement(("a",), 0, 1, "b"))
    ('net.0 … 2', 'a')
    """
    first, last = (stretch.layers[i].split(".") for i in (0, -1))
    if first == last:
        return printable(stretch.layers[0])
    unlike = [a != b for a, b in zip(first, last, strict=False)]
    alike = unlike.index(True) if True in unlike else min(len(first), len(last)) - 1
    return printable(f"{'.'.join(first)} … {'.'.join(last[alike:])}")


def left(found: Estimate | None) -> tuple[str, str]:
    """Return a share of a variance in percent, and its error bar.

    >>> left(Estimate(0.05012, 0.0104)), left(Estimate(3e-14, 1e-15)), left(None)
    (('5.0%', '±1%'), ('<1e-07%', ''), ('—', ''))
    """
    if found is None:
        return "—", ""
    if found.value < RESOLVED:
        return f"<{100 * RESOLVED:.0e}%", ""
    error = found.standard_error
    shown = f"{100 * found.value:.1f}%" if found.value >= 0.01 else f"{100 * found.value:.2g}%"
    return shown, "" if error is None else f"±{100 * error:.1g}%"


def brief(found: Estimate | None) -> str:
    """Return a relative change in few digits; see `change`.

    >>> brief(Estimate(-0.7801)), brief(Estimate(0.0042)), brief(Estimate(151.2)), brief(None)
    ('-78%', '+0.4%', '×152', '—')
    """
    if found is None or found.value >= MANIFOLD:
        return change(found)[0]
    value = 100 * found.value
    return f"{value:+z.{int(abs(value) < 9.95)}f}%"
