"""The JSON Schemas of a comparison, and of a network on two sets of samples."""

from __future__ import annotations

from typing import Any

from nrcscan.comparing import against, compare
from nrcscan.metrics.quantities import CONDITIONS, QUANTITIES
from nrcscan.reporting.json_shapes import (
    ANYTHING,
    COUNT,
    NUMBER,
    TEXT,
    TEXTS,
    closed,
    document,
    listing,
    one_of,
    or_null,
    some_of,
)
from nrcscan.reporting.report_schema import CONVENTION, parts, report_shape


def comparison_schema() -> dict[str, Any]:
    """Return the JSON Schema of `Comparison.to_dict`.

    What it takes from scans, which may be of an earlier nrcscan, it leaves open.
    """
    run = closed(
        {
            "label": TEXT,
            "path": TEXT,
            "epoch": or_null(COUNT),
            "n_samples": or_null(COUNT),
            "signal_dim": or_null(COUNT),
            "model": ANYTHING,
            "verdict": ANYTHING,
            "onset": ANYTHING,
        }
    )
    layer = closed(
        {
            "name": TEXT,
            "differs": listing(one_of(CONDITIONS)),
            "runs": listing(or_null(ANYTHING)),
        }
    )
    shape = closed(
        {
            "convention": or_null(CONVENTION),
            "runs": listing(run),
            "layers": listing(layer),
            "notes": TEXTS,
        }
    )
    return document(compare.SCHEMA, "A comparison of nrcscan", {}, shape)


def against_schema() -> dict[str, Any]:
    """Return the JSON Schema of `TrainTest.to_dict`."""
    gap = closed(
        {"train": NUMBER, "test": NUMBER, "gap": NUMBER, "standard_error": or_null(NUMBER)}
    )
    whole = report_shape()
    side = {
        **whole,
        "properties": {"schema": TEXT, **whole["properties"]},
        "required": ["schema", *whole["required"]],
    }
    shape = closed(
        {
            "model": some_of(("mse", "r2"), gap),
            "layers": listing(closed({"name": TEXT, "gaps": some_of(QUANTITIES, gap)})),
            "notes": TEXTS,
            "train": side,
            "test": side,
        }
    )
    return document(against.SCHEMA, "A network on two sets of samples", parts(), shape)
