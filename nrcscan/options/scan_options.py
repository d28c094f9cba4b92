"""Every option of a scan, declared once: those of a pass and a report, and its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypedDict

from nrcscan.options.cut_options import CutOptions
from nrcscan.options.option import Option
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.report_options import ReportOptions
from nrcscan.options.timeout_option import TimeoutOption


class FolderOptions(TypedDict, total=False):
    """Which checkpoints are measured, and where."""

    patterns: Annotated[
        Sequence[str],
        Option(
            (),
            help="Only checkpoints whose name or path in the folder matches.",
            flag="--pattern",
            metavar="GLOB",
            group="Network",
        ),
    ]
    follow_links: Annotated[
        bool,
        Option(
            False,
            help="Follow links that lead out of the folder.",
            flag="--follow-links",
            group="Network",
        ),
    ]
    jobs: Annotated[
        int | None,
        Option(
            help="Checkpoints measured at once, in a process each.",
            short="-j",
            minimum=1,
            shown_default="one per processor",
            not_with="cluster",  # which has its own workers
            group="Cost",
        ),
    ]
    timeout: TimeoutOption
    cluster: Annotated[
        str | None,
        Option(
            help="Run on a Dask cluster, or start one here with N workers. They must find FOLDER,"
            " DATA and the output at the same paths.",
            metavar="tcp://HOST:PORT|local:N",
            group="Cost",
        ),
    ]


class CutsOfScan(CutOptions, total=False):
    """Whether cuts are looked at, and when one does as well."""

    cuts: Annotated[
        bool,
        Option(
            False,
            help="Find the smallest part of every network that does as well with a linear head.",
            flag="--cuts",
            group="Judgement",
        ),
    ]


class ScanOptions(FolderOptions, PassOptions, ReportOptions, CutsOfScan, total=False):
    """Every option of a scan."""
