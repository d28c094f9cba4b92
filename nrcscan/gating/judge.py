"""From a scan and its rules to verdicts: which checkpoints are judged, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nrcscan.gating.baseline import Baseline, compared, require_comparable, why_no_onsets
from nrcscan.gating.rules.evaluating import Truth, Value, evaluate
from nrcscan.gating.rules.parsing import Rule
from nrcscan.options.choices import Gate
from nrcscan.scanning.newest import newest
from nrcscan.scanning.scan_file import ScanDocument
from nrcscan.wording import printable

NOT_NEWEST = "not the newest of its run"
RULE_FAILED, UNUSABLE, NOTHING = 1, 3, 4
_MARKS = {True: "✓", False: "✗"}


@dataclass(frozen=True)
class RuleResult:
    """What a rule came to on one checkpoint.

    Attributes:
        rule: its text.
        path: of the checkpoint, as in the scan.
        passed: None where the rule was not applied.
        reason: the comparisons that decided it, with their values; or why it was not applied.
        values: what those comparisons looked up; None for what is undefined.
    """

    rule: str
    path: str
    passed: bool | None
    reason: str
    values: dict[str, Value]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON has it."""
        return asdict(self)


def judge(
    scan: ScanDocument,
    rules: Sequence[Rule],
    *,
    gate: Gate = "newest",
    baseline: Baseline | None = None,
    tolerance: float = 0.0,
) -> list[RuleResult]:
    """Apply rules, and the comparison with a baseline, to the checkpoints of a scan.

    A checkpoint that could not be used has no results: it is an error, not a verdict. What is
    undefined does not pass.

    Args:
        scan: as scan.json has it.
        rules: of `parse`.
        gate: "newest" judges the newest checkpoint of every run, "all" every one.
        baseline: what the judged checkpoints may not be worse than.
        tolerance: by how much they may, see `compared`.

    Returns:
        In the scan's order, a result per rule for every checkpoint that could be used.

    Raises:
        InputError: the baseline was made of other data or with other options.
    """
    if baseline is not None:
        require_comparable(scan, baseline)
    checkpoints = scan["checkpoints"]
    no_onsets = None if baseline is None else why_no_onsets(scan, baseline)
    last = newest(checkpoints)
    known = baseline is None or any(baseline.counterpart(c, gate) for c in checkpoints)
    results = []
    for checkpoint in checkpoints:
        if checkpoint["status"] != "ok":
            continue
        judged = gate == "all" or last[checkpoint["run"]] is checkpoint
        for rule in rules:
            results.append(_ruled(rule, checkpoint, judged=judged))
        if baseline is not None:
            for name, held, why, values in compared(
                checkpoint,
                baseline,
                gate=gate,
                tolerance=tolerance,
                known=known,
                no_onsets=no_onsets,
            ):
                passed, reason = (held, why) if judged else (None, NOT_NEWEST)
                results.append(
                    RuleResult(name, checkpoint["path"], passed, reason, values if judged else {})
                )
    return results


def exit_code(scan: ScanDocument, results: Sequence[RuleResult]) -> int:
    """Return 4 with nothing scanned, 1 if a rule failed, 3 if a checkpoint is unusable, else 0."""
    if not scan["checkpoints"]:
        return NOTHING
    if failed(results):
        return RULE_FAILED
    return UNUSABLE if unusable(scan) else 0


def failed(results: Sequence[RuleResult]) -> list[RuleResult]:
    """Return the results that do not pass though their rule was applied."""
    return [result for result in results if result.passed is False]


def unusable(scan: ScanDocument) -> list[Mapping[str, Any]]:
    """Return the checkpoints that could not be used."""
    return [checkpoint for checkpoint in scan["checkpoints"] if checkpoint["status"] != "ok"]


def explain(results: Sequence[RuleResult]) -> str:
    """Return every rule with the values that decided it, as plain lines.

    With `failed(results)`, those that failed alone.
    """
    lines = []
    for rule in dict.fromkeys(result.rule for result in results):
        here = [result for result in results if result.rule == rule]
        applied = [result for result in here if result.passed is not None]
        lines.append(f"rule {rule}")
        lines += [f"  {_MARKS[bool(r.passed)]} {r.path}: {r.reason}" for r in applied]
        left_out: dict[str, int] = {}
        for result in here:
            if result.passed is None:
                left_out[result.reason] = left_out.get(result.reason, 0) + 1
        lines += [f"  · {n} not judged: {reason}" for reason, n in left_out.items()]
    return "".join(f"{printable(line)}\n" for line in lines)


def _ruled(rule: Rule, checkpoint: Mapping[str, Any], *, judged: bool) -> RuleResult:
    if not judged:
        return RuleResult(rule.text, checkpoint["path"], None, NOT_NEWEST, {})
    outcome = evaluate(rule, checkpoint)
    passed: Truth = outcome.holds is True
    return RuleResult(
        rule.text, checkpoint["path"], passed, "; ".join(outcome.because), outcome.values
    )
