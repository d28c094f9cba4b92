"""What becomes of a network that is cut before each of its layers, from statistics alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np

from nrcscan.acts_file.kept_in_memory import MeasuredActs
from nrcscan.acts_file.prefixes import Prefix, Prefixes, prefixes_in
from nrcscan.acts_file.reading import open_acts
from nrcscan.acts_file.schema import DOUBLE, LayerRecord
from nrcscan.cpu_threads import WIDE, allowed_threads, blas_threads
from nrcscan.cutting.conclusion import concluded
from nrcscan.cutting.cuts import Cut, Cuts, Estimate
from nrcscan.cutting.linear_head import LinearHead
from nrcscan.cutting.ridge_by_blocks import block_errors, chosen_ridge
from nrcscan.merging.two_sets import TARGETS, doubts, require_one_network, require_two_files
from nrcscan.metrics.directions import spectrum
from nrcscan.metrics.jackknife import standard_error
from nrcscan.options.check import checked, one_path
from nrcscan.options.cut_options import CutOptions
from nrcscan.options.describe import described
from nrcscan.options.faces import names_keywords
from nrcscan.options.report_options import ReportOptions
from nrcscan.reporting.make_report import report_of
from nrcscan.statistics.blocks import Targets
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.verdict.answers import Answer, sure_side
from nrcscan.verdict.depth import are_inputs

TOKENS = "every token counts as a sample here; measure with another --pool"
SKETCHED = "only a sketch of its features' covariance is kept; measure without --sketch"
NO_RIDGE = (
    "heads are fitted by least squares: TRAIN keeps no features to choose a ridge on; extract with"
    " --activations chooses one"
)
NOT_HELD_OUT = (
    "the network's own error is that on samples which it may have been trained on, that of cuts is"
    " held out; name a file of other samples with --against"
)
NO_BARS = "the errors of cuts have no error bars: {} keeps no features"
NARROW_SUMS = (
    "errors are of statistics whose products were added up in float32; extract with --precision"
    " float64 has them exact"
)


@names_keywords
@described(CutOptions)
def cut(
    train: str | os.PathLike[str],
    test: str | os.PathLike[str] | None = None,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    **options: Unpack[CutOptions],
) -> Cuts:
    """Find out what a network loses when it ends early, in a linear head.

    For every layer, the features that reach it are mapped to the targets by ridge regression. The
    ridge is chosen on blocks of TRAIN alone; errors on both files follow from their statistics.

    Args:
        train: file of `nrcscan extract` whose samples heads are fitted to, or what it returned.
        test: likewise of other samples of the same network, which heads are judged on; without
            it, each block of TRAIN is judged by a fit without it.
        on_progress: called with cuts done, and in all, after every one.
        options: see `nrcscan.options.cut_options`.

    Raises:
        InputError: a file cannot be used, or they are of two networks.
        UsageError: both are one file, or an option is out of range.
    """
    chosen = checked(CutOptions, options, "cut")
    first, second = one_path(train), None if test is None else one_path(test)
    if second is not None:
        require_two_files(first, second)
    with ExitStack() as files:
        ours = files.enter_context(open_acts(first))
        theirs = None if second is None else files.enter_context(open_acts(second))
        if second is not None and theirs is not None:
            require_one_network(_sizes(ours), _sizes(theirs), second)
        return cuts_of(ours, theirs, chosen["within"], on_progress)


def cuts_of(
    train: MeasuredActs,
    test: MeasuredActs | None,
    within: float,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Cuts:
    """Return every cut of a network that was measured; see `cut`."""
    threads = allowed_threads()
    report = report_of(train, **checked(ReportOptions, {}, "report"), threads=threads)
    steps = {layer.position: layer.step for layer in report.layers if layer.step is not None}
    job = _Cutting(train, test, within, prefixes_in(train.provenance))
    wide = max(len(train.variances(p)) for p in range(train.n_positions)) >= WIDE
    found: list[Cut] = []
    with blas_threads(threads if wide else 1), ThreadPoolExecutor(1 if wide else threads) as pool:
        for one in pool.map(job.at, range(train.n_positions)):
            found.append(replace(one, step=steps.get(one.position)))
            on_progress(len(found), train.n_positions)
    judged = train if test is None else test
    whole = None if job.prefixes is None else job.prefixes.whole
    own = _own(judged)
    return Cuts(
        train=train.path,
        test=None if test is None else test.path,
        n_train=train.n_samples,
        n_test=judged.n_samples,
        within=within,
        weights=None if whole is None else whole.weights,
        multiply_adds=None if whole is None else whole.multiply_adds,
        own_train=_own(train),
        own_held_out=own,
        cuts=tuple(found),
        smallest=next((one for one in found if one.answer is Answer.MET), None),
        text=concluded(found, own, report, within),
        notes=(*_notes(job, found), *report.doubts),
    )


@dataclass(frozen=True)
class _Cutting:
    """What all cuts of a network share.

    Attributes:
        train: what heads are fitted to.
        test: what they are judged on; None for blocks of the former.
        within: how far above the network's own error a cut may be.
        prefixes: what has to run; None where it is not known.
    """

    train: MeasuredActs
    test: MeasuredActs | None
    within: float
    prefixes: Prefixes | None

    @property
    def judged(self) -> MeasuredActs:
        """Whose samples cuts are judged on."""
        return self.train if self.test is None else self.test

    def at(self, position: int) -> Cut:
        """Return the cut at a position."""
        record, inputs = _reader(self.train, position)
        prefix = None if self.prefixes is None else self.prefixes.positions[position]
        statistics = self.train.statistics(position)
        refused = None if prefix is None else prefix.inside
        if self.train.per_token(position):
            refused = TOKENS
        others = None if self.test is None else self.test.statistics(position)
        if not isinstance(statistics, Statistics) or not isinstance(others, Statistics | None):
            return Cut(record.name, position, inputs, SKETCHED)
        if refused is not None:
            return Cut(record.name, position, inputs, refused)
        head, seen = self._head(position, statistics)
        train = _estimate(head.squared_error(statistics), self._errors(self.train, position, head))
        validated = None if seen is None else _estimate(None, (seen, self.train.block_targets))
        held_out, errors = validated, seen
        if others is not None:
            found = self._errors(self.judged, position, head)
            held_out = _estimate(head.squared_error(others), found)
            errors = None if found is None else found[0]
        change = None if held_out is None else _change(held_out, errors, self.judged)
        weights, adds = _cost(prefix, head)
        return Cut(
            record.name,
            position,
            inputs,
            None,
            weights,
            adds,
            head,
            train,
            validated,
            held_out,
            change,
            _answer(change, self.within),
        )

    def _head(self, position: int, statistics: Statistics) -> tuple[LinearHead, Array | None]:
        """Return the head, and its errors on every block of TRAIN by a fit without it (B, t)."""
        features = spectrum(statistics.feature_covariance)
        targets = self.train.block_targets
        if self.train.has_activations and targets is not None:
            ridge = chosen_ridge(
                lambda: self.train.activation_rows(position),
                self.train.target_rows,
                targets.n_samples,
                float(features.values[0]),
                (self.train.epsilon, self.train.product_epsilon),
            )
            return LinearHead.fitted(statistics, features, ridge.share), ridge.squared_error
        blocks = self.train.blocks(position)
        fits = None if blocks is None else blocks.fits
        head = LinearHead.fitted(statistics, features, 0.0)
        return head, None if fits is None else fits.held_out

    @staticmethod
    def _errors(
        acts: MeasuredActs, position: int, head: LinearHead
    ) -> tuple[Array, Targets | None] | None:
        """Return a head's mean squared error on every block (B, t), where features are kept."""
        targets = acts.block_targets
        if targets is None or not acts.has_activations:
            return None
        rows = acts.activation_rows(position), acts.target_rows()
        return block_errors(head, *rows, targets.n_samples), targets


