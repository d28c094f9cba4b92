"""How many threads there are, and how products are held to one of them. Imports no torch."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController

WIDE = 2048
"""From this width on a product is long enough for a pool of threads to pay."""


def processors() -> int:
    """Return how many processors this program may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def allowed_threads() -> int:
    """Return how many threads may work at once: OMP_NUM_THREADS, or all processors."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(told), processors()) if told.isdecimal() and int(told) else processors()


def blas_threads(n: int) -> AbstractContextManager[object]:
    """Hold NumPy's and SciPy's products to n threads; one that has worked goes on spinning."""
    return _pools().limit(limits=n, user_api="blas")


@cache
def _pools() -> ThreadpoolController:
    """Return the pools of threads that libraries keep; looking for them takes a while."""
    return ThreadpoolController()
