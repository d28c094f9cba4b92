"""Batches that memory has no room for are taken in halves, and nothing is counted twice."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Protocol

import torch

from nrcscan.errors import InputError
from nrcscan.network.out_of_memory import NoRoomError, ran_out


class _Counts(Protocol):
    """What adds up rows."""

    @property
    def n_samples(self) -> int:
        """How many it has."""


class AtOnce:
    """How many samples memory has room for, as far as is known; workers share it.

    Args:
        note: told when it is fewer than a batch has.
        never: why batches cannot be halved, and what to do about it; None where they can.
        most: what is known beforehand.

    Attributes:
        most: samples; None for as many as a batch has.
    """

    def __init__(
        self,
        note: Callable[[str], None],
        never: tuple[str, str] | None = None,
        most: int | None = None,
    ) -> None:
        self._note, self._never = note, never
        self.most = most
        self._lock = Lock()

    def parts(self, n: int, take: Callable[[slice], None]) -> None:
        """Have all rows of a batch of n samples taken, in order, in parts that there is room for.

        Raises:
            InputError: there is no room for one sample, or the batch cannot be halved.
        """
        start = 0
        while start < n:
            rows = slice(start, min(n, start + (self.most or n)))
            try:
                take(rows)
            except NoRoomError as error:
                self._halve(rows.stop - start, error)
            else:
                start = rows.stop
                continue
            gc.collect()  # what the failed attempt had is let go of with its error
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _halve(self, n: int, error: NoRoomError) -> None:
        """Take in that there is no room for n samples.

        Raises:
            InputError: memory runs out, and fewer samples at once are none, or not possible.
        """
        if self._never is not None:
            why, remedy = self._never
            raise InputError(
                f"not enough memory for {n} samples at once, and {why}; {remedy}"
            ) from error
        if n == 1:
            raise InputError(
                "not enough memory for a single sample; end other programs, or run it where there"
                " is more"
            ) from error
        with self._lock:
            if self.most is None or n // 2 < self.most:
                self.most = n // 2
                self._note(f"not enough memory for {n} samples at once: going on with {n // 2}")


class RowsHad:
    """Which rows of a batch sums have already, where they come again because memory ran out.

    It is the number that tells: what adds up rows counts each as it takes it.
    """

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}
        self._covered: Counter[int] = Counter()
        self._now: dict[int, int] = {}

    def of(self, sums: _Counts, n: int) -> int:
        """Return how many of the next n rows are in some sums already: the first of them."""
        key = id(sums)
        have = sums.n_samples
        seen = have - self._begun.setdefault(key, have) - self._covered[key]
        self._now[key] = n
        return min(seen, n)

    def cover(self) -> None:
        """Take in that the rows asked about are in everywhere."""
        self._covered.update(self._now)
        self._now.clear()

    def again(self) -> None:
        """Take in that they come again."""
        self._now.clear()


@contextmanager
def for_sums() -> Iterator[None]:
    """End with one message where memory runs out in the middle of a sum, which may be half there.

    Raises:
        InputError: memory runs out as sums are made.
    """
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        raise InputError(
            "not enough memory to add up features; end other programs, use a smaller --batch-size,"
            " or allow less at once with --memory"
        ) from error
