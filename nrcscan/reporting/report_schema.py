"""The JSON Schema of a report: its quantities and conditions are those of the catalogue."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

from nrcscan.metrics.neighbouring import NAMES
from nrcscan.metrics.quantities import CATALOGUE, CONDITIONS, QUANTITIES
from nrcscan.options.choices import Convention
from nrcscan.options.report_options import Thresholds
from nrcscan.reporting.json_shapes import (
    ANYTHING,
    COUNT,
    FLAG,
    NUMBER,
    TEXT,
    TEXTS,
    Schema,
    closed,
    document,
    listing,
    mapping,
    one_of,
    or_null,
    part,
    some_of,
)
from nrcscan.reporting.report_document import SCHEMA
from nrcscan.verdict.answers import Answer
from nrcscan.verdict.state import State

REASONS = mapping(TEXT)
"""What is undefined → why."""

CONVENTION = one_of(get_args(Convention))


def report_schema() -> dict[str, Any]:
    """Return the JSON Schema of `Report.to_dict`."""
    return document(SCHEMA, "A report of nrcscan", parts(), report_shape())


def report_shape() -> Schema:
    """Return the shape of a report, but for its `schema`, in terms of `parts`."""
    return closed(
        {
            "n_samples": COUNT,
            "signal_dim": COUNT,
            "signal_dim_source": one_of(["t", "auto", "given"]),
            "convention": CONVENTION,
            "model": part("model"),
            "targets": part("targets"),
            "thresholds": closed({field.name: NUMBER for field in fields(Thresholds)}),
            "layers": listing(part("layer")),
            "verdict": part("verdict"),
            "onset": part("onset"),
            "runs": closed(dict.fromkeys((*CONDITIONS, "all"), listing(TEXTS))),
            "notes": TEXTS,
            "provenance": ANYTHING,
        }
    )


def parts() -> dict[str, Schema]:
    """Return what reports and scans have in common, by name."""
    return {
        "model": _model(),
        "targets": _targets(),
        "layer": _layer(),
        "measures": _measures(),
        "verdict": _verdict(),
        "onset": closed(dict.fromkeys((*CONDITIONS, "all"), or_null(TEXT))),
    }


def _model() -> Schema:
    return closed(
        {
            "mse": or_null(NUMBER),
            "r2": or_null(NUMBER),
            "learned": or_null(FLAG),
            "standard_error": some_of(("mse", "r2"), NUMBER),
            "doubts": TEXTS,
            "undefined": REASONS,
        }
    )


def _targets() -> Schema:
    return closed(
        {
            "n_targets": COUNT,
            "variance": NUMBER,
            "stable_rank": or_null(NUMBER),
            "rank": COUNT,
            "r2": listing(or_null(NUMBER)),
            "spectrum": listing(NUMBER),
            "explained": or_null(NUMBER),
            "gap": or_null(NUMBER),
            "undefined": REASONS,
            "measures": closed({"intrinsic_dimension": or_null(NUMBER), "undefined": REASONS}),
        },
        optional=["measures"],
    )


def _reach(answers: Schema) -> Schema:
    """Return what a condition's answer depends on beside the threshold."""
    between = {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}
    return closed({"undecided_between": between, "always": or_null(answers), "open": FLAG})


def _layer() -> Schema:
    answers = one_of(answer.value for answer in Answer)
    return closed(
        {
            "index": COUNT,
            "position": COUNT,
            "name": TEXT,
            "kind": TEXT,
            "width": COUNT,
            **{
                quantity.name: {**or_null(NUMBER), "description": quantity.words}
                for quantity in CATALOGUE
            },
            "step": or_null(COUNT),
            "inputs": FLAG,
            "shortcut": FLAG,
            "met": closed(dict.fromkeys(CONDITIONS, or_null(FLAG))),
            "answers": closed(dict.fromkeys(CONDITIONS, answers)),
            "reach": closed(dict.fromkeys(CONDITIONS, _reach(answers))),
            "standard_error": some_of(QUANTITIES, NUMBER),
            "corrected": some_of(QUANTITIES, NUMBER),
            "chance": some_of(
                QUANTITIES, closed({"level": or_null(NUMBER), "quantile": or_null(NUMBER)})
            ),
            "floor": or_null(NUMBER),
            "undefined": some_of(QUANTITIES, TEXT),
            "bounds": some_of(QUANTITIES, NUMBER),
            "notes": TEXTS,
            "measures": part("measures"),
        },
        optional=["measures"],
    )


def _measures() -> Schema:
    return closed(
        {
            **dict.fromkeys(NAMES, or_null(NUMBER)),
            "explained_variance": or_null(listing(NUMBER)),
            "n_eigenvalues": COUNT,
            "gamma": or_null(NUMBER),
            "undefined": REASONS,
            "notes": TEXTS,
        }
    )


def _verdict() -> Schema:
    broken = closed(
        {"layer": TEXT, "conditions": some_of(CONDITIONS, or_null(NUMBER))},
    )
    sure = closed({"reading": TEXT, "share": NUMBER, "others": mapping(NUMBER), "draws": COUNT})
    return closed(
        {
            "state": one_of(state.value for state in State),
            "onset": or_null(TEXT),
            "last": or_null(TEXT),
            "broken_by": or_null(broken),
            "unmeasured": REASONS,
            "confidence": or_null(sure),
            "findings": TEXTS,
            "text": TEXT,
        }
    )
