"""From a network and data to a report in one call, without a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from nrcscan.cpu_threads import allowed_threads
from nrcscan.errors import UsageError
from nrcscan.extracting.extract import opened
from nrcscan.extracting.listener import Listener
from nrcscan.options.check import checked, part
from nrcscan.options.describe import described
from nrcscan.options.faces import heard, names_keywords
from nrcscan.options.one_call_options import MeasureOptions
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.report_options import ReportOptions
from nrcscan.reporting.make_report import report_of
from nrcscan.reporting.report_document import Report

if TYPE_CHECKING:
    from torch import nn


@names_keywords
@described(MeasureOptions)
def measure(
    model: str | Path | nn.Module,
    data: Any,
    *,
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
    **options: Unpack[MeasureOptions],
) -> Report:
    """Measure a trained network on a dataset in one pass, and report on it at once.

    The numbers are those of `nrcscan.extract` and `nrcscan.report`; nothing is written.

    Args:
        model: a checkpoint's path, or a network in memory, which is left as it is.
        data: as `nrcscan.extract` takes it, such as a path, arrays `(x, y)` of shape
            (n_samples, …) and (n_samples, n_targets), or batches of them.
        on_note: called with every note as it comes up; by default the logger `nrcscan` shows it.
        on_progress: called with samples done, and in all if known, after every batch.
        options: see `nrcscan.options.one_call_options`.

    Raises:
        NrcscanError: anything is wrong with the inputs or the options.
        UsageError: this is one of several processes that torchrun has started.
        TypeError: there is no such option.
    """
    chosen = checked(MeasureOptions, options, "measure")
    settings = part(PassOptions, {**chosen, "activations": False, "compress": False})
    network, origin, dataset, files = opened(model, data, settings)
    from nrcscan.acts_file.kept_in_memory import KeptInMemory
    from nrcscan.extracting.run_pass import run_pass
    from nrcscan.extracting.torchrun_ranks import shared_out

    if shared_out():
        raise UsageError(
            "several processes of torchrun have no report to share; have them write a file with"
            " nrcscan.extract"
        )
    kept = KeptInMemory()
    note = heard(on_note)
    listener = Listener(note, on_progress, files.check)
    run_pass(network, origin, dataset, None, settings, in_memory=kept, listener=listener)
    judgement = part(ReportOptions, chosen)
    found = report_of(kept, **judgement, threads=allowed_threads())
    for doubt in found.doubts:
        note(doubt)
    return found
