"""A report in words: how well the network fits, and where it has collapsed."""

from __future__ import annotations

from nrcscan.metrics.quantities import COLUMNS, CONDITIONS, JUDGED_BY, NEED_PREDICTIONS
from nrcscan.reporting.numbers import ordinal
from nrcscan.reporting.report_document import LayerResult, Report
from nrcscan.wording import listed


def headline(report: Report) -> str:
    """Return the one sentence that a reader should take away."""
    if report.learned is None and report.n_samples > 1:
        return _without_predictions(report)
    if not report.learned:
        return _nothing_learned(report)
    found = _found(report)
    if report.doubts:
        return (
            "THIS MAY BE ANOTHER NETWORK THAN WAS TRAINED: it was inferred, and is doubtful, see"
            f" below. As inferred: {found}"
        )
    return found


def _found(report: Report) -> str:
    fit = f"The model fits with R² = {report.r2:.3f} (MSE {report.mse:.3g})"
    start = report.onset["all"]
    if start is not None:
        return (
            f"Collapsed from {start} on ({_depth(report, start)}), through to the output."
            f" {fit}.{_earlier(report)}"
        )
    if report.runs["all"]:
        return f"{fit}. {_stretch(report)}"
    return f"No layer meets all four conditions. {fit}."


def signal(report: Report) -> str:
    """Say what k is, and why."""
    why = {
        "t": "the number of targets",
        "auto": report.target_spectrum.evidence if report.target_spectrum else "their rank",
        "given": "as asked for",
    }[report.signal_dim_source]
    published = ", published convention" if report.convention == "published" else ""
    return (
        f"k = {report.signal_dim} signal directions ({why}), {report.n_samples} samples{published}"
    )


def onsets(report: Report) -> str:
    """Say from where on each condition holds."""
    parts = []
    for condition in CONDITIONS:
        start = report.onset[condition]
        stretches = report.runs[condition]
        if condition in NEED_PREDICTIONS and report.learned is None:
            where = "not judged"
        elif start is not None:
            where = f"from {start}"
        elif stretches:
            where = ", ".join(a if a == b else f"{a} to {b}" for a, b in stretches) + " only"
        else:
            where = "nowhere"
        parts.append(f"{condition.upper()} {where}")
    return " · ".join(parts)


def undefined(report: Report) -> list[str]:
    """Return one line per reason for what the table leaves out, with the layers it concerns."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for layer in report.layers:
        by_reason: dict[str, list[str]] = {}
        for quantity, column in COLUMNS.items():
            why = layer.metrics.undefined.get(quantity)
            if why is not None:
                by_reason.setdefault(why, []).append(column)
        for why, quantities in by_reason.items():
            reasons.setdefault((why, listed(quantities)), []).append(layer.name)
    return [
        f"{in_words(layers)}: {quantities} undefined: {why}"
        for (why, quantities), layers in reasons.items()
    ]


def layer_notes(report: Report) -> list[str]:
    """Return every note on a layer, once, with the layers that it is on."""
    notes: dict[str, list[str]] = {}
    for layer in report.layers:
        for note in layer.metrics.notes:
            notes.setdefault(note, []).append(layer.name)
    return [f"{in_words(layers)}: {note}" for note, layers in notes.items()]


def bounds(report: Report) -> list[str]:
    """Say how far the numbers can be off, where covariances are not exact to float64."""
    widest: dict[str, float] = {}
    for layer in report.layers:
        for quantity, bound in layer.metrics.bounds.items():
            if quantity in COLUMNS:
                widest[quantity] = max(widest.get(quantity, 0.0), bound)
    if not widest:
        return []
    shown = listed(f"{COLUMNS[quantity]} {bound:.1g}" for quantity, bound in widest.items())
    return [f"not exact: at most, over all layers, these are off by: {shown}"]


def in_words(names: list[str]) -> str:
    """Name layers, or the first and the last of many."""
    return listed(names) if len(names) <= 4 else f"{len(names)} layers, {names[0]} to {names[-1]}"


def _without_predictions(report: Report) -> str:
    """Say where the conditions hold together that need no predictions."""
    judged = [c for c in CONDITIONS if c not in NEED_PREDICTIONS]
    begins = [report.onset[condition] for condition in judged]
    told = "No predictions are made, so NRC4, and with it the collapse as a whole, is not judged."
    if any(name is None for name in begins):
        return f"{told} NRC1, NRC2 and NRC3 do not all hold through to the last layer."
    last = max((str(name) for name in begins), key=lambda name: _position(report, name))
    return f"{told} NRC1, NRC2 and NRC3 hold from {last} on ({_depth(report, last)})."


def _nothing_learned(report: Report) -> str:
    if report.n_samples == 1:
        return "Nothing can be said of a single sample: nothing varies."
    if report.r2 is None:
        return "Nothing to learn here: the targets do not vary, so R² is undefined."
    return (
        f"THIS MODEL HAS LEARNED NOTHING: R² = {_short(report.r2)}, its MSE {report.mse:.3g}"
        f" beside a target variance of {report.target_variance:.3g}. What follows describes no"
        " useful network."
    )


def _short(r2: float) -> str:
    return f"{r2:.3f}" if r2 > -100 else f"{r2:.3g}"


def _depth(report: Report, name: str) -> str:
    """Return how deep a layer is, such as "5th of 8"."""
    depth = report.layers[-1].position + 1
    unit = "" if depth == len(report.layers) else " positions"
    return f"{ordinal(_position(report, name) + 1)} of {depth}{unit}"


def _position(report: Report, name: str) -> int:
    return next(layer.position for layer in report.layers if layer.name == name)


def _stretch(report: Report) -> str:
    """Say where all four held, and what broke it."""
    first, last = max(
        report.runs["all"], key=lambda run: _position(report, run[1]) - _position(report, run[0])
    )
    where = (
        f"at {first} alone ({_depth(report, first)})"
        if first == last
        else f"from {first} ({ordinal(_position(report, first) + 1)}) to {last}"
        f" ({_depth(report, last)})"
    )
    return (
        f"All four conditions hold {where}, but not through to the output: {_breaks(report, last)}."
    )


def _earlier(report: Report) -> str:
    """Say what lies before the onset, when a single position broke a longer stretch."""
    if len(report.runs["all"]) < 2:
        return ""
    first, last = report.runs["all"][-2]
    span = first if first == last else f"{first} to {last}"
    return f" All four hold at {span} too, then {_breaks(report, last)}."


def _breaks(report: Report, last: str) -> str:
    """Say which conditions fail at the first position after a stretch that ended at `last`."""
    ended = _position(report, last)
    for layer in report.layers:
        if layer.position <= ended:
            continue
        failed = [c for c in CONDITIONS if layer.met[c] is False]
        if failed:
            names = " and ".join(_failure(layer, c) for c in failed)
            return f"{layer.name} ({ordinal(layer.position + 1)}) fails {names}" + (
                " alone" if len(failed) == 1 else ""
            )
    return "a later position fails on the mean of its layers"


def _failure(layer: LayerResult, condition: str) -> str:
    quantity = JUDGED_BY[condition]
    value = layer.metrics.get(quantity)
    shown = "" if value is None else f" ({quantity.replace('_', ' ')} {value:.3g}"
    energy = layer.metrics.get("weight_signal_energy")
    if shown and quantity == "alignment" and energy is not None:
        shown += f", though {energy:.1%} of the weight's energy acts on the signal"
    return f"{condition.upper()}{shown and shown + ')'}"
