"""Cuts in words: what a terminal, a page and a notebook show alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nrcscan.cutting.cuts import Cut, Cuts
from nrcscan.cutting.numbers_of_cuts import alike, change, kept, pair, power, share
from nrcscan.reporting.marks import LEGEND, MARKS
from nrcscan.reporting.place import INPUTS
from nrcscan.reporting.sentences import in_words
from nrcscan.verdict.answers import BAR, Answer
from nrcscan.wording import counted, printable

CHOSEN = "→"
"""Before the smallest cut that does as well."""

NETWORK = "network"
"""What the line of the network itself is called."""

NO_SIZES = "what a cut keeps of the network is not known: the file to fit to does not tell"

NAMED = "cut before"
HEAD = ("#", NAMED, "weights", "mult-adds", "MSE train", "MSE held-out", "change", "within")
"""Of what `cells` returns."""


@dataclass(frozen=True)
class CutLine:
    """A cut, or the network itself, as text; what is not known is a dash.

    Attributes:
        place: in depth, as a report has it.
        name: of the layer that is the first one left out.
        width: how many features the head reads.
        weights: that are kept, as a share.
        multiply_adds: likewise.
        train: MSE on the samples that the head is fitted to, and its error bar.
        cross_validated: likewise on each block of them, by a fit without it.
        held_out: likewise on others.
        change: of this against the network's, and its error bar.
        against_refitted: likewise against that of a last layer that is fitted alike.
        ridge: of the head.
        answer: whether that is within the tolerance; None for the network, and where no cut is.
        chosen: whether it is the smallest that is.
        whole: whether it is the network's.
    """

    place: str
    name: str
    width: str
    weights: str
    multiply_adds: str
    train: tuple[str, str]
    cross_validated: tuple[str, str]
    held_out: tuple[str, str]
    change: tuple[str, str]
    against_refitted: tuple[str, str]
    ridge: str
    answer: Answer | None = None
    chosen: bool = False
    whole: bool = False


def lines(cuts: Cuts) -> Iterator[CutLine]:
    """Yield every cut, in order, and the network itself."""
    errors = [cuts.own_train, cuts.own_held_out]
    for cut in cuts.cuts:
        errors += [cut.train, cut.cross_validated, cut.held_out]
    show = alike(errors)
    for cut in cuts.cuts:
        yield CutLine(
            place(cut),
            printable(cut.layer),
            "—" if cut.width is None else str(cut.width),
            kept(cut.weights, cuts.weights),
            kept(cut.multiply_adds, cuts.multiply_adds),
            pair(cut.train, show),
            pair(cut.cross_validated, show),
            pair(cut.held_out, show),
            change(cut.change),
            change(cut.against_refitted),
            "—" if cut.head is None else power(cut.head.ridge),
            cut.answer if cut.refused is None else None,
            is_chosen(cut, cuts),
        )
    yield CutLine(
        "",
        NETWORK,
        "",
        kept(cuts.weights, cuts.weights),
        kept(cuts.multiply_adds, cuts.multiply_adds),
        pair(cuts.own_train, show),
        ("", ""),
        pair(cuts.own_held_out, show),
        ("", ""),
        ("", ""),
        "",
        whole=True,
    )


def cells(line: CutLine, name: str | None = None) -> list[str]:
    """Return a line as the cells of a table whose error bars stand beside the numbers.

    Args:
        line: it.
        name: of the layer as the table shows it; by default as it is.
    """
    mark = "" if line.answer is None else MARKS[line.answer][0]
    return [
        line.place,
        line.name if name is None else name,
        line.weights,
        line.multiply_adds,
        *(" ".join(filter(None, one)) for one in (line.train, line.held_out, line.change)),
        f"{CHOSEN} {mark}" if line.chosen else mark,
    ]


def place(cut: Cut) -> str:
    """Return a cut's place in depth, as a report has it."""
    return INPUTS if cut.inputs else "" if cut.step is None else str(cut.step)


def is_chosen(cut: Cut, cuts: Cuts) -> bool:
    """Say whether a cut is the smallest that does as well."""
    return cuts.smallest is not None and cut.position == cuts.smallest.position


def basis(cuts: Cuts) -> list[str]:
    """Say on which samples heads were fitted and judged, and what is allowed."""
    ridges = [cut.head.ridge for cut in cuts.cuts if cut.head is not None]
    how = "ridge regression" if any(ridges) else "least squares"
    fitted = f"heads fitted to {cuts.train} ({counted(cuts.n_train, 'sample')}) by {how}"
    if cuts.test is None:
        judged = "judged on its blocks, each by a fit without it"
    else:
        judged = f"judged on {cuts.test} ({counted(cuts.n_test, 'sample')})"
    limit = share(cuts.within)
    return [
        f"{fitted}, {judged}",
        f"within {limit}: a held-out MSE of at most {limit} above the network's; undecided where"
        f" {BAR:g} standard errors of the change leave that open",
    ]


def legend(cuts: Cuts) -> str:
    """Say what the marks mean."""
    parts = [f"within {share(cuts.within)}: {LEGEND}"]
    if cuts.smallest is not None:
        parts.append(f"{CHOSEN} the smallest of these")
    if any(cut.inputs for cut in cuts.cuts):
        parts.append(f"{INPUTS}: a linear model of the inputs")
    return " · ".join(parts)


def remarks(cuts: Cuts) -> list[str]:
    """Return what to know besides: where no cut can be made and why, and every note."""
    reasons: dict[str, list[str]] = {}
    for cut in cuts.cuts:
        if cut.refused is not None:
            reasons.setdefault(cut.refused, []).append(cut.layer)
    refused = [f"no cut before {in_words(names)}: {why}" for why, names in reasons.items()]
    unknown = [] if has_sizes(cuts) else [NO_SIZES]
    return [*refused, *unknown, *cuts.notes]


def has_sizes(cuts: Cuts) -> bool:
    """Say whether it is known what a cut keeps of the network."""
    return cuts.weights is not None or cuts.multiply_adds is not None
