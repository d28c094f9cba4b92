"""``nrcscan measure``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

import nrcscan
from nrcscan.cli.console import detail, say, speaks
from nrcscan.cli.extract_command import detail_trial, watched_pass
from nrcscan.cli.option_groups import (
    Chance,
    Checkpoint,
    DataFactory,
    DataFiles,
    Errors,
    Force,
    FormOfReport,
    Wide,
    given_in,
    one_source,
    takes,
)
from nrcscan.cli.progress_bar import counting_in_turn
from nrcscan.cli.report_command import measured, require_shown, show
from nrcscan.files import at_work
from nrcscan.options.check import checked
from nrcscan.options.effect import require_effect
from nrcscan.options.option import declared
from nrcscan.options.pass_options import PassOptions, StoringOptions
from nrcscan.options.report_options import ReportOptions
from nrcscan.options.timeout_option import TimeoutOptions


@takes(options=PassOptions, judgement=ReportOptions, limits=TimeoutOptions)
def measure(
    model: Checkpoint,
    data: DataFiles = None,
    data_factory: DataFactory = None,
    form: FormOfReport = "table",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Keep the statistics in a file."),
    ] = None,
    force: Force = False,
    errors: Errors = False,
    chance: Chance = False,
    wide: Wide = False,
    *,
    options: PassOptions,
    judgement: ReportOptions,
    limits: TimeoutOptions,
    context: typer.Context,
) -> None:
    """Measure a network and show where it collapses: extract and report in one step.

    Nothing is left behind, unless -o names a file for the statistics.

    Examples:
        nrcscan measure model.pt data.npz
        nrcscan measure model.pt data.csv --targets y1,y2 --standardize x,y --errors
        nrcscan measure model.pt data.npz --format json -o acts.h5 > report.json
    """
    require_shown(form, errors=errors, chance=chance, wide=wide)
    at_work.limited_to(checked(TimeoutOptions, limits, "measure")["timeout"])
    source = one_source(data, data_factory, "measure")
    # A report has the notes of its file; of a table they are the end.
    on_note = say if form == "csv" else detail
    if output is None:
        given = given_in(context)
        storing = {of.flag: of.name in given for of in declared(StoringOptions).values()}
        require_effect(storing, "without a file of statistics", "leave it out, or name one with -o")
        found = _in_memory(model, source, options, judgement, on_note)
    else:
        result = watched_pass(model, source, output, options, force=force, on_note=on_note)
        say(f"wrote {output}; show it again with: nrcscan report {output}")
        if not speaks():
            return
        found = measured(result.path, judgement)
    show(found, form, errors=errors, chance=chance, wide=wide)


def _in_memory(
    model: Path,
    source: Any,
    options: PassOptions,
    judgement: ReportOptions,
    on_note: Callable[[str], None],
) -> nrcscan.Report:
    """Measure and report with a bar that shows how far it is, and tell what was tried."""
    storing = declared(StoringOptions)
    asked: Any = {name: value for name, value in options.items() if name not in storing}
    with counting_in_turn("samples", "layers") as (on_samples, on_layers):
        found = nrcscan.measure(
            model,
            source,
            on_note=on_note,
            on_progress=on_samples,
            on_layers=on_layers,
            **{**asked, **judgement},
        )
    tried = found.provenance["model"].get("guess", {}).get("r2")
    if tried is not None:
        detail_trial(tried)
    return found
