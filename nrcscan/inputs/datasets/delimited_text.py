"""How delimited text is written: what is between cells, and which lines and cells are data."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from nrcscan.errors import InputError
from nrcscan.inputs.datasets import text_lines
from nrcscan.inputs.datasets.table_columns import not_numbers
from nrcscan.wording import reason

DELIMITERS = ("\t", ",", ";")

_ERRORS = ("#N/A", "#NA", "#NV", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?", "#NULL!")
"""What spreadsheets write where a formula failed."""

MISSING = ("", "NA", "N/A", "<NA>", "null", "NULL", "None", "?", "-", *_ERRORS)
"""What programs write where a value is missing."""

SAMPLE = 1000
"""So many lines are looked at for how the text is written."""

COMMENT = "#"
"""How a line begins that is no row."""

TRUTH = {"true": 1.0, "false": 0.0}
"""What stands for 1 and 0, in whatever case."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+", re.ASCII)

_SEP = re.compile(r'"?sep=.?"?')

Line = tuple[int, str]
"""A line's number in the file, from 1 on, and its text."""


def is_table(start: bytes) -> bool:
    """Whether the start of a file looks like delimited text."""
    lines = [line for line in re.split(rb"[\r\n]+", start) if line.strip()]
    rows = [line for line in lines if not line.startswith(COMMENT.encode())] or lines
    return any(d.encode() in rows[0] for d in DELIMITERS if rows) and b"\0" not in start


@dataclass(frozen=True)
class Text:
    """Delimited text: UTF-8, one row a line, empty lines and comments left out.

    Attributes:
        path: of the file.
        delimiter: between cells.
        columns: their names, or numbers from 0 on where no line of names is.
        headed: whether the first line holds the names.
        comments: whether lines that begin with # are no rows.
        row_names: whether each row begins with its name, which is no column.
        trailing: whether rows may end with a delimiter.
        decimal_comma: whether 1,5 is one and a half.
    """

    path: Path
    delimiter: str
    columns: list[str]
    headed: bool
    comments: bool = False
    row_names: bool = False
    trailing: bool = False
    decimal_comma: bool = False

    @classmethod
    def open(cls, path: Path, words: int = 0) -> Text:
        """Find out what is between the cells, and what the columns are called.

        Args:
            path: of the file.
            words: how many columns at the left need not be numbers; without any, each row may
                begin with its name, and a line with # is a comment.

        Raises:
            InputError: the first line does not tell the columns apart.
        """
        sample = list(islice(text_lines.lines(path), SAMPLE))
        rows = [line for line in sample if words or not _is_comment(line[1])]
        comments = sample[: sample.index(rows[0])] if rows else sample
        delimiter = _delimiter(path, rows or [(1, "")], words)
        first, *others = [cut(path, *line, delimiter) for line in rows[:6]] or [[""]]
        trailing = bool(others) and all(cells[-1] == "" for cells in others)
        trailing &= first[-1] == "" or all(len(cells) == len(first) + 1 for cells in others)
        if trailing and first[-1] == "":
            first = first[:-1]
        headed = bool(rows) and not all(map(_is_value, first[words:]))
        columns = first if headed else [str(i) for i in range(len(first))]
        if not headed and comments:
            columns = _commented(path, comments[-1], delimiter, columns)
        elif not headed and len(first) > 2 and first == columns:
            raise InputError(
                f"{path}: line 1 counts 0, 1, 2, … and could be names or a sample; give the"
                " columns names"
            )
        width = len(others[0]) - trailing if others else len(columns)
        unnamed = columns[0] == "" and width == len(columns)
        row_names = headed and not words and (unnamed or width == len(columns) + 1)
        columns = columns[1:] if row_names and unnamed else columns
        if "" in columns:
            raise InputError(f"{path}: column {columns.index('') + 1} has no name; name it")
        decimal_comma = delimiter != "," and _has_decimal_commas(path, rows, delimiter)
        return cls(path, delimiter, columns, headed, not words, row_names, trailing, decimal_comma)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how it is read."""
        told = []
        if self.row_names:
            told.append(
                f"{self.path}: the first column has no name of its own; it is taken for the names"
                " of rows and left out"
            )
        if self.decimal_comma:
            told.append(f"{self.path}: numbers are read with a decimal comma: 1,5 is 1.5")
        return tuple(told)

    def lines(self) -> Iterator[Line]:
        """Yield the rows' lines, with their numbers in the file from 1 on."""
        every = text_lines.lines(self.path)
        rows = (line for line in every if not (self.comments and _is_comment(line[1])))
        return islice(rows, int(self.headed), None)

    def cells(self, number: int, line: str) -> list[str]:
        """Return a line's cells, one for each column.

        Raises:
            InputError: a line has more or fewer cells than the table has columns.
        """
        cells = cut(self.path, number, line, self.delimiter)
        if self.trailing and cells[-1] == "" and len(cells) > len(self.columns) + self.row_names:
            del cells[-1]
        if len(cells) != len(self.columns) + self.row_names:
            raise InputError(
                f"{self.path}: line {number} has {len(cells)} cells, and there are"
                f" {len(self.columns) + self.row_names} columns; mend the line"
            )
        return cells[int(self.row_names) :]

    def number(self, number: int, column: str, cell: str) -> float:
        """Return a cell as a number.

        Raises:
            InputError: it is none.
        """
        if cell.lower() in TRUTH:
            return TRUTH[cell.lower()]
        if self.decimal_comma and _DECIMAL_COMMA.fullmatch(cell):
            return float(cell.replace(",", "."))
        if is_number(cell) and not (self.decimal_comma and "." in cell):
            return float(cell)
        found = f"{cell[:40]!r} in line {number}" if cell else f"an empty cell in line {number}"
        remedy = "remove or impute such samples" if cell in MISSING else None
        if is_number(cell.replace(",", "")):
            remedy = "write numbers with a point, and no commas"
        if self.decimal_comma and is_number(cell.replace(".", "")):
            remedy = "write all numbers with a point, or all with a decimal comma"
        raise not_numbers(self.path, column, found, remedy)


