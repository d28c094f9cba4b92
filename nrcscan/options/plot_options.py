"""Every option of a figure, declared once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypedDict

from nrcscan.options.choices import Kind, Width
from nrcscan.options.option import Option
from nrcscan.options.report_options import ReportOptions


class FigureOptions(TypedDict, total=False):
    """What a figure shows, and how wide it is."""

    kind: Annotated[
        Kind,
        Option(
            "collapse",
            help="The four conditions over depth; stable ranks; eigenvalues; or, of a scan, the"
            " conditions or the network's error over its epochs.",
            group="Output",
        ),
    ]
    width: Annotated[
        Width,
        Option("page", help="One column of two (3.3 in), or the page (6.75 in).", group="Output"),
    ]
    labels: Annotated[
        Sequence[str],
        Option(
            (),
            help="What the key calls a network, or the samples of a scan of --kind error, in the"
            " order of the files; networks of one label are one curve, with a band around it.",
            flag="--label",
            metavar="LABEL",
            group="Output",
        ),
    ]


class PlotOptions(FigureOptions, ReportOptions, total=False):
    """Every option of a figure, and of the reports that it is made from."""
