"""Matrices of MATLAB of which the columns are the samples, as its own toolboxes take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nrcscan.inputs.datasets.array_keys import Side
from nrcscan.inputs.datasets.rows import Rows


def samples_in_columns(arrays: Mapping[str, Rows], sides: Sequence[Side]) -> list[str]:
    """Return which of the arrays that are meant have their samples in columns.

    Nothing is turned unless the arrays agree in one single way: as many samples in each, in rows
    of some and in columns of others, where rows alone do not agree.
    """
    keys = [key for side in sides for piece in side.pieces for key in piece.keys]
    meant = [arrays[key] for key in keys]
    if any(rows.columns is None for rows in meant) or len({rows.shape[0] for rows in meant}) == 1:
        return []
    common = set[int].intersection(*({*rows.shape} for rows in meant)) - {1}
    if len(common) != 1 or any(rows.shape[0] == rows.shape[1] for rows in meant):
        return []
    return [key for key, rows in zip(keys, meant, strict=True) if rows.shape[0] not in common]
