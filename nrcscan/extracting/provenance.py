"""How a file came about: from what, with which options and versions."""

from __future__ import annotations

import datetime
import json
import math
import platform
from dataclasses import asdict
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
import torch

from nrcscan.extracting.plan_passes import PassPlan
from nrcscan.inputs.datasets.batches import Dataset
from nrcscan.network.build import Network
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.record import as_json, recorded


def provenance_of(
    network: Network,
    origin: dict[str, Any],
    dataset: Dataset,
    passes: PassPlan,
    done: int,
) -> dict[str, Any]:
    """Return how the file came about: from what, with which options and versions.

    The notes are to be put in once there are no more to come.
    """
    settings, run = passes.settings, passes.run
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "checkpoint": origin,
        "model": {
            "source": network.source,
            "inferred": network.inferred,
            "layout": network.layout,
            "head": passes.plan.head,
            **_guessed(network),
            "factory_args": json.dumps(as_json(settings["factory_args"])),
        },
        "data": {**dataset.provenance, "rows": [settings["offset"], settings["offset"] + done]},
        "options": {
            **recorded(PassOptions, settings),
            "batch_size": passes.plan.batch,
            "device": str(run.device),
            "dtype": str(run.dtype).removeprefix("torch."),
        },
        "unmeasured": [asdict(one) for one in passes.plan.unmeasured],
        **_prefixes(passes),
        "blocks": {"number": passes.blocks.number, "lacking": passes.blocks.lacking},
        "notes": [],
        "versions": versions_used(),
    }


def _prefixes(passes: PassPlan) -> dict[str, Any]:
    """Return what the network costs up to each position."""
    if (found := passes.plan.prefixes) is None:
        return {}
    positions = [asdict(prefix) for prefix in found.positions]
    return {"prefixes": {"whole": asdict(found.whole), "positions": positions}}


def _guessed(network: Network) -> dict[str, Any]:
    """Return what was guessed about an inferred network, and on which evidence."""
    guess, trial = network.settled, network.trial
    if guess is None:
        return {}
    told: dict[str, Any] = {"activation": guess.activation, "norm_first": guess.norm_first}
    if trial is not None:
        explained = {str(guess): r2 for guess, r2 in trial.r2.items() if math.isfinite(r2)}
        told |= {"samples": trial.n_samples, "r2": explained}
    return {"guess": told}


@cache
def versions_used() -> dict[str, str]:
    """Return the versions of what numbers depend on."""
    return {
        "nrcscan": metadata.version("nrcscan"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "h5py": metadata.version("h5py"),
    }
