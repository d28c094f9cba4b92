"""Which layers of a network one linear map could replace, and what that would cost and save."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nrcscan.cutting.cuts import Estimate
from nrcscan.cutting.linear_head import LinearHead
from nrcscan.verdict.answers import Answer
from nrcscan.wording import printable

SCHEMA = "nrcscan.between/1"


@dataclass(frozen=True, eq=False, repr=False)
class Replacement:
    """One linear map in place of the layers between what reaches one and what reaches a later one.

    Attributes:
        layers: that it replaces, in execution order, those that were measured.
        start: the position of what reaches the first of them.
        end: that of what the map gives.
        reaches: the layer that reads it.
        refused: why they cannot be replaced, or that is not defined; None where they can.
        weights: numbers in the weights of these layers, biases aside; None if that is not known.
        map: the map; None where it is refused, as all that follows.
        seen: the share of the variance of the features at the end that the map does not explain on
            the samples that it is fitted to (0 … 1).
        unexplained: likewise on others (0 … ∞), those of TEST, or each part of TRAIN by a map that
            is fitted without it; None where that is not known, as all that follows.
        own: the mean squared error of the linear head at the end on these samples.
        replaced: likewise of the same head on what the map gives.
        change: by how much the latter is above the former, as a share of it (-1 … ∞); None where
            the head makes no error.
        answer: whether the variance left and the change are both within what is allowed.
    """

    layers: tuple[str, ...]
    start: int
    end: int
    reaches: str
    refused: str | None = None
    weights: int | None = None
    map: LinearHead | None = None
    seen: float | None = None
    unexplained: Estimate | None = None
    own: Estimate | None = None
    replaced: Estimate | None = None
    change: Estimate | None = None
    answer: Answer = Answer.NOT_JUDGED

    def __repr__(self) -> str:
        told = self.answer.value if self.refused is None else f"none: {self.refused}"
        first, last = printable(self.layers[0]), printable(self.layers[-1])
        return f"<Replacement of {first} to {last}; {printable(told)}>"

    @property
    def steps(self) -> int:
        """How many steps in depth it replaces, from 1 on."""
        return self.end - self.start

    @property
    def map_weights(self) -> int | None:
        """Numbers in the map, d_i · d_j."""
        return None if self.map is None else self.map.n_weights

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "layers": list(self.layers),
            "start": self.start,
            "end": self.end,
            "reaches": self.reaches,
            "refused": self.refused,
            "weights": self.weights,
            "map_weights": self.map_weights,
            "ridge": None if self.map is None else self.map.ridge,
            "seen": self.seen,
            **{name: None if one is None else one.to_dict() for name, one in self.estimates()},
            "answer": self.answer.value,
        }

    def estimates(self) -> Iterator[tuple[str, Estimate | None]]:
        """Yield what was estimated on samples that the map has not seen, by name."""
        for name in ("unexplained", "own", "replaced", "change"):
            yield name, getattr(self, name)

    def holds(self, other: Replacement) -> bool:
        """Whether it replaces all that another does."""
        return self.start <= other.start and other.end <= self.end


@dataclass(frozen=True, eq=False, repr=False)
class Replaceable:
    """Every stretch of a network's layers, and whether one linear map could replace it.

    Attributes:
        train: the file whose samples maps and heads are fitted to.
        test: that of those they are judged on; None for parts of the former.
        n_train: samples in the former.
        n_test: samples that they are judged on.
        within: how much of the variance may be left, and how far the error may be above the head's.
        stretches: all of them, by start and end.
        text: what they say, in a sentence.
        notes: what the reader should know.
    """

    train: Path
    test: Path | None
    n_train: int
    n_test: int
    within: float
    stretches: tuple[Replacement, ...]
    text: str
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Replaceable: {printable(self.text)}\n{len(self.stretches)} stretches>"

    @property
    def longest(self) -> tuple[Replacement, ...]:
        """The stretches that are surely replaceable and in no longer one, the longest first."""
        return longest(self.stretches)

    @property
    def n_steps(self) -> int:
        """How many steps in depth there are that could be replaced."""
        return max(one.end for one in self.stretches)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it; see docs/schemas/between.schema.json."""
        return {
            "schema": SCHEMA,
            "train": str(self.train),
            "test": None if self.test is None else str(self.test),
            "n_train": self.n_train,
            "n_test": self.n_test,
            "within": self.within,
            "stretches": [one.to_dict() for one in self.stretches],
            "text": self.text,
            "notes": list(self.notes),
        }


def longest(
    stretches: Sequence[Replacement], answer: Answer = Answer.MET
) -> tuple[Replacement, ...]:
    """Return the stretches of an answer that are in no longer one of it, the longest first."""
    found: list[Replacement] = []
    for one in sorted(stretches, key=lambda one: (-one.steps, one.start)):
        if one.answer is answer and not any(other.holds(one) for other in found):
            found.append(one)
    return tuple(found)


def closest(stretches: Sequence[Replacement]) -> Replacement | None:
    """Return the stretch that is judged and comes closest to being replaceable; None of none."""
    judged = [one for one in stretches if one.unexplained is not None and one.change is not None]
    return min(judged, key=_further, default=None)


def _further(one: Replacement) -> float:
    """Return the greater of what is left of the variance and the change of the error."""
    assert one.unexplained is not None
    assert one.change is not None
    return max(one.unexplained.value, one.change.value)
