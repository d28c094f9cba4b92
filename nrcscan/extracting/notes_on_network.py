"""What the user should know of how a network came about, and of how it does on the data."""

from __future__ import annotations

from collections.abc import Iterator

from nrcscan.extracting.accumulate import Accumulated
from nrcscan.metrics.quantities import learned
from nrcscan.network.build import Network


def of_network(network: Network) -> Iterator[str]:
    """Yield what the user should know of how the network came about."""
    yield from network.notes
    yield from network.precision
    if network.inferred:
        yield (
            f"network inferred from the weights: {network.layout}; the activation cannot be read"
            " from them and is --activation's choice"
        )


def doubts(r2: float | None, accumulated: Accumulated, *, inferred: bool) -> Iterator[str]:
    """Yield what rounding does to inputs, and what a network that explains nothing suggests."""
    if (rounded := accumulated.rounding.told()) is not None:
        yield rounded
    if r2 is None or learned(r2):
        return
    if rounded is None and accumulated.far_from_unit_scale:
        yield (
            f"R² is {r2:.3g} and the inputs are far from unit scale ({accumulated.input_range}):"
            " if the network was trained on standardised data, use --standardize"
        )
    if inferred:
        yield (
            f"the inferred network explains nothing (R² = {r2:.3g}): if it was trained, the"
            " inference is wrong; try --activation, or name its factory with --model"
        )
