"""Onset over epochs: for each run the step at which collapse begins, checkpoint by checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from nrcscan.reporting.marks import BLUE, MARKS
from nrcscan.scanning.scan_file import ScannedCheckpoint
from nrcscan.short_names import CUT, shortened
from nrcscan.verdict.answers import Answer
from nrcscan.verdict.in_document import step_of
from nrcscan.wording import in_ascii, printable

NAME, HEAD = 20, 8
"""A run's name, and that of a checkpoint which tells no time, are cut to so many columns."""

_NO_ONSET = {"undecided": Answer.UNDECIDED, "cannot be judged": Answer.NOT_JUDGED}
LEARNED_NOTHING, UNUSABLE = "·", "×"

LEGEND = (
    "onset over epochs: the step in depth from which all four conditions are met to the output"
    f" ({MARKS[Answer.NOT_MET][0]} from none, {MARKS[Answer.UNDECIDED][0]} undecided,"
    f" {MARKS[Answer.NOT_JUDGED][0]} cannot be judged, {LEARNED_NOTHING} learned nothing,"
    f" {UNUSABLE} could not be used)"
)

Spell = Callable[[str], str]


@dataclass(frozen=True)
class OnsetStrip:
    """Runs below each other.

    Attributes:
        runs: name → of every checkpoint, in the order of training, the unit of its time, its time,
            and the checkpoint; one that tells none has its name and no unit.
        width: that they have to fit; None for that of the terminal.
    """

    runs: dict[str, list[tuple[str, str, ScannedCheckpoint]]]
    width: int | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        spell = in_ascii if options.ascii_only else str
        names = {run: shortened(spell(printable(run)), NAME, spell(CUT)) for run in self.runs}
        margin = max(map(cell_len, (*names.values(), "epoch")))
        above: list[str] = []
        for run, checkpoints in self.runs.items():
            (unit, *others) = dict.fromkeys(unit for unit, _, _ in checkpoints)
            times = [printable(time) for _, time, _ in checkpoints]
            heads = [shortened(spell(time), HEAD, spell(CUT)) for time in times]
            size = max(map(cell_len, heads)) + 1
            fit = max(1, ((self.width or options.max_width) - margin) // size)
            for first in range(0, len(heads), fit):
                own = ["" if others else unit, *heads[first : first + fit]]
                if own != above:
                    yield _line(own[0], margin, _cells(own[1:], size), "dim")
                above = own
                marks = [_mark(c, spell) for _, _, c in checkpoints[first : first + fit]]
                line = _line(names[run] if first == 0 else "", margin, [], "")
                for text, style in marks:
                    line.append(" " * (size - len(text)))
                    line.append(text, style)
                yield line


def _cells(texts: Sequence[str], size: int) -> Iterator[str]:
    return (" " * (size - cell_len(text)) + text for text in texts)


def _line(name: str, margin: int, cells: Sequence[str] | Iterator[str], style: str) -> Text:
    left = name + " " * (margin - cell_len(name))
    return Text(left + "".join(cells), style, no_wrap=True, overflow="ignore")


def _mark(checkpoint: ScannedCheckpoint, spell: Spell) -> tuple[str, str]:
    """Return the step at which collapse begins, or a mark that says why there is none."""
    if checkpoint.result is None:
        return spell(UNUSABLE), "dim"
    verdict = checkpoint.result["verdict"]
    if verdict["state"] == "collapsed":
        return str(step_of(checkpoint.result["layers"], verdict["onset"])), f"bold {BLUE}"
    if verdict["state"] == "learned nothing":
        return spell(LEARNED_NOTHING), "dim"
    mark, style = MARKS[_NO_ONSET.get(verdict["state"], Answer.NOT_MET)]
    return spell(mark), style
