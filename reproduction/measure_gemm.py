"""Makes data/gemm.npz: how long a blocked matrix product takes, after the paper's SGEMM data.

    python -m reproduction.measure_gemm

Each sample is one way to multiply two 256 × 256 matrices block by block: the sizes of the blocks,
the order of the three loops over them, how each matrix lies in memory, whether blocks are copied
first, and single or double precision. The targets are the logarithms of four timings of it, one
from each of four rounds through all samples: the time of the processor, so that what else runs
counts little. What is measured depends on the machine, so the file is committed; takes about two
minutes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from reproduction.sample_sets import COMMITTED, standardised

SIZE = 256
BLOCKS = (16, 32, 64, 128, 256)
ORDERS = tuple("".join(order) for order in permutations("mnk"))
ROUNDS, TRAIN, TEST = 4, 1600, 400

Matrix = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Kernel:
    """One way to multiply: block sizes, loops from the outermost, and how matrices are held."""

    m: int
    n: int
    k: int
    order: str
    a_by_columns: bool
    b_by_columns: bool
    copied: bool
    double: bool

    def features(self) -> list[float]:
        """Return it as numbers: logarithms of sizes, one column per order of loops, 0 or 1."""
        sizes = [float(np.log2(size)) for size in (self.m, self.n, self.k)]
        orders = [float(self.order == order) for order in ORDERS]
        held = (self.a_by_columns, self.b_by_columns, self.copied, self.double)
        return [*sizes, *orders, *map(float, held)]

    def multiply(self, a: Matrix, b: Matrix) -> Matrix:
        """Return the product of two matrices, added up block by block."""
        made = np.zeros((len(a), b.shape[1]), a.dtype)
        steps = {"m": self.m, "n": self.n, "k": self.k}
        extents = {"m": len(a), "n": b.shape[1], "k": len(b)}
        ranges = [range(0, extents[axis], steps[axis]) for axis in self.order]
        for starts in product(*ranges):
            at = dict(zip(self.order, starts, strict=True))
            m, n, k = (slice(at[axis], at[axis] + steps[axis]) for axis in "mnk")
            left, right = a[m, k], b[k, n]
            if self.copied:
                left, right = left.copy(), right.copy()
            made[m, n] += left @ right
        return made

    def timed(self, rng: np.random.Generator) -> float:
        """Return how many seconds one product takes, the least of three."""
        a, b = (
            np.asarray(rng.standard_normal((SIZE, SIZE)), order="F" if by_columns else "C")
            for by_columns in (self.a_by_columns, self.b_by_columns)
        )
        if not self.double:
            a, b = a.astype(np.float32), b.astype(np.float32)  # which keeps the order
        taken = []
        for _ in range(3):
            begun = time.process_time()
            self.multiply(a, b)
            taken.append(time.process_time() - begun)
        return min(taken)


def kernels(count: int, seed: int = 0) -> list[Kernel]:
    """Return so many different kernels, drawn from all there are."""
    flags = (False, True)
    every = [
        Kernel(*one) for one in product(BLOCKS, BLOCKS, BLOCKS, ORDERS, flags, flags, flags, flags)
    ]
    chosen = np.random.default_rng(seed).choice(len(every), count, replace=False)
    return [every[one] for one in chosen]


def main() -> None:
    """Measure, and write the file."""
    tried = kernels(TRAIN + TEST)
    rng = np.random.default_rng(1)
    seconds = np.empty((len(tried), ROUNDS))
    with threadpool_limits(1):
        for round_ in range(ROUNDS):
            for one in rng.permutation(len(tried)):
                seconds[one, round_] = tried[one].timed(rng)
    x = np.array([kernel.features() for kernel in tried])
    data = standardised(x, np.log(seconds), TRAIN)
    data.save(COMMITTED / "gemm.npz")
    print(f"median {1e3 * np.median(seconds):.2f} ms; correlations of rounds:")
    print(np.corrcoef(np.log(seconds).T).round(4))


if __name__ == "__main__":
    main()
