"""Tables of delimited text as inputs and targets, read piece by piece."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nrcscan.inputs.datasets.batches import Batch, Dataset, file_provenance
from nrcscan.inputs.datasets.delimited_text import TRUTH, Line, Text
from nrcscan.inputs.datasets.target_columns import TargetColumns

_TRUTHS = re.compile(r'(?i)(?<![^\s,;"])(true|false)(?![^\s,;"])')
_QUOTED = re.compile(r'\s*"[^"]*"\s*')


def open_csv(path: Path, targets: TargetColumns) -> Dataset:
    """Open delimited text, with or without a line of column names.

    Raises:
        InputError: a cell is not a number.
        UsageError: the targets' columns are not told, or not there.
    """
    text = Text.open(path)
    chosen = targets.choose(path, text.columns)

    def stream(batch_size: int) -> Iterator[Batch]:
        lines = text.lines()
        while batch := list(islice(lines, batch_size)):
            yield _split(_parse(text, batch), chosen)

    return Dataset(
        name=str(path),
        n_samples=None,
        provenance={**file_provenance(path), "targets": [text.columns[i] for i in chosen]},
        stream=stream,
        notes=text.notes,
    )


def _parse(text: Text, lines: list[Line]) -> NDArray[np.float64]:
    """Return lines of text as numbers (n, columns), or name the first cell that is none."""
    rows = _parsed(text, [line for _, line in lines])
    if rows is not None and rows.shape == (len(lines), len(text.columns)):
        return rows
    return np.array(  # slower, and says what is wrong where
        [
            [
                text.number(number, column, cell)
                for column, cell in zip(text.columns, text.cells(number, line), strict=True)
            ]
            for number, line in lines
        ]
    )


def _parsed(text: Text, lines: list[str]) -> NDArray[np.float64] | None:
    """Return lines as numbers at once, or None where they need a closer look."""
    bare = [_bare(text, line) for line in lines] if text.row_names or text.trailing else lines
    if text.decimal_comma:
        if any("." in line for line in bare):
            return None
        bare = [line.replace(",", ".") for line in bare]
    try:
        return _loaded(bare, text.delimiter)
    except ValueError:
        pass
    try:
        changed = [_TRUTHS.sub(lambda m: f"{TRUTH[m[1].lower()]}", line) for line in bare]
        return _loaded(changed, text.delimiter)
    except ValueError:
        return None


def _loaded(lines: list[str], delimiter: str) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = np.loadtxt(
        lines, delimiter=delimiter, ndmin=2, comments=None, quotechar='"'
    )
    return rows


def _bare(text: Text, line: str) -> str:
    """Return a line without the name of its row and a delimiter at its end.

    Where that is not simple the line becomes no numbers, and is looked at closely.
    """
    if text.row_names:
        name = _QUOTED.match(line)
        end = line.find(text.delimiter) if name is None else name.end()
        if line[end : end + 1] != text.delimiter:
            return "?"
        line = line[end + 1 :]
    if text.trailing:
        line = line.rstrip(" \r\n").removesuffix(text.delimiter)
    return line


def _split(rows: NDArray[np.float64], targets: Sequence[int]) -> Batch:
    """Return the inputs, which are all other columns in order, and the targets."""
    inputs = [i for i in range(rows.shape[1]) if i not in targets]
    return rows[:, inputs], rows[:, targets]
