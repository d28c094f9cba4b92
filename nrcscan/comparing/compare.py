"""Several runs side by side, aligned by layer: from where on has each collapsed?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Unpack

from nrcscan.comparing.short_labels import labels
from nrcscan.errors import UsageError
from nrcscan.merging.check_parts import fingerprint
from nrcscan.metrics.quantities import CONDITIONS
from nrcscan.options.check import checked, several
from nrcscan.options.choices import Convention
from nrcscan.options.describe import described
from nrcscan.options.report_options import ReportOptions
from nrcscan.reporting.make_report import report
from nrcscan.reporting.report_document import Report
from nrcscan.reporting.sentences import in_words
from nrcscan.scanning.read_scan import SCAN_FILE, Checkpoint, newest
from nrcscan.wording import listed, printable

SCHEMA = "nrcscan.compare/1"


@dataclass(frozen=True)
class Run:
    """One network of a comparison.

    Attributes:
        label: short, unlike every other one.
        path: the file or scan folder, and in that the checkpoint's.
        epoch: of a scan's checkpoint, if it is known.
        n_samples: N; None where a scan does not say.
        signal_dim: k; None where a scan does not say.
        model: mse, r2, learned, as in the JSON report.
        onset: condition, or "all" → layer from which it holds through to the output, or None.
        layers: name → layer of the JSON report, in execution order.
        data: fingerprints of the samples; empty where there are none.
    """

    label: str
    path: str
    epoch: float | None
    n_samples: int | None
    signal_dim: int | None
    model: Mapping[str, Any]
    onset: Mapping[str, str | None]
    layers: Mapping[str, Mapping[str, Any]]
    data: frozenset[object]

    @property
    def depth(self) -> int:
        """The number of positions in depth."""
        return 1 + max(int(layer["position"]) for layer in self.layers.values())

    def position(self, condition: str) -> int | None:
        """Return the position in depth, from 0, where a condition's onset is."""
        name = self.onset[condition]
        return None if name is None else int(self.layers[name]["position"])


@dataclass(frozen=True)
class Row:
    """A layer across the runs.

    Attributes:
        name: of the layer.
        position: in depth, from 0; None where the runs disagree.
        differs: the conditions that hold in one run and not in another; runs that have learned
            nothing do not count beside two that have.
    """

    name: str
    position: int | None
    differs: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Runs side by side.

    Attributes:
        runs: in the order given; those of several scans by their run's name.
        rows: every layer of any run, in an order that agrees with each.
        convention: "default" or "published"; None for scans alone, which have their own.
        notes: in what the runs are not alike.
    """

    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    convention: Convention | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as JSON has it; see docs/report-json.md."""
        return {
            "schema": SCHEMA,
            "convention": self.convention,
            "runs": [
                {
                    "label": run.label,
                    "path": run.path,
                    "epoch": run.epoch,
                    "n_samples": run.n_samples,
                    "signal_dim": run.signal_dim,
                    "model": dict(run.model),
                    "onset": dict(run.onset),
                }
                for run in self.runs
            ],
            "layers": [
                {
                    "name": row.name,
                    "differs": list(row.differs),
                    "runs": [
                        dict(run.layers[row.name]) if row.name in run.layers else None
                        for run in self.runs
                    ],
                }
                for row in self.rows
            ],
            "notes": list(self.notes),
        }


@described(ReportOptions)
def compare(
    paths: str | Path | Sequence[str | Path], **options: Unpack[ReportOptions]
) -> Comparison:
    """Put several runs side by side, aligned by the names of their layers.

    Args:
        paths: files of `nrcscan extract`, or folders of `nrcscan scan`, of which the newest
            good checkpoint of every run is taken.
        options: see `nrcscan.options.report_options`.

    Raises:
        InputError: a file or a scan cannot be used.
        UsageError: there are fewer than two runs, one is given twice, or an option is out of
            range or does not apply to a scan.
    """
    given = [path.parent if path.name == SCAN_FILE else path for path in several(paths)]
    scans = {path: newest(path) for path in given if path.is_dir()}
    chosen = checked(ReportOptions, options, "compare")
    if scans and chosen != checked(ReportOptions, {}, "compare"):
        raise UsageError(
            f"{next(iter(scans))}: a scan's numbers are made already, with its own options;"
            " compare its statistics files to choose others"
        )
    keyed: list[tuple[PurePath, Run]] = []
    notes: list[str] = []
    for path in given:
        if path not in scans:
            keyed.append((_absolute(path), _run(path, report(path, **chosen))))
            continue
        checkpoints, passed_over = scans[path]
        for name, checkpoint in checkpoints.items():
            keyed.append((_absolute(path) / name, _scanned(path, checkpoint)))
        notes += [f"{path}: {why}" for why in passed_over]
    if scans:  # runs of one name stand beside each other
        names = list(dict.fromkeys(name for found, _ in scans.values() for name in found))
        order = {name: index for index, name in enumerate(names)}
        of_scan = {_absolute(p) / name: name for p, (found, _) in scans.items() for name in found}
        keyed.sort(key=lambda item: order.get(of_scan.get(item[0], ""), -1))
    keys = [key for key, _ in keyed]
    _require_several(keys)
    named = [
        replace(run, label=printable(label))
        for label, (_, run) in zip(labels(keys), keyed, strict=True)
    ]
    rows = tuple(_rows(named))
    return Comparison(
        runs=tuple(named),
        rows=rows,
        convention=None if len(scans) == len(given) else chosen["convention"],
        notes=(*_unlike(named, rows), *notes),
    )


