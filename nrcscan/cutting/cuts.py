"""Every cut of a network, and what each would cost and save."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrcscan.cutting.linear_head import LinearHead
from nrcscan.statistics.moments import Array
from nrcscan.verdict.answers import Answer
from nrcscan.wording import counted, printable

if TYPE_CHECKING:
    import pandas

SCHEMA = "nrcscan.cut/1"


@dataclass(frozen=True)
class Estimate:
    """A number, and how far it would move with other samples.

    Attributes:
        value: the number.
        standard_error: over blocks of samples; None where it is not known.
    """

    value: float
    standard_error: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {"value": self.value, "standard_error": self.standard_error}


@dataclass(frozen=True, eq=False, repr=False)
class Cut:
    """The network up to what reaches a layer, closed by a linear head.

    Attributes:
        layer: the first that is cut away; the head stands in its place.
        position: of what reaches it, in depth, from 0.
        inputs: whether that is the network's inputs: then the cut is a linear model of them.
        refused: why this is no place to cut; None where it is one.
        weights: numbers in the weights that stay, the head's included; None if it is not known.
        multiply_adds: of them, per sample; likewise.
        head: None where the cut is refused, as all that follows.
        train: its mean squared error on the samples that the head is fitted to.
        cross_validated: likewise on each block of these, by a head that is fitted without it; None
            where that is not known.
        held_out: likewise on others: those of TEST, or each block by a fit without it.
        change: by how much that is above the network's own there, as a share of it (-1 … ∞).
        against_refitted: by how much it is above that of a last layer that is fitted alike, which
            tells what the layers between do from what a new fit does; None for that itself.
        answer: whether it is within what is allowed.
        block_errors: on each block of the samples that it is judged on, shape (B, t); None where
            they are not known.
        step: its place in depth as a report counts it, from 1; None for inputs and in a shortcut.
    """

    layer: str
    position: int
    inputs: bool = False
    refused: str | None = None
    weights: int | None = None
    multiply_adds: int | None = None
    head: LinearHead | None = None
    train: Estimate | None = None
    cross_validated: Estimate | None = None
    held_out: Estimate | None = None
    change: Estimate | None = None
    against_refitted: Estimate | None = None
    answer: Answer = Answer.NOT_JUDGED
    block_errors: Array | None = None
    step: int | None = None

    def __repr__(self) -> str:
        told = f"within: {self.answer.value}" if self.refused is None else f"none: {self.refused}"
        return f"<Cut before {printable(self.layer)}; {printable(told)}>"

    @property
    def width(self) -> int | None:
        """How many features the head reads; None where the cut is refused."""
        return None if self.head is None else int(self.head.weight.shape[1])

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "layer": self.layer,
            "position": self.position,
            "inputs": self.inputs,
            "step": self.step,
            "refused": self.refused,
            "weights": self.weights,
            "multiply_adds": self.multiply_adds,
            "width": self.width,
            "ridge": None if self.head is None else self.head.ridge,
            "train": _or_none(self.train),
            "cross_validated": _or_none(self.cross_validated),
            "held_out": _or_none(self.held_out),
            "change": _or_none(self.change),
            "against_refitted": _or_none(self.against_refitted),
            "answer": self.answer.value,
        }


@dataclass(frozen=True, eq=False, repr=False)
class Cuts:
    """Every cut of a network.

    Attributes:
        train: the file whose samples heads are fitted to.
        test: that whose samples they are judged on; None: by blocks of the former.
        n_train: samples in the first.
        n_test: samples that cuts are judged on.
        within: how far above the network's own error a cut may be, as a share of it.
        weights: numbers in the weights of the whole network; None if it is not known.
        multiply_adds: of them, per sample; likewise.
        own_train: the network's own mean squared error on TRAIN; None without predictions.
        own_held_out: likewise on the samples that cuts are judged on.
        cuts: from the inputs on, one for every position in depth.
        smallest: the first that is surely within what is allowed; None if none is.
        text: whether the layers that can be cut away help, by how much, and how sure that is.
        notes: what keeps more from being said.
    """

    train: Path
    test: Path | None
    n_train: int
    n_test: int
    within: float
    weights: int | None
    multiply_adds: int | None
    own_train: Estimate | None
    own_held_out: Estimate | None
    cuts: tuple[Cut, ...]
    smallest: Cut | None
    text: str
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        smallest = "none" if self.smallest is None else f"before {printable(self.smallest.layer)}"
        told = f"{counted(len(self.cuts), 'cut')}, the smallest within {100 * self.within:g}%"
        return f"<Cuts: {printable(self.text)}\n{told}: {smallest}>"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from nrcscan.cutting.cuts_in_notebook import of_cuts

        return of_cuts(self)

    def to_frame(self) -> pandas.DataFrame:
        """Return a row per cut, by the layer before which it is, with the columns of the CSV.

        Raises:
            UsageError: pandas is not installed.
        """
        from nrcscan.cutting.cuts_frame import frame_of

        return frame_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON has them; see docs/cut.md."""
        return {
            "schema": SCHEMA,
            "train": str(self.train),
            "test": None if self.test is None else str(self.test),
            "n_train": self.n_train,
            "n_test": self.n_test,
            "within": self.within,
            "model": {
                "weights": self.weights,
                "multiply_adds": self.multiply_adds,
                "train": _or_none(self.own_train),
                "held_out": _or_none(self.own_held_out),
            },
            "cuts": [cut.to_dict() for cut in self.cuts],
            "smallest": None if self.smallest is None else self.smallest.layer,
            "text": self.text,
            "notes": list(self.notes),
        }


def _or_none(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.to_dict()
