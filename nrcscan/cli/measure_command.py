"""``nrcscan measure``."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from nrcscan.cli.console import detail, say, speaks
from nrcscan.cli.extract_command import watched_pass
from nrcscan.cli.option_groups import (
    Chance,
    Checkpoint,
    DataFactory,
    DataFiles,
    Errors,
    Force,
    FormOfReport,
    Wide,
    one_source,
    takes,
)
from nrcscan.cli.report_command import measured, show
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.report_options import ReportOptions


@takes(options=PassOptions, judgement=ReportOptions)
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
) -> None:
    """Measure a network and show where it collapses: extract and report in one step.

    Nothing is left behind, unless -o names a file for the statistics.

    Examples:
        nrcscan measure model.pt data.npz
        nrcscan measure model.pt data.csv --targets y1,y2 --standardize x,y --errors
        nrcscan measure model.pt data.npz --format json -o acts.h5 > report.json
    """
    source = one_source(data, data_factory, "measure")
    if output is None:  # the features themselves are kept for what alone looks at them
        options["activations"] = options.get("measures") == "all"
    with TemporaryDirectory(prefix="nrcscan-") as folder:
        path = output or Path(folder, "acts.h5")
        # A report has the notes of its file; of a table they are the end.
        on_note = say if form == "csv" else detail
        result = watched_pass(model, source, path, options, force=force, on_note=on_note)
        if output is not None:
            say(f"wrote {output}; show it again with: nrcscan report {output}")
        if speaks():
            found = measured(result.path, judgement)
            show(found, form, errors=errors, chance=chance, wide=wide)
