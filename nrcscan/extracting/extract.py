"""From a checkpoint and a dataset to a file of statistics: opens both, and measures."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from nrcscan.errors import UsageError
from nrcscan.extracting.check_resources import usable_device
from nrcscan.extracting.listener import Listener
from nrcscan.files import write_atomically
from nrcscan.files.claims import holding
from nrcscan.files.untouched import Untouched
from nrcscan.inputs.check_first import needs_torch, require_there, watched
from nrcscan.inputs.datasets.batches import Dataset
from nrcscan.inputs.datasets.open_dataset import open_dataset
from nrcscan.inputs.datasets.split import Split, part_of
from nrcscan.inputs.datasets.standardize import standardized
from nrcscan.inputs.user_code import importable, named_in, pickled_in, require_pickled_define
from nrcscan.options.check import checked
from nrcscan.options.describe import described
from nrcscan.options.faces import heard, names_keywords
from nrcscan.options.pass_options import PassOptions

if TYPE_CHECKING:  # a call that is wrong is told so before torch is imported
    from torch import nn

    from nrcscan.extracting.extraction import Extraction
    from nrcscan.inputs.checkpoints.contents import Checkpoint
    from nrcscan.network.build import Network


@names_keywords
@described(PassOptions)
def extract(
    model: str | Path | nn.Module,
    data: Any,
    output: str | Path = "acts.h5",
    *,
    force: bool = False,
    resume: bool = False,
    on_note: Callable[[str], None] | None = None,
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
        resume: keep what is done, beside the output, until the end, and go on with what was
            kept: with the same arguments the file is the same, bit for bit, as if nothing had been.
        on_note: called with every note as it comes up; by default the logger `nrcscan` shows it.
        on_progress: called with samples done, and in all if known, after every batch; each pass
            over the data counts them once more.
        options: see `nrcscan.options.pass_options`.

    Raises:
        NrcscanError: anything is wrong with the inputs, the options or the output.
        TypeError: there is no such option.
    """
    settings = checked(PassOptions, options, "extract")
    path = Path(output)
    given = [model, *(data if isinstance(data, list | tuple) else [data])]
    paths = [one for one in given if isinstance(one, str | Path)]

    def require_writable() -> None:
        write_atomically.require_apart(path, paths, (b"\x89HDF",))
        write_atomically.require_free(path, force=force)

    with holding():
        network, origin, dataset, files = opened(model, data, settings, require_writable)
        from nrcscan.extracting.begin_output import Output
        from nrcscan.extracting.run_pass import run_pass

        note = heard(on_note)
        listener = Listener(note, on_progress, files.check, space=note)
        written = Output(path, force=force, resume=resume)
        return run_pass(network, origin, dataset, written, settings, listener=listener)


def opened(
    model: str | Path | nn.Module,
    data: Any,
    settings: PassOptions,
    require_writable: Callable[[], None] = lambda: None,
) -> tuple[Network, dict[str, Any], Dataset, Untouched]:
    """Open both, and return the network, where its weights came from, the data and the files.

    Args:
        model: as `extract` takes it.
        data: likewise.
        settings: of the pass.
        require_writable: called before torch is imported, where data is opened without it.

    Raises:
        NrcscanError: anything is wrong with the inputs or the options.
    """
    require_there(model, data, settings)
    dataset = None if needs_torch(data) else open_data(data, settings)
    require_writable()  # last: it hides nothing else that is wrong
    files = watched(model, data, settings)
    network, origin = open_network(model, settings)
    dataset = dataset or open_data(data, settings)
    files.check()
    return network, origin, dataset, files


def open_network(
    model: str | Path | nn.Module, settings: PassOptions
) -> tuple[Network, dict[str, Any]]:
    """Return the network on its device, and where its weights came from.

    Raises:
        NrcscanError: there is no such checkpoint, network or device, or they do not fit.
    """
    import torch
    from torch import nn

    from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint
    from nrcscan.network.build import Network, build
    from nrcscan.network.precision import notes_on_precision, put_in

    dtype, device = settings["dtype"], settings["device"]
    if isinstance(model, nn.Module):
        if settings["factory"] is not None or settings["state_key"] is not None:
            raise UsageError(
                "a network in memory needs neither factory nor state_key; leave them out"
            )
        if settings["ignore"]:
            raise UsageError("a network in memory has no tensors to ignore; leave ignore out")
        notes: list[str] = []
        if dtype is not None or device is not None:  # the user's own stays as it is
            model = copy.deepcopy(model)
            if dtype is not None:
                state = model.state_dict()
                notes = notes_on_precision(state, getattr(torch, dtype), asked=True)
                put_in(model, getattr(torch, dtype), state)
            if device is not None:
                model.to(usable_device(device))
        source = {"path": None, "sha256": None}
        return Network(model, type(model).__qualname__, weight_notes=tuple(notes)), source
    if not isinstance(model, str | Path):
        raise UsageError(
            f"model is a {type(model).__name__}: give a checkpoint's path or an nn.Module"
        )
    if settings["pythonpath"] is not None:
        importable(Path(settings["pythonpath"]))
    factory, script = named_in(settings["factory"])
    if settings["trust"] and not settings["run_script"]:
        require_pickled_define(Path(model), settings["pythonpath"])
    with pickled_in(script):
        checkpoint = open_checkpoint(
            model,
            state_key=settings["state_key"],
            ignore=settings["ignore"],
            trust=settings["trust"],
            build=factory is None,
        )
    network = build(
        checkpoint,
        factory=factory,
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
        drop=settings["drop"],
        images=settings["images"],
    )
    training = None
    if settings["split"] is not None:
        split = Split.parse(settings["split"])
        training, dataset = part_of(dataset, replace(split, part="train")), part_of(dataset, split)
    if settings["standardize"]:
        dataset = standardized(
            dataset,
            settings["standardize"],
            settings["scales"],
            settings["limit"],
            settings["offset"],
            training=training,
        )
    return dataset
