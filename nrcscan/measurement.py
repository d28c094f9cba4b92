"""The pass itself: batches through the network, moments into accumulators, all into a file."""

from __future__ import annotations

import datetime
import json
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nrcscan import store
from nrcscan.capture import evaluating
from nrcscan.dataset import Dataset
from nrcscan.errors import InputError
from nrcscan.forward import Features, Forward, Plan
from nrcscan.inputs import Inputs, parts
from nrcscan.limits import announce_space, require_memory
from nrcscan.model import Network
from nrcscan.moments import Array, Moments, Statistics
from nrcscan.onset import LEARNED_R2
from nrcscan.output import Output, to_numpy
from nrcscan.settings import Settings

UNIT_SCALE = (0.1, 20.0)
"""The largest input, in absolute value, of a usually scaled dataset lies between these."""


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
    if total is not None:
        total = max(total - settings.offset, 0)
        total = total if settings.limit is None else min(total, settings.limit)
    with evaluating(network.module):
        batches = dataset.batches(
            network.fixed_batch or settings.batch_size, settings.limit, settings.offset
        )
        first_x, first_y = next(batches)
        plan = run.plan(first_x, settings.layers, settings.exclude, note)
        require_memory(plan, first_y.shape[1])
        if settings.activations:
            announce_space(path, plan, total, run.stored_dtype, on_note)
        with store.create(path, n_samples=total, force=force) as writer:
            for record, weight in zip(plan.records, plan.weights, strict=True):
                writer.add_layer(record, to_numpy(weight))
            accumulated = _Accumulated(plan, first_y.shape[1])
            done = 0
            for x, y in chain([(first_x, first_y)], batches):
                features, predictions = run.forward(x, y, plan, first_sample=done)
                accumulated.update(x, features, predictions, y)
                writer.append("targets/values", y)
                if settings.activations:
                    for position, reached in enumerate(features):
                        kept = reached.rows.astype(run.stored_dtype, copy=False)
                        writer.append(f"positions/{position:04d}/activations", kept)
                done += len(y)
                on_progress(done, total)
            if total is not None and done < total:
                raise InputError(f"{dataset.name}: ended after {done} of {total} samples")
            try:
                statistics = [moments.statistics() for moments in accumulated.positions]
                targets, output_statistics, r2 = accumulated.outcome()
            except ValueError as error:
                raise InputError(f"{dataset.name}: {error}; rescale inputs and targets") from error
            for doubt in _doubts(r2, accumulated, inferred=network.inferred):
                note(doubt)
            provenance = _provenance(network, origin, dataset, settings, run, done, notes)
            epsilon = torch.finfo(run.dtype).eps
            writer.finish(statistics, targets, output_statistics, provenance, epsilon)
    return Extraction(path, done, tuple(r.name for r in plan.records), r2, tuple(notes))


class _Accumulated:
    """The moments of every position, and of the network's predictions."""

    def __init__(self, plan: Plan, n_targets: int) -> None:
        self.positions = [Moments(width, n_targets) for width in plan.widths]
        # Predictions beside residuals: each keeps its own small variance.
        self._output = Moments(2 * n_targets, n_targets)
        self._t = n_targets
        self._lowest, self._highest = np.inf, -np.inf

    @property
    def far_from_unit_scale(self) -> bool:
        """Whether the inputs are unlike what a network is usually trained on."""
        largest = max(abs(self._lowest), abs(self._highest))
        return not UNIT_SCALE[0] <= largest <= UNIT_SCALE[1]

    @property
    def input_range(self) -> str:
        """The range of the inputs, in words."""
        return f"{self._lowest:.3g} to {self._highest:.3g}"

    def update(self, x: Inputs, features: list[Features], predictions: Array, y: Array) -> None:
        """Take in a batch: inputs, features of every position, predictions and targets."""
        for part in parts(x).values():
            if part.size:
                self._lowest = min(self._lowest, float(part.min()))
                self._highest = max(self._highest, float(part.max()))
        for moments, (rows, counts) in zip(self.positions, features, strict=True):
            moments.update(rows, y if counts is None else np.repeat(y, counts, axis=0))
        self._output.update(np.hstack([predictions, predictions - y]), y)

    def outcome(self) -> tuple[Statistics, store.Predictions, float | None]:
        """Return the statistics beside the targets, those of the predictions, and R²."""
        s, t = self._output.statistics(), self._t
        squared = np.diagonal(s.feature_covariance)[t:] + s.feature_mean[t:] ** 2
        variance = float(np.trace(s.target_covariance))
        r2 = 1 - float(squared.sum()) / variance if variance > 0 else None
        covariance = s.feature_covariance[:t, :t]
        return s, store.Predictions(squared, s.feature_mean[:t], covariance), r2


def _doubts(r2: float | None, accumulated: _Accumulated, *, inferred: bool) -> Iterator[str]:
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
    done: int,
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
        "data": {**dataset.provenance, "rows": [settings.offset, settings.offset + done]},
        "options": {
            "pool": settings.pool,
            "layers": list(settings.layers),
            "exclude": list(settings.exclude),
            "output_key": settings.output_key,
            "output_slice": settings.output_slice,
            "activations": settings.activations,
            "batch_size": network.fixed_batch or settings.batch_size,
            "limit": settings.limit,
            "offset": settings.offset,
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
