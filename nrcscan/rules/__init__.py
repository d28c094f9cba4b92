"""Rules on a checkpoint's results: `parse` reads one, `evaluate` applies it; neither runs code."""

from nrcscan.rules.evaluating import Outcome, evaluate
from nrcscan.rules.parsing import Rule, parse
from nrcscan.rules.tokens import RuleError

__all__ = ["Outcome", "Rule", "RuleError", "evaluate", "parse"]
