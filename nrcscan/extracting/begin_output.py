"""Begins what a pass writes: the file of statistics, or what stands for it, and rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from nrcscan.acts_file import writing
from nrcscan.acts_file.kept_in_memory import KeptInMemory, TakesActs
from nrcscan.extracting.add_up import RowStore
from nrcscan.extracting.plan_passes import PassPlan
from nrcscan.extracting.torchrun_ranks import Team
from nrcscan.extracting.unfinished import RowShards, Unfinished
from nrcscan.network.predictions import to_numpy
from nrcscan.options.pass_options import PassOptions


@dataclass(frozen=True)
class Output:
    """Where a pass writes.

    Attributes:
        path: of the file.
        force: replace what is there.
        resume: keep what is done until the end, and go on with what was kept.
    """

    path: Path
    force: bool = False
    resume: bool = False


@contextmanager
def begun_output(
    output: Output | None, passes: PassPlan, total: int | None, in_memory: KeptInMemory | None
) -> Iterator[TakesActs]:
    """Begin the file, or what stands for it, with the network's layers."""
    compress = passes.settings["compress"]
    made: AbstractContextManager[TakesActs]
    if output is None:
        assert in_memory is not None
        made = nullcontext(in_memory)
    else:
        made = writing.create(
            output.path,
            n_samples=total,
            force=output.force,
            compress=compress,
            in_memory=in_memory,
        )
    with made as writer:
        plan = passes.plan
        for record, weight, beside in zip(plan.records, plan.weights, plan.beside, strict=True):
            writer.add_layer(record, to_numpy(weight), beside)
        yield writer


@contextmanager
def row_store(
    path: Path,
    writer: TakesActs | None,
    ranks: Team,
    settings: PassOptions,
    total: int | None,
    kept: Unfinished | None,
) -> Iterator[RowStore]:
    """Have a place for this rank's rows: the file, one beside it, or memory for targets alone."""
    if kept is not None:
        features, compress = settings["activations"], settings["compress"]
        with RowShards(kept, features=features, compress=compress) as kept.rows:
            yield kept.rows
    elif ranks.first and (ranks.size == 1 or settings["activations"]):
        yield RowStore(writer, features=settings["activations"])
    elif not settings["activations"]:
        yield RowStore(None, features=False)
    else:
        share = None if total is None else math.ceil(total / ranks.size)
        compress = settings["compress"]
        apart = writing.apart(path, ranks.rank, n_samples=share, compress=compress)
        with apart as (rows, file):
            yield RowStore(rows, features=True, apart=file)
