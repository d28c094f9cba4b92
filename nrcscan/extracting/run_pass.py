"""From a network and a dataset to a file of statistics, in as many passes as it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

from nrcscan.acts_file.kept_in_memory import NO_FILE, KeptInMemory, TakesActs
from nrcscan.cpu_threads import blas_threads
from nrcscan.errors import InputError, UsageError
from nrcscan.extracting.add_up import Part, RowStore, add_up
from nrcscan.extracting.begin_output import Output, begun_output, row_store
from nrcscan.extracting.check_resources import announce_space
from nrcscan.extracting.end_of_pass import doubts_of, ended, overflow
from nrcscan.extracting.extraction import Extraction
from nrcscan.extracting.listener import SILENT, Listener
from nrcscan.extracting.notes_on_network import of_inference
from nrcscan.extracting.plan_passes import PassPlan
from nrcscan.extracting.provenance import provenance_of
from nrcscan.extracting.resume import left_of, resumable
from nrcscan.extracting.resumed_alike import conditions
from nrcscan.extracting.settle_guess import settled, trial_of
from nrcscan.extracting.torchrun_ranks import Team, team
from nrcscan.extracting.unfinished import Unfinished
from nrcscan.inputs.datasets.batches import Batch, Dataset
from nrcscan.network.build import Network
from nrcscan.network.evaluation_mode import evaluating
from nrcscan.network.forward import Forward
from nrcscan.network.masks import MaskChoice
from nrcscan.network.predictions import PredictionChoice
from nrcscan.network.probe import probe
from nrcscan.options.pass_options import PassOptions
from nrcscan.statistics.scratch_memory import hold_on_to_memory

BATCH = 256
"""Samples per forward pass, unless told otherwise."""

LARGE_BATCH = 1024
"""Likewise where samples are narrow: a layer's weights are read once for more of them."""

NARROW = 2048
"""Numbers that reach a layer, per sample, up to which a sample is narrow."""


@dataclass
class _Job:
    """What all passes over the data share.

    Attributes:
        passes: what is added up each time, and how.
        dataset: inputs and targets.
        ranks: the processes that share the samples.
        writer: takes what is measured, on the first rank; None on the others.
        rows: takes the rows of samples, in the first pass.
        total: how many samples there are, where that is known.
        listener: hears of every batch, and when all is measured.
        kept: keeps what has been done, to go on with it; None without --resume.
    """

    passes: PassPlan
    dataset: Dataset
    ranks: Team
    writer: TakesActs | None
    rows: RowStore
    total: int | None
    listener: Listener
    kept: Unfinished | None = None

    def run(self, batches: Iterator[Batch]) -> Part | None:
        """Make every pass, the first over these batches.

        What the last one has added up is returned on the first rank, None on the others.
        """
        part: Part | None = None
        for number in range(len(self.passes.order)):
            if number > 0:
                batches = _batches(self.dataset, self.passes.plan.batch, self.passes.settings)
            part = None if self.kept is None else self.kept.ended(number)
            if part is None:
                part = self.ranks.gathered(partial(self._pass, number, batches))
                if self.kept is not None and part is not None:
                    self._require_all(part)
                    self.kept.end_pass(part)
            if part is not None and self.writer is not None:
                self._write(number, part, self.writer)
            self.passes.tests = self.ranks.shared(self.passes.tests)
        self.listener.measured()
        return part

    def _pass(self, number: int, batches: Iterator[Batch]) -> Part:
        """Add up this rank's samples, those of all passes told of as one work."""
        total, n_passes = self.total, len(self.passes.order)
        before, whole = number * (total or 0), None if total is None else total * n_passes
        if self.kept is None:
            mine = self.ranks.mine(batches, total)
        else:
            mine = left_of(self.dataset, batches, self.passes, total, self.kept)
        listener = replace(
            self.listener,
            progress=lambda done, total: self.listener.progress(before + done, whole),
        )
        rows = self.rows if number == 0 else None
        return add_up(self.passes, self.passes.order[number], mine, rows, listener, self.kept)

    def _require_all(self, part: Part) -> None:
        """Refuse what has ended too soon, or too late.

        Raises:
            InputError: the data is read several times, and had other samples than at first.
        """
        if part.n_samples != (self.total or part.n_samples):
            raise InputError(
                f"{self.dataset.name}: ended after {part.n_samples} of {self.total} samples;"
                " give data that has the same samples each time that it is read"
            )

    def _write(self, number: int, part: Part, writer: TakesActs) -> None:
        """Write what a pass has left: rows that ranks have kept, and statistics."""
        self._require_all(part)
        self.total = part.n_samples
        for y in part.targets:
            writer.append("targets/values", y)
        for file in part.rows:
            writer.append_from(file)
        with overflow(self.dataset):
            self.passes.keep(number, part.accumulated, part.blocks, writer)


