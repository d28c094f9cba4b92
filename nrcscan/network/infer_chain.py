"""Infers a network from its weights alone, when they are a plain chain of Linear layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from torch import Tensor, nn

from nrcscan.errors import InputError, UsageError
from nrcscan.files.natural_order import natural_key
from nrcscan.inputs.checkpoints.contents import Checkpoint
from nrcscan.inputs.checkpoints.policy_names import actor_of
from nrcscan.inputs.checkpoints.wrapper_names import stripped
from nrcscan.wording import listed

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "leaky_relu": nn.LeakyReLU,
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "identity": nn.Identity,
}


@dataclass
class _Block:
    """The tensors of one module in a state dict."""

    name: str
    tensors: dict[str, Tensor] = field(default_factory=dict)

    @property
    def kind(self) -> str | None:
        """Linear, BatchNorm1d or LayerNorm, by what the block holds; None for anything else."""
        leaves = set(self.tensors)
        if any(tensor.numel() == 0 for tensor in self.tensors.values()):
            return None
        dims = {leaf: tensor.ndim for leaf, tensor in self.tensors.items()}
        if "running_mean" in leaves and leaves <= {
            "weight",
            "bias",
            "running_mean",
            "running_var",
            "num_batches_tracked",
        }:
            return "BatchNorm1d" if dims["running_mean"] == 1 else None
        if leaves in ({"weight"}, {"weight", "bias"}) and dims.get("bias", 1) == 1:
            return {1: "LayerNorm", 2: "Linear"}.get(dims["weight"])
        return None

    @property
    def shapes(self) -> str:
        """The block's tensors and their shapes, in words."""
        return ", ".join(f"{leaf} {tuple(tensor.shape)}" for leaf, tensor in self.tensors.items())

    @property
    def ends(self) -> tuple[int, int]:
        """Width taken and width given."""
        if self.kind == "Linear":
            out, width = self.tensors["weight"].shape
            return int(width), int(out)
        size = len(self.tensors.get("weight", self.tensors.get("running_mean", ())))
        return size, size

    def module(self) -> nn.Module:
        """Return a fresh module of this block's kind and size."""
        width, out = self.ends
        if self.kind == "Linear":
            return nn.Linear(width, out, bias="bias" in self.tensors)
        if self.kind == "LayerNorm":
            return nn.LayerNorm(width, bias="bias" in self.tensors)
        return nn.BatchNorm1d(width, affine="weight" in self.tensors)


@dataclass(frozen=True)
class Chain:
    """A plain chain read off a state dict: its blocks, and where activations are taken to be."""

    steps: tuple[_Block | None, ...]
    """Blocks in order; None stands for the activation."""
    activation: str

    def module(self) -> nn.Module:
        """Return the network, with random weights and the checkpoint's own names."""
        if self.steps[0] is not None and self.steps[0].name == "":  # one bare layer
            return self.steps[0].module()
        return _ChainModule(self.steps, ACTIVATIONS[self.activation])

    def layout(self) -> str:
        """Return the chain in words, such as "8 → (256 → relu) × 7 → 2"."""
        stages: list[list[str]] = [[str(self.steps[0].ends[0] if self.steps[0] else "")]]
        for step in self.steps:
            if step is None:
                stages[-1].append(self.activation)
            elif step.kind == "Linear":
                stages.append([str(step.ends[1])])
            else:
                stages[-1].append(str(step.kind))
        parts = []
        for stage, same in groupby(" → ".join(stage) for stage in stages):
            times = len(list(same))
            parts.append(stage if times == 1 else f"({stage}) × {times}")
        return " → ".join(parts)


class _ChainModule(nn.Module):
    """Runs the blocks of a chain one after the other, each under its name in the checkpoint."""

    def __init__(self, steps: Iterable[_Block | None], activation: type[nn.Module]) -> None:
        super().__init__()
        self._steps: list[nn.Module] = []
        for step in steps:
            module = activation() if step is None else step.module()
            self._steps.append(module)
            if step is not None:
                self._attach(step.name, module)

    def _attach(self, name: str, module: nn.Module) -> None:
        # Not add_module: a checkpoint may use names that every module has, such as "forward".
        *folders, leaf = name.split(".")
        children = self._modules
        for folder in folders:
            inner = children.get(folder) or nn.Module()
            children[folder] = inner
            children = inner._modules
        children[leaf] = module

    def forward(self, x: Tensor) -> Tensor:
        """Run the chain on (N, width), or on anything of more axes, flattened."""
        x = x.reshape(len(x), -1)
        for step in self._steps:
            x = step(x)
        return x


def infer(checkpoint: Checkpoint, activation: str) -> Chain:
    """Read a plain chain of Linear layers, with norms between, off a state dict.

    Weights do not tell the activation, nor that a network is not a chain at all; R² on the
    data is the check.

    Raises:
        InputError: the weights are no such chain.
        UsageError: the activation is not known.
    """
    if activation not in ACTIVATIONS:
        raise UsageError(f"--activation {activation}: choose one of {listed(ACTIVATIONS)}")
    _require_one_network(checkpoint)
    *_, state = stripped(checkpoint.state)
    blocks: dict[str, _Block] = {}
    for key, tensor in state.items():
        name, _, leaf = key.rpartition(".")
        blocks.setdefault(name, _Block(name)).tensors[leaf] = tensor
    remedy = "name the network's factory with --model"
    strange = [
        f"{name or 'the top level'} ({block.shapes})"
        for name, block in blocks.items()
        if block.kind is None or "training" in name.split(".")  # which every module has
    ]
    if strange:
        raise InputError(
            f"{checkpoint.path}: not a plain chain of Linear layers, so the network cannot be"
            f" inferred from its weights: {listed(strange)}; {remedy}"
        )
    by_name = sorted(blocks.values(), key=lambda block: natural_key(block.name))
    orders = [list(blocks.values()), by_name] if checkpoint.ordered else [by_name]
    for order in orders:
        if _break(order) is None:
            return Chain(_with_activations(order), activation)
    raise InputError(
        f"{checkpoint.path}: the weights do not form a chain: {_break(orders[0])}; {remedy}"
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


def _break(blocks: list[_Block]) -> str | None:
    """Say where a sequence of blocks fails to be a chain, or None."""
    if not any(block.kind == "Linear" for block in blocks):
        return "there is no Linear layer"
    for before, after in pairwise(blocks):
        if before.ends[1] != after.ends[0]:
            return f"{before.name} gives {before.ends[1]}, {after.name} takes {after.ends[0]}"
    return None


def _with_activations(blocks: list[_Block]) -> tuple[_Block | None, ...]:
    """Put the activation after every Linear layer but the last, and after its norm.

    In a Sequential, a gap in the numbering before the norm shows that the activation came
    first there.
    """
    steps: list[_Block | None] = []
    last_linear = max(i for i, block in enumerate(blocks) if block.kind == "Linear")
    pending = False
    for index, block in enumerate(blocks):
        if pending and (block.kind == "Linear" or _gap(blocks[index - 1], block)):
            steps.append(None)
            pending = False
        steps.append(block)
        pending = pending or (block.kind == "Linear" and index < last_linear)
    return tuple(steps)


def _gap(before: _Block, after: _Block) -> bool:
    """Whether two blocks of one Sequential leave out a number, where the activation sits."""
    parent, _, number = before.name.rpartition(".")
    next_parent, _, next_number = after.name.rpartition(".")
    same = parent == next_parent and number.isdecimal() and next_number.isdecimal()
    return same and int(next_number) - int(number) > 1
