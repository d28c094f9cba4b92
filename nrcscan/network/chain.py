"""A plain chain of layers: its blocks, what is guessed about it, and the network made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

from torch import Tensor, nn

from nrcscan.network.guess import Guess

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

_BATCH_NORM = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


@dataclass
class Block:
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
        if "running_mean" in leaves and leaves <= _BATCH_NORM:
            return "BatchNorm1d" if dims["running_mean"] == 1 else None
        if leaves == {"weight", "bias"} and dims == {"weight": 1, "bias": 1}:
            return "LayerNorm"
        if leaves in ({"weight"}, {"weight", "bias"}) and dims.get("bias", 1) == 1:
            return "Linear" if dims["weight"] == 2 else None
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
            return nn.LayerNorm(width)
        return nn.BatchNorm1d(width, affine="weight" in self.tensors)


@dataclass(frozen=True)
class Chain:
    """A plain chain read off a state dict.

    Attributes:
        blocks: in order.
        activation: what the user says it is; None where it is to be guessed.
        order: what is assumed of the order of layers, in words; empty if the file tells it.
    """

    blocks: tuple[Block, ...]
    activation: str | None
    order: str = ""

    @property
    def guesses(self) -> tuple[Guess, ...]:
        """Everything that the network may be, the most usual first; none if nothing is open."""
        if sum(block.kind == "Linear" for block in self.blocks) < 2:
            return ()
        orders: tuple[bool | None, ...] = (None,)
        if self._kinds(norm_first=True) != self._kinds(norm_first=False):
            orders = (True, False)
        names = ACTIVATIONS if self.activation is None else (self.activation,)
        return tuple(Guess(name, order) for order in orders for name in names)

    @property
    def n_products(self) -> int:
        """Multiply-adds of a sample."""
        linear = (block for block in self.blocks if block.kind == "Linear")
        return sum(block.tensors["weight"].numel() for block in linear)

    def module(self) -> nn.Module:
        """Return the network as it is guessed first, with random weights and the file's names."""
        if self.blocks[0].name == "":  # one bare layer
            return self.blocks[0].module()
        return ChainModule(self)

    def layout(self, guess: Guess | None = None) -> str:
        """Return the chain in words, such as "8 → (256 → relu) × 7 → 2"."""
        stages: list[list[str]] = [[str(self.blocks[0].ends[0])]]
        order = None if guess is None else guess.norm_first
        for step in self._steps(norm_first=order is not False):
            if step is None:
                stages[-1].append(guess.activation if guess else self.activation or "activation")
            elif step.kind == "Linear":
                stages.append([str(step.ends[1])])
            else:
                stages[-1].append(str(step.kind))
        parts = []
        for stage, same in groupby(" → ".join(stage) for stage in stages):
            times = len(list(same))
            parts.append(stage if times == 1 else f"({stage}) × {times}")
        return " → ".join(parts)

    def arranged(self, guess: Guess) -> list[int | None]:
        """Return the blocks' indices in order, with None where the activation is."""
        index = {id(block): i for i, block in enumerate(self.blocks)}
        steps = self._steps(norm_first=guess.norm_first is not False)
        return [None if step is None else index[id(step)] for step in steps]

    def _kinds(self, *, norm_first: bool) -> list[str | None]:
        steps = self._steps(norm_first=norm_first)
        return [None if step is None else step.kind for step in steps]

    def _steps(self, *, norm_first: bool) -> list[Block | None]:
        """Put the activation after every Linear layer but the last, before or after its norm."""
        steps: list[Block | None] = []
        last_linear = max(i for i, block in enumerate(self.blocks) if block.kind == "Linear")
        pending = False
        numbers_tell = self._numbers_tell()
        for index, block in enumerate(self.blocks):
            if index in numbers_tell:
                pending = False
            told = self._norm_is_first(index)
            if pending and (block.kind == "Linear" or not (norm_first if told is None else told)):
                steps.append(None)
                pending = False
            steps.append(block)
            pending = pending or (block.kind == "Linear" and index < last_linear)
        return steps

    def _numbers_tell(self) -> set[int]:
        """Return where numbers leave no room for an activation between two Linear layers.

        They do in a Sequential that leaves out a number elsewhere: a list of layers never does.
        """
        pairs = list(enumerate(pairwise(self.blocks), 1))
        with_gaps = {parent(before) for _, (before, after) in pairs if _gap(before, after)}
        return {
            index
            for index, (before, after) in pairs
            if before.kind == after.kind == "Linear"
            and parent(before) in with_gaps
            and _numbers_between(before, after) == 0
        }

    def _norm_is_first(self, index: int) -> bool | None:
        """Whether numbers in names show a norm before the activation; None where they do not.

        In a Sequential the number that is left out, before the norm or after it, is where the
        activation is. Left out on both sides, or on none, they show nothing.
        """
        before = index > 0 and _gap(self.blocks[index - 1], self.blocks[index])
        after = index + 1 < len(self.blocks) and _gap(self.blocks[index], self.blocks[index + 1])
        return after if before != after else None


class ChainModule(nn.Module):
    """Runs the blocks of a chain one after the other, each under its name in the checkpoint."""

    def __init__(self, chain: Chain) -> None:
        super().__init__()
        self._chain = chain
        self._of_blocks = [block.module() for block in chain.blocks]
        self._steps: list[nn.Module] = []
        for block, module in zip(chain.blocks, self._of_blocks, strict=True):
            self._attach(block.name, module)
        self.take((*chain.guesses, Guess("identity"))[0])

    def take(self, guess: Guess) -> None:
        """Be what is guessed from now on; the weights stay."""
        activation = ACTIVATIONS[guess.activation]()
        arranged = self._chain.arranged(guess)
        steps = [activation if i is None else self._of_blocks[i] for i in arranged]
        self.__dict__["_steps"] = steps  # a layer of the checkpoint may be called that

    @property
    def stages(self) -> list[list[nn.Module]]:
        """What runs, in order: a Linear layer begins a stage, what follows it belongs to it."""
        found: list[list[nn.Module]] = [[]]
        for step in self._steps:
            if isinstance(step, nn.Linear):
                found.append([])
            found[-1].append(step)
        return found

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
        x = x.reshape(x.shape[0], -1)
        for step in self._steps:
            x = step(x)
        return x


def linear_shapes(blocks: Sequence[Block]) -> list[tuple[int, int]]:
    """Return the widths that Linear layers take and give, in order."""
    return [block.ends for block in blocks if block.kind == "Linear"]


def parent(block: Block) -> str:
    """Return the name of what a block stands under."""
    return block.name.rpartition(".")[0]


def _gap(before: Block, after: Block) -> bool:
    """Whether two blocks of one Sequential leave out a number."""
    return (_numbers_between(before, after) or 0) > 0


def _numbers_between(before: Block, after: Block) -> int | None:
    """Return how many numbers two blocks of one Sequential leave out; None for others."""
    number, next_number = (block.name.rpartition(".")[2] for block in (before, after))
    same = parent(before) == parent(after) and number.isdecimal() and next_number.isdecimal()
    return int(next_number) - int(number) - 1 if same else None