def run_pass(
    network: Network,
    origin: dict[str, Any],
    dataset: Dataset,
    output: Output | None,
    settings: PassOptions,
    *,
    in_memory: KeptInMemory | None = None,
    listener: Listener = SILENT,
) -> Extraction:
    """Run a network over a dataset once, and write the statistics to a file.

    Args:
        network: with its weights in place, on its device; it is left as it is.
        origin: where the weights came from, for the file's provenance.
        dataset: inputs and targets.
        output: the file to write; None for none, as `in_memory` takes everything.
        settings: what to watch, and how; without a file no features are stored.
        in_memory: takes what is written, for a report that need not read it back.
        listener: hears how it goes.

    Raises:
        NrcscanError: the network does not take the data, a value is not finite, or the file
            cannot be written.
    """
    path = NO_FILE if output is None else output.path
    notes: list[str] = []
    note = listener.keeping(notes)
    for text in (*network.notes, *network.weight_notes, *dataset.notes):
        note(text)
    run = _forward(network, dataset, settings)
    total = _samples(dataset, settings)
    r2: float | None = None
    doubts: tuple[str, ...] = ()
    hold_on_to_memory()
    with evaluating(network.module), blas_threads(1), team() as ranks, ExitStack() as stack:
        ranks.check(total)
        passes, batches = _planned(run, dataset, settings, note)
        trial, batches = trial_of(network, run, dataset, settings, batches)
        network = settled(network, ranks.shared(trial))
        for text in of_inference(network):
            note(text)
        _announce(passes, dataset, output, total, listener)
        alike = partial(conditions, network, origin, dataset, passes)
        going_on = resumable(output, passes, batches, total, ranks, listener, alike)
        kept, batches = stack.enter_context(going_on)
        begun = begun_output(output, passes, total, in_memory)
        writer = stack.enter_context(begun) if ranks.first else None
        rows = stack.enter_context(row_store(path, writer, ranks, settings, total, kept))
        job = _Job(passes, dataset, ranks, writer, rows, total, replace(listener, note=note), kept)
        part = job.run(batches)
        if part is not None and writer is not None:
            provenance = provenance_of(network, origin, dataset, passes, part.n_samples)
            outcome = ended(passes, dataset, part.accumulated, provenance, writer, note, notes)
            r2 = outcome.r2
            if network.inferred and in_memory is None:  # of what is in memory a report is made
                doubts = doubts_of(passes, part.accumulated, outcome, provenance)
    for doubt in doubts:
        listener.note(doubt)
    return Extraction(path, job.total or 0, passes.names, r2, (*notes, *doubts), network.trial)


def _forward(network: Network, dataset: Dataset, settings: PassOptions) -> Forward:
    """Return a network ready to run as the options say, its predictions in the targets' axes."""
    key, columns, wanted = (
        settings["output_key"],
        settings["output_slice"],
        settings["predictions"],
    )
    output = PredictionChoice.parse(key, columns, wanted=wanted)
    return Forward(
        network.module,
        settings["pool"],
        network.fixed_batch,
        replace(output, axes=dataset.target_axes),
        MaskChoice(settings["mask"]),
    )


def _samples(dataset: Dataset, settings: PassOptions) -> int | None:
    """Return how many samples will be read, if that is known."""
    if dataset.n_samples is None:
        return None
    there = max(dataset.n_samples - settings["offset"], 0)
    return there if settings["limit"] is None else min(there, settings["limit"])


def _batches(dataset: Dataset, size: int, settings: PassOptions) -> Iterator[Batch]:
    return dataset.batches(size, settings["limit"], settings["offset"])


def _planned(
    run: Forward, dataset: Dataset, settings: PassOptions, note: Callable[[str], None]
) -> tuple[PassPlan, Iterator[Batch]]:
    """Look at the first samples, and return what will be added up, and all batches."""
    size = run.fixed_batch or settings["batch_size"] or BATCH
    batches = _batches(dataset, size, settings)
    x, y = first = next(batches)
    plan = probe(run, x, settings["layers"], settings["exclude"], note)
    plan.batch = size
    free = run.fixed_batch is None and settings["batch_size"] is None and not dataset.once
    if free and len(y) == size and plan.largest <= NARROW:
        plan.batch = LARGE_BATCH
        batches = _batches(dataset, plan.batch, settings)
    else:
        batches = chain([first], batches)
    return PassPlan(run, plan, y.shape[1], settings, _samples(dataset, settings)), batches


def _announce(
    passes: PassPlan,
    dataset: Dataset,
    output: Output | None,
    total: int | None,
    listener: Listener,
) -> None:
    """Say how often the data will be read, if more than once, and how much is stored.

    Raises:
        UsageError: memory holds the statistics of some layers at a time, and the data can be read
            only once.
        OutputError: the disk has no room for it.
    """
    if (announcement := passes.announcement()) is not None:
        listener.note(announcement)
    if len(passes.order) > 1 and dataset.once:
        raise UsageError(
            f"{dataset.name}: can be read a single time, and {len(passes.order)} passes are"
            " needed; give a file, or an iterable that can begin again"
        )
    if passes.settings["activations"] and output is not None:
        announce_space(output, passes.plan, total, passes.run.stored_dtype, listener.space)
