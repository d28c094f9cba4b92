"""Which arrays of a file are the inputs, and which the targets: as told, or by usual names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nrcscan.errors import InputError, UsageError
from nrcscan.inputs.datasets.array_keys import (
    TOKENS,
    Piece,
    Side,
    as_regex,
    overview,
    parts_of,
    pattern_of,
    patterns,
    side_of,
    split_at,
)
from nrcscan.inputs.datasets.rows import Rows
from nrcscan.inputs.usual_names import X_KEYS, Y_KEYS, usual_inputs
from nrcscan.wording import listed, some

WEIGHTS = (".weight", ".bias")
"""How the names of a network's parameters end, as a rule."""


def inputs_and_targets(
    path: Path, arrays: Mapping[str, Rows], x_key: str | None, y_key: str | None
) -> tuple[list[Side], Side]:
    """Return which arrays are the inputs, one or several, and which the targets.

    Where only one of both is told, the other is of the same episodes.

    Raises:
        UsageError: there is none of that name, or none is told and none has a usual one.
        InputError: the file holds no arrays, or a list in it names groups that are not there.
    """
    x_told, y_told = _inputs(path, arrays, x_key), _targets(path, arrays, y_key)
    x = x_told or [_usual(path, arrays, X_KEYS, "inputs", "--x-key", y_told)]
    return x, y_told or _usual(path, arrays, Y_KEYS, "targets", "--y-key", x[0])


def _inputs(path: Path, arrays: Mapping[str, Rows], text: str | None) -> list[Side]:
    if text is None:
        return [Side((Piece(name, (name,)),)) for name in usual_inputs(arrays)]
    parts = [text] if text in arrays else split_at(text, ",")
    return [side_of(path, arrays, part, "--x-key") for part in parts]


def _targets(path: Path, arrays: Mapping[str, Rows], text: str | None) -> Side | None:
    if text is None:
        return None
    if text not in arrays and len(parts := split_at(text, ",")) > 1:
        raise UsageError(
            f"--y-key {text}: targets are one array; put several side by side with"
            f" --y-key '{'+'.join(parts)}'"
        )
    return side_of(path, arrays, text, "--y-key")


def _usual(
    path: Path,
    arrays: Mapping[str, Rows],
    usual: Sequence[str],
    what: str,
    option: str,
    other: Side | None,
) -> Side:
    """Return the only array, or episodes of it, with a usual name; those of the other side."""
    if not arrays:
        raise InputError(f"{path}: holds no arrays by name; save the inputs and the targets in it")
    plain = [name for name in usual if name in arrays]
    if not plain and any(key.endswith(WEIGHTS) for key in arrays):
        weights = [key for key in arrays if key.endswith(WEIGHTS)]
        raise InputError(
            f"{path}: holds the weights of a network ({some(weights)}), not data; give MODEL before"
            " DATA"
        )
    if other is not None and (near := _near(path, arrays, usual, option, other)) is not None:
        return near
    if len(plain) == 1:
        return Side((Piece(plain[0], (plain[0],)),))
    if plain:
        raise UsageError(
            f"{path}: {listed(plain)} could all be the {what}; choose with {option} among"
            f" {overview(arrays)}"
        )
    likely = _episodes(arrays, usual)
    told = "" if other is None else other.pieces[0].pattern
    texts = [_like(pattern, told) for pattern in likely]
    if len(texts) == 1:
        return side_of(path, arrays, texts[0], option)
    if texts:
        shapes = [arrays[keys[0]].shape for keys in likely.values()]
        flat = [text for text, shape in zip(texts, shapes, strict=True) if len(shape) <= 2]
        raise UsageError(
            f"{path}: episodes of several arrays that could be the {what}:"
            f" {overview({key: arrays[key] for keys in likely.values() for key in keys})}; name"
            f" those the network was trained on, side by side in its order:"
            f" {option} '{'+'.join(flat[:2] or texts[:1])}'"
        )
    raise UsageError(
        f"{path}: no array is called {usual[0]}; say with {option} which are the {what} among"
        f" {overview(arrays)}"
    )


def _near(
    path: Path, arrays: Mapping[str, Rows], usual: Sequence[str], option: str, other: Side
) -> Side | None:
    """Return what has a usual name in the innermost group around the other side, if one has."""
    told = other.pieces[0].pattern
    parts = parts_of(told)
    for depth in range(len(parts) - 1, 0, -1):
        group = "/".join(parts[:depth])
        inside = re.escape(group) if told in arrays else as_regex(path, arrays, group).pattern
        wanted = re.compile(f"{inside}/({'|'.join(map(re.escape, usual))})")
        found = {match.groups()[-1] for key in arrays if (match := wanted.fullmatch(key))}
        if found:
            name = found.pop()
            return None if found else side_of(path, arrays, f"{group}/{name}", option)
    return None


def _episodes(arrays: Mapping[str, Rows], usual: Sequence[str]) -> dict[str, list[str]]:
    """Return episodes of arrays with a usual name, by pattern; else of those in such groups."""
    episodes = {p: keys for p, keys in patterns(arrays).items() if p.count("*") == 1}
    named = {p: keys for p, keys in episodes.items() if p.split("/")[-1] in usual}
    return named or {
        p: keys
        for p, keys in episodes.items()
        if not {*p.split("/")[1:-1]}.isdisjoint(usual) and not arrays[keys[0]].is_text
    }


def _like(pattern: str, told: str) -> str:
    """Return a pattern of one open part with that of another, which the user has told.

    >>> _like("data/demo_*/actions", "data/[mask/train]/obs/object")
    'data/[mask/train]/actions'
    >>> _like("data/demo_*/obs/object", "data/demo_2/actions")
    'data/demo_2/obs/object'
    """
    numbered = zip(parts_of(told), parts_of(pattern_of(told)), strict=True)
    chosen = [part for part, like in numbered if part != like or TOKENS.search(part)]
    if len(chosen) != 1:
        return pattern
    return "/".join(chosen[0] if TOKENS.search(part) else part for part in parts_of(pattern))
