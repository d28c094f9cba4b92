"""Puts a checkpoint's weights into a network that its factory made: name by name, or in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

import torch
from torch import Tensor, nn

from nrcscan.errors import InputError
from nrcscan.inputs.checkpoints.contents import Checkpoint, TensorList
from nrcscan.inputs.checkpoints.wrapper_names import COUNTER, alike, bare, stripped
from nrcscan.wording import listed

# Counters of batches play no part in eval mode, and old checkpoints lack them.
_NOT_NEEDED = "num_batches_tracked"
_SHOWN = 6


def load_weights(module: nn.Module, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Copy a checkpoint's weights into a network, under the names that it has for them.

    What wrappers put into names comes off where the network's own names lack it. Weights that the
    network ties, or that the file says are tied, are complete once one of them is there.

    Returns:
        What the user should know about where the weights were found.

    Raises:
        InputError: names or shapes of the weights are not those of the network; all are named.
    """
    expected = module.state_dict()
    tied = _tied(module)
    tensors = {**checkpoint.aliases, **checkpoint.state}
    names = max(matched(tensors, expected), matched(checkpoint.state, expected), key=len)
    found = {name: tensors[held] for name, held in names.items()}
    held = checkpoint.in_order
    if held is not None and (not held.named_as or len(names) < len(expected)):
        found, notes = _by_place(module, checkpoint, held)
        extra: list[str] = []
    else:
        notes = [held.named_as] if held is not None else []
        extra = _unexpected(checkpoint, names, expected)
    missing = [
        name
        for name in expected
        if name not in found
        and not name.endswith(_NOT_NEEDED)
        and not any(other in found for other in tied.get(name, ()))
    ]
    misshapen = [
        f"{k} has shape {tuple(found[k].shape)} where the network wants {tuple(expected[k].shape)}"
        for k in expected
        if k in found and found[k].shape != expected[k].shape
    ]
    mistyped = [
        f"{k} {unlike}"
        for k in expected
        if k in found and (unlike := _unlike(found[k], expected[k])) is not None
    ]
    problems = [
        *([f"missing {listed(missing)}"] if missing else []),
        *([f"unexpected {listed(extra)}"] if extra else []),
        *misshapen,
        *mistyped,
    ]
    if problems:
        only_extra = extra if len(problems) == 1 else []
        raise InputError(
            f"{checkpoint.path}: does not fit the network: {'; '.join(problems)};"
            f" {_remedy(checkpoint, expected, only_extra)}"
        )
    _require_equal(checkpoint, found, tied)
    module.load_state_dict(found, strict=False)
    return (*checkpoint.choice, *notes)


def matched(names: Iterable[str], expected: Iterable[str]) -> dict[str, str]:
    """Return which name of a file each name of a network is: the same, but for wrappers.

    The network's own names decide: one that has a part called "module" keeps it. Where names are
    the same without wrappers, none of them is taken for another.

    >>> matched(["module.a.weight", "b._orig_mod.weight"], ["a.weight", "b.weight"])
    {'a.weight': 'module.a.weight', 'b.weight': 'b._orig_mod.weight'}
    >>> matched(["module.weight", "weight"], ["module.weight", "weight"])
    {'module.weight': 'module.weight', 'weight': 'weight'}
    """
    wanted = list(expected)
    held = _written_alike(names, set(wanted))
    wanted_bare, held_bare = alike(wanted), alike(held)
    found = {}
    for name in wanted:
        if name in held:
            found[name] = held[name]
        elif wanted_bare.get(bare(name)) == name and bare(name) in held_bare:
            other = held_bare[bare(name)]
            if other not in wanted:
                found[name] = held[other]
    return found


def _written_alike(names: Iterable[str], wanted: Set[str]) -> dict[str, str]:
    """Return a file's names, by how they are written with those wrappers off that fit a network."""
    wanted_bare = alike(wanted).keys()

    def fit(held: Mapping[str, str]) -> tuple[int, int]:
        return len(held.keys() & wanted), len(alike(held).keys() & wanted_bare)

    return max(stripped({name: name for name in names}), key=fit)


def _unexpected(
    checkpoint: Checkpoint, names: Mapping[str, str], expected: Mapping[str, Tensor]
) -> list[str]:
    """Return the names in the file that the network does not ask for, as its own are written."""
    used = set(names.values())
    averaged = COUNTER not in expected and any(name != held for name, held in names.items())
    left = [
        held
        for held in checkpoint.state
        if held not in used
        and held not in checkpoint.aliases
        and not (held == COUNTER and averaged)
    ]
    written = _written_alike(checkpoint.state, expected.keys())
    shown = {held: name for name, held in written.items()}
    return [shown.get(held, held) for held in left]


