"""The next step where weights are no plain chain: a part that is one, or what may be left aside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from nrcscan.network.beside_a_chain import adapters, beside, lone, parts, strange
from nrcscan.network.chain import Block, parent
from nrcscan.wording import listed

_FACTORY = "name the network's factory with --model"

_SHOWN = 4
"""Parts or globs that are named, at most."""

IsChain = Callable[[list[Block]], bool]


def next_step(blocks: list[Block], state_key: str, is_chain: IsChain) -> str:
    """Say what to do with weights that are no chain.

    Args:
        blocks: as the file has them.
        state_key: where in the file they are.
        is_chain: whether some of them are a chain by themselves.
    """
    extra = _extra(blocks)
    if adapters(blocks) or _among_numbers(blocks) or not _layers(_without(blocks, extra)):
        return _FACTORY  # these are of the network, which is another without them
    networks = _networks(blocks, is_chain)
    branches = _branches(blocks, networks.values(), is_chain)
    if 1 < len(branches) <= _SHOWN:
        words = listed((_ignoring([f"{name}.*"]) for name in branches), "or")
        return f"leave a branch aside with {words}, or {_FACTORY}"
    if 0 < len(networks) <= _SHOWN:
        key = f"{state_key}." if state_key else ""
        words = listed((f"--state-key {key}{name}" for name in networks), "or")
        return f"choose a part that is a network by itself with {words}, or {_FACTORY}"
    globs = [glob for b in extra for glob in ([f"{b.name}.*"] if b.name else b.tensors)]
    if 0 < len(globs) <= _SHOWN and is_chain(_without(blocks, extra)):
        told = _ignoring(globs)
        return f"{_FACTORY}, or where it runs without them leave them aside with {told}"
    return (
        f"{_FACTORY}, choose the part that is the network with --state-key PREFIX, or leave"
        " tensors aside with --ignore GLOB"
    )


def _extra(blocks: Sequence[Block]) -> list[Block]:
    """Return what is no layer of a chain."""
    names = {block.name for block in (*lone(blocks), *strange(blocks), *beside(blocks))}
    return [block for block in blocks if block.name in names]


def _among_numbers(blocks: Sequence[Block]) -> list[Block]:
    """Return what is no layer of a chain and stands among the numbers of a Sequential."""
    layers = {parent(block) for block in blocks if block.kind == "Linear"}
    others = [*lone(blocks), *strange(blocks)]
    return [block for block in others if _numbered(block.name) and parent(block) in layers]


def _networks(blocks: list[Block], is_chain: IsChain) -> dict[str, list[Block]]:
    """Return the largest parts that are chains of layers by themselves, by name.

    Parts with numbers for names may be blocks of one network, unless there is nothing else.
    """
    found = {n: own for n, own in parts(blocks).items() if _layers(own) > 1 and is_chain(own)}
    largest = _largest(found)
    numbered = list(filter(_numbered, largest))
    if sum(_layers(found[name]) for name in numbered) < _layers(blocks):
        largest = [name for name in largest if name not in numbered]
    return {name: found[name] for name in largest}


def _branches(blocks: list[Block], networks: Iterable[list[Block]], is_chain: IsChain) -> list[str]:
    """Return parts and layers without which the rest is a chain, from the input to an output.

    A rest that is a part by itself is none: it has a name to choose it by.
    """
    named = {name: own for name, own in parts(blocks).items() if not _numbered(name)}
    every = {**named, **{head.name: [head] for head in _heads(blocks)}}
    rests = {name: _without(blocks, own) for name, own in every.items()}
    whole = list(networks)
    fit = [name for name, rest in rests.items() if rest not in whole and is_chain(rest)]
    names = _largest(fit)
    takes = {every[name][0].ends[0] for name in names}
    return names if len(takes) == 1 else []


def _heads(blocks: Sequence[Block]) -> list[Block]:
    """Return the last layers under one name that take the same width."""
    heads: list[Block] = []
    for block in reversed(blocks):
        if block.kind != "Linear":
            break
        if heads and (block.ends[0], parent(block)) != (heads[0].ends[0], parent(heads[0])):
            break
        heads.insert(0, block)
    return heads


def _largest(names: Iterable[str]) -> list[str]:
    """Return those names that are in no other."""
    names = list(names)
    return [name for name in names if not any(name.startswith(f"{other}.") for other in names)]


def _without(blocks: Sequence[Block], left_out: Sequence[Block]) -> list[Block]:
    names = {block.name for block in left_out}
    return [block for block in blocks if block.name not in names]


def _layers(blocks: Sequence[Block]) -> int:
    return sum(block.kind == "Linear" for block in blocks)


def _numbered(name: str) -> bool:
    return name.rpartition(".")[2].isdecimal()


def _ignoring(globs: Iterable[str]) -> str:
    """Return the options that leave tensors aside."""
    return " ".join(f"--ignore '{glob}'" for glob in globs)
