"""A scan's verdicts on GitHub: the step's summary page, and an annotation per failure."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from nrcscan.errors import OutputError
from nrcscan.gating.judge import RuleResult, failed, unusable
from nrcscan.reporting.markdown import escaped, markdown_row
from nrcscan.reporting.numbers import number
from nrcscan.scanning.scan_file import ScanDocument
from nrcscan.wording import printable, r_squared, reason

SUMMARY_BYTES = 1024 * 1024
"""What GitHub takes as the summary of a step; a larger one it drops altogether."""
ANNOTATIONS = 10
"""How many errors GitHub shows of a step."""
LONGEST_CELL = 1000
_RESERVED = 2048
"""Bytes kept for the headings and the lines that say what was left out."""

Section = tuple[str, list[str], list[list[str]]]
"""A heading, the columns and the rows of a table."""


def publish_github(
    scan: ScanDocument,
    results: Sequence[RuleResult],
    folder: str | Path = "",
    *,
    environ: Mapping[str, str] | None = None,
    stream: TextIO | None = None,
) -> None:
    """Write the summary, the step's outputs and the annotations where GitHub Actions wants them.

    Outside of it, where none of `GITHUB_STEP_SUMMARY`, `GITHUB_OUTPUT` and `GITHUB_ACTIONS` is
    set, do nothing. The outputs are `failed` and `unusable`: how many verdicts failed, and how
    many checkpoints could not be used.

    Args:
        scan: as scan.json has it.
        results: of `judge`.
        folder: that was scanned, for the paths of the annotations.
        environ: in place of the process's.
        stream: for the annotations; stderr by default, as stdout is the scan's own.

    Raises:
        OutputError: the summary or the outputs cannot be written.
    """
    environ = os.environ if environ is None else environ
    if page := environ.get("GITHUB_STEP_SUMMARY"):
        there = Path(page).stat().st_size if Path(page).exists() else 0
        text = summary(scan, results, limit=SUMMARY_BYTES - there)
        _append(page, text, "GITHUB_STEP_SUMMARY")
    if outputs := environ.get("GITHUB_OUTPUT"):
        counts = {"failed": len(failed(results)), "unusable": len(unusable(scan))}
        told = "".join(f"{name}={count}\n" for name, count in counts.items())
        _append(outputs, told, "GITHUB_OUTPUT")
    if environ.get("GITHUB_ACTIONS") == "true":
        print("".join(error_lines(scan, results, folder)), end="", file=stream or sys.stderr)


def _append(path: str, text: str, name: str) -> None:
    """Add text to a file that GitHub Actions names.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        with Path(path).open("a", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except OSError as error:
        raise OutputError(
            f"{name} {path}: cannot be written: {error.strerror or reason(error)};"
            " unset it, or make it writable"
        ) from error


def summary(scan: ScanDocument, results: Sequence[RuleResult], limit: int = SUMMARY_BYTES) -> str:
    """Return a page in Markdown: failed rules first, then what was unusable, then all.

    Args:
        scan: as scan.json has it.
        results: of `judge`.
        limit: in bytes of UTF-8. A longer page is cut at a row, and says how many are left out;
            where not even the headings fit, there is none.
    """
    page = [f"## nrcscan\n\n{headline(scan, results)}\n"]
    left = limit - _RESERVED
    if left < 0:
        return ""
    for title, columns, rows in _sections(scan, results):
        if not rows:
            continue
        head = [columns, [":---"] * len(columns)]
        page += [f"\n### {title}\n\n", *map(_row, head)]
        shown = 0
        for row in map(_row, rows):
            left -= len(row.encode())
            if left < 0:
                break
            page.append(row)
            shown += 1
        if shown < len(rows):
            page.append(f"\n{len(rows) - shown} more rows are left out: the page is full.\n")
            left = 0
    return "".join(page)


def headline(scan: ScanDocument, results: Sequence[RuleResult]) -> str:
    """Return what came of it, in a sentence."""
    n = len(scan["checkpoints"])
    applied = [result for result in results if result.passed is not None]
    parts = [f"{n} checkpoint{'s' * (n != 1)}"]
    if bad := len(unusable(scan)):
        parts.append(f"{bad} could not be used")
    if applied:
        parts.append(f"{len(failed(results))} of {len(applied)} verdicts failed")
    else:
        parts.append("no rule was applied")
    return ", ".join(parts) + "."


def error_lines(
    scan: ScanDocument, results: Sequence[RuleResult], folder: str | Path = ""
) -> Iterator[str]:
    """Yield a line per failed rule and per unusable checkpoint; the last counts those left out."""
    found = [(r.path, "Rule failed", f"{r.rule}: {r.reason}") for r in failed(results)]
    found += [
        (c["path"], "Checkpoint cannot be used", c["reason"] or "no reason is recorded")
        for c in unusable(scan)
    ]
    shown = found if len(found) <= ANNOTATIONS else found[: ANNOTATIONS - 1]
    for path, title, message in shown:
        where = _property((Path(folder) / path).as_posix())
        yield f"::error file={where},title={title}::{_message(f'{path}: {message}')}\n"
    if len(shown) < len(found):
        more = f"{len(found) - len(shown)} more failures: the step's summary and log list them"
        yield f"::error title=More failures::{more}\n"


def _sections(scan: ScanDocument, results: Sequence[RuleResult]) -> Iterator[Section]:
    bad = failed(results)
    yield (
        "Failed rules",
        ["checkpoint", "rule", "decided by"],
        [[r.path, r.rule, r.reason] for r in bad],
    )
    yield (
        "Not usable",
        ["checkpoint", "reason"],
        [[c["path"], c["reason"] or "no reason is recorded"] for c in unusable(scan)],
    )
    verdicts: dict[str, list[bool]] = {}
    for result in results:
        if result.passed is not None:
            verdicts.setdefault(result.path, []).append(result.passed)
    columns = ["checkpoint", "epoch", "R²", "verdict", "noise, last layer", "rules"]
    yield (
        "Checkpoints",
        columns,
        [_checkpoint(c, verdicts.get(c["path"], [])) for c in scan["checkpoints"]],
    )


def _checkpoint(checkpoint: Mapping[str, Any], verdicts: list[bool]) -> list[str]:
    when = checkpoint["epoch"] if checkpoint["epoch"] is not None else checkpoint["step"]
    cells = [checkpoint["path"], "" if when is None else str(when)]
    if checkpoint["status"] != "ok":
        return [*cells, "not usable", "", "", ""]
    layers = checkpoint["layers"]
    judged = f"{'✓' if all(verdicts) else '✗'} {sum(verdicts)} of {len(verdicts)}"
    return [
        *cells,
        r_squared(checkpoint["model"]["r2"]),
        checkpoint["verdict"]["text"],
        number(layers[-1]["noise_component"]) if layers else "",
        judged if verdicts else "",
    ]


def _row(cells: list[str]) -> str:
    return markdown_row(map(_cell, cells)) + "\n"


def _cell(text: str) -> str:
    """Return text as a cell has it, cut short where it is too long."""
    if len(text) > LONGEST_CELL:
        text = f"{text[:LONGEST_CELL]}…"
    return escaped(text)


def _message(text: str) -> str:
    """Return text as GitHub wants it in a workflow command.

    >>> _message("100% of a:b")
    '100%25 of a:b'
    """
    text = printable(text).replace("%", "%25")
    return text.replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    """Return text as GitHub wants it in a workflow command's property.

    >>> _property("a:b,c")
    'a%3Ab%2Cc'
    """
    return _message(text).replace(":", "%3A").replace(",", "%2C")
