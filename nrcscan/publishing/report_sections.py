"""A report as a page: the sentence, the figures, the table, every layer, and how to read it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from nrcscan.publishing.condition_panels import LayersInDepth, panels
from nrcscan.publishing.depth_strip import strip
from nrcscan.publishing.layer_details import layer_details
from nrcscan.publishing.layer_table import layer_table
from nrcscan.publishing.markup import Markup, element, text, together
from nrcscan.publishing.provenance_list import provenance
from nrcscan.publishing.reading_guide import reading_guide
from nrcscan.publishing.remarking import form, remarking
from nrcscan.reporting import sentences
from nrcscan.reporting.report_document import Report
from nrcscan.verdict.answers import BAR
from nrcscan.verdict.in_document import step_of
from nrcscan.verdict.state import State
from nrcscan.wording import printable, r_squared

_SHADED = (State.COLLAPSED, State.LAST_LAYER_ONLY, State.PARTLY)
"""Verdicts that speak of a stretch in which all four conditions are met."""


LONG = 120
"""Letters of a sentence from which on it is set smaller."""


def report_sections(report: Report, title: str) -> tuple[Markup, dict[str, Any]]:
    """Return what a page shows of a report, and what its script works on."""
    layers = [layer.to_dict() for layer in report.layers]
    if report.measures is not None:
        layers = report.to_dict()["layers"]
    thresholds = asdict(report.thresholds)
    verdict = report.verdict
    shaded = None
    if verdict.state in _SHADED:
        first, last = (step_of(layers, name) for name in (verdict.onset, verdict.last))
        shaded = None if first is None or last is None else (first, last)
    depth = LayersInDepth(layers, thresholds, shaded)
    details = (
        layer_details(layer, result.metrics.eigenvalues.tolist(), report.signal_dim)
        for layer, result in zip(layers, report.layers, strict=True)
    )
    again = "nrcscan page and nrcscan report judge by them with"
    begins = verdict.onset if verdict.state is State.COLLAPSED else None
    main = element(
        "main",
        heading(title, verdict.state, verdict.text, verdict.findings),
        _facts(report),
        strip(depth),
        element("p", sentences.onsets(report), class_="onsets"),
        section("Over depth", panels(depth), _key(shaded is not None)),
        form(thresholds, again) if depth.steps else text(""),
        section("Layers", layer_table(layers, thresholds, begins)),
        section("Layer by layer", *details),
        notes([*sentences.undefined(report), *sentences.bounds(report), *report.notes]),
        reading_guide(measures=report.measures is not None),
        provenance(report.provenance),
    )
    names = [printable(layer["name"]) for layer in layers]
    return main, {**remarking([layers], thresholds), "layers": names}


def heading(title: str, state: State, sentence: str, findings: tuple[str, ...]) -> Markup:
    """Return the head of a page, or of a part of one: a verdict, and what else is found."""
    size = "long" if len(sentence) > LONG else "short"
    kind = state.value.replace(" ", "-")
    return element(
        "header",
        element("p", title, class_="title"),
        element("h1", sentence, class_=f"verdict {size} state-{kind}"),
        *(element("p", finding, class_="finding") for finding in findings),
    )


def section(title: str, *children: Markup) -> Markup:
    """Return a part of a page under a heading."""
    return element("section", element("h2", title), *children)


def notes(lines: list[str]) -> Markup:
    """Return the notes; nothing where there are none."""
    if not lines:
        return Markup()
    return section("Notes", element("ul", *(element("li", line) for line in lines), class_="notes"))


def _facts(report: Report) -> Markup:
    """Return the numbers of the network as a whole."""
    told = {
        "R²": together(r_squared(report.r2), _error(report.r2_error)),
        "MSE": together(
            "—" if report.mse is None else f"{report.mse:.3g}", _error(report.mse_error)
        ),
        "samples": together(f"{report.n_samples:,}"),
        "targets": together(f"{report.n_targets} of rank {report.target_rank}"),
        "layers": together(str(len(report.layers))),
    }
    pairs = (element("div", element("dt", k), element("dd", v)) for k, v in told.items())
    return together(
        element("dl", *pairs, class_="facts"),
        element("p", sentences.signal(report), class_="signal"),
    )


def _error(error: float | None) -> Markup:
    return Markup() if error is None else element("small", f" ± {error:.1g}")


def _key(shaded: bool) -> Markup:
    """Return what the figures' lines mean."""
    stretch = "shaded: where the verdict has all four met; " if shaded else ""
    return element(
        "p",
        f"{stretch}filled: met; hollow: not met; hatched: undecided; grey: not judged;"
        f" bars: {BAR:g} standard errors on either side; dotted: threshold; dashed: the network's"
        " own error; short strokes: what one unrelated network in a hundred is beyond. A point"
        " leads to its layer.",
        class_="legend",
    )
