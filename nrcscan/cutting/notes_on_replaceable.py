"""What keeps more from being said of the stretches that a linear map could replace."""

from __future__ import annotations

from nrcscan.acts_file.kept_in_memory import MeasuredActs
from nrcscan.acts_file.prefixes import Prefixes
from nrcscan.cutting.cut import NOT_HELD_OUT
from nrcscan.cutting.cuts import Cuts
from nrcscan.cutting.linear_map import kept_blocks
from nrcscan.merging.check_parts import section

HELD_OUT_PARTS = (
    "maps are judged on parts of TRAIN that they are not fitted to, with heads that are; name a"
    " file of other samples with --against"
)
NOTHING_HELD_OUT = (
    "no stretch is judged: TRAIN keeps no features of which parts could be held out; name a file of"
    " other samples with --against"
)
BRANCHES_UNKNOWN = (
    "whether a stretch begins or ends inside a branch is not known: the file is merged, or of an"
    " nrcscan that did not tell"
)
POOLED = (
    "features are pooled ({}), and so is what a map gives: a layer that reads every place of them"
    " cannot go on from it"
)


def notes_on_replaceable(
    train: MeasuredActs, test: MeasuredActs | None, cuts: Cuts, prefixes: Prefixes | None
) -> tuple[str, ...]:
    """Return what keeps more from being said, what the heads are subject to included.

    Args:
        train: what maps are fitted to.
        test: what they are judged on; None for parts of the former.
        cuts: the cuts that end in the heads.
        prefixes: what has to run; None where it is not known.
    """
    notes = [note for note in cuts.notes if note != NOT_HELD_OUT]
    if test is None:
        known = kept_blocks(train) is not None
        notes.append(HELD_OUT_PARTS if known else NOTHING_HELD_OUT)
    if prefixes is None:
        notes.append(BRANCHES_UNKNOWN)
    if _pooled(train, prefixes):
        notes.append(POOLED.format(section(train.provenance, "options").get("pool", "mean")))
    return tuple(notes)


def _pooled(acts: MeasuredActs, prefixes: Prefixes | None) -> bool:
    """Whether some features are of several places: such layers are used more than once a sample."""
    if any(layer.kind != "Linear" for layer in acts.layers):
        return True
    whole = None if prefixes is None else prefixes.whole
    return (
        whole is not None
        and whole.weights is not None
        and whole.multiply_adds is not None
        and whole.multiply_adds > whole.weights
    )
