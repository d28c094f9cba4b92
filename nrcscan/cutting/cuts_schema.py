"""The JSON Schema of cuts."""

from __future__ import annotations

from typing import Any

from nrcscan.cutting.cuts import SCHEMA
from nrcscan.reporting.json_shapes import (
    COUNT,
    FLAG,
    NUMBER,
    TEXT,
    TEXTS,
    closed,
    document,
    listing,
    one_of,
    or_null,
    part,
)
from nrcscan.verdict.answers import Answer


def cut_schema() -> dict[str, Any]:
    """Return the JSON Schema of `Cuts.to_dict`."""
    estimate = or_null(part("estimate"))
    size = {"weights": or_null(COUNT), "multiply_adds": or_null(COUNT)}
    cut = closed(
        {
            "layer": TEXT,
            "position": COUNT,
            "inputs": FLAG,
            "step": or_null(COUNT),
            "refused": or_null(TEXT),
            **size,
            "width": or_null(COUNT),
            "ridge": or_null(NUMBER),
            "train": estimate,
            "cross_validated": estimate,
            "held_out": estimate,
            "change": estimate,
            "against_refitted": estimate,
            "answer": one_of(answer.value for answer in Answer),
        }
    )
    shape = closed(
        {
            "train": TEXT,
            "test": or_null(TEXT),
            "n_train": COUNT,
            "n_test": COUNT,
            "within": NUMBER,
            "model": closed({**size, "train": estimate, "held_out": estimate}),
            "cuts": listing(cut),
            "smallest": or_null(TEXT),
            "text": TEXT,
            "notes": TEXTS,
        }
    )
    parts = {"estimate": closed({"value": NUMBER, "standard_error": or_null(NUMBER)})}
    return document(SCHEMA, "Cuts of a network", parts, shape)
