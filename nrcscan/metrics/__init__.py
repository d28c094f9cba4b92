"""Quantities, formulas, degenerate cases, bounds, error bars and chance levels of a layer.

The room is a function too: `nrcscan.metrics(statistics, weight, k=…)` is `of_statistics.metrics`.
As soon as anything in here is imported, the name in `nrcscan` is this package whatever else it was
before, so that the package itself has to answer calls.
"""

import sys
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """This package, which can be called."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Compute the metrics of one layer; see `nrcscan.metrics.of_statistics.metrics`."""
        from nrcscan.metrics.of_statistics import metrics

        return metrics(*args, **options)

    @property
    def __signature__(self) -> Any:
        """Of the function, for `help()` and notebooks."""
        import inspect

        from nrcscan.metrics.of_statistics import metrics

        return inspect.signature(metrics)


sys.modules[__name__].__class__ = _Room
