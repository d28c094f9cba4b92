"""What a map leaves of features and errors, and how far that would move with other samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nrcscan.cutting.cuts import Estimate
from nrcscan.cutting.linear_map import Squares
from nrcscan.metrics.jackknife import standard_error
from nrcscan.statistics.blocks import Targets
from nrcscan.verdict.answers import Answer, sure_side, together


@dataclass(frozen=True)
class SquaresLeft:
    """Mean squares over samples, and over blocks of them where these are known.

    Attributes:
        total: over all samples.
        blocks: over each block; None where that is not known.
        targets: of the blocks; likewise.
    """

    total: Squares
    blocks: Squares | None
    targets: Targets | None

    @classmethod
    def of(
        cls, exact: Squares | None, blocks: Squares | None, targets: Targets | None
    ) -> SquaresLeft:
        """Return them, the total being the mean over the blocks where it is not given."""
        if exact is None:
            assert blocks is not None
            assert targets is not None
            exact = Squares(*(np.asarray(np.average(s, weights=targets.n_samples)) for s in blocks))
        return cls(exact, blocks, targets)

    def mean(self, name: str) -> Estimate:
        """Return one of the mean squares."""
        value = float(getattr(self.total, name))
        if self.blocks is None or self.targets is None:
            return Estimate(value)
        without = self.targets.left_out(getattr(self.blocks, name))
        return Estimate(value, standard_error(value, without, self.targets.n_samples))

    def ratio(self, over: str, under: str) -> Estimate | None:
        """Return a mean square as a share of another, of the same samples; None of nothing."""
        if not getattr(self.total, under) > 0:
            return None
        value = float(getattr(self.total, over) / getattr(self.total, under))
        if self.blocks is None or self.targets is None:
            return Estimate(value)
        top, bottom = (self.targets.left_out(getattr(self.blocks, n)) for n in (over, under))
        if not (bottom > 0).all():
            return Estimate(value)
        return Estimate(value, standard_error(value, top / bottom, self.targets.n_samples))

    def change(self) -> Estimate | None:
        """Return by how much the head errs more on what the map gives, as a share of its error."""
        ratio = self.ratio("replaced", "own")
        return None if ratio is None else Estimate(ratio.value - 1, ratio.standard_error)


def within_both(unexplained: Estimate | None, change: Estimate | None, within: float) -> Answer:
    """Say whether the variance left and the change of the error are both within a share."""
    answers = [
        Answer.NOT_JUDGED
        if one is None
        else sure_side(within - one.value, one.standard_error or 0.0)
        for one in (unexplained, change)
    ]
    return together(answers)
