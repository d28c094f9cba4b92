"""Notes of many checkpoints, each said once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from nrcscan.wording import some

_NUMBER = re.compile(r"-?\d+\.\d|-?\d+e[-+]\d")
"""Where a measured number begins, from which on notes of one kind differ."""


def grouped(notes: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Return every note, with the checkpoints that it is of.

    >>> grouped({"a.pt": ["x", "y"], "b.pt": ["y"]})
    {'x': ['a.pt'], 'y': ['a.pt', 'b.pt']}
    """
    found: dict[str, list[str]] = {}
    for path, own in notes.items():
        for note in dict.fromkeys(own):
            found.setdefault(note, []).append(path)
    return found


def lines(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a line for every kind of note: what differs in measured numbers alone is of one.

    >>> lines({"a.pt": ["R² is 0.1", "y"], "b.pt": ["R² is 0.2", "y"], "c.pt": ["y"]})
    ['a.pt: R² is 0.1 (and b.pt, with other numbers)', 'all 3 checkpoints: y']
    """
    kinds: dict[str, dict[str, list[str]]] = {}
    for note, paths in grouped(notes).items():
        kinds.setdefault(_NUMBER.split(note, maxsplit=1)[0], {})[note] = paths
    found = []
    for texts in kinds.values():
        (note, paths), *others = texts.items()
        more = [path for _, where in others for path in where if path not in paths]
        whose = some(paths)
        if 1 < len(paths) == len(notes):
            whose = f"all {len(paths)} checkpoints"
        likewise = f" (and {some(more)}, with other numbers)" if more else ""
        found.append(f"{whose}: {note}{likewise}")
    return found
