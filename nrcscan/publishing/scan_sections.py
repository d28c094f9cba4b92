"""A scan as a page: its checkpoints, how each run developed, and every checkpoint's layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from nrcscan.metrics.quantities import CATALOGUE, CONDITIONS, ENTRIES, JUDGED
from nrcscan.publishing.heat_maps import heat_maps
from nrcscan.publishing.layer_table import column_head
from nrcscan.publishing.marks_on_page import depth_of, judged_cell, legend, sign, style
from nrcscan.publishing.markup import Markup, element, name_of, text, together
from nrcscan.publishing.provenance_list import provenance
from nrcscan.publishing.reading_guide import reading_guide
from nrcscan.publishing.remarking import can_be_remarked, form, remarking
from nrcscan.publishing.report_sections import notes, section
from nrcscan.publishing.scanned import Scanned, scanned
from nrcscan.reporting.headings import title
from nrcscan.reporting.numbers import number
from nrcscan.scanning.conditions_of_scan import conditions_of
from nrcscan.scanning.scan_file import ScanDocument
from nrcscan.verdict.in_document import at_the_end, brief, step_of
from nrcscan.wording import counted, printable, r_squared


def scan_sections(scan: ScanDocument, title: str) -> tuple[Markup, dict[str, Any]]:
    """Return what a page shows of a scan, and what its script works on."""
    found = scanned(scan["checkpoints"])
    thresholds = conditions_of(scan).thresholds
    runs = {run: list(own) for run, own in groupby(found, key=lambda one: one.entry["run"])}
    can = all(can_be_remarked(one.layers, thresholds) for one in found)
    main = element(
        "main",
        element(
            "header",
            element("p", title, class_="title"),
            element("h1", _count(scan, found, len(runs)), class_="verdict"),
        ),
        section("Newest of every run", *(_newest(run, own[-1]) for run, own in runs.items())),
        section("Checkpoints", _filter(found), _overview(found)),
        section(
            "Layers over time",
            element("p", _map_key(), class_="legend"),
            *(part for run, own in runs.items() for part in (_run_head(run), heat_maps(own))),
            legend(),
        ),
        form(thresholds, "nrcscan scan judges by them, without a new pass, with")
        if can
        else text(""),
        section("Checkpoint by checkpoint", *(_checkpoint(one, thresholds) for one in found)),
        notes(_remarks(scan)),
        reading_guide(),
        provenance(scan["provenance"]) if isinstance(scan.get("provenance"), dict) else text(""),
    )
    data = remarking([one.layers for one in found], thresholds) if can else {"answers": []}
    return main, {**data, **_numbers(found)}


def _count(scan: ScanDocument, found: Sequence[Scanned], runs: int) -> str:
    bad = len(scan["checkpoints"]) - len(found)
    unused = f", {bad} more could not be used" if bad else ""
    return f"{counted(len(found), 'checkpoint')} of {counted(runs, 'run')}{unused}"


def _run_head(run: str) -> Markup:
    return element("h3", name_of(run)) if run else text("")


def _newest(run: str, last: Scanned) -> Markup:
    state = style_of(last)
    return together(
        element("h3", name_of(run or last.name), element("small", f" {last.when}")),
        element("p", last.verdict["text"], class_=f"verdict small {state}"),
        *_cuts(last),
    )


def _cuts(one: Scanned) -> list[Markup]:
    """Return the sentence on the cuts of a checkpoint, if they were looked at."""
    told = one.entry.get("cuts")
    return [] if told is None else [element("p", told["text"], class_="message")]


def style_of(one: Scanned) -> str:
    """Return the class of a checkpoint's verdict."""
    return f"state-{one.verdict['state'].replace(' ', '-')}"


def _filter(found: Sequence[Scanned]) -> Markup:
    """Return the filter of the overview, which a script shows."""
    states = sorted({one.verdict["state"] for one in found})
    return element(
        "form",
        element("label", "Find ", element("input", type="search", placeholder="run or checkpoint")),
        element(
            "label",
            "Verdict ",
            element(
                "select",
                element("option", "any", value=""),
                *(element("option", state, value=state) for state in states),
            ),
        ),
        element("output", f"{len(found)} of {len(found)}"),
        id="filter",
        class_="filter",
        hidden=True,
    )


def _overview(found: Sequence[Scanned]) -> Markup:
    heads = (
        column_head("run"),
        column_head("checkpoint"),
        column_head("epoch", number_=True),
        column_head("R²", "of the network", number_=True),
        *(column_head(c.upper(), "step from which it is met", number_=True) for c in CONDITIONS),
        column_head("verdict"),
        column_head("onset", "step from which all four are met", number_=True),
    )
    return element(
        "div",
        element(
            "table",
            element(
                "caption",
                "NRC1 to NRC4: step in depth from which each is met to the output, or how it ends",
            ),
            element("thead", element("tr", *heads)),
            element("tbody", *map(_overview_row, found)),
            class_="sortable",
            id="checkpoints",
        ),
        class_="scroll",
        role="region",
        aria_label="Table of checkpoints",
        tabindex="0",
    )


