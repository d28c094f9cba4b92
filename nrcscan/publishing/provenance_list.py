"""Where numbers come from: a file's or a scan's provenance, whatever is in it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nrcscan.publishing.markup import Markup, element

LONG = 2_000
"""Letters of a value that a page shows at most; the file has them all."""


def provenance(told: Mapping[str, Any]) -> Markup:
    """Return a section with all of it but what a page shows elsewhere, or is for programs."""
    parts = {name: value for name, value in told.items() if name not in ("notes", "prefixes")}
    return element(
        "details", element("summary", "Provenance"), _list(parts, deep=3), id="provenance"
    )


def _list(told: Mapping[str, Any], deep: int) -> Markup:
    items = []
    for name, value in told.items():
        shown = (
            _list(value, deep - 1) if isinstance(value, dict) and value and deep else _plain(value)
        )
        items += [element("dt", name.replace("_", " ")), element("dd", shown)]
    return element("dl", *items)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        shown = value
    elif value is None or value in ([], {}):
        shown = "—"
    elif isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        shown = ", ".join(map(str, value))
    else:
        shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= LONG else f"{shown[:LONG]}…"
