"""Into how many blocks samples are divided for error bars, and which positions have them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from nrcscan.statistics.blocks import FEWEST

AUTOMATIC = 16
"""Blocks, unless told otherwise, or up to twice as many: standard errors are then known to a
sixth of themselves."""

WIDEST = 512
"""Width up to which positions have blocks unless told otherwise: 16 of these then take 34 MB."""

SMALLEST = 2
"""Samples of the smallest blocks. Others are of this times a power of two, so that they are the
same whether the number of samples is known beforehand or not."""


TOO_FEW = f"the samples are too few for {FEWEST} blocks of them"


@dataclass(frozen=True)
class BlockPlan:
    """Blocks of samples.

    Attributes:
        number: how many at least, and twice as many at most; 0 for none.
        positions: that have them.
        lacking: why some positions have none, or all; None where all have them.
    """

    number: int
    positions: frozenset[int]
    lacking: str | None

    @classmethod
    def none(cls, why: str) -> BlockPlan:
        """Return no blocks, for this reason."""
        return cls(0, frozenset(), why)

    def first(self, total: int | None) -> int:
        """Return how many samples the first blocks have: their final size, if that is known."""
        size = SMALLEST
        while total is not None and total > size * (2 * max(self.number, 1) - 1):
            size *= 2
        return size

    def most(self, total: int | None) -> int:
        """Return how many blocks there can be at a time."""
        if total is None or not self.number:
            return 2 * self.number
        return -(-total // self.first(total))


def planned(
    asked: int | None,
    widths: Sequence[int],
    sketched: Collection[int],
    total: int | None,
    *,
    on_gpu: bool,
) -> BlockPlan:
    """Return the blocks that are asked for, or that suit these positions.

    Args:
        asked: how many at least; 0 for none, None for what suits.
        widths: of the positions.
        sketched: those of which there is a sketch.
        total: how many samples there are, if that is known.
        on_gpu: whether sums are made on a GPU.
    """
    if asked is not None and asked < FEWEST:
        return BlockPlan.none(f"--blocks {asked}" + f", of at least {FEWEST}" * (asked > 0))
    if sketched:
        return BlockPlan.none("of a sketch no blocks of samples are kept")
    if on_gpu:
        return BlockPlan.none("on a GPU no blocks of samples are kept")
    if total is not None and total < FEWEST * SMALLEST:
        return BlockPlan.none(TOO_FEW)
    positions = frozenset(p for p, w in enumerate(widths) if asked or w <= WIDEST)
    lacking = None
    if len(positions) < len(widths):
        lacking = (
            f"layers wider than {WIDEST} have no blocks of samples unless --blocks"
            f" {AUTOMATIC} asks for them"
        )
    return BlockPlan((asked or AUTOMATIC) if positions else 0, positions, lacking)


def that_fit(
    plan: BlockPlan, asked: int | None, limit: int, needed: Callable[[BlockPlan], int]
) -> BlockPlan:
    """Return blocks, or none where they are not asked for and take more memory than this."""
    if asked is None and plan.number and needed(plan) > limit:
        return BlockPlan.none(
            f"blocks of samples take {needed(plan) / 1e9:.3g} GB of memory and"
            f" {limit / 1e9:.3g} GB are allowed"
        )
    return plan
