"""A figure of one network or several, from statistics files, reports and scans."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Unpack

from nrcscan.comparing.short_labels import labels
from nrcscan.drawing.figure import BEGINS, figure, require_drawable, write_figure
from nrcscan.drawing.shapes import Drawing, HeatMaps
from nrcscan.errors import UsageError
from nrcscan.files.claims import holding
from nrcscan.files.open_safely import is_folder
from nrcscan.files.write_atomically import require_apart
from nrcscan.options.check import checked, part, several
from nrcscan.options.describe import described
from nrcscan.options.faces import names_keywords
from nrcscan.options.plot_options import PlotOptions
from nrcscan.options.report_options import ReportOptions
from nrcscan.reporting.figures import OVER_DEPTH
from nrcscan.reporting.make_report import report
from nrcscan.reporting.profile import Profile, profile
from nrcscan.reporting.report_document import Report
from nrcscan.scanning.error_figure import error_figure, trainings_of
from nrcscan.scanning.heat_map_figure import heat_map_figure, runs_of
from nrcscan.scanning.newest_profiles import newest_profiles
from nrcscan.scanning.read_scan import read_scan
from nrcscan.scanning.scan_file import SCAN_FILE, Scan, ScanDocument, whole_of
from nrcscan.wording import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Source = str | os.PathLike[str] | Report | Scan
"""What is drawn: a file of `nrcscan extract`, a folder of `nrcscan scan`, or what they made."""


@names_keywords
@described(PlotOptions)
def plot(
    sources: Source | Sequence[Source],
    output: str | Path | None = None,
    *,
    force: bool = False,
    **options: Unpack[PlotOptions],
) -> Figure:
    """Draw networks over their depth, those of several files over one another.

    Args:
        sources: files of `nrcscan extract`, reports, or scans and their folders, of which the
            newest good checkpoint of every run is taken; of `kind="heatmap"` one scan; of
            `kind="error"` scans of the same networks, each on samples of its own.
        output: the file to write, a `.pdf`, `.svg` or `.png`; None writes none.
        force: replace an existing file.
        options: see `nrcscan.options.plot_options`.

    Returns:
        matplotlib's `Figure`, apart from pyplot; a notebook shows it.

    Raises:
        InputError: a file or a scan cannot be used.
        UsageError: matplotlib is missing, the kind is not for what is given, an option is out of
            range or does not apply to a scan, or the output exists already or is an input.
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    chosen = checked(PlotOptions, options, "plot")
    path = None if output is None else Path(output)
    with holding():
        require_drawable(path, force=force)
        given = list(_given(sources))
        if path is not None:
            read = [whole_of(one.path) for one in given if one.path is not None]
            require_apart(path, read, BEGINS)
        drawn = figure(_drawing(given, chosen), chosen["width"])
        if path is not None:
            write_figure(drawn, path, force=force)
    return drawn


@dataclass(frozen=True)
class _Given:
    """One thing to draw.

    Attributes:
        path: of its file or folder; None for what is in memory.
        number: of what is given, from 1.
        made: the report or scan that it is, or is in the folder; None for a statistics file.
    """

    path: Path | None
    number: int
    made: Report | ScanDocument | None

    @property
    def name(self) -> str:
        """How messages call it."""
        return "what is in memory" if self.path is None else str(self.path)


def _given(sources: Source | Sequence[Source]) -> Iterator[_Given]:
    """Yield what is to be drawn.

    Raises:
        UsageError: nothing is given, or something else than can be drawn.
    """
    many = isinstance(sources, Iterable) and not isinstance(sources, str | Report)
    every: list[Any] = [*sources] if many else [sources]  # type: ignore[misc]
    if not every:
        raise UsageError("nothing to draw; give a file of nrcscan extract, or a scan's folder")
    for number, source in enumerate(every, 1):
        if isinstance(source, Report):
            yield _Given(None, number, source)
        elif isinstance(source, Scan):
            yield _Given(None, number, source.to_dict())
        else:
            (path,) = several(source)
            is_scan = is_folder(path) or path.name == SCAN_FILE
            yield _Given(path, number, read_scan(path) if is_scan else None)


