"""Every finding of the papers that is looked for, in the order of the page."""

from __future__ import annotations

from collections.abc import Callable

from reproduction.agreement import Finding
from reproduction.collapse_findings import begin_together, below_the_last_layer
from reproduction.decay_findings import no_nrc3_without_decay, too_much_decay
from reproduction.error_findings import collapse_and_test_error, fewer_dimensions
from reproduction.loss_findings import after_the_loss
from reproduction.rank_findings import intrinsic_rank, orthogonal_to_noise, stable_ranks
from reproduction.results import Results

LOOKED_FOR: tuple[Callable[[Results], Finding], ...] = (
    below_the_last_layer,
    begin_together,
    intrinsic_rank,
    stable_ranks,
    orthogonal_to_noise,
    no_nrc3_without_decay,
    too_much_decay,
    after_the_loss,
    collapse_and_test_error,
    fewer_dimensions,
)


def found(results: Results) -> list[Finding]:
    """Return what was found of each."""
    return [look(results) for look in LOOKED_FOR]
