"""Every option of writing a cut network, declared once: which cut, and how the whole is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypedDict

from nrcscan.options.option import Option


class CutNetworkOptions(TypedDict, total=False):
    """Which cut is written, and what has to be said of the network anew."""

    before: Annotated[
        str | None,
        Option(
            help="Cut before this layer; by default the smallest cut that does as well.",
            metavar="LAYER",
            group="Network",
        ),
    ]
    trust: Annotated[
        bool,
        Option(
            False,
            help="Open a checkpoint that can run code as it loads.",
            flag="--trust",
            in_file=False,
            group="Network",
        ),
    ]
    run_script: Annotated[
        bool,
        Option(
            False,
            help="Import your code though that does more than define things, such as train.",
            flag="--run-script",
            group="Network",
        ),
    ]
    pythonpath: Annotated[
        str | Path | None,
        Option(
            help="Where a trusted checkpoint finds its classes.",
            metavar="DIR",
            group="Network",
        ),
    ]
