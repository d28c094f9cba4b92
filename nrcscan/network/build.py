"""A network that runs: from the user's factory, or inferred from the weights of a plain chain."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from nrcscan.errors import InputError, UsageError
from nrcscan.files import at_work
from nrcscan.inputs.catalogue import FORMATS
from nrcscan.inputs.checkpoints.acting_weights import fitted, with_acting_weights
from nrcscan.inputs.checkpoints.contents import Checkpoint
from nrcscan.inputs.checkpoints.plain_tensor import make_plain
from nrcscan.inputs.user_code import load_callable
from nrcscan.network.chain import Chain
from nrcscan.network.guess import Guess
from nrcscan.network.infer_chain import infer
from nrcscan.network.load_weights import load_weights
from nrcscan.network.precision import notes_on_precision, precision_for, put_in
from nrcscan.network.try_guesses import Trial
from nrcscan.wording import listed, reason


@dataclass(frozen=True)
class Network:
    """A network with the checkpoint's weights in it.

    Attributes:
        module: the network.
        source: where its architecture came from, in words.
        inferred: whether it was guessed from the weights.
        layout: of an inferred network, what it was taken to be.
        chain: of an inferred network, what was read off its weights.
        settled: of an inferred network, what it is to be, where that is settled.
        trial: of an inferred network, what came of trying what it may be.
        fixed_batch: how many samples it takes at once; None for any number.
        notes: what the user should know about how it came about.
        weight_notes: likewise, about its weights: where they were found, in which precision.
    """

    module: nn.Module
    source: str
    inferred: bool = False
    layout: str = ""
    chain: Chain | None = None
    settled: Guess | None = None
    trial: Trial | None = None
    fixed_batch: int | None = None
    notes: tuple[str, ...] = ()
    weight_notes: tuple[str, ...] = ()


def build(
    checkpoint: Checkpoint,
    *,
    factory: str | Callable[..., nn.Module] | None = None,
    factory_args: Mapping[str, Any] | None = None,
    activation: str | None = None,
    dtype: torch.dtype | None = None,
) -> Network:
    """Return a network holding a checkpoint's weights, on the CPU.

    Args:
        checkpoint: the weights.
        factory: "package.module:callable", "path/file.py:callable" or a callable that
            returns the network; None takes the network of the file, or infers a chain from
            the weights.
        factory_args: keyword arguments of the factory, before the checkpoint's own
            hyper-parameters of these names.
        activation: of an inferred chain, a key of `chain.ACTIVATIONS`; None where the data is
            to tell, see `try_guesses`.
        dtype: what the network runs in; by default float32, float64 if its weights need that, or
            what the network of the file cannot but run in.

    Raises:
        UsageError: the factory cannot be found or called, the activation is not known, the
            network of the file runs in another dtype alone, or weights exceed the range of
            `dtype`.
        InputError: weights and network do not fit, a weight is NaN, or nothing can be inferred.
    """
    require_finite(checkpoint)
    if factory is None and checkpoint.module is not None:
        return _of_the_file(checkpoint, checkpoint.module, dtype)
    if factory is None:
        checkpoint = with_acting_weights(checkpoint)
        chain = infer(checkpoint, activation)
        source, layout = "inferred from the weights", chain.layout()
        network = Network(chain.module(), source, inferred=True, layout=layout, chain=chain)
    else:
        called = load_callable(factory, "--model") if isinstance(factory, str) else factory
        name = factory if isinstance(factory, str) else getattr(factory, "__qualname__", "factory")
        offered = _offered(called, checkpoint.hyper_parameters)
        arguments = {**offered, **(factory_args or {})}
        taken = sorted(set(offered) - set(factory_args or {}))
        notes = (f"the checkpoint's hyper-parameters give {listed(taken)}",) if taken else ()
        network = Network(_call(called, name, arguments), name, notes=notes)
        make_plain("--model", network.module)
    _require_widths(network.module)
    put_in(network.module, precision_for(checkpoint.state, dtype), checkpoint.state)
    return _with_weights(network, checkpoint, dtype)


def reloaded(network: Network, checkpoint: Checkpoint, dtype: torch.dtype | None) -> Network:
    """Return a network with the weights of another checkpoint, of the same names and precision.

    Args:
        network: as `build` has made it.
        checkpoint: the weights.
        dtype: what the user wants the network to run in, as `build` was told.

    Raises:
        InputError: weights and network do not fit, or a weight is NaN.
        UsageError: weights exceed the range of `dtype`.
    """
    require_finite(checkpoint)
    if network.inferred:
        checkpoint = with_acting_weights(checkpoint)
    return _with_weights(network, checkpoint, dtype)


def _with_weights(network: Network, checkpoint: Checkpoint, dtype: torch.dtype | None) -> Network:
    checkpoint = fitted(checkpoint, network.module.state_dict())
    found = load_weights(network.module, checkpoint)
    notes = (*checkpoint.notes, *found, *_on_precision(checkpoint, dtype))
    return replace(network, weight_notes=notes)


def _on_precision(checkpoint: Checkpoint, dtype: torch.dtype | None) -> tuple[str, ...]:
    chosen = precision_for(checkpoint.state, dtype)
    return tuple(notes_on_precision(checkpoint.state, chosen, asked=dtype is not None))


def _of_the_file(checkpoint: Checkpoint, module: nn.Module, dtype: torch.dtype | None) -> Network:
    """Return the network that a file holds.

    Raises:
        UsageError: a network that is in the file as a whole runs as it is.
    """
    fixed = checkpoint.fixed_dtype
    if fixed is not None and dtype not in (None, fixed):
        raise UsageError(
            f"--dtype {_name(dtype)}: {checkpoint.path} computes in {_name(fixed)} and in"
            " nothing else; leave --dtype out"
        )
    if checkpoint.left_aside:
        raise UsageError(
            f"{checkpoint.path}: the network in the file runs with all its tensors; leave --ignore"
            " out, or name another network with --model"
        )
    told: tuple[str, ...] = ()
    if fixed is None:
        told = _on_precision(checkpoint, dtype)
        put_in(module, precision_for(checkpoint.state, dtype), checkpoint.state)
    return Network(
        module,
        f"the file itself, {FORMATS[checkpoint.format]}",
        fixed_batch=checkpoint.fixed_batch,
        notes=checkpoint.notes,
        weight_notes=(*checkpoint.choice, *told),
    )


def _require_widths(module: nn.Module) -> None:
    """Refuse layers without widths.

    Raises:
        InputError: lazy layers of a factory have no weights to be filled.
    """
    if any(is_lazy(parameter) for parameter in module.parameters()):
        raise InputError(
            "the factory's network has lazy layers, whose widths are not known; give them widths"
        )


def require_finite(checkpoint: Checkpoint) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        InputError: weights in the file are not finite; all such tensors are named.
    """
    broken = [
        name
        for name, tensor in checkpoint.state.items()
        if not bool(torch.isfinite(tensor.float() if tensor.itemsize == 1 else tensor).all())
    ]
    if broken:
        raise InputError(
            f"{checkpoint.path}: NaN or infinite weights in {listed(broken)};"
            " the training diverged: take an earlier checkpoint"
        )


def _name(dtype: object) -> str:
    return str(dtype).removeprefix("torch.")


def _offered(factory: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a checkpoint's hyper-parameters that a factory takes by name."""
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):  # a callable without a signature takes what it is given
        return {}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return dict(values)
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    return {name: value for name, value in values.items() if name in named}


def _call(factory: Callable[..., Any], name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the network that code makes.

    Raises:
        UsageError: what --model names fails, or makes no network.
    """
    if isinstance(factory, nn.Module):  # a network that stands ready in the module
        return factory
    try:
        with at_work.doing(f"the code of {name} ran"):
            made = factory(**arguments)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UsageError(
            f"--model {name}: calling it failed: {type(error).__name__}: {reason(error)};"
            " give its arguments with --model-args"
        ) from error
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"--model {name}: returned a {type(made).__name__}, not an nn.Module;"
            " name a callable that returns the network"
        )
    return made
