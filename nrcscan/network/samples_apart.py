"""Whether what a network makes of a sample is the sample's alone, and if not, why."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nrcscan.errors import InputError
from nrcscan.inputs.arrays import each
from nrcscan.network.features_from_tensor import layouts_of
from nrcscan.network.find_layers import kind_of
from nrcscan.network.forward import Forward
from nrcscan.network.trials import ProbeRun, Watched, alike, tried
from nrcscan.wording import listed

_MIXES = "the network mixes samples: the prediction for one changes with the others in its batch"
_APART = "normalise by running statistics, and attend within a sample, not over a batch"


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
            InputError: what the network makes of a sample depends on others, or on chance.
        """
        before, after = self._predictions(first), self._predictions(reordered)
        # Of the wrong shape it is refused when the targets are at hand.
        comparable = before.ndim > 0 and len(before) == len(self._order)
        if comparable and before.shape == after.shape and not alike(before[self._order], after):
            raise self._not_apart(before, after, first, reordered)
        if first.names != reordered.names:
            raise InputError(
                "the network calls other layers when its samples come in another order;"
                " have it take the same path for every sample"
            )

    def why_not_watched(self, index: int, features: Tensor) -> str:
        """Return why samples cannot be told apart in what reached a call of the first trial."""
        said = "what reaches it"
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

    def _not_apart(
        self, before: Tensor, after: Tensor, first: ProbeRun, reordered: ProbeRun
    ) -> InputError:
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
        unkept = self._norms_of_batches()
        if unkept:
            return InputError(
                f"{_MIXES}, by whose statistics {listed(unkept)} normalises; have it keep running"
                " ones in training, with track_running_stats=True"
            )
        return self._mixing(first, reordered)

    def _mixing(self, first: ProbeRun, reordered: ProbeRun) -> InputError:
        """Return the error that says where samples are mixed first, as far as that shows."""
        modules, apart = dict(self._run.module.named_modules()), set()
        for (call, features), (_, other) in zip(first.calls, reordered.calls, strict=False):
            path = call.layer.name.rpartition(".")[0]
            if layouts_of(features, other, self._order) or alike(features, other):
                apart.add(path)
                continue
            within = modules.get(path)
            if path in apart and isinstance(within, nn.RNNBase | nn.MultiheadAttention):
                return InputError(
                    f"{_MIXES}: {_called(path, within)} takes samples for steps; have it take the"
                    " samples first, as with batch_first=True, and give each its steps"
                )
            return InputError(f"{_MIXES}, first in what reaches {call.name}; {_APART}")
        return InputError(f"{_MIXES}; {_APART}")

    def _norms_of_batches(self) -> list[str]:
        """Return what ran of the layers that normalise by the statistics of a batch."""
        ran: dict[str, None] = {}
        with ExitStack() as hooks:
            for path, norm in self._run.module.named_modules():
                if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.running_mean is None:
                    name = _called(path, norm)
                    hook = norm.register_forward_hook(lambda *_, name=name: ran.setdefault(name))
                    hooks.callback(hook.remove)
            tried(self._run, self._watched, self._inputs)
        return list(ran)

    def _predictions(self, trial: ProbeRun) -> Tensor:
        return self._run.output.joined(trial.output)

    def _seeded(self, seed: int) -> Tensor:
        with _seeds(seed):
            return self._predictions(tried(self._run, self._watched, self._inputs))

    def _calls(self, inputs: Any) -> list[Tensor]:
        return [features for _, features in tried(self._run, self._watched, inputs).calls]


def _called(path: str, module: nn.Module) -> str:
    kind = kind_of(module)
    return f"{path} ({kind})" if path else kind


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
