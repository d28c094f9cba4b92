"""Low-rank adapters beside a layer, as a state dict holds them: the weight that acts in sum."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nrcscan.inputs.checkpoints.contents import Checkpoint
from nrcscan.inputs.checkpoints.signs import adapter_settings

_PART = re.compile(
    r"^(?P<path>(?:.*\.)?)(?P<part>base_layer|lora_A|lora_B|lora_magnitude_vector)"
    r"(?P<rest>(?:\..+)?)$"
)


def merged(
    state: Mapping[str, Tensor], told: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, list[str]], dict[str, list[str]]]:
    """Add low-rank adapters to the weights of the layers beside which they stand.

    Args:
        state: a state dict, in which such a layer is called `base_layer`.
        told: what is said of the adapters: `lora_alpha`, `use_rslora`.

    Returns:
        The state dict of a network without adapters; how each kind of weight was computed, with
        the layers; and why some were not, with the layers.
    """
    computed: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    groups: dict[str, dict[str, dict[str, Tensor]]] = {}
    for name, tensor in state.items():
        match = _PART.match(name)
        if match:
            parts = groups.setdefault(match["path"], {})
            parts.setdefault(match["part"], {})[match["rest"].strip(".")] = tensor
    groups = {
        path: parts for path, parts in groups.items() if "weight" in parts.get("base_layer", {})
    }
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = _PART.match(name)
        if match is None or match["path"] not in groups:
            plain[name] = tensor
        elif match["part"] == "base_layer":
            name = match["path"] + match["rest"].strip(".")
            plain[name] = tensor
            if match["rest"] == ".weight":
                layer = match["path"].rstrip(".") or "the top level"
                weight, how = _with_adapter(groups[match["path"]], told)
                if weight is None:
                    unknown.setdefault(how, []).append(layer)
                else:
                    plain[name] = weight.to(tensor.dtype)
                    computed.setdefault(how, []).append(layer)
    return plain, computed, unknown


def _with_adapter(
    parts: Mapping[str, Mapping[str, Tensor]], told: Mapping[str, Any]
) -> tuple[Tensor | None, str]:
    """Return the weight of a layer and its adapter together, and how; or why it is not known."""
    weight = parts["base_layer"]["weight"]
    if any(rest.endswith("bias") for part in ("lora_A", "lora_B") for rest in parts.get(part, {})):
        return None, "lora_A or lora_B has a bias"
    downs, ups = list(parts.get("lora_A", {}).values()), list(parts.get("lora_B", {}).values())
    lengths = list(parts.get("lora_magnitude_vector", {}).values())
    if not downs and not ups and not lengths:
        return weight, "base_layer"
    if len(downs) != 1 or len(ups) != 1 or len(lengths) > 1:
        return None, f"{len(downs)} adapters; which of them act is not in the file"
    together = _product(downs[0], ups[0])
    if together is None or together.shape != weight.shape:
        return None, "lora_A and lora_B do not give a weight of the base layer's shape"
    scale = _scale(told, len(downs[0])) if bool(together.any()) else 0.0
    if scale is None:
        return None, "the scale of lora_A and lora_B, lora_alpha over r, is not in the file"
    total = weight.double() + scale * together
    how = f"base_layer, lora_A and lora_B, with scale {scale:.6g}"
    if lengths and lengths[0].numel() != len(weight):
        return None, "lora_magnitude_vector does not hold a length for every output"
    if lengths:
        norms = torch.linalg.vector_norm(total.flatten(1), dim=1)
        factors = lengths[0].double().flatten() / norms
        total, how = total * factors.reshape(-1, *[1] * (total.ndim - 1)), f"{how} (DoRA)"
    return total, how


def _product(low: Tensor, up: Tensor) -> Tensor | None:
    """Return the weight (out, in, …) of a low-rank path; None where its parts do not fit."""
    if low.ndim < 2 or up.ndim < 2 or math.prod(up.shape[1:]) != len(low):
        return None
    return torch.tensordot(up.double().flatten(1), low.double(), 1)


def _scale(told: Mapping[str, Any], rank: int) -> float | None:
    """Return what multiplies a low-rank path, from what a file says of its network."""
    inner = [value for value in told.values() if isinstance(value, Mapping)]
    for values in (told, *inner):
        alpha = values.get("lora_alpha")
        if isinstance(alpha, int | float) and not values.get("alpha_pattern"):
            return alpha / (math.sqrt(rank) if values.get("use_rslora") else rank)
    return None


def said_of_adapters(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a checkpoint says of its network, or an adapter's settings beside it."""
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    return {**adapter_settings(folder), **checkpoint.hyper_parameters}
