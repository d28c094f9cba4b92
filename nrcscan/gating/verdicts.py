"""All that follows from a scan and what it is judged by: results, text, files for CI, exit code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nrcscan.files.write_atomically import require_free
from nrcscan.gating.baseline import why_no_onsets
from nrcscan.gating.github import publish_github
from nrcscan.gating.judge import RuleResult, exit_code, explain, failed, judge
from nrcscan.gating.junit import require_junit, write_junit
from nrcscan.gating.layers_named import require_layers
from nrcscan.gating.requirements import Requirements
from nrcscan.scanning.scan_file import ScanDocument
from nrcscan.wording import counted


@dataclass(frozen=True)
class Verdicts:
    """What a scan came to.

    Attributes:
        results: of every rule on every checkpoint that could be used.
        text: rules with the values that decided them: those that failed, or all.
        notes: what the user should know about them.
        exit_code: of the command.
    """

    results: Sequence[RuleResult]
    text: str
    notes: tuple[str, ...]
    exit_code: int


def require_writable(junit: Path | None) -> None:
    """Refuse before any work is done what could not be written after it.

    Raises:
        UsageError: JUnit XML is wanted, and its library is not installed, or the path is a folder.
        OutputError: the file cannot be written.
    """
    if junit is not None:
        require_junit()
        require_free(junit, force=True)


def verdicts_of(
    scan: ScanDocument,
    wanted: Requirements,
    *,
    folder: Path,
    explained: bool = False,
    junit: Path | None = None,
) -> Verdicts:
    """Judge a scan, and publish what came of it.

    Args:
        scan: as scan.json has it.
        wanted: what it is judged by.
        folder: that was scanned.
        explained: give the text of all rules, and not only of those that failed.
        junit: where to write the verdicts as JUnit XML.

    Raises:
        UsageError: a rule names a layer that no checkpoint has.
        InputError: the baseline was made of other data or with other options.
        OutputError: a file cannot be written.
    """
    require_layers(scan, wanted.rules)
    results = judge(
        scan,
        wanted.rules,
        gate=wanted.gate,
        baseline=wanted.baseline,
        tolerance=wanted.tolerance,
    )
    if junit is not None:
        write_junit(junit, scan, results)
    publish_github(scan, results, folder)
    return Verdicts(
        results=results,
        text=explain(results if explained else failed(results)),
        notes=tuple(_notes(scan, wanted, results)),
        exit_code=exit_code(scan, results),
    )


def _notes(
    scan: ScanDocument, wanted: Requirements, results: Sequence[RuleResult]
) -> Iterator[str]:
    if wanted.baseline is not None and (why := why_no_onsets(scan, wanted.baseline)) is not None:
        yield f"onsets are not compared: {why}"
    if applied := [result for result in results if result.passed is not None]:
        n_failed = len(failed(results))
        verdicts = counted(len(applied), "verdict")
        yield f"{verdicts}: {len(applied) - n_failed} hold, {n_failed} fail"
