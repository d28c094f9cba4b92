"""Infers a network from its weights alone, when they are a plain chain of Linear layers.

Whatever the weights hold beside such a chain is named and refused, never left out or fitted in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from nrcscan.errors import InputError, UsageError
from nrcscan.files.natural_order import natural_key
from nrcscan.inputs.checkpoints.contents import Checkpoint
from nrcscan.inputs.checkpoints.policy_names import actor_of
from nrcscan.inputs.checkpoints.wrapper_names import stripped
from nrcscan.network.chain import ACTIVATIONS, Block, Chain, linear_shapes
from nrcscan.wording import listed, some

REMEDY = (
    "name the network's factory with --model, choose the part that is the network with"
    " --state-key PREFIX, or leave tensors aside with --ignore GLOB"
)

_ADAPTER = re.compile(r"lora_|loha_|lokr_|hada_|oft_|ia3_|adapter", re.IGNORECASE)
"""In the name of a weight that acts on another, and is no layer of its own."""

_APART = re.compile(
    r"(^|_)(loss|losses|criterion|ema|shadow|teacher|target|averaged|swa|discriminator"
    r"|optimizer|metric|metrics)(_|\d|$)",
    re.IGNORECASE,
)
"""A part of a name that says: beside the network, or a copy of it."""


def infer(checkpoint: Checkpoint, activation: str | None) -> Chain:
    """Read a plain chain of Linear layers, with norms between, off a state dict.

    Weights do not tell the activation, nor that a network is not a chain at all; R² on the
    data is the check.

    Args:
        checkpoint: the weights.
        activation: a key of `ACTIVATIONS`, or None where it is to be guessed.

    Raises:
        InputError: the widths of the layers do not join into one chain of Linear layers.
        UsageError: the activation is not known.
    """
    if activation is not None and activation not in ACTIVATIONS:
        raise UsageError(f"--activation {activation}: choose one of {listed(ACTIVATIONS)}")
    _require_one_network(checkpoint)
    *_, state = stripped(checkpoint.state)
    blocks: dict[str, Block] = {}
    for key, tensor in state.items():
        name, _, leaf = key.rpartition(".")
        blocks.setdefault(name, Block(name)).tensors[leaf] = tensor
    unused = _unused(list(blocks.values()))
    if unused is not None:
        raise InputError(
            f"{checkpoint.path}: not a plain chain of Linear layers, so the network cannot be"
            f" inferred from its weights: {unused}; {REMEDY}"
        )
    by_name = sorted(blocks.values(), key=lambda block: natural_key(block.name))
    orders = [list(blocks.values()), by_name] if checkpoint.ordered else [by_name]
    for order in orders:
        if _break(order) is None:
            return Chain(tuple(order), activation)
    raise InputError(
        f"{checkpoint.path}: the weights do not form a chain: {_break(orders[0])}; {REMEDY}"
    )


def _require_one_network(checkpoint: Checkpoint) -> None:
    """Refuse what names alone show to be no chain.

    Raises:
        InputError: it is the policy of an agent, or a list of tensors without names.
    """
    actor = actor_of(checkpoint.state)
    if actor is not None:
        key = f"{checkpoint.state_key}." if checkpoint.state_key else ""
        parts = ",".join(key + part for part in actor.split(","))
        raise InputError(
            f"{checkpoint.path}: a policy of Stable-Baselines3, of which one part acts; choose it"
            f" with --state-key {parts}, or name the network's factory with --model"
        )
    if checkpoint.in_order is not None and not checkpoint.in_order.named_as:
        raise InputError(
            f"{checkpoint.path}: {checkpoint.state_key or 'the file'} is a list of tensors without"
            " names; name the network's factory with --model"
        )


def _unused(blocks: Sequence[Block]) -> str | None:
    """Say what a chain would leave out or fit in although it is none of it, or None."""
    for found, why in (
        (_lone(blocks), "a 1-D weight alone shows no LayerNorm, and may be of a loss or a PReLU:"),
        (_adapters(blocks), "weights that act on others:"),
        (_strange(blocks), ""),
        (_beside(blocks), "beside the network, or copies of it:"),
        (_repeated(blocks), ""),
    ):
        if found:
            return f"{why} {listed(found)}".strip()
    return None


def _lone(blocks: Sequence[Block]) -> list[str]:
    return [
        f"{block.name or 'the top level'} ({block.shapes})"
        for block in blocks
        if set(block.tensors) == {"weight"} and block.tensors["weight"].ndim == 1
    ]


def _adapters(blocks: Sequence[Block]) -> list[str]:
    return [
        f"{block.name} ({block.shapes})"
        for block in blocks
        if any(_ADAPTER.match(part) for part in (*block.name.split("."), *block.tensors))
    ]


def _strange(blocks: Sequence[Block]) -> list[str]:
    return [
        f"{block.name or 'the top level'} ({block.shapes})"
        for block in blocks
        if block.kind is None or "training" in block.name.split(".")  # which every module has
    ]


def _beside(blocks: Sequence[Block]) -> list[str]:
    """Return blocks whose name says that they are beside others which are the network."""
    apart = [block for block in blocks if any(map(_APART.search, block.name.split(".")))]
    if len(apart) == len(blocks):
        return []
    return [f"{block.name} ({block.shapes})" for block in apart]


def _repeated(blocks: Sequence[Block]) -> list[str]:
    """Return parts that begin alike, which may be copies, branches, or blocks with a skip.

    Parts are what stands under one name, at any depth; a part of a single Linear layer is none.
    """
    parts: dict[str, list[Block]] = {}
    for block in blocks:
        names = block.name.split(".")
        for depth in range(1, len(names)):
            parts.setdefault(".".join(names[:depth]), []).append(block)
    seen: dict[tuple[str, tuple[int, int]], tuple[str, list[tuple[int, int]]]] = {}
    for name, own in parts.items():
        shapes = linear_shapes(own)
        if len(shapes) < 2:
            continue
        first, before = seen.setdefault((name.rpartition(".")[0], shapes[0]), (name, shapes))
        if first != name:
            shown = " → ".join(map(str, [shapes[0][0], *(out for _, out in shapes)]))
            begin = " → ".join(map(str, shapes[0]))
            alike = f"both are {shown}" if shapes == before else f"both begin {begin}"
            return [
                f"{first} and {name} may be copies, branches, or blocks with a skip connection,"
                f" as {alike}"
            ]
    return []


def _break(blocks: list[Block]) -> str | None:
    """Say where a sequence of blocks fails to be a chain, or None."""
    linear = [index for index, block in enumerate(blocks) if block.kind == "Linear"]
    if not linear:
        return "there is no Linear layer"
    for before, after in pairwise(blocks):
        if before.ends[1] != after.ends[0]:
            return f"{before.name} gives {before.ends[1]}, {after.name} takes {after.ends[0]}"
    after_output = [block.name for block in blocks[linear[-1] + 1 :] if block.kind == "LayerNorm"]
    if after_output:
        return f"a weight and a bias of one axis after the output, {some(after_output)}"
    return None
