"""Which arrays of a file are meant: the grammar of --x-key and --y-key.

`a` is one array, `a,b` several inputs, `a+b` arrays side by side as one. `data/*/obs` joins the
arrays of all groups end to end, in natural order, and `data/[mask/train]/obs` those of the groups
that a list in the file names. An array that is called just so comes first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nrcscan.errors import InputError, UsageError
from nrcscan.files.natural_order import natural_path
from nrcscan.inputs.datasets.rows import Rows
from nrcscan.inputs.usual_names import X_KEYS, Y_KEYS, usual_inputs
from nrcscan.wording import listed, some

LISTED = 24
"""So many arrays, or patterns of them, a message lists."""

WEIGHTS = (".weight", ".bias")
"""How the names of a network's parameters end, as a rule."""

_TOKENS = re.compile(r"\[([^\]]+)\]|(\*)")
_NUMBERED = re.compile(r"\d+$")

Groups = tuple[str, ...]
"""What stands for every * or [list] of a pattern, in one key."""


@dataclass(frozen=True)
class Piece:
    """Arrays that are joined end to end, the episodes of one quantity; or a single array.

    Attributes:
        pattern: what they were asked for by.
        keys: of the arrays, in order.
        groups: of each, what the pattern left open; nothing for a single array.
        folders: of each, the parts of its key that hold these.
    """

    pattern: str
    keys: tuple[str, ...]
    groups: tuple[Groups, ...] = ((),)
    folders: tuple[Groups, ...] = ((),)

    def same_episodes(self, other: Piece) -> bool:
        """Whether the arrays of both are of the same groups, in the same order."""
        return self.groups == other.groups or self.folders == other.folders

    @property
    def episodes(self) -> bool:
        """Whether each array is one episode: they were joined, or it lies in a numbered group."""
        return self.groups != ((),) or pattern_of(self.pattern) != self.pattern


@dataclass(frozen=True)
class Side:
    """One input, or the targets: pieces side by side."""

    pieces: tuple[Piece, ...]

    @property
    def text(self) -> str:
        """How it is asked for."""
        return "+".join(piece.pattern for piece in self.pieces)

    @property
    def name(self) -> str:
        """What a network calls it."""
        return self.pieces[0].pattern.split("/")[-1] if len(self.pieces) == 1 else self.text


def inputs_and_targets(
    path: Path, arrays: Mapping[str, Rows], x_key: str | None, y_key: str | None
) -> tuple[list[Side], Side]:
    """Return which arrays are the inputs, one or several, and which the targets.

    Where only one of both is told, the other is of the same episodes.

    Raises:
        UsageError: no array is called so, or neither option nor name tells which is meant.
        InputError: the file holds no arrays, or a list in it names groups that are not there.
    """
    x_told, y_told = _inputs(path, arrays, x_key), _targets(path, arrays, y_key)
    x = x_told or [_usual(path, arrays, X_KEYS, "inputs", "--x-key", y_told)]
    return x, y_told or _usual(path, arrays, Y_KEYS, "targets", "--y-key", x[0])


def _inputs(path: Path, arrays: Mapping[str, Rows], text: str | None) -> list[Side]:
    if text is None:
        return [Side((Piece(name, (name,)),)) for name in usual_inputs(arrays)]
    parts = [text] if text in arrays else _split(text, ",")
    return [_side(path, arrays, part, "--x-key") for part in parts]


def _targets(path: Path, arrays: Mapping[str, Rows], text: str | None) -> Side | None:
    if text is None:
        return None
    if text not in arrays and len(parts := _split(text, ",")) > 1:
        raise UsageError(
            f"--y-key {text}: targets are one array; put several side by side with"
            f" --y-key '{'+'.join(parts)}'"
        )
    return _side(path, arrays, text, "--y-key")


def input_names(sides: Sequence[Side]) -> list[str]:
    """Return what to call several inputs: the last part of their keys, where that tells them."""
    names = [side.name for side in sides]
    return names if len(set(names)) == len(names) else [side.text for side in sides]


