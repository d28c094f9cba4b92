"""A report in words, beside the verdict: what k is, where each condition is met, and notes."""

from __future__ import annotations

from nrcscan.metrics.quantities import COLUMNS, CONDITIONS
from nrcscan.reporting.report_document import Report
from nrcscan.verdict.answers import Answer
from nrcscan.verdict.in_document import at_the_end, step_of
from nrcscan.wording import listed, ordinal


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
    """Say from where on each condition is met."""
    parts = []
    layers = [layer.to_dict() for layer in report.layers]
    for condition in CONDITIONS:
        start = report.onset[condition]
        stretches = report.runs[condition]
        if start is not None:
            where = f"from {start}"
        elif stretches:
            where = ", ".join(a if a == b else f"{a} to {b}" for a, b in stretches) + " only"
        else:
            end = at_the_end(layers, condition)
            where = "nowhere" if end is Answer.NOT_MET else end.value
        parts.append(f"{condition.upper()} {where}")
    return " · ".join(parts)


def in_depth(report: Report, condition: str) -> str:
    """Say the same of one condition, in few words: by places in depth."""
    layers = [layer.to_dict() for layer in report.layers]
    if (start := step_of(layers, report.onset[condition])) is not None:
        return f"from the {ordinal(start)}"
    stretches = [[step_of(layers, name) for name in ends] for ends in report.runs[condition]]
    if len(stretches) > 1:
        return f"in {len(stretches)} stretches only"
    if stretches:
        first, last = (ordinal(step) for step in stretches[0] if step is not None)
        return f"{first} only" if first == last else f"{first} to {last} only"
    end = at_the_end(layers, condition)
    return "nowhere" if end is Answer.NOT_MET else end.value


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
