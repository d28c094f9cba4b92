"""What an extraction must have to go on with another's sums, so that its file is the same."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from nrcscan.extracting.plan_passes import PassPlan
from nrcscan.extracting.provenance import versions_used
from nrcscan.inputs.arrays import each, parts
from nrcscan.inputs.datasets.batches import Batch, Dataset
from nrcscan.network.build import Network
from nrcscan.network.call_plan import Features
from nrcscan.network.predictions import to_numpy
from nrcscan.options.option import declared
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.record import as_json

FIRST = 64
"""Of the first samples so many go through the network, to see that it computes what it did."""

_PLACE_IN_MEMORY = re.compile(r" at 0x[0-9a-f]+")
_SHOWN = 40


def conditions(
    network: Network, origin: dict[str, Any], dataset: Dataset, passes: PassPlan, first: Batch
) -> dict[str, Any]:
    """Return what must be alike, in words → its value, as JSON has it.

    Args:
        network: as it is measured.
        origin: where its weights came from.
        dataset: on which samples.
        passes: what is added up, and how.
        first: the first samples.
    """
    run, settings = passes.run, passes.settings
    found = {
        **{f"the checkpoint's {name}": told for name, told in _known(origin).items()},
        "the weights": None if origin["sha256"] else _hash_of(run.module),
        "the network": [network.source, network.layout],
        "the layers": [list(passes.names), list(passes.plan.widths)],
        **{f"the data's {name}": told for name, told in _known(dataset.provenance).items()},
        "the number of samples": dataset.n_samples,
        **{
            field.flag: _without_places(as_json(settings[name]))  # type: ignore[literal-required]
            for name, field in declared(PassOptions).items()
        },
        "the batch": passes.plan.batch,
        "the passes": passes.order,
        "the device": str(run.device),
        "the precision": str(run.dtype).removeprefix("torch."),
        "the number of workers": passes.n_workers,
        "the number of threads": torch.get_num_threads(),
        **versions_used(),
        "what the network computes": _hash_of_first(passes, first),
    }
    kept: dict[str, Any] = json.loads(json.dumps(found))  # as it will be read
    return kept


def differences(kept: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what differs, in words.

    >>> differences({"--pool": "max", "torch": "2.11"}, {"--pool": "mean", "torch": "2.11"})
    ['--pool: mean (was max)']
    """
    return [
        f"{name}: {_shown(now.get(name))} (was {_shown(kept.get(name))})"
        for name in dict.fromkeys([*now, *kept])
        if kept.get(name) != now.get(name)
    ]


def _known(origin: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a file but for where it is, which may change."""
    return {name: as_json(told) for name, told in origin.items() if name != "path"}


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= _SHOWN else f"{text[:12]}…"


def _without_places(value: Any) -> Any:
    """Return an option without where in memory its function or object is."""
    if isinstance(value, dict):
        return {name: _without_places(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_places(one) for one in value]
    return _PLACE_IN_MEMORY.sub("", value) if isinstance(value, str) else value


def _hash_of(module: nn.Module) -> str:
    """Return the SHA-256 of a network's weights and buffers, in hex."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
            plain = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(plain.view(torch.uint8).numpy().data if plain.numel() else b"")
    return digest.hexdigest()


def _hash_of_first(passes: PassPlan, first: Batch) -> str:
    """Return the SHA-256 of the features and predictions of the first samples, in hex."""
    x, y = each(first[0], lambda part: part[:FIRST]), first[1][:FIRST]
    digest = hashlib.sha256()

    def take(position: int, reached: Features) -> bool:
        digest.update(f"{position} {tuple(reached.rows.shape)} ".encode())
        digest.update(np.ascontiguousarray(to_numpy(reached.rows)).data)
        return True

    run = passes.run
    with torch.inference_mode():
        made = run.forward(run.inputs(x, 0), y, passes.plan, first_sample=0, take=take)
    digest.update(b"" if made is None else np.ascontiguousarray(made).data)
    return digest.hexdigest()


def seen(before: str, batch: Batch) -> str:
    """Return the hash of all samples so far, of the hash before and the next batch of them."""
    digest = hashlib.sha256(before.encode())
    for name, part in {**parts(batch[0]), "the targets": batch[1]}.items():
        digest.update(f"{name} {part.dtype.str} {part.shape} ".encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.hexdigest()
