"""From the tensors that a weight is computed from, as a state dict holds them, to that weight.

Weight normalisation (`weight_g` and `weight_v`, or `parametrizations.weight.original0` and
`original1`), spectral normalisation (`weight_orig` or `original`, with the vectors u and v),
masks of pruning (`weight_orig` and `weight_mask`) and low-rank adapters on a `base_layer`: each
is recognised by its names and shapes together, and computed as the network would in its
evaluation mode. What cannot be computed from the file alone is named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from nrcscan.errors import InputError
from nrcscan.inputs.checkpoints.contents import Checkpoint
from nrcscan.inputs.checkpoints.low_rank_adapters import merged, said_of_adapters
from nrcscan.inputs.checkpoints.wrapper_names import stripped
from nrcscan.wording import listed

_PARAMETRIZED = re.compile(r"^(?P<path>(?:.*\.)?)parametrizations\.(?P<leaf>[^.]+)\.(?P<part>.+)$")
_TINY = 1e-300
_SUFFIXES = ("_g", "_v", "_orig", "_u", "_mask")


@dataclass
class Acting:
    """A state dict with the weights that act.

    Attributes:
        state: what the plain network's state dict would be.
        computed: how each kind was computed → the layers whose weights were.
        unknown: why a weight cannot be computed from the file alone → the layers likewise.
    """

    state: dict[str, Tensor]
    computed: dict[str, list[str]] = field(default_factory=dict)
    unknown: dict[str, list[str]] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was computed, in words."""
        return tuple(
            f"weights of {listed(names)} from {how}" for how, names in self.computed.items()
        )


