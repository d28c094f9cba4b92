"""What becomes of a network that is cut before each of its layers, from statistics alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import Unpack

from nrcscan.acts_file.kept_in_memory import MeasuredActs
from nrcscan.acts_file.prefixes import prefixes_in
from nrcscan.acts_file.reading import open_acts
from nrcscan.acts_file.schema import DOUBLE
from nrcscan.cpu_threads import WIDE, allowed_threads, blas_threads
from nrcscan.cutting.conclusion import concluded
from nrcscan.cutting.cut_at import Cutting, beside, own_error
from nrcscan.cutting.cuts import Cut, Cuts
from nrcscan.merging.two_sets import TARGETS, doubts, require_one_network, require_two_files
from nrcscan.options.check import checked, one_path
from nrcscan.options.cut_options import CutOptions
from nrcscan.options.describe import described
from nrcscan.options.faces import names_keywords
from nrcscan.options.report_options import ReportOptions
from nrcscan.reporting.make_report import report_of
from nrcscan.verdict.answers import Answer

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
            require_one_network(sizes_of(ours), sizes_of(theirs), second)
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
    job = Cutting(train, test, within, prefixes_in(train.provenance))
    wide = max(len(train.variances(p)) for p in range(train.n_positions)) >= WIDE
    found: list[Cut] = []
    with blas_threads(threads if wide else 1), ThreadPoolExecutor(1 if wide else threads) as pool:
        for one in pool.map(job.at, range(train.n_positions)):
            found.append(replace(one, step=steps.get(one.position)))
            on_progress(len(found), train.n_positions)
    judged, last = job.judged, train.layers[-1].position
    found = [_against_refitted(one, found[last], judged) for one in found]
    whole = None if job.prefixes is None else job.prefixes.whole
    own = own_error(judged)
    return Cuts(
        train=train.path,
        test=None if test is None else test.path,
        n_train=train.n_samples,
        n_test=judged.n_samples,
        within=within,
        weights=None if whole is None else whole.weights,
        multiply_adds=None if whole is None else whole.multiply_adds,
        own_train=own_error(train),
        own_held_out=own,
        cuts=tuple(found),
        smallest=next((one for one in found if one.answer is Answer.MET), None),
        text=concluded(found, own, report, within),
        notes=(*_notes(job, found), *report.doubts),
    )


def _against_refitted(one: Cut, last: Cut, judged: MeasuredActs) -> Cut:
    """Return a cut with its error beside that of a last layer that is fitted alike."""
    if one is last or one.held_out is None or last.held_out is None:
        return one
    errors = one.held_out, one.block_errors, last.held_out, last.block_errors
    return replace(one, against_refitted=beside(*errors, judged.block_targets))


def sizes_of(acts: MeasuredActs) -> list[tuple[str, int]]:
    """Return the layers of a network by name, each with the width of what reaches it."""
    layers = [(one.name, len(acts.variances(one.position))) for one in acts.layers]
    return [*layers, (TARGETS, len(acts.target_mean))]


def _notes(job: Cutting, found: Sequence[Cut]) -> list[str]:
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
