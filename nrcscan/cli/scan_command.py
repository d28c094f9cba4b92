"""``nrcscan scan``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

import nrcscan
from nrcscan.cli.console import INTERRUPTED, emit, in_terminal, progress, say
from nrcscan.cli.option_groups import DataFactory, DataFiles, one_source, takes
from nrcscan.options.gate_options import GateOptions
from nrcscan.options.scan_options import ScanOptions


@takes(many=True, options=ScanOptions, gating=GateOptions)
def scan(
    folder: Annotated[Path, typer.Argument(help="Where the checkpoints are, in sub-folders too.")],
    data: DataFiles = None,
    data_factory: DataFactory = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")] = Path(
        "scan"
    ),
    form: Annotated[
        Literal["table", "json", "csv"],
        typer.Option("--format", help="What to show; the output folder has JSON and CSV anyway."),
    ] = "table",
    explain: Annotated[
        bool, typer.Option("--explain", help="Show every rule with the values that decided it.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the verdicts as JUnit XML.")
    ] = None,
    *,
    options: ScanOptions,
    gating: GateOptions,
) -> None:
    """Measure every checkpoint in a folder, and show how collapse develops.

    Example: nrcscan scan runs/ data.npz -o scan/
    """
    from nrcscan.gating import judge
    from nrcscan.gating.github import publish_github
    from nrcscan.gating.junit import require_junit, write_junit
    from nrcscan.gating.settings_file import gather_rules

    wanted = gather_rules(**gating)
    if junit is not None:
        require_junit()
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
                **options,
                on_note=say,
                on_progress=advance,
            )
    except KeyboardInterrupt as error:
        kept = f"{done} of {total} checkpoints are kept in {output}" if total else "nothing is lost"
        say(f"interrupted: {kept}; the same command goes on from there")
        raise typer.Exit(INTERRUPTED) from error
    if form == "table":
        from nrcscan.reporting.numbers import plain
        from nrcscan.scanning import scan_table

        shown = scan_table.table(found)
        if not in_terminal(shown):
            emit(plain(shown), None)
    else:
        emit(found.to_json() if form == "json" else found.to_csv(), None)
    say(f"{output}: scan.json, scan.csv and a statistics file per checkpoint")
    told = found.to_dict()
    results = judge.judge(
        told,
        wanted.rules,
        gate=wanted.gate,
        baseline=wanted.baseline,
        tolerance=wanted.tolerance,
    )
    text = judge.explain(results if explain else judge.failed(results))
    if form == "table":
        emit(text, None)
    else:  # stdout has data alone
        sys.stderr.write(text)
    if judged_ones := [result for result in results if result.passed is not None]:
        n_failed = len(judge.failed(results))
        say(f"{len(judged_ones)} verdicts: {len(judged_ones) - n_failed} hold, {n_failed} fail")
    if junit is not None:
        write_junit(junit, told, results)
    publish_github(told, results, folder)
    raise typer.Exit(judge.exit_code(told, results))
