"""Every cut of a network, and what each would cost and save."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nrcscan.cutting.linear_head import LinearHead
from nrcscan.verdict.answers import Answer


@dataclass(frozen=True)
class Estimate:
    """A number, and how far it would move with other samples.

    Attributes:
        value: the number.
        standard_error: over blocks of samples; None where it is not known.
    """

    value: float
    standard_error: float | None = None


@dataclass(frozen=True, eq=False)
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
        answer: whether it is within what is allowed.
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
    answer: Answer = Answer.NOT_JUDGED


@dataclass(frozen=True, eq=False)
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
