"""What a pass and a report share: whether measures are wanted beside those of Deep NRC."""

from __future__ import annotations

from typing import Annotated

from nrcscan.options.choices import Measures
from nrcscan.options.option import Option

MeasuresOption = Annotated[
    Measures,
    Option(
        "core",
        help="With all, neighbouring measures too: a pass takes one more covariance of the last"
        " layer for them, and a report shows them.",
        group="Layers",
        shards_may_differ=True,
    ),
]
