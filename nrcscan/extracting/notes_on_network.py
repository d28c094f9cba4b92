"""What the user should know of how a network came about, and of how it does on the data."""

from __future__ import annotations

from collections.abc import Iterator

from nrcscan.acts_file.schema import OutputStatistics
from nrcscan.extracting.accumulate import Accumulated
from nrcscan.metrics.quantities import learned
from nrcscan.network.build import Network


def of_network(network: Network) -> Iterator[str]:
    """Yield what the user should know of how the network came about."""
    yield from network.notes
    if network.inferred:
        yield (
            f"network inferred from the weights: {network.layout}; the activation cannot be read"
            " from them and is --activation's choice"
        )


def without_predictions(*, asked: bool) -> str:
    """Say what is not judged of a network that makes no predictions."""
    why = (
        "as asked"
        if asked
        else "it returns last_hidden_state, as an encoder without a head; where that is its"
        " prediction, say --output-key last_hidden_state"
    )
    return f"the network is measured without predictions: R² and NRC4 are not judged ({why})"


def doubts(
    outcome: OutputStatistics,
    accumulated: Accumulated,
    *,
    asked: bool,
    inferred: bool,
    indices: bool,
) -> Iterator[str]:
    """Yield what a network that explains nothing, or predicts nothing, suggests.

    Args:
        outcome: of its predictions.
        asked: whether predictions were asked for.
        accumulated: what was seen of the inputs.
        inferred: whether the network was guessed.
        indices: whether whole numbers among the inputs are indices, such as tokens, which have
            no scale.
    """
    if outcome.predictions is None:
        yield without_predictions(asked=not asked)
    r2 = outcome.r2
    if r2 is None or learned(r2):
        return
    if accumulated.far_from_unit_scale and not (indices and accumulated.whole_inputs):
        yield (
            f"R² is {r2:.3g} and the inputs are far from unit scale ({accumulated.input_range}):"
            " if the network was trained on standardised data, use --standardize"
        )
    if inferred:
        yield (
            f"the inferred network explains nothing (R² = {r2:.3g}): if it was trained, the"
            " inference is wrong; try --activation, or name its factory with --model"
        )
