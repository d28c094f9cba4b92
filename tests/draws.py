"""Layers at the ends of what numbers can be, and the ways in which their samples arrive."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from exactly import Matrix

from nrcscan import Moments, Statistics

STORED = {
    "float64": (torch.float64, 2.0**-52),
    "float32": (torch.float32, 2.0**-23),
    "bfloat16": (torch.bfloat16, 2.0**-7),
    "float16": (torch.float16, 2.0**-10),
}
"""Precision → its type, and its machine epsilon."""

SHAPES = (
    "plain", "steep", "low rank", "duplicated", "constant column", "all constant", "one-hot",
    "few distinct", "collapsed",
)  # fmt: skip
WEIGHTS = ("plain", "low rank", "orthogonal", "zero", "aligned")
MEANS = (0.0, 0.0, 1.0, 1e3, 1e6, 1e8)
"""Mean over spread."""


@dataclass(frozen=True)
class Draw:
    """A layer, as it is stored.

    Attributes:
        features: (n, d), in the precision of `stored`.
        targets: (n, t).
        weight: (out, d).
        k: signal dimension; None for the number of targets.
        mse: of the network.
        stored: key of `STORED`.
        what: how it was drawn.
    """

    features: Matrix
    targets: Matrix
    weight: Matrix
    k: int | None
    mse: float
    stored: str
    what: str

    @property
    def epsilon(self) -> float:
        return STORED[self.stored][1]

    @property
    def signal_dim(self) -> int:
        return self.targets.shape[1] if self.k is None else self.k


def drawn(seed: int, number: int) -> Draw:
    """Return a draw, the same one each time."""
    rng = np.random.default_rng([seed, number])
    d, t, out = (int(rng.integers(1, most)) for most in (7, 5, 7))
    few = [1, 2, max(d - 1, 1), d, d + 1, d + 2]
    n = int(rng.choice([*few, *range(2 * d + 2, 2 * d + 12)]))
    shape, of_weight = (str(rng.choice(kinds)) for kinds in (SHAPES, WEIGHTS))
    stored = str(rng.choice(list(STORED), p=[0.55, 0.15, 0.15, 0.15]))
    y = rng.standard_normal((n, t))
    basis = rng.integers(-3, 4, (t, d)).astype(float)
    h = _features(rng, shape, n, d, y, basis)
    w = _weight(rng, of_weight, out, d, basis)
    mean, y_mean = rng.choice(MEANS, 2)
    h = h + mean * rng.choice([-1.0, 1.0], d) * rng.uniform(0.5, 2, d)
    y = y + y_mean * rng.uniform(-1, 1, t)
    if rng.random() < 0.1:
        y[:, 0] = y[0, 0]
    if rng.random() < 0.05:
        y[:] = y[0]
    h = _stored(h * _scale(rng, stored), stored)
    y, w = y * _scale(rng, "float64"), w * 10.0 ** rng.uniform(-30, 30)
    with np.errstate(over="ignore", invalid="ignore"):
        mse = 10.0 ** rng.uniform(-6, 0) * float(y.var(axis=0).mean())
    mse = mse if 0 < mse < math.inf else 1.0
    k = int(rng.integers(1, d + 2)) if rng.random() < 0.3 else None
    what = f"{shape}, weight {of_weight}, {stored}, means {mean:g} and {y_mean:g}"
    return Draw(h, y, w, k, mse, stored, what)


def _features(
    rng: np.random.Generator, shape: str, n: int, d: int, y: Matrix, basis: Matrix
) -> Matrix:
    h = rng.standard_normal((n, d))
    match shape:
        case "steep":
            h = h * 10.0 ** -rng.uniform(0, 7, d)
        case "low rank":
            r = int(rng.integers(1, d + 1))
            h = (rng.integers(-8, 9, (n, r)) @ rng.integers(-3, 4, (r, d))).astype(float)
        case "duplicated":
            h = h[:, rng.integers(0, d, d)]
        case "constant column":
            h[:, int(rng.integers(d))] = rng.choice([0.0, 0.1, -3.0])
        case "all constant":
            h[:] = h[0]
        case "one-hot":
            h = np.eye(d)[rng.permutation(n) % d]
        case "few distinct":
            h = h[rng.integers(0, min(n, 3), n)]
        case "collapsed":
            h = y @ basis
    return h


def _weight(rng: np.random.Generator, kind: str, out: int, d: int, basis: Matrix) -> Matrix:
    w = rng.standard_normal((out, d))
    match kind:
        case "low rank":
            w = np.outer(w[:, 0], w[0])
        case "orthogonal":
            w = np.linalg.qr(rng.standard_normal((d, d)))[0]
        case "zero":
            w = 0 * w
        case "aligned":
            w = rng.standard_normal((out, len(basis))) @ basis
    return w


def _scale(rng: np.random.Generator, stored: str) -> float:
    """Return a scale that the precision has: of float64 now and then one that squares have not."""
    if stored == "float16":
        return float(10.0 ** rng.uniform(-6, 2))
    if stored == "float64" and rng.random() < 0.1:
        return float(10.0 ** rng.choice([-323, -315, -200, -160, -76, -74, 74, 76, 160, 290]))
    return float(10.0 ** rng.uniform(-30, 30))


def _stored(values: Matrix, stored: str) -> Matrix:
    """Return values as they are in a precision, what is beyond it at its largest."""
    dtype, _ = STORED[stored]
    with np.errstate(over="ignore"):
        limit = float(torch.finfo(dtype).max)
    kept = torch.from_numpy(np.clip(values, -limit, limit)).to(dtype)
    return kept.double().clamp(-limit, limit).numpy()


# --- what arrives -----------------------------------------------------------------------------


@dataclass
class Arrived:
    """What was added up.

    Attributes:
        statistics: None where squares exceed float64.
        merges: how many accumulators were put together.
        apart: how often statistics were taken apart on the way.
    """

    statistics: Statistics | None
    merges: int
    apart: int


def arrive(draw: Draw, rng: np.random.Generator) -> Arrived:
    """Add samples up in batches, in shards that are merged in any order and any tree."""
    n = len(draw.features)
    cuts = np.sort(rng.integers(0, n + 1, int(rng.integers(0, 4))))
    shards = [_shard(draw, rows, rng) for rows in np.split(np.arange(n), cuts)]
    merges, apart = len(shards) - 1, 0
    rng.shuffle(shards)
    try:
        while len(shards) > 1:
            other = shards.pop(int(rng.integers(len(shards))))
            into = int(rng.integers(len(shards)))
            if rng.random() < 0.2 and other.n_samples:
                other = Moments.from_statistics(other.statistics())
                apart = 1
            shards[into].merge(other)
        return Arrived(shards[0].statistics(), merges, apart)
    except ValueError as error:
        if "too large" not in str(error):
            raise
        return Arrived(None, merges, apart)


def _shard(draw: Draw, rows: np.ndarray, rng: np.random.Generator) -> Moments:
    moments = Moments(draw.features.shape[1], draw.targets.shape[1])
    dtype, _ = STORED[draw.stored]
    size = int(rng.integers(1, 6))
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        features = torch.from_numpy(draw.features[some]).to(dtype)
        moments.update(features, draw.targets[some])
        if rng.random() < 0.2:
            moments.close()  # so that the shift is that of the first rows
    return moments
