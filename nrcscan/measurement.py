"""The pass itself: batches through the network, moments into accumulators, all into a file."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nrcscan import store
from nrcscan.accumulation import Accumulated, Batch, lane, together
from nrcscan.capture import evaluating
from nrcscan.dataset import Dataset
from nrcscan.dataset.base import Batch as Rows
from nrcscan.errors import InputError
from nrcscan.forward import Forward, Plan
from nrcscan.lanes import in_order, most_lanes, threads_for
from nrcscan.limits import announce_space, require_memory
from nrcscan.model import Network
from nrcscan.moments import Moments
from nrcscan.onset import LEARNED_R2
from nrcscan.output import Output, to_numpy
from nrcscan.settings import Settings


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


def measure(
    network: Network,
    origin: dict[str, Any],
    dataset: Dataset,
    path: Path,
    settings: Settings,
    *,
    force: bool = False,
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
    output = Output.parse(settings.output_key, settings.output_slice)
    run = Forward(network.module, settings.pool, network.fixed_batch, output)
    total = dataset.n_samples
    if total is not None and settings.limit is not None:
        total = min(total, settings.limit)
    with evaluating(network.module):
        batches = dataset.batches(network.fixed_batch or settings.batch_size, settings.limit)
        first_x, first_y = next(batches)
        plan = run.plan(first_x, settings.layers, settings.exclude, note)
        require_memory(plan, first_y.shape[1])
        if settings.activations:
            announce_space(path, plan, total, run.stored_dtype, on_note)
        with store.create(path, n_samples=total, force=force) as writer:
            for record, layer in zip(plan.records, plan.layers, strict=True):
                writer.add_layer(record, to_numpy(layer.weight))
            lanes = _lanes(run, plan, first_y.shape[1], settings)
            workers = [lane(run, plan, one, keep=settings.activations) for one in lanes]
            done = 0
            with threads_for(len(lanes), max(plan.widths)):
                for taken in in_order(_numbered(chain([(first_x, first_y)], batches)), workers):
                    writer.append("targets/values", taken.y)
                    for position, rows in taken.features.items():
                        writer.append(f"positions/{position:04d}/activations", rows)
                    done += len(taken.y)
                    on_progress(done, total)
                accumulated = together(lanes)
            if total is not None and done < total:
                raise InputError(f"{dataset.name}: ended after {done} of {total} samples")
            try:
                statistics = [m.statistics() for m in accumulated.positions.values()]
                output_statistics, r2 = accumulated.predictions()
            except ValueError as error:
                raise InputError(f"{dataset.name}: {error}; rescale inputs and targets") from error
            for doubt in _doubts(r2, accumulated, inferred=network.inferred):
                note(doubt)
            provenance = _provenance(network, origin, dataset, settings, run, notes)
            epsilon = torch.finfo(run.dtype).eps
            writer.finish(statistics, output_statistics, provenance, epsilon)
    return Extraction(path, done, tuple(r.name for r in plan.records), r2, tuple(notes))


def _lanes(run: Forward, plan: Plan, n_targets: int, settings: Settings) -> list[Accumulated]:
    """Return empty accumulators for as many lanes as the network and the machine allow."""
    lanes = most_lanes() if plan.pure and run.device.type == "cpu" else 1
    return [
        Accumulated(
            {p: Moments(width, n_targets) for p, width in enumerate(plan.widths)}, n_targets
        )
        for _ in range(lanes)
    ]


def _numbered(batches: Iterable[Rows]) -> Iterator[Batch]:
    """Yield batches with the number of their first sample."""
    seen = 0
    for x, y in batches:
        yield Batch(seen, x, y)
        seen += len(x)


def _doubts(r2: float | None, accumulated: Accumulated, *, inferred: bool) -> Iterator[str]:
    """Yield what a network that explains nothing suggests about how it was run."""
    if r2 is None or r2 >= LEARNED_R2:
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


def _provenance(
    network: Network,
    origin: dict[str, Any],
    dataset: Dataset,
    settings: Settings,
    run: Forward,
    notes: list[str],
) -> dict[str, Any]:
    """Return how the file came about: from what, with which options and versions."""
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "checkpoint": origin,
        "model": {
            "source": network.source,
            "inferred": network.inferred,
            "layout": network.layout,
            "factory_args": json.dumps(dict(settings.factory_args), default=repr),
        },
        "data": dataset.provenance,
        "options": {
            "pool": settings.pool,
            "layers": list(settings.layers),
            "exclude": list(settings.exclude),
            "output_key": settings.output_key,
            "output_slice": settings.output_slice,
            "activations": settings.activations,
            "batch_size": network.fixed_batch or settings.batch_size,
            "limit": settings.limit,
            "device": str(run.device),
            "dtype": str(run.dtype).removeprefix("torch."),
        },
        "notes": notes,
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    return {
        "nrcscan": metadata.version("nrcscan"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "h5py": metadata.version("h5py"),
    }
