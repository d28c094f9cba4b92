"""Where collapse begins: a pure rule from per-layer conditions to onsets and runs.

The onset of a condition is the first position in depth from which it holds at every later
one (Rangamani & Unal, CPAL 2026, section 4). A position where a condition cannot be judged,
because its quantity is undefined there, neither begins a stretch nor breaks one.
"""

from __future__ import annotations

from collections.abc import Sequence

from nrcscan.verdict.conditions import Answer


def together(answers: Sequence[Answer]) -> Answer:
    """Return whether all hold: False beats None beats True.

    >>> together([True, None]), together([False, None]), together([True, True])
    (None, False, True)
    """
    if any(h is not None and not h for h in answers):
        return False
    return None if any(h is None for h in answers) else True


def onset(answers: Sequence[Answer]) -> int | None:
    """Return the first position from which a condition holds through to the output.

    >>> onset([True, False, True, None, True])
    2
    >>> onset([True, True, False]) is None
    True
    """
    start = None
    for position, holds in enumerate(answers):
        if holds is not None and not holds:
            start = None
        elif holds and start is None:
            start = position
    return start


def runs(answers: Sequence[Answer]) -> list[tuple[int, int]]:
    """Return the first and last position of every stretch in which a condition holds.

    >>> runs([True, None, True, False, True, None])
    [(0, 2), (4, 4)]
    """
    found: list[tuple[int, int]] = []
    broken = True
    for position, holds in enumerate(answers):
        if holds is not None and not holds:
            broken = True
        elif holds:
            first = position if broken else found.pop()[0]
            found.append((first, position))
            broken = False
    return found
