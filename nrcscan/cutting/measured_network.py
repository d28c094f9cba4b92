"""The network and the samples that a file of statistics was made of, opened again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nrcscan.acts_file.reading import Acts
from nrcscan.cutting.network_graph import plain
from nrcscan.errors import InputError, UsageError
from nrcscan.extracting.extract import open_data, open_network
from nrcscan.extracting.settle_guess import settled
from nrcscan.inputs.check_first import is_code, require_there
from nrcscan.inputs.datasets.batches import Dataset
from nrcscan.merging.check_parts import rows, section, sources
from nrcscan.network.build import Network
from nrcscan.network.guess import Guess
from nrcscan.options.check import checked
from nrcscan.options.cut_network_options import CutNetworkOptions
from nrcscan.options.option import declared
from nrcscan.options.pass_options import PassOptions
from nrcscan.wording import printable

_ANEW = ("trust", "run_script", "pythonpath")
"""Options of a pass that are given anew, and never taken from a file."""

_NOT_TAKEN = (*_ANEW, "device")


def settings_of(
    provenance: Mapping[str, Any], chosen: CutNetworkOptions, path: Path
) -> PassOptions:
    """Return the options that a file was extracted with, those that are given anew as given.

    Raises:
        InputError: the file does not tell its options, or they make no sense.
    """
    told = section(provenance, "options")
    known = {
        name: told[name]
        for name in declared(PassOptions)
        if name in told and name not in _NOT_TAKEN and told[name] not in (None, [], {})
    }
    known |= {name: value for name, value in chosen.items() if name in _ANEW}
    factory = known.get("factory")
    if isinstance(factory, str) and factory.startswith("<"):  # a callable, as told by its repr
        del known["factory"]
        known.pop("factory_args", None)
    try:
        return checked(PassOptions, known, "extract")
    except (UsageError, TypeError) as error:
        raise InputError(
            f"{path}: what it says of its options makes no sense ({error}); extract it anew"
        ) from error


def open_measured(
    model: str | Path | nn.Module, acts: Acts, chosen: CutNetworkOptions
) -> tuple[Network, PassOptions]:
    """Return the network that a file was measured on, without parametrised weights, in eval mode.

    Args:
        model: the checkpoint; or where:name of its code, the checkpoint then being where the file
            says; or the network itself.
        acts: the file.
        chosen: what is not taken from the file.

    Raises:
        InputError: it is another network, or the file does not tell which.
        UsageError: the file does not say where the checkpoint is.
        NrcscanError: it cannot be opened.
    """
    settings = settings_of(acts.provenance, chosen, acts.path)
    told = section(acts.provenance, "checkpoint")
    if isinstance(model, nn.Module):
        settings = checked(
            PassOptions,
            {
                **settings,
                "factory": None,
                "factory_args": None,
                "activation": None,
                "state_key": None,
                "ignore": (),
                "device": "cpu",
            },
            "extract",
        )
    elif is_code(model):
        settings["factory"] = str(model)
        if not isinstance(told.get("path"), str):
            raise UsageError(
                f"{model}: {acts.path} does not say where the checkpoint is; give that instead"
            )
        model = Path(told["path"])
    require_there(model, None, settings)
    network, origin = open_network(model, settings)
    if isinstance(told.get("sha256"), str) and origin["sha256"] not in (None, told["sha256"]):
        raise InputError(
            f"{model}: is not what {acts.path} was measured on (by its SHA-256); give"
            f" {printable(str(told.get('path')))} or a copy of it"
        )
    guess = section(section(acts.provenance, "model"), "guess")
    if network.inferred and isinstance(guess.get("activation"), str):
        found = Guess(guess["activation"], guess.get("norm_first"))
        if network.chain is not None and found in network.chain.guesses:
            network = settled(replace(network, settled=found), None)
    _require_followed(network.module, str(acts.path))
    module = plain(network.module)
    with suppress(NotImplementedError):  # an exported program cannot leave the mode it has
        module.eval()
    return replace(network, module=module), settings


def _require_followed(module: nn.Module, path: str) -> None:
    """Refuse a network whose operations torch.export cannot see.

    Raises:
        InputError: the network is a TorchScript program, or runs outside torch.
    """
    scripted, outside = isinstance(module, torch.jit.ScriptModule), hasattr(module, "surroundings")
    if scripted or outside:
        raise InputError(
            f"{path}: was measured on {'a TorchScript program' if scripted else 'an ONNX model'},"
            " which cannot be cut; measure the network of a state dict, with the code that builds"
            " it"
        )


@dataclass(frozen=True)
class Samples:
    """Samples that statistics were made of.

    Attributes:
        dataset: where they are.
        offset: the first of them there.
        limit: how many they are.
        settings: how they were read.
    """

    dataset: Dataset
    offset: int
    limit: int
    settings: PassOptions


def samples_of(acts: Acts, data: Any, chosen: CutNetworkOptions, option: str) -> Iterator[Samples]:
    """Yield the samples that a file was measured on, part by part if it was merged.

    Args:
        acts: the file.
        data: where they are; None where the file says.
        chosen: what is not taken from the file.
        option: that says where they are, for messages.

    Raises:
        InputError: they are not there, or other ones are.
        UsageError: the file does not say where they are, or they can be read once.
    """
    for source in sources(acts):
        told = section(source, "data")
        options = {**section(acts.provenance, "options"), **section(source, "options")}
        settings = settings_of({"options": options}, chosen, acts.path)
        where = data if data is not None else told.get("path")
        if where is None:
            raise UsageError(
                f"{acts.path}: does not say where its samples are, which were in memory or came"
                f" from code; give them with {option}"
            )
        where = tuple(where) if isinstance(where, list) and len(where) == 2 else where
        try:
            require_there(None, where, {**settings, "factory": None})
        except InputError as error:
            if data is not None:
                raise
            raise InputError(
                f"{acts.path}: its samples are not where it says ({error}); say with {option} where"
                " they are"
            ) from error
        dataset = open_data(where, settings)
        recorded, found = told.get("sha256"), dataset.provenance.get("sha256")
        if recorded and found and recorded != found:
            raise InputError(
                f"{dataset.name}: are other data than {acts.path} was measured on (by their"
                f" SHA-256); give those with {option}"
            )
        if dataset.once:
            raise UsageError(
                f"{dataset.name}: can be read a single time, and it takes several to try a"
                " network; give a file, or an iterable that can begin again"
            )
        first, stop = rows(source)
        yield Samples(dataset, first, stop - first, settings)
