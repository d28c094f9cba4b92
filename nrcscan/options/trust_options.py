"""What has to be said each time that a user's own code is to run: no file says it for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from nrcscan.options.option import Option

TrustOption = Annotated[
    bool,
    Option(
        False,
        help="Open a checkpoint that can run code as it loads.",
        flag="--trust",
        in_file=False,  # who runs the command decides on that, not what lies in a folder
        group="Network",
        shards_may_differ=True,
    ),
]

RunScriptOption = Annotated[
    bool,
    Option(
        False,
        help="Import your code though that does more than define things, such as train.",
        flag="--run-script",
        group="Network",
        changes_numbers=False,
    ),
]

PythonPathOption = Annotated[
    str | Path | None,
    Option(
        help="Where a trusted checkpoint finds its classes.",
        metavar="DIR",
        group="Network",
        shards_may_differ=True,
    ),
]
