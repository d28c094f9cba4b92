"""Every option on what a scan is judged by, declared once; a settings file may give them too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypedDict

from nrcscan.options.choices import Gate
from nrcscan.options.option import Option


class GateOptions(TypedDict, total=False):
    """What must hold, and for which checkpoints."""

    require: Annotated[
        Sequence[str],
        Option(
            (),
            help="What must hold, such as 'onset.all <= layers[-2]' or 'model.r2 >= 0.9'.",
            metavar="RULE",
            group="Judgement",
        ),
    ]
    gate: Annotated[
        Gate | None,
        Option(
            help="Judge the newest checkpoint of a run, or all.",
            shown_default="newest",
            group="Judgement",
        ),
    ]
    baseline: Annotated[
        str | Path | None,
        Option(
            help="An earlier scan, than which none may be worse.",
            metavar="SCAN.JSON",
            group="Judgement",
        ),
    ]
    tolerance: Annotated[
        float | None,
        Option(
            help="By how much it may be, from 0 to 1.",
            minimum=0,
            maximum=1,
            shown_default="0.01",
            group="Judgement",
        ),
    ]