def _remedy(checkpoint: Checkpoint, expected: Mapping[str, Tensor], extra: list[str]) -> str:
    """Say what to do where weights and network do not fit.

    Args:
        checkpoint: the weights.
        expected: the network's.
        extra: names that the network does not ask for, if nothing else is wrong.
    """
    check = "check --model and --model-args"
    if checkpoint.in_order is not None:
        return f"{check}, or save model.state_dict(), which has more than parameters"
    parts = _fitting_parts(checkpoint, expected)
    if parts:
        which = "the part that fits" if len(parts) == 1 else "one of the parts that fit"
        return f"take {which}, with {listed((f'--state-key {part}' for part in parts), 'or')}"
    if extra:
        flags = [f"--ignore '{glob}'" for glob in _globs(extra, expected)]
        shown = " ".join(flags) if len(flags) <= _SHOWN else "--ignore GLOB"
        return f"leave them aside with {shown}, or {check}"
    return check


def _fitting_parts(checkpoint: Checkpoint, expected: Mapping[str, Tensor]) -> list[str]:
    """Return what all of a network's names begin with in the file, wherever they do."""
    anchor = next(iter(expected), None)
    state, key = checkpoint.state, checkpoint.state_key
    if anchor is None or "," in key:
        return []
    heads = [name.removesuffix(f".{anchor}") for name in state if name.endswith(f".{anchor}")]
    return [
        f"{key}.{head}" if key else head
        for head in heads
        if all(
            (held := state.get(f"{head}.{name}")) is not None and held.shape == tensor.shape
            for name, tensor in expected.items()
        )
    ]


def _globs(extra: Iterable[str], expected: Iterable[str]) -> list[str]:
    """Return globs of extra names that match none of the network's: whole modules, if they can."""
    kept = {head for name in expected for head in _modules_of(name)}
    globs: dict[str, None] = {}
    for name in extra:
        module = next((head for head in _modules_of(name) if head not in kept), None)
        globs.setdefault(name if module is None else f"{module}.*")
    return list(globs)


def _modules_of(name: str) -> list[str]:
    """Return the names of the modules that a tensor is in, the outermost first."""
    pieces = name.split(".")
    return [".".join(pieces[:depth]) for depth in range(1, len(pieces))]


def _tied(module: nn.Module) -> dict[str, list[str]]:
    """Return, of every name of a tensor that a network has under several, all of these names."""
    groups: dict[int, list[str]] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        groups.setdefault(id(tensor), []).append(name)
    return {name: names for names in groups.values() if len(names) > 1 for name in names}


def _require_equal(
    checkpoint: Checkpoint, found: Mapping[str, Tensor], tied: Mapping[str, list[str]]
) -> None:
    """Refuse weights that differ in the file and are one in the network.

    Raises:
        InputError: names that are one weight in the network have different values in the file.
    """
    for names in tied.values():
        first, *others = [name for name in names if name in found] or [""]
        for other in others:
            if found[other] is not found[first] and not torch.equal(found[other], found[first]):
                raise InputError(
                    f"{checkpoint.path}: {first} and {other} differ in the file, and the network"
                    " has one weight for both; check --model and --model-args"
                )


def _by_place(
    module: nn.Module, checkpoint: Checkpoint, held: TensorList
) -> tuple[dict[str, Tensor], list[str]]:
    """Return a list's tensors by the names of a network's parameters, in order.

    What is no parameter, and parameters that were not trained where the list is of the others, are
    those of the state dict beside the list.

    Raises:
        InputError: a list of tensors has more or fewer than the network has parameters.
    """
    every = list(module.named_parameters())
    trained = [(name, parameter) for name, parameter in every if parameter.requires_grad]
    fitting = next((some for some in (every, trained) if len(some) == len(held.tensors)), None)
    what = checkpoint.state_key or "the file"
    if fitting is None:
        raise InputError(
            f"{checkpoint.path}: {what} is a list of {len(held.tensors)} tensors and the network"
            f" has {len(every)} parameters; check --model and --model-args"
        )
    found = dict(zip((name for name, _ in fitting), held.tensors, strict=True))
    tied = _tied(module)
    lacking = [
        name
        for name in module.state_dict()
        if name not in found and not any(other in found for other in tied.get(name, ()))
    ]
    names = matched(held.beside, module.state_dict())
    beside = {name: held.beside[names[name]] for name in lacking if name in names}
    notes = [f"{what} has no names: its tensors went to the network's parameters in order"]
    shown = [name for name in beside if not name.endswith(_NOT_NEEDED)]
    if shown:
        notes.append(f"{what} lacks {listed(shown)}: taken from {held.beside_key}")
    return {**found, **beside}, notes


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
