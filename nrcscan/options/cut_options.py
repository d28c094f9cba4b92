"""Every option of a cut, declared once."""

from __future__ import annotations

from typing import Annotated, TypedDict

from nrcscan.options.option import Option


class CutOptions(TypedDict, total=False):
    """When a cut network does as well as the whole one."""

    within: Annotated[
        float,
        Option(
            0.05,
            help="A cut does as well up to this share of the network's own error above it.",
            minimum=0,
            maximum=1,
            metavar="SHARE",
            group="Judgement",
        ),
    ]
