"""Which of what a network returns are its predictions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from nrcscan.errors import InputError, UsageError
from nrcscan.statistics.moments import Array
from nrcscan.wording import listed


@dataclass(frozen=True)
class PredictionChoice:
    """How to find predictions (n, n_targets) in an output.

    Attributes:
        key: of a dict, a field of a dataclass, or the index in a tuple; None takes the first
            tensor.
        columns: from which column of it to which, for heads that predict more than the mean.
    """

    key: str | None = None
    columns: tuple[int | None, int | None] = (None, None)

    @classmethod
    def parse(cls, key: str | None, columns: str | None) -> PredictionChoice:
        """Return what `--output-key` and `--output-slice` ask for.

        Raises:
            UsageError: the slice is not one.

        >>> PredictionChoice.parse("mean", ":2")
        PredictionChoice(key='mean', columns=(None, 2))
        """
        if columns is None:
            return cls(key)
        found = re.fullmatch(r"(-?\d+)?:(-?\d+)?", columns.strip())
        if found is None:
            raise UsageError(f"--output-slice {columns}: write from:to, such as :2")
        first, last = (None if bound is None else int(bound) for bound in found.groups())
        return cls(key, (first, last))

    def predictions(self, output: Any, n: int, wanted: tuple[int, ...]) -> Array:
        """Return the first n predictions as (n, n_targets).

        Raises:
            InputError: there are none of the shape `wanted`.
        """
        tensor = self.tensor(output)
        if tensor.is_complex():
            raise InputError("the network predicts complex numbers; targets are real")
        if tensor.ndim > 0:
            tensor = tensor[:n]
        shape = tuple(tensor.shape)
        if tensor.ndim > 1:
            tensor = tensor.flatten(1)[:, slice(*self.columns)]
        elif tensor.ndim == 1:
            tensor = tensor[:, None]
        if tuple(tensor.shape) != wanted:
            raise InputError(
                f"the network predicts shape {shape} where the targets have {wanted}; check that"
                " data and network belong together, or choose with --output-key and --output-slice"
            )
        return np.asarray(to_numpy(tensor), dtype=np.float64)

    def remark(self, output: Any) -> str | None:
        """Return what the user should know of the choice among what a network returns."""
        name = type(output).__name__
        if isinstance(output, Distribution):
            return f"the network returns a {name} distribution, whose mean is the prediction"
        if self.key is not None or isinstance(output, Tensor):
            return None
        tensors = _tensors(output)
        if not tensors:
            return None
        first = _first(tensors)
        shape = tensors[first].shape
        if first in _tensors(output) and isinstance(_parts(output)[first], Distribution):
            return f"the prediction is the mean of the distribution {first} of the {name} returned"
        others = [key for key, part in tensors.items() if part.shape == shape and key != first]
        if not others:
            return None
        return (
            f"the network returns a {name} with {listed(tensors)}, of which {first} is the"
            f" prediction; --output-key takes another"
        )

    def tensor(self, output: Any) -> Tensor:
        """Return the one tensor among what a network returns that holds its predictions.

        Raises:
            InputError: there is none, or none by that key.
        """
        output = _mean_of(output)
        if isinstance(output, Tensor):
            if self.key is not None:
                raise InputError(f"--output-key {self.key}: the network returns a single tensor")
            return output
        tensors = _tensors(output)
        if not tensors:
            raise InputError(
                f"the network returns a {type(output).__name__} without a tensor in it; wrap it in"
                " a factory that returns its predictions"
            )
        if self.key is None:
            return tensors[_first(tensors)]
        if self.key not in tensors:
            raise InputError(
                f"--output-key {self.key}: the network returns a {type(output).__name__} with"
                f" {listed(tensors)}"
            )
        return tensors[self.key]


_SPREADS = re.compile(r"(log_?)?(std|var|scale|sigma|variance|stddev|cov|covariance|precision)")
_MEANS = ("mean", "mu", "loc")


def _first(tensors: Mapping[str, Tensor]) -> str:
    """Return which tensor is the prediction: the first, or the mean beside a spread."""
    means = [key for key in _MEANS if key in tensors]
    if means and any(_SPREADS.fullmatch(key) for key in tensors):
        return means[0]
    return next(iter(tensors))


def _tensors(output: Any) -> dict[str, Tensor]:
    """Return the tensors of a structured output by name or index, of distributions the mean."""
    parts = {key: _mean_of(part) for key, part in _parts(output).items()}
    return {key: part for key, part in parts.items() if isinstance(part, Tensor)}


def _mean_of(output: Any) -> Any:
    """Return the mean of a distribution, and anything else as it is.

    Raises:
        InputError: it has none.
    """
    if not isinstance(output, Distribution):
        return output
    try:
        mean = output.mean
    except NotImplementedError:
        mean = None
    if mean is None or bool(mean.isnan().all()):
        raise InputError(
            f"the network returns a {type(output).__name__} distribution, which has no mean; wrap"
            " it in a factory that returns its predictions"
        )
    return mean


def _parts(output: Any) -> dict[str, Any]:
    """Return the parts of a structured output by name or index."""
    if isinstance(output, Mapping):
        return {str(key): value for key, value in output.items()}
    if is_dataclass(output) and not isinstance(output, type):
        return {f.name: getattr(output, f.name) for f in fields(output)}
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return dict(zip(output._fields, output, strict=True))
    if isinstance(output, Sequence) and not isinstance(output, str):
        return {str(index): value for index, value in enumerate(output)}
    return {}


def to_numpy(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array; half precision, which NumPy may not know, as float32."""
    tensor = tensor.detach().cpu()
    array: NDArray[Any] = (tensor if tensor.itemsize > 2 else tensor.float()).numpy()
    return array
