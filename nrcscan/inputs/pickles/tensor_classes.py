"""Tensors of classes of their own in pickles: the plain tensors in them, or why there are none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from nrcscan.inputs.pickles.placeholder import Known, PickleRefused, Placeholder, Unreadable
from nrcscan.inputs.pickles.tensor_sizes import counts

DENSE = "save it dense, in floating point"
"""What to do about a tensor whose values are not there as they are."""

PLAIN_CLASSES = tuple(
    f"torch.{name}"
    for name in ("Tensor", "_tensor.Tensor", "nn.parameter.Parameter", "nn.parameter.Buffer")
)
_DISTRIBUTED = ("torch.distributed.tensor.DTensor", "torch.distributed._tensor.api.DTensor")


class Wrapper(Unreadable):
    """A tensor without data of its own: its class keeps that beside, in its own way."""

    __slots__ = ("sizes",)

    def __init__(self, name: str, sizes: tuple[int, ...]) -> None:
        problem = f"is a {name}, whose values that class alone can tell; {DENSE}"
        super().__init__(name, problem)
        self.sizes = sizes


def wrapper(kind: Any, dtype: Any, size: Any, *_: Any) -> Wrapper:
    """Return what stands for a tensor that keeps its data in its own way."""
    if not isinstance(kind, Placeholder):
        raise PickleRefused("a tensor's class is none")
    return Wrapper(kind.name, counts(size))


def of_class(record: Callable[[str], None], rebuild: Any, kind: Any, args: Any, state: Any) -> Any:
    """Return the plain tensor that a tensor of a class of its own holds.

    Args:
        record: is called with the class.
        rebuild: what makes the tensor.
        kind: its class.
        args: of `rebuild`.
        state: what its class keeps beside.

    Raises:
        PickleRefused: they are of other kinds.
    """
    if not isinstance(rebuild, Placeholder) or not isinstance(kind, Placeholder):
        raise PickleRefused("a tensor's class is none")
    if type(args) is not tuple:
        raise PickleRefused("a tensor is made of no arguments")
    if not isinstance(rebuild, Known):
        return Unreadable(kind.name, f"is a {kind.name}, which {rebuild.name} makes; {DENSE}")
    made = rebuild.make(*args)
    if isinstance(made, Wrapper):
        made.state = state
        return full_tensor(made) if kind.name in _DISTRIBUTED else made
    if isinstance(made, Tensor) and kind.name not in PLAIN_CLASSES:
        record(kind.name)
    return made


def full_tensor(shell: Wrapper) -> Any:
    """Return a distributed tensor as a whole, or the shell that says why this file has only part.

    It is whole where what this rank kept has the shape of the whole and is no summand of it.
    """
    held = shell.attributes
    local, spec = held.get("_local_tensor"), held.get("_spec")
    if not isinstance(local, Tensor) or not isinstance(spec, Placeholder):
        return shell
    about = spec.attributes
    mesh = about.get("mesh")
    ranks = None
    if isinstance(mesh, Placeholder):
        kept = mesh.attributes
        ranks = next(
            (kept[n] for n in ("_rank_map", "mesh") if isinstance(kept.get(n), Tensor)), None
        )
    placed = about.get("placements")
    kinds = (
        [place.name.rpartition(".")[-1] for place in placed if isinstance(place, Placeholder)]
        if isinstance(placed, tuple | list)
        else ["?"]
    )
    alone = ranks is not None and ranks.numel() == 1
    whole = tuple(local.shape) == shell.sizes
    if whole and (alone or all(kind.endswith(("Shard", "Replicate")) for kind in kinds)):
        return local
    part = "a summand" if whole else f"{tuple(local.shape)} of {shell.sizes}"
    shell.problem = (
        f"is a DTensor of which the file has one rank's part, {part}; save all of it: "
        "get_model_state_dict(model, options=StateDictOptions(full_state_dict=True))"
    )
    return shell
