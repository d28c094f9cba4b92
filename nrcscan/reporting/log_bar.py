"""A share as a bar on a logarithmic scale: a column for every power of ten above the least."""

from __future__ import annotations

from math import log10

LEAST = 1e-8
WIDTH = 8
"""Columns, so that a full one is 1."""

HEAD = ("log", "1e-8…1")


def log_bar(share: float | None) -> str:
    """Return a bar for a share, to half a column; nothing for none, or for less than the least.

    >>> log_bar(1.0), log_bar(0.01), log_bar(3e-8), log_bar(0.0), log_bar(None)
    ('━━━━━━━━', '━━━━━━', '╸', '', '')
    """
    if share is None or share <= LEAST:
        return ""
    halves = round(2 * min(WIDTH, log10(share / LEAST)))
    return "━" * (halves // 2) + "╸" * (halves % 2)
