"""What a caller gives to compare: paths, what has one, and reports that are made already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nrcscan.errors import UsageError
from nrcscan.options.check import checked, one_path, several
from nrcscan.options.report_options import ReportOptions
from nrcscan.reporting.report_document import Report
from nrcscan.scanning.scan_file import SCAN_FILE, ScanDocument


def given_runs(runs: tuple[Any, ...]) -> list[Path | Report]:
    """Return what is compared: paths, and reports that are made already.

    Raises:
        UsageError: something else is given where a path is wanted.
    """
    all_: Any = runs[0] if len(runs) == 1 else runs
    if isinstance(all_, Report) or not isinstance(all_, Iterable):
        all_ = [all_] if isinstance(all_, Report) else several(all_)
    elif isinstance(all_, str):
        all_ = [all_]
    found: list[Path | Report] = []
    for one in all_:
        path = one if isinstance(one, Report) else one_path(one)
        is_file_of_scan = isinstance(path, Path) and path.name == SCAN_FILE
        found.append(path.parent if isinstance(path, Path) and is_file_of_scan else path)
    return found


def require_open(
    given: Sequence[Path | Report], scans: Mapping[Path, ScanDocument], chosen: ReportOptions
) -> None:
    """Refuse options where numbers are made already.

    Raises:
        UsageError: options of a report are given with a scan or a report, whose numbers are made.
    """
    if chosen == checked(ReportOptions, {}, "compare"):
        return
    if scans:
        raise UsageError(
            f"{next(iter(scans))}: a scan's numbers are made already, with its own options;"
            " compare its statistics files to choose others"
        )
    if any(isinstance(one, Report) for one in given):
        raise UsageError(
            "a report's numbers are made already, with its own options; make it with those that"
            " are wanted"
        )
