"""What is said of a file that was given as a checkpoint and is something else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py

from nrcscan.acts_file.plain_attributes import PlainAttributes
from nrcscan.acts_file.schema import FORMAT
from nrcscan.errors import InputError, NrcscanError, UnsafeError
from nrcscan.files import sniff
from nrcscan.inputs.checkpoints.contents import damaged
from nrcscan.inputs.checkpoints.pickle_globals import wanted_globals
from nrcscan.wording import listed

_KERAS_GROUPS = {"model_weights", "_layer_checkpoint_dependencies", "_CHECKPOINTABLE_OBJECT_GRAPH"}
_TAKEN = "give a checkpoint of torch.save or safetensors"


def no_checkpoint(path: Path, what: str) -> NrcscanError:
    """Return the error that a file is something else than a checkpoint.

    Args:
        path: of the file.
        what: it is instead, as `recognise` says.
    """
    if what == sniff.DAMAGED_ZIP:
        return damaged(path, ValueError(f"it is {what}"))
    if what == sniff.NPZ:
        return InputError(f"{path}: is an .npz data archive; give MODEL before DATA")
    if what == sniff.PICKLE:
        wanted = wanted_globals(path)
        asks = f" that asks for {listed(wanted)}" if wanted else ""
        return UnsafeError(
            f"{path}: not opened, because it is a pickle{asks}, and unpickling runs code;"
            " save model.state_dict() with torch.save or safetensors"
        )
    kind = sniff.kind(path)
    if what not in (kind.words, sniff.ZIP):  # what more than the content told
        kind = sniff.Kind(what)
    elif sniff.hdf5_offset(path) is not None:
        kind = _of_hdf5(path, kind)
    words = f"{sniff.ZIP} but no PyTorch checkpoint" if what == sniff.ZIP else kind.words
    return InputError(f"{path}: is {words}; {kind.remedy or _next_step(kind)}")


def _next_step(kind: sniff.Kind) -> str:
    if kind.holds == "data":
        return f"{_TAKEN}, as MODEL before DATA"
    if kind.holds == "network":
        return "convert it to ONNX, or to a state dict of PyTorch in safetensors"
    return _TAKEN


def _of_hdf5(path: Path, kind: sniff.Kind) -> sniff.Kind:
    """Return what an HDF5 file holds, by the marks that programs leave in it."""
    try:
        with h5py.File(path, "r") as file:
            marks = PlainAttributes(file)
            names, ours = {*marks}, marks.plain("format") == FORMAT.encode()
            groups = {*file}
    except (OSError, RuntimeError, ValueError, LookupError, TypeError):
        return sniff.Kind(f"{kind.words}, damaged or cut short", "copy it again")
    if ours:
        return sniff.Kind(
            "a file of statistics, which nrcscan extract has written", "see it with nrcscan report"
        )
    if names & {"keras_version", "layer_names"} or groups & _KERAS_GROUPS:
        return sniff.Kind("a Keras model (HDF5)", sniff.KERAS)
    if "_NCProperties" in names:
        return replace(kind, words="a NetCDF file")
    return kind
