"""Training by several processes: the first one measures, and all of them stop or fail together."""

from __future__ import annotations

import os
from typing import TypeVar

from torch import distributed

from nrcscan.errors import UsageError

Value = TypeVar("Value")


def is_first() -> bool:
    """Whether this process measures.

    Raises:
        UsageError: it is one of torchrun's, which do not know of each other yet.
    """
    if _together():
        return distributed.get_rank() == 0
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ:
        raise UsageError(
            "the processes of torchrun do not know of each other yet; call"
            " torch.distributed.init_process_group before measuring"
        )
    return True


def shared(value: Value) -> Value:
    """Return the first process's value in every process."""
    if not _together():
        return value
    values = [value]
    distributed.broadcast_object_list(values)
    return values[0]


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
