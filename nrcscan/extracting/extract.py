"""From a checkpoint and a dataset to a file of statistics: opens both, and measures."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

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
from nrcscan.options.check import checked
from nrcscan.options.describe import described
from nrcscan.options.pass_options import PassOptions

__all__ = ["Extraction", "extract", "open_data", "open_network"]


@described(PassOptions)
def extract(
    model: str | Path | nn.Module,
    data: Any,
    output: str | Path = "acts.h5",
    *,
    force: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
    **options: Unpack[PassOptions],
) -> Extraction:
    """Measure a trained network on a dataset in one pass, and write the statistics to a file.

    Args:
        model: a checkpoint's path, or a network in memory.
        data: the path of an `.npz`, CSV, TSV, Parquet, HDF5, MATLAB, safetensors or `.pt` file or
            of a folder of `Dataset.save_to_disk`, two paths of `.npy` files or of a folder of
            images and the CSV of their targets, two arrays, a torch Dataset, or an iterable of
            (inputs, targets) batches; or "package.module:callable" or "path/file.py:callable"
            that returns one of the latter.
        output: the HDF5 file to write.
        force: replace an existing output.
        on_note: called with every note as it comes up.
        on_progress: called with samples done, and in all if known, after every batch.
        options: see `nrcscan.options.pass_options`.

    Raises:
        NrcscanError: anything is wrong with the inputs, the options or the output.
        TypeError: there is no such option.
    """
    settings = checked(PassOptions, options, "extract")
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
    model: str | Path | nn.Module, settings: PassOptions
) -> tuple[Network, dict[str, Any]]:
    """Return the network on its device, and where its weights came from.

    Raises:
        NrcscanError: there is no such checkpoint, network or device, or they do not fit.
    """
    dtype, device = settings["dtype"], settings["device"]
    if isinstance(model, nn.Module):
        if settings["factory"] is not None or settings["state_key"] is not None:
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
    if settings["pythonpath"] is not None:
        importable(Path(settings["pythonpath"]))
    checkpoint = open_checkpoint(
        model,
        state_key=settings["state_key"],
        trust=settings["trust"],
        build=settings["factory"] is None,
    )
    network = build(
        checkpoint,
        factory=settings["factory"],
        factory_args=settings["factory_args"],
        activation=settings["activation"],
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


def open_data(data: Any, settings: PassOptions) -> Dataset:
    """Return the dataset, on the scale that the network was trained on.

    Raises:
        NrcscanError: it cannot be read or used.
    """
    dataset = open_dataset(
        data,
        x_key=settings["x_key"],
        y_key=settings["y_key"],
        targets=settings["targets"],
        n_targets=settings["n_targets"],
        images=settings["images"],
    )
    if settings["standardize"]:
        dataset = standardized(
            dataset,
            settings["standardize"],
            settings["scales"],
            settings["limit"],
            settings["offset"],
        )
    return dataset
