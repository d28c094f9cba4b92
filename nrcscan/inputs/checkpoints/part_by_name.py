"""Finds what `--state-key` names: a state dict, a list of tensors, or the names under a prefix.

A word is a dotted key of the file first, then one above such keys, then the beginning of names in
a state dict: after that dict's own key, or without it where only one dict has such names. Several
words joined by commas are parts put together, in this order, under their own names.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from nrcscan.errors import UsageError
from nrcscan.inputs.checkpoints.default_state import networks_in, several
from nrcscan.inputs.checkpoints.wrapper_names import stripped
from nrcscan.wording import listed

States = Mapping[str, dict[str, Tensor]]

_SHOWN = 8


@dataclass(frozen=True)
class NamedPart:
    """Tensors of one network, out of all that a file holds.

    Attributes:
        tensors: by the names that the part has for them.
        key: of the state dict that they are from; None if they are from several.
        origins: the part's name → the name in that state dict.
        module_path: which part of that dict's network they are; empty for all of it, and None
            for what is no module.
        note: what else the word could have meant.
    """

    tensors: dict[str, Tensor]
    key: str | None
    origins: dict[str, str]
    module_path: str | None = ""
    note: str | None = None


def find_part(path: Path, states: States, lists: Collection[str], asked: str) -> NamedPart:
    """Return what `--state-key` names.

    Args:
        path: of the file, for messages.
        states: every state dict in it, by its dotted key.
        lists: the keys of those that are lists of tensors without names.
        asked: the option's value.

    Raises:
        UsageError: what --state-key names is not in the file, or not in one place alone.
    """
    key = _key(path, states, asked)
    if key is not None:
        return _whole(states, lists, asked, key)
    words = [word.strip() for word in asked.split(",")]
    if len(words) == 1:
        return _one(path, states, lists, asked)
    return _joined(path, states, lists, words)


def _key(path: Path, states: States, word: str) -> str | None:
    """Return the key that a word is, or the one of the network below it, or None.

    Raises:
        UsageError: several below it could be meant.
    """
    if word in states:
        return word
    below = {key: state for key, state in states.items() if key.startswith(f"{word}.")}
    networks = networks_in(below)
    if len(networks) > 1:
        raise several(path, networks)
    return networks[0] if networks else None


def _whole(states: States, lists: Collection[str], word: str, key: str) -> NamedPart:
    tensors = states[key]
    note = None if key == word else f"--state-key {word}: took {key}"
    others = [] if word.rpartition(".")[2].isdecimal() else list(_places(states, lists, word))
    if others:
        full = listed((_path_of(place, prefix) for place, prefix in others), "or")
        note = f"--state-key {word}: took the state dict {key}, not names that begin so, {full}"
    return NamedPart(tensors, key, {name: name for name in tensors}, note=note)


def _one(path: Path, states: States, lists: Collection[str], word: str) -> NamedPart:
    """Return the tensors whose names begin with a word, without it.

    Raises:
        UsageError: --state-key names what is no part of the file.
    """
    key, prefix = _place(path, states, lists, word)
    names = _under(states[key], prefix)
    if not names:
        raise UsageError(
            f"{path}: --state-key {word} is a single tensor, and no network; choose from"
            f" {_nearest(states, lists, word)}"
        )
    some_name, origin = next(iter(names.items()))
    return NamedPart(
        {name: states[key][full] for name, full in names.items()},
        key,
        names,
        origin.removesuffix(f".{some_name}"),
    )


def _joined(path: Path, states: States, lists: Collection[str], words: list[str]) -> NamedPart:
    """Return several parts as one, their names as they are below the keys that all share.

    Raises:
        UsageError: --state-key joins parts, and some cannot be joined.
    """
    found: list[tuple[str, str, str]] = []  # key, name without wrappers, name in the state dict
    for word in words:
        whole = _key(path, states, word)
        if whole in lists:
            raise UsageError(
                f"{path}: --state-key {whole} is a list of tensors without names, which joins no"
                " other part; name it alone"
            )
        if whole is not None:
            found += [(whole, name, name) for name in states[whole]]
            continue
        key, prefix = _place(path, states, lists, word)
        under = _under(states[key], prefix)
        found += [(key, f"{prefix}.{name}", full) for name, full in under.items()]
        if not under:
            found.append((key, prefix, _exactly(states[key], prefix)[prefix]))
    keys = list(dict.fromkeys(key for key, _, _ in found))
    shared = _shared(keys)
    tensors: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    for key, name, full in found:
        own = ".".join([*key.split(".")[shared:], name]) if key else name
        if own in tensors:
            raise UsageError(
                f"{path}: --state-key {','.join(words)} names {own} twice; name each part once"
            )
        tensors[own], origins[own] = states[key][full], full
    return NamedPart(tensors, keys[0] if len(keys) == 1 else None, origins, None)


def _shared(keys: list[str]) -> int:
    """Return how many leading pieces of dotted keys are the same in all."""
    pieces = [key.split(".") for key in keys]
    for place, column in enumerate(zip(*pieces, strict=False)):
        if len(set(column)) > 1:
            return place
    return min(map(len, pieces))


def _place(path: Path, states: States, lists: Collection[str], word: str) -> tuple[str, str]:
    """Return the key of the state dict that has names under a word, and the prefix there.

    Raises:
        UsageError: no part of the file is called as --state-key says, or several are.
    """
    places = list(_places(states, lists, word))
    if not places:
        raise UsageError(
            f"{path}: no state dict is called {word!r}, and no tensor's name begins so;"
            f" choose --state-key from {_nearest(states, lists, word)}"
        )
    whole = [(key, prefix) for key, prefix in places if _path_of(key, prefix) == word]
    chosen = whole or places
    if len(chosen) > 1:
        if whole:
            where = listed(repr(key) if key else "the top level" for key, _ in whole)
            raise UsageError(
                f"{path}: {word!r} could be meant in {where}, and no key tells them apart; save"
                " the part that is meant by itself"
            )
        full = listed((f"--state-key {_path_of(*place)}" for place in chosen), "or")
        raise UsageError(f"{path}: {word!r} is in several state dicts; choose with {full}")
    return chosen[0]


def _places(states: States, lists: Collection[str], word: str) -> Iterator[tuple[str, str]]:
    """Yield every state dict that has names under a word, and the prefix of these names there."""
    for key, state in states.items():
        if key in lists:
            continue
        for prefix in dict.fromkeys((word.removeprefix(f"{key}."), word)):
            if prefix and (_under(state, prefix) or _exactly(state, prefix)):
                yield key, prefix


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, str]:
    """Return the names that begin with a prefix, without it, and what the state dict calls them.

    They are looked for as they are, and without wrappers, as they are shown.
    """
    for names in stripped({name: name for name in state}):
        found = {
            name.removeprefix(f"{prefix}."): full
            for name, full in names.items()
            if name.startswith(f"{prefix}.")
        }
        if found:
            return found
    return {}


def _exactly(state: Mapping[str, Tensor], name: str) -> dict[str, str]:
    """Return what the state dict calls a tensor of this name, if there is one."""
    for names in stripped({full: full for full in state}):
        if name in names:
            return {name: names[name]}
    return {}


def _path_of(key: str, prefix: str) -> str:
    return f"{key}.{prefix}" if key else prefix


def _nearest(states: States, lists: Collection[str], word: str) -> str:
    """Return what could be named instead, in words: what is spelt most like it comes first."""
    choices = dict.fromkeys(key for key in states if key)
    for key, state in states.items():
        if key in lists:
            continue
        *_, names = stripped(state)
        for name in names:
            pieces = name.split(".")[:-1]
            for depth in range(1, len(pieces) + 1):
                if not pieces[depth - 1].isdecimal():  # a single layer
                    choices.setdefault(_path_of(key, ".".join(pieces[:depth])))

    def unlike(choice: str) -> float:
        last = choice.rpartition(".")[2]
        return -max(difflib.SequenceMatcher(None, word, one).ratio() for one in (choice, last))

    ranked = sorted(choices, key=unlike)
    shown = [repr(choice) for choice in ranked[:_SHOWN]]
    if len(ranked) > _SHOWN:
        shown.append(f"{len(ranked) - _SHOWN} more")
    return listed(shown) or "none: the file has no names with dots"
