"""What is guessed about an inferred network. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Guess:
    """What weights do not tell of a chain.

    Attributes:
        activation: a key of `chain.ACTIVATIONS`.
        norm_first: whether a norm comes before the activation, where names do not tell; None
            where there is no such norm.
    """

    activation: str
    norm_first: bool | None = None

    def __str__(self) -> str:
        """Return the guess in words."""
        where = {None: "", True: " after each norm", False: " before each norm"}
        return self.activation + where[self.norm_first]
