"""One pass over the data: every batch's way from the dataset into sums and into a file.

A batch comes numbered, its inputs are sent to a GPU ahead of time if there is one, a worker
thread takes it through the network, and the features of every position go into that worker's
sums on the way. What is left of it, its rows, is stored in the order of the samples. At the end
the sums of all workers become one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nrcscan.acts_file.kept_in_memory import TakesActs
from nrcscan.acts_file.writing import Writer
from nrcscan.extracting.accumulate import Accumulated, together
from nrcscan.extracting.listener import Listener
from nrcscan.extracting.plan_passes import PassPlan
from nrcscan.extracting.sample_blocks import BlockEnds, BlockSums, WorkerSums
from nrcscan.extracting.smaller_batches import AtOnce
from nrcscan.extracting.work_on_batch import BatchWorker, NumberedBatch, Taken
from nrcscan.extracting.worker_threads import ahead, in_order, threads_for
from nrcscan.network.forward import Forward
from nrcscan.network.out_of_memory import ran_out
from nrcscan.statistics.moments import Array
from nrcscan.statistics.moments_on_gpu import accumulates

if TYPE_CHECKING:
    from nrcscan.extracting.unfinished import Unfinished

SENT_AHEAD = 2
"""Batches that are read and sent to a GPU while it works on the one before."""


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
    listener: Listener,
    kept: Unfinished | None = None,
) -> Part:
    """Take batches through the network, and return what they add up to.

    Args:
        passes: the network, and what is watched in it.
        group: the positions to add up.
        batches: in the order of the samples.
        rows: takes the rows of samples; None where an earlier pass has had them.
        listener: hears of samples done, after every batch, and where they are taken in halves.
        kept: keeps what it has come to, now and then, and knows what it had before.
    """
    run, plan = passes.run, passes.plan
    sums, blocks, block = _begun(passes, group, kept)
    cuts = BlockEnds(passes.block_ends())
    batches = (replace(b, pieces=cuts.of(b.first_sample, len(b.y))) for b in batches)
    on_gpu = accumulates(run.device)
    if on_gpu:
        batches = ahead(map(partial(_sent, run), batches), SENT_AHEAD)
    keep = rows is not None and rows.features
    at_once = AtOnce(listener.note, _never_halved(passes), None if kept is None else kept.most)
    workers = [BatchWorker(run, plan, one, at_once, keep=keep) for one in sums]
    done, n_batches = (0, 0) if kept is None else (kept.done, kept.batches)
    busy, turns = on_gpu and keep, passes.run_of_batches
    with threads_for(passes.n_workers, widest=max(plan.widths), work=plan.work * plan.batch):
        for stretch in [batches] if kept is None else kept.stretches(batches):
            for taken in in_order(stretch, workers, busy=busy, run=turns, before=n_batches):
                if rows is not None:
                    rows.take(taken)
                done, n_batches = done + len(taken.y), n_batches + 1
                first, block = taken.blocks
                blocks.gather(first, before=block)
                listener.progress(done, None)
            if kept is not None:
                kept.save(sums, blocks, block, done, n_batches, at_once.most)
        files = [] if rows is None else rows.end()
        blocks.gather(block, before=block + 1)
        for one in sums:
            one.whole.bring_back()
        whole = together([one.whole for one in sums])
        return Part(whole, blocks.found, [] if rows is None else rows.targets, done, files)


def _begun(
    passes: PassPlan, group: Sequence[int], kept: Unfinished | None
) -> tuple[list[WorkerSums], BlockSums, int]:
    """Return the sums of workers and of blocks as a pass begins, and the block of its last sample.

    They are empty, or as they were kept.
    """
    sums = passes.accumulators(group)
    blocks = BlockSums(sums, passes.most_blocks)
    block = None if kept is None else kept.restore(sums, blocks)
    if block is None and accumulates(passes.run.device):
        for one in sums:
            one.whole.move(passes.run.device)
    return sums, blocks, block or 0


def _never_halved(passes: PassPlan) -> tuple[str, str] | None:
    """Return why batches cannot be halved, and what to do about it; None where they can."""
    if passes.run.fixed_batch is not None:
        return "the network takes no fewer", "export it for a smaller batch"
    if not passes.plan.stateless:
        return "the network remembers those that it sees", "use a smaller --batch-size"
    return None


def _sent(run: Forward, batch: NumberedBatch) -> NumberedBatch:
    """Return a batch whose inputs are on the network's device, or on their way, if they fit."""
    try:
        return replace(batch, sent=run.inputs(batch.x, batch.first_sample))
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
    return batch  # whoever works on it sends a part at a time