def _overview_row(one: Scanned) -> Markup:
    r2, state = one.entry["model"]["r2"], one.verdict["state"]
    onsets = []
    for condition in CONDITIONS:
        step = step_of(one.layers, one.entry["onset"][condition])
        end = at_the_end(one.layers, condition)
        shown = sign(end) if step is None else text(step)
        kind = None if step is None else "begun"
        if step is None:
            onsets.append(element("td", shown, class_=style(end), data_v=one.depth + 1))
        else:
            onsets.append(element("td", shown, class_=kind, data_v=step))
    begins = step_of(one.layers, one.verdict["onset"]) if state == "collapsed" else None
    time = one.entry["epoch"] if one.entry["epoch"] is not None else one.entry["step"]
    return element(
        "tr",
        element("td", name_of(one.entry["run"] or "—"), class_="left"),
        element("th", element("a", name_of(one.name), href=f"#{one.anchor}"), scope="row"),
        element("td", "—" if time is None else str(time), data_v=time),
        element("td", r_squared(r2), data_v=None if r2 is None else f"{r2:.9g}"),
        *onsets,
        element("td", state, class_="left"),
        element("td", "—" if begins is None else f"{begins} of {one.depth}", data_v=begins),
        data_state=state,
    )


def _map_key() -> str:
    return "Depth downward, training to the right; the line is the onset of collapse."


def _checkpoint(one: Scanned, thresholds: Mapping[str, float]) -> Markup:
    """Return the section of a checkpoint: compact as it is, and with all numbers by a script."""
    heads = [
        element("th", f"{title(c)} ", _met(c.option, thresholds), scope="col", class_="number")
        for c in JUDGED
    ]
    rows = (
        element(
            "tr",
            element("td", depth_of(layer)),
            element("th", name_of(layer["name"]), scope="row"),
            *(
                judged_cell(
                    one.number,
                    layer,
                    c.name,
                    number(layer[c.quantity], ENTRIES[c.quantity].digits),
                )
                for c in JUDGED
            ),
            class_="aside" if layer["step"] is None else None,
        )
        for layer in one.layers
    )
    table = element(
        "table",
        element("caption", "What is judged at every layer"),
        element(
            "thead",
            element(
                "tr",
                element("th", "#", scope="col", class_="number"),
                element("th", "layer", scope="col"),
                *heads,
            ),
        ),
        element("tbody", *rows),
    )
    told = one.verdict
    return element(
        "details",
        element(
            "summary",
            name_of(one.entry["path"]),
            " ",
            element(
                "small", f"{brief(told, one.layers)}, R² {r_squared(one.entry['model']['r2'])}"
            ),
        ),
        element("p", told["text"], class_="message"),
        *(element("p", finding, class_="message") for finding in told["findings"]),
        *_cuts(one),
        element("div", table, class_="scroll"),
        id=one.anchor,
        data_checkpoint=one.number,
    )


def _met(option: str, thresholds: Mapping[str, float]) -> Markup:
    condition = next(c for c in JUDGED if c.option == option)
    if option not in thresholds:
        return text("")
    return element("small", condition.met_at(thresholds[option]), data_within=condition.name)


def _numbers(found: Sequence[Scanned]) -> dict[str, Any]:
    """Return every quantity as a table shows it, for a script to lay out when it is asked for."""
    reasons: dict[str, int] = {}
    numbers = [
        [
            [
                depth_of(layer),
                printable(layer["name"]),
                [_shown(layer, q.name, reasons) for q in CATALOGUE],
            ]
            for layer in one.layers
        ]
        for one in found
    ]
    names = [q.column or q.name.replace("_", " ") for q in CATALOGUE]
    return {"quantities": names, "reasons": list(reasons), "numbers": numbers}


def _shown(layer: Mapping[str, Any], name: str, reasons: dict[str, int]) -> str | int:
    """Return a number, with ± its error; or which of the reasons there is for none."""
    value = layer[name]
    if value is None:
        why = printable(str(layer["undefined"].get(name, "undefined")))
        return reasons.setdefault(why, len(reasons))
    error = layer.get("standard_error", {}).get(name)
    shown = number(value, ENTRIES[name].digits)
    return shown if error is None else f"{shown}±{error:.1g}"


def _remarks(scan: ScanDocument) -> list[str]:
    """Return why checkpoints could not be used, every note, and what was skipped."""
    bad = [f"{e['path']}: {e['reason']}" for e in scan["checkpoints"] if e["status"] != "ok"]
    told = [
        f"{entry['note']} ({', '.join(entry['checkpoints'])})" for entry in scan.get("notes") or []
    ]
    skipped = [f"skipped {one['path']}: {one['reason']}" for one in scan.get("skipped") or []]
    return [*bad, *told, *skipped]
