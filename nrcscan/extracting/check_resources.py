"""What is checked before a pass begins: where it writes, and what it takes of the machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nrcscan.errors import OutputError, UsageError
from nrcscan.wording import reason

if TYPE_CHECKING:  # what is written where is checked before torch is imported
    import torch

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
    path: Path,
    plan: CallPlan,
    total: int | None,
    dtype: np.dtype[Any],
    say: Callable[[str], None],
) -> None:
    """Say how much the activations take, and refuse what cannot fit on the disk.

    Raises:
        OutputError: the disk of the output is too full for the activations.
    """
    if total is None:
        say("storing activations of unknown total size; --no-activations keeps statistics alone")
        return
    needed = total * sum(plan.widths) * dtype.itemsize
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise OutputError(
            f"{path}: the activations need {needed / 1e9:.1f} GB and the disk has"
            f" {free / 1e9:.1f} GB free; use --no-activations or choose another place with -o"
        )
    size = f"{needed / 1e6:,.1f} MB" if needed >= 1e5 else f"{needed / 1e3:,.1f} kB"
    say(f"storing {size} of activations; --no-activations keeps statistics alone")
