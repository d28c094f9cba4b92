"""Which few samples a probe takes: such as can be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nrcscan.inputs.arrays import Inputs, each, length, parts

APART = 3
"""Different samples that a probe takes."""

_LOOKED_AT = 2**22
"""Numbers of an input that are compared at most, so that large inputs cost little."""


class ProbeRows(NamedTuple):
    """A few samples, and the order that they come in the second time.

    Attributes:
        x: inputs.
        order: sample `order[i]` is then the i-th.
    """

    x: Inputs
    order: list[int]


def chosen_rows(
    x: Inputs,
    *,
    fixed: int | None = None,
    first: int = 0,
    apart: int = APART,
    changing: Sequence[bool] | None = None,
) -> ProbeRows:
    """Return samples that differ, the first of them twice, from a batch.

    The second time they come in another order and another of them comes twice: what a sample
    has of the others then changes, a mean over the batch too.

    Args:
        x: a batch of inputs.
        fixed: how many samples the network takes, if not any number.
        first: the sample to begin with.
        apart: how many that differ.
        changing: which of several inputs may be changed, so that samples differ that were
            alike; None changes none.
    """
    size = apart + 1 if fixed is None else fixed
    apart = min(apart, size - 1 if size > 2 else size)
    rows, alike = _farthest(x, apart, first)
    wanted = rows + [rows[0]] * (size - len(rows))
    picked = each(x, lambda part: np.array(part[wanted]))
    k = len(rows)
    if changing is not None and alike < apart:
        k = apart
        for part, may in zip(parts(picked).values(), changing, strict=True):
            if may:
                _make_differ(part, range(alike, apart))
                part[apart:] = part[:1]
    order = [(i + 1) % k if i < k else 1 % k for i in range(size)]
    return ProbeRows(picked, order)


def _farthest(x: Inputs, count: int, first: int) -> tuple[list[int], int]:
    """Return rows, each the one farthest from those before, and how many of them differ."""
    n = length(x)
    flat = [np.asarray(part).reshape(n, -1) for part in parts(x).values()]
    shown = max(16, _LOOKED_AT // max(1, sum(part.shape[1] for part in flat)))
    last = max(first + 1, min(n, shown))
    flat = [part[:last] for part in flat]
    rows = [first]
    nearest = _distances(flat, first)
    while len(rows) < count:
        farthest = int(nearest.argmax())
        if nearest[farthest] == 0:
            break
        rows.append(farthest)
        nearest = np.minimum(nearest, _distances(flat, farthest))
    return rows, len(rows)


def _distances(flat: Sequence[NDArray[Any]], row: int) -> NDArray[np.float64]:
    """Return how far all rows are from one: no single number decides, however large."""
    total = np.zeros(len(flat[0]))
    for part in flat:
        if part.shape[1] == 0:
            continue
        if part.dtype.kind == "f":
            values = part.astype(np.float64)
            off = np.abs(values - values[row])
            scale = off.max(axis=0)
            total += (off / np.where(scale > 0, scale, 1)).mean(axis=1)
        else:
            total += (part != part[row]).mean(axis=1)
    return total


def _make_differ(part: NDArray[Any], rows: range) -> None:
    """Change some rows so that none is like another: only where samples are told from others."""
    rng = np.random.default_rng(0)
    for row in rows:
        if part.dtype.kind == "f":
            spread = float(part.std()) or 0.1 * float(np.abs(part).max()) or 1.0
            part[row] = part[0] + spread * rng.standard_normal(part[0].shape)
        elif part.dtype.kind in "iu":
            part[row] = rng.permuted(part[0].reshape(-1)).reshape(part[0].shape)
