"""Puts raw inputs and targets on the scale that a network was trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrcscan.errors import InputError, UsageError
from nrcscan.files import open_safely
from nrcscan.inputs.arrays import each
from nrcscan.inputs.datasets.batches import Batch, Dataset, target_rows
from nrcscan.inputs.datasets.numpy_files import read_arrays
from nrcscan.wording import listed

PARTS = ("x", "y")


@dataclass(frozen=True)
class Scale:
    """Mean and spread of every entry of a sample; an entry that never varies has spread 1."""

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    def of_rows(self) -> Scale:
        """Return the scale of samples that have become rows; one number stays one."""
        return Scale(*(v.reshape(-1) if v.ndim else v for v in (self.mean, self.std)))

    def apply(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Return values (n, …) less the mean, over the spread."""
        return (np.asarray(values, dtype=np.float64) - self.mean) / self.std


def standardized(
    dataset: Dataset,
    parts: Sequence[str],
    statistics: str | Path | None,
    limit: int | None,
    offset: int = 0,
    *,
    training: Dataset | None = None,
) -> Dataset:
    """Return a dataset whose inputs ("x"), targets ("y") or both are standardised.

    Args:
        dataset: the raw one; without `statistics` it is read once more, beforehand.
        parts: "x", "y" or both.
        statistics: an `.npz` of x_mean, x_std, y_mean, y_std, as far as they are needed; None
            takes them from the data itself.
        limit: how many samples count for statistics from the data.
        offset: how many samples come before those.
        training: of data that was split, the training part: statistics from the data are those
            of all its samples, as they were when the network was trained.

    Raises:
        UsageError: what is to be put on scale is neither x nor y, or cannot be from this data.
        InputError: the file of --scales cannot be read, or its statistics do not fit the samples.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise UsageError(f"--standardize {','.join(parts)}: give x, y or x,y")
    fingerprint = None
    if statistics is None:
        if dataset.once:
            raise UsageError(
                f"{dataset.name}: can be read only once, so its own statistics cannot be taken;"
                " give them with --scales, or data that can be read again"
            )
        if training is not None:
            scales, source = _measured(training, parts, None, 0), "the training part"
        else:
            scales, source = _measured(dataset, parts, limit, offset), "the data"
    else:
        scales = _saved(Path(statistics), parts)
        source = str(Path(statistics).resolve())
        fingerprint = open_safely.sha256(Path(statistics))

    def stream(batch_size: int) -> Iterator[Batch]:
        for x, y in dataset.stream(batch_size):
            if "x" in parts and not isinstance(x, np.ndarray):
                raise _several(dataset.name)
            yield (
                each(x, lambda part: _scaled(part, "x", scales, dataset.name)),
                _scaled(
                    target_rows(y, dataset.name, dataset.target_axes), "y", scales, dataset.name
                ),
            )

    told = {"parts": list(parts), "statistics": source, "sha256": fingerprint}
    provenance = {**dataset.provenance, "standardized": told}
    return replace(dataset, stream=stream, provenance=provenance)


def _several(name: str) -> UsageError:
    """Return the error that data has several inputs.

    Raises:
        UsageError: which of several inputs is meant is not known.
    """
    return UsageError(
        f"--standardize x: {name} has several inputs; put them on scale in your own code (--data)"
    )


def _scaled(values: NDArray[Any], part: str, scales: dict[str, Scale], name: str) -> NDArray[Any]:
    """Return values on scale.

    Raises:
        InputError: the mean or spread is not of one sample's shape, nor one number.
    """
    if part not in scales:
        return values
    scale = scales[part] if part == "x" else scales[part].of_rows()
    for statistic in (scale.mean, scale.std):
        if statistic.shape not in ((), values.shape[1:]):
            raise InputError(
                f"{name}: {part} has samples of shape {values.shape[1:]}, and its statistics"
                f" {statistic.shape}; take both from the same data"
            )
    return scale.apply(values)


def _measured(
    dataset: Dataset, parts: Sequence[str], limit: int | None, offset: int
) -> dict[str, Scale]:
    """Take the statistics in one pass, about the first sample."""
    n = 0
    sums: dict[str, list[NDArray[np.float64]]] = {}
    for batch in dataset.batches(1024, limit, offset):
        for part, values in zip(PARTS, batch, strict=True):
            if part not in parts:
                continue
            if not isinstance(values, np.ndarray):
                raise _several(dataset.name)
            rows = np.asarray(values, dtype=np.float64)
            if part not in sums:
                sums[part] = [rows[0], np.zeros_like(rows[0]), np.zeros_like(rows[0])]
            shift, total, squares = sums[part]
            total += (rows - shift).sum(axis=0)
            squares += ((rows - shift) ** 2).sum(axis=0)
        n += len(batch[1])
    scales = {}
    for part, (shift, total, squares) in sums.items():
        move = total / n
        std = np.sqrt(np.maximum(squares / n - move**2, 0))
        scales[part] = Scale(shift + move, np.where(std > 0, std, 1.0))
    return scales


def _saved(path: Path, parts: Sequence[str]) -> dict[str, Scale]:
    """Return the statistics in a file.

    Raises:
        InputError: the file of --scales lacks statistics, or is damaged.
    """
    open_safely.regular_file(path, "statistics")
    needed = [f"{part}_{name}" for part in parts for name in ("mean", "std")]
    try:
        found = read_arrays(path, needed)
    except ValueError as error:
        raise InputError(f"{path}: not a readable .npz of statistics; save it again") from error
    missing = [key for key in needed if key not in found]
    if missing:
        raise InputError(
            f"{path}: lacks {listed(missing)}; save them with np.savez, one number each or"
            " one for every entry of a sample"
        )
    held = {key: values.astype(np.float64) for key, values in found.items()}
    for key, values in held.items():
        if not np.isfinite(values).all() or (key.endswith("std") and not (values > 0).all()):
            raise InputError(
                f"{path}: {key} must be finite, and a spread positive; save other statistics"
            )
    return {part: Scale(held[f"{part}_mean"], held[f"{part}_std"]) for part in parts}
