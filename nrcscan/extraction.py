"""One pass over a dataset through a trained network: its statistics, layer by layer, in a file."""

from __future__ import annotations

import copy
import datetime
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nrcscan import store
from nrcscan.capture import evaluating
from nrcscan.checkpoint import Checkpoint, open_checkpoint
from nrcscan.dataset import Dataset, open_dataset, standardized
from nrcscan.errors import InputError, UsageError, listed
from nrcscan.forward import Forward, Plan
from nrcscan.limits import announce_space, require_apart, require_memory, usable_device
from nrcscan.model import Network, build
from nrcscan.moments import Array, Moments
from nrcscan.onset import LEARNED_R2
from nrcscan.options import DTYPES, POOLS, DType, Pool
from nrcscan.output import Output, to_numpy
from nrcscan.usercode import importable

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


def extract(
    model: str | Path | nn.Module,
    data: Any,
    output: str | Path = "acts.h5",
    *,
    factory: str | Callable[..., nn.Module] | None = None,
    factory_args: Mapping[str, Any] | None = None,
    state_key: str | None = None,
    trust: bool = False,
    pythonpath: str | Path | None = None,
    activation: str = "relu",
    x_key: str | None = None,
    y_key: str | None = None,
    targets: Sequence[str] = (),
    n_targets: int | None = None,
    images: str | None = None,
    standardize: Sequence[str] = (),
    scales: str | Path | None = None,
    layers: Sequence[str] = (),
    exclude: Sequence[str] = (),
    pool: Pool = "mean",
    output_key: str | None = None,
    output_slice: str | None = None,
    activations: bool = True,
    batch_size: int = 256,
    limit: int | None = None,
    device: str | None = None,
    dtype: DType | None = None,
    force: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> Extraction:
    """Measure a trained network on a dataset in one pass, and write the statistics to a file.

    Args:
        model: a checkpoint's path, or a network in memory.
        data: the path of an `.npz`, CSV, TSV, Parquet, HDF5, safetensors or `.pt` file or of a
            folder of `Dataset.save_to_disk`, two paths of `.npy` files or of a folder of images
            and the CSV of their targets, two arrays, a torch Dataset, or an iterable of (inputs,
            targets) batches; or "package.module:callable" or "path/file.py:callable" that
            returns one of the latter.
        output: the HDF5 file to write.
        factory: "package.module:callable" or "path/file.py:callable" that builds the network
            of a checkpoint; None infers a plain chain from the weights.
        factory_args: keyword arguments of the factory.
        state_key: which state dict of a training checkpoint.
        trust: open a checkpoint that can run code as it loads.
        pythonpath: a folder to import from, where such a checkpoint needs its classes.
        activation: of an inferred chain.
        x_key: the inputs' key, in a file of named arrays.
        y_key: the targets' key, in a file of named arrays.
        targets: the targets' columns, in a table.
        n_targets: how many of the last columns are targets, in a table.
        images: how images become inputs, such as "channels=grey height=64 width=64 scale=255
            mean=0.5 std=0.25".
        standardize: "x", "y" or both are put to mean 0 and spread 1.
        scales: an `.npz` of x_mean, x_std, y_mean, y_std to do so; by default they are taken
            from the data.
        layers: globs of layer names to watch; all by default.
        exclude: globs of layer names to leave out.
        pool: how positions in space or time become one row of features.
        output_key: where the predictions are in what the network returns: a key, a field or an
            index; by default the first tensor.
        output_slice: which columns of it are the predictions, such as ":2".
        activations: store the features themselves too.
        batch_size: samples per forward pass.
        limit: at most so many samples.
        device: where the network runs; by default the CPU for a checkpoint, and where it is
            for a network in memory.
        dtype: what the network runs in; by default float32 for a checkpoint, and its own for
            a network in memory.
        force: replace an existing output.
        on_note: called with every note as it comes up.
        on_progress: called with samples done, and in all if known, after every batch.

    Raises:
        NrcscanError: anything is wrong with the inputs, the options or the output.
    """
    path = Path(output)
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: give at least 1")
    if limit is not None and limit < 1:
        raise UsageError(f"--limit {limit}: give at least 1")
    if pool not in POOLS:
        raise UsageError(f"--pool {pool}: choose one of {listed(POOLS)}")
    store.require_free(path, force=force)
    require_apart(path, model, data)
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        on_note(text)

    if pythonpath is not None:
        importable(Path(pythonpath))
    opened = (
        model
        if isinstance(model, nn.Module)
        else _opened(model, state_key, trust=trust, build=factory is None)
    )
    network, origin = _network(opened, factory, factory_args, state_key, activation, dtype, device)
    batch_size = network.fixed_batch or batch_size
    for text in network.notes:
        note(text)
    if network.inferred:
        note(
            f"network inferred from the weights: {network.layout}; the activation cannot be read"
            " from them and is --activation's choice"
        )
    dataset = open_dataset(
        data, x_key=x_key, y_key=y_key, targets=targets, n_targets=n_targets, images=images
    )
    if standardize:
        dataset = standardized(dataset, standardize, scales, limit)
    elif scales is not None:
        raise UsageError("--scales goes with --standardize x, y or x,y")
    output_choice = Output.parse(output_key, output_slice)
    run = Forward(network.module, pool, network.fixed_batch, output_choice)
    total = dataset.n_samples
    if total is not None and limit is not None:
        total = min(total, limit)
    with evaluating(network.module):
        batches = dataset.batches(batch_size, limit)
        first_x, first_y = next(batches)
        plan = run.plan(first_x, layers, exclude, note)
        require_memory(plan, first_y.shape[1])
        if activations:
            announce_space(path, plan, total, run.stored_dtype, on_note)
        with store.create(path, n_samples=total, force=force) as writer:
            for record, layer in zip(plan.records, plan.layers, strict=True):
                writer.add_layer(record, to_numpy(layer.weight))
            accumulated = _Accumulated(plan, first_y.shape[1])
            done = 0
            for x, y in chain([(first_x, first_y)], batches):
                features, predictions = run.forward(x, y, plan, first_sample=done)
                accumulated.update(x, features, predictions, y)
                writer.append("targets/values", y)
                if activations:
                    for position, rows in enumerate(features):
                        kept = rows.astype(run.stored_dtype, copy=False)
                        writer.append(f"positions/{position:04d}/activations", kept)
                done += len(x)
                on_progress(done, total)
            _require_whole(dataset, done, total)
            try:
                statistics = [moments.statistics() for moments in accumulated.positions]
                output_statistics, r2 = accumulated.predictions()
            except ValueError as error:
                raise InputError(f"{dataset.name}: {error}; rescale inputs and targets") from error
            for doubt in _doubts(r2, accumulated, inferred=network.inferred):
                note(doubt)
            options = {
                "pool": pool,
                "layers": list(layers),
                "exclude": list(exclude),
                "output_key": output_key,
                "output_slice": output_slice,
                "activations": activations,
                "batch_size": batch_size,
                "limit": limit,
                "device": str(run.device),
                "dtype": str(run.dtype).removeprefix("torch."),
            }
            provenance = {
                "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "checkpoint": origin,
                "model": {
                    "source": network.source,
                    "inferred": network.inferred,
                    "layout": network.layout,
                    "factory_args": json.dumps(factory_args or {}, default=repr),
                },
                "data": dataset.provenance,
                "options": options,
                "notes": notes,
                "versions": _versions(),
            }
            epsilon = torch.finfo(run.dtype).eps
            writer.finish(statistics, output_statistics, provenance, epsilon)
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

    def update(
        self, x: NDArray[Any], features: list[NDArray[Any]], predictions: Array, y: Array
    ) -> None:
        """Take in a batch: inputs, features of every position, predictions and targets."""
        if x.size:
            self._lowest = min(self._lowest, float(x.min()))
            self._highest = max(self._highest, float(x.max()))
        for moments, rows in zip(self.positions, features, strict=True):
            moments.update(rows, y)
        self._output.update(np.hstack([predictions, predictions - y]), y)

    def predictions(self) -> tuple[store.Predictions, float | None]:
        """Return the predictions' statistics, and R²."""
        s, t = self._output.statistics(), self._t
        squared = np.diagonal(s.feature_covariance)[t:] + s.feature_mean[t:] ** 2
        variance = float(np.trace(s.target_covariance))
        r2 = 1 - float(squared.sum()) / variance if variance > 0 else None
        covariance = s.feature_covariance[:t, :t]
        return store.Predictions(squared, s.feature_mean[:t], covariance), r2


# --- before and after the pass ---------------------------------------------------------------


def _opened(model: object, state_key: str | None, *, trust: bool, build: bool) -> Checkpoint:
    if not isinstance(model, str | Path):
        raise UsageError(
            f"model is a {type(model).__name__}: give a checkpoint's path or an nn.Module"
        )
    return open_checkpoint(model, state_key=state_key, trust=trust, build=build)


def _network(
    model: Checkpoint | nn.Module,
    factory: str | Callable[..., nn.Module] | None,
    factory_args: Mapping[str, Any] | None,
    state_key: str | None,
    activation: str,
    dtype: DType | None,
    device: str | None,
) -> tuple[Network, dict[str, Any]]:
    """Return the network, and where its weights came from."""
    if dtype not in (None, *DTYPES):
        raise UsageError(f"--dtype {dtype}: choose one of {listed(DTYPES)}")
    if isinstance(model, nn.Module):
        if factory is not None or state_key is not None:
            raise UsageError("a network in memory needs neither factory nor state_key")
        if dtype is not None or device is not None:  # the user's own stays as it is
            model = copy.deepcopy(model).to(
                device=None if device is None else usable_device(device),
                dtype=None if dtype is None else getattr(torch, dtype),
            )
        return Network(model, type(model).__qualname__), {"path": None, "sha256": None}
    network = build(
        model,
        factory=factory,
        factory_args=factory_args,
        activation=activation,
        dtype=getattr(torch, dtype or "float32"),
    )
    network.module.to(usable_device(device or "cpu"))
    return network, {
        "path": str(model.path.resolve()),
        "sha256": model.sha256,
        "format": model.format,
        "state_key": model.state_key,
    }


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


def _require_whole(dataset: Dataset, done: int, total: int | None) -> None:
    if total is not None and done < total:
        raise InputError(f"{dataset.name}: ended after {done} of {total} samples")


def _versions() -> dict[str, str]:
    return {
        "nrcscan": metadata.version("nrcscan"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "h5py": metadata.version("h5py"),
    }
