"""What is checked before a pass begins: where it writes, and what it takes of the machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from nrcscan.errors import OutputError, UsageError
from nrcscan.extracting.kept_files import size_of_rows
from nrcscan.wording import reason

if TYPE_CHECKING:  # what is written where is checked before torch is imported
    import torch

    from nrcscan.extracting.begin_output import Output
    from nrcscan.network.call_plan import CallPlan


def usable_device(name: str) -> torch.device:
    """Return a device that tensors can be put on.

    Under torchrun, "cuda" is a GPU for each rank of this machine, or shared where they are more.

    Raises:
        UsageError: this machine has no such device.
    """
    import torch

    gpus = torch.cuda.device_count() if name == "cuda" else 0
    rank = os.environ.get("LOCAL_RANK", "")
    if gpus and rank.isdecimal():
        name = f"cuda:{int(rank) % gpus}"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"--device {name}: not usable here: {reason(error)}; choose another, such as cpu"
        ) from error
    return device


def memory_of_machine() -> int:
    """Return how many bytes of memory this machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def announce_space(
    output: Output,
    plan: CallPlan,
    total: int | None,
    dtype: np.dtype[Any],
    say: Callable[[str], None],
) -> None:
    """Say how much the activations take, and refuse what cannot fit on the disk.

    With --resume they are there twice until the end.

    Raises:
        OutputError: the disk of the output is too full for the activations.
    """
    if total is None:
        say("storing activations of unknown total size; --no-activations keeps statistics alone")
        return
    once = total * sum(plan.widths) * dtype.itemsize
    needed = 2 * once if output.resume else once
    free = shutil.disk_usage(output.path.parent).free + size_of_rows(output.path)
    if needed > free:
        raise OutputError(
            f"{output.path}: the activations need {needed / 1e9:.1f} GB and the disk has"
            f" {free / 1e9:.1f} GB free; use --no-activations or choose another place with -o"
        )
    size = f"{once / 1e6:,.1f} MB" if once >= 1e5 else f"{once / 1e3:,.1f} kB"
    until = ", and as much beside them until the end" if output.resume else ""
    say(f"storing {size} of activations{until}; --no-activations keeps statistics alone")
