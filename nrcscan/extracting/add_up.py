"""One pass over the data: every batch's way from the dataset into sums and into a file.

A batch comes numbered, its inputs are sent to a GPU ahead of time if there is one, a worker
thread takes it through the network, and the features of every position go into that worker's
sums on the way. What is left of it, its rows, is stored in the order of the samples. At the end
the sums of all workers become one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nrcscan.acts_file.kept_in_memory import TakesActs
from nrcscan.acts_file.writing import Writer
from nrcscan.extracting.accumulate import Accumulated, together
from nrcscan.extracting.plan_passes import PassPlan
from nrcscan.extracting.sample_blocks import BlockEnds, BlockSums, WorkerSums
from nrcscan.extracting.worker_threads import ahead, in_order, threads_for
from nrcscan.inputs.arrays import Inputs
from nrcscan.network.call_plan import CallPlan, Features
from nrcscan.network.forward import Forward
from nrcscan.network.predictions import to_numpy
from nrcscan.statistics.moments import Array
from nrcscan.statistics.moments_on_gpu import accumulates

SENT_AHEAD = 2
"""Batches that are read and sent to a GPU while it works on the one before."""


@dataclass(frozen=True)
class NumberedBatch:
    """Inputs and targets on their way to a worker.

    Attributes:
        first_sample: which sample of the dataset is its first.
        x: inputs.
        y: targets.
        sent: the inputs as the network takes them, where they are on its device already.
        pieces: which of its rows are of which block of samples.
    """

    first_sample: int
    x: Inputs
    y: Array
    sent: Any = None
    pieces: tuple[tuple[int, slice], ...] = ()


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


class RowStore:
    """Takes the rows of samples as they come.

    Args:
        writer: of the file that they go to; without one, the targets are kept for another's.
        features: whether features are stored, not targets alone.
        apart: the writer's file, where it is one that another writer appends from.

    Attributes:
        targets: batches of targets, in order, where there is no writer.
    """

    def __init__(
        self, writer: TakesActs | None, *, features: bool, apart: Path | None = None
    ) -> None:
        self._writer, self._apart = writer, apart
        self.features = features and writer is not None
        self.targets: list[Array] = []

    def take(self, taken: Taken) -> None:
        """Take what is left of the next batch."""
        if self._writer is None:
            self.targets.append(taken.y)
            return
        self._writer.append("targets/values", taken.y)
        for position, rows in taken.features.items():
            self._writer.append(f"positions/{position:04d}/activations", rows)

    def end(self) -> list[Path]:
        """Have a file apart ready to be read, and return it, if there is one."""
        if self._apart is None or not isinstance(self._writer, Writer):
            return []
        self._writer.hand_over()
        return [self._apart]


@dataclass(frozen=True)
class Part:
    """What some of the samples, or all, have added up to.

    Attributes:
        accumulated: the sums of all samples as one.
        blocks: block of samples → its sums, of the positions that have blocks.
        targets: batches of targets, in order, where they have not been written yet.
        n_samples: how many there were.
        rows: files that hold what else has not been written yet, in order.
    """

    accumulated: Accumulated
    blocks: dict[int, Accumulated]
    targets: list[Array]
    n_samples: int
    rows: list[Path] = field(default_factory=list)


def add_up(
    passes: PassPlan,
    group: Sequence[int],
    batches: Iterator[NumberedBatch],
    rows: RowStore | None,
    progress: Callable[[int], None],
) -> Part:
    """Take batches through the network, and return what they add up to.

    Args:
        passes: the network, and what is watched in it.
        group: the positions to add up.
        batches: in the order of the samples.
        rows: takes the rows of samples; None where an earlier pass has had them.
        progress: called with samples done, after every batch.
    """
    run, plan = passes.run, passes.plan
    sums = passes.accumulators(group)
    on_gpu = accumulates(run.device)
    cuts = BlockEnds(passes.block_ends())
    batches = (replace(b, pieces=cuts.of(b.first_sample, len(b.y))) for b in batches)
    if on_gpu:
        for one in sums:
            one.whole.move(run.device)
        batches = ahead(map(partial(_sent, run), batches), SENT_AHEAD)
    keep = rows is not None and rows.features
    workers = [worker(run, plan, one, keep=keep) for one in sums]
    blocks = BlockSums(sums, passes.most_blocks)
    done = last = 0
    with threads_for(passes.n_workers, widest=max(plan.widths), work=plan.work * plan.batch):
        for taken in in_order(batches, workers, busy=on_gpu and keep, run=passes.run_of_batches):
            if rows is not None:
                rows.take(taken)
            done += len(taken.y)
            first, last = taken.blocks
            blocks.gather(first, before=last)
            progress(done)
        files = [] if rows is None else rows.end()
        blocks.gather(last, before=last + 1)
        for one in sums:
            one.whole.bring_back()
        whole = together([one.whole for one in sums])
        return Part(whole, blocks.found, [] if rows is None else rows.targets, done, files)


def _sent(run: Forward, batch: NumberedBatch) -> NumberedBatch:
    """Return a batch whose inputs are on the network's device, or on their way."""
    return replace(batch, sent=run.inputs(batch.x, batch.first_sample))


def worker(
    run: Forward, plan: CallPlan, sums: WorkerSums, *, keep: bool
) -> Callable[[NumberedBatch], Taken]:
    """Return what takes a batch through the network and into sums of its own.

    Args:
        run: the network, shared with other workers.
        plan: which of its layers are watched.
        sums: this worker's own.
        keep: whether the features are wanted afterwards, to be stored.
    """

    def work(batch: NumberedBatch) -> Taken:
        kept: dict[int, NDArray[Any]] = {}
        tokens: dict[int, NDArray[np.int64]] = {}
        pieces = [(found, rows) for b, rows in batch.pieces if (found := sums.of(b)) is not None]

        def take(position: int, reached: Features) -> bool:
            rows, counts = reached
            y, ends = batch.y, None
            if counts is not None:
                tokens[position] = counts
                y, ends = np.repeat(y, counts, axis=0), np.append(0, np.cumsum(counts))
            if keep:  # as a copy: the network may still write to these
                kept[position] = to_numpy(rows).astype(run.stored_dtype)
            finite = sums.whole.take(position, rows, y)
            for block, samples in pieces:
                own = samples if ends is None else slice(ends[samples.start], ends[samples.stop])
                finite &= block.take(position, rows[own], y[own])
            return finite

        with torch.inference_mode():  # known to each thread alone
            inputs = run.inputs(batch.x, batch.first_sample) if batch.sent is None else batch.sent
            made = run.forward(inputs, batch.y, plan, first_sample=batch.first_sample, take=take)
        sums.whole.look_at(batch.x)
        for accumulated, of in ((sums.whole, slice(None)), *pieces):
            counted = {position: counts[of] for position, counts in tokens.items()}
            accumulated.update(None if made is None else made[of], batch.y[of], counted)
        first, last = batch.pieces[0][0], batch.pieces[-1][0]
        sums.close(before=last)
        return Taken(batch.y, kept, (first, last))

    return work
