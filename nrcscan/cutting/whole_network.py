"""The whole network as a file's samples run through it, and what it leaves when it is cut."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from nrcscan.acts_file.reading import Acts
from nrcscan.cutting.factory_source import CutSource, cut_source
from nrcscan.cutting.linear_head import LinearHead
from nrcscan.cutting.measured_network import Samples
from nrcscan.cutting.network_graph import truncated
from nrcscan.cutting.source_material import SourceMaterial
from nrcscan.errors import InputError
from nrcscan.inputs.arrays import each
from nrcscan.network.build import Network
from nrcscan.network.call_plan import CallPlan
from nrcscan.network.evaluation_mode import evaluating
from nrcscan.network.forward import Forward
from nrcscan.network.masks import MaskChoice
from nrcscan.network.predictions import PredictionChoice, to_numpy
from nrcscan.network.probe import probe
from nrcscan.options.pass_options import PassOptions

PROBED = 256
"""Samples that are looked at to find the layers."""

FEW = 3
"""Samples that the graph is followed with."""


@dataclass(frozen=True)
class WholeNetwork:
    """A network that was measured.

    Attributes:
        run: it runs.
        plan: which calls of layers it makes.
        example: a few samples as it takes them.
    """

    run: Forward
    plan: CallPlan
    example: Any

    def n_products_before(self, layer: str) -> int:
        """Return how many products are added up on the way to what a head says, layer by layer."""
        total = 0
        for record, weight in zip(self.plan.records, self.plan.weights, strict=True):
            total += weight[0].numel()
            if record.name == layer:
                break
        return total

    def cut_before(self, layer: str, head: LinearHead, told: list[str]) -> CutSource:
        """Return the network up to a layer, with a head in place of the rest.

        Args:
            layer: a call of one.
            head: in place of it.
            told: what the Python file says of itself.

        Raises:
            InputError: it cannot be cut there.
        """
        if layer in self.plan.masks:
            raise InputError(
                f"{layer}: the input {self.plan.masks[layer].name} says which positions of each"
                " sample count there, as a plain network cannot; measure with --mask none or"
                " --pool flatten, or cut where there are no positions"
            )
        prefix = truncated(self.run.module, self.example, self.plan, layer)
        weight, bias = (
            torch.from_numpy(np.ascontiguousarray(part)).to(self.run.dtype)
            for part in (head.weight, head.bias)
        )
        return cut_source(SourceMaterial(prefix, weight, bias, self.run.pool), told)


def whole_network(
    network: Network, samples: Samples, settings: PassOptions, acts: Acts, *, known: bool
) -> WholeNetwork:
    """Return a network ready to be cut.

    Args:
        network: in eval mode.
        samples: that it was measured on.
        settings: how that was.
        acts: the file of it.
        known: whether the checkpoint is known to be the one that was measured.

    Raises:
        InputError: it is not the network that was measured, or takes a fixed number of samples.
    """
    if network.fixed_batch is not None:
        raise InputError(
            f"the network takes {network.fixed_batch} samples at once and no other number, so that"
            " it cannot be cut; have a factory return one that takes any"
        )
    choice = PredictionChoice()
    run = Forward(network.module, settings["pool"], None, choice, MaskChoice(settings["mask"]))
    x, _ = next(samples.dataset.batches(PROBED, samples.limit, samples.offset))
    with evaluating(network.module):
        plan = probe(run, x, settings["layers"], settings["exclude"], lambda note: None)
    _require_same(plan, acts, weights=not known)
    few = each(x, lambda part: np.resize(part, (FEW, *part.shape[1:])))  # again from the first
    return WholeNetwork(run, plan, run.inputs(few, 0))


def _require_same(plan: CallPlan, acts: Acts, *, weights: bool) -> None:
    """Refuse another network than was measured.

    Raises:
        InputError: layers or weights differ from those in the file.
    """
    measured = [(one.name, one.kind, one.position) for one in acts.layers]
    found = [(one.name, one.kind, one.position) for one in plan.records]
    differ = measured != found or (
        weights
        and not all(
            np.array_equal(to_numpy(weight), acts.stored_weight(index))
            for index, weight in enumerate(plan.weights)
        )
    )
    if differ:
        raise InputError(
            f"the network is not the one that {acts.path} was measured on: its layers or their"
            " weights differ; give that one, or extract anew"
        )
