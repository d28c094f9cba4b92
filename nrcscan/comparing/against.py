"""One network on two sets of samples, such as those of training and others: what is the gap?"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Unpack

from nrcscan.merging.two_sets import TARGETS, doubts, require_one_network, require_two_files
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.options.check import checked, one_path
from nrcscan.options.describe import described
from nrcscan.options.faces import names_keywords
from nrcscan.options.report_options import ReportOptions
from nrcscan.reporting.layer_result import LayerResult
from nrcscan.reporting.make_report import report_at
from nrcscan.reporting.report_document import Report

SCHEMA = "nrcscan.against/1"


@dataclass(frozen=True)
class Gap:
    """By how much a number differs between two sets of samples.

    Attributes:
        train: on the first.
        test: on the second.
        standard_error: of the difference; None where that of a side is not known.
    """

    train: float
    test: float
    standard_error: float | None

    @property
    def value(self) -> float:
        """The second less the first."""
        return self.test - self.train

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "train": self.train,
            "test": self.test,
            "gap": self.value,
            "standard_error": self.standard_error,
        }


@dataclass(frozen=True)
class TrainTest:
    """A network's reports on two sets of samples.

    Attributes:
        train: on the samples of training.
        test: on others.
        notes: what keeps the two from being compared number by number.
    """

    train: Report
    test: Report
    notes: tuple[str, ...]

    @property
    def model(self) -> dict[str, Gap]:
        """The gaps of `mse` and `r2`, where both are defined."""
        sides = (self.train, self.test)
        found = {
            "mse": _gap([(one.mse, one.mse_error) for one in sides]),
            "r2": _gap([(one.r2, one.r2_error) for one in sides]),
        }
        return {name: gap for name, gap in found.items() if gap is not None}

    def layers(self) -> Iterator[tuple[LayerResult, dict[str, Gap]]]:
        """Yield every layer as it is on the first samples, with quantity → gap."""
        for ours, theirs in zip(self.train.layers, self.test.layers, strict=True):
            found = {
                quantity: _gap(
                    [
                        (one.metrics.get(quantity), one.metrics.standard_errors.get(quantity))
                        for one in (ours, theirs)
                    ]
                )
                for quantity in QUANTITIES
            }
            yield ours, {name: gap for name, gap in found.items() if gap is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it; see docs/report-json.md."""
        return {
            "schema": SCHEMA,
            "model": {name: gap.to_dict() for name, gap in self.model.items()},
            "layers": [
                {"name": layer.name, "gaps": {q: gap.to_dict() for q, gap in gaps.items()}}
                for layer, gaps in self.layers()
            ],
            "notes": list(self.notes),
            "train": self.train.to_dict(),
            "test": self.test.to_dict(),
        }


@names_keywords
@described(ReportOptions)
def against(
    train: str | os.PathLike[str], test: str | os.PathLike[str], **options: Unpack[ReportOptions]
) -> TrainTest:
    """Put the reports of one network on two sets of samples side by side.

    Args:
        train: file of `nrcscan extract` on the samples of training, or what it returned.
        test: likewise on others; k is that of the first.
        options: see `nrcscan.options.report_options`.

    Raises:
        InputError: a file cannot be used, or they are of two networks.
        UsageError: both are one file, or an option is out of range.
    """
    chosen = checked(ReportOptions, options, "report")
    first, second = one_path(train), one_path(test)
    require_two_files(first, second)
    ours = report_at(first, chosen)
    chosen["signal_dim"] = ours.signal_dim
    theirs = report_at(second, chosen)
    theirs = replace(theirs, signal_dim_source=ours.signal_dim_source)
    require_one_network(_sizes(ours), _sizes(theirs), second)
    return TrainTest(ours, theirs, tuple(doubts(ours.provenance, theirs.provenance)))


def _gap(sides: list[tuple[float | None, float | None]]) -> Gap | None:
    (train, train_error), (test, test_error) = sides
    if train is None or test is None:
        return None
    error = None
    if train_error is not None and test_error is not None:
        error = math.hypot(train_error, test_error)
    return Gap(train, test, error)


def _sizes(report: Report) -> list[tuple[str, int]]:
    return [*((layer.name, layer.width) for layer in report.layers), (TARGETS, report.n_targets)]
