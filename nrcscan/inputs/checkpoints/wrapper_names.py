"""Names of tensors without what wrappers around a network, or around parts of it, put into them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

Held = TypeVar("Held")

WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DataParallel, torch.compile and Lightning put before every name."""

WRAPPER_PIECES = frozenset(
    {
        "module",
        "_orig_mod",
        "_fsdp_wrapped_module",
        "_fpw_module",
        "_checkpoint_wrapped_module",
        "_forward_module",
    }
)
"""What DataParallel, torch.compile, FSDP, activation checkpoints and Fabric put anywhere."""

COUNTER = "n_averaged"
"""What weight averaging keeps beside the wrapped network."""


def bare(name: str) -> str:
    """Return a tensor's name without the pieces of wrappers in it.

    >>> bare("encoder._orig_mod.layers.0._fsdp_wrapped_module.weight")
    'encoder.layers.0.weight'
    """
    *pieces, leaf = name.split(".")
    return ".".join([*(piece for piece in pieces if piece not in WRAPPER_PIECES), leaf])


def stripped(state: Mapping[str, Held]) -> Iterator[dict[str, Held]]:
    """Yield a state dict as it is, then with each wrapper prefix in turn taken off its names.

    Last come the pieces of wrappers anywhere in them, unless that makes two names the same. The
    counter that weight averaging keeps beside the wrapped network goes with its wrapper.

    >>> [list(s) for s in stripped({"module._orig_mod.weight": 0})]
    [['module._orig_mod.weight'], ['_orig_mod.weight'], ['weight']]
    >>> [list(s) for s in stripped({"a.module.weight": 0, "b.weight": 1})]
    [['a.module.weight', 'b.weight'], ['a.weight', 'b.weight']]
    """
    current = dict(state)
    while True:
        yield current
        names = [name for name in current if name != COUNTER]
        prefix = next((p for p in WRAPPER_PREFIXES if all(n.startswith(p) for n in names)), None)
        if prefix is None or not names:
            break
        current = {name.removeprefix(prefix): current[name] for name in names}
    without = {bare(name): value for name, value in current.items()}
    if len(without) == len(current) and without.keys() != current.keys():
        yield without


def alike(names: Iterable[str]) -> dict[str, str]:
    """Return names by what is left of them without wrappers, where that tells them apart."""
    names = list(names)
    times = Counter(map(bare, names))
    return {bare(name): name for name in names if times[bare(name)] == 1}
