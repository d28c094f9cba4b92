"""One layer of a report: what was measured there, and which conditions it meets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nrcscan.metrics.layer_values import LayerMetrics, Quantities
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.verdict.answers import Answer, Reach
from nrcscan.wording import printable

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, repr=False)
class LayerResult(Quantities):
    """One layer of a report, with its quantities as attributes and items.

    `layer.cka` and `layer["cka"]` are the same; where it is undefined, both are None and
    `layer.undefined["cka"]` says why.

    Attributes:
        index: in execution order, from 0.
        position: in depth, from 0; layers that read the same features share one.
        name: in the network.
        kind: "Linear", "Conv2d", ….
        width: number of features, d.
        metrics: every quantity, or why it is undefined.
        answers: condition → whether it is met here.
        reach: condition → what the answer would be at other thresholds.
        step: its place in depth as the verdict counts it, from 1; None for what it leaves out.
        inputs: whether its features are the network's inputs, which are data.
        shortcut: whether it leads past the main branch of its block, which is what is judged.
    """

    index: int
    position: int
    name: str
    kind: str
    width: int
    metrics: LayerMetrics
    answers: dict[str, Answer]
    reach: dict[str, Reach]
    step: int | None = None
    inputs: bool = False
    shortcut: bool = False

    @property
    def undefined(self) -> dict[str, str]:
        """Quantity → why it is not defined here."""
        return self.metrics.undefined

    def get(self, quantity: str) -> float | None:
        """Return a quantity, or None where it is undefined."""
        return self.metrics.get(quantity)

    def __repr__(self) -> str:
        answers = ", ".join(f"{c.upper()} {answer.value}" for c, answer in self.answers.items())
        what = f"{printable(self.name)}: {printable(self.kind)}, width {self.width}"
        return f"<LayerResult {what}; {answers}; {self.in_short()}>"

    @property
    def met(self) -> dict[str, bool | None]:
        """Condition → whether it is met here; None where that is not known."""
        return {condition: answer.met for condition, answer in self.answers.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the layer as JSON has it."""
        return {
            "index": self.index,
            "position": self.position,
            "name": self.name,
            "kind": self.kind,
            "width": self.width,
            **{quantity: self.metrics.get(quantity) for quantity in QUANTITIES},
            "step": self.step,
            "inputs": self.inputs,
            "shortcut": self.shortcut,
            "met": self.met,
            "answers": {condition: answer.value for condition, answer in self.answers.items()},
            "reach": {condition: found.to_dict() for condition, found in self.reach.items()},
            "standard_error": self.metrics.standard_errors,
            "corrected": self.metrics.corrected,
            "chance": {
                quantity: {"level": chance.level, "quantile": chance.quantile}
                for quantity, chance in self.metrics.chance.items()
            },
            "floor": self.metrics.floor,
            "undefined": self.metrics.undefined,
            "bounds": self.metrics.bounds,
            "notes": self.metrics.notes,
        }
