"""``nrcscan cut``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit, encoding_of_stdout, in_terminal, placed
from nrcscan.cli.option_groups import Force, Form, Written, takes
from nrcscan.cli.progress_bar import counting
from nrcscan.errors import UsageError
from nrcscan.options.choices import Format
from nrcscan.options.cut_options import CutOptions
from nrcscan.options.effect import require_effect


@takes(options=CutOptions)
def cut(
    train: Annotated[
        Path,
        typer.Argument(metavar="TRAIN", help="A file of nrcscan extract: heads are fitted to it."),
    ],
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="TEST",
            help="The same network on other samples: cuts are judged on these.",
            rich_help_panel="Data",
        ),
    ] = None,
    form: Form = "table",
    output: Written = None,
    force: Force = False,
    wide: Annotated[
        bool,
        typer.Option(
            "--wide",
            help="Show width, ridge and more errors too, as a terminal of 120 columns does, and"
            " whole names.",
        ),
    ] = False,
    *,
    options: CutOptions,
) -> None:
    """Find the smallest network that does as well: its first layers, and a linear head.

    Examples:
        nrcscan cut train.h5 --against test.h5
        nrcscan cut train.h5 --against test.h5 --within 1% --format csv -o cuts.csv
        nrcscan cut acts.h5
    """
    _require_table(output)
    output = placed(output, [train, against], force=force)
    if form != "table":
        require_effect({"--wide": wide}, f"with --format {form}", "leave it out")
    with counting("cuts") as advance:
        found = nrcscan.cut(train, against, on_progress=advance, **options)
    _show(found, form, output, wide=wide)


def _require_table(output: Path | None) -> None:
    """Refuse the name of a network for a table.

    Raises:
        UsageError: what would be written is a table, and its name ends as a checkpoint's does.
    """
    from nrcscan.inputs.checkpoints.recognise import SUFFIXES

    if output is not None and output.suffix.lower() in SUFFIXES:
        raise UsageError(
            f"{output}: ends as a checkpoint does, and would hold a table; choose another ending"
        )


def _show(found: nrcscan.Cuts, form: Format, output: Path | None, *, wide: bool) -> None:
    """Show cuts, or write them to a file."""
    from nrcscan.cutting import cuts_table

    shown = cuts_table.CutsTable(found, wide=wide)
    if form == "table" and output is None and in_terminal(shown, shown.least_width):
        return
    encoding = "utf-8" if output is not None else encoding_of_stdout()
    emit(cuts_table.render(found, form, wide=wide, encoding=encoding), output)
