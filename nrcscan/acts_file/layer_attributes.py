"""How a layer's record stands in the file: written and read back in one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nrcscan.acts_file.schema import LayerRecord

_READS_INPUTS, _SHORTCUT = 1, 2
"""Bits of a layer's role, which files of before do not tell."""


def attributes(record: LayerRecord) -> dict[str, Any]:
    """Return the attributes of a layer's group, beside its index: seven at most.

    Of more than eight HDF5 makes a tree, which crashes when the disk is full.
    """
    found = {
        "name": fixed(record.name),
        "kind": fixed(record.kind),
        "position": record.position,
        "groups": record.groups,
        "transposed": int(record.transposed),
        "flattened": int(record.flattened) if record.acts_alone else 2,
    }
    if record.reads_inputs is not None:
        found["role"] = _READS_INPUTS * record.reads_inputs | _SHORTCUT * record.shortcut
    return found


def record_of(attributes: Mapping[str, Any]) -> LayerRecord:
    """Return the record that the attributes of a layer's group hold.

    Raises:
        KeyError: one that every version has is not there.
        TypeError: a name is not a fixed-length string.
    """
    role = int(attributes.get("role", 0))
    return LayerRecord(
        name=text(attributes["name"]),
        kind=text(attributes["kind"]),
        position=int(attributes["position"]),
        groups=int(attributes["groups"]),
        transposed=bool(attributes["transposed"]),
        flattened=int(attributes["flattened"]) == 1,
        acts_alone=int(attributes["flattened"]) != 2,
        shortcut=bool(role & _SHORTCUT),
        reads_inputs=bool(role & _READS_INPUTS) if "role" in attributes else None,
    )


def fixed(words: str) -> np.bytes_:
    """Return text as a fixed-length string: HDF5 can crash on damaged variable-length ones."""
    return np.bytes_(words.encode(errors="backslashreplace"))


def text(value: Any) -> str:
    """Return a fixed-length string as text.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, bytes):
        raise TypeError("a name is not a fixed-length string")
    return value.decode()
