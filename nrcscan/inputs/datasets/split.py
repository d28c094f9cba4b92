"""One part of a dataset, cut as scikit-learn's `train_test_split` cuts it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrcscan.errors import UsageError
from nrcscan.inputs.arrays import each, joined
from nrcscan.inputs.datasets.batches import Batch, Dataset
from nrcscan.wording import listed

PARTS = ("train", "test")
EXAMPLE = "train=0.8,seed=42,part=test"
_KEYS = (*PARTS, "seed", "part", "shuffle")
_LONGEST = 100
_MOST_SEEDS = 2**32


@dataclass(frozen=True)
class Split:
    """How the samples were cut in two, and which part is meant.

    Attributes:
        part: "train" or "test".
        train: the share of the training part as it was written, or its number of samples; None
            for all that the other part leaves.
        test: likewise of the other part.
        seed: the `random_state` of the shuffling; None where nothing was shuffled.
    """

    part: str
    train: str | None
    test: str | None
    seed: int | None

    @classmethod
    def parse(cls, text: str) -> Split:
        """Read what `--split` says: name=value, with commas between.

        Raises:
            UsageError: what --split says of the parts is incomplete, or a word of it is unknown,
                twice, or out of range.

        >>> Split.parse("train=0.8,seed=42,part=test")
        Split(part='test', train='0.8', test=None, seed=42)
        """
        given: dict[str, str] = {}
        for word in text.split(","):
            name, equals, value = (piece.strip() for piece in word.partition("="))
            if not equals or name not in _KEYS:
                raise _wrong(text, f"{word.strip()!r} is none of {listed(f'{k}=…' for k in _KEYS)}")
            if name in given:
                raise _wrong(text, f"{name} is given twice")
            if len(value) > _LONGEST:
                raise _wrong(text[:_LONGEST], f"{name} has more than {_LONGEST} letters")
            given[name] = value
        if given.get("part") not in PARTS:
            raise _wrong(text, f"part={given.get('part', '…')} is not {listed(PARTS, 'or')}")
        if not any(name in given for name in PARTS):
            raise _wrong(text, "neither train=… nor test=… says how large a part is")
        shuffled = given.get("shuffle", "yes")
        if shuffled not in ("yes", "no"):
            raise _wrong(text, f"shuffle={shuffled} is not yes or no")
        seed = given.get("seed")
        if (seed is None) == (shuffled == "yes"):
            raise _wrong(text, "a shuffled split has a seed=…, and one with shuffle=no has none")
        if seed is not None and not (seed.isdecimal() and int(seed) < _MOST_SEEDS):
            raise _wrong(text, f"seed={seed} is not a whole number from 0 to {_MOST_SEEDS - 1}")
        for name in PARTS:
            if name in given and not _is_share(given[name]):
                raise _wrong(
                    text, f"{name}={given[name]} is neither a share below 1 nor a number of samples"
                )
        return cls(
            given["part"],
            given.get("train"),
            given.get("test"),
            None if seed is None else int(seed),
        )

    def rows(self, n: int) -> NDArray[np.bool_]:
        """Return which of n samples are in the part, (n,).

        The samples are those that scikit-learn's `train_test_split(…, train_size, test_size,
        random_state)` gives, or with `shuffle=False`.

        Raises:
            UsageError: the shares leave a part empty, or are more than the samples.
        """
        n_train, n_test = self._sizes(n)
        if self.seed is None:
            order = np.arange(n)
            train, test = order[:n_train], order[n_train : n_train + n_test]
        else:
            # The generator that scikit-learn draws from; NumPy has frozen what it gives.
            order = np.random.RandomState(self.seed).permutation(n)
            test, train = order[:n_test], order[n_test : n_test + n_train]
        chosen = np.zeros(n, dtype=bool)
        chosen[train if self.part == "train" else test] = True
        return chosen

    def _sizes(self, n: int) -> tuple[int, int]:
        """Return how many samples are for training, and for testing."""
        # scikit-learn multiplies in floating point, and rounds in favour of the test.
        test = None if self.test is None else _count(self.test, n, math.ceil)
        train = None if self.train is None else _count(self.train, n, math.floor)
        n_train = n - (test or 0) if train is None else train
        n_test = n - n_train if test is None else test
        if n_train < 1 or n_test < 0 or n_train + n_test > n or (n_test < 1 and test is not None):
            raise UsageError(
                f"--split: {n} samples cannot be cut into {n_train} for training and"
                f" {max(0, n_test)} for testing; give other shares"
            )
        if self.part == "test" and n_test < 1:
            raise UsageError(
                f"--split: nothing of {n} samples is left for testing; give a smaller train=…"
            )
        return n_train, n_test


def part_of(dataset: Dataset, split: Split) -> Dataset:
    """Return the part of a dataset that a split names, its samples in the dataset's order.

    A dataset that does not tell its number of samples is read once beforehand, to count them.

    Raises:
        UsageError: the shares do not fit, or the dataset can be read only once.
    """
    if dataset.once:
        raise UsageError(
            f"{dataset.name}: can be read only once, and --split shuffles by the number of"
            " samples; give data that can be read again"
        )
    n = dataset.n_samples
    if n is None:
        n = sum(len(y) for _, y in dataset.stream(1024))
    chosen = split.rows(n)

    def stream(batch_size: int) -> Iterator[Batch]:
        return _batched(_chosen(dataset.stream(batch_size), chosen), batch_size)

    told = {name: value for name, value in vars(split).items() if value is not None}
    return replace(
        dataset,
        n_samples=int(chosen.sum()),
        stream=stream,
        provenance={**dataset.provenance, "split": {**told, "of": n}},
    )


def _chosen(batches: Iterator[Batch], chosen: NDArray[np.bool_]) -> Iterator[Batch]:
    """Yield what is chosen of each batch."""
    seen = 0
    for x, y in batches:
        rows = chosen[seen : seen + len(y)]
        seen += len(y)
        if rows.any():
            yield _rows(x, rows), y[rows]


def _batched(pieces: Iterator[Batch], batch_size: int) -> Iterator[Batch]:
    """Yield pieces joined, or cut, to batches of one size; the last may be smaller."""
    waiting: list[Batch] = []
    n = 0
    for piece in pieces:
        waiting.append(piece)
        n += len(piece[1])
        while n >= batch_size:
            x, y = joined([x for x, _ in waiting]), np.concatenate([y for _, y in waiting])
            yield _rows(x, slice(batch_size)), y[:batch_size]
            waiting = [(_rows(x, slice(batch_size, None)), y[batch_size:])]
            n -= batch_size
    if n:
        yield joined([x for x, _ in waiting]), np.concatenate([y for _, y in waiting])


def _rows(x: Any, rows: slice | NDArray[np.bool_]) -> Any:
    return each(x, lambda part: part[rows])


def _is_share(text: str) -> bool:
    """Whether this is a share of the samples between 0 and 1, or a number of them."""
    try:
        return float(text) > 0 and (float(text) < 1 or text.isdecimal())
    except ValueError:
        return False


def _count(share: str, n: int, whole: Callable[[float], int]) -> int:
    return int(share) if share.isdecimal() else whole(float(share) * n)


def _wrong(text: str, what: str) -> UsageError:
    return UsageError(f"--split {text}: {what}; write it as {EXAMPLE}")
