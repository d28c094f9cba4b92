"""Short names for files: what distinguishes their paths, and no more."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from nrcscan.short_names import shared

LONGEST = 15
"""A longer label would widen a table's columns past their numbers."""

_SEPARATOR = re.compile(r"((?<![0-9][eE])-|[_/ ])")
"""Between the words of a path; the minus of 1e-3 is none."""


def labels(paths: Sequence[PurePath]) -> list[str]:
    """Return a short label for every path, all different, in order.

    Words that all paths share are left out. Letters stand for paths that cannot be told apart
    briefly.

    Args:
        paths: absolute, all different.

    >>> labels([PurePath("/runs/mlp_wd5e-3_seed1.h5"), PurePath("/runs/mlp_wd1e-2_seed1.h5")])
    ['wd5e-3', 'wd1e-2']
    >>> labels([PurePath("/runs/wd0_seed1_epoch9.h5"), PurePath("/runs/wd1_seed1_epoch10.h5")])
    ['wd0_epoch9', 'wd1_epoch10']
    >>> labels([PurePath("/runs/wd0/acts.h5"), PurePath("/runs/wd0.01/acts.h5")])
    ['wd0', 'wd0.01']
    """
    parts = [(*path.parts[:-1], _stem(path)) for path in paths]
    deepest = max(len(part) for part in parts)
    for depth in range(1, deepest + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            for short in (_without_shared_words(names), names):
                brief = all(0 < len(name) <= LONGEST for name in short)
                if brief and len(set(short)) == len(short):
                    return short
            break
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    if len(paths) <= len(alphabet):
        return list(alphabet[: len(paths)])
    return [f"#{number}" for number in range(1, len(paths) + 1)]


def _stem(path: PurePath) -> str:
    """Return a file's name without .h5; in wd0.01, the dot begins no extension."""
    return path.stem if path.suffix in (".h5", ".hdf5") else path.name


def _without_shared_words(names: Sequence[str]) -> list[str]:
    split = [_SEPARATOR.split(name) for name in names]  # words at even places
    words = [pieces[::2] for pieces in split]
    if len({len(word) for word in words}) == 1:
        return _in_their_places(split)
    fewest = min(map(len, words)) - 1  # a word is left of every name
    head = min(fewest, shared(words))
    tail = min(fewest - head, shared([word[::-1] for word in words]))
    return ["".join(pieces[2 * head : len(pieces) - 2 * tail]) for pieces in split]


def _in_their_places(split: Sequence[Sequence[str]]) -> list[str]:
    """Return names of equally many words without the words that are the same in all."""
    places = range(0, len(split[0]), 2)
    kept = [i for i in places if len({pieces[i] for pieces in split}) > 1] or [*places]
    return [
        "".join((pieces[i - 1] if i > kept[0] else "") + pieces[i] for i in kept)
        for pieces in split
    ]
