"""Blocks of samples: where they end, and the sums that workers make of each.

Their merge, in order, is the total. Which block a sample is in depends on its place alone, so the
blocks are the same for any batch size and number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock

import numpy as np

from nrcscan.extracting.accumulate import Accumulated, together
from nrcscan.extracting.worker_threads import most_workers
from nrcscan.statistics.blocks import (
    Blocks,
    Targets,
    digest,
    directions_kept,
    top_directions,
)
from nrcscan.statistics.held_out import fits_without_blocks
from nrcscan.statistics.moments import Moments, Statistics


def ends(first: int, wanted: int) -> Iterator[int]:
    """Yield the sample after the last of every block.

    Whenever there are twice as many blocks as wanted, neighbours become one.

    Args:
        first: samples of the first ones.
        wanted: how many blocks there are to be at least.
    """
    size, end, begun = first, 0, 0
    while True:
        end, begun = end + size, begun + 1
        yield end
        if begun == 2 * wanted:
            size, begun = 2 * size, wanted


class BlockEnds:
    """Cuts batches, which come in order, at the ends of blocks."""

    def __init__(self, block_ends: Iterator[int]) -> None:
        self._ends = block_ends
        self._block, self._end = 0, next(block_ends)

    def of(self, first: int, n: int) -> tuple[tuple[int, slice], ...]:
        """Return which rows of a batch of n samples, from sample `first` on, are of which block."""
        pieces, start = [], 0
        while start < n:
            while first + start >= self._end:
                self._block, self._end = self._block + 1, next(self._ends)
            stop = min(n, self._end - first)
            pieces.append((self._block, slice(start, stop)))
            start = stop
        return tuple(pieces)


class WorkerSums:
    """The sums of one worker.

    Args:
        whole: takes what is added up of all samples as one.
        empty: returns an empty accumulator of a block; None where there are no blocks.
    """

    def __init__(self, whole: Accumulated, empty: Callable[[], Accumulated] | None) -> None:
        self.whole = whole
        self._empty = empty
        self._blocks: dict[int, Accumulated] = {}
        self._next: Accumulated | None = None
        self._lock = Lock()

    @property
    def state(self) -> tuple[Accumulated, dict[int, Accumulated], Accumulated | None]:
        """What it has, while no worker is at work."""
        return self.whole, self._blocks, self._next

    def restore(
        self, state: tuple[Accumulated, dict[int, Accumulated], Accumulated | None]
    ) -> None:
        """Have what another has had."""
        self.whole, self._blocks, self._next = state

    def of(self, block: int) -> Accumulated | None:
        """Return what takes the samples of a block; None where there are no blocks."""
        if self._empty is None:
            return None
        with self._lock:
            if block not in self._blocks:
                last = next(reversed(self._blocks.values()), None)
                new = self._next if last is None else last.fresh()
                self._blocks[block], self._next = new or self._empty(), None
            return self._blocks[block]

    def close(self, before: int) -> None:
        """Close blocks that this worker will not add to any more."""
        with self._lock:
            for block, sums in self._blocks.items():
                if block < before:
                    sums.rest()

    def handed_over(self, block: int) -> Accumulated | None:
        """Let go of a finished block, if there is any of it here."""
        with self._lock:
            found = self._blocks.pop(block, None)
            if found is not None:
                found.rest()
                if not self._blocks:
                    self._next = found.fresh()
            return found


class BlockSums:
    """Gathers finished blocks from the workers, in order.

    Args:
        workers: they.
        most: blocks at which neighbours are merged; see `ends`.

    Attributes:
        found: block → its sums.
    """

    def __init__(self, workers: Sequence[WorkerSums], most: int) -> None:
        self._workers, self._most = workers, most
        self._next: int | None = None
        self.found: dict[int, Accumulated] = {}

    @property
    def state(self) -> tuple[dict[int, Accumulated], int | None]:
        """What it has."""
        return self.found, self._next

    def restore(self, state: tuple[dict[int, Accumulated], int | None]) -> None:
        """Have what another has had."""
        self.found, self._next = state

    def gather(self, first: int, before: int) -> None:
        """Take blocks from `first`, or where the last call ended, up to `before`.

        No worker will add to them any more.
        """
        for block in range(first if self._next is None else self._next, before):
            held = [found for one in self._workers if (found := one.handed_over(block)) is not None]
            if held:
                self.found[block] = together(held)
            if len(self.found) == self._most:
                self.found = paired(self.found)
        self._next = before


def paired(blocks: dict[int, Accumulated]) -> dict[int, Accumulated]:
    """Return neighbours as one block each, by the number of the first."""
    names = list(blocks)
    return {
        name: together([blocks[name], *(blocks[other] for other in names[at + 1 : at + 2])])
        for at, name in enumerate(names)
        if at % 2 == 0
    }


def whole_ones(blocks: dict[int, Accumulated]) -> list[Accumulated]:
    """Return blocks in order, a last one of half the samples or less joined with that before."""
    found = [blocks[name] for name in sorted(blocks)]
    if len(found) > 1 and 2 * found[-1].n_samples <= found[-2].n_samples:
        last = found.pop()
        found[-1] = together([found[-1], last])
    return found


@dataclass(frozen=True)
class Total:
    """What the blocks of a position come to.

    Attributes:
        moments: all of them, merged in order.
        statistics: of these.
        blocks: what is kept of each; None of too few.
    """

    moments: Moments
    statistics: Statistics
    blocks: Blocks | None


def totals(
    blocks: Sequence[Accumulated], targets: Targets | None, per_token: Sequence[bool]
) -> dict[int, Total]:
    """Return position → what its blocks of samples come to, of those that have blocks.

    Args:
        blocks: in order.
        targets: of the blocks; None where these are too few for error bars.
        per_token: position → whether every token counts as a sample there.

    Raises:
        ValueError: the values' squares overflow float64.
    """
    if not blocks:
        return {}

    def at(position: int) -> Total:
        own = targets
        if targets is not None and per_token[position]:
            own = Accumulated.targets(blocks, position)
        return _total([block.positions[position] for block in blocks], own)

    positions = list(blocks[0].positions)
    with ThreadPoolExecutor(most_workers()) as pool:  # the workers are idle by now
        return dict(zip(positions, pool.map(at, positions), strict=True))


def _total(parts: list[Moments], targets: Targets | None) -> Total:
    for part in parts:
        part.close()
    moments = Moments.merged(parts)
    statistics = moments.statistics()
    if targets is None:
        return Total(moments, statistics, None)
    d, t = statistics.cross_covariance.shape
    basis = top_directions(statistics.feature_covariance, directions_kept(d, t))
    with np.errstate(over="ignore", invalid="ignore"):
        fits = fits_without_blocks(parts, statistics, targets, basis)
        kept = digest(parts, statistics, targets, basis, fits)
    # Of values near the largest there are, squares overflow here that do not in the total.
    return Total(moments, statistics, kept if kept.finite else None)
