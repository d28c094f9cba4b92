"""Which of what a network returns are its predictions."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.distributions import Distribution

from nrcscan.errors import InputError, UsageError
from nrcscan.options.choices import COLUMNS
from nrcscan.statistics.moments import Array
from nrcscan.wording import listed


@dataclass(frozen=True)
class PredictionChoice:
    """How to find predictions (n, n_targets) in an output.

    Attributes:
        key: of a dict, a field of a dataclass, or the index in a tuple; several with commas
            between are heads that predict side by side; None takes the first tensor.
        columns: from which column of it to which, for heads that predict more than the mean.
        wanted: whether there are predictions at all; None where the output tells.
        axes: of one sample's targets, where these are several: predictions have the same, or one.
    """

    key: str | None = None
    columns: tuple[int | None, int | None] = (None, None)
    wanted: bool | None = None
    axes: tuple[int, ...] = ()

    @classmethod
    def parse(
        cls, key: str | None, columns: str | None, *, wanted: bool = True
    ) -> PredictionChoice:
        """Return what `--output-key`, `--output-slice` and `--no-predictions` ask for.

        Raises:
            UsageError: the options that choose predictions exclude each other, or the slice is not
                one.

        >>> PredictionChoice.parse("mean", ":2")
        PredictionChoice(key='mean', columns=(None, 2), wanted=True, axes=())
        """
        told = key is not None or columns is not None
        if told and not wanted:
            raise UsageError(
                "--no-predictions goes with neither --output-key nor --output-slice; leave one out"
            )
        asked = (True if told else None) if wanted else False
        if columns is None:
            return cls(key, wanted=asked)
        found = re.fullmatch(COLUMNS, columns)
        if found is None:
            raise UsageError(f"--output-slice {columns}: give from:to, such as :2")
        first, last = (None if bound is None else int(bound) for bound in found.groups())
        return cls(key, (first, last), wanted=asked)

    def absent(self, output: Any) -> bool:
        """Whether there are no predictions in an output: as asked, or as an encoder returns it."""
        return not self.wanted if self.wanted is not None else headless(output)

    def predictions(self, output: Any, n: int, wanted: tuple[int, ...]) -> Array | None:
        """Return the first n predictions as (n, n_targets); None where there are none.

        Raises:
            InputError: no output of the network is of the kind and shape of the targets.
        """
        if self.absent(output):
            return None
        heads = self.heads(output)
        if any(head.is_complex() for head in heads):
            raise InputError(
                "the network predicts complex numbers where targets are real; wrap it in a factory"
                " that returns real ones"
            )
        heads = [head[:n] if head.ndim > 0 else head for head in heads]
        if len(heads) == 1:
            self._require_axes(tuple(heads[0].shape))
        rows = [head.reshape(len(head), -1) for head in heads if head.ndim > 0]
        if len(rows) == len(heads) and len({len(row) for row in rows}) == 1:
            tensor = torch.cat(rows, dim=1)[:, slice(*self.columns)]
            if tuple(tensor.shape) == wanted:
                return np.asarray(to_numpy(tensor), dtype=np.float64)
        fitting = self._fitting(output, n, wanted)
        if fitting is not None:
            taken = _first(_tensors(output))
            raise InputError(
                f"the network returns {_a(type(output).__name__)} of which {taken} is taken for the"
                f" prediction, and {fitting} has the targets' shape; use --output-key {fitting}"
            )
        apart = all(head.ndim and len(head) == n for head in heads)
        shapes = listed(tuple(head.shape[1 if apart else 0 :]) for head in heads)
        of = f"{shapes} per sample" if apart else f"{shapes} for {n} samples"
        raise InputError(
            f"the network predicts shape {of} where the targets have"
            f" {wanted[1 if apart else 0 :]}; check that data and network belong together, choose"
            " with --output-key and --output-slice, or measure a network without a head with"
            " --no-predictions"
        )

    def _fitting(self, output: Any, n: int, wanted: tuple[int, ...]) -> str | None:
        """Return which one tensor is of the targets' shape, where none was asked for."""
        if self.key is not None or self.columns != (None, None) or isinstance(output, Tensor):
            return None
        shapes = {key: tuple(part.shape) for key, part in _tensors(output).items() if part.ndim}
        found = [k for k, s in shapes.items() if (min(n, s[0]), math.prod(s[1:])) == wanted]
        return found[0] if len(found) == 1 else None

    def _require_axes(self, shape: tuple[int, ...]) -> None:
        """Refuse predictions whose axes are not those of the targets.

        Raises:
            InputError: predictions and targets differ in their axes, or in the order of these.
        """
        predicted = tuple(size for size in shape[1:] if size != 1)
        if self.axes and len(predicted) > 1 and predicted != self.axes:
            raise InputError(
                f"the network predicts shape {shape} where each target has {self.axes}; put the"
                " targets' axes in the network's order"
            )

    def remark(self, output: Any) -> str | None:
        """Return what the user should know of the choice among what a network returns."""
        name = type(output).__name__
        if isinstance(output, Distribution):
            return f"the network returns {_a(name)} distribution, whose mean is the prediction"
        if self.key is not None or isinstance(output, Tensor) or self.absent(output):
            return None
        tensors = _tensors(output)
        if not tensors:
            return None
        first = _first(tensors)
        shape = tensors[first].shape
        if isinstance(_parts(output)[first], Distribution):
            return f"the prediction is the mean of the distribution {first} of the {name} returned"
        others = [key for key, part in tensors.items() if part.shape == shape and key != first]
        if not others:
            return None
        return (
            f"the network returns {_a(name)} with {listed(tensors)}, of which {first} is the"
            f" prediction; --output-key takes another"
        )

    def joined(self, output: Any) -> Tensor:
        """Return all that is predicted, of every head, to be compared.

        Raises:
            InputError: what the network returns has no tensor, or none by that key.
        """
        if self.absent(output) and not isinstance(output, Tensor) and not _tensors(output):
            return torch.empty(0)
        heads = self.heads(output)
        alike = len({len(head) if head.ndim else -1 for head in heads}) == 1
        if len(heads) == 1 or not alike or heads[0].ndim == 0:
            return heads[0]
        return torch.cat([head.reshape(len(head), -1) for head in heads], dim=1)

    def heads(self, output: Any) -> list[Tensor]:
        """Return those tensors among what a network returns that hold its predictions.

        Raises:
            InputError: what the network returns has no tensor, or none by that key.
        """
        output = _mean_of(output)
        if isinstance(output, Tensor):
            if self.key is not None:
                raise InputError(
                    f"--output-key {self.key}: the network returns a single tensor; leave it out"
                )
            return [_numbers(output)]
        tensors = _tensors(output)
        if not tensors:
            raise InputError(
                f"the network returns {_a(type(output).__name__)} without a tensor in it; wrap it"
                " in a factory that returns its predictions as a tensor"
            )
        if self.key is None:
            return [_numbers(tensors[_first(tensors)])]
        keys = [self.key] if self.key in tensors else [key.strip() for key in self.key.split(",")]
        if not all(key in tensors for key in keys):
            raise InputError(
                f"--output-key {self.key}: the network returns {_a(type(output).__name__)} with"
                f" {listed(tensors)}; choose among these"
            )
        return [_numbers(tensors[key]) for key in keys]