def _drawing(given: Sequence[_Given], chosen: PlotOptions) -> Drawing | HeatMaps:
    """Return the figure of a kind.

    Raises:
        UsageError: the kind is not for what is given.
    """
    if chosen["kind"] == "heatmap":
        return _heat_maps(given, chosen)
    if chosen["kind"] == "error":
        return _errors(given, chosen)
    named: list[tuple[PurePath, Profile]] = []
    for one in given:
        named += _profiles(one, chosen)
    told = _labels(chosen["labels"], len(named))
    if not told and len(named) > 1:
        told = labels([key for key, _ in named])
    shown = [replace(p, label=told[i] if told else "") for i, (_, p) in enumerate(named)]
    return OVER_DEPTH[chosen["kind"]](shown)


def _heat_maps(given: Sequence[_Given], chosen: PlotOptions) -> HeatMaps:
    """Return the heat maps of a scan.

    Raises:
        UsageError: heat maps are of one scan.
    """
    (first, *others) = given
    if others or first.made is None or isinstance(first.made, Report):
        raise UsageError("--kind heatmap: shows one scan over its epochs; give its folder alone")
    _require_defaults(first, chosen)
    return heat_map_figure(first.made, _labels(chosen["labels"], len(runs_of(first.made))))


def _errors(given: Sequence[_Given], chosen: PlotOptions) -> Drawing:
    """Return the errors of networks over their training.

    Raises:
        UsageError: errors over training are of scans.
    """
    scans: list[ScanDocument] = []
    for one in given:
        if one.made is None or isinstance(one.made, Report):
            raise UsageError("--kind error: shows scans over their epochs; give their folders")
        _require_defaults(one, chosen)
        scans.append(one.made)
    told = _labels(chosen["labels"], len(scans), "scan")
    if not told:
        told = labels([_name_of(one) for one in given]) if len(scans) > 1 else [""]
    elif len({*told}) < len(told):
        raise UsageError("--label: two scans have the same; give each its own")
    return error_figure(*trainings_of(dict(zip(told, scans, strict=True))))


def _name_of(one: _Given) -> PurePath:
    """Return the path that a scan is labelled by."""
    return PurePath(f"/{one.number}") if one.path is None else _absolute(whole_of(one.path))


def _profiles(one: _Given, chosen: PlotOptions) -> Iterator[tuple[PurePath, Profile]]:
    """Yield networks, each with a path to be labelled by.

    Raises:
        UsageError: figures of this kind need what a scan does not keep.
    """
    if one.made is None:
        assert one.path is not None
        found = report(one.path, **part(ReportOptions, chosen))
        yield _absolute(one.path), profile(found, "")
        return
    _require_defaults(one, chosen)
    if isinstance(one.made, Report):
        yield PurePath(f"/{one.number}"), profile(one.made, "")
        return
    if chosen["kind"] == "spectrum":
        raise UsageError(
            f"{one.name}: scan.json keeps no eigenvalues; give files of its folder statistics"
        )
    for run, profiled in newest_profiles(one.made).items():
        yield _name_of(one) / run, profiled


def _require_defaults(one: _Given, chosen: PlotOptions) -> None:
    """Refuse options of a report that is made already.

    Raises:
        UsageError: an option of a report has no effect on one that is made.
    """
    if part(ReportOptions, chosen) != checked(ReportOptions, {}, "plot"):
        raise UsageError(
            f"{one.name}: its numbers are made already, with options of their own; draw"
            " statistics files to choose others"
        )


def _labels(wanted: Sequence[str], number: int, what: str = "network") -> list[str]:
    """Return the labels that were asked for.

    Raises:
        UsageError: each has a label, or none has.
    """
    if wanted and len(wanted) != number:
        raise UsageError(f"--label: {len(wanted)} for {counted(number, what)}; give one for each")
    return list(wanted)


def _absolute(path: Path) -> PurePath:
    return PurePath(os.path.abspath(path))  # noqa: PTH100  a link is a name too: not resolved
