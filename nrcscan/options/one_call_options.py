"""Every option of measuring without a file, declared once: those of a pass and of a report."""

from __future__ import annotations

from nrcscan.options.pass_options import CostOptions, NetworkOptions
from nrcscan.options.report_options import ReportOptions


class MeasureOptions(NetworkOptions, CostOptions, ReportOptions, total=False):
    """Every option of `nrcscan.measure`: there is no file that could store the samples."""
