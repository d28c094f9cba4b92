"""What a worker does with a batch: through the network, and into sums of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nrcscan.extracting.accumulate import Accumulated
from nrcscan.extracting.sample_blocks import WorkerSums
from nrcscan.extracting.smaller_batches import AtOnce, RowsHad, for_sums
from nrcscan.inputs.arrays import Inputs, each
from nrcscan.network.call_plan import CallPlan, Features
from nrcscan.network.forward import Forward
from nrcscan.network.out_of_memory import room_for
from nrcscan.network.predictions import to_numpy
from nrcscan.statistics.moments import Array


@dataclass(frozen=True)
class NumberedBatch:
    """Inputs and targets on their way to a worker.

    Attributes:
        first_sample: which sample of the dataset is its first.
        x: inputs.
        y: targets.
        sent: the inputs as the network takes them, where they are on its device already.
        pieces: which of its rows are of which block of samples.
        seen: a hash of all samples up to its end, where one is kept.
    """

    first_sample: int
    x: Inputs
    y: Array
    sent: Any = None
    pieces: tuple[tuple[int, slice], ...] = ()
    seen: str | None = None


@dataclass(frozen=True)
class Taken:
    """What is left of a batch once it is added up.

    Attributes:
        y: its targets.
        features: of every position, as they are stored; empty where none are.
        blocks: the first and the last block of samples that it is of.
    """

    y: Array
    features: dict[int, NDArray[Any]]
    blocks: tuple[int, int]


class BatchWorker:
    """Takes batches through the network and into sums of its own.

    Args:
        run: the network, shared with other workers.
        plan: which of its layers are watched.
        sums: this worker's own.
        at_once: how many samples there is room for.
        keep: whether the features are wanted afterwards, to be stored.
    """

    def __init__(
        self, run: Forward, plan: CallPlan, sums: WorkerSums, at_once: AtOnce, *, keep: bool
    ) -> None:
        self._run, self._plan, self._sums = run, plan, sums
        self._at_once, self._keep = at_once, keep

    def __call__(self, batch: NumberedBatch) -> Taken:
        """Take in a batch, in parts where memory has no room for the whole."""
        sums = self._sums
        blocks = [(found, rows) for b, rows in batch.pieces if (found := sums.of(b)) is not None]
        had = RowsHad()
        kept: dict[int, list[NDArray[Any]]] = {}

        def take(rows: slice) -> None:
            for position, features in self._take(batch, rows, blocks, had).items():
                kept.setdefault(position, []).append(features)

        with torch.inference_mode():  # known to each thread alone
            self._at_once.parts(len(batch.y), take)
        with for_sums():
            sums.whole.look_at(batch.x)
        first, last = batch.pieces[0][0], batch.pieces[-1][0]
        sums.close(before=last)
        features = {p: f[0] if len(f) == 1 else np.concatenate(f) for p, f in kept.items()}
        return Taken(batch.y, features, (first, last))

    def _take(
        self,
        batch: NumberedBatch,
        part: slice,
        blocks: Sequence[tuple[Accumulated, slice]],
        had: RowsHad,
    ) -> dict[int, NDArray[Any]]:
        """Take in a part of a batch, and return its features, where they are wanted.

        Raises:
            NoRoomError: memory runs out.
        """
        run, whole = self._run, self._sums.whole
        kept: dict[int, NDArray[Any]] = {}
        tokens: dict[int, NDArray[np.int64]] = {}
        pieces = _within(part, blocks)
        targets = batch.y[part]

        def take(position: int, reached: Features) -> bool:
            rows, counts = reached
            y, ends = targets, None
            if counts is not None:
                tokens[position] = counts
                y, ends = np.repeat(y, counts, axis=0), np.append(0, np.cumsum(counts))
            if self._keep:  # as a copy: the network may still write to these
                kept[position] = to_numpy(rows).astype(run.stored_dtype)
            finite = whole.take(position, rows, y, had)
            for block, samples in pieces:
                own = samples if ends is None else slice(ends[samples.start], ends[samples.stop])
                finite &= block.take(position, rows[own], y[own], had)
            return finite

        first = batch.first_sample + part.start
        had.again()
        with room_for(len(targets)):
            made = run.forward(
                self._inputs(batch, part), targets, self._plan, first_sample=first, take=take
            )
        had.cover()
        with for_sums():
            for accumulated, of in ((whole, slice(None)), *pieces):
                counted = {position: counts[of] for position, counts in tokens.items()}
                accumulated.update(None if made is None else made[of], targets[of], counted)
        return kept

    def _inputs(self, batch: NumberedBatch, part: slice) -> Any:
        """Return a part of a batch's inputs as the network takes them."""
        whole = part == slice(0, len(batch.y))
        if batch.sent is not None:
            return batch.sent if whole else each(batch.sent, itemgetter(part))
        x = batch.x if whole else each(batch.x, itemgetter(part))
        return self._run.inputs(x, batch.first_sample + part.start)


def _within(
    part: slice, blocks: Sequence[tuple[Accumulated, slice]]
) -> list[tuple[Accumulated, slice]]:
    """Return which rows of a part of a batch are of which block, of those that have some there."""
    found = []
    for block, rows in blocks:
        start, stop = max(rows.start, part.start), min(rows.stop, part.stop)
        if start < stop:
            found.append((block, slice(start - part.start, stop - part.start)))
    return found
