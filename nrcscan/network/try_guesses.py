"""Tries on the first samples what weights do not tell of an inferred network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from nrcscan.inputs.arrays import each, joined
from nrcscan.inputs.datasets.batches import Batch
from nrcscan.network.chain import Chain, ChainModule, linear_shapes
from nrcscan.network.forward import Forward
from nrcscan.network.guess import Guess
from nrcscan.statistics.moments import Array
from nrcscan.verdict.doubtful_network import EXPLAINS, MATTERS, clearly_worse

MOST_SAMPLES = 512
"""So many of the first samples are tried, or fewer by a network whose products are many."""

LEAST_SAMPLES = 64
PRODUCTS = 1e9
"""Multiply-adds of the network on all of them that a trial may take, as long as that holds."""

SCREENED = 8
"""On every so many-th of these all guesses are tried first, and on all of them the best few."""

FINALISTS = 3

WITHIN = 0.95
"""Of the targets, so many lie in the range of a function that was after the output."""

_AFTER_OUTPUT: dict[str, tuple[Callable[[Tensor], Tensor], float, float]] = {
    "tanh": (torch.tanh, -1, 1),
    "sigmoid": (torch.sigmoid, 0, 1),
    "relu": (torch.relu, 0, np.inf),
    "softplus": (softplus, 0, np.inf),
    "exp": (torch.exp, 0, np.inf),
}

NEAR = 1.1
"""Guesses whose errors are within this factor are as good as each other."""

SURE = 2.0
"""Standard errors of the mean by which two guesses' squared errors differ if they differ."""


@dataclass(frozen=True)
class Trial:
    """What came of trying guesses.

    Attributes:
        n_samples: on how many of the first samples; 0 where nothing could be tried.
        best: what explains them best; of what predicts the same, the most usual.
        r2: of the best few guesses, best first; empty where nothing could be told.
        tied: those besides the best that cannot be told from it.
        matters: whether one of them predicts otherwise than the best.
        rival: what else explains clearly more, in words; else None.
        rival_r2: how much.
        scale: the option that puts the data on the scale on which it does, where that is it.
        untried: why nothing could be tried, where that is so.
    """

    n_samples: int
    best: Guess
    r2: dict[Guess, float]
    tied: tuple[Guess, ...] = ()
    matters: bool = False
    rival: str | None = None
    rival_r2: float | None = None
    scale: str | None = None
    untried: str | None = None

    @property
    def explains(self) -> bool:
        """Whether the best guess explains what a trained network should."""
        return bool(self.r2) and self.r2[self.best] >= EXPLAINS


