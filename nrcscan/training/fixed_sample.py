"""The samples that a network is measured on while it trains: drawn once, and kept in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Subset

from nrcscan.errors import UsageError
from nrcscan.extracting.extract import open_data
from nrcscan.inputs.arrays import Inputs, each, joined
from nrcscan.inputs.datasets.batches import Batch, Dataset
from nrcscan.inputs.datasets.in_memory import from_arrays
from nrcscan.options.check import part
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.training_options import MonitorOptions
from nrcscan.scanning.data_source import data_fingerprint, data_paths
from nrcscan.training.left_as_found import same_random_numbers
from nrcscan.wording import reason

READ_ROWS = 1024
"""Samples that are read at a time."""


@dataclass(frozen=True)
class FixedSample:
    """Samples in memory.

    Attributes:
        x: inputs (n, …), one array or several.
        y: targets (n, n_targets).
        dataset: of both, as a pass reads it.
        source: what they are known by, as scan.json has it.
    """

    x: Inputs
    y: NDArray[Any]
    dataset: Dataset
    source: dict[str, Any]


def drawn(data: Any, options: MonitorOptions) -> FixedSample:
    """Draw the samples to measure on; a draw keeps their order, and uses no one's random numbers.

    Samples that are all there are known by their file, others by what they hold.

    Args:
        data: as `nrcscan.extract` takes it.
        options: which of it.

    Raises:
        NrcscanError: it cannot be read or used.
        UsageError: samples are of different shapes.
    """
    settings = part(PassOptions, options)
    with same_random_numbers():
        dataset, rows = _of_torch(data, settings, options), None
        if dataset is None:
            dataset = open_data(data, settings)
            rows = _places(dataset.n_samples, settings, options)
            taken = list(_rows(dataset, settings, rows, options["samples"]))
        else:
            taken = list(dataset.batches(READ_ROWS))
    try:
        x, y = joined([x for x, _ in taken]), np.concatenate([y for _, y in taken])
    except ValueError as error:
        raise UsageError(
            f"{dataset.name}: samples of different shapes ({reason(error)}); make them one shape"
        ) from error
    content = from_arrays(x, y, name=dataset.name, provenance=None)
    whole = dataset.n_samples == len(y)
    if whole and dataset.provenance.get("sha256") is not None:
        content = replace(content, provenance=dataset.provenance)
    source = {"source": None, "sha256": [content.provenance["sha256"]]}
    if whole and data_paths(data):
        source = data_fingerprint(data, lambda _: None)
    sample = replace(content, notes=dataset.notes, target_axes=dataset.target_axes)
    return FixedSample(x, y, sample, source)


def _of_torch(data: Any, settings: PassOptions, options: MonitorOptions) -> Dataset | None:
    """Return the drawn samples alone of a torch Dataset, or of the one that a loader shuffles.

    None where others have to be read too.
    """
    loader = data if isinstance(data, DataLoader) else None
    sized = _sized(data if loader is None else loader.dataset)
    if sized is None or settings["split"] is not None or settings["standardize"]:
        return None
    places = _places(len(sized), settings, options)
    if places is None:
        n = min(options["samples"], settings["limit"] or len(sized))
        places = np.arange(min(n, max(len(sized) - settings["offset"], 0)))
    chosen: Any = Subset(sized, [settings["offset"] + int(place) for place in places])
    if loader is not None:
        size = loader.batch_size or READ_ROWS
        chosen = DataLoader(chosen, batch_size=size, collate_fn=loader.collate_fn)
    return open_data(chosen, settings)


def _sized(data: Any) -> Any:
    """Return a torch Dataset whose samples are made one by one, by index; None for other data."""
    of_samples = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return data if of_samples and not isinstance(data, str | Sequence | dict) else None


def _places(
    total: int | None, settings: PassOptions, options: MonitorOptions
) -> NDArray[np.intp] | None:
    """Return the places of the drawn samples among those of the pass; None for the first ones."""
    if total is None:
        return None
    total = max(total - settings["offset"], 0)
    total = min(total, settings["limit"] or total)
    if options["draw"] == "first" or total <= options["samples"]:
        return None
    chosen = np.random.default_rng(options["seed"]).choice(total, options["samples"], replace=False)
    return np.sort(chosen)


def _rows(
    dataset: Dataset, settings: PassOptions, rows: NDArray[np.intp] | None, n: int
) -> Iterator[Batch]:
    """Yield the chosen rows of every batch, or the first n."""
    last = n if rows is None else int(rows[-1]) + 1
    limit = min(last, settings["limit"] or last)
    seen = 0
    for x, y in dataset.batches(READ_ROWS, limit, settings["offset"]):
        here = np.arange(len(y))
        if rows is not None:
            here = rows[(rows >= seen) & (rows < seen + len(y))] - seen
        seen += len(y)
        yield each(x, itemgetter(here)), y[here]
