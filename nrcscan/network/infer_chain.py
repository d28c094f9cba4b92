"""Infers a network from its weights alone, when they are a plain chain of Linear layers.

Whatever the weights hold beside such a chain is named and refused, never left out or fitted in.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from nrcscan.errors import InputError, UsageError
from nrcscan.files.natural_order import natural_key
from nrcscan.inputs.checkpoints.contents import Checkpoint
from nrcscan.inputs.checkpoints.policy_names import actor_of
from nrcscan.inputs.checkpoints.wrapper_names import stripped
from nrcscan.network.beside_a_chain import unused
from nrcscan.network.chain import ACTIVATIONS, Block, Chain
from nrcscan.network.order_of_layers import orders_that_fit
from nrcscan.network.part_of_network import next_step
from nrcscan.wording import listed, some


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
    found = _chain(list(blocks.values()), ordered=checkpoint.ordered)
    if isinstance(found, str):
        step = next_step(
            list(blocks.values()), checkpoint.state_key, partial(_is_chain, checkpoint)
        )
        raise InputError(f"{checkpoint.path}: {found}; {step}")
    order, assumed = found
    return Chain(tuple(order), activation, assumed)


def _is_chain(checkpoint: Checkpoint, blocks: list[Block]) -> bool:
    return bool(blocks) and not isinstance(_chain(blocks, ordered=checkpoint.ordered), str)


def _chain(blocks: list[Block], *, ordered: bool) -> tuple[list[Block], str] | str:
    """Return blocks in order, and what is assumed of that order; or why they are no chain.

    Args:
        blocks: as the file has them.
        ordered: whether that is in the order of the network's definition.
    """
    other = unused(blocks)
    if other is not None:
        return (
            "not a plain chain of Linear layers, so the network cannot be inferred from its"
            f" weights: {other}"
        )
    by_name = sorted(blocks, key=lambda block: natural_key(block.name))
    orders = [blocks, by_name] if ordered else [by_name]
    chains = [order for order in orders if _break(order) is None]
    if ordered:
        if chains:
            return chains[0], ""
        return f"the weights do not form a chain: {_break(orders[0])}"
    fitting = [order for order in orders_that_fit(blocks) if _break(order) is None]
    if chains:
        return chains[0], "layers in the order of their names" if len(fitting) > 1 else ""
    if len(fitting) == 1:
        return fitting[0], "layers in the one order that their widths allow"
    why = f"the weights do not form a chain: {_break(by_name)}"
    if fitting:
        tensors = " → ".join(block.name for block in fitting[0])
        why = f"the file sorts tensors by name, and their widths allow several orders, as {tensors}"
    return why


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