def cut(path: Path, number: int, line: str, delimiter: str) -> list[str]:
    """Return the cells of a line.

    Raises:
        InputError: a quotation mark in the line is not closed.
    """
    try:
        reader = csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True)
        cells = next(reader, []) or [""]
    except csv.Error as error:
        raise InputError(
            f"{path}: line {number} cannot be cut into cells ({reason(error)}); mend its quotes,"
            " one line a row"
        ) from error
    return [cell.strip() for cell in cells]


def is_number(cell: str) -> bool:
    """Whether a cell is a number as programs write it: no digit groups, no decimal comma."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell and cell.isascii()


def _is_value(cell: str) -> bool:
    """Whether a cell is one of a sample, and no name."""
    decimal = _DECIMAL_COMMA.fullmatch(cell) is not None
    return decimal or is_number(cell) or cell.lower() in TRUTH


def _is_comment(line: str) -> bool:
    """Whether a line is no row: a comment, or what tells a spreadsheet the delimiter."""
    text = line.lstrip()
    return _SEP.fullmatch(line.strip()) is not None or (
        text.startswith(COMMENT) and not text.startswith(_ERRORS)
    )


def _delimiter(path: Path, rows: list[Line], words: int) -> str:
    """Return what cuts a row into numbers, if anything does, and else the first into most cells.

    Raises:
        InputError: nothing cuts the first line.
    """

    def score(delimiter: str) -> tuple[bool, int]:
        try:
            columns = len(cut(path, *rows[0], delimiter))
            row = cut(path, *rows[min(1, len(rows) - 1)], delimiter)
        except InputError:
            return False, 0
        values = row[words:-1] if row[-1] == "" else row[words:]
        return len(values) > 1 - bool(words) and all(map(_is_value, values)), columns

    best = max(DELIMITERS, key=score)
    cut(path, *rows[0], best if score(best)[1] else ",")
    return best if score(best)[1] else ","


def _commented(path: Path, comment: Line, delimiter: str, columns: list[str]) -> list[str]:
    """Return the names of columns in the last comment before them, if it holds as many."""
    number, line = comment
    try:
        names = cut(path, number, line.lstrip(f"{COMMENT} \t"), delimiter)
    except InputError:
        return columns
    return names if len(names) == len(columns) and not any(map(_is_value, names)) else columns


def _has_decimal_commas(path: Path, rows: list[Line], delimiter: str) -> bool:
    """Whether a comma stands for the decimal point: somewhere it must, and nowhere a point does."""
    found = False
    for number, line in rows:
        for cell in cut(path, number, line, delimiter):
            if "." in cell and is_number(cell):
                return False
            if "," in cell and _DECIMAL_COMMA.fullmatch(cell):
                found = found or _THOUSANDS.fullmatch(cell) is None
    return found
