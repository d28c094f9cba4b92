"""Which columns of a table are the targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nrcscan.errors import InputError, UsageError
from nrcscan.inputs.datasets.batches import Y_KEYS
from nrcscan.wording import listed


@dataclass(frozen=True)
class TargetColumns:
    """Which columns are the targets: by name, or the last ones by number."""

    names: Sequence[str] = ()
    last: int | None = None

    @property
    def told(self) -> bool:
        """Whether any choice was made."""
        return bool(self.names) or self.last is not None

    def choose(self, path: Path, columns: Sequence[str]) -> list[int]:
        """Return the indices of the target columns.

        Raises:
            UsageError: the choice does not fit the table, or there is none to be guessed.
            InputError: columns cannot be told apart by their names.
        """
        _require_distinct(path, columns)
        if self.names and self.last is not None:
            raise UsageError("--targets and --n-targets both say which are the targets; give one")
        if self.names:
            unknown = [name for name in self.names if name not in columns]
            if unknown:
                raise UsageError(
                    f"{path}: no column {listed(map(repr, unknown))}; --targets are among"
                    f" {listed(columns)}"
                )
            if len(set(self.names)) < len(self.names):
                raise UsageError(f"--targets {','.join(self.names)}: names a column twice")
            chosen = [columns.index(name) for name in self.names]
        elif self.last is not None:
            chosen = list(range(len(columns)))[-self.last :] if self.last > 0 else []
        else:
            chosen = [i for i, name in enumerate(columns) if name in Y_KEYS]
            if not chosen:
                raise UsageError(
                    f"{path}: which columns are the targets? name them with --targets, or say how"
                    f" many of the last with --n-targets; there are {listed(columns)}"
                )
        if not 0 < len(chosen) < len(columns):
            raise UsageError(
                f"{path}: {len(chosen)} of {len(columns)} columns as targets leaves no inputs or no"
                " targets"
            )
        return chosen


def _require_distinct(path: Path, columns: Sequence[str]) -> None:
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise InputError(
            f"{path}: several columns are called {listed(map(repr, repeated))}; rename them"
        )


def not_numbers(path: Path, column: str, found: str, remedy: str | None = None) -> InputError:
    """Return the error that a column holds something else than numbers, and what to do."""
    remedy = remedy or "encode it as numbers (categories as one column each), or take it out"
    return InputError(f"{path}: column {column!r} holds {found}, not numbers; {remedy}")
