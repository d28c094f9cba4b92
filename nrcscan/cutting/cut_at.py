"""The cut at one position: its head, its errors on both sets of samples, what it keeps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nrcscan.acts_file.kept_in_memory import MeasuredActs
from nrcscan.acts_file.prefixes import Prefix, Prefixes
from nrcscan.acts_file.schema import LayerRecord
from nrcscan.cutting.cuts import Cut, Estimate
from nrcscan.cutting.linear_head import LinearHead
from nrcscan.cutting.ridge_by_blocks import block_errors, chosen_ridge
from nrcscan.metrics.directions import spectrum
from nrcscan.metrics.jackknife import standard_error
from nrcscan.statistics.blocks import Targets
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.verdict.answers import Answer, sure_side
from nrcscan.verdict.depth import are_inputs

TOKENS = "every token counts as a sample here; measure with another --pool"
SKETCHED = "only a sketch of its features' covariance is kept; measure without --sketch"


@dataclass(frozen=True)
class Cutting:
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
            answer=_answer(change, self.within),
            block_errors=errors,
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


def own_error(acts: MeasuredActs) -> Estimate | None:
    """Return the network's own error."""
    if acts.predictions is None:
        return None
    targets = acts.block_targets
    known = targets is not None and targets.squared_error is not None
    blocks = (targets.squared_error, targets) if targets is not None and known else None
    return _estimate(acts.predictions.squared_error, blocks)  # type: ignore[arg-type]


def _change(held_out: Estimate, errors: Array | None, acts: MeasuredActs) -> Estimate | None:
    """Return by how much an error is above the network's own, as a share of it."""
    own, targets = own_error(acts), acts.block_targets
    if own is None:
        return None
    theirs = None if targets is None else targets.squared_error
    return beside(held_out, errors, own, theirs, targets)


def beside(
    one: Estimate,
    errors: Array | None,
    other: Estimate,
    other_errors: Array | None,
    targets: Targets | None,
) -> Estimate | None:
    """Return by how much an error is above another on the same samples, as a share of that.

    Args:
        one: of all samples.
        errors: of blocks of them (B, t), None where these are not known.
        other: likewise, of what it is compared with; of no error there is no share.
        other_errors: likewise.
        targets: the blocks.
    """
    if not other.value > 0:
        return None
    value = one.value / other.value - 1
    if errors is None or other_errors is None or targets is None:
        return Estimate(value)
    above, below = (targets.left_out(e.mean(axis=1)) for e in (errors, other_errors))
    if not (below > 0).all():
        return Estimate(value)
    return Estimate(value, standard_error(value, above / below - 1, targets.n_samples))


def _answer(change: Estimate | None, within: float) -> Answer:
    if change is None:
        return Answer.NOT_JUDGED
    return sure_side(within - change.value, change.standard_error or 0.0)


def _cost(prefix: Prefix | None, head: LinearHead) -> tuple[int | None, int | None]:
    """Return the weights and multiply-adds of a prefix with a head, where they are known."""
    known = (None, None) if prefix is None else (prefix.weights, prefix.multiply_adds)
    weights, adds = (None if one is None else one + head.n_weights for one in known)
    return weights, adds
