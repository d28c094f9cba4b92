"""What a rule consists of once it is read, and what may be named in one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nrcscan.metrics.quantities import CONDITIONS, QUANTITIES

MODEL_FIELDS = ("mse", "r2", "learned")
ONSETS = (*CONDITIONS, "all")
LAYER_NUMBERS = (*QUANTITIES, "width", "index", "position")
LAYER_TRUTHS = tuple(f"met.{condition}" for condition in CONDITIONS)
FOLDS = ("min", "max", "mean")

Kind = Literal["number", "truth", "depth", "numbers"]
Sign = Literal["<", "<=", ">", ">=", "==", "!="]


@dataclass(frozen=True)
class Node:
    """A part of a rule, with what it says when evaluated and where it was written."""

    kind: Kind
    start: int
    end: int


@dataclass(frozen=True)
class Constant(Node):
    """A number."""

    value: float


@dataclass(frozen=True)
class ModelField(Node):
    """`model.r2`."""

    name: str


@dataclass(frozen=True)
class Onset(Node):
    """`onset.all`."""

    condition: str


@dataclass(frozen=True)
class LayerTerm(Node):
    """A layer by its name, or by its place in execution order: `layers.10`, `layers[-1]`."""

    which: str | int


@dataclass(frozen=True)
class LayerField(Node):
    """`layers[-1].cka`, `layers["encoder.0"].met.nrc1`."""

    which: str | int
    field: str


@dataclass(frozen=True)
class LayerFields(Node):
    """`layers[-3:].cka`: a field of several layers."""

    first: int | None
    last: int | None
    field: str


@dataclass(frozen=True)
class Fold(Node):
    """`max(layers[-3:].cka)`."""

    function: str
    of: LayerFields


@dataclass(frozen=True)
class Negative(Node):
    """`-model.r2`."""

    of: Node


@dataclass(frozen=True)
class Arithmetic(Node):
    """Terms, or factors, each but the first with its sign."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


@dataclass(frozen=True)
class ComparisonTerm(Node):
    """`left <= right`."""

    left: Node
    sign: Sign
    right: Node


@dataclass(frozen=True)
class Not(Node):
    """`not of`."""

    of: Node


@dataclass(frozen=True)
class Junction(Node):
    """Parts joined by `and`, or by `or`."""

    word: Literal["and", "or"]
    parts: tuple[Node, ...]
