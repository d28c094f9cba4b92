"""The JSON Schema of replaceable stretches."""

from __future__ import annotations

from typing import Any

from nrcscan.cutting.replaceable import SCHEMA
from nrcscan.reporting.json_shapes import (
    COUNT,
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


def between_schema() -> dict[str, Any]:
    """Return the JSON Schema of `Replaceable.to_dict`."""
    estimate = or_null(part("estimate"))
    stretch = closed(
        {
            "layers": TEXTS,
            "start": COUNT,
            "end": COUNT,
            "reaches": TEXT,
            "refused": or_null(TEXT),
            "weights": or_null(COUNT),
            "map_weights": or_null(COUNT),
            "ridge": or_null(NUMBER),
            "seen": or_null(NUMBER),
            "unexplained": estimate,
            "own": estimate,
            "replaced": estimate,
            "change": estimate,
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
            "stretches": listing(stretch),
            "text": TEXT,
            "notes": TEXTS,
        }
    )
    parts = {"estimate": closed({"value": NUMBER, "standard_error": or_null(NUMBER)})}
    return document(SCHEMA, "Stretches that a linear map could replace", parts, shape)
