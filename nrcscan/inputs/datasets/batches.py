"""What every data source gives: checked batches of inputs and targets, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrcscan.errors import InputError, UsageError
from nrcscan.files import at_work, open_safely
from nrcscan.inputs.arrays import Inputs, each, parts
from nrcscan.wording import reason

Batch = tuple[Inputs, NDArray[Any]]
"""Inputs (n, …), one array or several, and targets (n, n_targets), of any real dtype."""


@dataclass(frozen=True)
class Dataset:
    """A source of batches.

    Attributes:
        name: what it is called in messages.
        n_samples: how many samples it holds; None if only the end of the stream tells.
        provenance: where it came from: path and SHA-256, as far as there are any.
        stream: batch size → batches in order.
        once: whether it can be streamed a single time only.
        notes: what the user should know of it: what was taken without being told, or left out.
        target_axes: of the targets of one sample, where these are several axes. They are one row
            in batches, and the network must predict in these axes, or as such a row.
    """

    name: str
    n_samples: int | None
    provenance: dict[str, Any]
    stream: Callable[[int], Iterator[Batch]]
    once: bool = False
    notes: tuple[str, ...] = ()
    target_axes: tuple[int, ...] = ()

    def batches(
        self, batch_size: int, limit: int | None = None, offset: int = 0
    ) -> Iterator[Batch]:
        """Yield checked batches, up to `limit` samples from `offset` on; 1-D targets become (n, 1).

        Raises:
            InputError: inputs and targets disagree, are not real numbers, or hold NaN.
            UsageError: --offset leaves no samples.
        """
        # What is mapped is read when it is looked at, which a check is the first to do.
        return at_work.each_read(self.name, self._checked(batch_size, limit, offset))

    def _checked(self, batch_size: int, limit: int | None, offset: int) -> Iterator[Batch]:
        passed, seen = 0, 0
        for x, y in self.stream(batch_size):
            for what, part in {"the targets": y, **parts(x)}.items():
                if part.ndim == 0:
                    raise InputError(
                        f"{self.name}: {what} of a batch are a single number; give an array with"
                        " one entry per sample"
                    )
                if len(part) != len(y):
                    raise InputError(
                        f"{self.name}: a batch has {len(part)} {what.removeprefix('the ')} but"
                        f" {len(y)} targets; give each sample both"
                    )
            first, passed = offset + seen - passed, passed + len(y)
            last = None if limit is None else first + limit - seen
            rows = slice(first, last)
            x, y = each(x, lambda part, rows=rows: part[rows]), y[rows]  # type: ignore[misc]
            if len(y) == 0:
                continue
            for what, part in parts(x).items():
                require_numbers(part.dtype, f"{self.name}: {what}")
            require_numbers(y.dtype, f"{self.name}: the targets")
            y = target_rows(y, self.name, self.target_axes)
            for what, part in parts(x).items():
                _require_finite(part, what.removeprefix("the "), offset + seen, self.name)
            _require_finite(y, "targets", offset + seen, self.name)
            yield x, y
            seen += len(y)
            if seen == limit:
                return
        if seen == 0 and passed:
            raise UsageError(
                f"--offset {offset}: {self.name} has {passed} samples; give a smaller offset"
            )
        if seen == 0:
            raise InputError(f"{self.name}: holds no samples; give data that has some")


def file_provenance(path: Path) -> dict[str, Any]:
    """Return where a file is, and what is in it."""
    return {"path": str(path.resolve()), "sha256": open_safely.sha256(path)}


def damaged(path: Path, error: Exception) -> InputError:
    """Return the error that a file cannot be read to its end."""
    return InputError(
        f"{path}: the file is damaged or cut short ({reason(error)}); save or copy it again"
    )


def require_numbers(dtype: np.dtype[Any], where: str) -> None:
    """Refuse dtypes that are not real numbers.

    Raises:
        InputError: the values are no real numbers, or cannot be read as such.
    """
    if dtype.hasobject and dtype.metadata:  # what HDF5 has beyond numbers
        raise InputError(
            f"{where}: text, references or lists of unequal length; save it as an array of numbers"
        )
    if dtype.hasobject:
        raise InputError(
            f"{where}: an object array, which only unpickling could read;"
            " save it as an array of numbers"
        )
    if dtype.kind in "SU":
        raise InputError(f"{where}: text; choose an array of numbers")
    if dtype.kind == "c":
        raise InputError(f"{where}: complex numbers; give real and imaginary parts as columns")
    if dtype.kind not in "fiub":
        raise InputError(f"{where}: dtype {dtype} is not numbers; encode it as numbers first")


def require_equal_lengths(name: object, x: tuple[int, ...], y: tuple[int, ...]) -> None:
    """Refuse inputs and targets (their shapes) that are not as many, or none.

    Raises:
        InputError: there are no samples, or a sample lacks its inputs or targets.
    """
    if x[0] != y[0]:
        raise InputError(
            f"{name}: {x[0]} inputs but {y[0]} targets; give each sample both"
            f" (inputs have shape {x}, targets {y})"
        )
    if x[0] == 0:
        raise InputError(f"{name}: holds no samples; give data that has some")


def axes_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes of one sample that have a length, of several; nothing for one or none.

    >>> axes_of((400, 8, 1, 3)), axes_of((400, 8, 1))
    ((8, 3), ())
    """
    axes = tuple(size for size in shape[1:] if size != 1)
    return axes if len(axes) > 1 else ()


def target_rows(y: NDArray[Any], name: str, axes: tuple[int, ...] = ()) -> NDArray[np.float64]:
    """Return targets as (n, n_targets): single numbers as a column, without axes of length 1.

    Args:
        y: the targets of n samples.
        name: what the data are called in messages.
        axes: of a sample, where several are known beforehand and become one row.

    Raises:
        InputError: targets have several axes, which predictions may have in another order.
    """
    rows = np.asarray(y, dtype=np.float64)
    if 0 in rows.shape[1:] or axes_of(rows.shape) not in ((), axes):
        raise InputError(
            f"{name}: targets of shape (N, {', '.join(map(str, y.shape[1:]))}); reshape them to"
            " (N, n_targets), in the order of what the network returns"
        )
    return rows.reshape(len(rows), -1)


def _require_finite(values: NDArray[Any], what: str, first_sample: int, name: str) -> None:
    """Refuse what is not finite.

    Raises:
        InputError: a sample has a value that is no finite number.
    """
    if values.dtype.kind != "f":
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()) or np.isfinite(values).all():
            return  # a finite sum tells it sooner
    index = np.argwhere(~np.isfinite(values))[0]
    found = "NaN" if np.isnan(values[tuple(index)]) else "an infinite value"
    place = f" at {tuple(int(i) for i in index[1:])}" if len(index) > 1 else ""
    raise InputError(
        f"{name}: the {what} hold {found}, first in sample {first_sample + index[0]}{place};"
        " remove or impute such samples"
    )


def as_array(values: Any, name: str) -> NDArray[Any]:
    """Return an array, memory map or tensor as an array, without a copy where possible.

    Raises:
        InputError: no array of NumPy has the same values.
    """
    if hasattr(values, "detach"):
        values = values.detach().cpu().resolve_conj().resolve_neg()
        if str(values.dtype).startswith(("torch.bfloat", "torch.float8")):  # NumPy has none
            values = values.float()
    if np.ma.is_masked(values):
        raise InputError(f"{name}: holds masked values; fill them or leave out their samples")
    try:
        return np.asanyarray(values)
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{name}: not an array of numbers: {reason(error)}; save it as an array of numbers"
        ) from error
