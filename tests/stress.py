"""Measures layers at the ends of what numbers can be, against arithmetic of 60 digits.

    python tests/stress.py --count 10000 --seed 0

Each draw is a layer of a few samples and features: of scales from the least subnormal to the
greatest number, means up to 10⁸ spreads, missing rank, repeated and constant columns, more targets
than features, as few samples as there can be, in four precisions. It arrives in batches, shards and
merges of any kind. What comes out is held against `exactly` and the bounds of `rounding`; the table
says how near it comes to them.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from multiprocessing import get_context
from typing import Literal

import numpy as np
import torch
from defined import OF_RANK, Defined
from draws import STORED, Draw, arrive, drawn
from exactly import ExactLayer, covariance, exact, many, norm, rounded, total
from rounding import SINGULAR, Rounding, U

import nrcscan
from nrcscan import Moments, Statistics
from nrcscan.cpu_threads import processors
from nrcscan.metrics import neighbouring_formulas
from nrcscan.metrics.directions import spectrum
from nrcscan.metrics.error_bounds import resolution, spectrum_of
from nrcscan.metrics.layer_metrics import layer_metrics
from nrcscan.metrics.layer_values import Layer, Setting
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.metrics.target_spectrum import target_spectrum
from nrcscan.options.choices import Precision
from nrcscan.statistics.blocks import (
    Blocks,
    digest,
    directions_kept,
    targets_of,
    top_directions,
)
from nrcscan.statistics.sketch import Sketch, Sketched
from nrcscan.statistics.sketch import test_matrix as directions
from nrcscan.statistics.unit_features import UnitMoments

# --- what comes out ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """One number against the exact one.

    Attributes:
        quantity: its name.
        error: how far it is off.
        bound: how far it may be.
        why: what is wrong beside that; empty if nothing is.
    """

    quantity: str
    error: float
    bound: float
    why: str = ""

    @property
    def broken(self) -> bool:
        return bool(self.why) or not self.error <= self.bound


def checked(seed: int, number: int) -> Iterator[Found]:
    """Yield all that is found of a draw."""
    draw = drawn(seed, number)
    arrived = arrive(draw, np.random.default_rng([seed, number, 1]))
    layer = ExactLayer(draw.features, draw.targets, draw.weight, draw.signal_dim, draw.mse)
    rounding = Rounding(layer, arrived.merges, arrived.apart)
    s = arrived.statistics
    with np.errstate(over="ignore"):
        fits = float(np.square(rounding.ranges).max()) * layer.n < 1e308
    if s is None:
        yield Found("too large", 0, 0, "refused without need" if fits else "")
        return
    if not np.isfinite(rounding.of_covariances).all():
        return
    yield from of_statistics(layer, rounding, s)
    yield from of_quantities(draw, layer, rounding, s)
    yield from of_neighbours(draw, layer, rounding, s)
    yield from of_units(draw, layer, np.random.default_rng([seed, number, 3]))
    yield from of_blocks(draw, np.random.default_rng([seed, number, 4]))
    yield from of_products(draw, layer, rounding, s, np.random.default_rng([seed, number, 2]))


def of_statistics(layer: ExactLayer, rounding: Rounding, s: Statistics) -> Iterator[Found]:
    """Yield means and covariances; each error is that of the entry nearest to its bound."""
    d, bounds = rounding.width, rounding.of_covariances
    for name, found, value, bound in (
        ("feature mean", s.feature_mean, layer.means[0], rounding.of_means[:d]),
        ("target mean", s.target_mean, layer.means[1], rounding.of_means[d:]),
        ("Σ_H", s.feature_covariance, layer.of_features, bounds[:d, :d]),
        ("Σ_HY", s.cross_covariance, layer.across, bounds[:d, d:]),
        ("Σ_Y", s.target_covariance, layer.of_targets, bounds[d:, d:]),
    ):
        error = np.abs(rounded(exact(found) - value))
        size = np.maximum(bound, 5e-324)
        worst = np.unravel_index(np.argmax(error / size), error.shape)
        unit = float(size[worst]) / (rounding.gamma or 1)  # the bound is then γ or a little more
        yield Found(name, float(error[worst]) / unit, float(bound[worst]) / unit)


def of_quantities(
    draw: Draw, layer: ExactLayer, rounding: Rounding, s: Statistics
) -> Iterator[Found]:
    """Yield every quantity, or that it is rightly undefined."""
    k, defined = draw.signal_dim, Defined(layer, rounding, draw.epsilon)
    asked: int | Literal["t"] = "t" if draw.k is None else draw.k
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = nrcscan.metrics(
            s,
            draw.weight,
            k=asked,
            model_mse=draw.mse,
            epsilon=draw.epsilon,
        )
    if sorted([*found.values, *found.undefined]) != sorted(QUANTITIES):
        yield Found("all", 0, 0, "a quantity is neither there nor undefined")
    rank = target_spectrum(s.target_mean, s.target_covariance).rank
    for name in QUANTITIES:
        of, at = OF_RANK.get(name, name), k
        if name in OF_RANK and 0 < rank < k:
            at = rank
        there = defined.of(of, at)
        value = found[name]
        if value is None:
            why = f"undefined: {found.undefined[name]}" if there else ""
            yield Found(name, 0, math.inf, why or ("" if found.undefined[name] else "no reason"))
        elif there is False:
            yield Found(name, 0, 0, f"is {value!r}, and is not defined")
        elif not math.isfinite(value):
            yield Found(name, 0, 0, f"is {value!r}")
        elif there:
            bound = rounding.of(of, at)
            truth = layer.quantity(of, at)
            unit = _unit(name, layer, float(truth))
            yield Found(name, abs(float(truth - value)) / unit, bound / unit)


def _unit(quantity: str, layer: ExactLayer, value: float) -> float:
    """Return in what an error is told: of a squared one the targets' variance."""
    if quantity in ("linear_mse", "linear_mse_held_out"):
        return float(layer.target_variance)
    return max(1.0, abs(value)) if quantity in ("error_ratio", "excess") else 1.0


