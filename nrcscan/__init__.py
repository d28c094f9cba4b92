"""nrcscan: from which layer on has a trained regressor collapsed onto its targets, and how far?

The commands and the functions here share their verbs::

    import nrcscan

    nrcscan.extract("model.pt", "data.npz", output="acts.h5")
    result = nrcscan.report("acts.h5")
    print(result.verdict.text)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nrcscan.comparing.against import TrainTest, against
    from nrcscan.comparing.compare import Comparison, compare
    from nrcscan.comparing.plot import plot
    from nrcscan.cutting.between import between
    from nrcscan.cutting.cut import cut
    from nrcscan.cutting.cuts import Cuts
    from nrcscan.cutting.replaceable import Replaceable
    from nrcscan.cutting.write_cut import WrittenCut, write_cut
    from nrcscan.errors import InputError, NrcscanError, OutputError, UnsafeError, UsageError
    from nrcscan.extracting.extract import extract
    from nrcscan.extracting.measure import measure
    from nrcscan.inspecting.inspect_checkpoint import inspect
    from nrcscan.merging.merge import Merged, merge
    from nrcscan.metrics.of_statistics import metrics
    from nrcscan.options.report_options import Thresholds
    from nrcscan.publishing.make_page import page
    from nrcscan.reporting.make_report import report
    from nrcscan.reporting.report_document import Report
    from nrcscan.scanning.scan import scan
    from nrcscan.scanning.scan_file import Scan
    from nrcscan.statistics.moments import Moments, Statistics

__all__ = [
    "Comparison",
    "Cuts",
    "InputError",
    "Merged",
    "Moments",
    "NrcscanError",
    "OutputError",
    "Replaceable",
    "Report",
    "Scan",
    "Statistics",
    "Thresholds",
    "TrainTest",
    "UnsafeError",
    "UsageError",
    "WrittenCut",
    "__version__",
    "against",
    "between",
    "compare",
    "cut",
    "extract",
    "inspect",
    "measure",
    "merge",
    "metrics",
    "page",
    "plot",
    "report",
    "scan",
    "write_cut",
]

# Names are looked up when first used: torch takes over a second to import, and only
# extraction needs it.
_HOMES = {
    "TrainTest": "comparing.against",
    "against": "comparing.against",
    "Comparison": "comparing.compare",
    "compare": "comparing.compare",
    "Cuts": "cutting.cuts",
    "cut": "cutting.cut",
    "WrittenCut": "cutting.write_cut",
    "write_cut": "cutting.write_cut",
    "Replaceable": "cutting.replaceable",
    "between": "cutting.between",
    "plot": "comparing.plot",
    "extract": "extracting.extract",
    "measure": "extracting.measure",
    "inspect": "inspecting.inspect_checkpoint",
    "Merged": "merging.merge",
    "merge": "merging.merge",
    "Moments": "statistics.moments",
    "Statistics": "statistics.moments",
    "Thresholds": "options.report_options",
    "page": "publishing.make_page",
    "Report": "reporting.report_document",
    "report": "reporting.make_report",
    "Scan": "scanning.scan_file",
    "scan": "scanning.scan",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in."""
    if name == "__version__":
        return import_module("importlib.metadata").version("nrcscan")
    if name not in __all__:
        raise AttributeError(f"module 'nrcscan' has no attribute {name!r}")
    if name == "metrics":  # a room too, which is called as the function
        return import_module("nrcscan.metrics")
    return getattr(import_module(f"nrcscan.{_HOMES.get(name, 'errors')}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
