"""The pass itself: batches through the network, moments into accumulators, all into a file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from nrcscan.acts_file import kept_in_memory, writing
from nrcscan.cpu_threads import blas_threads
from nrcscan.errors import InputError, UsageError
from nrcscan.extracting.accumulate import Accumulated, NumberedBatch, Part, lane, together
from nrcscan.extracting.check_resources import announce_space
from nrcscan.extracting.plan_passes import PassPlan
from nrcscan.extracting.provenance import provenance_of
from nrcscan.extracting.torchrun_ranks import team
from nrcscan.extracting.worker_threads import ahead, in_order, threads_for
from nrcscan.inputs.datasets.batches import Batch as Rows
from nrcscan.inputs.datasets.batches import Dataset
from nrcscan.metrics.quantities import learned
from nrcscan.network.build import Network
from nrcscan.network.capture import evaluating
from nrcscan.network.forward import CallPlan, Forward
from nrcscan.network.predictions import PredictionChoice, to_numpy
from nrcscan.options.pass_options import Settings
from nrcscan.statistics.moments import Array
from nrcscan.statistics.moments_on_gpu import accumulates
from nrcscan.statistics.scratch_memory import hold_on_to_memory

BATCH = 256
"""Samples per forward pass, unless told otherwise."""

LARGE_BATCH = 1024
"""Likewise where samples are narrow: a layer's weights are read once for more of them."""

SENT_AHEAD = 2
"""Batches that are read and sent to a GPU while it works on the one before."""

NARROW = 2048
"""Numbers that reach a layer, per sample, up to which a sample is narrow."""


@dataclass(frozen=True)
class Extraction:
    """What an extraction did.

    Attributes:
        path: of the file it wrote.
        n_samples: N.
        layers: names, in execution order.
        r2: of the network on the samples; None when the targets do not vary.
        notes: what the user should know: what was inferred, what was left out.
    """

    path: Path
    n_samples: int
    layers: tuple[str, ...]
    r2: float | None
    notes: tuple[str, ...]


