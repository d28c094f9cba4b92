"""Several runs side by side, aligned by layer: from where on has each collapsed?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Unpack

from nrcscan.comparing.given_runs import given_runs, require_open
from nrcscan.comparing.runs import Row, Run, unlike
from nrcscan.comparing.short_labels import labels
from nrcscan.errors import UsageError
from nrcscan.files.open_safely import is_folder
from nrcscan.merging.check_parts import fingerprint
from nrcscan.metrics.quantities import CONDITIONS
from nrcscan.options.check import checked
from nrcscan.options.choices import Convention
from nrcscan.options.describe import described
from nrcscan.options.faces import names_keywords
from nrcscan.options.report_options import ReportOptions
from nrcscan.reporting.frames import frame
from nrcscan.reporting.make_report import report_at
from nrcscan.reporting.report_document import Report
from nrcscan.scanning.conditions_of_scan import conditions_of
from nrcscan.scanning.newest import newest, training_order
from nrcscan.scanning.read_scan import read_scan
from nrcscan.scanning.scan_file import ScanDocument
from nrcscan.wording import counted, printable

if TYPE_CHECKING:
    import pandas

SCHEMA = "nrcscan.compare/2"


@dataclass(frozen=True, repr=False)
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

    def __repr__(self) -> str:
        lines = [f"{printable(run.label)}: {printable(run.verdict['text'])}" for run in self.runs]
        size = f"{len(self.runs)} runs, {counted(len(self.rows), 'layer')}"
        return "\n".join([f"<Comparison: {size}", *lines]) + ">"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from nrcscan.comparing.comparison_in_notebook import of_comparison

        return of_comparison(self)

    def to_frame(self) -> pandas.DataFrame:
        """Return a row per run and layer, these two the index; see `nrcscan.reporting.frames`.

        Raises:
            UsageError: pandas is not installed.
        """
        return frame(
            (
                {**layer, "run": run.label, "path": run.path, "epoch": run.epoch}
                for run in self.runs
                for layer in run.layers.values()
            ),
            ["run", "name"],
            ["path", "epoch"],
        )

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
                    "verdict": dict(run.verdict),
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


@names_keywords
@described(ReportOptions)
def compare(*runs: Any, **options: Unpack[ReportOptions]) -> Comparison:
    """Put several runs side by side, aligned by the names of their layers.

    Args:
        runs: each a path, what `nrcscan.extract`, `merge` or `scan` returned, or a report; or all
            in one list. Paths are of files of `nrcscan extract`, or of folders of `nrcscan scan`,
            of which the newest good checkpoint of every run is taken.
        options: see `nrcscan.options.report_options`.

    Raises:
        InputError: a file or a scan cannot be used.
        UsageError: there are fewer than two runs, one is given twice, or an option is out of
            range or does not apply to a scan.
    """
    given = given_runs(runs)
    scans = {path: read_scan(path) for path in given if isinstance(path, Path) and is_folder(path)}
    chosen = checked(ReportOptions, options, "compare")
    require_open(given, scans, chosen)
    keyed: list[tuple[PurePath, Run]] = []
    notes: list[str] = []
    conventions: set[Convention] = set()
    for number, one in enumerate(given, 1):
        if isinstance(one, Path) and one in scans:
            keyed += _newest_runs(one, scans[one])
            notes += [f"{one}: {why}" for why in _passed_over(scans[one])]
            continue
        found = one if isinstance(one, Report) else report_at(one, chosen)
        path = Path(f"report {number}") if isinstance(one, Report) else one
        keyed.append((_absolute(path), _run(path, found)))
        conventions.add(found.convention)
    named = _labelled(_namesakes_together(keyed, [_absolute(path) for path in scans]))
    rows = tuple(_rows(named))
    return Comparison(
        runs=named,
        rows=rows,
        convention=conventions.pop() if len(conventions) == 1 else None,
        notes=(*unlike(named, rows), *notes),
    )


def _newest_runs(folder: Path, scan: ScanDocument) -> Iterator[tuple[PurePath, Run]]:
    """Yield the newest checkpoint that could be used of every run of a scan."""
    usable = [entry for entry in scan["checkpoints"] if entry["status"] == "ok"]
    for name, entry in newest(usable).items():
        yield _absolute(folder) / name, _scanned(folder, entry, scan)


def _passed_over(scan: ScanDocument) -> Iterator[str]:
    """Yield every checkpoint that is newer than what its run is shown by, and why it is not."""
    taken = newest(entry for entry in scan["checkpoints"] if entry["status"] == "ok")
    for entry in scan["checkpoints"]:
        instead = taken.get(entry["run"])
        newer = instead is None or training_order(entry) > training_order(instead)
        if entry["status"] != "ok" and newer:
            yield f"{entry['path']} could not be used: {entry['reason']}"


def _namesakes_together(
    keyed: Sequence[tuple[PurePath, Run]], scans: Sequence[PurePath]
) -> list[tuple[PurePath, Run]]:
    """Put runs of one name beside each other, where they are of several scans; files come first."""
    if len(scans) < 2:
        return list(keyed)

    def name(key: PurePath) -> PurePath | None:
        return next((key.relative_to(s) for s in scans if key.is_relative_to(s)), None)

    order = list(dict.fromkeys(name(key) for key, run in keyed if run.of_scan))
    return sorted(keyed, key=lambda item: order.index(name(item[0])) if item[1].of_scan else -1)


def _labelled(keyed: Sequence[tuple[PurePath, Run]]) -> tuple[Run, ...]:
    """Return the runs with short names.

    Raises:
        UsageError: it takes two runs, each given once, to compare.
    """
    keys = [key for key, _ in keyed]
    if len(set(keys)) < len(keys):
        twice = next(path for path in keys if keys.count(path) > 1)
        raise UsageError(f"{twice}: is given twice; give each run once")
    if len(keys) < 2:
        raise UsageError("a single run: give at least two files, or a scan of several runs")
    return tuple(
        replace(run, label=printable(label))
        for label, (_, run) in zip(labels(keys), keyed, strict=True)
    )


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
        verdict=result.verdict.to_dict(),
        onset=result.onset,
        layers={layer["name"]: layer for layer in layers},
        data=frozenset() if None in prints else prints,
        judgement={"convention": result.convention, **asdict(result.thresholds)},
    )


def _scanned(folder: Path, entry: Mapping[str, Any], scan: ScanDocument) -> Run:
    told = conditions_of(scan)
    data = fingerprint({"data": entry.get("data")})
    return Run(
        label="",
        path=f"{folder}: {entry['path']}",
        epoch=entry["epoch"],
        n_samples=entry.get("n_samples"),
        signal_dim=entry.get("signal_dim"),
        model=entry["model"],
        verdict=entry["verdict"],
        onset=entry["onset"],
        layers={layer["name"]: layer for layer in entry["layers"]},
        data=frozenset() if data is None else frozenset({data}),
        judgement=told.judgement,
        of_scan=True,
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
    useful = [run for run in runs if run.model["learned"] is not False]
    counted = useful if len(useful) > 1 else runs
    for name in order:
        here = [run.layers[name] for run in counted if name in run.layers]
        places = {run.layers[name]["step"] for run in runs if name in run.layers}
        differs = tuple(
            condition
            for condition in CONDITIONS
            if {True, False} <= {layer["met"][condition] for layer in here if layer["step"]}
        )
        yield Row(name, places.pop() if len(places) == 1 else None, differs)
