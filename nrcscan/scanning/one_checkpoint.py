"""One checkpoint of a scan, reported on as the scan did: from the statistics that it kept."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any, cast

from nrcscan.errors import InputError, UsageError
from nrcscan.files.open_safely import is_folder, is_regular
from nrcscan.options.option import declared
from nrcscan.options.report_options import ReportOptions, Thresholds
from nrcscan.reporting.make_report import report
from nrcscan.reporting.report_document import Report
from nrcscan.scanning.newest import newest
from nrcscan.scanning.read_scan import read_scan
from nrcscan.scanning.scan_file import SCAN_FILE, ScanDocument
from nrcscan.wording import listed


def report_of_checkpoint(
    scan: Path,
    checkpoint: str | None,
    given: Mapping[str, Any],
    *,
    on_note: Callable[[str], None] = lambda note: None,
) -> Report:
    """Report on a checkpoint of a scan, judged as the scan judged it.

    Args:
        scan: the scan's output folder, or its scan.json.
        checkpoint: its path, as in the scan, or as that was given the folder.
        given: options of a report, thresholds one by one, in place of those of the scan.
        on_note: called with what the report itself does not tell.

    Raises:
        UsageError: the scan has no such checkpoint, or none is named.
        InputError: the checkpoint could not be used, or its statistics are not there any more.
    """
    document = read_scan(scan)
    entry = _entry(document, checkpoint, scan)
    if entry["status"] != "ok":
        raise InputError(
            f"{entry['path']}: could not be used by the scan: {entry['reason']}; mend it, and scan"
            " again"
        )
    judged = _judged(document)
    found = report(_statistics(scan, entry), **_options(judged, given))
    if not given and found.verdict.text != entry["verdict"]["text"]:
        on_note(f"another nrcscan made the scan, which said: {entry['verdict']['text']}")
    for note in document.get("notes", ()):
        if entry["path"] in note["checkpoints"] and note["note"] not in found.notes:
            on_note(note["note"])
    return found


def _entry(scan: ScanDocument, checkpoint: str | None, where: Path) -> Mapping[str, Any]:
    """Return a checkpoint of a scan by its path.

    Raises:
        UsageError: the scan has no such checkpoint, or none is named.
    """
    entries = {entry["path"]: entry for entry in scan["checkpoints"]}
    if checkpoint is None:
        usable = [entry for entry in entries.values() if entry["status"] == "ok"]
        last = next(reversed(newest(usable).values()))
        raise UsageError(
            f"{where}: a scan of {len(entries)} checkpoints; name one, such as --checkpoint"
            f" {last['path']}"
        )
    folder = PurePath((scan.get("provenance") or {}).get("folder", "."))
    path = PurePath(checkpoint)
    within = path.relative_to(folder) if path.is_relative_to(folder) else path
    for name in (checkpoint, within.as_posix()):
        if name in entries:
            return entries[name]
    near = [name for name in entries if name.endswith(f"/{within.as_posix()}")]
    near = near or difflib.get_close_matches(within.as_posix(), entries, n=3)
    choice = listed(near[:3] or list(entries)[:3], "or")
    raise UsageError(f"--checkpoint {checkpoint}: the scan has none of that path; choose {choice}")


def _judged(scan: ScanDocument) -> dict[str, Any]:
    """Return the options of the scan's reports, thresholds one by one; unknown ones left out."""
    told = dict((scan.get("provenance") or {}).get("report") or {})
    told |= told.pop("thresholds", None) or {}
    known = {*declared(ReportOptions), *declared(Thresholds)}
    return {name: value for name, value in told.items() if name in known}


def _options(judged: Mapping[str, Any], given: Mapping[str, Any]) -> ReportOptions:
    """Return the options of a report: those that are given, and else the scan's."""
    chosen = {**judged, **given}
    thresholds = {name: chosen.pop(name) for name in declared(Thresholds) if name in chosen}
    return cast("ReportOptions", {**chosen, "thresholds": Thresholds(**thresholds)})


def _statistics(scan: Path, entry: Mapping[str, Any]) -> Path:
    """Return where a checkpoint's statistics are.

    Raises:
        InputError: they are not there any more, or the scan is damaged.
    """
    folder = scan if is_folder(scan) else scan.parent
    name = entry.get("statistics")
    if not isinstance(name, str) or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise InputError(f"{scan}: damaged (the statistics of {entry['path']}); scan again")
    if not is_regular(folder / name):
        raise InputError(
            f"{folder / name}: not there any more, and {SCAN_FILE} alone has no eigenvalues or"
            f" error bars of {entry['path']}; keep the folder whole, or scan again"
        )
    return folder / name
