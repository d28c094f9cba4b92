"""A scan's verdicts as JUnit XML, which every CI system shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrcscan.errors import UsageError
from nrcscan.extras import to_install
from nrcscan.gating.judge import RuleResult
from nrcscan.scanning.scan_file import ScanDocument
from nrcscan.wording import printable

if TYPE_CHECKING:
    from junitparser import TestCase

USABLE = "can be used"
"""The case that every checkpoint has, beside one per rule."""


def require_junit() -> None:
    """Refuse before any work is done if JUnit XML could not be written.

    Raises:
        UsageError: junitparser is not installed.
    """
    if find_spec("junitparser") is None:
        raise UsageError(f"--junit: writing JUnit XML needs junitparser; {to_install('junit')}")


def write_junit(path: str | Path, scan: ScanDocument, results: Sequence[RuleResult]) -> None:
    """Write a suite per run, with a case per checkpoint and one per checkpoint and rule.

    A failed rule is a failure, a checkpoint that could not be used an error, and a rule that was
    not applied to a checkpoint is skipped. Whatever XML cannot hold is shown as an escape.

    Raises:
        UsageError: junitparser is not installed, or `path` is a folder.
        OutputError: it cannot be written.
    """
    require_junit()
    from junitparser import JUnitXml, TestSuite

    from nrcscan.files.write_atomically import write_text

    by_path: dict[str, list[RuleResult]] = {}
    for result in results:
        by_path.setdefault(result.path, []).append(result)
    cases: dict[str, list[TestCase]] = {}
    for checkpoint in scan["checkpoints"]:
        members = cases.setdefault(checkpoint["run"], [])
        members.append(_usable(checkpoint))
        members += [_ruled(result) for result in by_path.get(checkpoint["path"], [])]
    document = JUnitXml("nrcscan")
    for run, members in cases.items():
        suite = TestSuite(printable(run) or "nrcscan")
        suite.add_testcases(members)
        document.add_testsuite(suite)
    document.update_statistics()
    write_text(Path(path), document.tostring().decode("utf-8"))


def _usable(checkpoint: Mapping[str, Any]) -> TestCase:
    from junitparser import Error, TestCase

    case = TestCase(USABLE, printable(checkpoint["path"]))
    if checkpoint["status"] != "ok":
        case.result = Error(printable(checkpoint["reason"] or "no reason is recorded"), "unusable")
    else:
        case.system_out = printable(checkpoint["verdict"]["text"])
    return case


def _ruled(result: RuleResult) -> TestCase:
    from junitparser import Failure, Skipped, TestCase

    case = TestCase(printable(result.rule), printable(result.path))
    reason = printable(result.reason)
    if result.passed is None:
        case.result = Skipped(reason)
    elif result.passed:
        case.system_out = reason
    else:
        case.result = Failure(reason, "rule")
    return case
