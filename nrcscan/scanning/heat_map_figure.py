"""The four conditions over layers and epochs of every run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from nrcscan.drawing.shapes import (
    DOTTED,
    HIGH,
    LOW,
    MIDDLE,
    ColourScale,
    Face,
    HeatMap,
    HeatMaps,
    Key,
)
from nrcscan.drawing.words import NAME
from nrcscan.metrics.quantities import ENTRIES, JUDGED, Condition
from nrcscan.reporting.headings import heading
from nrcscan.reporting.profile import LONGEST_LABEL, MARK_WORDS, face_of
from nrcscan.scanning.conditions_of_scan import conditions_of
from nrcscan.scanning.newest import training_order
from nrcscan.scanning.scan_file import ScanDocument
from nrcscan.short_names import common_prefix, shortened
from nrcscan.verdict.state import State

LEAST_NOISE, FARTHEST_RATIO, NEAREST_RATIO = 1e-8, 100.0, 4.0
"""Where colours of the noise end, and of the ratio at most and at least."""

Entries = Sequence[Mapping[str, Any]]
"""Checkpoints as scan.json has them."""


def runs_of(scan: ScanDocument) -> dict[str, list[Mapping[str, Any]]]:
    """Return the checkpoints of every run that has one that could be used, in training order."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for name, group in groupby(scan["checkpoints"], key=lambda entry: str(entry["run"])):
        found.setdefault(name, []).extend(group)
    return {
        name: sorted(entries, key=training_order)
        for name, entries in found.items()
        if any(entry["status"] == "ok" for entry in entries)
    }


def heat_map_figure(scan: ScanDocument, labels: Sequence[str] = ()) -> HeatMaps:
    """Return the figure: a map for each condition and run, a column for each checkpoint.

    Args:
        scan: it.
        labels: of its runs; without them their names.
    """
    runs = runs_of(scan)
    thresholds = conditions_of(scan).thresholds
    names = {
        layer["name"]: None
        for entries in runs.values()
        for entry in entries
        for layer in entry.get("layers", ())
    }
    shared = common_prefix([*names], NAME)
    unit = unit_of([entry for entries in runs.values() for entry in entries])
    maps = [
        _map(number, heading(condition, thresholds), entries, shared, unit)
        for entries in runs.values()
        for number, condition in enumerate(JUDGED)
    ]
    titles = [shortened(label, LONGEST_LABEL) for label in labels or runs]
    faces = {face for one in maps for row in one.faces for face in row}
    key = [Key(word, face=face) for face, word in MARK_WORDS.items() if face in faces]
    key += [Key("met from here on", edge=True)]
    if any(row is not None for one in maps for row in one.second):
        key += [Key("all four from here on", edge=True, dash=DOTTED)]
    return HeatMaps(
        maps=maps,
        titles=[] if titles == [""] else titles,
        scales=[_scale(condition, runs.values()) for condition in JUDGED],
        x=unit or "checkpoint",
        y=f"layer ({shortened(shared, 30)}*)" if shared else "layer",
        key=key,
    )


def unit_of(entries: Entries) -> str:
    """Return what tells the time of all checkpoints; nothing where only their names do."""
    told = (unit for unit in ("epoch", "step") if all(e[unit] is not None for e in entries))
    return next(told, "")


def _map(number: int, title: str, entries: Entries, shared: str, unit: str) -> HeatMap:
    """Return the map of a condition, by its number."""
    condition = JUDGED[number]
    rows = list(dict.fromkeys(layer["name"] for e in entries for layer in e.get("layers", ())))
    found: list[list[tuple[float | None, Face]]] = [[] for _ in rows]
    for entry in entries:
        layers = {layer["name"]: layer for layer in entry.get("layers", ())}
        for row, name in zip(found, rows, strict=True):
            row.append(_cell(layers.get(name), condition))
    met = [_row(rows, (entry.get("onset") or {}).get(condition.name)) for entry in entries]
    return HeatMap(
        title=title,
        rows=tuple(name.removeprefix(shared) for name in rows),
        columns=tuple(str(e[unit]) if unit else e["path"].rpartition("/")[2] for e in entries),
        values=tuple(tuple(value for value, _ in row) for row in found),
        faces=tuple(tuple(face for _, face in row) for row in found),
        scale=number,
        line=tuple(met),
        second=tuple(_row(rows, _collapsed(entry)) for entry in entries),
    )


def _cell(layer: Mapping[str, Any] | None, condition: Condition) -> tuple[float | None, Face]:
    """Return a layer's value and how it is marked."""
    value = None if layer is None else layer[condition.quantity]
    if layer is None or value is None:
        return None, Face.UNKNOWN
    return value, face_of(layer, condition.name)


def _collapsed(entry: Mapping[str, Any]) -> str | None:
    """Return the layer from which on a checkpoint has collapsed, if that is the verdict."""
    verdict = entry.get("verdict") or {"state": ""}
    return verdict["onset"] if verdict["state"] == State.COLLAPSED.value else None


def _row(rows: Sequence[str], name: str | None) -> int | None:
    return None if name is None else rows.index(name)


def _scale(condition: Condition, runs: Iterable[Entries]) -> ColourScale:
    """Return what the colours of a condition mean."""
    quantity = ENTRIES[condition.quantity]
    values = [
        layer[condition.quantity]
        for entries in runs
        for entry in entries
        for layer in entry.get("layers", ())
        if layer[condition.quantity] is not None
    ]
    column = str(quantity.column)
    if condition.both_sides:
        far = [max(value, 1 / value) if value > 0 else math.inf for value in values]
        end = min(FARTHEST_RATIO, max(NEAREST_RATIO, *far, 0.0))
        beyond = any(one > end for one in far)
        return ColourScale(column, (1 / end, end), True, MIDDLE, beyond)
    if quantity.worse == "lower":
        return ColourScale(column, (0.0, 1.0), False, HIGH)
    least = max(LEAST_NOISE, min((value for value in values if value > 0), default=0.1))
    low = 10.0 ** math.floor(math.log10(min(least, 0.1)))
    return ColourScale(column, (low, 1.0), True, LOW, any(value < low for value in values))
