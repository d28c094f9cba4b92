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
from nrcscan.wording import listed, some

LISTED = 24
"""So many arrays, or patterns of them, a message lists."""

TOKENS = re.compile(r"\[([^\]]+)\]|(\*)")
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
    return [key for key, rows in arrays.items() if _is_list(rows) and pattern_of(key) == key]


def _is_list(rows: Rows) -> bool:
    return rows.is_text and len(rows.shape) == 1


def split_at(text: str, mark: str) -> list[str]:
    """Return what is between marks."""
    return [part.strip() for part in text.split(mark)]


def side_of(path: Path, arrays: Mapping[str, Rows], text: str, option: str) -> Side:
    """Return the arrays that a text asks for, side by side.

    Raises:
        UsageError: there are none.
    """
    parts = [text] if text in arrays else split_at(text, "+")
    return Side(tuple(_piece(path, arrays, part, option) for part in parts))


def _piece(path: Path, arrays: Mapping[str, Rows], text: str, option: str) -> Piece:
    if text in arrays:
        return Piece(text, (text,))
    wanted = as_regex(path, arrays, text)
    found = {key: match.groups() for key in arrays if (match := wanted.fullmatch(key))}
    if not found:
        raise _absent(path, arrays, text, option)
    keys = sorted(found, key=natural_path)
    _require_all_named(path, arrays, text, set().union(*found.values()))
    open_parts = [i for i, part in enumerate(parts_of(text)) if TOKENS.search(part)]
    folders = (tuple(key.split("/")[i] for i in open_parts) for key in keys)
    return Piece(text, tuple(keys), tuple(found[key] for key in keys), tuple(folders))


def parts_of(pattern: str) -> list[str]:
    """Return the parts of a pattern between slashes; a list's own name is whole.

    >>> parts_of("data/[mask/train]/obs")
    ['data', '[mask/train]', 'obs']
    """
    return re.split(r"/(?![^\[]*\])", pattern)


def _absent(path: Path, arrays: Mapping[str, Rows], text: str, option: str) -> UsageError:
    """Return the error that no array is called so: that it is a group, or what else there is."""
    group = re.compile(f"{as_regex(path, arrays, text).pattern}/")
    inside = [f"{text}/{key[match.end() :]}" for key in arrays if (match := group.match(key))]
    if text and inside:
        inside = list(dict.fromkeys(inside))
        return UsageError(
            f"{path}: {text!r} is a group of {some(inside)}; choose among them with {option}, or"
            f" put several side by side as '{'+'.join(inside[:2])}'"
        )
    like = "array" if TOKENS.search(text) is None else "array like"
    return UsageError(f"{path}: has no {like} {text!r}; choose {option} from {overview(arrays)}")


def as_regex(path: Path, arrays: Mapping[str, Rows], text: str) -> re.Pattern[str]:
    """Return what the keys are like that a pattern asks for, its open parts as groups."""
    written, end = "", 0
    for token in TOKENS.finditer(text):
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
    if not _is_list(rows):
        raise UsageError(f"{path}: {key!r} is no list of names of groups; join all with *")
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in rows.read(0, rows.shape[0])]
    if not names:
        raise InputError(f"{path}: the list {key!r} names no groups; choose another")
    return names


def _require_all_named(path: Path, arrays: Mapping[str, Rows], text: str, found: set[str]) -> None:
    """Refuse a list of groups some of which the file does not have."""
    for token in TOKENS.finditer(text):
        missing = [n for n in _names(path, arrays, token[1]) if n not in found] if token[1] else []
        if missing:
            raise InputError(
                f"{path}: the list {token[1]!r} names {some(missing)}, of which there is no"
                f" {text!r}; copy the file again"
            )
