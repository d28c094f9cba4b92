"""nrcscan: from which layer on has a trained regressor collapsed onto its targets, and how far?

The commands and the functions here share their verbs::

    import nrcscan

    nrcscan.extract("model.pt", "data.npz", output="acts.h5")
    result = nrcscan.report("acts.h5")
    print(result.onset["all"], result.model["r2"])
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nrcscan.comparison import Comparison, compare
    from nrcscan.errors import InputError, NrcscanError, OutputError, UnsafeError, UsageError
    from nrcscan.extraction import extract
    from nrcscan.inspection import inspect
    from nrcscan.merging import Merged, merge
    from nrcscan.moments import Moments, Statistics
    from nrcscan.onset import Thresholds
    from nrcscan.results import Report, report
    from nrcscan.scanning import Scan, scan

__all__ = [
    "Comparison",
    "InputError",
    "Merged",
    "Moments",
    "NrcscanError",
    "OutputError",
    "Report",
    "Scan",
    "Statistics",
    "Thresholds",
    "UnsafeError",
    "UsageError",
    "__version__",
    "compare",
    "extract",
    "inspect",
    "merge",
    "report",
    "scan",
]

# Names are looked up when first used: torch takes over a second to import, and only
# extraction needs it.
_HOMES = {
    "Comparison": "comparison",
    "compare": "comparison",
    "extract": "extraction",
    "inspect": "inspection",
    "Merged": "merging",
    "merge": "merging",
    "Moments": "moments",
    "Statistics": "moments",
    "Thresholds": "onset",
    "Report": "results",
    "report": "results",
    "Scan": "scanning",
    "scan": "scanning",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in."""
    if name == "__version__":
        return import_module("importlib.metadata").version("nrcscan")
    if name not in __all__:
        raise AttributeError(f"module 'nrcscan' has no attribute {name!r}")
    return getattr(import_module(f"nrcscan.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
