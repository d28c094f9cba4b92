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

from nrcscan.acts_file.writing import Writer
from nrcscan.extracting.accumulate import Accumulated, together
from nrcscan.extracting.plan_passes import PassPlan
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
    """

    first_sample: int
    x: Inputs
    y: Array
    sent: Any = None


@dataclass(frozen=True)
class Taken:
    """What is left of a batch once it is added up.

    Attributes:
        y: its targets.
        features: of every position, as they are stored; empty where none are.
    """

    y: Array
    features: dict[int, NDArray[Any]]


class RowStore:
    """Takes the rows of samples as they come.

    Args:
        writer: of the file that they go to; without one, the targets are kept for another's.
        features: whether features are stored, not targets alone.
        apart: the writer's file, where it is one that another writer appends from.

    Attributes:
        targets: batches of targets, in order, where there is no writer.
    """

    def __init__(self, writer: Writer | None, *, features: bool, apart: Path | None = None) -> None:
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
        if self._apart is None or self._writer is None:
            return []
        self._writer.hand_over()
        return [self._apart]


@dataclass(frozen=True)
class Part:
    """What some of the samples, or all, have added up to.

    Attributes:
        accumulated: the sums.
        targets: batches of targets, in order, where they have not been written yet.
        n_samples: how many there were.
        rows: files that hold what else has not been written yet, in order.
    """

    accumulated: Accumulated
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
    if on_gpu:
        for one in sums:
            one.move(run.device)
        batches = ahead(map(partial(_sent, run), batches), SENT_AHEAD)
    keep = rows is not None and rows.features
    workers = [worker(run, plan, one, keep=keep) for one in sums]
    done = 0
    with threads_for(passes.n_workers, widest=max(plan.widths), work=plan.work * plan.batch):
        for taken in in_order(batches, workers, busy=on_gpu and keep):
            if rows is not None:
                rows.take(taken)
            done += len(taken.y)
            progress(done)
        files = [] if rows is None else rows.end()
        for one in sums:
            one.bring_back()
        return Part(together(sums), [] if rows is None else rows.targets, done, files)


def _sent(run: Forward, batch: NumberedBatch) -> NumberedBatch:
    """Return a batch whose inputs are on the network's device, or on their way."""
    return replace(batch, sent=run.inputs(batch.x, batch.first_sample))


def worker(
    run: Forward, plan: CallPlan, accumulated: Accumulated, *, keep: bool
) -> Callable[[NumberedBatch], Taken]:
    """Return what takes a batch through the network and into an accumulator of its own.

    Args:
        run: the network, shared with other workers.
        plan: which of its layers are watched.
        accumulated: this worker's own.
        keep: whether the features are wanted afterwards, to be stored.
    """

    def work(batch: NumberedBatch) -> Taken:
        kept: dict[int, NDArray[Any]] = {}
        tokens: dict[int, NDArray[np.int64]] = {}

        def take(position: int, reached: Features) -> bool:
            rows, counts = reached
            y = batch.y
            if counts is not None:
                tokens[position] = counts
                y = np.repeat(y, counts, axis=0)
            if keep:  # as a copy: the network may still write to these
                kept[position] = to_numpy(rows).astype(run.stored_dtype)
            return accumulated.take(position, rows, y)

        with torch.inference_mode():  # known to each thread alone
            inputs = run.inputs(batch.x, batch.first_sample) if batch.sent is None else batch.sent
            predictions = run.forward(
                inputs, batch.y, plan, first_sample=batch.first_sample, take=take
            )
        accumulated.update(batch.x, predictions, batch.y, tokens)
        return Taken(batch.y, kept)

    return work
