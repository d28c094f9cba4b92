"""From a file of `nrcscan extract`, or a scan, to one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

from nrcscan.errors import UsageError
from nrcscan.files.write_atomically import put_in_place, require_free, unwritable
from nrcscan.options.check import checked
from nrcscan.options.describe import described
from nrcscan.options.page_options import PageOptions
from nrcscan.options.report_options import ReportOptions
from nrcscan.publishing.report_sections import report_sections
from nrcscan.publishing.scan_sections import scan_sections
from nrcscan.publishing.whole_document import whole_document
from nrcscan.reporting.make_report import report
from nrcscan.scanning.read_scan import read_scan
from nrcscan.scanning.scan_file import SCAN_FILE


@described(PageOptions)
def page(
    path: str | Path,
    output: str | Path = "page.html",
    *,
    force: bool = False,
    **options: Unpack[PageOptions],
) -> Path:
    """Write a report, or a scan, as one HTML file that asks for nothing and works offline.

    Args:
        path: of a file of `nrcscan extract`, a folder of `nrcscan scan`, or its scan.json.
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
    source, target = Path(path), Path(output)
    chosen = checked(PageOptions, options, "page")
    require_free(target, force=force)
    html = _html(source, chosen)
    with put_in_place(target, force=force) as partial:
        try:
            partial.write_text(html, encoding="utf-8")
        except OSError as error:
            raise unwritable(target, error) from error
    return target


def _html(source: Path, chosen: PageOptions) -> str:
    """Return the page of a report or a scan.

    Raises:
        UsageError: an option does not apply to a scan.
    """
    named = source.parent if source.name == SCAN_FILE else source
    title = chosen.pop("title") or named.resolve().name
    judged = checked(ReportOptions, chosen, "page")
    if not (source.is_dir() or source.suffix == ".json"):
        body, data = report_sections(report(source, **judged), title)
        return whole_document(title, body, data)
    if judged != checked(ReportOptions, {}, "page"):
        raise UsageError(
            f"{source}: a scan's numbers are made already, with its own options; scan again with"
            " others, which takes no new pass, or show one of its statistics files"
        )
    body, data = scan_sections(read_scan(source), title)
    return whole_document(title, body, data)
