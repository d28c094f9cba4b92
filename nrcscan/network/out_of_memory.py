"""What it looks like when memory runs out, on the host or on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from nrcscan.errors import InputError, NrcscanError

_SIGNS = (
    "DefaultCPUAllocator",  # of torch on the host, which raises a plain RuntimeError
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
    "Failed to allocate memory",  # of onnxruntime
)


class NoRoomError(InputError):
    """Memory is too small for so many samples at once; for fewer it may do."""


def ran_out(error: BaseException) -> bool:
    """Whether an error says that there is no more memory."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, Exception) and any(sign in str(error) for sign in _SIGNS)


@contextmanager
def room_for(n_samples: int) -> Iterator[None]:
    """Tell where there is no memory for samples.

    Raises:
        NoRoomError: memory runs out.
    """
    try:
        yield
    except NrcscanError:
        raise
    except Exception as error:
        if ran_out(error):
            raise no_room(n_samples) from error
        raise


def no_room(n_samples: int) -> NoRoomError:
    """Return the error that so many samples are too many.

    Raises:
        NoRoomError: memory runs out.
    """
    return NoRoomError(
        f"not enough memory for {n_samples} samples at once; use a smaller --batch-size"
    )
