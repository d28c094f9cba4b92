"""Every option of writing a cut network, declared once: which cut, and how the whole is opened."""

from __future__ import annotations

from typing import Annotated, TypedDict

from nrcscan.options.option import Option
from nrcscan.options.trust_options import PythonPathOption, RunScriptOption, TrustOption


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
    trust: TrustOption
    run_script: RunScriptOption
    pythonpath: PythonPathOption