def run_pass(
    network: Network,
    origin: dict[str, Any],
    dataset: Dataset,
    path: Path,
    settings: Settings,
    *,
    force: bool = False,
    held: kept_in_memory.KeptInMemory | None = None,
    on_note: Callable[[str], None] = lambda note: None,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Extraction:
    """Run a network over a dataset once, and write the statistics to a file.

    Args:
        network: with its weights in place, on its device; it is left as it is.
        origin: where the weights came from, for the file's provenance.
        dataset: inputs and targets.
        path: the file to write.
        settings: what to watch, and how.
        force: replace an existing file.
        held: takes what is written, for a report that need not read it back.
        on_note: called with every note as it comes up.
        on_progress: called with samples done, and in all if known, after every batch.

    Raises:
        NrcscanError: the network does not take the data, a value is not finite, or the file
            cannot be written.
    """
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        on_note(text)

    for text in network.notes:
        note(text)
    if network.inferred:
        note(
            f"network inferred from the weights: {network.layout}; the activation cannot be read"
            " from them and is --activation's choice"
        )
    output = PredictionChoice.parse(settings.output_key, settings.output_slice)
    run = Forward(network.module, settings.pool, network.fixed_batch, output)
    total = dataset.n_samples
    if total is not None:
        total = max(total - settings.offset, 0)
        total = total if settings.limit is None else min(total, settings.limit)
    size = network.fixed_batch or settings.batch_size or BATCH
    hold_on_to_memory()
    with ExitStack() as stack:
        stack.enter_context(evaluating(network.module))
        stack.enter_context(blas_threads(1))
        ranks = stack.enter_context(team())
        ranks.check(total)
        first, batches = _peeked(dataset.batches(size, settings.limit, settings.offset))
        plan = run.plan(first[0], settings.layers, settings.exclude, note)
        plan.batch = size
        free = network.fixed_batch is None and settings.batch_size is None and not dataset.once
        if free and len(first[1]) == size and plan.largest <= NARROW:
            plan.batch = LARGE_BATCH
            batches = dataset.batches(plan.batch, settings.limit, settings.offset)
        passes = PassPlan(run, plan, first[1].shape[1], settings)
        _announce(passes, dataset, on_note)
        if settings.activations:
            announce_space(path, plan, total, run.stored_dtype, on_note)
        writer: writing.Writer | None = None
        if ranks.first:
            writer = stack.enter_context(
                writing.create(
                    path, n_samples=total, force=force, compress=settings.compress, held=held
                )
            )
            for record, weight in zip(plan.records, plan.weights, strict=True):
                writer.add_layer(record, to_numpy(weight))
        rows, apart = writer, None
        if not ranks.first and settings.activations:
            share = None if total is None else math.ceil(total / ranks.size)
            rows, apart = stack.enter_context(
                writing.apart(path, n_samples=share, compress=settings.compress)
            )
        elif ranks.size > 1 and not settings.activations:
            rows = None
        part: Part | None = None
        for number, group in enumerate(passes.order):
            if number > 0:
                batches = dataset.batches(plan.batch, settings.limit, settings.offset)
            mine = ranks.mine(batches, total)
            into = rows if number == 0 else None
            work = partial(_add_up, run, plan, passes, group, mine, into, settings, on_progress)
            part = ranks.gathered(partial(work, total, apart))
            if part is not None and writer is not None:
                if part.n_samples != (total or part.n_samples):
                    raise InputError(
                        f"{dataset.name}: ended after {part.n_samples} of {total} samples"
                    )
                total = part.n_samples
                for y in part.targets if number == 0 else ():
                    writer.append("targets/values", y)
                for file in part.rows if number == 0 else ():
                    writer.append_from(file)
                with _overflow(dataset):
                    passes.keep(number, part.accumulated, writer)
            passes.tests = ranks.shared(passes.tests)
        r2 = None
        if part is not None and writer is not None:
            with _overflow(dataset):
                outcome = part.accumulated.output()
            r2 = outcome.r2
            for doubt in _doubts(r2, part.accumulated, inferred=network.inferred):
                note(doubt)
            provenance = provenance_of(
                network, origin, dataset, settings, run, plan.batch, part.n_samples, notes
            )
            epsilon = max(torch.finfo(run.dtype).eps, passes.epsilon)
            writer.finish(outcome, provenance, epsilon, passes.epsilon)
    return Extraction(path, total or 0, tuple(r.name for r in plan.records), r2, tuple(notes))


def _peeked(batches: Iterator[Rows]) -> tuple[Rows, Iterator[Rows]]:
    """Return the first batch, and all of them."""
    first = next(batches)
    return first, chain([first], batches)


def _add_up(
    run: Forward,
    plan: CallPlan,
    passes: PassPlan,
    group: Sequence[int],
    batches: Iterator[NumberedBatch],
    writer: writing.Writer | None,
    settings: Settings,
    on_progress: Callable[[int, int | None], None],
    total: int | None,
    apart: Path | None,
) -> Part:
    """Take batches through the network and return what they add up to.

    Their rows go to the writer as they come, or, where there is none, the targets are kept. The
    writer's file is named in what is returned where it is a file `apart`.
    """
    lanes = passes.accumulators(group)
    beside = accumulates(run.device)
    if beside:
        for one in lanes:
            one.move(run.device)
        batches = ahead(map(partial(_sent, run), batches), SENT_AHEAD)
    keep = settings.activations and writer is not None
    workers = [lane(run, plan, one, keep=keep) for one in lanes]
    targets: list[Array] = []
    done = 0
    with threads_for(passes.lanes, widest=max(plan.widths), work=plan.work * plan.batch):
        for taken in in_order(batches, workers, busy=beside and keep):
            if writer is None:
                targets.append(taken.y)
            else:
                writer.append("targets/values", taken.y)
                for position, rows in taken.features.items():
                    writer.append(f"positions/{position:04d}/activations", rows)
            done += len(taken.y)
            on_progress(done, total)
        if apart is not None and writer is not None:
            writer.hand_over()
        for one in lanes:
            one.bring_back()
        return Part(together(lanes), targets, done, [] if apart is None else [apart])


def _sent(run: Forward, batch: NumberedBatch) -> NumberedBatch:
    """Return a batch whose inputs are on the network's device, or on their way."""
    return replace(batch, sent=run.inputs(batch.x, batch.first_sample))


@contextmanager
def _overflow(dataset: Dataset) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise InputError(f"{dataset.name}: {error}; rescale inputs and targets") from error


def _announce(passes: PassPlan, dataset: Dataset, say: Callable[[str], None]) -> None:
    """Say how often the data will be read, if more than once, and whether it can be."""
    if (announcement := passes.announcement()) is not None:
        say(announcement)
    if len(passes.order) > 1 and dataset.once:
        raise UsageError(
            f"{dataset.name}: can be read a single time, and {len(passes.order)} passes are"
            " needed; give a file, or an iterable that can begin again"
        )


def _doubts(r2: float | None, accumulated: Accumulated, *, inferred: bool) -> Iterator[str]:
    """Yield what a network that explains nothing suggests about how it was run."""
    if r2 is None or learned(r2):
        return
    if accumulated.far_from_unit_scale:
        yield (
            f"R² is {r2:.3g} and the inputs are far from unit scale ({accumulated.input_range}):"
            " if the network was trained on standardised data, use --standardize"
        )
    if inferred:
        yield (
            f"the inferred network explains nothing (R² = {r2:.3g}): if it was trained, the"
            " inference is wrong; try --activation, or name its factory with --model"
        )