def _numbers(head: Tensor) -> Tensor:
    """Return predictions as plain numbers in memory, whatever keeps them.

    Raises:
        InputError: the predictions hold no numbers, or rows of unequal length.
    """
    if head.is_meta or head.is_nested:
        what = "without numbers (on meta)" if head.is_meta else "of unequal length"
        raise InputError(
            f"the network returns predictions {what}; have a factory return a plain tensor"
        )
    if head.is_quantized:
        head = head.dequantize()
    if head.layout != torch.strided:
        head = head.to_dense()
    return head.float() if head.dtype == torch.bool or head.dtype.itemsize == 1 else head


def headless(output: Any) -> bool:
    """Whether this is what an encoder of transformers without a head returns: hidden states."""
    return isinstance(output, Mapping) and next(iter(output), None) == "last_hidden_state"


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
        InputError: the mean of such a distribution is not known.
    """
    if not isinstance(output, Distribution):
        return output
    try:
        mean = output.mean
    except NotImplementedError:
        mean = None
    if mean is None or bool(mean.isnan().all()):
        raise InputError(
            f"the network returns {_a(type(output).__name__)} distribution, which has no mean;"
            " wrap it in a factory that returns its predictions"
        )
    return mean


def _a(kind: str) -> str:
    return f"an {kind}" if kind[:1] in "AEIOUaeio" else f"a {kind}"


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
