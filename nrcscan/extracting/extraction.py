"""What an extraction did, for whoever called it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nrcscan.network.try_guesses import Trial
from nrcscan.wording import counted, printable, r_squared


@dataclass(frozen=True, repr=False)
class Extraction:
    """What an extraction did; wherever the path of its file is taken, it is taken too.

    Attributes:
        path: of the file it wrote.
        n_samples: N.
        layers: names, in execution order.
        r2: of the network on the samples; None when it makes no predictions, or the targets do
            not vary.
        notes: what the user should know: what was inferred, what was left out.
        trial: of an inferred network, what came of trying what it may be; else None.
    """

    path: Path
    n_samples: int
    layers: tuple[str, ...]
    r2: float | None
    notes: tuple[str, ...]
    trial: Trial | None = None

    def __fspath__(self) -> str:
        """Return the path, for `nrcscan.report` and whatever else opens files."""
        return str(self.path)

    def __repr__(self) -> str:
        size = f"{counted(len(self.layers), 'layer')}, {self.n_samples} samples"
        return f"<Extraction {printable(str(self.path))}: {size}, R² = {r_squared(self.r2)}>"
