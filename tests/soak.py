"""Extracts and reports in one process, over and over, and counts what is left behind.

    python tests/soak.py --count 2000

Each round is another network on another kind of data, and each tenth fails halfway. What counts is
what has grown since the warm-up: resident memory, open handles, threads.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import nn

import nrcscan
from nrcscan.errors import NrcscanError

WARM = 200
"""Rounds until what is made once, and kept, has been made: ten of each kind."""

MOST_GROWTH = 0.05

N, FEATURES, TARGETS = 240, 6, 2

Data = Any
Round = tuple[nn.Module | Path, Data, dict[str, Any]]


@dataclass(frozen=True)
class Held:
    """What a process holds.

    Attributes:
        megabytes: resident.
        handles: open files, pipes and sockets.
        threads: of Python and of libraries.
    """

    megabytes: float
    handles: int
    threads: int


def held() -> Held:
    """Return what this process holds now, as Linux tells it."""
    gc.collect()
    proc = Path("/proc/self")
    pages = int((proc / "statm").read_text().split()[1])
    handles = len([*(proc / "fd").iterdir()]) - 1  # the one that lists them
    threads = len([*(proc / "task").iterdir()])
    return Held(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, handles, threads)


def chain(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, TARGETS),
    )  # fmt: skip


def convolutional() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv1d(1, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * (FEATURES - 2), TARGETS)
    )


class OnSequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(FEATURES, 7, batch_first=True)
        self.attention = nn.MultiheadAttention(7, 1, batch_first=True)
        self.head = nn.Linear(7, TARGETS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps, _ = self.recurrent(x)
        steps, _ = self.attention(steps, steps, steps)
        return self.head(steps.mean(dim=1))


class Rounds:
    """What is measured in turn, with files made once.

    Args:
        folder: for the files.
    """

    def __init__(self, folder: Path) -> None:
        draw = np.random.default_rng(0)
        self.folder = folder
        self.x = draw.standard_normal((N, FEATURES)).astype(np.float32)
        self.y = np.tanh(self.x[:, :TARGETS] + 0.1 * draw.standard_normal((N, TARGETS)))
        torch.manual_seed(0)
        self.saved = folder / "network.pt"
        torch.save(chain(16).state_dict(), self.saved)
        self.npz, self.csv, self.h5 = (folder / f"data.{end}" for end in ("npz", "csv", "h5"))
        np.savez(self.npz, X=self.x, y=self.y)
        names = [*(f"x{i}" for i in range(FEATURES)), *(f"y{i}" for i in range(TARGETS))]
        both = np.hstack([self.x, self.y])
        np.savetxt(self.csv, both, delimiter=",", header=",".join(names), comments="")
        with h5py.File(self.h5, "w") as file:
            file["X"], file["y"] = self.x, self.y
        self.kinds: tuple[Callable[[int], Round], ...] = (
            lambda i: (chain(8 + i % 20), (self.x, self.y), {}),
            lambda i: (self.saved, self.npz, {"activation": "relu"}),
            lambda i: (self.saved, self.csv, {"activation": "relu", "targets": "y0,y1"}),
            lambda i: (self.saved, self.h5, {"activation": "relu", "cross": True}),
            lambda i: (convolutional(), (self.x[:, None], self.y), {"measures": "all"}),
            lambda i: (OnSequences(), (np.stack([self.x, -self.x], 1), self.y), {"pool": "tokens"}),
            lambda i: (chain(80), (self.x, self.y), {"sketch": 40, "sketch_passes": 2}),
            lambda i: (chain(20), self.batches(), {"precision": "float32"}),
            lambda i: (chain(24), (self.x, self.y), {"dtype": "bfloat16", "memory": 300_000}),
            lambda i: (chain(16), self.batches(fail=True), {}),
        )

    def batches(self, *, fail: bool = False) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return the data in batches, the last of which holds NaN where it is to fail."""
        x, y = torch.from_numpy(self.x.copy()), torch.from_numpy(self.y)
        if fail:
            x[-1] = torch.nan
        return list(zip(x.split(32), y.split(32), strict=True))

    def run(self, number: int) -> bool:
        """Extract and report once; returns whether there was a report."""
        model, data, options = self.kinds[number % len(self.kinds)](number)
        path = self.folder / "acts.h5"
        with suppress(NrcscanError):
            nrcscan.extract(model, data, path, force=True, on_note=lambda note: None, **options)
            json.dumps(nrcscan.report(path, measures="all").to_dict())
            return True
        return False


def soak(count: int, warm: int, told: Callable[[int, Held], None]) -> tuple[Held, Held, int]:
    """Return what is held after the warm-up and after so many rounds, and how many reported.

    Args:
        count: rounds, beside those of the warm-up.
        warm: rounds of the warm-up.
        told: called now and then with the rounds so far and what is held.
    """
    with tempfile.TemporaryDirectory() as folder:
        rounds = Rounds(Path(folder))
        for number in range(warm):
            rounds.run(number)
        before = held()
        told(0, before)
        reports = 0
        for number in range(count):
            reports += rounds.run(number)
            if (number + 1) % max(count // 10, 1) == 0:
                told(number + 1, held())
        return before, held(), reports


def main() -> int:
    """Run as many rounds as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()

    def told(number: int, now: Held) -> None:
        print(
            f"{number:6} rounds  {now.megabytes:7.1f} MB  {now.handles} handles "
            f" {now.threads} threads  {time.monotonic() - began:.0f} s",
            flush=True,
        )

    before, after, reports = soak(asked.count, WARM, told)
    growth = after.megabytes / before.megabytes - 1
    handles, threads = after.handles - before.handles, after.threads - before.threads
    print(
        f"{asked.count} extractions, {reports} reports, {asked.count - reports} refused:"
        f" memory {growth:+.1%}, handles {handles:+}, threads {threads:+}"
    )
    return 1 if growth >= MOST_GROWTH or handles > 0 or threads > 0 else 0


if __name__ == "__main__":
    sys.exit(main())
