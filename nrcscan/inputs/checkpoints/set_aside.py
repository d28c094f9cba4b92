"""Leaves tensors out of a state dict that `--ignore` names, and says which."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor

from nrcscan.errors import UsageError
from nrcscan.inputs.checkpoints.wrapper_names import stripped
from nrcscan.wording import listed

_SHOWN = 8


def set_aside(
    path: Path, state: Mapping[str, Tensor], globs: Sequence[str], origins: Mapping[str, str]
) -> tuple[dict[str, Tensor], str | None]:
    """Return a state dict without the tensors that match, and a note that lists them.

    A glob matches a tensor's whole name or the name of a module that it is in: in the file, in
    the part that was taken, or without wrappers.

    Args:
        path: of the file, for messages.
        state: the tensors.
        globs: as the user wrote them; several may be joined by commas.
        origins: what the file calls each tensor.

    Raises:
        UsageError: --ignore names no tensor, or all of them.
    """
    words = [word.strip() for glob in globs for word in glob.split(",")]
    if not words:
        return dict(state), None
    spelt = {name: {name, origins.get(name, name)} for name in state}
    for names in stripped({name: name for name in state}):
        for shown, name in names.items():
            spelt[name].add(shown)
    matched: dict[str, None] = {}
    for word in words:
        found = [
            name
            for name, spellings in spelt.items()
            if any(fnmatchcase(one, word) for spelling in spellings for one in _heads(spelling))
        ]
        if not found:
            near = _nearest(word, spelt)
            raise UsageError(f"{path}: --ignore {word!r} matches no tensor; choose among {near}")
        matched |= dict.fromkeys(found)
    left = {name: tensor for name, tensor in state.items() if name not in matched}
    if not left:
        raise UsageError(f"{path}: --ignore leaves no tensor; name the extra ones alone")
    count = f"{len(matched)} tensor{'s' * (len(matched) > 1)}"
    shown = listed(matched) if len(matched) <= _SHOWN else listed(words)
    return left, f"left aside by --ignore: {shown}: {count}"


def _heads(name: str) -> Iterator[str]:
    """Yield a name, and the names of the modules that it is in."""
    while name:
        yield name
        name = name.rpartition(".")[0]


def _nearest(word: str, spelt: Mapping[str, set[str]]) -> str:
    """Return names in words; those that are spelt most like a glob come first."""
    plain = word.strip("*.")

    def unlike(name: str) -> float:
        heads = list(_heads(name))
        return -max(difflib.SequenceMatcher(None, plain, head).ratio() for head in heads)

    ranked = sorted(spelt, key=unlike)
    more = [f"{len(ranked) - _SHOWN} more"] if len(ranked) > _SHOWN else []
    return listed([*ranked[:_SHOWN], *more])
