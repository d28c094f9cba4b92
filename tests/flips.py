"""Flips bits of statistics files and cuts them, and counts where a report's numbers are others.

    python tests/flips.py --count 10000 --seed 1

Each is reported in a child, as in tests/fuzz.py: what comes is the numbers of the file as it was,
or one message. Anything else is a violation: other numbers, another exception, a crash, a hang.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fuzz import Reader, run
from torch import Tensor, nn

import nrcscan
from nrcscan.cutting.between import between

N = 64


def data(*shape: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return samples of a shape, and their targets."""
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(N, *shape)).astype(np.float32)
    rows = x.reshape(N, -1)
    return x, rows[:, :2] + 0.1 * numbers.normal(size=(N, 2)).astype(np.float32)


def network() -> nn.Module:
    """Return three layers."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2))


class Tokens(nn.Module):
    """Two layers that see every token, and one that sees their mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.head = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, 2), of x (n, 3, 4)."""
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))).mean(1))


def _silent(note: str) -> None:
    """Say nothing."""


def extracted(
    build: Callable[[], nn.Module], *shape: int, **options: Any
) -> Callable[[Path], Path]:
    """Return what writes the statistics of a network into a folder."""

    def write(folder: Path) -> Path:
        path = folder / "acts.h5"
        nrcscan.extract(build(), data(*shape), path, on_note=_silent, **options)
        return path

    return write


def _merged(folder: Path) -> Path:
    parts = [folder / "a.h5", folder / "b.h5"]
    for path, first in zip(parts, (0, N // 2), strict=True):
        nrcscan.extract(network(), data(4), path, offset=first, limit=N // 2, on_note=_silent)
    return nrcscan.merge(parts, folder / "acts.h5", on_note=_silent).path


FILES: dict[str, Callable[[Path], Path]] = {
    "plain": extracted(network, 4, activations=False, blocks=0),
    "blocks": extracted(network, 4, activations=False),
    "rows of samples": extracted(network, 4, activations=True),
    "compressed": extracted(network, 4, activations=True, compress=True),
    "sketch": extracted(network, 4, activations=False, sketch=4),
    "tokens": extracted(Tokens, 3, 4, activations=False, pool="tokens"),
    "cross": extracted(network, 4, activations=False, cross=True),
    "unit features": extracted(network, 4, activations=True, measures="all"),
    "merged": _merged,
}
"""What a file can hold → writes one into a folder."""


class SameNumbers:
    """Reports a file, and fails where it says anything else than at the first call."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._expected: str | None = None

    def __call__(self, path: Path) -> None:
        every: Any = "all" if self._kind == "unit features" else None
        told = [nrcscan.report(path, measures=every).to_dict()]
        if self._kind == "cross":
            told.append(between(path).to_dict())
        found = json.dumps(told)
        if self._expected is None:
            self._expected = found
        assert found == self._expected, "other numbers, and not a word"


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return a file with one bit flipped; of six, one has a piece cut out, or off its end."""
    found = bytearray(content)
    place = rng.randrange(len(found))
    match rng.randrange(12):
        case 0:
            del found[place:]
        case 1:
            del found[place : place + rng.choice((1, 2, 8, 64, 512))]
        case _:
            found[place] ^= 1 << rng.randrange(8)
    return bytes(found)


def reader(name: str) -> Reader:
    """Return what the harness of tests/fuzz.py reads the files of a kind by."""
    return Reader(name, FILES[name], SameNumbers(name), anywhere=damaged)


if __name__ == "__main__":
    sys.exit(run({name: reader(name) for name in FILES}, __doc__, "the same numbers"))
