"""From a network and data to a report in one call, without a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from nrcscan.acts_file.kept_in_memory import KeptInMemory
from nrcscan.cpu_threads import allowed_threads
from nrcscan.errors import UsageError
from nrcscan.extracting.extract import opened
from nrcscan.extracting.listener import SILENT, Listener
from nrcscan.files.at_work import own_folder
from nrcscan.options.check import checked, part
from nrcscan.options.describe import described
from nrcscan.options.faces import heard, names_keywords
from nrcscan.options.one_call_options import MeasureOptions
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.report_options import ReportOptions
from nrcscan.reporting.make_report import report_at, report_of
from nrcscan.reporting.report_document import Report

if TYPE_CHECKING:
    from torch import nn

    from nrcscan.inputs.datasets.batches import Dataset
    from nrcscan.network.build import Network


@names_keywords
@described(MeasureOptions)
def measure(
    model: str | Path | nn.Module,
    data: Any,
    *,
    on_note: Callable[[str], None] | None = None,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
    on_layers: Callable[[int, int], None] = lambda done, total: None,
    **options: Unpack[MeasureOptions],
) -> Report:
    """Measure a trained network on a dataset in one pass, and report on it at once.

    The numbers are those of `nrcscan.extract` and `nrcscan.report`; nothing is left behind.

    Args:
        model: a checkpoint's path, or a network in memory, which is left as it is.
        data: as `nrcscan.extract` takes it, such as a path, arrays `(x, y)` of shape
            (n_samples, …) and (n_samples, n_targets), or batches of them.
        on_note: called with every note as it comes up; by default the logger `nrcscan` shows it.
        on_progress: called with samples done, and in all if known, after every batch.
        on_layers: called with layers reported on, and in all, after every one.
        options: see `nrcscan.options.one_call_options`.

    Raises:
        NrcscanError: anything is wrong with the inputs or the options.
        UsageError: this is one of several processes that torchrun has started.
        TypeError: there is no such option.
    """
    chosen = checked(MeasureOptions, options, "measure")
    settings, judgement = settings_without_file(chosen), part(ReportOptions, chosen)
    network, origin, dataset, files = opened(model, data, settings)
    from nrcscan.extracting.torchrun_ranks import shared_out

    if shared_out():
        raise UsageError(
            "several processes of torchrun have no report to share; have them write a file with"
            " nrcscan.extract"
        )
    listener = Listener(heard(on_note), on_progress, files.check)
    return without_file(
        network, origin, dataset, settings, judgement, listener=listener, on_layers=on_layers
    )


def settings_without_file(chosen: Mapping[str, Any]) -> PassOptions:
    """Return the options of a pass that leaves no file, of all that were chosen.

    Features are stored for as long as the report takes, where it looks at them.
    """
    stored = {"activations": chosen["measures"] == "all", "compress": False, "cross": False}
    return part(PassOptions, {**chosen, **stored})


def without_file(
    network: Network,
    origin: dict[str, Any],
    dataset: Dataset,
    settings: PassOptions,
    judgement: ReportOptions,
    *,
    listener: Listener = SILENT,
    on_layers: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Run a network over a dataset, and report on it at once.

    What was measured stays in memory, unless that is limited or the features are stored: there is
    a file until the report is made then.

    Args:
        network: with its weights in place, on its device; it is left as it is.
        origin: where the weights came from.
        dataset: inputs and targets.
        settings: of `settings_without_file`.
        judgement: options of the report.
        listener: hears how it goes.
        on_layers: called with layers reported on, and in all, after every one.

    Raises:
        NrcscanError: the network does not take the data, or a value is not finite.
    """
    from nrcscan.extracting.begin_output import Output
    from nrcscan.extracting.run_pass import run_pass

    if settings["activations"] or settings["memory"] is not None:
        with own_folder() as folder:
            path = folder / "acts.h5"
            run_pass(network, origin, dataset, Output(path), settings, listener=listener)
            return report_at(path, judgement, on_layers)
    kept = KeptInMemory()
    run_pass(network, origin, dataset, None, settings, in_memory=kept, listener=listener)
    found = report_of(kept, **judgement, threads=allowed_threads(), on_progress=on_layers)
    for doubt in found.doubts:
        listener.note(doubt)
    return found
