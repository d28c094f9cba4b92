"""Settles which tensors of a checkpoint are the network: all of a state dict, or a part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor, nn

from nrcscan.errors import UsageError
from nrcscan.files.natural_order import natural_key
from nrcscan.inputs.checkpoints.contents import Checkpoint, Contents, TensorList
from nrcscan.inputs.checkpoints.default_state import default_key, others_note
from nrcscan.inputs.checkpoints.part_by_name import NamedPart, find_part
from nrcscan.inputs.checkpoints.policy_names import squashed_note
from nrcscan.inputs.checkpoints.set_aside import set_aside
from nrcscan.inputs.checkpoints.wrapper_names import COUNTER
from nrcscan.wording import listed

_COUNTS = "num_batches_tracked"
_BUFFERS = ("running_mean", "running_var", _COUNTS, COUNTER)
_RUNS_WHOLE = ("exported", "onnx")
"""Forms whose networks are one program, of which no part runs."""


def choose(
    contents: Contents, state_key: str | None = None, ignore: Sequence[str] = ()
) -> Checkpoint:
    """Take one network's weights from what a file holds.

    Args:
        contents: of the file.
        state_key: which state dict, list of tensors or part of one; several parts are joined
            by commas. None takes the one that there is, under a usual key.
        ignore: globs of tensors that are left aside.

    Raises:
        UsageError: --state-key goes with files of weights, and this one is a program.
    """
    path, states, lists = contents.path, contents.states, contents.lists
    if state_key is None:
        key = default_key(path, states, lists)
        part = NamedPart(states[key], key, {name: name for name in states[key]})
        part_note = others_note(key, states, lists)
    else:
        part, part_note = find_part(path, states, lists, state_key), None
    notes = [part_note, part.note, _share(contents, part, state_key)]
    tensors, aliases, ties_note = _with_ties(contents, part)
    in_order = None
    if part.key in lists:
        tensors, in_order = _in_order(contents, part)
    left, aside = set_aside(path, tensors, ignore, part.origins)
    if aside and in_order is not None:
        kept = tuple(left.values())
        in_order = None if in_order.named_as else replace(in_order, tensors=kept)
    whole = () if part.key is None else states[part.key]
    notes += [ties_note, squashed_note(state_key, whole), aside]
    module = _module(contents, part)
    return Checkpoint(
        path,
        contents.format,
        contents.sha256,
        left,
        (part.key or "") if state_key is None else state_key,
        contents.ordered or part.module_path is None,
        module,
        contents.fixed_batch,
        contents.fixed_dtype,
        contents.notes,
        contents.hyper_parameters,
        {name: one for name, one in aliases.items() if name in left or name not in tensors},
        in_order,
        tuple(note for note in notes if note),
        aside is not None,
    )


def _share(contents: Contents, part: NamedPart, state_key: str | None) -> str | None:
    """Say which share of a state dict a part is."""
    if part.key is None or part.module_path == "":
        return None
    whole = len(contents.states[part.key])
    if len(part.tensors) == whole:
        return None
    where = f" of {part.key}" if part.key else ""
    return f"--state-key {state_key}: took {len(part.tensors)} of the {whole} tensors{where}"


def _module(contents: Contents, part: NamedPart) -> nn.Module | None:
    """Return the network in the file, or the part of it, if it holds one."""
    module = None if part.key is None else contents.modules.get(part.key)
    if module is None or part.module_path == "":
        return module
    if contents.format in _RUNS_WHOLE:
        raise UsageError(
            f"{contents.path}: is a program that runs as a whole; leave --state-key out"
        )
    if part.module_path is None:
        return None
    try:
        inner = module.get_submodule(part.module_path)
    except AttributeError:
        return None
    return None if type(inner).forward is nn.Module.forward else inner  # a list of layers


def _with_ties(
    contents: Contents, part: NamedPart
) -> tuple[dict[str, Tensor], dict[str, Tensor], str | None]:
    """Return a part with tensors under their second names, those alone, and what to say of them.

    A second name counts as one of the part's own where it is of the same kind, such as two that
    end in "weight"; any other is kept for a network that asks for it.
    """
    if not contents.ties or part.key is None:
        return part.tensors, {}, None
    state = contents.states[part.key]
    modules = {origin.rpartition(".")[0] for origin in part.origins.values()}
    within = f"{part.module_path}." if part.module_path else ""
    second: dict[str, Tensor] = {}
    alike: dict[str, str] = {}
    for name, held in contents.ties.items():
        if part.module_path is None:  # several parts: a module of theirs may have two tensors
            inside = name.rpartition(".")[0] in modules
        else:
            inside = name.startswith(within)
        if inside and held in state:
            second[name.removeprefix(within)] = state[held]
            if "." in name and _leaf(name) == _leaf(held):
                alike[name.removeprefix(within)] = held
    tensors = {**part.tensors, **{name: second[name] for name in alike}}
    if alike and not contents.ordered and part.module_path is not None:
        tensors = dict(sorted(tensors.items(), key=lambda item: natural_key(item[0])))
    said = listed(f"{name} is {held}" for name, held in alike.items())
    return tensors, second, f"tied, by the file's metadata: {said}" if alike else None


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def _in_order(contents: Contents, part: NamedPart) -> tuple[dict[str, Tensor], TensorList]:
    """Return a list of tensors, under the names of the state dict beside it if they fit.

    Training scripts keep the average of a network's parameters so, beside its state dict.
    """
    tensors = tuple(part.tensors.values())
    others = {key: state for key, state in contents.states.items() if key not in contents.lists}
    try:
        key = default_key(contents.path, others, ()) if others else None
    except UsageError:
        key = None
    if key is None:
        return part.tensors, TensorList(tensors, {}, "", "")
    beside = others[key]
    second = _tied(beside)
    names = [name for name in beside if _leaf(name) not in _BUFFERS and name not in second]
    where = key or "the top level"
    if [beside[name].shape for name in names] != [tensor.shape for tensor in tensors]:
        return part.tensors, TensorList(tensors, beside, where, "")
    given = dict(zip(names, tensors, strict=True))
    given |= {name: given[of] for name, of in second.items()}
    buffers = [name for name in beside if name not in given and _leaf(name) != _COUNTS]
    said = f"{part.key}: its tensors are named as those of {where} are, in order"
    if buffers:
        said += f"; it lacks {listed(buffers)}: taken from {where}"
    named = {name: given.get(name, beside[name]) for name in beside}
    return named, TensorList(tensors, beside, where, said)


def _tied(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the later names of tensors that are in memory once, each with the first name."""
    first: dict[tuple[int, ...], str] = {}
    later = {}
    for name, tensor in state.items():
        place = (tensor.data_ptr(), *tensor.shape, -1, *tensor.stride())
        if tensor.numel() and place in first:
            later[name] = first[place]
        else:
            first[place] = name
    return later
