"""Values with error bars: over seeds where there are several, else over blocks of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev


@dataclass(frozen=True)
class Estimate:
    """A value.

    Attributes:
        value: it.
        error: its standard error; None where there is none.
        networks: how many it is the mean of.
    """

    value: float
    error: float | None = None
    networks: int = 1

    def __str__(self) -> str:
        """Return it for a table, its digits as its error allows.

        >>> str(Estimate(0.12345, 0.0021)), str(Estimate(3.0, 0.0)), str(Estimate(1234.5, 21.0))
        ('0.1235 ± 0.0021', '3 ± 0', '1234 ± 21')
        >>> str(Estimate(2.0)), str(Estimate(0.000012345, 3e-7))
        ('2', '1.23e-05 ± 3e-07')
        """
        if self.error is None:
            return f"{self.value:.3g}"
        if self.error == 0:
            return f"{self.value:.3g} ± 0"
        digits = 1 - math.floor(math.log10(self.error))
        if digits > 6:
            lead = math.floor(math.log10(abs(self.value) or 1.0))
            kept = max(0, lead + digits - 1)
            return f"{self.value:.{kept}e} ± {self.error:.0e}"
        return f"{self.value:.{max(0, digits)}f} ± {self.error:.{max(0, digits)}f}"


def from_pair(pair: Sequence[float | None]) -> Estimate:
    """Return a value and its standard error as results have them."""
    value, error = pair
    assert value is not None
    return Estimate(value, error)


def over_seeds(found: Sequence[tuple[int, Estimate]]) -> Estimate | None:
    """Return the mean over seeds, with its standard error; None of nothing.

    Networks of one seed, which differ in their weight decay, are no independent samples: their mean
    counts once. Of one seed the error is that of its networks, over blocks of samples.

    Args:
        found: the seed and the value of every network.

    >>> over_seeds([(0, Estimate(1.0)), (0, Estimate(3.0)), (1, Estimate(6.0))])
    Estimate(value=4.0, error=2.0, networks=3)
    >>> over_seeds([(0, Estimate(1.0, 0.1))])
    Estimate(value=1.0, error=0.1, networks=1)
    """
    by_seed: dict[int, list[Estimate]] = {}
    for seed, one in found:
        by_seed.setdefault(seed, []).append(one)
    if not by_seed:
        return None
    means = [mean(one.value for one in own) for own in by_seed.values()]
    if len(means) > 1:
        return Estimate(mean(means), stdev(means) / math.sqrt(len(means)), len(found))
    errors = [one.error for _, one in found if one.error is not None]
    return Estimate(means[0], mean(errors) if len(errors) == len(found) else None, len(found))


def told(estimate: Estimate | None) -> str:
    """Return an estimate for a table, a dash where there is none."""
    return "—" if estimate is None else str(estimate)