def pattern_of(key: str) -> str:
    """Return a key with * for the number of every numbered group on its way.

    >>> pattern_of("data/demo_12/obs/joint_7")
    'data/demo_*/obs/joint_7'
    """
    *groups, name = key.split("/")
    return "/".join([*(_NUMBERED.sub("*", group) for group in groups), name])


def patterns(arrays: Mapping[str, Rows]) -> dict[str, list[str]]:
    """Return the keys by their pattern, each in natural order."""
    found: dict[str, list[str]] = {}
    for key in sorted(arrays, key=natural_path):
        found.setdefault(pattern_of(key), []).append(key)
    return found


def overview(arrays: Mapping[str, Rows]) -> str:
    """Return what arrays there are, with their shapes, in words."""
    told = []
    for pattern, keys in patterns(arrays).items():
        shapes = {arrays[key].shape for key in keys}
        if len(keys) == 1:
            told.append(f"{keys[0]} {arrays[keys[0]].shape}")
        else:
            tails = {shape[1:] for shape in shapes}
            tail = ", ".join(map(str, next(iter(tails)))) if len(tails) == 1 else "…"
            told.append(f"{pattern} ({len(keys)} × ({f'T, {tail}' if tail else 'T,'}))")
    more = len(told) - LISTED
    return listed(told) if more <= 0 else f"{', '.join(told[:LISTED])} and {more} more"


def lists_of_groups(arrays: Mapping[str, Rows]) -> list[str]:
    """Return the keys of the lists of names in a file, such as mask/train."""
    return [key for key, rows in arrays.items() if rows.is_text and len(rows.shape) == 1]


def _split(text: str, mark: str) -> list[str]:
    return [part.strip() for part in text.split(mark)]


def _side(path: Path, arrays: Mapping[str, Rows], text: str, option: str) -> Side:
    parts = [text] if text in arrays else _split(text, "+")
    return Side(tuple(_piece(path, arrays, part, option) for part in parts))


def _piece(path: Path, arrays: Mapping[str, Rows], text: str, option: str) -> Piece:
    if text in arrays:
        return Piece(text, (text,))
    if _TOKENS.search(text) is None:
        inside = [key for key in arrays if key.startswith(f"{text}/")]
        if text and inside:
            raise UsageError(
                f"{path}: {text!r} is a group of {some(inside)}; choose among them with {option},"
                f" or put several side by side as '{'+'.join(inside[:2])}'"
            )
        raise _absent(path, arrays, f"array {text!r}", option)
    wanted = _as_regex(path, arrays, text)
    found = {key: match.groups() for key in arrays if (match := wanted.fullmatch(key))}
    if not found:
        raise _absent(path, arrays, f"array like {text!r}", option)
    keys = sorted(found, key=natural_path)
    _require_all_named(path, arrays, text, set().union(*found.values()))
    open_parts = [i for i, part in enumerate(_parts(text)) if _TOKENS.search(part)]
    folders = (tuple(key.split("/")[i] for i in open_parts) for key in keys)
    return Piece(text, tuple(keys), tuple(found[key] for key in keys), tuple(folders))


def _parts(pattern: str) -> list[str]:
    """Return the parts of a pattern between slashes; a list's own name is whole.

    >>> _parts("data/[mask/train]/obs")
    ['data', '[mask/train]', 'obs']
    """
    return re.split(r"/(?![^\[]*\])", pattern)


def _like(pattern: str, told: str) -> str:
    """Return a pattern of one open part with that of another, which the user has told.

    >>> _like("data/demo_*/actions", "data/[mask/train]/obs/object")
    'data/[mask/train]/actions'
    """
    chosen = [part for part in _parts(told) if _TOKENS.search(part)]
    if len(chosen) != 1:
        return pattern
    return "/".join(chosen[0] if _TOKENS.search(part) else part for part in _parts(pattern))


