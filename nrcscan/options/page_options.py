"""Every option of a page, declared once: those of a report, and its own."""

from __future__ import annotations

from typing import Annotated

from nrcscan.options.option import Option
from nrcscan.options.report_options import ReportOptions


class PageOptions(ReportOptions, total=False):
    """How what a page shows is defined and judged, and what it is called."""

    title: Annotated[
        str | None,
        Option(
            help="What the page is called.",
            shown_default="its source",
            metavar="TITLE",
            group="Output",
        ),
    ]
