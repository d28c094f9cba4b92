"""A checkpoint of a scan as a page shows it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nrcscan.publishing.marks_on_page import Layer
from nrcscan.scanning.newest import training_order
from nrcscan.verdict.in_document import depth


@dataclass(frozen=True)
class Scanned:
    """A checkpoint that could be used.

    Attributes:
        number: its place in the scan among these, from 0.
        entry: of scan.json.
        layers: of it, each with its `index`.
    """

    number: int
    entry: Mapping[str, Any]
    layers: Sequence[Layer]

    @property
    def verdict(self) -> Mapping[str, Any]:
        """Of it, as JSON has it."""
        found: Mapping[str, Any] = self.entry["verdict"]
        return found

    @property
    def depth(self) -> int:
        """How many steps it has."""
        return depth(self.layers)

    @property
    def unit(self) -> str:
        """What its time is told in; empty where none is."""
        return next((u for u in ("epoch", "step") if self.entry.get(u) is not None), "")

    @property
    def time(self) -> str:
        """When it was saved; else what it is called."""
        return str(self.entry[self.unit]) if self.unit else self.name

    @property
    def when(self) -> str:
        """The same in words."""
        return f"{self.unit} {self.time}".strip()

    @property
    def name(self) -> str:
        """Its path in the folder of its run."""
        return str(self.entry["path"]).removeprefix(f"{self.entry['run']}/")

    @property
    def anchor(self) -> str:
        """By which a link finds its section."""
        return f"checkpoint-{self.number}"


def scanned(entries: Iterable[Mapping[str, Any]]) -> list[Scanned]:
    """Return the checkpoints that could be used, run by run in order of training."""
    usable = [entry for entry in entries if entry["status"] == "ok"]
    runs = list(dict.fromkeys(entry["run"] for entry in usable))
    usable.sort(key=lambda entry: (runs.index(entry["run"]), training_order(entry)))
    return [
        Scanned(n, entry, [{**layer, "index": i} for i, layer in enumerate(entry["layers"])])
        for n, entry in enumerate(usable)
    ]
