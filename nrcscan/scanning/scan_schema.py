"""The JSON Schema of scan.json: of a checkpoint it holds parts of a report, by their schemas."""

from __future__ import annotations

from typing import Any

from nrcscan.cutting.cuts_schema import cut_schema
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
from nrcscan.scanning.cuts_in_scan import CHOSEN, OF_CUT, OF_NETWORK
from nrcscan.scanning.scan_file import AS_NAMED, RESULT, SCHEMA


def scan_schema() -> dict[str, Any]:
    """Return the JSON Schema of `Scan.to_dict`."""
    shared = {name: shape for name, shape in parts().items() if name != "targets"}
    shared |= cut_schema()["$defs"]
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
    more = {"statistics": TEXT, "data": or_null(ANYTHING), **result, "cuts": _cuts()}
    return _checkpoint("ok", {"type": "null"}, more)


def _cuts() -> Schema:
    """Return the shape of what is kept of the cuts of a checkpoint."""
    of_cuts = cut_schema()["properties"]
    one, whole = of_cuts["cuts"]["items"]["properties"], of_cuts["model"]["properties"]
    cut = or_null(closed({name: one[name] for name in OF_CUT}))
    model = closed({name: whole[name] for name in OF_NETWORK})
    told = {name: of_cuts[name] for name in ("within", "text")}
    return closed({**told, "model": model, **dict.fromkeys(CHOSEN, cut)})


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
