"""``nrcscan extract``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nrcscan
from nrcscan.cli.console import detail, emit_line, say, speaks
from nrcscan.cli.option_groups import (
    Checkpoint,
    DataFactory,
    DataFiles,
    Force,
    Resume,
    Statistics,
    one_source,
    takes,
)
from nrcscan.cli.progress_bar import counting
from nrcscan.files import at_work
from nrcscan.options.check import checked
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.timeout_option import TimeoutOptions
from nrcscan.wording import counted, r_squared

if TYPE_CHECKING:
    from nrcscan.extracting.extraction import Extraction


@takes(options=PassOptions, limits=TimeoutOptions)
def extract(
    model: Checkpoint,
    data: DataFiles = None,
    data_factory: DataFactory = None,
    output: Statistics = Path("acts.h5"),
    force: Force = False,
    resume: Resume = False,
    *,
    options: PassOptions,
    limits: TimeoutOptions,
) -> None:
    """Run a trained network over a dataset once and keep its statistics in a file.

    Examples:
        nrcscan extract model.pt data.npz
        nrcscan extract model.pt data.csv --targets y1,y2 --standardize x,y
        nrcscan extract model.safetensors data.npz --model net.py:build -o net.h5
        nrcscan extract model.pt large.h5 --resume
    """
    at_work.limited_to(checked(TimeoutOptions, limits, "extract")["timeout"])
    source = one_source(data, data_factory, "extract")
    result = watched_pass(model, source, output, options, force=force, resume=resume, on_note=say)
    if speaks():
        emit_line(f"{result.path}: {sizes(result)}")
    say(f"see where it collapses with: nrcscan report {result.path}")


def sizes(result: Extraction) -> str:
    """Return how much was measured, in words, and how well the network fits it."""
    fit = "" if result.r2 is None else f", R² = {r_squared(result.r2)}"
    return f"{counted(len(result.layers), 'layer')}, {result.n_samples} samples{fit}"


def watched_pass(
    model: Path,
    source: Any,
    output: Path,
    options: PassOptions,
    *,
    force: bool,
    resume: bool = False,
    on_note: Callable[[str], None],
) -> Extraction:
    """Run a network over its data with a bar that shows how far it is, and tell what was tried."""
    with counting("samples") as advance:
        result = nrcscan.extract(
            model,
            source,
            output,
            **options,
            force=force,
            resume=resume,
            on_note=on_note,
            on_progress=advance,
        )
    if result.trial is not None:
        detail_trial({str(guess): r2 for guess, r2 in result.trial.r2.items()})
    return result


def detail_trial(r2: Mapping[str, float]) -> None:
    """Tell how well every guess about an inferred network fits, if --verbose is given."""
    tried = sorted(r2.items(), key=lambda one: -one[1])
    found = ", ".join(f"{guess} {fit:.4f}" for guess, fit in tried)
    detail(f"R² of all that was tried on the first samples: {found}")
