"""``nrcscan report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit, encoding_of_stdout, in_terminal, placed, say
from nrcscan.cli.option_groups import Chance, Errors, Force, FormOfReport, Wide, Written, takes
from nrcscan.cli.progress_bar import counting
from nrcscan.errors import UsageError
from nrcscan.options.choices import ReportFormat
from nrcscan.options.report_options import ReportOptions

USUAL = Path("acts.h5")
"""What is shown where no file is named."""


@takes(options=ReportOptions)
def report(
    acts: Annotated[
        Path | None,
        typer.Argument(metavar="ACTS", help="A file of nrcscan extract; by default acts.h5 here."),
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
    *,
    options: ReportOptions,
) -> None:
    """Show where collapse begins, layer by layer.

    Examples:
        nrcscan report
        nrcscan report acts.h5 --errors --noise-max 0.1
        nrcscan report train.h5 --against test.h5 --format json -o gap.json
    """
    acts = acts or _usual()
    output = placed(output, [acts, against], force=force)
    if against is None:
        show(acts, form, output, options, errors=errors, chance=chance, wide=wide)
        return
    _require_none({"--errors": errors, "--chance": chance})
    _beside(acts, against, form, output, wide=wide, options=options)


def show(
    acts: Path,
    form: ReportFormat,
    output: Path | None,
    options: ReportOptions,
    *,
    errors: bool = False,
    chance: bool = False,
    wide: bool = False,
) -> None:
    """Show the report of a file, or write it to another."""
    with counting("layers") as advance:
        result = nrcscan.report(acts, **options, on_progress=advance)
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
        raise UsageError(
            "--format tex is for the report of one file; choose another with --against"
        )
    found = nrcscan.against(acts, test, **options)
    from nrcscan.comparing import against_table

    shown = against_table.BothSides(found)
    if form == "table" and output is None and in_terminal(shown, shown.least_width):
        return
    encoding = "utf-8" if output is not None else encoding_of_stdout()
    emit(against_table.render(found, form, wide=wide, encoding=encoding), output)


def _require_none(flags: dict[str, bool]) -> None:
    """Refuse what has no effect on two reports side by side.

    Raises:
        UsageError: a flag of a single report is given with --against.
    """
    for flag, given in flags.items():
        if given:
            raise UsageError(
                f"{flag} is for the report of one file; leave it out with --against, which shows"
                " the gaps with their errors"
            )
