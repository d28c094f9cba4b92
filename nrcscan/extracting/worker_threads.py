"""One worker thread per core, each with single-threaded kernels: pools never fight over cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch

from nrcscan.cpu_threads import WIDE, blas_threads

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 3
"""Items that wait for a worker, or are in its hands, at most; more would only take memory."""

LONG = 4e7
"""From so many multiply-adds on a layer is long enough for a pool of threads to pay."""


def most_workers() -> int:
    """Return how many workers suit this machine: one per core, or per thread torch may take."""
    return torch.get_num_threads()


@contextmanager
def threads_for(n_workers: int, *, widest: int, work: float) -> Iterator[None]:
    """Hold the kernels of torch and NumPy to what lets so many workers run side by side.

    Args:
        n_workers: how many there are.
        widest: the largest width of a position: by a single worker, what is not wide is
            multiplied in one thread, because a second pool would spin against torch's.
        work: multiply-adds of the network's largest layer on a batch: by a single worker, what
            is not long is run in one thread, because waking a second one takes as long.
    """
    before = torch.get_num_threads()
    alone = n_workers == 1
    try:
        if not alone or work < LONG:
            torch.set_num_threads(1)
        with blas_threads(before if alone and widest >= WIDE else 1):
            yield
    finally:
        torch.set_num_threads(before)


def ahead(items: Iterable[Item], count: int) -> Iterator[Item]:
    """Yield items in order, up to `count` of which a thread of its own has made in advance."""
    source = iter(items)
    end = object()
    with ThreadPoolExecutor(1, "ahead") as maker:
        waiting: deque[Future[Any]] = deque()
        while True:
            while len(waiting) < count:
                waiting.append(maker.submit(next, source, end))
            item = waiting.popleft().result()
            if item is end:
                return
            yield item


def in_order(
    items: Iterable[Item],
    workers: Sequence[Callable[[Item], Result]],
    *,
    busy: bool = False,
    run: int = 1,
    before: int = 0,
) -> Iterator[Result]:
    """Have workers take turns, each with a run of items, and yield results in order.

    So many items have gone before, which count for whose turn it is.

    Which worker does what depends on nothing but the order, so whatever each of them adds up
    is the same in every run. A single worker runs in the calling thread, unless that is busy with
    the results. An error comes up in its turn; what has not been begun by then never is.
    """
    if len(workers) == 1 and not busy:
        yield from map(workers[0], items)
        return
    waiting: deque[Future[Result]] = deque()
    kernel_threads = (torch.get_num_threads(),)  # which a new thread does not know
    with ExitStack() as stack:
        threads: list[ThreadPoolExecutor] = []
        for _ in workers:
            thread = ThreadPoolExecutor(
                1, "worker", initializer=torch.set_num_threads, initargs=kernel_threads
            )
            stack.callback(thread.shutdown, wait=True, cancel_futures=True)
            threads.append(thread)
        for index, item in enumerate(items, before):
            at = index // run % len(threads)
            waiting.append(threads[at].submit(workers[at], item))
            if len(waiting) >= AHEAD * len(threads):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
