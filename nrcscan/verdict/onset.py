"""Where collapse begins: pure rules from the answers at every step in depth to onsets and runs.

The onset of a condition is the first step from which it is met at every later one (Rangamani &
Unal, CPAL 2026, section 4). Only what is met counts: a step that is undecided, or that cannot be
judged, ends a stretch as one that is not met does.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from nrcscan.verdict.answers import Answer


class Shape(Enum):
    """What a sequence of steps at which all conditions are met, or not, amounts to."""

    TO_THE_OUTPUT = "collapsed"
    LAST_ALONE = "last layer only"
    STRETCH = "partly"
    NOWHERE = "not collapsed"


def onset(answers: Sequence[Answer]) -> int | None:
    """Return the first step from which a condition is met through to the last.

    >>> M, N, U = Answer.MET, Answer.NOT_MET, Answer.UNDECIDED
    >>> onset([M, N, M, M]), onset([M, U, M]), onset([M, M, N])
    (2, 2, None)
    """
    start = len(answers)
    while start and answers[start - 1] is Answer.MET:
        start -= 1
    return start if start < len(answers) else None


def runs(answers: Sequence[Answer]) -> list[tuple[int, int]]:
    """Return the first and last step of every stretch in which a condition is met.

    >>> M, N, U = Answer.MET, Answer.NOT_MET, Answer.UNDECIDED
    >>> runs([M, M, U, M, N])
    [(0, 1), (3, 3)]
    """
    found: list[tuple[int, int]] = []
    for step, answer in enumerate(answers):
        if answer is Answer.MET:
            goes_on = bool(found) and found[-1][1] == step - 1
            found.append((found.pop()[0] if goes_on else step, step))
    return found


def longest(stretches: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the longest stretch; of several, the deepest.

    >>> longest([(0, 1), (3, 4), (6, 6)])
    (3, 4)
    """
    return max(stretches, key=lambda run: (run[1] - run[0], run[0]))


def supposed_met(answers: Sequence[Answer]) -> list[Answer]:
    """Return the answers as they would be if all that is not known were met."""
    return [a if a is Answer.NOT_MET else Answer.MET for a in answers]


def shape(answers: Sequence[Answer]) -> Shape:
    """Return what the steps amount to, of which only what is met counts."""
    start = onset(answers)
    if start is None:
        return Shape.STRETCH if Answer.MET in answers else Shape.NOWHERE
    if start == len(answers) - 1:
        return Shape.LAST_ALONE
    return Shape.TO_THE_OUTPUT
