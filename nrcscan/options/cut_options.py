"""Every option of judging cuts, declared once."""

from __future__ import annotations

from typing import Annotated, TypedDict

from nrcscan.options.option import Option


class CutOptions(TypedDict, total=False):
    """When a cut does as well as the whole network."""

    within: Annotated[
        float,
        Option(
            0.05,
            help="A cut does as well where its held-out error exceeds the network's by no more"
            " than this share of it.",
            metavar="SHARE",
            shown_default="5%",
            minimum=0,
            maximum=1,
            share=True,
            group="Judgement",
        ),
    ]
