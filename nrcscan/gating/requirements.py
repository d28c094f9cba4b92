"""What a scan is judged by: the command line's rules, and those of the project's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Unpack

from nrcscan.gating.baseline import Baseline, read_baseline
from nrcscan.gating.rules.parsing import Rule, parse
from nrcscan.gating.settings_file import ProjectSettings
from nrcscan.options.check import checked
from nrcscan.options.choices import Gate
from nrcscan.options.describe import described
from nrcscan.options.effect import require_effect
from nrcscan.options.gate_options import GateOptions
from nrcscan.wording import listed

DEFAULT_TOLERANCE = 0.01
COMMAND_LINE = "--require"


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

    def __bool__(self) -> bool:
        """Whether anything is required."""
        return bool(self.rules) or self.baseline is not None

    def told(self) -> str:
        """Say what there are rules from; that there are none is said too."""
        places = [rule.origin.removesuffix(": require") for rule in self.rules]
        parts = [f"rules from {listed(dict.fromkeys(places))}"] if places else []
        if self.baseline is not None:
            parts += [f"{'' if places else 'no rules, but '}no worse than {self.baseline.path}"]
        return ", ".join(parts) or "no rules: nothing is judged, see --require"


@described(GateOptions)
def gather_rules(
    settings: ProjectSettings | None = None, **options: Unpack[GateOptions]
) -> Requirements:
    """Read every rule, and the baseline, before any work is done.

    The rules of the command line are added to those of the project's settings; of the other
    options the command line's value wins.

    Args:
        settings: of the project; without them the options alone count.
        options: see `nrcscan.options.gate_options`.

    Raises:
        UsageError: a rule cannot be read, or an option has no effect without one.
        InputError: the baseline cannot be used.
    """
    settings = settings or ProjectSettings()
    chosen, own = checked(GateOptions, options, "gather_rules"), settings.values
    rules = [parse(text, f"{settings.where}: require") for text in own.get("require", ())]
    rules += [parse(text, COMMAND_LINE) for text in chosen["require"]]
    defaults = {"gate": "newest", "baseline": None, "tolerance": DEFAULT_TOLERANCE}
    told = {name: value for name, value in chosen.items() if value is not None}
    settled: Mapping[str, Any] = defaults | dict(own) | told
    baseline = settled["baseline"]
    wanted = Requirements(
        rules=tuple(dict.fromkeys(rules)),
        gate=settled["gate"],
        baseline=None if baseline is None else read_baseline(baseline),
        tolerance=settled["tolerance"],
    )
    _require_effect(chosen, wanted)
    return wanted


def _require_effect(given: GateOptions, wanted: Requirements) -> None:
    """Refuse what the command line gives to no end; a file may have it for other scans."""
    if not wanted:
        remedy = "give rules with --require, or leave it out"
        require_effect({"--gate": given["gate"]}, "without rules", remedy)
    if wanted.baseline is None:
        remedy = "give the scan to compare with, or leave it out"
        require_effect({"--tolerance": given["tolerance"]}, "without --baseline", remedy)
