"""``nrcscan scan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import nrcscan
from nrcscan.cli.console import INTERRUPTED, emit, in_terminal, progress, say
from nrcscan.cli.options import (
    DataFactory,
    DataFiles,
    one_source,
    pass_options,
    report_options,
    takes,
)


@takes(settings=pass_options, judged=report_options)
def scan(
    folder: Annotated[Path, typer.Argument(help="Where the checkpoints are, in sub-folders too.")],
    data: DataFiles = None,
    data_factory: DataFactory = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")] = Path(
        "scan"
    ),
    pattern: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Only checkpoints that match; repeatable."),
    ] = None,
    follow_links: Annotated[
        bool, typer.Option("--follow-links", help="Follow links that lead out of the folder.")
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            show_default="one per processor",
            help="Checkpoints measured at once, in a process each.",
        ),
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Give up a checkpoint after so long.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="tcp://HOST:PORT|local:N",
            help="Run on a Dask cluster, or start one here with N workers. They must find FOLDER,"
            " DATA and the output at the same paths.",
        ),
    ] = None,
    form: Annotated[
        Literal["table", "json", "csv"],
        typer.Option("--format", help="What to show; the output folder has JSON and CSV anyway."),
    ] = "table",
    activations: Annotated[bool, typer.Option(help="Store the features themselves too.")] = False,
    *,
    settings: dict[str, Any],
    judged: dict[str, Any],
) -> None:
    """Measure every checkpoint in a folder, and show how collapse develops.

    Example: nrcscan scan runs/ data.npz -o scan/
    """
    done = total = 0
    bar = progress("checkpoints")
    try:
        with bar:
            task = bar.add_task("checkpoints", total=None, visible=False)

            def advance(now: int, of: int) -> None:
                nonlocal done, total
                done, total = now, of
                bar.update(task, completed=now, total=of, visible=now < of)

            found = nrcscan.scan(
                folder,
                one_source(data, data_factory, "scan"),
                output,
                patterns=pattern or (),
                follow_links=follow_links,
                jobs=jobs,
                timeout=timeout,
                cluster=cluster,
                on_note=say,
                on_progress=advance,
                activations=activations,
                **settings,
                **judged,
            )
    except KeyboardInterrupt as error:
        kept = f"{done} of {total} checkpoints are kept in {output}" if total else "nothing is lost"
        say(f"interrupted: {kept}; the same command goes on from there")
        raise typer.Exit(INTERRUPTED) from error
    if form == "table":
        from nrcscan.scanning import table
        from nrcscan.shown import plain

        shown = table.table(found)
        if not in_terminal(shown):
            emit(plain(shown), None)
    else:
        emit(found.to_json() if form == "json" else found.to_csv(), None)
    say(f"{output}: scan.json, scan.csv and a statistics file per checkpoint")
    raise typer.Exit(found.exit_code)
