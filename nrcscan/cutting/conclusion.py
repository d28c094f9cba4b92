"""What may be concluded from the cuts of a network: the one place that puts it into words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from nrcscan.cutting.cuts import Cut, Estimate
from nrcscan.cutting.numbers_of_cuts import change, share
from nrcscan.reporting.report_document import Report
from nrcscan.verdict.answers import Answer, sure_side
from nrcscan.verdict.sentence import as_inferred
from nrcscan.verdict.state import State
from nrcscan.wording import counted, printable


class Effect(Enum):
    """What the layers behind a cut do to the error on samples that the head has not seen."""

    HELP = "help"
    COST = "cost accuracy"
    NEITHER = "neither help nor cost"
    UNDECIDED = "undecided"


_SAID = {
    Effect.HELP: ("THE LAST LAYER HELPS", "THE LAST {} LAYERS HELP"),
    Effect.COST: ("THE LAST LAYER COSTS ACCURACY", "THE LAST {} LAYERS COST ACCURACY"),
    Effect.NEITHER: (
        "THE LAST LAYER NEITHER HELPS NOR COSTS",
        "THE LAST {} LAYERS NEITHER HELP NOR COST",
    ),
    Effect.UNDECIDED: (
        "UNDECIDED whether the last layer helps",
        "UNDECIDED whether the last {} layers help",
    ),
}
"""Effect → what is said of one layer, and of several."""


def effect(change: Estimate, within: float) -> Effect:
    """Return what the layers behind a cut do, as far as it is sure.

    Args:
        change: by how much the cut's error is above the network's own, as a share of it.
        within: the share up to which two errors are the same.
    """
    error = change.standard_error or 0.0
    if sure_side(-within - change.value, error) is Answer.MET:
        return Effect.COST
    if sure_side(change.value - within, error) is Answer.MET:
        return Effect.HELP
    ends = sure_side(within - change.value, error), sure_side(change.value + within, error)
    return Effect.NEITHER if ends == (Answer.MET, Answer.MET) else Effect.UNDECIDED


def concluded(cuts: Sequence[Cut], own: Estimate | None, report: Report, within: float) -> str:
    """Return what the cuts of a network say, in a few sentences.

    Args:
        cuts: of every position.
        own: the network's error on the samples that cuts are judged on.
        report: on the samples that heads are fitted to.
        within: how far above the network's own error a cut may be, as a share of it.
    """
    text = _Conclusion(cuts, own, report, within).text()
    return as_inferred(text) if report.doubts else text


@dataclass(frozen=True)
class _Conclusion:
    """Puts the cuts of one network into words."""

    cuts: Sequence[Cut]
    own: Estimate | None
    report: Report
    within: float

    def text(self) -> str:
        """Return all of it."""
        if self.own is None:
            return (
                "CANNOT BE JUDGED: the network makes no predictions that a cut could be compared"
                " with."
            )
        if self.report.verdict.state is State.LEARNED_NOTHING:
            return "LEARNED NOTHING: the network predicts no better than the mean; nothing to keep."
        judged = [cut for cut in self.cuts if cut.change is not None and not cut.inputs]
        if not judged:
            return f"CANNOT BE JUDGED: {self._why_none()}."
        return f"{self._effect(self._best(judged), self.own)} {self._smallest()}"

    def _why_none(self) -> str:
        """Say why no cut is judged."""
        refused = [cut for cut in self.cuts if cut.refused is not None]
        if refused:
            return f"before {printable(refused[0].layer)}, {refused[0].refused}"
        if all(cut.inputs for cut in self.cuts):
            return "the only cut is before the network's inputs: nothing of the network is left"
        return (
            "no error on samples that heads have not seen is known; name a file of other samples"
            " with --against"
        )

    def _best(self, judged: Sequence[Cut]) -> Cut:
        """Return the cut that TRAIN alone says is best, before the collapsed layers if there are.

        What it is then compared on has not chosen it. One that ends before the last layer leaves
        nothing out, so that any other goes before it.
        """
        onset = self._onset()
        shorter = [cut for cut in judged if cut.against_refitted is not None]
        before = [cut for cut in shorter if onset is None or cut.position < onset]
        return min(before or shorter or judged, key=self._seen_in_training)

    @staticmethod
    def _seen_in_training(cut: Cut) -> float:
        seen = cut.cross_validated or cut.train
        assert seen is not None
        return seen.value

    def _onset(self) -> int | None:
        """Return the position from which on layers have collapsed."""
        verdict = self.report.verdict
        if verdict.state is not State.COLLAPSED:
            return None
        return next(la.position for la in self.report.layers if la.name == verdict.onset)

    def _effect(self, cut: Cut, own: Estimate) -> str:
        """Say what the layers behind a cut do, and which of them have collapsed.

        They are compared with the last of them that is fitted alike, where there is one: that a
        new fit does better says nothing of the layers before it.
        """
        assert cut.held_out is not None
        assert cut.change is not None
        refitted = self.cuts[-1].held_out if cut.against_refitted is not None else None
        found = cut.change if cut.against_refitted is None else cut.against_refitted
        one, several = _SAID[effect(found, self.within)]
        behind, by = self._steps_from(cut.position), " ".join(filter(None, change(found)))
        compared = (
            f"the network {estimate(own)} ({by})"
            if refitted is None
            else f"one on what reaches the last layer {estimate(refitted)} ({by}), the network"
            f" itself {estimate(own)}"
        )
        bars = "" if found.standard_error is not None else ", without error bars"
        return (
            f"{one if behind == 1 else several.format(behind)}{bars}: a linear head on what reaches"
            f" {printable(cut.layer)} has MSE {estimate(cut.held_out)},"
            f" {compared}.{self._collapsed(behind)}"
        )

    def _collapsed(self, behind: int) -> str:
        onset = self._onset()
        if onset is None:
            return ""
        collapsed = self._steps_from(onset)
        who = "They have" if collapsed >= behind else f"Of them, the last {collapsed} have"
        return f" {who} collapsed, from {printable(str(self.report.verdict.onset))} on."

    def _steps_from(self, position: int) -> int:
        """Return how many steps in depth there are from a position on."""
        layers = self.report.layers
        return len(
            {la.position for la in layers if la.step is not None and la.position >= position}
        )

    def _smallest(self) -> str:
        """Say which is the smallest network that does as well."""
        allowed = f"within {share(self.within)}"
        smallest = next((cut for cut in self.cuts if cut.answer is Answer.MET), None)
        open_ = [cut for cut in self.cuts if cut.answer is Answer.UNDECIDED]
        if smallest is None and not open_:
            return f"No cut is {allowed} of the network's error."
        if smallest is None:
            return f"No cut is surely {allowed} of the network's error; {self._perhaps(open_)}."
        assert smallest.change is not None
        surely = "" if smallest.change.standard_error is None else "surely "
        perhaps = [cut for cut in open_ if cut.position < smallest.position]
        more = f" ({self._perhaps(perhaps)})" if perhaps else ""
        if smallest.inputs:
            return (
                f"A linear model of the inputs is {surely}{allowed} of the network's error{more}."
            )
        return (
            f"The smallest network {surely}{allowed} of its error ends before"
            f" {printable(smallest.layer)}{more}."
        )

    @staticmethod
    def _perhaps(cuts: Sequence[Cut]) -> str:
        first = printable(cuts[0].layer)
        others = f" and {counted(len(cuts) - 1, 'other')}" if len(cuts) > 1 else ""
        return f"before {first}{others} it is undecided"


def estimate(found: Estimate) -> str:
    """Return an estimate with its standard error.

    >>> estimate(Estimate(0.02851, 0.0021)), estimate(Estimate(0.5))
    ('0.0285 ± 0.002', '0.5')
    """
    error = found.standard_error
    return f"{found.value:.3g}" if error is None else f"{found.value:.3g} ± {error:.1g}"
