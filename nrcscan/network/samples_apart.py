"""Whether what a network makes of a sample is the sample's alone, and if not, why."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nrcscan.errors import InputError
from nrcscan.inputs.arrays import each
from nrcscan.network.call import Call
from nrcscan.network.features_from_tensor import layouts_of
from nrcscan.network.forward import Forward
from nrcscan.network.trials import ProbeRun, Watched, alike, tried


class SamplesApart:
    """Tells why what a network makes of a sample is not the sample's alone.

    Args:
        run: the network.
        watched: its weights.
        inputs: the few samples.
        order: in which they come the second time, another of them twice.
    """

    def __init__(self, run: Forward, watched: Watched, inputs: Any, order: list[int]) -> None:
        self._run, self._watched, self._inputs, self._order = run, watched, inputs, order

    def require(self, first: ProbeRun, reordered: ProbeRun) -> None:
        """Refuse a network whose way or prediction for a sample is not the sample's alone.

        Raises:
            InputError: the way of a sample through the network depends on the others.
        """
        before, after = self._predictions(first), self._predictions(reordered)
        # Of the wrong shape it is refused when the targets are at hand.
        comparable = before.ndim > 0 and len(before) == len(self._order)
        if comparable and before.shape == after.shape and not alike(before[self._order], after):
            raise self._not_apart(before, after)
        if first.names != reordered.names:
            raise InputError(
                "the network calls other layers when its samples come in another order;"
                " have it take the same path for every sample"
            )

    def why_not_watched(self, index: int, call: Call, features: Tensor) -> str:
        """Return why samples cannot be told apart in what reached a call of the first trial."""
        said = f"{call.name} is left out: what reaches it"
        shape = tuple(features.shape)
        again = self._calls(self._inputs)
        if index < len(again) and not alike(again[index], features):
            return f"{said} is random: the same samples, run twice, give other features"
        distinct = len(set(self._order))
        turned = [(i + 1) % distinct for i in range(distinct)]
        whole = [*turned, *range(distinct, len(self._order))]
        moved = self._calls(each(self._inputs, lambda part: part[whole]))
        if index < len(moved) and layouts_of(features, moved[index], whole):
            return f"{said} changes with the other samples in a batch: the network mixes samples"
        return (
            f"{said} has shape {shape}, and the {len(self._order)} samples are on none of its axes"
        )

    def _not_apart(self, before: Tensor, after: Tensor) -> InputError:
        """Return the error that the prediction for a sample is not that sample's alone."""
        one, other, one_again = (self._seeded(seed) for seed in (0, 1, 0))
        if not alike(one, other):
            if alike(one, one_again):
                return InputError(
                    "the predictions are random: the same samples, run twice, give others; have"
                    " dropout, noise and sampling stop in eval mode, or predict the mean"
                )
            return InputError(
                "the network keeps something from one call to the next: the same samples, run"
                " twice, give other predictions; have it begin afresh in every call of forward"
            )
        aside = before.ndim > 1 and before.shape[1] == len(self._order)
        if aside and alike(before[:, self._order], after):
            return InputError(
                f"the predictions, of shape {tuple(before.shape)}, have the samples on the second"
                " axis; wrap the network in a factory that puts them on the first"
            )
        return InputError(
            "the network mixes samples: the prediction for one changes with the others in its"
            " batch; normalise by running statistics, and attend within a sample, not over a batch"
        )

    def _predictions(self, trial: ProbeRun) -> Tensor:
        return self._run.output.joined(trial.output)

    def _seeded(self, seed: int) -> Tensor:
        with _seeds(seed):
            return self._predictions(tried(self._run, self._watched, self._inputs))

    def _calls(self, inputs: Any) -> list[Tensor]:
        return [features for _, features in tried(self._run, self._watched, inputs).calls]


@contextmanager
def _seeds(seed: int) -> Iterator[None]:
    """Have random numbers begin at a seed, and go on as before afterwards."""
    ours, numpys = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)
