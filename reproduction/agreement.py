"""Whether what was found agrees with what a paper says, by rules that ask for no judgement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from nrcscan.verdict.answers import Answer


class Agreement(Enum):
    """Whether a statement agrees with what was measured."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    UNDECIDED = "undecided"
    NOT_TESTED = "not tested"


OF_ANSWER = {
    Answer.MET: Agreement.AGREES,
    Answer.NOT_MET: Agreement.DISAGREES,
    Answer.UNDECIDED: Agreement.UNDECIDED,
    Answer.NOT_JUDGED: Agreement.UNDECIDED,
}
"""What an answer to "is it as stated?" amounts to."""


def of_networks(found: Iterable[Agreement]) -> Agreement:
    """Return what the networks of a data set say together.

    It agrees where all do, and disagrees where fewer than half could: what is between them, or
    depends on networks that are undecided, is undecided.

    >>> A, D, U = Agreement.AGREES, Agreement.DISAGREES, Agreement.UNDECIDED
    >>> [of_networks(one).value for one in ([A, A, A], [A, A, D], [A, D, D], [D, U, U], [])]
    ['agrees', 'undecided', 'disagrees', 'undecided', 'not tested']
    """
    every = list(found)
    if not every:
        return Agreement.NOT_TESTED
    against = every.count(Agreement.DISAGREES)
    if 2 * (len(every) - against) < len(every):
        return Agreement.DISAGREES
    alike = every.count(Agreement.AGREES) == len(every)
    return Agreement.AGREES if alike else Agreement.UNDECIDED


def of_data_sets(found: Iterable[Agreement]) -> Agreement:
    """Return what the data sets say together: one that disagrees is enough to disagree.

    >>> A, D, U, N = (Agreement(one) for one in ("agrees", "disagrees", "undecided", "not tested"))
    >>> [of_data_sets(one).value for one in ([A, N], [A, U], [A, U, D], [N])]
    ['agrees', 'undecided', 'disagrees', 'not tested']
    """
    tested = {one for one in found if one is not Agreement.NOT_TESTED}
    for answer in (Agreement.DISAGREES, Agreement.UNDECIDED, Agreement.AGREES):
        if answer in tested:
            return answer
    return Agreement.NOT_TESTED


@dataclass(frozen=True)
class Row:
    """What was found on a data set.

    Attributes:
        group: the data set.
        cells: of the finding's table.
        answer: whether it agrees.
        claimed: whether the paper's statement is about such data; what is not counts for nothing.
    """

    group: str
    cells: tuple[str, ...]
    answer: Agreement
    claimed: bool = True


@dataclass(frozen=True)
class Sensitivity:
    """How the answers change with a threshold of ours.

    Attributes:
        threshold: what it is, in words.
        answers: its value → the answer of every data set.
        default: the value that the finding is judged at.
    """

    threshold: str
    answers: Mapping[Any, Sequence[Agreement]]
    default: float | str


@dataclass(frozen=True)
class Finding:
    """A statement of a paper, and what was found of it.

    Attributes:
        title: in a few words.
        source: where the paper says it.
        claim: what it says.
        statistic: what is measured.
        rule: what counts as agreement and as disagreement.
        head: of the table's columns between the data set and the answer.
        rows: of the table.
        sensitivity: to thresholds of ours.
        remarks: below the table.
    """

    title: str
    source: str
    claim: str
    statistic: str
    rule: str
    head: tuple[str, ...]
    rows: Sequence[Row]
    sensitivity: Sequence[Sensitivity] = ()
    remarks: Sequence[str] = field(default=())

    @property
    def answer(self) -> Agreement:
        """Whether it agrees, on all data sets that the statement is about."""
        return of_data_sets(row.answer for row in self.rows if row.claimed)

    @property
    def by_answer(self) -> str:
        """Which data sets agree, disagree, and so on."""
        parts = []
        for kind in Agreement:
            own = [row.group for row in self.rows if row.claimed and row.answer is kind]
            parts += [f"{kind.value}: {'; '.join(own)}"] if own else []
        return " · ".join(parts) or "no data set is of this kind"


def counts(answers: Sequence[Agreement]) -> str:
    """Return how many answers there are of each kind, in words.

    >>> A, D = Agreement.AGREES, Agreement.DISAGREES
    >>> counts([A, D, A]), counts([])
    ('2 agree, 1 disagrees', 'none')
    """
    plural = {Agreement.AGREES: "agree", Agreement.DISAGREES: "disagree"}
    parts = []
    for kind in Agreement:
        number = list(answers).count(kind)
        if number:
            parts.append(f"{number} {kind.value if number == 1 else plural.get(kind, kind.value)}")
    return ", ".join(parts) or "none"
