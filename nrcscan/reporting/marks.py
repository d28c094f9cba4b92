"""The marks of the four answers in tables. Imports nothing heavy: scans show them too."""

from __future__ import annotations

from nrcscan.verdict.answers import Answer

MARKS: dict[Answer, tuple[str, str]] = {
    Answer.MET: ("✓", "green"),
    Answer.NOT_MET: ("✗", "red"),
    Answer.UNDECIDED: ("~", "yellow"),
    Answer.NOT_JUDGED: ("?", "dim"),
}
"""Answer → its mark, and the colour of that."""

LEGEND = "✓ met · ✗ not met · ~ undecided · ? cannot be judged"
