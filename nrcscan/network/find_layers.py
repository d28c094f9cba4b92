"""Which weights of a network may be layers, and which of these are watched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from nrcscan.errors import InputError, UsageError
from nrcscan.wording import listed

LAYER_TYPES: tuple[type[nn.Module], ...] = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
_LAYER_NAMES = {layer.__name__ for layer in LAYER_TYPES}
RECURRENT_NAMES = {"LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"}


@dataclass(frozen=True, eq=False)
class LayerWeight:
    """A weight that a layer may run with.

    Attributes:
        name: the layer's path in the network, such as "layers.0"; for weights that are not
            called "weight", their own.
        weight: the tensor that reaches the operation.
        owner: path and class of the module that holds it, such as "embed (Embedding)".
        expected: whether it is the weight of a Linear or convolution module, and so ought to run.
        known: whether it is that, or a weight is computed from it.
        recurrent: whether it is one of several weights of an LSTM, GRU or RNN.
        pads_itself: whether the module pads its input before the convolution (circular, …).
        parameter: its name among the network's parameters, or what it would be.
        acting: the weight that acts on the features, where others stand beside this one.
        acts_alone: whether this weight, or `acting`, is all that acts; else what does is not known.
        standard: whether the module's class is one of torch's, whose name tells what it does.
    """

    name: str
    weight: Tensor
    owner: str
    expected: bool
    known: bool
    recurrent: bool = False
    pads_itself: bool = False
    parameter: str = ""
    acting: Tensor | None = None
    acts_alone: bool = True
    standard: bool = True


def find_layers(model: nn.Module) -> list[LayerWeight]:
    """Return every weight of a network that may be a layer's, in the order it lists them.

    The module need not tell what it is: a program's modules have no class of ours. Which
    weights are layers, and of which kind, shows when they run.

    Raises:
        InputError: a lazy layer gets its width from the first samples, and has had none.
    """
    layers = []
    for path, module in model.named_modules():
        kind = kind_of(module)
        expected = isinstance(module, LAYER_TYPES) or kind in _LAYER_NAMES
        weights = dict(module.named_parameters(recurse=False))
        if is_parametrized(module):  # computed from other parameters, under any name
            weights |= {name: getattr(module, name) for name in module.parametrizations}
        elif expected and "weight" not in weights and hasattr(module, "weight"):
            computed = module.weight
            if not _of_child(module, computed):
                weights["weight"] = computed
        for name, weight in weights.items():
            if is_lazy(weight):
                raise InputError(f"layer {path} has no width yet; run the network once before")
            if weight.ndim < 2 or not (weight.is_floating_point() or weight.is_complex()):
                continue
            own = name == "weight"
            layers.append(
                LayerWeight(
                    name=(path or kind) if own else ".".join(filter(None, (path, name))),
                    weight=weight,
                    owner=f"{path} ({kind})" if path else kind,
                    expected=expected and own,
                    known=expected or "parametrizations" in path.split("."),
                    recurrent=kind in RECURRENT_NAMES,
                    pads_itself=getattr(module, "padding_mode", "zeros") != "zeros",
                    parameter=".".join(filter(None, (path, name))),
                    standard=type_before_parametrizations(module).__module__.startswith("torch."),
                )
            )
    return layers


def kind_of(module: nn.Module) -> str:
    """Return the name of a module's class: in a program, or parametrised, of the one it was."""
    own = type_before_parametrizations(module).__name__
    return str(getattr(module, "original_name", own))


def _of_child(module: nn.Module, weight: Tensor) -> bool:
    """Whether a weight that a module offers is that of a module in it, which runs with it."""
    return any(weight is own for own in module.parameters())


def select(names: Sequence[str], include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Return the names that match any `include` glob (all, if none is given) and no `exclude`.

    Raises:
        UsageError: --layers and --exclude leave no layer.
    """
    chosen = [
        name
        for name in names
        if (not include or any(fnmatchcase(name, glob) for glob in include))
        and not any(fnmatchcase(name, glob) for glob in exclude)
    ]
    if names and not chosen:
        wanted = " ".join(
            [*(f"--layers {g!r}" for g in include), *(f"--exclude {g!r}" for g in exclude)]
        )
        raise UsageError(f"no layer matches {wanted}; choose among {listed(names)}")
    return chosen
