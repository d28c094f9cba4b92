"""What `make reproduce` left, as findings read it: the documents that README.md describes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nrcscan.verdict.answers import Answer, together
from nrcscan.verdict.sentence import FITS_WELL
from reproduction.estimates import Estimate, from_pair

Document = Mapping[str, Any]

NETWORKS = {"mlp": "", "convolutional": ", convolutional", "resnet18": ", ResNet-18"}
"""Network → what is said of it beside the data set's name."""


@dataclass(frozen=True)
class Step:
    """A step in depth: the layers of one place, which read the same features.

    Attributes:
        place: from 1.
        layers: as a result has them.
    """

    place: int
    layers: Sequence[Document]

    def get(self, quantity: str) -> Estimate | None:
        """Return a quantity with its standard error, the mean of the layers'; None if undefined."""
        pairs = [layer["values"].get(quantity) for layer in self.layers]
        known = [from_pair(pair) for pair in pairs if pair is not None]
        if len(known) < len(pairs):
            return None
        errors = [one.error for one in known if one.error is not None]
        mean = sum(one.value for one in known) / len(known)
        return Estimate(mean, sum(errors) / len(errors) if len(errors) == len(known) else None)

    def answer(self, condition: str) -> Answer:
        """Return the answer for a condition."""
        return together(Answer(layer["answers"][condition]) for layer in self.layers)


@dataclass(frozen=True)
class Measurement:
    """A network on one set of samples: a report, in short."""

    document: Document

    def __getitem__(self, name: str) -> Any:
        """Return a field of it as it is."""
        return self.document[name]

    @property
    def mse(self) -> Estimate | None:
        """The network's mean squared error."""
        pair = self.document["mse"]
        return None if pair is None else from_pair(pair)

    @property
    def r2(self) -> float | None:
        """The network's R²."""
        pair = self.document["r2"]
        return None if pair is None else float(pair[0])

    @cached_property
    def steps(self) -> list[Step]:
        """What the verdict counts, in depth: neither inputs nor shortcuts."""
        places: dict[int, list[Document]] = {}
        for layer in self.document["layers"]:
            if layer["place"] is not None:
                places.setdefault(layer["place"], []).append(layer)
        return [Step(place, places[place]) for place in sorted(places)]


@dataclass(frozen=True)
class Result:
    """What was found of one run."""

    document: Document

    @property
    def run(self) -> Document:
        """How the network was trained."""
        return self.document["run"]

    @property
    def name(self) -> str:
        """What its files are called."""
        return str(self.run["name"])

    @property
    def group(self) -> str:
        """The data set, and the network where it is no MLP."""
        return f"{self.run['data']}{NETWORKS.get(self.run['network'], '')}"

    @property
    def weight_decay(self) -> float:
        """λ."""
        return float(self.run["weight_decay"])

    @property
    def seed(self) -> int:
        """Of its first weights and of the order of samples."""
        return int(self.run["seed"])

    @cached_property
    def last(self) -> Measurement:
        """The trained network on its training samples."""
        return Measurement(self.document["checkpoints"][-1]["train"])

    @cached_property
    def held_out(self) -> Measurement:
        """The trained network on held-out samples."""
        return Measurement(self.document["checkpoints"][-1]["test"])

    @cached_property
    def at_rank(self) -> Measurement | None:
        """The trained network with the targets' rank r for k; None where that is t itself."""
        document = self.document["at_rank"]
        return None if document is None else Measurement(document)

    @property
    def fits(self) -> bool:
        """Whether it explains at least half of the training targets' variance."""
        return self.last.r2 is not None and self.last.r2 >= FITS_WELL


class Results(Sequence[Result]):
    """All results, in the order of data sets, weight decay and seed."""

    def __init__(self, results: Iterable[Result]) -> None:
        order = {name: number for number, name in enumerate(DATA)}
        self._all = sorted(
            results,
            key=lambda one: (
                order.get(str(one.run["data"]), len(order)),
                one.group,
                one.weight_decay,
                one.seed,
            ),
        )

    def __getitem__(self, number: Any) -> Any:
        return self._all[number]

    def __len__(self) -> int:
        return len(self._all)

    @property
    def groups(self) -> dict[str, list[Result]]:
        """Data set → its results."""
        return grouped(self._all, lambda one: one.group)


DATA = ("swimmer", "reacher", "hopper", "synthetic", "low-rank", "gemm", "road")
"""Data sets, in the order of the paper."""


def grouped(results: Iterable[Result], key: Any) -> dict[Any, list[Result]]:
    """Return results by what a function says of them, in their order."""
    found: dict[Any, list[Result]] = {}
    for one in results:
        found.setdefault(key(one), []).append(one)
    return found


def by_decay(results: Iterable[Result]) -> dict[float, list[Result]]:
    """Return results by their weight decay."""
    return grouped(results, lambda one: one.weight_decay)


def read_results(folder: Path) -> Results:
    """Return every result of a folder; one that is not there is not missed."""
    return Results(
        Result(json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(folder.glob("*.json"))
    )
