"""The JSON Schema of scan.json: of a checkpoint it holds parts of a report, by their schemas."""

from __future__ import annotations

from typing import Any

from nrcscan.reporting.json_shapes import (
    ANYTHING,
    COUNT,
    TEXT,
    TEXTS,
    Schema,
    closed,
    document,
    listing,
    or_null,
    part,
)
from nrcscan.reporting.report_schema import parts, report_shape
from nrcscan.scanning.cuts_in_scan import cuts_shape
from nrcscan.scanning.scan_file import AS_NAMED, RESULT, SCHEMA


def scan_schema() -> dict[str, Any]:
    """Return the JSON Schema of `Scan.to_dict`."""
    shared = {name: shape for name, shape in parts().items() if name != "targets"}
    shape = closed(
        {
            "provenance": closed(
                {
                    "folder": TEXT,
                    **dict.fromkeys(("data", "options", "report", "versions"), ANYTHING),
                }
            ),
            "checkpoints": listing({"anyOf": [part("measured"), part("unusable")]}),
            "skipped": listing(closed({"path": TEXT, "reason": TEXT})),
            "notes": listing(closed({"note": TEXT, "checkpoints": TEXTS})),
        }
    )
    own = {"measured": _measured(), "unusable": _checkpoint("error", TEXT, {})}
    return document(SCHEMA, "A scan of nrcscan", shared | own, shape)


def _measured() -> Schema:
    of_report = report_shape()["properties"]
    result = {name: of_report[name] for name in RESULT if name != "notes"}
    more = {"statistics": TEXT, "data": or_null(ANYTHING), **result, "cuts": cuts_shape()}
    return _checkpoint("ok", {"type": "null"}, more)


def _checkpoint(status: str, reason: Schema, more: dict[str, Schema]) -> Schema:
    moment = or_null(COUNT)
    return closed(
        {
            "path": TEXT,
            "run": TEXT,
            "epoch": moment,
            "step": moment,
            "status": {"const": status},
            "reason": reason,
            **dict.fromkeys(AS_NAMED, COUNT),
            **more,
        },
        optional=(*AS_NAMED, "cuts"),
    )
