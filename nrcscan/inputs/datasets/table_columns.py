"""Which columns of a table are its inputs, and which its targets, wherever the table is kept."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrcscan.errors import InputError, UsageError
from nrcscan.inputs.arrays import Inputs
from nrcscan.inputs.datasets.array_keys import split_at
from nrcscan.inputs.datasets.rows import side_by_side
from nrcscan.inputs.usual_names import X_KEYS, Y_KEYS, usual_inputs
from nrcscan.wording import listed


@dataclass(frozen=True)
class Chosen:
    """Which columns are what.

    Attributes:
        inputs: the columns of each input, side by side, by the input's name.
        targets: the columns of the targets, side by side.
    """

    inputs: Mapping[str, Sequence[str]]
    targets: Sequence[str]

    @property
    def columns(self) -> list[str]:
        """Every column that is needed, once."""
        inputs = [column for columns in self.inputs.values() for column in columns]
        return list(dict.fromkeys([*inputs, *self.targets]))

    @property
    def provenance(self) -> dict[str, Any]:
        """What a file records of the choice."""
        told: dict[str, Any] = {"targets": list(self.targets)}
        if list(self.inputs) != [""]:
            told["x_key"] = ",".join(self.inputs)
        return told

    def batch(self, values: Mapping[str, NDArray[Any]]) -> tuple[Inputs, NDArray[Any]]:
        """Return inputs and targets, given every column's values (n, …).

        One input is (n, features). Among several, a column alone is as it is, as an array of an
        `.npz` would be.

        Raises:
            ValueError: arrays side by side differ in more than their last axis.
        """
        targets = _wide([values[name] for name in self.targets])
        inputs = {
            name: values[columns[0]]
            if len(columns) == 1 and len(self.inputs) > 1
            else _wide([values[column] for column in columns])
            for name, columns in self.inputs.items()
        }
        return (inputs if len(inputs) > 1 else next(iter(inputs.values()))), targets


@dataclass(frozen=True)
class TableColumns:
    """What the options say of a table's columns.

    Attributes:
        targets: of `--targets`, by name.
        last: of `--n-targets`: so many last columns are targets.
        x: of `--x-key`: `a+b` puts columns side by side, `a,b` gives several inputs.
        y: of `--y-key`: a column, or `a+b`.
        drop: of `--drop`: columns, or globs of them, that are neither.
    """

    targets: Sequence[str] = ()
    last: int | None = None
    x: str | None = None
    y: str | None = None
    drop: Sequence[str] = ()

    @property
    def by_column(self) -> bool:
        """Whether a choice was made that only a table has."""
        return bool(self.targets) or self.last is not None or bool(self.drop)

    def choose(self, path: Path, columns: Sequence[str], arrays: Container[str] = ()) -> Chosen:
        """Return which columns are the inputs, and which the targets.

        Args:
            path: of the table.
            columns: their names, in order.
            arrays: those that hold an array in every cell; where there are such, inputs are
                those that `--x-key` or a usual name tells, and not whatever else there is.

        Raises:
            UsageError: the columns that are chosen are not in the table, or none are and they
                cannot be guessed.
            InputError: columns cannot be told apart by their names.
        """
        left = self.left(path, columns)
        whole = any(column in arrays for column in left)
        targets = self.choose_targets(path, left, whole=whole)
        if self.x is not None:
            inputs = {
                part: self._named(path, left, part, "--x-key")
                for part in ([self.x] if self.x in left else split_at(self.x, ","))
            }
        elif whole and (together := usual_inputs(left)):
            inputs = {name: [name] for name in together}
        elif whole:
            name = _usual(path, left, X_KEYS, "inputs", "--x-key")
            inputs = {name: [name]}
        else:
            inputs = {"": [name for name in left if name not in targets]}
        both = [name for names in inputs.values() for name in names if name in targets]
        if both:
            raise UsageError(
                f"{path}: {listed(map(repr, both))} would be input and target; name others with"
                " --x-key or --targets"
            )
        if not all(inputs.values()):
            raise UsageError(
                f"{path}: {len(targets)} of {len(left)} columns as targets leaves no inputs; name"
                " fewer"
            )
        return Chosen(inputs, targets)

    def choose_targets(self, path: Path, columns: Sequence[str], *, whole: bool) -> list[str]:
        """Return the columns of the targets.

        Args:
            path: of the table.
            columns: those that are not left aside, in order.
            whole: whether some hold arrays.

        Raises:
            UsageError: the columns that are chosen are not in the table, or none are and they
                cannot be guessed.
        """
        given = {"--targets": self.targets, "--n-targets": self.last, "--y-key": self.y}
        told = [option for option, value in given.items() if value]
        if len(told) > 1:
            raise UsageError(f"{listed(told)} both say which are the targets; give one")
        if self.targets:
            unknown = [name for name in self.targets if name not in columns]
            if unknown:
                raise UsageError(
                    f"{path}: no column {listed(map(repr, unknown))}; choose --targets from"
                    f" {listed(columns)}"
                )
            if len(set(self.targets)) < len(self.targets):
                raise UsageError(
                    f"--targets {','.join(self.targets)}: names a column twice; name it once"
                )
            return list(self.targets)
        if self.last is not None:
            if self.last >= len(columns):
                raise UsageError(
                    f"{path}: {self.last} of {len(columns)} columns as targets leaves no inputs;"
                    " give a smaller --n-targets"
                )
            return list(columns[-self.last :])
        if self.y is not None:
            return self._named(path, columns, self.y, "--y-key")
        if whole:
            return [_usual(path, columns, Y_KEYS, "targets", "--y-key")]
        usual = [name for name in columns if name in Y_KEYS]
        if not usual:
            raise UsageError(
                f"{path}: which of the columns {listed(columns)} are the targets is not told;"
                " name them with --targets, or say how many of the last with --n-targets"
            )
        return usual

    def left(self, path: Path, columns: Sequence[str]) -> list[str]:
        """Return the columns that `--drop` does not leave aside.

        Raises:
            UsageError: no column is called as --drop says.
            InputError: columns cannot be told apart by their names.
        """
        _require_distinct(path, columns)
        dropped: set[str] = set()
        for glob in self.drop:
            found = {glob} & set(columns) or {c for c in columns if fnmatchcase(c, glob)}
            if not found:
                raise UsageError(
                    f"--drop {glob}: {path} has no such column; choose among {listed(columns)}"
                )
            dropped |= found
        return [column for column in columns if column not in dropped]

    def _named(self, path: Path, columns: Sequence[str], text: str, option: str) -> list[str]:
        """Return the columns that an option names.

        Raises:
            UsageError: --x-key or --y-key names a column that is not in the table.
        """
        names = [text] if text in columns else split_at(text, "+")
        unknown = [name for name in names if name not in columns]
        if unknown:
            more = "; put targets side by side as 'a+b'" if option == "--y-key" else ""
            raise UsageError(
                f"{path}: no column {listed(map(repr, unknown))}{more}; choose {option} from"
                f" {listed(columns)}"
            )
        return names


def _wide(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return columns side by side: one array as it is, single numbers as (n, columns) float64."""
    if len(columns) == 1 and columns[0].ndim > 1:
        return columns[0]
    wide = side_by_side([column.astype(np.float64) for column in columns])
    return wide[:, None] if wide.ndim == 1 else wide


def _require_distinct(path: Path, columns: Sequence[str]) -> None:
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise InputError(
            f"{path}: several columns are called {listed(map(repr, repeated))}; rename them"
        )


def not_numbers(path: Path, column: str, found: str, remedy: str | None = None) -> InputError:
    """Return the error that a column holds something else than numbers, and what to do."""
    categories = "encode it as numbers (categories as one column each)"
    remedy = remedy or f"{categories}, or leave it out with --drop {column}"
    return InputError(f"{path}: column {column!r} holds {found}, not numbers; {remedy}")


def _usual(path: Path, keys: Sequence[str], usual: Sequence[str], what: str, option: str) -> str:
    """Return the one column of arrays that has a usual name.

    Raises:
        UsageError: no array is called so, or neither option nor name tells which is meant.
    """
    found = [name for name in usual if name in keys]
    if len(found) == 1:
        return found[0]
    problem = (
        f"{listed(found)} could all be the {what}" if found else f"no array is called {usual[0]}"
    )
    raise UsageError(f"{path}: {problem}; say which of {listed(keys)} are the {what} with {option}")
