"""What a notebook shows of cuts."""

from __future__ import annotations

from nrcscan.cutting import cuts_in_words as words
from nrcscan.cutting.cuts import Cuts
from nrcscan.reporting.notebook import shown, small, table


def of_cuts(cuts: Cuts) -> str:
    """Return cuts: the sentence, a row for each and for the network, and what to know, folded."""
    lines = list(words.lines(cuts))
    return shown(
        [cuts.text],
        words.basis(cuts),
        table(
            words.HEAD,
            map(words.cells, lines),
            left=(words.NAMED,),
            begins=[line.whole for line in lines],
        )
        + small(words.legend(cuts)),
        words.remarks(cuts),
    )