def _absent(path: Path, arrays: Mapping[str, Rows], what: str, option: str) -> UsageError:
    return UsageError(f"{path}: has no {what}; choose {option} from {overview(arrays)}")


def _as_regex(path: Path, arrays: Mapping[str, Rows], text: str) -> re.Pattern[str]:
    written, end = "", 0
    for token in _TOKENS.finditer(text):
        names = "[^/]+" if token[2] else "|".join(map(re.escape, _names(path, arrays, token[1])))
        written += f"{re.escape(text[end : token.start()])}({names})"
        end = token.end()
    return re.compile(written + re.escape(text[end:]))


def _names(path: Path, arrays: Mapping[str, Rows], key: str) -> list[str]:
    """Return the names of groups that a list in the file holds."""
    if key not in arrays:
        lists = lists_of_groups(arrays)
        remedy = f"choose among {listed(lists)}" if lists else "join all episodes with *"
        raise UsageError(f"{path}: has no list of groups {key!r}; {remedy}")
    rows = arrays[key]
    if key not in lists_of_groups(arrays):
        raise UsageError(f"{path}: {key!r} is no list of names of groups; join all with *")
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in rows.read(0, rows.shape[0])]
    if not names:
        raise InputError(f"{path}: the list {key!r} names no groups; choose another")
    return names


def _require_all_named(path: Path, arrays: Mapping[str, Rows], text: str, found: set[str]) -> None:
    """Refuse a list of groups some of which the file does not have.

    Raises:
        InputError: the file lacks groups that a list in it names.
    """
    for token in _TOKENS.finditer(text):
        missing = [n for n in _names(path, arrays, token[1]) if n not in found] if token[1] else []
        if missing:
            raise InputError(
                f"{path}: the list {token[1]!r} names {some(missing)}, of which there is no"
                f" {text!r}; copy the file again"
            )


# --- usual names ------------------------------------------------------------------------------


def _usual(
    path: Path,
    arrays: Mapping[str, Rows],
    usual: Sequence[str],
    what: str,
    option: str,
    other: Side | None,
) -> Side:
    """Return the only array, or episodes of it, with a usual name; those of the other side.

    Raises:
        UsageError: no option says which array is meant, and its name does not tell.
        InputError: the file holds no arrays of data.
    """
    if not arrays:
        raise InputError(f"{path}: holds no arrays by name; save the inputs and the targets in it")
    plain = [name for name in usual if name in arrays]
    if not plain and any(key.endswith(WEIGHTS) for key in arrays):
        weights = [key for key in arrays if key.endswith(WEIGHTS)]
        raise InputError(
            f"{path}: holds the weights of a network ({some(weights)}), not data;"
            " give MODEL before DATA"
        )
    if len(plain) == 1:
        return Side((Piece(plain[0], (plain[0],)),))
    if plain:
        raise UsageError(
            f"{path}: {listed(plain)} could all be the {what}; choose with {option}"
            f" among {overview(arrays)}"
        )
    episodes = {p: keys for p, keys in patterns(arrays).items() if p.count("*") == 1}
    named = [p for p in episodes if p.split("/")[-1] in usual and p.count("*") == 1]
    within = [p for p in episodes if len(p.split("/")) > 2 and p.split("/")[-2] in usual]
    within = [p for p in within if not arrays[episodes[p][0]].is_text]
    if len(named or within) == 1:
        told = "" if other is None else other.pieces[0].pattern
        return _side(path, arrays, _like((named or within)[0], told), option)
    if len(named or within) > 1:
        raise UsageError(
            f"{path}: episodes of several arrays that could be the {what}:"
            f" {overview({k: arrays[k] for p in named or within for k in episodes[p]})}; name those"
            f" the network was trained on, side by side in its order:"
            f" {option} '{'+'.join((named or within)[:2])}'"
        )
    raise UsageError(
        f"{path}: no array is called {usual[0]}; say with {option} which are the {what}"
        f" among {overview(arrays)}"
    )
