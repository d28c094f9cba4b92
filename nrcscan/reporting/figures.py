"""Figures of reports: what each kind shows, drawn and written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nrcscan.drawing.figure import figure, require_drawable, write_figure
from nrcscan.drawing.shapes import Drawing
from nrcscan.errors import UsageError
from nrcscan.options.check import checked
from nrcscan.options.choices import Kind, Width
from nrcscan.options.faces import names_keywords
from nrcscan.options.plot_options import FigureOptions
from nrcscan.reporting.collapse_figure import collapse_figure
from nrcscan.reporting.profile import Profile, profile
from nrcscan.reporting.rank_figure import rank_figure
from nrcscan.reporting.spectrum_figure import spectrum_figure
from nrcscan.wording import listed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nrcscan.reporting.report_document import Report

OVER_DEPTH: Mapping[Kind, Callable[[Sequence[Profile]], Drawing]] = {
    "collapse": collapse_figure,
    "rank": rank_figure,
    "spectrum": spectrum_figure,
}
"""Kinds of figures that show networks over their depth; the others show a scan."""


@names_keywords
def plot_report(
    report: Report, path: str | Path | None, *, kind: Kind, width: Width, force: bool
) -> Figure:
    """Draw one report; see `Report.plot`.

    Raises:
        UsageError: the kind shows a scan, or is none; matplotlib is missing, or the file exists.
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    checked(FigureOptions, {"kind": kind, "width": width}, "plot")
    output = None if path is None else Path(path)
    require_drawable(output, force=force)
    if kind not in OVER_DEPTH:
        kinds = listed(OVER_DEPTH, "or")
        raise UsageError(f"kind {kind}: is no figure of a report; choose {kinds}")
    drawn = figure(OVER_DEPTH[kind]([profile(report, "")]), width)
    if output is not None:
        write_figure(drawn, output, force=force)
    return drawn
