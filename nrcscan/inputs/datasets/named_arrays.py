"""Files of named arrays, read in slices: inputs and targets by their keys, episodes joined."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from nrcscan.errors import InputError, NrcscanError
from nrcscan.inputs.arrays import Inputs
from nrcscan.inputs.datasets.array_keys import (
    Piece,
    Side,
    input_names,
    lists_of_groups,
)
from nrcscan.inputs.datasets.batches import (
    Batch,
    Dataset,
    axes_of,
    damaged,
    file_provenance,
    require_equal_lengths,
    require_numbers,
)
from nrcscan.inputs.datasets.choose_arrays import inputs_and_targets
from nrcscan.inputs.datasets.rows import Rows, beside, first, joined, require_readable
from nrcscan.inputs.datasets.samples_in_columns import samples_in_columns
from nrcscan.wording import listed, some


class Opener(Protocol):
    """Opens a file of named arrays: all of them, or at least those that are wanted."""

    def __call__(
        self, path: Path, only: Collection[str] | None = None, /
    ) -> AbstractContextManager[Mapping[str, Rows]]:
        """Open a file."""


@dataclass(frozen=True)
class ChosenArrays:
    """Which arrays of a file are inputs and targets, and how many rows of each array count.

    Attributes:
        inputs: one side for each input.
        targets: the targets.
        counts: by key, the samples in it.
        cut: patterns of which the last row of every episode is left out.
        turned: the keys of arrays whose samples are columns.
        notes: what the user should know of it.
        target_axes: as of a `Dataset`.
    """

    inputs: list[Side]
    targets: Side
    counts: Mapping[str, int]
    cut: list[str]
    turned: list[str]
    notes: tuple[str, ...] = ()
    target_axes: tuple[int, ...] = ()

    @property
    def n_samples(self) -> int:
        """How many samples there are."""
        return sum(self.counts[key] for key in self.targets.pieces[0].keys)

    def named(self, arrays: Sequence[NDArray[Any]]) -> Inputs:
        """Return inputs: the only array, or several by name."""
        if len(arrays) == 1:
            return arrays[0]
        return dict(zip(input_names(self.inputs), arrays, strict=True))

    def dataset(self, path: Path, stream: Callable[[int], Iterator[Batch]]) -> Dataset:
        """Return the dataset of these arrays."""
        told = {
            "x_key": ",".join(side.text for side in self.inputs),
            "y_key": self.targets.text,
        }
        provenance = {**file_provenance(path), **told}
        return Dataset(
            str(path),
            self.n_samples,
            provenance,
            stream,
            notes=self.notes,
            target_axes=self.target_axes,
        )

    def rows(self, arrays: Mapping[str, Rows], side: Side) -> Rows:
        """Return an input, or the targets, of an open file."""
        return beside(
            [
                joined([first(arrays[key], self.counts[key]) for key in piece.keys])
                for piece in side.pieces
            ]
        )


def open_keyed(path: Path, opener: Opener, x_key: str | None, y_key: str | None) -> Dataset:
    """Open a file of named arrays.

    Raises:
        InputError: it is damaged, or the arrays are no samples.
        UsageError: a key does not fit, or cannot be guessed.
    """
    with _reading(path), opener(path) as arrays:
        choice = chosen(path, arrays, x_key, y_key)

    def stream(batch_size: int) -> Iterator[Batch]:
        with _reading(path), opener(path, choice.counts) as arrays:
            arrays = {**arrays, **{key: arrays[key].turned for key in choice.turned}}
            inputs = [choice.rows(arrays, side) for side in choice.inputs]
            y = choice.rows(arrays, choice.targets)
            for part in inputs:
                require_readable(part, batch_size, path)
            require_readable(y, batch_size, path, "targets")
            for start in range(0, choice.n_samples, batch_size):
                stop = min(start + batch_size, choice.n_samples)
                x = [part.read(start, stop) for part in inputs]
                yield choice.named(x), y.read(start, stop)

    return choice.dataset(path, stream)


def chosen(
    path: Path, arrays: Mapping[str, Rows], x_key: str | None, y_key: str | None
) -> ChosenArrays:
    """Find the arrays that are meant, and see that those of every sample fit each other.

    Raises:
        InputError: the arrays that are joined do not have one entry of one shape for each sample.
        UsageError: a key does not fit, or cannot be guessed.
    """
    inputs, targets = inputs_and_targets(path, arrays, x_key, y_key)
    turned = samples_in_columns(arrays, [*inputs, targets])
    arrays = {**arrays, **{key: arrays[key].turned for key in turned}}
    for side in (*inputs, targets):
        for piece in side.pieces:
            _require_samples(path, arrays, piece)
        _require_sides_fit(path, arrays, side)
    counts: dict[str, int] = {}
    cut: list[str] = []
    lead = targets.pieces[0]
    for side in (targets, *inputs):
        for piece in side.pieces:
            lengths = [arrays[key].shape[0] for key in lead.keys]
            extra = _extra(path, arrays, piece, lead)
            if extra and side is not targets:
                cut.append(piece.pattern)
                counts.update(zip(piece.keys, lengths, strict=True))
            else:
                counts.update((key, arrays[key].shape[0]) for key in piece.keys)
    choice = ChosenArrays(inputs, targets, counts, cut, turned)
    shape = choice.rows(arrays, targets).shape
    for side in inputs:
        require_equal_lengths(path, choice.rows(arrays, side).shape, shape)
    told = x_key is not None and y_key is not None
    notes = _notes(path, arrays, choice, told=told)
    return replace(choice, notes=notes, target_axes=axes_of(shape))


def _require_samples(path: Path, arrays: Mapping[str, Rows], piece: Piece) -> None:
    """Refuse a piece that is not of numbers, or whose episodes have different samples.

    Raises:
        InputError: the arrays that are joined have samples of different shapes, or none.
    """
    kept = arrays[piece.keys[0]]
    for key in piece.keys:
        rows = arrays[key]
        if rows.dtype is not None:
            require_numbers(rows.dtype, f"{path}: {key!r}")
        if not rows.shape:
            raise InputError(
                f"{path}: {key!r}: a single number, not an array of samples; choose another"
            )
        if rows.shape[1:] != kept.shape[1:]:
            raise InputError(
                f"{path}: {piece.keys[0]!r} has samples of shape {kept.shape[1:]} and {key!r} of"
                f" {rows.shape[1:]}; join arrays of the same quantity"
            )


def _require_sides_fit(path: Path, arrays: Mapping[str, Rows], side: Side) -> None:
    """Refuse pieces that cannot lie side by side.

    Raises:
        InputError: arrays side by side differ in other axes than the last.
    """
    shapes = {piece.pattern: arrays[piece.keys[0]].shape for piece in side.pieces}
    if (
        len({max(len(shape), 2) for shape in shapes.values()}) > 1
        or len({shape[1:-1] for shape in shapes.values()}) > 1
    ):
        told = listed(f"{name!r} has {shape[1:]}" for name, shape in shapes.items())
        raise InputError(
            f"{path}: samples of these shapes cannot be put side by side: {told}; give them as"
            " several inputs, with a comma between, or choose arrays of equal axes"
        )


def _extra(path: Path, arrays: Mapping[str, Rows], piece: Piece, lead: Piece) -> bool:
    """Whether every episode of a piece has exactly one row more than the targets have.

    Raises:
        InputError: the episodes, or their lengths, are not those of the targets.
    """
    if not piece.same_episodes(lead):
        raise InputError(
            f"{path}: {piece.pattern!r} is in {_of(piece)} and {lead.pattern!r} in {_of(lead)};"
            " choose both of the same episodes"
        )
    lengths = [(arrays[x].shape[0], arrays[y].shape[0]) for x, y in _pairs_of(piece, lead)]
    excess = {n - wanted for n, wanted in lengths}
    if excess == {1} and piece.episodes and lead.episodes:
        return _same_group(piece, lead)
    if excess != {0} and piece.groups != ((),):
        place = next(i for i, (n, wanted) in enumerate(lengths) if n != wanted)
        n, wanted = lengths[place]
        raise InputError(
            f"{path}: {piece.keys[place]!r} has {n} rows and {lead.keys[place]!r} {wanted}; each"
            " sample needs both (one more, in every episode, is an end without an action)"
        )
    return False


def _pairs_of(piece: Piece, lead: Piece) -> list[tuple[str, str]]:
    return list(zip(piece.keys, lead.keys, strict=True))


def _same_group(piece: Piece, lead: Piece) -> bool:
    """Whether two single arrays lie in one numbered group; joined ones always do."""
    if piece.groups != ((),):
        return True
    numbered = [[g for g in p.pattern.split("/")[:-1] if g[-1:].isdecimal()] for p in (piece, lead)]
    return numbered[0] == numbered[1]


def _of(piece: Piece) -> str:
    """Return which groups hold a piece, in words."""
    if piece.groups == ((),):
        return "one array"
    return f"{len(piece.folders)} groups ({some(['/'.join(names) for names in piece.folders])})"


def _notes(
    path: Path, arrays: Mapping[str, Rows], choice: ChosenArrays, *, told: bool
) -> tuple[str, ...]:
    """Return what was taken without being told, and what was left out."""
    notes = []
    sides = (*choice.inputs, choice.targets)
    pieces = [piece for side in sides for piece in side.pieces]
    if not told and any(piece.groups != ((),) for piece in pieces):
        x = ",".join(side.text for side in choice.inputs)
        n = len(choice.targets.pieces[0].keys)
        joint = f"joined {n} episode{'s' * (n > 1)}"
        text = f"{path}: {joint}: inputs {x}, targets {choice.targets.text}"
        if "*" in choice.targets.text and (lists := lists_of_groups(arrays)):
            example = re.sub(r"[^/]*\*", f"[{lists[0]}]", choice.targets.text)
            text += f"; a list in the file chooses some, as '{example}' ({some(lists)})"
        notes.append(text)
    if choice.turned:
        turned = listed(f"{key} {arrays[key].shape[::-1]}" for key in choice.turned)
        notes.append(
            f"{path}: samples are the columns of {turned}: only so there are as many in all"
        )
    if choice.cut:
        notes.append(
            f"{path}: the last row of {listed(choice.cut)} has no targets beside it, in every"
            " episode, and is left out"
        )
    return tuple(notes)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except NrcscanError:
        raise
    except Exception as error:  # several libraries, each with errors of its own
        raise damaged(path, error) from error
