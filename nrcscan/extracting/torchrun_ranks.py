"""One extraction by several processes: `torchrun --nproc-per-node K -m nrcscan extract …`.

Each rank takes a contiguous slice of the samples; what they add up is merged in the order of
ranks, and rank 0 alone writes the file. A rank that fails ends the others with its reason.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeVar

from torch import distributed

from nrcscan.errors import InputError, NrcscanError, UsageError
from nrcscan.extracting.accumulate import together
from nrcscan.extracting.add_up import Part
from nrcscan.extracting.work_on_batch import NumberedBatch
from nrcscan.inputs.arrays import each
from nrcscan.inputs.datasets.batches import Batch

Value = TypeVar("Value")


@dataclass(frozen=True)
class Team:
    """The processes that share one extraction, usually a single one.

    Attributes:
        rank: of this one.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def check(self, total: int | None) -> None:
        """Refuse what cannot be shared out.

        Raises:
            UsageError: the number of samples is not known, or less than that of ranks.
        """
        if self.size == 1:
            return
        if total is None or total < self.size:
            raise UsageError(
                "ranks take slices of the samples, so their number must be known and no less than"
                " that of ranks: give a file, or arrays"
            )

    def mine(
        self, batches: Iterable[Batch], total: int | None, before: int = 0
    ) -> Iterator[NumberedBatch]:
        """Yield this rank's slice of all batches, numbered by their first sample.

        So many samples have gone before.
        """
        start = stop = None
        if self.size > 1 and total is not None:
            start, stop = total * self.rank // self.size, total * (self.rank + 1) // self.size
        seen = before
        for x, y in batches:
            first = 0 if start is None else max(start - seen, 0)
            last = len(y) if stop is None else min(stop - seen, len(y))
            if first < last:
                rows = slice(first, last)
                mine = each(x, itemgetter(rows))
                yield NumberedBatch(seen + first, mine, y[rows])
            seen += len(y)
            if stop is not None and seen >= stop:
                return

    def gathered(self, work: Callable[[], Part]) -> Part | None:
        """Return what all ranks have added up, on the first rank; None on the others.

        Raises:
            NrcscanError: another process of torchrun has failed.
        """
        if self.size == 1:
            return work()
        mine: Part | None = None
        failure: NrcscanError | None = None
        try:
            mine = work()
        except NrcscanError as error:
            failure = type(error)(f"rank {self.rank}: {error}")
        failures: list[Any] = [None] * self.size
        parts: list[Any] | None = [None] * self.size if self.first else None
        with self._listening():
            distributed.all_gather_object(failures, failure)
        for found in failures:
            if found is not None:
                raise found
        with self._listening():
            distributed.gather_object(mine, parts)
        if parts is None:
            return None
        return Part(
            together([part.accumulated for part in parts]),
            {
                block: together([part.blocks[block] for part in parts if block in part.blocks])
                for block in sorted({block for part in parts for block in part.blocks})
            },
            [y for part in parts for y in part.targets],
            sum(part.n_samples for part in parts),
            [path for part in parts for path in part.rows],
        )

    def shared(self, value: Value) -> Value:
        """Return the first rank's value on every rank."""
        if self.size == 1:
            return value
        values = [value]
        with self._listening():
            distributed.broadcast_object_list(values)
        return values[0]

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Turn the silence of a rank that has ended into one message."""
        try:
            yield
        except RuntimeError as error:
            raise InputError(
                f"rank {self.rank}: another rank has ended; see what that one says"
            ) from error


def shared_out() -> bool:
    """Whether this is one of several processes of torchrun, which share the samples.

    A program with a process group of its own may measure on one rank only: it does so alone.
    """
    started = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ
    return started and not distributed.is_initialized()


@contextmanager
def team() -> Iterator[Team]:
    """Join the processes that torchrun has started, or be alone.

    Raises:
        InputError: the processes of torchrun do not answer each other.
    """
    if not shared_out():
        yield Team()
        return
    try:
        distributed.init_process_group("gloo")
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"the ranks of torchrun do not find each other: {error};"
            " start them all with one torchrun, or leave it out"
        ) from error
    try:
        yield Team(distributed.get_rank(), distributed.get_world_size())
        # A rank that leaves while another still listens can abort it. One that has failed is not
        # waited for: it says why itself.
        with suppress(RuntimeError):
            distributed.barrier()
    finally:
        distributed.destroy_process_group()