def samples_for(chain: Chain) -> int:
    """Return how many of the first samples a chain is tried on."""
    return max(LEAST_SAMPLES, min(MOST_SAMPLES, int(PRODUCTS // chain.n_products)))


def tried(run: Forward, chain: Chain, batches: Sequence[Batch], also: Guess | None) -> Trial:
    """Return how much of the targets every guess explains, on the first samples.

    The result depends on nothing but the network and the samples: one thread does it.

    Args:
        run: the network, in its evaluation mode; which guess it is at the end is not defined.
        chain: what is open about it.
        batches: of the first samples.
        also: a guess that is among the best few in any case.
    """
    assert isinstance(run.module, ChainModule)
    taken = also or chain.guesses[0]
    if run.output.wanted is False:
        return Trial(0, taken, {}, untried="without predictions")
    x = joined([x for x, _ in batches])
    y = np.concatenate([y for _, y in batches])
    n = min(len(y), samples_for(chain))
    variance = float(y[:n].var(axis=0).sum())
    if n < 2 or not variance > 0:
        return Trial(0, taken, {}, untried="the targets of the first samples do not vary")
    with _one_thread():
        few = _Scores(run, each(x, lambda part: part[:n:SCREENED]), y[:n:SCREENED])
        ranked = sorted(chain.guesses, key=few.mse)  # the most usual first among equals
        finalists = ranked[:FINALISTS]
        if also is not None and also not in finalists:
            finalists.append(also)
        every = _Scores(run, each(x, lambda part: part[:n]), y[:n])
        finalists.sort(key=every.mse)
        top = finalists[0]
        near = [g for g in finalists if every.mse(g) <= NEAR * every.mse(top)]
        same = [g for g in near if every.apart(top, g) <= MATTERS * variance]
        best = min(same or [top], key=chain.guesses.index)
        tied = tuple(g for g in finalists if g != best and (g in near or every.alike(top, g)))
        r2 = {g: every.r2(g) for g in dict.fromkeys([best, *finalists])}
        matters = any(every.apart(best, g) > MATTERS * variance for g in tied)
        found = Trial(n, best, r2, tied, matters)
        return _beside_scales(_beside_rivals(found, few, every, chain, variance), few, every, chain)


class _Scores:
    """Squared errors of guesses on some samples."""

    def __init__(self, run: Forward, x: Any, y: Array) -> None:
        self._run, self._x, self.y = run, x, y
        self._inputs = run.inputs(x, 0)
        self._kept: dict[Guess, Array] = {}

    def mse(self, guess: Guess) -> float:
        """Return the mean over samples, summed over targets."""
        if guess not in self._kept:
            self._kept[guess] = self._errors(guess, lambda network, x: network(x))
        return _mean(self._kept[guess])

    def r2(self, guess: Guess) -> float:
        """Return the share of the targets' variance that a guess explains."""
        return 1 - self.mse(guess) / float(self.y.var(axis=0).sum())

    def standardized(self, axes: str) -> _Scores | None:
        """Return the scores on standardised data; None for inputs that have no scale."""
        x, y = self._x, self.y
        if "x" in axes:
            if not isinstance(x, np.ndarray) or not np.issubdtype(x.dtype, np.floating):
                return None
            x = _standardized(x)
        if "y" in axes:
            y = _standardized(y)
        return _Scores(self._run, x, y)

    def with_skips(self, guess: Guess) -> Array:
        """Return errors with a skip connection around every layer that keeps its width."""
        return self._errors(guess, _with_skips)

    def after_output(self, guess: Guess, function: Callable[[Tensor], Tensor]) -> Array:
        """Return errors with a function after the output."""
        self.mse(guess)
        return function(torch.from_numpy(self._kept[guess] + self.y)).numpy() - self.y

    def _errors(self, guess: Guess, call: Callable[[ChainModule, Tensor], Tensor]) -> Array:
        """Return predictions less targets (n, n_targets); infinite where it does not run."""
        network = self._run.module
        assert isinstance(network, ChainModule)
        network.take(guess)
        try:
            output = call(network, self._inputs)
        except RuntimeError:  # an activation that this device has not in this precision
            return np.full(self.y.shape, np.inf)
        predictions = self._run.output.predictions(output, len(self.y), self.y.shape)
        assert predictions is not None  # a chain makes some, and they are wanted
        return np.nan_to_num(predictions - self.y, nan=np.inf, posinf=np.inf, neginf=-np.inf)

    def alike(self, best: Guess, other: Guess) -> bool:
        """Whether samples do not tell a guess from the one of the least error."""
        ours, theirs = self._kept[best], self._kept[other]
        if not np.isfinite(theirs).all():
            return False
        more = (theirs**2 - ours**2).sum(axis=1)
        return bool(more.mean() <= SURE * more.std() / np.sqrt(len(more)))

    def apart(self, one: Guess, two: Guess) -> float:
        """Return the mean square of what two guesses predict apart, summed over targets."""
        with np.errstate(invalid="ignore"):  # of what is infinite in both
            return _mean(self._kept[one] - self._kept[two])


def _beside_scales(trial: Trial, few: _Scores, every: _Scores, chain: Chain) -> Trial:
    """Return a trial that names the scale of the data on which the network explains what it should.

    A network that was trained on standardised data explains nothing of the same data as it is.
    """
    if trial.explains:
        return trial
    for axes in ("y", "x", "x,y"):
        screened, scaled = few.standardized(axes), every.standardized(axes)
        if screened is None or scaled is None:
            continue
        finalists = sorted(chain.guesses, key=screened.mse)[:FINALISTS]
        least = min(map(scaled.mse, finalists))
        near = [guess for guess in finalists if scaled.mse(guess) <= NEAR * least]
        guess = min(near, key=chain.guesses.index)  # the most usual
        r2 = scaled.r2(guess)
        error = 1 - (EXPLAINS if trial.rival_r2 is None else trial.rival_r2)
        if (1 - r2) * (NEAR if trial.rival else 1) <= error:
            words = f"{guess} with --standardize {axes}"
            trial = replace(trial, rival=words, rival_r2=r2, scale=f"--standardize {axes}")
    return trial


def _beside_rivals(
    trial: Trial, few: _Scores, every: _Scores, chain: Chain, variance: float
) -> Trial:
    """Return a trial that names what else than a plain chain explains clearly more."""
    own = every.mse(trial.best)
    # A chain that explains nearly all was tried with the right activation, or with a close one.
    guesses = (trial.best,) if own < 0.1 * variance else chain.guesses
    found = (np.inf, "")
    for words, errors_of in _rivals(chain, every.y):
        errors = [_mean(errors_of(few, guess)) for guess in guesses]
        near = next(i for i, error in enumerate(errors) if error <= NEAR * min(errors))
        guess = guesses[near]  # the most usual
        found = min(found, (_mean(errors_of(every, guess)), f"{guess} with {words}"))
    mse, words = found
    if not clearly_worse(own, mse, variance) or 1 - mse / variance < EXPLAINS:
        return trial
    return replace(trial, rival=words, rival_r2=1 - mse / variance)


def _rivals(chain: Chain, y: Array) -> Iterator[tuple[str, Callable[[_Scores, Guess], Array]]]:
    """Yield other networks of the same weights, in words, and what gives their errors."""
    if any(width == out for width, out in linear_shapes(chain.blocks)[:-1]):
        yield "a skip connection around every layer that keeps its width", _Scores.with_skips
    for name, (function, least, most) in _AFTER_OUTPUT.items():
        if np.mean((y >= least) & (y <= most)) >= WITHIN:
            yield f"{name} after the output", partial(_Scores.after_output, function=function)


def _with_skips(network: ChainModule, x: Tensor) -> Tensor:
    first, *inner, last = network.stages
    x = x.reshape(len(x), -1)
    for stage in (first, *inner, last):
        before = x
        for step in stage:
            x = step(x)
        if stage is not last and _keeps_width(stage):
            x = x + before
    return x


def _keeps_width(stage: list[nn.Module]) -> bool:
    layer = stage[0] if stage else None
    return isinstance(layer, nn.Linear) and layer.in_features == layer.out_features


def _standardized(values: Array) -> Array:
    spread = values.std(axis=0)
    return np.asarray((values - values.mean(axis=0)) / np.where(spread > 0, spread, 1))


def _mean(errors: Array) -> float:
    """Return the mean over samples of squared errors, summed over targets."""
    with np.errstate(over="ignore"):
        return float((errors**2).sum(axis=1).mean())


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        yield
    finally:
        torch.set_num_threads(before)
