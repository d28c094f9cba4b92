"""What a scan is judged by: the command line's rules and those of the folder it runs in."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from nrcscan.errors import UsageError
from nrcscan.gating.baseline import Baseline, read_baseline
from nrcscan.gating.rules.parsing import Rule, parse
from nrcscan.options.check import check, checked
from nrcscan.options.choices import Gate
from nrcscan.options.describe import described
from nrcscan.options.gate_options import GateOptions
from nrcscan.options.option import declared
from nrcscan.wording import listed, reason

DEFAULT_TOLERANCE = 0.01
KEYS = tuple(declared(GateOptions))
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


@described(GateOptions)
def gather_rules(*, config_dir: str | Path = ".", **options: Unpack[GateOptions]) -> Requirements:
    """Read every rule, and the baseline, before any work is done.

    The rules of the command line are added to those of `nrcscan.toml`, or of a table
    `[tool.nrcscan]` in `pyproject.toml`; of the others the command line's value wins. A path in
    the file is relative to it.

    Args:
        config_dir: where the files are looked for.
        options: see `nrcscan.options.gate_options`.

    Raises:
        UsageError: a rule cannot be read, or a setting is not what it should be.
        InputError: the baseline cannot be used.
    """
    chosen = checked(GateOptions, options, "gather_rules")
    folder = Path(config_dir)
    where, found = _configured(folder)
    texts = found.get("require", [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise UsageError(
            f"{where}: require is not a list of rules; write require = ['model.r2 >= 0.9']"
        )
    rules = [parse(text, f"{where}: require") for text in texts]
    rules += [parse(text) for text in chosen["require"]]
    baseline, gate, tolerance = chosen["baseline"], chosen["gate"], chosen["tolerance"]
    if baseline is None and "baseline" in found:
        if not isinstance(found["baseline"], str):
            raise UsageError(f"{where}: baseline is not a path; write baseline = 'scan.json'")
        baseline = folder / found["baseline"]
    fields = declared(GateOptions)
    if gate is None and "gate" in found:
        gate = check(fields["gate"], found["gate"], f"{where}: gate")
    if tolerance is None and "tolerance" in found:
        tolerance = check(fields["tolerance"], found["tolerance"], f"{where}: tolerance")
    return Requirements(
        rules=tuple(dict.fromkeys(rules)),
        gate=gate or "newest",
        baseline=None if baseline is None else read_baseline(baseline),
        tolerance=DEFAULT_TOLERANCE if tolerance is None else tolerance,
    )


def _configured(folder: Path) -> tuple[str, dict[str, Any]]:
    """Return the file that holds settings, and these.

    Raises:
        UsageError: the settings are in two places, or not by the names that settings have.
    """
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
            raise UsageError(f"{where}: not a table; write one with the keys {listed(KEYS)}")
        unknown = [key for key in found if key not in KEYS]
        if unknown:
            raise UsageError(f"{where}: unknown key {listed(unknown)}; choose among {listed(KEYS)}")
        return where, found
    return str(own), {}


def _toml(path: Path) -> dict[str, Any]:
    """Return what a file of settings holds.

    Raises:
        UsageError: the file of settings cannot be read, and it may have rules.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}; make it readable, as rules may be in it"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path}: not TOML: {reason(error)}; mend it, as rules may be in it"
        ) from error
