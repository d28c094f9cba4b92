"""Tables whose columns are inputs and targets; delimited text, read piece by piece."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nrcscan.errors import InputError
from nrcscan.inputs.datasets.batches import Batch, Dataset, damaged, file_provenance
from nrcscan.inputs.datasets.table_columns import TableColumns
from nrcscan.wording import reason

DELIMITERS = ("\t", ",", ";")

MISSING = ("", "NA", "N/A", "<NA>", "null", "NULL", "None", "?")
"""What programs write where a value is missing."""


def is_table(start: bytes) -> bool:
    """Whether the start of a file looks like delimited text."""
    line = start.lstrip(b"\r\n").split(b"\n", 1)[0]
    return any(d.encode() in line for d in DELIMITERS) and b"\0" not in start


@dataclass(frozen=True)
class Text:
    """Delimited text: UTF-8, one row a line, empty lines left out.

    Attributes:
        path: of the file.
        delimiter: between cells.
        columns: their names, or numbers from 0 on where no line of names is.
        headed: whether the first line holds the names.
    """

    path: Path
    delimiter: str
    columns: list[str]
    headed: bool

    @classmethod
    def open(cls, path: Path, words: int = 0) -> Text:
        """Find out what is between the cells, and what the columns are called.

        Args:
            path: of the file.
            words: how many columns at the left need not be numbers in a line without names.

        Raises:
            InputError: it is not text, or its columns cannot be told apart.
        """
        _, first = next(_lines(path), (0, ""))
        cells, delimiter = max(
            ((_cells(path, 1, first, d), d) for d in DELIMITERS), key=lambda cut: len(cut[0])
        )
        headed = not all(is_number(cell) for cell in cells[words:])
        if not headed and len(cells) > 2 and cells == [str(i) for i in range(len(cells))]:
            raise InputError(
                f"{path}: line 1 counts 0, 1, 2, … and could be names or a sample; give the"
                " columns names"
            )
        columns = cells if headed else [str(i) for i in range(len(cells))]
        if "" in columns:
            raise InputError(
                f"{path}: column {columns.index('') + 1} has no name; name it, or take it out (an"
                " index of pandas: save with index=False)"
            )
        return cls(path, delimiter, columns, headed)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Yield the rows' lines, with their numbers in the file from 1 on."""
        return islice(_lines(self.path), int(self.headed), None)

    def cells(self, number: int, line: str) -> list[str]:
        """Return a line's cells, one for each column.

        Raises:
            InputError: there are more or fewer.
        """
        cells = _cells(self.path, number, line, self.delimiter)
        if len(cells) != len(self.columns):
            raise InputError(
                f"{self.path}: line {number} has {len(cells)} cells, and there are"
                f" {len(self.columns)} columns; mend the line"
            )
        return cells

    def number(self, number: int, column: str, cell: str) -> float:
        """Return a cell as a number.

        Raises:
            InputError: it is none.
        """
        if not is_number(cell):
            found = f"{cell[:40]!r} in line {number}" if cell else f"an empty cell in line {number}"
            remedy = "remove or impute such samples" if cell in MISSING else None
            if is_number(cell.replace(",", "")):
                remedy = "write numbers with a point, and no commas"
            raise not_numbers(self.path, column, found, remedy)
        return float(cell)


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
    )


def _parse(text: Text, lines: list[tuple[int, str]], needed: list[str]) -> NDArray[np.float64]:
    """Return the needed cells of lines as numbers (n, needed), or name the first that is none."""
    places = [text.columns.index(name) for name in needed]
    unread = set(range(len(text.columns))) - set(places)
    try:
        rows: NDArray[np.float64] = np.loadtxt(
            [line for _, line in lines],
            delimiter=text.delimiter,
            ndmin=2,
            comments=None,
            quotechar='"',
            # Read, so that a line with a cell too many is seen, whatever stands in them.
            converters=dict.fromkeys(unread, lambda cell: 0.0),
        )
    except ValueError:
        rows = np.empty((0, 0))
    if rows.shape == (len(lines), len(text.columns)):
        return rows[:, places]
    rows = np.empty((len(lines), len(needed)))
    for row, (number, line) in zip(rows, lines, strict=True):  # slower, and says what is wrong
        cells = text.cells(number, line)
        row[:] = [text.number(number, text.columns[place], cells[place]) for place in places]
    return rows


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are not empty, with their numbers from 1 on."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: is not UTF-8 text (after line {number}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise damaged(path, error) from error


def _cells(path: Path, number: int, line: str, delimiter: str) -> list[str]:
    try:
        cells = next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise InputError(
            f"{path}: line {number} cannot be cut into cells ({reason(error)}); mend its quotes,"
            " one line a row"
        ) from error
    return [cell.strip() for cell in cells]


def not_numbers(path: Path, column: str, found: str, remedy: str | None = None) -> InputError:
    """Return the error that a column holds something else than numbers, and what to do."""
    categories = "encode it as numbers (categories as one column each)"
    remedy = remedy or f"{categories}, or leave it out with --drop {column}"
    return InputError(f"{path}: column {column!r} holds {found}, not numbers; {remedy}")


def is_number(cell: str) -> bool:
    """Whether a cell is a number as programs write it: no digit groups, no decimal comma."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell and cell.isascii()
