"""The page as a whole: one file that asks for nothing, and in which nothing else can run."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib import metadata, resources
from typing import Any

from nrcscan.publishing.markup import Markup, element, together


def whole_document(title: str, body: Markup, data: Mapping[str, Any]) -> str:
    """Return the HTML of a page.

    Its content security policy allows the one script and the one style in it, by their hashes.

    Args:
        title: of the tab and the heading.
        body: what is shown.
        data: what the script works on.
    """
    style, script = (_static(name) for name in ("page.css", "page.js"))
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)};"
        " base-uri 'none'; form-action 'none'"
    )
    head = together(
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name_="color-scheme", content="light dark"),
        element("meta", name_="referrer", content="no-referrer"),
        element("meta", name_="generator", content=f"nrcscan {metadata.version('nrcscan')}"),
        element("title", f"{title} · nrcscan"),
        element("style", style),
    )
    rest = together(
        _PATTERNS,
        body,
        element("script", _json(data), type="application/json", id="data"),
        element("script", script),
    )
    whole = element("html", element("head", head), element("body", rest), lang="en")
    return f"<!DOCTYPE html>\n{whole}\n"


def _static(name: str) -> Markup:
    folder = resources.files("nrcscan.publishing")
    return Markup(folder.joinpath(name).read_text(encoding="utf-8"))


def _hash(content: str) -> str:
    digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _json(data: Mapping[str, Any]) -> Markup:
    """Return JSON in which nothing ends a script or begins a tag."""
    plain = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        plain = plain.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(plain)


_PATTERNS = element(
    "svg",
    element(
        "pattern",
        element("rect", width=6, height=6, class_="ground"),
        element("path", d="M-1 1l2 -2M0 6l6 -6M5 7l2 -2", class_="stroke"),
        id="hatched",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
    ),
    class_="defined",
    aria_hidden="true",
    width=0,
    height=0,
)
"""The ground of what is undecided: told from the others without colour."""
