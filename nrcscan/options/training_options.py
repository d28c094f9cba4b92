"""Every option of measuring while a network trains, declared once."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from nrcscan.options.option import Option
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.report_options import ReportOptions


class TrainingOptions(TypedDict, total=False):
    """When a network is measured as it trains, on what, and what follows."""

    every: Annotated[
        int,
        Option(
            20,
            help="Measure after epochs whose number it divides, and at the end of training.",
            flag="",
            minimum=1,
        ),
    ]
    samples: Annotated[
        int,
        Option(2048, help="How many samples are measured on, at most.", flag="", minimum=2),
    ]
    draw: Annotated[
        Literal["random", "first"],
        Option(
            "random",
            help="Which samples of the data: drawn once, kept in their order, or the first ones;"
            " these too where it is not known how many there are.",
            flag="",
        ),
    ]
    seed: Annotated[
        int,
        Option(0, help="What the drawn samples depend on, and nothing else.", minimum=0, flag=""),
    ]
    stop: Annotated[
        str | None,
        Option(
            help="A rule as in docs/ci.md: training is to stop once it holds. What is undecided or"
            " undefined stops nothing.",
            flag="",
        ),
    ]
    existing: Annotated[
        Literal["refuse", "continue", "replace"],
        Option(
            "refuse",
            help="What becomes of the history that an earlier training left in the output.",
            flag="",
        ),
    ]
    errors: Annotated[
        Literal["record", "raise"],
        Option(
            "record",
            help="Whether a network that cannot be measured, as it has diverged, is an entry with"
            " its reason, or ends training.",
            flag="",
        ),
    ]


class MonitorOptions(TrainingOptions, PassOptions, ReportOptions, total=False):
    """Every option of measuring while a network trains."""
