"""One network on two sets of samples, such as those of training and others: what is the gap?"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from nrcscan.errors import InputError, UsageError
from nrcscan.merging.check_parts import fingerprint, rows, section, sources_of
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.options.check import checked, one_path
from nrcscan.options.describe import described
from nrcscan.options.faces import names_keywords
from nrcscan.options.report_options import ReportOptions
from nrcscan.reporting.layer_result import LayerResult
from nrcscan.reporting.make_report import report_at
from nrcscan.reporting.report_document import Report
from nrcscan.wording import some

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
    if first.exists() and second.exists() and first.samefile(second):
        raise UsageError(f"{second}: is the file itself; give that of other samples to --against")
    ours = report_at(first, chosen)
    chosen["signal_dim"] = ours.signal_dim
    theirs = report_at(second, chosen)
    theirs = replace(theirs, signal_dim_source=ours.signal_dim_source)
    _require_alike(ours, theirs, second)
    return TrainTest(ours, theirs, tuple(_doubts(ours, theirs)))


def _gap(sides: list[tuple[float | None, float | None]]) -> Gap | None:
    (train, train_error), (test, test_error) = sides
    if train is None or test is None:
        return None
    error = None
    if train_error is not None and test_error is not None:
        error = math.hypot(train_error, test_error)
    return Gap(train, test, error)


def _require_alike(ours: Report, theirs: Report, path: Path) -> None:
    """Refuse two networks.

    Raises:
        InputError: the layers or the number of targets differ.
    """
    a, b = ([(layer.name, layer.width) for layer in one.layers] for one in (ours, theirs))
    if a != b or ours.n_targets != theirs.n_targets:
        unlike = [name for name, _ in dict.fromkeys([*set(a) ^ set(b)])] or ["the targets"]
        raise InputError(
            f"{path}: is of another network ({some(sorted(unlike))} differ); measure the same one"
            " on both sets of samples, or put two networks side by side with nrcscan compare"
        )


def _doubts(ours: Report, theirs: Report) -> Iterator[str]:
    """Yield what keeps the numbers from being compared."""
    one, two = (section(r.provenance, "checkpoint").get("sha256") for r in (ours, theirs))
    if one and two and one != two:
        yield "the two files are of different checkpoints (by their SHA-256)"
    shared = {
        fingerprint(a)
        for a in sources_of(ours.provenance)
        for b in sources_of(theirs.provenance)
        if fingerprint(a) is not None and fingerprint(a) == fingerprint(b) and _meet(a, b)
    }
    if shared:
        yield "the two files share samples: the gap is smaller than that to new samples"


def _meet(one: dict[str, Any], two: dict[str, Any]) -> bool:
    (a, b), (c, d) = rows(one), rows(two)
    return a < d and c < b
