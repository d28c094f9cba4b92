"""Settles on the first samples what weights do not tell of an inferred network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from nrcscan.errors import NrcscanError
from nrcscan.inputs.datasets.batches import Batch, Dataset
from nrcscan.network.build import Network
from nrcscan.network.chain import ChainModule
from nrcscan.network.forward import Forward
from nrcscan.network.try_guesses import Trial, samples_for, tried
from nrcscan.options.pass_options import PassOptions


def trial_of(
    network: Network,
    run: Forward,
    dataset: Dataset,
    settings: PassOptions,
    batches: Iterator[Batch],
) -> tuple[Trial | None, Iterator[Batch]]:
    """Try what is open about a network, and return what came of it and the batches to go on with.

    It is the first samples of the data that are tried, whatever --offset and --limit say, so that
    all shards of one file make the same guess; data that can be read only once gives its own.

    Returns:
        The trial, or None where nothing is open or can be chosen; and all batches of the pass.
    """
    open_ = network.chain is not None and len(network.chain.guesses) > 1
    if network.chain is None or not open_ or not isinstance(network.module, ChainModule):
        return None, batches
    wanted = samples_for(network.chain)
    limit, offset = settings["limit"], settings["offset"]
    if dataset.once or (offset == 0 and (limit is None or limit >= wanted)):
        first = list(_first(batches, wanted))
        batches = chain(first, batches)
    else:
        first = _of_all(dataset, settings, wanted)
    return tried(run, network.chain, first, network.settled), batches


def settled(network: Network, trial: Trial | None) -> Network:
    """Return a network as a trial settles it, its module arranged accordingly."""
    if network.chain is None or not network.chain.guesses:
        return network
    best = network.chain.guesses[0] if trial is None else trial.best
    guess = network.settled or best
    if isinstance(network.module, ChainModule):
        network.module.take(guess)
    return replace(
        network,
        settled=guess,
        trial=trial,
        layout=network.chain.layout(guess),
        source=f"inferred from the weights, with {guess}",
    )


def _first(batches: Iterator[Batch], wanted: int) -> Iterator[Batch]:
    """Yield batches, no more than it takes to have so many samples."""
    there = 0
    while there < wanted and (batch := next(batches, None)) is not None:
        yield batch
        there += len(batch[1])


def _of_all(dataset: Dataset, settings: PassOptions, wanted: int) -> list[Batch]:
    """Return the first samples of the data, or of those asked for if the others are not usable."""
    try:
        return list(dataset.batches(wanted, wanted))
    except NrcscanError:
        limit = settings["limit"]
        own = wanted if limit is None else min(wanted, limit)
        return list(dataset.batches(wanted, own, settings["offset"]))
