"""The marks of the four answers in tables. Imports nothing heavy: scans show them too.

The colours are told apart by eyes that see no red or no green, on light and dark; the marks need
none of them.
"""

from __future__ import annotations

from nrcscan.verdict.answers import Answer

BLUE, ORANGE, PURPLE = "#2f86d6", "#d9730d", "#b065c0"

MARKS: dict[Answer, tuple[str, str]] = {
    Answer.MET: ("●", BLUE),
    Answer.NOT_MET: ("○", ORANGE),
    Answer.UNDECIDED: ("~", PURPLE),
    Answer.NOT_JUDGED: ("?", "dim"),
}
"""Answer → its mark, and the colour of that."""

LEGEND = " · ".join(f"{mark} {answer.value}" for answer, (mark, _) in MARKS.items())

FAILURES = {answer: (" ", "") if answer is Answer.MET else MARKS[answer] for answer in Answer}
"""The same where only what is not met is marked."""

ALARM = f"bold {ORANGE}"
"""The style of what nothing should be concluded from."""
