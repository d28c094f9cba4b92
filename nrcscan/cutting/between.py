"""What becomes of a network in which one linear map stands for the layers between two positions."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np

from nrcscan.acts_file.kept_in_memory import MeasuredActs
from nrcscan.acts_file.prefixes import Prefixes, prefixes_in
from nrcscan.acts_file.reading import open_acts
from nrcscan.cpu_threads import WIDE, allowed_threads, blas_threads
from nrcscan.cutting.cut import cuts_of, sizes_of
from nrcscan.cutting.cuts import Cuts
from nrcscan.cutting.linear_head import LinearHead
from nrcscan.cutting.linear_map import (
    Squares,
    block_squares,
    folded_maps,
    squares,
    statistics_between,
)
from nrcscan.cutting.notes_on_replaceable import notes_on_replaceable
from nrcscan.cutting.replaceable import Replaceable, Replacement
from nrcscan.cutting.replaceable_in_words import concluded_of
from nrcscan.cutting.squares_left import SquaresLeft, within_both
from nrcscan.errors import InputError
from nrcscan.merging.two_sets import require_one_network, require_two_files
from nrcscan.metrics.degenerate import unresolved
from nrcscan.metrics.directions import Spectrum, spectrum
from nrcscan.metrics.quantities import learned
from nrcscan.options.check import checked, one_path
from nrcscan.options.cut_options import CutOptions
from nrcscan.options.describe import described
from nrcscan.options.faces import names_keywords
from nrcscan.statistics.moments import Statistics
from nrcscan.wording import printable


@names_keywords
@described(CutOptions)
def between(
    train: str | os.PathLike[str],
    test: str | os.PathLike[str] | None = None,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    **options: Unpack[CutOptions],
) -> Replaceable:
    """Find out which layers of a network one linear map could replace.

    For every two positions, the features that reach the later one are predicted from those that
    reach the earlier one by ridge regression. The ridge is chosen on blocks of TRAIN alone, maps
    and heads are fitted to it; their errors on both files follow from their statistics.

    Args:
        train: file of `nrcscan extract` with cross-covariances, or what it returned.
        test: likewise of other samples of the same network, which maps are judged on; without it,
            parts of TRAIN are judged by maps that are fitted without them.
        on_progress: called with stretches done, and in all, after every one.
        options: see `nrcscan.options.cut_options`.

    Raises:
        InputError: a file cannot be used or holds no cross-covariances, or they are of two
            networks.
        UsageError: both are one file, or an option is out of range.
    """
    chosen = checked(CutOptions, options, "between")
    first, second = one_path(train), None if test is None else one_path(test)
    if second is not None:
        require_two_files(first, second)
    with ExitStack() as files:
        ours = files.enter_context(open_acts(first))
        theirs = None if second is None else files.enter_context(open_acts(second))
        if second is not None and theirs is not None:
            require_one_network(sizes_of(ours), sizes_of(theirs), second)
        return between_of(ours, theirs, chosen["within"], on_progress)


def between_of(
    train: MeasuredActs,
    test: MeasuredActs | None,
    within: float,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Replaceable:
    """Return every stretch of a network that was measured; see `between`."""
    for acts in (train, test):
        if acts is not None:
            _require_cross(acts)
    cuts = cuts_of(train, test, within)
    count = train.n_positions
    still = [_still(train, p) or _still(test or train, p) for p in range(count)]
    job = _Replacing(train, test, within, cuts, prefixes_in(train.provenance), still)
    widest = max(len(train.variances(p)) for p in range(count))
    found: list[Replacement] = []
    with blas_threads(allowed_threads() if widest >= WIDE else 1):
        for start in range(count - 1):
            for stretch in job.beginning_at(start):
                found.append(stretch)
                on_progress(len(found), count * (count - 1) // 2)
    return Replaceable(
        train=train.path,
        test=None if test is None else test.path,
        n_train=train.n_samples,
        n_test=job.judged.n_samples,
        within=within,
        stretches=tuple(found),
        text=concluded_of(found, within, nothing_learned=_nothing_learned(train)),
        notes=notes_on_replaceable(train, test, cuts, job.prefixes),
    )


def _still(acts: MeasuredActs, position: int) -> str | None:
    """Return why the features at a position count as not varying; None where they vary."""
    return unresolved(acts.statistics(position), acts.epsilon)


def _nothing_learned(acts: MeasuredActs) -> bool:
    """Whether the network predicts no better than the mean, as far as its predictions tell."""
    if acts.predictions is None:
        return False
    variance = float(np.trace(acts.target_covariance))
    error = float(acts.predictions.squared_error.sum())
    return not learned(1 - error / variance if variance > 0 else None)


def _require_cross(acts: MeasuredActs) -> None:
    """Refuse a file that does not tell what is between two positions.

    Raises:
        InputError: a file holds no cross-covariances, or is of one depth alone.
    """
    if acts.n_positions < 2:
        raise InputError(
            f"{acts.path}: was measured at one depth, with nothing between two; measure more layers"
        )
    if acts.cross(0, acts.n_positions - 1) is None:
        raise InputError(
            f"{acts.path}: holds no cross-covariances of layers; extract it again with --cross"
        )


@dataclass(frozen=True)
class _Replacing:
    """What all stretches of a network share.

    Attributes:
        train: what maps are fitted to.
        test: what they are judged on; None for parts of the former.
        within: what may be left.
        cuts: of the network: where stretches may end, and the heads there.
        prefixes: what has to run; None where it is not known.
        still: position → why its features count as not varying; None where they vary.
    """

    train: MeasuredActs
    test: MeasuredActs | None
    within: float
    cuts: Cuts
    prefixes: Prefixes | None
    still: Sequence[str | None]

    @property
    def judged(self) -> MeasuredActs:
        """Whose samples maps are judged on."""
        return self.train if self.test is None else self.test

    def beginning_at(self, start: int) -> Iterator[Replacement]:
        """Yield the stretches that begin at a position, the shortest first."""
        statistics = self.train.statistics(start)
        assert isinstance(statistics, Statistics)
        features = spectrum(statistics.feature_covariance)
        for end in range(start + 1, self.train.n_positions):
            yield self._at(start, end, features)

    def _at(self, start: int, end: int, features: Spectrum) -> Replacement:
        """Return the stretch between two positions, of the first of which this is the spectrum."""
        replaced = [one.name for one in self.train.layers if start <= one.position < end]
        reaches, weights = self.cuts.cuts[end].layer, self._weights(start, end)
        bare = Replacement(tuple(replaced), start, end, reaches, weights=weights)
        refused = self._refused(start, end)
        ours, head = statistics_between(self.train, start, end), self.cuts.cuts[end].head
        if refused is not None or ours is None or head is None:
            return replace(bare, refused=refused)
        folded = folded_maps(self.train, (start, end), float(features.values[0]))
        linear = LinearHead.fitted(ours, features, 0.0 if folded is None else folded.ridge)
        fitted = squares(self.train, (start, end), linear, head)
        seen = float(fitted.left / fitted.spread)
        stretch = replace(bare, map=linear, seen=seen)
        if self.test is not None:
            return self._judged(
                stretch, [linear], head, squares(self.test, (start, end), linear, head)
            )
        return stretch if folded is None else self._judged(stretch, folded.maps, head, None)

    def _judged(
        self, stretch: Replacement, maps: list[LinearHead], head: LinearHead, exact: Squares | None
    ) -> Replacement:
        """Return a stretch with what is left of samples that its maps have not seen."""
        blocks = block_squares(self.judged, (stretch.start, stretch.end), maps, head)
        left = SquaresLeft.of(exact, blocks, self.judged.block_targets)
        unexplained, change = left.ratio("left", "spread"), left.change()
        return replace(
            stretch,
            unexplained=unexplained,
            own=left.mean("own"),
            replaced=left.mean("replaced"),
            change=change,
            answer=within_both(unexplained, change, self.within),
        )

    def _refused(self, start: int, end: int) -> str | None:
        """Return why the layers between two positions cannot be replaced; None where they can."""
        for position, verb in ((start, "begins"), (end, "ends")):
            cut = self.cuts.cuts[position]
            if cut.refused is not None:
                return f"it {verb} inside a branch: before {printable(cut.layer)}, {cut.refused}"
            if self.still[position] is not None:
                return f"before {printable(cut.layer)}, {self.still[position]}"
        return None

    def _weights(self, start: int, end: int) -> int | None:
        """Return how many weights the layers between two positions have; None if not known."""
        if self.prefixes is not None:
            before, after = (self.prefixes.positions[p].weights for p in (start, end))
            return None if before is None or after is None else after - before
        layers = self.train.layers
        used_again = any("#" in one.name for one in layers)
        if used_again or any(start < one.position <= end for one in self.train.unmeasured):
            return None
        inside = [i for i, one in enumerate(layers) if start <= one.position < end]
        return int(sum(self.train.weight(i).size for i in inside))
