"""What an ONNX graph takes: its inputs by name, and how arrays are put there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nrcscan.errors import InputError
from nrcscan.wording import listed

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class GraphInput:
    """An input of a graph.

    Attributes:
        name: in the graph.
        dtype: what it has to be.
        shape: a number, a name, or "?" per axis; None where the graph does not say.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[int | str, ...] | None

    def __str__(self) -> str:
        """Return it in words, such as "x float32 (n, 6)"."""
        kind = str(self.dtype).removeprefix("torch.")
        axes = "of any shape" if self.shape is None else f"({', '.join(map(str, self.shape))})"
        return f"{self.name} {kind} {axes}"


def graph_inputs(path: Path, graph: onnx.GraphProto) -> list[GraphInput]:
    """Return what a graph takes, in its order; initialisers are none of it.

    Raises:
        InputError: the inputs of the graph are not tensors of numbers.
    """
    from onnx import helper

    held = {tensor.name for tensor in graph.initializer}
    found = []
    for given in graph.input:
        if given.name in held:
            continue
        kind = given.type.tensor_type
        try:
            dtype = getattr(torch, helper.tensor_dtype_to_np_dtype(kind.elem_type).name)
        except (KeyError, AttributeError) as error:  # no tensor, or one of strings
            raise InputError(
                f"{path}: its input {given.name!r} is no tensor of numbers; export the network"
                " with one"
            ) from error
        dims = [dim.dim_value or dim.dim_param or "?" for dim in kind.shape.dim]
        found.append(GraphInput(given.name, dtype, tuple(dims) if dims else None))
    if not found:
        raise InputError(f"{path}: takes no inputs; export the network with one")
    return found


def fixed_batch(path: Path, inputs: Sequence[GraphInput]) -> int | None:
    """Return how many samples a graph takes at once; None for any number.

    Raises:
        InputError: the graph fixes different numbers of samples for its inputs.
    """
    sizes = {one.name: one.shape[0] for one in inputs if one.shape is not None}
    fixed = {name: size for name, size in sizes.items() if isinstance(size, int)}
    if len(set(fixed.values())) > 1:
        told = listed(f"{name} for {size}" for name, size in fixed.items())
        raise InputError(
            f"{path}: its inputs are not for the same number of samples ({told}); export the"
            " network with samples on the first axis of each"
        )
    return next(iter(fixed.values()), None)


def put(
    inputs: Sequence[GraphInput], args: Sequence[Tensor], named: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], str | None]:
    """Return what is given by name of input, and a note where that is not by its own name.

    Args:
        inputs: what the graph takes.
        args: what is given in order.
        named: what is given by name.

    Raises:
        InputError: the data has other inputs than the graph, or fewer of their names.
    """
    names = [one.name for one in inputs]
    given = dict(named) or {str(place): x for place, x in enumerate(args, 1)}
    if set(given) == set(names):
        matched, note = given, None
    elif len(given) == len(names) and not set(given) & set(names):
        matched, note = dict(zip(names, given.values(), strict=True)), None
        if len(names) > 1:
            pairs = listed(f"{own} as {name}" for own, name in zip(given, names, strict=True))
            note = f"the graph's inputs have other names than the data's, taken in order: {pairs}"
    else:
        data = f" ({listed(given)})" if named else ""
        raise InputError(
            f"the graph takes {len(names)} inputs ({listed(names)}) and the data gives"
            f" {len(given)}{data}; name them with --x-key {','.join(names)}"
        )
    return {one.name: _cast(matched[one.name], one) for one in inputs}, note


def _cast(x: Tensor, wanted: GraphInput) -> Tensor:
    """Return an input in the dtype that a graph wants.

    Raises:
        InputError: the data holds values that the type of the graph's input cannot.
    """
    if wanted.dtype.is_floating_point:
        return x.to(wanted.dtype)
    if x.is_floating_point() and bool((x != x.round()).any()):
        raise InputError(
            f"the graph takes integers as {wanted.name!r}; give data without fractions"
        )
    cast = x.to(wanted.dtype)
    if bool((cast.to(x.dtype) != x).any()):
        kind = str(wanted.dtype).removeprefix("torch.")
        raise InputError(f"the graph takes {kind} as {wanted.name!r}; give data that it can hold")
    return cast