def of_products(
    draw: Draw, layer: ExactLayer, rounding: Rounding, s: Statistics, rng: np.random.Generator
) -> Iterator[Found]:
    """Yield quantities from float32 products, or a sketch, against the bounds given with them."""
    precision: Precision = "float32" if rng.random() < 0.5 else "float64"
    d, t = rounding.width, draw.targets.shape[1]
    sketched = precision == "float64" or rng.random() < 0.3
    rank = int(rng.integers(1, d + 1))
    if sketched:
        moments: Moments = Sketch(directions(d, rank), t, precision=precision)
    else:
        moments = Moments(d, t, precision=precision)
    dtype, _ = STORED[draw.stored]
    rows = torch.from_numpy(draw.features).to(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moments.update(rows.float() if draw.stored == "float32" else rows, draw.targets)
        epsilon = {"float64": 2.0**-52, "float32": 2.0**-23}[precision]
        try:
            known = moments.sketched() if isinstance(moments, Sketch) else moments.statistics()
        except ValueError as error:
            yield Found("too large", 0, 0, "" if "too large" in str(error) else str(error))
            return
        features = (
            spectrum_of(known, epsilon)
            if isinstance(known, Sketched)
            else spectrum(known.feature_covariance)
        )
        of_targets = target_spectrum(s.target_mean, s.target_covariance).rank
        setting = Setting(draw.signal_dim, draw.mse, epsilon=draw.epsilon, target_rank=of_targets)
        resolved = resolution(features, epsilon, sketched=sketched)
        found = layer_metrics(Layer(known, features, draw.weight, setting, resolved))
    kind = "sketch" if sketched else "float32 products"
    defined = Defined(layer, rounding, draw.epsilon)
    for name, value in found.values.items():
        of, at = OF_RANK.get(name, name), draw.signal_dim
        if name in OF_RANK and 0 < of_targets < at:
            at = of_targets
        there = defined.of(of, at)
        if there and name in found.bounds:
            truth = layer.quantity(of, at)
            bound = found.bounds[name] + rounding.of(of, at)
            unit = _unit(name, layer, float(truth))
            yield Found(f"{name}, {kind}", abs(float(truth - value)) / unit, bound / unit)
        # A sketch of few directions sees no next one: what it says then holds for any as strong.
        arbitrary = sketched and of == "cka" and defined.apart(at) is False
        if (there is False and not arbitrary) or not math.isfinite(value):
            yield Found(f"{name}, {kind}", 0, 0, f"is {value!r}, and is not defined")


def of_neighbours(
    draw: Draw, layer: ExactLayer, rounding: Rounding, s: Statistics
) -> Iterator[Found]:
    """Yield the neighbouring measures, and what they take of features scaled to norm 1."""
    if not Defined(layer, rounding, draw.epsilon).varies():
        return
    features, values = spectrum(s.feature_covariance), layer.spectrum[0]
    shares = values / total(values)
    # A share is off by twice the error of all d eigenvalues over their sum.
    off = 4 * rounding.width * rounding.tau / float(total(values)) + rounding.last
    if off > 0.01:
        return
    k = min(draw.signal_dim, rounding.width)
    explained = neighbouring_formulas.explained_variance(features)[k - 1]
    yield Found("explained variance", abs(float(total(shares[:k]) - explained)), off)
    ratio = 1 / total(shares**2)
    found = neighbouring_formulas.participation_ratio(features.values)
    yield Found("participation ratio", abs(float(ratio - found)), 4 * rounding.width * off)
    # −p ln p changes by no more than δ (2 + |ln δ|) where p does by δ.
    entropy = -total([p * many.log(p) for p in shares if p > 0])
    found = neighbouring_formulas.effective_rank(features.values)
    bound = 2 * found * rounding.width * off * (2 - math.log(off))
    yield Found("effective rank", abs(float(many.exp(entropy) - found)), bound)


def of_units(draw: Draw, layer: ExactLayer, rng: np.random.Generator) -> Iterator[Found]:
    """Yield moments of h/‖h‖, whose entries are off by (d + 4) u before they are added up."""
    h = exact(draw.features)
    sizes = [norm(row) for row in h]
    units = np.array([row / size for row, size in zip(h, sizes, strict=True) if size], object)
    seen = UnitMoments(h.shape[1])
    for rows in np.split(draw.features, np.sort(rng.integers(0, len(h) + 1, 2))):
        other = UnitMoments(h.shape[1])
        other.take(rows)
        seen.merge(other)
    found = seen.result()
    if (found.n_samples, found.n_zero) != (len(units), len(h) - len(units)):
        yield Found("unit features", 0, 0, "another number of them")
    if not len(units):
        return
    mean = units.sum(axis=0) / many.mpf(len(units))
    second = covariance(units - mean, units - mean)
    n, d = units.shape
    bound = (2 * n + 4 * d + 40) * U  # no entry is over 1
    error = np.abs(rounded(exact(found.mean) - mean)).max()
    yield Found("unit features, mean", float(error), bound)
    error = np.abs(rounded(exact(found.covariance) - second)).max()
    yield Found("unit features, covariance", float(error), 4 * bound)
    if not layer.weight.any() or layer.weight_rank >= d:
        return
    values = rounded(layer.of_weight[0])
    least = max(layer.weight.shape) * 2.0**-23 * values[0]
    kept = int((values > least).sum())
    if kept >= d or np.abs(values - least).min() < 1e-3 * least:
        return
    basis = layer.of_weight[1][:, :kept]
    left = units - units @ basis @ basis.T
    truth = float(total(np.ravel(left) ** 2) / n)
    value = neighbouring_formulas.nrc2a(found, neighbouring_formulas.row_space(draw.weight))
    turned = SINGULAR * sum(layer.weight.shape) * U * values[0] / (values[kept - 1] - values[kept])
    yield Found("nrc2a", abs(value - truth), 4 * d * d * bound + 2 * turned)


def of_blocks(draw: Draw, rng: np.random.Generator) -> Iterator[Found]:
    """Yield the digest of blocks of samples, whose sums are about one shift, and of their pairs."""
    n, d, t = len(draw.features), draw.features.shape[1], draw.targets.shape[1]
    rounding = Rounding(ExactLayer(draw.features, draw.targets, draw.weight, 1, 1.0), merges=4)
    size = float(np.hypot.reduce(rounding.ranges))
    if n < 2 or not 1e-70 < size < 1e70 or rounding.largest.max() > 1e200:
        return
    cuts = np.unique(rng.integers(1, n, 4))
    rows = np.split(np.arange(n), cuts)
    parts = [Moments(d, t)]
    for some in rows:
        part = parts[0] if some is rows[0] else parts[0].fresh()
        part.update(draw.features[some], draw.targets[some])
        parts = parts if some is rows[0] else [*parts, part]
    whole = Moments.merged(parts).statistics()
    targets = targets_of(parts, None)
    kept = top_directions(whole.feature_covariance, directions_kept(d, t))
    found = digest(parts, whole, targets, kept, None)
    yield from _digest("blocks", found, rows, draw, rounding)
    pairs = [np.concatenate(rows[i : i + 2]) for i in range(0, len(rows), 2)]
    yield from _digest(
        "pairs of blocks", found.pooled(whole.feature_covariance), pairs, draw, rounding
    )


def _digest(
    name: str, found: Blocks, rows: list[np.ndarray], draw: Draw, rounding: Rounding
) -> Iterator[Found]:
    d, bounds = rounding.width, rounding.of_covariances * 4
    size = float(rounding.ranges @ rounding.ranges)
    means = rounding.of_means * 4
    lost = 8 * U * np.outer(rounding.largest, rounding.ranges)  # of means, where pairs are made
    bounds = bounds + lost + lost.T
    of_all = rounding.layer.of_features
    for b, some in enumerate(rows):
        one = ExactLayer(draw.features[some], draw.targets[some], draw.weight, 1, 1.0)
        inner = total(np.ravel(of_all * one.of_features))
        wide = float(np.abs(bounds[:d, :d]).sum())
        for value, truth, bound in (
            (found.feature_mean[b], one.means[0], means[:d]),
            (found.targets.mean[b], one.means[1], means[d:]),
            (found.targets.covariance[b], one.of_targets, bounds[d:, d:]),
            (found.cross_covariance[b], one.across, bounds[:d, d:]),
            (found.along[b], one.of_features @ exact(found.basis), bounds[:d, :d] * d),
            (found.trace[b], np.trace(one.of_features), np.trace(bounds[:d, :d])),
            (found.inner[b], inner, 4 * wide * size),
        ):
            error = np.abs(rounded(exact(np.asarray(value)) - truth))
            with np.errstate(over="ignore"):
                share = error / np.maximum(bound, 5e-324)
            yield Found(name, float(share.max()) * rounding.gamma, rounding.gamma)


# --- the table --------------------------------------------------------------------------------


@dataclass
class Tally:
    """What was found of a quantity.

    Attributes:
        unbounded: how often it was rightly undefined, or has no digit.
        errors: and their bounds.
        largest: error.
        bound: of that.
        nearest: the largest share of its bound that an error came to.
    """

    unbounded: int = 0
    errors: list[float] = field(default_factory=list)
    largest: float = 0.0
    bound: float = 0.0
    nearest: float = 0.0

    def take(self, found: Found) -> None:
        if not math.isfinite(found.bound):
            self.unbounded += 1
            return
        if found.error >= self.largest:
            self.largest, self.bound = found.error, found.bound
        self.errors.append(found.error)
        if found.bound:
            self.nearest = max(self.nearest, found.error / found.bound)

    def merge(self, other: Tally) -> None:
        if other.largest >= self.largest:
            self.largest, self.bound = other.largest, other.bound
        self.unbounded += other.unbounded
        self.errors += other.errors
        self.nearest = max(self.nearest, other.nearest)

    def row(self, name: str) -> str:
        """Return a row of the table in docs/reliability.md."""
        if not self.errors:
            return f"| {name} | 0 | {self.unbounded} | | | | |"
        usual = np.quantile(self.errors, [0.5, 0.99])
        return (
            f"| {name} | {len(self.errors):,} | {self.unbounded:,} | {usual[0]:.0e} |"
            f" {usual[1]:.0e} | {self.largest:.0e} ({self.bound:.0e}) | {self.nearest:.0%} |"
        )


HEAD = """\
| quantity | compared | else | median error | 99 % | largest (its bound) | nearest |
|---|---|---|---|---|---|---|"""


def stress(numbers: range, seed: int) -> tuple[dict[str, Tally], list[str]]:
    """Return what is found of draws, and what is wrong; warnings are."""
    warnings.simplefilter("error")
    tallies: dict[str, Tally] = defaultdict(Tally)
    wrong = []
    for number in numbers:
        try:
            every = list(checked(seed, number))
        except (ArithmeticError, ValueError, Warning, AssertionError) as error:
            every = [Found("all", 0, 0, f"{type(error).__name__}: {error}")]
        for found in every:
            tallies[found.quantity].take(found)
            if found.broken:
                said = found.why or f"off by {found.error:.2g}, bound {found.bound:.2g}"
                wrong.append(f"{number}: {found.quantity} {said} ({drawn(seed, number).what})")
    return tallies, wrong


def main() -> int:
    """Measure as many layers as are asked for, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=processors())
    asked = parser.parse_args()
    began = time.monotonic()
    tallies: dict[str, Tally] = defaultdict(Tally)
    wrong: list[str] = []
    parts = [range(i, min(i + 100, asked.count)) for i in range(0, asked.count, 100)]
    with ProcessPoolExecutor(asked.processes, get_context("spawn")) as pool:
        for found, of_part in pool.map(stress, parts, repeat(asked.seed)):
            wrong += of_part
            for name, tally in found.items():
                tallies[name].merge(tally)
    print(HEAD)
    for name, tally in tallies.items():
        print(tally.row(name))
    for one in wrong[:20]:
        print(one)
    print(
        f"{asked.count} layers, {sum(len(t.errors) for t in tallies.values())} numbers,"
        f" {len(wrong)} wrong (seed {asked.seed}), {time.monotonic() - began:.0f} s"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