def _sizes(acts: MeasuredActs) -> list[tuple[str, int]]:
    layers = [(one.name, len(acts.variances(one.position))) for one in acts.layers]
    return [*layers, (TARGETS, len(acts.target_mean))]


def _reader(acts: MeasuredActs, position: int) -> tuple[LayerRecord, bool]:
    """Return the layer that reads a position, on the main branch if any, and if it is inputs."""
    both = zip(acts.layers, are_inputs(acts.layers), strict=True)
    here = [(record, inputs) for record, inputs in both if record.position == position]
    return min(here, key=lambda one: one[0].shortcut)


def _estimate(exact: Array | None, blocks: tuple[Array, Targets | None] | None) -> Estimate:
    """Return an error as the mean over targets, beside its standard error over blocks.

    Args:
        exact: of all samples, (t,); None for the mean over the blocks.
        blocks: those of blocks (B, t), and the blocks themselves.
    """
    if blocks is None or blocks[1] is None:
        assert exact is not None
        return Estimate(float(exact.mean()))
    errors, targets = blocks[0].mean(axis=1), blocks[1]
    mean = float(np.average(errors, weights=targets.n_samples))
    return Estimate(
        mean if exact is None else float(exact.mean()),
        standard_error(mean, targets.left_out(errors), targets.n_samples),
    )


def _own(acts: MeasuredActs) -> Estimate | None:
    """Return the network's own error."""
    if acts.predictions is None:
        return None
    targets = acts.block_targets
    known = targets is not None and targets.squared_error is not None
    blocks = (targets.squared_error, targets) if targets is not None and known else None
    return _estimate(acts.predictions.squared_error, blocks)  # type: ignore[arg-type]


def _change(held_out: Estimate, errors: Array | None, acts: MeasuredActs) -> Estimate | None:
    """Return by how much an error is above the network's own, sample by sample the same ones."""
    own = _own(acts)
    if own is None or not own.value > 0:
        return None
    value, targets = held_out.value / own.value - 1, acts.block_targets
    if errors is None or targets is None or targets.squared_error is None:
        return Estimate(value)
    theirs, ours = (targets.left_out(e.mean(axis=1)) for e in (errors, targets.squared_error))
    if not (ours > 0).all():
        return Estimate(value)
    return Estimate(value, standard_error(value, theirs / ours - 1, targets.n_samples))


def _answer(change: Estimate | None, within: float) -> Answer:
    if change is None:
        return Answer.NOT_JUDGED
    return sure_side(within - change.value, change.standard_error or 0.0)


def _cost(prefix: Prefix | None, head: LinearHead) -> tuple[int | None, int | None]:
    """Return the weights and multiply-adds of a prefix with a head, where they are known."""
    known = (None, None) if prefix is None else (prefix.weights, prefix.multiply_adds)
    weights, adds = (None if one is None else one + head.n_weights for one in known)
    return weights, adds


def _notes(job: _Cutting, found: Sequence[Cut]) -> list[str]:
    """Return what keeps more from being said."""
    train, test = job.train, job.test
    notes = [] if test is None else list(doubts(train.provenance, test.provenance))
    if test is None and train.predictions is not None:
        notes.append(NOT_HELD_OUT)
    if any(one.head is not None for one in found):
        if not train.has_activations:
            notes.append(NO_RIDGE)
        if test is not None and not test.has_activations:
            notes.append(NO_BARS.format("TEST"))
    if max(one.product_epsilon for one in (train, job.judged)) > DOUBLE:
        notes.append(NARROW_SUMS)
    if job.judged.no_blocks is not None:
        notes.append(f"no error bars: {job.judged.no_blocks}")
    return notes
