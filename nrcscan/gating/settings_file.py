"""What a scan is judged by: the command line's rules and those of the folder it runs in."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nrcscan.errors import UsageError
from nrcscan.gating.baseline import Baseline, read_baseline
from nrcscan.gating.rules.parsing import Rule, parse
from nrcscan.options.choices import GATES, Gate
from nrcscan.wording import listed, reason

DEFAULT_TOLERANCE = 0.01
KEYS = ("require", "gate", "baseline", "tolerance")
FILE = "nrcscan.toml"
PROJECT = "pyproject.toml"
TABLE = "[tool.nrcscan]"


@dataclass(frozen=True)
class Requirements:
    """What a scan is judged by.

    Attributes:
        rules: in the order they were given, the file's first; none twice.
        gate: which checkpoints they apply to.
        baseline: an earlier scan, or None.
        tolerance: by how much a checkpoint may be worse than the baseline, 0 … 1.
    """

    rules: tuple[Rule, ...]
    gate: Gate
    baseline: Baseline | None
    tolerance: float


def gather_rules(
    require: Sequence[str] = (),
    *,
    gate: str | None = None,
    baseline: str | Path | None = None,
    tolerance: float | None = None,
    config_dir: str | Path = ".",
) -> Requirements:
    """Read every rule, and the baseline, before any work is done.

    The rules of the command line are added to those of `nrcscan.toml`, or of a table
    `[tool.nrcscan]` in `pyproject.toml`; of the others the command line's value wins. A path in
    the file is relative to it.

    Args:
        require: rules of the command line.
        gate: "newest" (the default) or "all".
        baseline: scan.json of an earlier scan.
        tolerance: 0 … 1; by default 0.01.
        config_dir: where the files are looked for.

    Raises:
        UsageError: a rule cannot be read, or a setting is not what it should be.
        InputError: the baseline cannot be used.
    """
    folder = Path(config_dir)
    where, found = _configured(folder)
    texts = found.get("require", [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError(
            f"{where}: require is not a list of rules; write require = ['model.r2 >= 0.9']"
        )
    rules = [parse(text, f"{where}: require") for text in texts]
    rules += [parse(text) for text in require]
    if baseline is None and "baseline" in found:
        if not isinstance(found["baseline"], str):
            raise UsageError(f"{where}: baseline is not a path; write baseline = 'scan.json'")
        baseline = folder / found["baseline"]
    return Requirements(
        rules=tuple(dict.fromkeys(rules)),
        gate=_gate("--gate", gate)
        if gate is not None
        else _gate(f"{where}: gate", found.get("gate", GATES[0])),
        baseline=None if baseline is None else read_baseline(baseline),
        tolerance=_tolerance("--tolerance", tolerance)
        if tolerance is not None
        else _tolerance(f"{where}: tolerance", found.get("tolerance", DEFAULT_TOLERANCE)),
    )


def _configured(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the file that holds settings, and these."""
    own, project = folder / FILE, folder / PROJECT
    tables = {}
    if own.exists():
        tables[str(own)] = _toml(own)
    if project.exists():
        tool = _toml(project).get("tool", {})
        if isinstance(tool, dict) and "nrcscan" in tool:
            tables[f"{project} {TABLE}"] = tool["nrcscan"]
    if len(tables) == 2:
        raise UsageError(f"{own}: {PROJECT} has a table {TABLE} too; keep one of the two")
    for where, found in tables.items():
        if not isinstance(found, dict):
            raise UsageError(f"{where}: not a table; its keys are {listed(KEYS)}")
        unknown = [key for key in found if key not in KEYS]
        if unknown:
            raise UsageError(f"{where}: unknown key {listed(unknown)}; there are {listed(KEYS)}")
        return where, found
    return str(own), {}


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}; rules may be in it: make it readable"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path}: not TOML: {reason(error)}; mend it, as rules may be in it"
        ) from error


def _gate(where: str, value: object) -> Gate:
    if value not in GATES:
        raise UsageError(f"{where} {value!r}: choose {listed(GATES, 'or')}")
    return value


def _tolerance(where: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise UsageError(f"{where} {value!r}: give a number from 0 to 1")