def _require_several(keys: Sequence[PurePath]) -> None:
    """Refuse what is not several runs, each given once."""
    if len(set(keys)) < len(keys):
        twice = next(path for path in keys if keys.count(path) > 1)
        raise UsageError(f"{twice}: is given twice; give each run once")
    if len(keys) < 2:
        raise UsageError("a single run: give at least two files, or a scan of several runs")


def _absolute(path: Path) -> PurePath:
    return PurePath(os.path.abspath(path))  # noqa: PTH100  a link is a name too: not resolved


def _run(path: Path, result: Report) -> Run:
    parts = result.provenance.get("parts")
    passes = parts if isinstance(parts, list) else [result.provenance]
    prints = frozenset(map(fingerprint, passes))
    layers = result.to_dict()["layers"]
    return Run(
        label="",
        path=str(path),
        epoch=None,
        n_samples=result.n_samples,
        signal_dim=result.signal_dim,
        model=result.model,
        onset=result.onset,
        layers={layer["name"]: layer for layer in layers},
        data=frozenset() if None in prints else prints,
    )


def _scanned(folder: Path, checkpoint: Checkpoint) -> Run:
    return Run(
        label="",
        path=f"{folder}: {checkpoint.path}",
        epoch=checkpoint.epoch,
        n_samples=checkpoint.n_samples,
        signal_dim=checkpoint.signal_dim,
        model=checkpoint.model,
        onset=checkpoint.onset,
        layers={layer["name"]: layer for layer in checkpoint.layers},
        data=frozenset(),
    )


def _rows(runs: Sequence[Run]) -> Iterator[Row]:
    """Yield every layer of any run, a run's own layers in the order of that run if they can be."""
    order: list[str] = []
    for run in runs:
        # Before the first layer that is known already; after all where none is.
        place = next((order.index(name) for name in run.layers if name in order), len(order))
        for name in run.layers:
            if name in order:
                place = order.index(name) + 1
            else:
                order.insert(place, name)
                place += 1
    useful = [run for run in runs if run.model["learned"]]
    counted = useful if len(useful) > 1 else runs
    for name in order:
        here = [run.layers[name] for run in counted if name in run.layers]
        positions = {run.layers[name]["position"] for run in runs if name in run.layers}
        differs = tuple(
            condition
            for condition in CONDITIONS
            if {True, False} <= {layer["met"][condition] for layer in here}
        )
        yield Row(name, positions.pop() if len(positions) == 1 else None, differs)


# --- in what runs are not alike --------------------------------------------------------------


def _unlike(runs: Sequence[Run], rows: Sequence[Row]) -> Iterator[str]:
    """Yield what keeps runs from being compared number by number."""
    useless = [
        f"{run.label} (R² {'undefined' if (r2 := run.model['r2']) is None else f'{r2:.3f}'})"
        for run in runs
        if not run.model["learned"]
    ]
    if useless:
        verb = "has" if len(useless) == 1 else "have"
        yield f"{listed(useless)} {verb} learned nothing: such numbers describe no useful network"
    if sizes := _differing(runs, [run.signal_dim for run in runs]):
        yield f"k differs: {sizes}: their noise components leave out unlike numbers of directions"
    if counts := _differing(runs, [run.n_samples for run in runs]):
        yield f"the number of samples differs: {counts}"
    if len({run.data for run in runs if run.data}) > 1:
        yield "the runs were measured on different data (by their SHA-256)"
    if not any(all(row.name in run.layers for run in runs) for row in rows):
        yield "no layer is in all runs: their names do not match, and nothing is compared"
        return
    widths: dict[str, list[str]] = {}
    for row in rows:
        found = [layer["width"] if (layer := run.layers.get(row.name)) else None for run in runs]
        if told := _differing(runs, found):
            widths.setdefault(told, []).append(row.name)
    for told, names in widths.items():
        yield f"{in_words(names)}: width differs: {told}"
    for run in runs:
        if own := [
            row.name
            for row in rows
            if row.name in run.layers
            and not any(row.name in r.layers for r in runs if r is not run)
        ]:
            yield f"{in_words(own)}: in {run.label} alone"


def _differing(runs: Sequence[Run], values: Sequence[int | None]) -> str:
    """Say which runs have which value; empty where all that have one have the same."""
    groups: dict[int, list[str]] = {}
    for run, value in zip(runs, values, strict=True):
        if value is not None:
            groups.setdefault(value, []).append(run.label)
    if len(groups) < 2:
        return ""
    return ", ".join(f"{value} in {listed(who)}" for value, who in groups.items())
