"""Tables of delimited text as inputs and targets, read piece by piece."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nrcscan.inputs.datasets.batches import Batch, Dataset, file_provenance
from nrcscan.inputs.datasets.delimited_text import TRUTH, Line, Text
from nrcscan.inputs.datasets.table_columns import TableColumns

_TRUTHS = re.compile(r'(?i)(?<![^\s,;"])(true|false)(?![^\s,;"])')
_QUOTED = re.compile(r'\s*"[^"]*"\s*')


def open_csv(path: Path, columns: TableColumns) -> Dataset:
    """Open delimited text, with or without a line of column names.

    Raises:
        InputError: a cell is not a number.
        UsageError: the targets' columns are not told, or not there.
    """
    text = Text.open(path)
    chosen = columns.choose(path, text.columns)
    needed = chosen.columns

    def stream(batch_size: int) -> Iterator[Batch]:
        lines = text.lines()
        while batch := list(islice(lines, batch_size)):
            rows = _parse(text, batch, needed)
            yield chosen.batch({name: rows[:, i] for i, name in enumerate(needed)})

    return Dataset(
        name=str(path),
        n_samples=None,
        provenance={**file_provenance(path), **chosen.provenance},
        stream=stream,
        notes=text.notes,
    )


def _parse(text: Text, lines: list[Line], needed: list[str]) -> NDArray[np.float64]:
    """Return the needed cells of lines as numbers (n, needed), or name the first that is none."""
    places = [text.columns.index(name) for name in needed]
    unread = set(range(len(text.columns))) - set(places)
    parsed = _parsed(text, [line for _, line in lines], unread)
    if parsed is not None and parsed.shape == (len(lines), len(text.columns)):
        return parsed[:, places]
    rows = np.empty((len(lines), len(needed)))
    for row, (number, line) in zip(rows, lines, strict=True):  # slower, and says what is wrong
        cells = text.cells(number, line)
        row[:] = [text.number(number, text.columns[place], cells[place]) for place in places]
    return rows


def _parsed(text: Text, lines: list[str], unread: Iterable[int]) -> NDArray[np.float64] | None:
    """Return lines as numbers at once, or None where they need a closer look."""
    bare = [_bare(text, line) for line in lines] if text.row_names or text.trailing else lines
    if text.decimal_comma:
        if any("." in line for line in bare):
            return None
        bare = [line.replace(",", ".") for line in bare]
    try:
        return _loaded(bare, text.delimiter, unread)
    except ValueError:
        pass
    try:
        changed = [_TRUTHS.sub(lambda m: f"{TRUTH[m[1].lower()]}", line) for line in bare]
        return _loaded(changed, text.delimiter, unread)
    except ValueError:
        return None


def _loaded(lines: list[str], delimiter: str, unread: Iterable[int]) -> NDArray[np.float64]:
    rows: NDArray[np.float64] = np.loadtxt(
        lines,
        delimiter=delimiter,
        ndmin=2,
        comments=None,
        quotechar='"',
        # Cut all the same, so that a line with a cell too many is seen.
        converters=dict.fromkeys(unread, lambda cell: 0.0),
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
