"""What travels between a scan and its workers. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

from nrcscan.network.guess import Guess
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.report_options import ReportOptions


@dataclass(frozen=True)
class Setup:
    """What is the same for every checkpoint of a scan.

    Attributes:
        data: where it comes from.
        settings: of a pass.
        judgement: options of a report.
        statistics: the folder of statistics files.
        measures: whether there is anything to measure, or only reports to be made.
        within: how far above the network's error a cut may be; None where none are looked at.
        scan: unlike that of every other scan, whose workers may have run other code.
    """

    data: Any
    settings: PassOptions
    judgement: ReportOptions
    statistics: Path
    measures: bool
    within: float | None = None
    scan: str = field(default_factory=partial(token_hex, 8))


@dataclass(frozen=True)
class Inference:
    """What a checkpoint alone tells of what its weights do not.

    Attributes:
        architecture: the names and shapes of its weights, as a hash.
        best: the guess that explains the first samples best.
        r2: of it and of the next best, best first.
        doubtful: whether it may be another network even so.
    """

    architecture: str
    best: Guess
    r2: tuple[tuple[Guess, float], ...]
    doubtful: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, held: Mapping[str, Any]) -> Inference:
        """Return it as it was before it was JSON.

        Raises:
            LookupError, TypeError, ValueError: it is none.
        """
        return cls(
            str(held["architecture"]),
            Guess(**held["best"]),
            tuple((Guess(**guess), float(r2)) for guess, r2 in held["r2"]),
            bool(held["doubtful"]),
        )


@dataclass(frozen=True)
class Task:
    """One checkpoint.

    Attributes:
        path: where it is.
        key: the name of its statistics.
        sha256: of its content when it was found; None when it is of several files.
        guess: what its network is to be inferred as; None where it tells best itself.
    """

    path: Path
    key: str
    sha256: str | None
    guess: Guess | None = None


@dataclass(frozen=True)
class DataQuestion:
    """Asks for the SHA-256 of the data itself, which only reading it tells."""


@dataclass(frozen=True)
class Outcome:
    """What became of a checkpoint.

    Attributes:
        problem: why there is no result; None when there is one.
        skipped: whether that is because it is no network at all.
        epoch: as the checkpoint's own keys tell it, or None.
        step: likewise.
        data: what tells the samples from others; None where there is no result.
        result: what a scan keeps of the report, as JSON has it.
        inference: of an inferred network, what this checkpoint tells of it; else None.
    """

    problem: str | None = None
    skipped: bool = False
    epoch: int | None = None
    step: int | None = None
    data: Mapping[str, Any] | None = None
    result: Mapping[str, Any] | None = None
    inference: Inference | None = None


class Died(Exception):
    """A worker's process ended before it answered."""


class TookTooLong(Exception):
    """A worker did not answer in time, and was ended."""
