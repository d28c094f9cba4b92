"""How long a checkpoint may take: the same for one as for each of many."""

from __future__ import annotations

from typing import Annotated, TypedDict

from nrcscan.options.option import Option

TimeoutOption = Annotated[
    float | None,
    Option(
        help="Give up a checkpoint after so long, opening it and the data included.",
        above=0,
        unit="seconds",
        metavar="SECONDS",
        group="Cost",
        changes_numbers=False,
    ),
]


class TimeoutOptions(TypedDict, total=False):
    """What the command line has for one checkpoint, and a function of Python cannot see to."""

    timeout: TimeoutOption
