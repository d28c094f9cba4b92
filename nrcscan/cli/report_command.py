"""``nrcscan report``."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit, encoding_of_stdout, in_terminal, placed, say
from nrcscan.cli.option_groups import (
    Chance,
    Errors,
    Force,
    FormOfReport,
    Wide,
    Written,
    given_in,
    takes,
)
from nrcscan.cli.progress_bar import counting
from nrcscan.errors import UsageError
from nrcscan.options.choices import ReportFormat
from nrcscan.options.effect import require_effect
from nrcscan.options.report_options import ReportOptions, Thresholds
from nrcscan.scanning.scan_file import is_scan, whole_of

USUAL = Path("acts.h5")
"""What is shown where no file is named."""


@takes(options=ReportOptions)
def report(
    acts: Annotated[
        Path | None,
        typer.Argument(
            metavar="ACTS",
            help="A file of nrcscan extract, by default acts.h5 here; or a scan: see --checkpoint.",
        ),
    ] = None,
    form: FormOfReport = "table",
    output: Written = None,
    force: Force = False,
    errors: Errors = False,
    chance: Chance = False,
    wide: Wide = False,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="TEST",
            help="The same network on other samples: show both, and the gap.",
            rich_help_panel="Data",
        ),
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Which of a scan's, judged as the scan judged it."),
    ] = None,
    *,
    options: ReportOptions,
    context: typer.Context,
) -> None:
    """Show where collapse begins, layer by layer.

    Examples:
        nrcscan report
        nrcscan report acts.h5 --errors --noise-max 0.1
        nrcscan report train.h5 --against test.h5 --format json -o gap.json
    """
    acts = acts or _usual()
    output = placed(output, [whole_of(acts), against], force=force)
    require_shown(form, errors=errors, chance=chance, wide=wide)
    if against is not None:
        alone = {"--errors": errors, "--chance": chance, "--checkpoint": checkpoint}
        require_effect(alone, "with --against", "leave it out: gaps are shown with their errors")
        _beside(acts, against, form, output, wide=wide, options=options)
        return
    result = _reported(acts, checkpoint, options, given_in(context))
    show(result, form, output, errors=errors, chance=chance, wide=wide)


def require_shown(form: ReportFormat, *, errors: bool, chance: bool, wide: bool) -> None:
    """Refuse what changes nothing of a report in this form.

    Raises:
        UsageError: a flag has no effect on it.
    """
    if form in ("json", "csv"):
        every = {"--errors": errors, "--chance": chance, "--wide": wide}
        require_effect(every, f"with --format {form}", "leave it out: that has them anyway")
    if form == "md":
        require_effect({"--wide": wide}, "with --format md", "leave it out: that is wide anyway")
    if form == "tex":
        columns = {"--chance": chance, "--wide": wide}
        require_effect(columns, "with --format tex", "leave it out: a paper's table has neither")


def measured(acts: Path, options: ReportOptions) -> nrcscan.Report:
    """Return the report of a file, with a bar while it takes."""
    with counting("layers") as advance:
        return nrcscan.report(acts, **options, on_progress=advance)


def show(
    result: nrcscan.Report,
    form: ReportFormat,
    output: Path | None = None,
    *,
    errors: bool = False,
    chance: bool = False,
    wide: bool = False,
) -> None:
    """Show a report, or write it to a file."""
    from nrcscan.reporting import report_table

    shown = report_table.Shown(errors, chance, wide)
    if form == "table" and output is None:
        table = report_table.table(result, shown)
        if in_terminal(table, table.least_width):
            return
    encoding = "utf-8" if output is not None else encoding_of_stdout()
    emit(report_table.render(result, form, shown, encoding=encoding), output)


def _usual() -> Path:
    """Return the file that is shown where none is named.

    Raises:
        UsageError: no file is named, and none is there by the usual name.
    """
    if not USUAL.exists():
        raise UsageError(
            f"ACTS is missing, and there is no {USUAL} here; name a file, or measure a network"
            " first: nrcscan extract MODEL DATA"
        )
    say(f"no file is named: this is {USUAL}")
    return USUAL


def _reported(
    acts: Path, checkpoint: str | None, options: ReportOptions, given: Set[str]
) -> nrcscan.Report:
    """Report on a file, or on a checkpoint of a scan, which has options of its own."""
    if checkpoint is None and not is_scan(acts):
        return measured(acts, options)
    from nrcscan.scanning.one_checkpoint import report_of_checkpoint

    told = {**options, **vars(options["thresholds"] or Thresholds())}
    chosen = {name: value for name, value in told.items() if name in given}
    return report_of_checkpoint(acts, checkpoint, chosen, on_note=say)


def _beside(
    acts: Path,
    test: Path,
    form: ReportFormat,
    output: Path | None,
    *,
    wide: bool,
    options: ReportOptions,
) -> None:
    """Show a network on two sets of samples.

    Raises:
        UsageError: two reports side by side have no such form.
    """
    if form == "tex":
        raise UsageError("--format tex: is for the report of one file; leave out --against")
    found = nrcscan.against(acts, test, **options)
    from nrcscan.comparing import against_table

    shown = against_table.BothSides(found)
    if form == "table" and output is None and in_terminal(shown, shown.least_width):
        return
    encoding = "utf-8" if output is not None else encoding_of_stdout()
    emit(against_table.render(found, form, wide=wide, encoding=encoding), output)
