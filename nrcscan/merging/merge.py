"""Statistics of data shards into one file, as if one pass had seen all of the data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nrcscan.acts_file import schema, writing
from nrcscan.acts_file.reading import Acts, open_acts
from nrcscan.errors import InputError, UsageError
from nrcscan.files import write_atomically
from nrcscan.files.claims import holding
from nrcscan.merging import told_of_parts
from nrcscan.merging.check_parts import problems, told_by_any
from nrcscan.merging.merge_blocks import merged_blocks, merged_targets
from nrcscan.merging.merge_cross import merged_cross
from nrcscan.options.check import several
from nrcscan.options.faces import heard, names_keywords
from nrcscan.statistics import unit_features
from nrcscan.statistics.moments import Array, Moments, Statistics
from nrcscan.statistics.sketch import Sketch, Sketched
from nrcscan.wording import counted, printable, r_squared

MOST_PARTS = 256
"""Parts that are merged at once: each is an open file, and systems allow about 1,000."""


@dataclass(frozen=True, repr=False)
class Merged:
    """What a merge did; wherever the path of its file is taken, it is taken too.

    Attributes:
        path: of the file it wrote.
        n_samples: of all parts together.
        n_parts: how many files were merged.
        layers: names, in execution order.
        r2: of the network on all samples; None when the targets do not vary.
        notes: what the user should know: of the parts, and what was left out.
    """

    path: Path
    n_samples: int
    n_parts: int
    layers: tuple[str, ...]
    r2: float | None
    notes: tuple[str, ...]

    def __fspath__(self) -> str:
        """Return the path, for `nrcscan.report` and whatever else opens files."""
        return str(self.path)

    def __repr__(self) -> str:
        return f"<Merged {printable(str(self.path))}: {self.size}, R² = {r_squared(self.r2)}>"

    @property
    def size(self) -> str:
        """How much was measured, in words."""
        parts = f"{self.n_samples} samples of {counted(self.n_parts, 'part')}"
        return f"{counted(len(self.layers), 'layer')}, {parts}"


@names_keywords
def merge(
    parts: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    output: str | Path = "acts.h5",
    *,
    force: bool = False,
    on_note: Callable[[str], None] | None = None,
) -> Merged:
    """Merge files of `nrcscan extract`, each of other samples, into one.

    It equals one pass over all samples up to rounding, in any order, but for blocks of samples:
    their linear fits have seen other samples of their own part alone. Activations follow one
    another in the order of the parts. Memory is that of one position's statistics.

    Args:
        parts: files of one network, extracted alike from samples that do not overlap. A merged
            file can be a part again.
        output: the HDF5 file to write.
        force: replace an existing output.
        on_note: called with every note on the merge; by default the logger `nrcscan` shows it.

    Raises:
        InputError: a part cannot be read, or the parts do not belong together; the message
            names everything that differs or overlaps.
        UsageError: there are no parts or too many, or the output exists or is one of them.
        OutputError: the output cannot be written.
    """
    paths, path, note = several(parts), Path(output), heard(on_note)
    _require_mergeable(paths, path)
    with holding(), ExitStack() as stack:
        opened = [stack.enter_context(open_acts(part)) for part in paths]
        if found := problems(opened):
            raise InputError(
                f"the parts cannot be merged: {'; '.join(found)}; extract every shard with the"
                " same model and options, from samples of its own"
            )
        write_atomically.require_free(path, force=force)  # it hides nothing else that is wrong
        doubts = list(told_of_parts.doubts(opened))
        for doubt in doubts:
            note(doubt)
        provenance = told_of_parts.provenance(opened, doubts)
        outcome, first = _outcome(opened), opened[0]
        with writing.create(path, n_samples=outcome.n_samples, force=force) as writer:
            _write(writer, opened, outcome)
            writer.finish(outcome, provenance, first.epsilon, first.product_epsilon)
    names = tuple(record.name for record in first.layers)
    told = tuple(provenance["notes"])
    return Merged(path, outcome.n_samples, len(paths), names, outcome.r2, told)


def _write(writer: writing.Writer, parts: Sequence[Acts], outcome: schema.OutputStatistics) -> None:
    """Write layers, rows of samples, and the statistics of every position."""
    for index, record in enumerate(told_by_any(parts)):
        besides = (acts.beside(index) for acts in parts)
        beside = next((one for one in besides if one is not None), None)
        writer.add_layer(record, parts[0].stored_weight(index), beside)
    _append_rows(writer, parts)
    for position, statistics in enumerate(_positions(parts)):
        writer.add_statistics(
            position,
            statistics,
            outcome,
            per_token=any(acts.per_token(position) for acts in parts),
            squared_error=_token_errors(parts, position),
            blocks=merged_blocks(parts, position, statistics),
        )
    if (units := unit_features.together([acts.last_units for acts in parts])) is not None:
        writer.add_unit_features(parts[0].layers[-1].position, units)
    with _too_large():
        for (earlier, later), values in merged_cross(parts):
            writer.add_cross(earlier, later, values)


def _require_mergeable(parts: Sequence[Path], output: Path) -> None:
    """Refuse what can be told from the paths alone.

    Raises:
        UsageError: there are no parts or too many, or the output is one of them.
    """
    if not parts:
        raise UsageError("no parts: give the files of nrcscan extract to merge")
    if len(parts) > MOST_PARTS:
        raise UsageError(
            f"{len(parts)} parts: at most {MOST_PARTS} are merged at once; merge them in groups,"
            " then the groups"
        )
    write_atomically.require_apart(output, parts)


def pooled(parts: Iterable[Statistics]) -> Statistics:
    """Return the statistics of all samples that the parts were made from.

    Raises:
        ValueError: there are no parts, they have other shapes, or their squares overflow float64.
    """
    return _together(map(Moments.from_statistics, parts)).statistics()


def _together(parts: Iterable[Moments]) -> Moments:
    """Return one accumulator that has seen what all have."""
    moments: Moments | None = None
    for new in parts:
        if moments is None:
            moments = new
        else:
            moments.merge(new)
    if moments is None:
        raise ValueError("no statistics to pool")
    return moments


def _accumulator(statistics: Statistics | Sketched) -> Moments:
    if isinstance(statistics, Sketched):
        return Sketch.from_sketched(statistics)
    return Moments.from_statistics(statistics)


def _positions(parts: Sequence[Acts]) -> Iterator[Statistics | Sketched]:
    """Yield the statistics of every position, one at a time."""
    for position in range(parts[0].n_positions):
        with _too_large():
            moments = _together(_accumulator(acts.statistics(position)) for acts in parts)
            found = moments.sketched() if isinstance(moments, Sketch) else moments.statistics()
        yield found


@contextmanager
def _too_large() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise InputError(
            f"the parts cannot be merged: {error}; rescale inputs and targets"
        ) from error


def _outcome(parts: Sequence[Acts]) -> schema.OutputStatistics:
    """Return the statistics of targets and predictions on all samples."""
    with _too_large():
        targets = pooled(
            _beside_itself(acts.n_samples, acts.target_mean, acts.target_covariance)
            for acts in parts
        )
        predictions = _predictions(parts)
    n_samples = sum(acts.n_samples for acts in parts)
    return schema.OutputStatistics(
        n_samples, targets.target_mean, targets.target_covariance, predictions
    )


def _predictions(parts: Sequence[Acts]) -> schema.Predictions | None:
    """Return the statistics of all predictions; None where the network makes none."""
    made = [(acts.n_samples, acts.predictions) for acts in parts if acts.predictions is not None]
    if len(made) < len(parts):
        return None
    predicted = pooled(_beside_itself(n, one.mean, one.covariance) for n, one in made)
    squared_error = np.average(
        [one.squared_error for _, one in made], axis=0, weights=[n for n, _ in made]
    )
    return schema.Predictions(squared_error, predicted.feature_mean, predicted.feature_covariance)


def _token_errors(parts: Sequence[Acts], position: int) -> Array | None:
    """Return the network's mean squared error over a position's tokens; None if any lacks it."""
    errors = [own for acts in parts if (own := acts.own_squared_error(position)) is not None]
    if len(errors) < len(parts):
        return None
    tokens = [acts.statistics(position).n_samples for acts in parts]
    averaged: Array = np.average(errors, axis=0, weights=tokens)
    return averaged


def _beside_itself(n_samples: int, mean: Array, covariance: Array) -> Statistics:
    return Statistics(n_samples, mean, mean, covariance, covariance, covariance)


def _append_rows(writer: writing.Writer, parts: Sequence[Acts]) -> None:
    """Add the targets of all samples, of blocks of them, and the features where all have them."""
    if (targets := merged_targets(parts)) is not None:
        writer.add_block_targets(targets)
    for acts in parts:
        for rows in acts.target_rows():
            writer.append("targets/values", rows)
    if not all(acts.has_activations for acts in parts):
        return
    for position in range(parts[0].n_positions):
        for acts in parts:
            for rows in acts.activation_rows(position):
                writer.append(f"positions/{position:04d}/activations", rows)
