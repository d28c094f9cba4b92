"""``nrcscan extract``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import emit, progress, say, speaks
from nrcscan.cli.option_groups import DataFactory, DataFiles, one_source, takes
from nrcscan.options.pass_options import PassOptions


@takes(options=PassOptions)
def extract(
    model: Annotated[
        Path, typer.Argument(help="Checkpoint: .pt .pth .ckpt .bin .safetensors, shards, …")
    ],
    data: DataFiles = None,
    data_factory: DataFactory = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path(
        "acts.h5"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
    *,
    options: PassOptions,
) -> None:
    """Run a trained network over a dataset once and keep its statistics in a file.

    Example: nrcscan extract model.pt data.npz -o acts.h5
    """
    bar = progress("samples")
    with bar:
        task = bar.add_task("samples", total=None, visible=False)
        result = nrcscan.extract(
            model,
            one_source(data, data_factory, "extract"),
            output,
            **options,
            force=force,
            on_note=say,
            on_progress=lambda done, total: bar.update(
                task, completed=done, total=total, visible=True
            ),
        )
    fit = "" if result.r2 is None else f", R² = {result.r2:.3f}"
    if speaks():
        emit(f"{result.path}: {len(result.layers)} layers, {result.n_samples} samples{fit}\n", None)
    say(f"see where it collapses with: nrcscan report {result.path}")
