"""What the user should know of how a network came about, and of how it does on the data."""

from __future__ import annotations

from collections.abc import Iterator

from nrcscan.extracting.accumulate import Accumulated
from nrcscan.metrics.quantities import learned
from nrcscan.network.build import Network
from nrcscan.network.chain import Chain
from nrcscan.network.guess import Guess
from nrcscan.network.try_guesses import Trial
from nrcscan.verdict.doubtful_network import clearly_worse
from nrcscan.wording import listed


def of_inference(network: Network) -> Iterator[str]:
    """Yield what a network was taken to be, on which evidence; nothing if it was not inferred."""
    if network.chain is not None:
        yield _inferred(network, network.chain)


def _inferred(network: Network, chain: Chain) -> str:
    told = f"network inferred from the weights: {network.layout}"
    if not chain.guesses or network.settled is None:
        return f"{told}; assumed: a single layer, and nothing after it"
    taken, trial = network.settled, network.trial
    order = f"{chain.order}, " if chain.order else ""
    assumed = f"{order}no skip connections, nothing after the last layer"
    if trial is None:
        return f"{told}; assumed: {taken}, {assumed}"
    if not trial.r2:
        return (
            f"DOUBTFUL GUESS: {trial.untried}, so nothing could be tried: {told};"
            f" assumed: {taken}, {assumed}; choose with --activation"
        )
    others = len(chain.guesses) > len(trial.r2)
    run = "" if taken == trial.best else " as in its run"
    tried = f"on the first {trial.n_samples} samples {_explained(trial, others=others)}"
    told = f"{told}; {tried}: using {taken}{run}; assumed: {assumed}"
    doubt = _doubt(trial, taken)
    if doubt is None:
        return told
    step = "choose with --activation, or name the network's factory with --model"
    if trial.scale is not None:
        step = f"use {trial.scale}, or the scales of training with --scales"
    elif trial.rival is not None:
        step = "name the network's factory with --model"
    return f"DOUBTFUL GUESS: {doubt}: {told}; {step}"


def without_predictions(*, asked: bool) -> str:
    """Say what is not judged of a network that makes no predictions."""
    why = (
        "as asked"
        if asked
        else "it returns last_hidden_state, as an encoder without a head; where that is its"
        " prediction, say --output-key last_hidden_state"
    )
    return f"the network is measured without predictions: R² and NRC4 are not judged ({why})"


def _doubt(trial: Trial, taken: Guess) -> str | None:
    """Say why what a network was taken to be may be wrong, or None."""
    if trial.rival is not None:
        what = "no plain chain" if trial.scale is None else "for data on another scale"
        return f"it may be {what}, as {trial.rival} explains {_share(trial.rival_r2)}"
    if taken != trial.best:
        worse = clearly_worse(1 - trial.r2[taken], 1 - trial.r2[trial.best], 1.0)
        if not trial.explains or not worse:  # one that is hardly trained tells nothing
            return None
        return f"other checkpoints of its run speak for {taken}, this one for {trial.best}"
    if not trial.explains:
        return "nothing that was tried explains half of the targets' variance"
    if trial.tied and trial.matters:
        return f"{listed([trial.best, *trial.tied])} cannot be told apart"
    return None


def _explained(trial: Trial, *, others: bool) -> str:
    """Return how much the best guesses explain, such as "tanh explains 0.989, elu 0.967"."""
    (best, r2), *rest = trial.r2.items()
    shown = [f"{best} explains {_share(r2)}"]
    for guess, value in rest:
        alike = " (not told apart)" if guess in trial.tied else ""
        shown.append(f"{guess} {_share(value)}{alike}")
    return ", ".join(shown) + (", others less" if others else "")


def _share(r2: float | None) -> str:
    if r2 is None or r2 < -100:
        return "nothing"
    return f"{r2:.3f}".replace("-0.000", "0.000")


def off_scale(r2: float | None, accumulated: Accumulated, *, indices: bool) -> Iterator[str]:
    """Yield what rounding does to inputs; or, where nothing is explained, that their scale is off.

    Args:
        r2: of the network's predictions.
        accumulated: what was seen of the inputs.
        indices: whether whole numbers among the inputs are indices, such as tokens, which have
            no scale.
    """
    rounded = accumulated.rounding.told()
    if rounded is not None:
        yield rounded
        return
    if r2 is None or learned(r2):
        return
    if accumulated.far_from_unit_scale and not (indices and accumulated.whole_inputs):
        yield (
            f"R² is {r2:.3g} and the inputs are far from unit scale ({accumulated.input_range}):"
            " if the network was trained on standardised data, use --standardize"
        )
