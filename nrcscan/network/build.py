"""A network that runs: from the user's factory, or inferred from the weights of a plain chain."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from nrcscan.errors import InputError, UsageError
from nrcscan.inputs.catalogue import FORMATS
from nrcscan.inputs.checkpoints.contents import Checkpoint, stripped
from nrcscan.inputs.user_code import load_callable
from nrcscan.network.infer_chain import infer
from nrcscan.network.precision import notes_on_precision, precision_for, put_in
from nrcscan.wording import listed, reason


@dataclass(frozen=True)
class Network:
    """A network with the checkpoint's weights in it.

    Attributes:
        module: the network.
        source: where its architecture came from, in words.
        inferred: whether it was guessed from the weights.
        layout: of an inferred network, what it was taken to be.
        fixed_batch: how many samples it takes at once; None for any number.
        notes: what the user should know about how it came about.
        precision: likewise, of the precision of its weights.
    """

    module: nn.Module
    source: str
    inferred: bool = False
    layout: str = ""
    fixed_batch: int | None = None
    notes: tuple[str, ...] = ()
    precision: tuple[str, ...] = ()


def build(
    checkpoint: Checkpoint,
    *,
    factory: str | Callable[..., nn.Module] | None = None,
    factory_args: Mapping[str, Any] | None = None,
    activation: str = "relu",
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
        activation: of an inferred chain, a key of `chain.ACTIVATIONS`.
        dtype: what the network runs in; by default float32, float64 if its weights need that, or
            what the network of the file cannot but run in.

    Raises:
        UsageError: the factory cannot be found or called, the activation is not known, or the
            network of the file runs in another dtype alone.
        InputError: weights and network do not fit, a weight is NaN, or nothing can be inferred.
    """
    require_finite(checkpoint)
    if factory is None and checkpoint.module is not None:
        return _of_the_file(checkpoint, checkpoint.module, dtype)
    if factory is None:
        chain = infer(checkpoint, activation)
        module, source = chain.module(), f"inferred from the weights, with {activation}"
        network = Network(module, source, inferred=True, layout=chain.layout())
    else:
        called = load_callable(factory, "--model") if isinstance(factory, str) else factory
        name = factory if isinstance(factory, str) else getattr(factory, "__qualname__", "factory")
        offered = _offered(called, checkpoint.hyper_parameters)
        arguments = {**offered, **(factory_args or {})}
        taken = sorted(set(offered) - set(factory_args or {}))
        notes = (f"the checkpoint's hyper-parameters give {listed(taken)}",) if taken else ()
        network = Network(_call(called, name, arguments), name, notes=notes)
    told = _on_precision(checkpoint, dtype)
    _require_widths(network.module)
    put_in(network.module, precision_for(checkpoint.state, dtype), checkpoint.state)
    load_weights(network.module, checkpoint)
    return replace(network, precision=told)


def _of_the_file(checkpoint: Checkpoint, module: nn.Module, dtype: torch.dtype | None) -> Network:
    """Return the network that a file holds.

    Raises:
        UsageError: it runs in another dtype alone.
    """
    fixed = checkpoint.fixed_dtype
    told: tuple[str, ...] = ()
    if fixed is not None and dtype not in (None, fixed):
        raise UsageError(
            f"--dtype {_name(dtype)}: {checkpoint.path} computes in {_name(fixed)} and in"
            " nothing else; leave --dtype out"
        )
    if fixed is None:
        told = _on_precision(checkpoint, dtype)
        put_in(module, precision_for(checkpoint.state, dtype), checkpoint.state)
    return Network(
        module,
        f"the file itself, {FORMATS[checkpoint.format]}",
        fixed_batch=checkpoint.fixed_batch,
        notes=checkpoint.notes,
        precision=told,
    )


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
    told = _on_precision(checkpoint, dtype)
    load_weights(network.module, checkpoint)
    return replace(network, precision=told)


def _on_precision(checkpoint: Checkpoint, dtype: torch.dtype | None) -> tuple[str, ...]:
    chosen = precision_for(checkpoint.state, dtype)
    return tuple(notes_on_precision(checkpoint.state, chosen, asked=dtype is not None))


def load_weights(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Copy a checkpoint's weights into a network, once wrapper prefixes are off.

    Raises:
        InputError: a key is missing, unexpected, or of another shape or kind; all are named.
    """
    expected = module.state_dict()
    candidates = list(stripped(checkpoint.state))
    state = max(candidates, key=lambda candidate: len(candidate.keys() & expected.keys()))
    # Counters of batches play no part in eval mode, and old checkpoints lack them.
    missing = [k for k in expected if k not in state and not k.endswith("num_batches_tracked")]
    unexpected = [k for k in state if k not in expected]
    misshapen = [
        f"{k} has shape {tuple(state[k].shape)} where the network wants {tuple(expected[k].shape)}"
        for k in expected
        if k in state and state[k].shape != expected[k].shape
    ]
    mistyped = [
        f"{k} {unlike}"
        for k in expected
        if k in state and (unlike := _unlike(state[k], expected[k])) is not None
    ]
    problems = [
        *([f"missing {listed(missing)}"] if missing else []),
        *([f"unexpected {listed(unexpected)}"] if unexpected else []),
        *misshapen,
        *mistyped,
    ]
    if problems:
        raise InputError(
            f"{checkpoint.path}: does not fit the network: {'; '.join(problems)};"
            " check --model and --model-args"
        )
    module.load_state_dict(state, strict=False)


def _require_widths(module: nn.Module) -> None:
    if any(is_lazy(parameter) for parameter in module.parameters()):
        raise InputError(
            "the factory's network has lazy layers, whose widths are not known; give them widths"
        )


def require_finite(checkpoint: Checkpoint) -> None:
    """Refuse weights that are NaN or infinite.

    Raises:
        InputError: some are; all their tensors are named.
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


def _unlike(held: Tensor, wanted: Tensor) -> str | None:
    """Say how a checkpoint's tensor is of another kind of numbers than the network's."""
    told = f"holds {_name(held.dtype)} where the network wants"
    if wanted.is_complex() and not held.is_complex():
        return f"{told} complex numbers (imaginary parts that are lost cannot be made up)"
    if wanted.is_floating_point() and held.is_complex():
        return f"{told} real numbers"
    if wanted.is_floating_point() and not held.is_floating_point():
        return f"{told} numbers in floating point"
    if not wanted.is_floating_point() and held.is_complex() and not wanted.is_complex():
        return f"{told} whole numbers"
    fractions = held.is_floating_point() and not wanted.is_floating_point()
    if fractions and not wanted.is_complex() and bool((held != held.round()).any()):
        return f"{told} whole numbers"
    return None


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
    if isinstance(factory, nn.Module):  # a network that stands ready in the module
        return factory
    try:
        made = factory(**arguments)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UsageError(
            f"--model {name}: calling it failed: {type(error).__name__}: {reason(error)};"
            " give its arguments with --model-args"
        ) from error
    if not isinstance(made, nn.Module):
        raise UsageError(f"--model {name}: returned a {type(made).__name__}, not an nn.Module")
    return made
