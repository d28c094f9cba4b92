"""``nrcscan scan``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import nrcscan
from nrcscan.cli.console import INTERRUPTED, emit, in_terminal, progress, say
from nrcscan.cli.option_groups import (
    DataFactory,
    DataFiles,
    one_source,
    pass_options,
    report_options,
    takes,
)
from nrcscan.options.choices import Gate


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
    require: Annotated[
        list[str] | None,
        typer.Option(metavar="RULE", help="What must hold, such as 'model.r2 >= 0.9'; repeatable."),
    ] = None,
    gate: Annotated[
        Gate | None,
        typer.Option(show_default="newest", help="Judge the newest checkpoint of a run, or all."),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="SCAN.JSON", help="An earlier scan, than which none may be worse."),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(show_default="0.01", help="By how much it may be, from 0 to 1."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show every rule with the values that decided it.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the verdicts as JUnit XML.")
    ] = None,
    *,
    settings: dict[str, Any],
    judged: dict[str, Any],
) -> None:
    """Measure every checkpoint in a folder, and show how collapse develops.

    Example: nrcscan scan runs/ data.npz -o scan/
    """
    from nrcscan.gating.settings_file import gather_rules
    from nrcscan.gating.verdicts import require_writable, verdicts_of

    wanted = gather_rules(require or (), gate=gate, baseline=baseline, tolerance=tolerance)
    require_writable(junit)
    with _watched(output) as advance:
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
    _show(found, form)
    say(f"{output}: scan.json, scan.csv and a statistics file per checkpoint")
    verdicts = verdicts_of(found.to_dict(), wanted, folder=folder, explained=explain, junit=junit)
    if form == "table":
        emit(verdicts.text, None)
    else:  # stdout has data alone
        sys.stderr.write(verdicts.text)
    for note in verdicts.notes:
        say(note)
    raise typer.Exit(verdicts.exit_code)


@contextmanager
def _watched(output: Path) -> Iterator[Callable[[int, int], None]]:
    """Yield what is told of progress, and say what is kept of a scan that is interrupted."""
    done = total = 0
    bar = progress("checkpoints")
    try:
        with bar:
            task = bar.add_task("checkpoints", total=None, visible=False)

            def advance(now: int, of: int) -> None:
                nonlocal done, total
                done, total = now, of
                bar.update(task, completed=now, total=of, visible=now < of)

            yield advance
    except KeyboardInterrupt as error:
        kept = f"{done} of {total} checkpoints are kept in {output}" if total else "nothing is lost"
        say(f"interrupted: {kept}; the same command goes on from there")
        raise typer.Exit(INTERRUPTED) from error


def _show(found: nrcscan.Scan, form: str) -> None:
    if form != "table":
        return emit(found.to_json() if form == "json" else found.to_csv(), None)
    from nrcscan.reporting.numbers import plain
    from nrcscan.scanning import scan_table

    shown = scan_table.table(found)
    if not in_terminal(shown):
        emit(plain(shown), None)
    return None
