"""From a file of `nrcscan extract`, or a scan, to one self-contained HTML page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Unpack

from nrcscan.errors import UsageError
from nrcscan.files.claims import holding
from nrcscan.files.write_atomically import require_apart, require_free, write_bytes
from nrcscan.options.check import checked, one_path
from nrcscan.options.describe import described
from nrcscan.options.faces import names_keywords
from nrcscan.options.page_options import PageOptions
from nrcscan.options.report_options import ReportOptions
from nrcscan.publishing.report_sections import report_sections
from nrcscan.publishing.scan_sections import scan_sections
from nrcscan.publishing.whole_document import whole_document
from nrcscan.reporting.make_report import report
from nrcscan.reporting.report_document import Report
from nrcscan.scanning.read_scan import read_scan
from nrcscan.scanning.scan_file import SCAN_FILE, is_scan, whole_of


@names_keywords
@described(PageOptions)
def page(
    source: str | os.PathLike[str] | Report,
    output: str | Path = "page.html",
    *,
    force: bool = False,
    **options: Unpack[PageOptions],
) -> Path:
    """Write a report, or a scan, as one HTML file that asks for nothing and works offline.

    Args:
        source: a file of `nrcscan extract`, a folder of `nrcscan scan` or its scan.json, by path
            or as what these returned; or a report.
        output: the file to write.
        force: replace an existing output.
        options: see `nrcscan.options.page_options`.

    Returns:
        The file that was written.

    Raises:
        InputError: the file or the scan cannot be used.
        UsageError: an option is out of range or does not apply to a scan, or the output exists.
        OutputError: the output cannot be written.
    """
    target, given = Path(output), source if isinstance(source, Report) else one_path(source)
    chosen = checked(PageOptions, options, "page")
    require_apart(target, [whole_of(given)] if isinstance(given, Path) else [], (b"<",))
    with holding():
        require_free(target, force=force)
        write_bytes(target, _html(given, chosen).encode(), force=force)
    return target


def _html(source: Path | Report, chosen: PageOptions) -> str:
    """Return the page of a report or a scan.

    Raises:
        UsageError: an option does not apply to a scan, or to a report.
    """
    title = chosen.pop("title") or _called(source)
    judged = checked(ReportOptions, chosen, "page")
    scanned = isinstance(source, Path) and (is_scan(source) or source.suffix == ".json")
    made = scanned or isinstance(source, Report)
    if made and judged != checked(ReportOptions, {}, "page"):
        raise UsageError(
            f"{title}: its numbers are made already, with options of their own; scan or report"
            " again with others, which takes no new pass"
        )
    if isinstance(source, Report) or not scanned:
        shown = source if isinstance(source, Report) else report(source, **judged)
        body, data = report_sections(shown, title)
        return whole_document(title, body, data)
    body, data = scan_sections(read_scan(source), title)
    return whole_document(title, body, data)


def _called(source: Path | Report) -> str:
    """Return what a page is called that has no title."""
    if isinstance(source, Report):
        return "nrcscan report"
    named = source.parent if source.name == SCAN_FILE else source
    return named.resolve().name
