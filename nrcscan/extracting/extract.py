"""From a checkpoint and a dataset to a file of statistics: opens both, and measures."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nrcscan.errors import UsageError
from nrcscan.extracting.check_resources import require_apart, usable_device
from nrcscan.extracting.listener import Listener
from nrcscan.extracting.run_pass import Extraction, run_pass
from nrcscan.files import write_atomically
from nrcscan.inputs.checkpoints.contents import Checkpoint
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint
from nrcscan.inputs.datasets.batches import Dataset
from nrcscan.inputs.datasets.open_dataset import open_dataset
from nrcscan.inputs.datasets.standardize import standardized
from nrcscan.inputs.user_code import importable
from nrcscan.network.build import Network, build
from nrcscan.options.choices import DType, Pool, Precision
from nrcscan.options.pass_options import Settings

__all__ = ["Extraction", "extract", "open_data", "open_network"]


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
    precision: Precision = "float64",
    sketch: int | None = None,
    sketch_passes: int = 1,
    memory: int | None = None,
    compress: bool = False,
    batch_size: int | None = None,
    limit: int | None = None,
    offset: int = 0,
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
        precision: what covariances are multiplied in; they are added up in float64.
        sketch: approximate the features' covariances from so many random directions, with
            bounds on the error: for wide layers.
        sketch_passes: 2 sharpens a sketch with a second pass over the data.
        memory: bytes that covariances may take; what does not fit waits for another pass.
        compress: the stored features, with gzip.
        batch_size: samples per forward pass; by default 1,024 where a sample is narrow in every
            layer, else 256.
        limit: at most so many samples.
        offset: leave out so many samples before the first: a shard is offset and limit.
        device: where the network runs; by default the CPU for a checkpoint, and where it is
            for a network in memory.
        dtype: what the network runs in; by default float32 for a checkpoint, and its own for
            a network in memory or an ONNX model.
        force: replace an existing output.
        on_note: called with every note as it comes up.
        on_progress: called with samples done, and in all if known, after every batch.

    Raises:
        NrcscanError: anything is wrong with the inputs, the options or the output.
    """
    settings = Settings(
        factory=factory,
        factory_args=factory_args or {},
        state_key=state_key,
        trust=trust,
        pythonpath=pythonpath,
        activation=activation,
        x_key=x_key,
        y_key=y_key,
        targets=targets,
        n_targets=n_targets,
        images=images,
        standardize=standardize,
        scales=scales,
        layers=layers,
        exclude=exclude,
        pool=pool,
        output_key=output_key,
        output_slice=output_slice,
        activations=activations,
        precision=precision,
        sketch=sketch,
        sketch_passes=sketch_passes,
        memory=memory,
        compress=compress,
        batch_size=batch_size,
        limit=limit,
        offset=offset,
        device=device,
        dtype=dtype,
    )
    path = Path(output)
    write_atomically.require_free(path, force=force)
    require_apart(path, model, data)
    network, origin = open_network(model, settings)
    return run_pass(
        network,
        origin,
        open_data(data, settings),
        path,
        settings,
        force=force,
        listener=Listener(on_note, on_progress),
    )


def open_network(
    model: str | Path | nn.Module, settings: Settings
) -> tuple[Network, dict[str, Any]]:
    """Return the network on its device, and where its weights came from.

    Raises:
        NrcscanError: there is no such checkpoint, network or device, or they do not fit.
    """
    dtype, device = settings.dtype, settings.device
    if isinstance(model, nn.Module):
        if settings.factory is not None or settings.state_key is not None:
            raise UsageError("a network in memory needs neither factory nor state_key")
        if dtype is not None or device is not None:  # the user's own stays as it is
            model = copy.deepcopy(model).to(
                device=None if device is None else usable_device(device),
                dtype=None if dtype is None else getattr(torch, dtype),
            )
        return Network(model, type(model).__qualname__), {"path": None, "sha256": None}
    if not isinstance(model, str | Path):
        raise UsageError(
            f"model is a {type(model).__name__}: give a checkpoint's path or an nn.Module"
        )
    if settings.pythonpath is not None:
        importable(Path(settings.pythonpath))
    checkpoint = open_checkpoint(
        model,
        state_key=settings.state_key,
        trust=settings.trust,
        build=settings.factory is None,
    )
    network = build(
        checkpoint,
        factory=settings.factory,
        factory_args=settings.factory_args,
        activation=settings.activation,
        dtype=None if dtype is None else getattr(torch, dtype),
    )
    network.module.to(usable_device(device or "cpu"))
    return network, origin(checkpoint)


def origin(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return where weights came from, for a file's provenance."""
    return {
        "path": str(checkpoint.path.resolve()),
        "sha256": checkpoint.sha256,
        "format": checkpoint.format,
        "state_key": checkpoint.state_key,
    }


def open_data(data: Any, settings: Settings) -> Dataset:
    """Return the dataset, on the scale that the network was trained on.

    Raises:
        NrcscanError: it cannot be read or used.
    """
    dataset = open_dataset(
        data,
        x_key=settings.x_key,
        y_key=settings.y_key,
        targets=settings.targets,
        n_targets=settings.n_targets,
        images=settings.images,
    )
    if settings.standardize:
        dataset = standardized(
            dataset, settings.standardize, settings.scales, settings.limit, settings.offset
        )
    return dataset
