"""The verdict in words: the one place that composes them, for every table, file and page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nrcscan.metrics.quantities import JUDGED, NEED_PREDICTIONS, Condition
from nrcscan.verdict.answers import Answer, within_chance
from nrcscan.verdict.confidence import Confidence
from nrcscan.verdict.depth import Step
from nrcscan.verdict.onset import runs
from nrcscan.verdict.reasons import lacks, why_open, with_error
from nrcscan.verdict.state import State
from nrcscan.verdict.verdict import Grounds
from nrcscan.wording import listed, ordinal, r_squared, some

FITS_WELL = 0.5
"""A network below this R² fits poorly."""

OFTEN = 0.05
"""Another reading in a smaller share of draws is not told in the sentence."""


def in_words(found: Grounds, sure: Confidence | None) -> str:
    """Return a verdict in a line.

    Args:
        found: what it is made from.
        sure: how often it is the same on samples drawn anew.
    """
    return _Words(found, sure).text()


def as_inferred(text: str) -> str:
    """Return what is said of a network that may be another than was trained."""
    return (
        "THIS MAY BE ANOTHER NETWORK THAN WAS TRAINED: it was inferred, and is doubtful, see the"
        f" notes. As inferred: {text}"
    )


@dataclass(frozen=True)
class _Words:
    """Puts one verdict into words."""

    found: Grounds
    sure: Confidence | None

    def text(self) -> str:
        """Return the verdict in a line, and before it whether it may be of another network."""
        return as_inferred(self._verdict()) if self.found.fit.doubtful else self._verdict()

    def _verdict(self) -> str:
        state, fit = self.found.state, self.found.fit
        if fit.n_samples == 1:
            return (
                "CANNOT BE JUDGED: nothing can be said of a single sample, as nothing varies; give"
                " more samples."
            )
        if fit.mse is not None and fit.r2 is None:
            return (
                "CANNOT BE JUDGED: nothing to learn here, the targets do not vary, so R² is"
                " undefined; give the targets that the network was trained on."
            )
        parts = {
            State.COLLAPSED: self._collapsed,
            State.LAST_LAYER_ONLY: self._last_only,
            State.PARTLY: self._partly,
            State.NOT_COLLAPSED: self._not_collapsed,
            State.UNDECIDED: self._undecided,
            State.NOT_JUDGED: self._not_judged,
            State.LEARNED_NOTHING: self._nothing_learned,
        }[state]()
        if state is State.LEARNED_NOTHING:
            return parts
        return " ".join(filter(None, (parts, self._fit())))

    # --- the states ----------------------------------------------------------------------------

    def _collapsed(self) -> str:
        assert self.found.stretch is not None
        start = self.found.steps[self.found.stretch[0]]
        return "".join(
            (
                f"COLLAPSED from {start.name} ({self._place(start)}) to the output",
                self._sureness(),
                ".",
                self._perhaps_before(),
                self._earlier(),
            )
        )

    def _last_only(self) -> str:
        last = self.found.steps[-1]
        before = self.found.broken_by
        why = "" if before is None else f"; {before.name} {lacks(before, self.found.thresholds)}"
        return (
            f"LAST LAYER ONLY: all four conditions hold at {last.names[0]} ({self._place(last)})"
            f" alone, neural regression collapse but not the deep kind{why}{self._sureness()}."
        )

    def _partly(self) -> str:
        assert self.found.stretch is not None
        assert self.found.broken_by is not None
        others = len(runs([step.together for step in self.found.steps])) - 1
        more = f", and in {others} shorter stretch{'es' * (others > 1)}" if others else ""
        after = self.found.broken_by
        return (
            f"PARTLY: all four conditions hold {self._span()}{more}, but not to the output:"
            f" {after.name} ({self._place(after)})"
            f" {lacks(after, self.found.thresholds, alone=True)}{self._sureness()}."
        )

    def _not_collapsed(self) -> str:
        closest = self.found.broken_by
        assert closest is not None
        return (
            f"NOT COLLAPSED: no layer meets all four conditions. {closest.name}"
            f" ({self._place(closest)}) comes closest: it"
            f" {lacks(closest, self.found.thresholds, alone=True)}{self._sureness()}."
        )

    def _undecided(self) -> str:
        if self.found.fit.learned is Answer.UNDECIDED:
            return "UNDECIDED: whether the network has learned anything; more samples decide it."
        return (
            f"UNDECIDED: all four conditions may hold {self._span()}, but"
            f" {self._unknown(Answer.UNDECIDED)}{self._remedy()}{self._readings()}."
        )

    def _remedy(self) -> str:
        """Say what would decide it; where chance reaches as far, neither samples nor digits do."""
        assert self.found.stretch is not None
        first, stop = self.found.stretch
        causes = {
            "samples" if step.metrics.standard_errors.get(condition.quantity) else "digits"
            for step in self.found.steps[first : stop + 1]
            for condition in JUDGED
            if step.answers[condition.name] is Answer.UNDECIDED
            and (value := step.metrics.get(condition.quantity)) is not None
            and not within_chance(condition.quantity, value, step.metrics)
        }
        if "samples" in causes:
            return "; more samples narrow it"
        return "; --precision float64, or a higher --sketch, narrows it" if causes else ""

    def _not_judged(self) -> str:
        if not any(step.number for step in self.found.steps):
            return (
                "CANNOT BE JUDGED: every layer that is measured reads the network's inputs, which"
                " are data; measure a layer that reads learned features."
            )
        if self.found.fit.mse is None:
            return self._without_predictions()
        told = self._unknown(Answer.NOT_JUDGED)
        return f"CANNOT BE JUDGED: all four conditions may hold {self._span()}, but {told}."

    def _without_predictions(self) -> str:
        told = "CANNOT BE JUDGED: no predictions are made, so that NRC4 is not judged"
        if self.found.stretch is None or self.found.stretch[1] < len(self.found.steps) - 1:
            return f"{told}; NRC1, NRC2 and NRC3 do not all hold to the last layer."
        open_ = [c for c in JUDGED if c.name not in NEED_PREDICTIONS]
        start = self.found.stretch[0]
        if any(
            step.answers[c.name] is not Answer.MET
            for step in self.found.steps[start:]
            for c in open_
        ):
            return f"{told}, and {self._unknown(Answer.UNDECIDED, open_)}."
        return f"{told}; NRC1, NRC2 and NRC3 hold {self._span()}."

    def _nothing_learned(self) -> str:
        fit = self.found.fit
        return (
            f"LEARNED NOTHING: R² = {r_squared(fit.r2)}, an MSE of {fit.mse:.3g} beside a target"
            f" variance of {fit.target_variance:.3g}. What follows describes no useful network."
        )

    # --- their parts ---------------------------------------------------------------------------

    def _fit(self) -> str:
        fit = self.found.fit
        if fit.r2 is None:
            return ""
        how = "The network fits" if fit.r2 >= FITS_WELL else "The network fits poorly"
        return f"{how}: R² = {r_squared(fit.r2)} (MSE {with_error(fit.mse, fit.mse_error)})."

    def _place(self, step: Step) -> str:
        if not step.number:
            return "not measured"
        return f"{ordinal(step.number)} of {self.found.measured}"

    def _span(self) -> str:
        """Return from where to where the stretch goes; "to the output" only if it is so."""
        assert self.found.stretch is not None
        first, stop = self.found.stretch
        inside = [step for step in self.found.steps[first : stop + 1] if step.number]
        if not inside:
            return f"at {self.found.steps[first].name} alone"
        start, last = inside[0], inside[-1]
        if start is last:
            return f"at {start.name} alone ({self._place(start)})"
        if stop == len(self.found.steps) - 1:
            whole = len(inside) == stop - first + 1
            at_last = last.number == self.found.measured and self.found.steps[-1].unmeasured
            end = "to the output" if whole or not at_last else f"to {last.names[-1]}"
            end += ", the last layer measured" if at_last else ""
            return f"from {start.name} ({self._place(start)}) {end}"
        return (
            f"from {start.name} ({ordinal(start.number)}) to {last.names[-1]} ({self._place(last)})"
        )

    def _sureness(self) -> str:
        """Say how often it reads the same on samples drawn anew, unless it nearly always does."""
        often = self.sure is not None and any(s > OFTEN for s in self.sure.others.values())
        return self._readings() if often else ""

    def _readings(self) -> str:
        """Say what networks on samples drawn anew read as, the most frequent first."""
        if self.sure is None:
            return ""
        shares = {self.sure.reading: self.sure.share, **self.sure.others}
        names = {step.name for step in self.found.steps}
        told = [
            f"{share:.0%} {f'collapsed from {name}' if name in names else name}"
            for name, share in sorted(shares.items(), key=lambda one: -one[1])
            if share > OFTEN
        ]
        return f" (of draws, {', '.join(told[:3])})" if told else ""

    def _perhaps_before(self) -> str:
        """Say that collapse may begin earlier, where what is before the onset is not known."""
        assert self.found.stretch is not None
        start = before = self.found.stretch[0]
        while before and self.found.steps[before - 1].together not in (Answer.MET, Answer.NOT_MET):
            before -= 1
        if before == start:
            return ""
        step = self.found.steps[start - 1]
        first = self.found.steps[before]
        return (
            f" Perhaps already from {first.name}: {step.name} {lacks(step, self.found.thresholds)}."
        )

    def _earlier(self) -> str:
        """Say what lies before the onset, where a single step broke a longer stretch."""
        stretches = runs([step.together for step in self.found.steps])
        if len(stretches) < 2:
            return ""
        first, last = stretches[-2]
        a, b = self.found.steps[first], self.found.steps[last]
        after = self.found.steps[last + 1]
        if after.together is not Answer.NOT_MET:
            return ""
        span = a.name if a is b else f"{a.name} to {b.names[-1]}"
        why = lacks(after, self.found.thresholds)
        return f" All four hold at {span} too, then {after.name} {why}."

    def _unknown(self, kind: Answer, among: Sequence[Condition] = JUDGED) -> str:
        """Say what in the stretch is not known: each condition, with the steps that it is of."""
        assert self.found.stretch is not None
        first, stop = self.found.stretch
        inside = self.found.steps[first : stop + 1]
        left_out = [s for s in inside if s.unmeasured is not None and kind is Answer.NOT_JUDGED]
        parts = []
        if left_out:
            why = listed(dict.fromkeys(str(s.unmeasured.reason) for s in left_out if s.unmeasured))
            verb = "was" if len(left_out) == 1 else "were"
            parts.append(
                f"{some([s.name for s in left_out])} {verb} not measured ({why}): measure"
                f" {'it' if len(left_out) == 1 else 'them'} too"
            )
        for condition in among:
            here = [s for s in inside if s.number and s.answers[condition.name] is kind]
            if here:
                at = some([s.name for s in here])
                why = why_open(condition, here[0], self.found.thresholds)
                parts.append(f"{condition.name.upper()} at {at} {why}")
        return listed(parts)