def with_acting_weights(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint whose state dict holds the weights that act, as a plain network's does.

    Raises:
        InputError: some weight cannot be computed from the file alone; all are named.
    """
    found = acting(checkpoint.state, said_of_adapters(checkpoint))
    if found.unknown:
        reasons = (f"{listed(layers)} ({why})" for why, layers in found.unknown.items())
        raise InputError(
            f"{checkpoint.path}: the weights that act cannot be computed from the file alone:"
            f" {listed(reasons)}; name the network's factory with --model"
        )
    notes = (*checkpoint.notes, *found.notes)
    return replace(checkpoint, state=found.state, notes=notes) if found.computed else checkpoint


def fitted(checkpoint: Checkpoint, expected: Mapping[str, Tensor]) -> Checkpoint:
    """Return a checkpoint whose weights are kept as a network keeps them, where they can be.

    Weights that are computed as the network runs, in a file of a plain network, or plain ones for
    a network that computes its own, are turned into what the network expects. Else the checkpoint
    is returned as it is.

    Args:
        checkpoint: the weights.
        expected: the network's own state dict.
    """
    # Counters of batches play no part in eval mode, and old checkpoints lack them.
    wanted = {name for name in expected if not name.endswith("num_batches_tracked")}
    states = list(stripped(checkpoint.state))
    if any(wanted <= state.keys() for state in states):
        return checkpoint
    for state in states:
        found = acting(state, said_of_adapters(checkpoint))
        spread, how = _spread(found.state, expected)
        for candidate, notes in ((found.state, found.notes), (spread, (*found.notes, *how))):
            if notes and wanted <= candidate.keys() <= expected.keys() and not found.unknown:
                return replace(checkpoint, state=candidate, notes=(*checkpoint.notes, *notes))
    return checkpoint


def acting(state: Mapping[str, Tensor], told: Mapping[str, Any]) -> Acting:
    """Return a state dict with the weights that act in place of what they are computed from.

    Args:
        state: as it is in the file.
        told: what is said of the network's adapters, such as `lora_alpha`.
    """
    found = Acting({})
    parts = _grouped(state)
    for name, tensor in state.items():
        target = _target(name, parts)
        if target is None:
            found.state[name] = tensor
        elif target not in found.state:  # at the first of its parts, so that the order is kept
            weight, how = _computed(parts[target])
            layer = target.rpartition(".")[0] or target
            if weight is None:
                found.state[target] = tensor
                found.unknown.setdefault(how, []).append(layer)
            else:
                found.state[target] = weight.to(tensor.dtype)
                found.computed.setdefault(how, []).append(layer)
    found.state, computed, unknown = merged(found.state, told)
    return Acting(found.state, found.computed | computed, found.unknown | unknown)


def _grouped(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the name of every weight that is computed → its parts."""
    groups: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        parametrized = _PARAMETRIZED.match(name)
        if parametrized:
            target, part = parametrized["path"] + parametrized["leaf"], parametrized["part"]
            groups.setdefault(target, {})[part] = tensor
            continue
        suffix = next((s for s in _SUFFIXES if name.endswith(s)), None)
        if suffix is not None and "weight" in name.rpartition(".")[2]:
            groups.setdefault(name.removesuffix(suffix), {})[suffix] = tensor
    return {
        target: parts
        for target, parts in groups.items()
        if target not in state and not ({*parts} <= {*_SUFFIXES} and _computed(parts)[0] is None)
    }


def _target(name: str, groups: Mapping[str, Mapping[str, Tensor]]) -> str | None:
    """Return the weight that a tensor is a part of, if any."""
    parametrized = _PARAMETRIZED.match(name)
    if parametrized:
        target = parametrized["path"] + parametrized["leaf"]
        return target if target in groups else None
    suffix = next((s for s in _SUFFIXES if name.endswith(s)), "")
    target = name.removesuffix(suffix)
    return target if suffix and suffix in groups.get(target, {}) else None


def _computed(parts: Mapping[str, Tensor]) -> tuple[Tensor | None, str]:
    """Return a weight that is computed from its parts, and how; or why it cannot be."""
    wide = {part: t.double() for part, t in parts.items() if t.is_floating_point()}
    names = {*parts} if wide.keys() | {"_mask"} >= parts.keys() else set()
    weight: Tensor | None
    if names == {"_g", "_v"} and _norms(wide.get("_g"), wide.get("_v")):
        return _of_length(wide["_g"], wide["_v"]), "weight_g and weight_v (weight norm)"
    if names == {"original0", "original1"} and _norms(wide.get("original0"), wide.get("original1")):
        weight = _of_length(wide["original0"], wide["original1"])
        return weight, "original0 and original1 (weight norm)"
    if names == {"_orig", "_mask"} and parts["_orig"].shape == parts["_mask"].shape:
        return wide["_orig"] * parts["_mask"].double(), "weight_orig and weight_mask (pruning)"
    for whole, u, v in (("_orig", "_u", "_v"), ("original", "0._u", "0._v")):
        if names == {whole, u, v}:
            weight = _of_norm_one(wide[whole], wide[u], wide[v])
            if weight is not None:
                return (
                    weight,
                    f"{'weight_' * (u == '_u')}{whole.strip('_')}, u and v (spectral norm)",
                )
    return None, f"the function that makes it of {listed(sorted(parts))} is not in the file"


def _norms(g: Tensor | None, v: Tensor | None) -> bool:
    """Whether one tensor can hold the lengths of parts of another."""
    if g is None or v is None:
        return False
    if g.ndim == 0 or g.numel() == 1:
        return g.ndim in (0, v.ndim)
    alike = g.ndim == v.ndim and all(a in (1, b) for a, b in zip(g.shape, v.shape, strict=True))
    return alike and 1 in g.shape


def _of_length(g: Tensor, v: Tensor) -> Tensor:
    """Return a weight of direction v and length g, along the axes that g leaves."""
    axes = [axis for axis in range(v.ndim) if g.ndim == 0 or g.shape[axis] == 1]
    return v * (g / torch.linalg.vector_norm(v, dim=axes, keepdim=g.ndim > 0))


def _of_norm_one(whole: Tensor, u: Tensor, v: Tensor) -> Tensor | None:
    """Return a weight over its largest singular value, as the vectors u and v have it.

    The outputs are on the first axis, or on the second of transposed convolutions: where both
    would do, u is along W v on the right one.
    """
    if (u.ndim, v.ndim) != (1, 1) or whole.ndim < 2:
        return None
    found: list[tuple[float, float]] = []
    for axis in (0, 1) if whole.ndim > 2 else (0,):
        rows = whole.movedim(axis, 0).flatten(1)
        if rows.shape == (len(u), len(v)):
            product = rows @ v
            sigma = float(u @ product)
            found.append((abs(sigma) / max(float(product.norm()), _TINY), sigma))
    if not found or not (sigma := max(found, key=lambda one: round(one[0], 3))[1]):
        return None
    return whole / sigma


def _spread(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return a state dict with weights as what a network computes them from, and a note."""
    given: dict[str, Tensor] = {}
    layers = []
    for name, weight in state.items():
        path, _, leaf = name.rpartition(".")
        under = f"{path}.parametrizations.{leaf}." if path else f"parametrizations.{leaf}."
        parts = None
        for g, v in ((f"{name}_g", f"{name}_v"), (f"{under}original0", f"{under}original1")):
            if g in expected and v in expected and _norms(expected[g], weight):
                parts = {g: _lengths(weight, expected[g]), v: weight}
        if f"{name}_orig" in expected and f"{name}_mask" in expected:
            parts = {f"{name}_orig": weight, f"{name}_mask": torch.ones_like(weight)}
        if name in expected or parts is None:
            given[name] = weight
        else:
            given |= parts
            layers.append(path or name)
    if not layers:
        return given, ()
    return given, (f"plain weights of {listed(layers)} put into a network that computes its own",)


def _lengths(weight: Tensor, like: Tensor) -> Tensor:
    """Return the lengths of the parts of a weight along the axes that another tensor leaves."""
    axes = [axis for axis in range(weight.ndim) if like.ndim == 0 or like.shape[axis] == 1]
    wide = torch.linalg.vector_norm(weight.double(), dim=axes, keepdim=like.ndim > 0)
    return wide.to(weight.dtype)
