"""Counts false verdicts: on networks that have not collapsed, on fewer samples, in another basis.

    python benchmarks/verdicts.py [--quick] [--only NAME]...

random     networks that were never trained and label their own data, and networks of random
           features whose head alone is fitted, to a function or to noise: none has collapsed
samples    the shipped networks on 50 to 800 of their 800 samples: the verdict is that on all, or
           undecided
basis      the same function with its hidden units rotated (between linear layers), permuted, or
           rescaled by powers of two: the same verdict
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

import nrcscan

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = ROOT / "fixtures"
OPEN = ("undecided", "cannot be judged")


def verdict(net: nn.Module | Path, data: object, folder: Path, **options: object) -> nrcscan.Report:
    """Return the report of a network on data."""
    path = folder / "acts.h5"
    nrcscan.extract(net, data, path, force=True, activations=False, **options)  # type: ignore[arg-type]
    return nrcscan.report(path)


# --- networks that have not collapsed --------------------------------------------------------


def random_network(rng: np.random.Generator, t: int, inputs: int) -> nn.Sequential:
    """Return a network that was never trained, narrow ones among them."""
    depth = int(rng.integers(2, 7))
    if rng.random() < 0.4:
        widths = [t + 1] * depth
    else:
        widths = [int(2 ** rng.uniform(2, 8)) for _ in range(depth)]
    act = [nn.ReLU, nn.Tanh, nn.GELU, nn.Identity][int(rng.integers(4))]
    bias = bool(rng.random() < 0.5)
    modules: list[nn.Module] = []
    torch.manual_seed(int(rng.integers(2**31)))
    for a, b in pairwise([inputs, *widths]):
        modules += [nn.Linear(a, b, bias=bias), act()]
    return nn.Sequential(*modules, nn.Linear(widths[-1], t, bias=bias)).double().eval()


def self_labelled(seed: int) -> tuple[nn.Sequential, np.ndarray, np.ndarray]:
    """Return an untrained network, inputs, and its own outputs, some with noise."""
    rng = np.random.default_rng([1, seed])
    t, inputs = int(rng.integers(1, 6)), int(rng.integers(2, 21))
    n = int(50 * 40 ** rng.random())
    net = random_network(rng, t, inputs)
    x = rng.standard_normal((n, inputs))
    with torch.inference_mode():
        y = net(torch.from_numpy(x)).numpy()
    noise = float(rng.choice([0, 0.01, 0.1, 0.5]))
    return net, x, y + noise * y.std(axis=0) * rng.standard_normal(y.shape)


def random_features(seed: int) -> tuple[nn.Sequential, np.ndarray, np.ndarray]:
    """Return random features under a fitted head, inputs, and targets: a function's, or noise."""
    rng = np.random.default_rng([2, seed])
    t, inputs = int(rng.integers(1, 6)), int(rng.integers(2, 21))
    n = int(50 * 40 ** rng.random())
    net = random_network(rng, t, inputs)
    x = rng.standard_normal((n, inputs))
    y = rng.standard_normal((n, t))
    if rng.random() < 0.6:
        w = rng.standard_normal((inputs, t))
        y = np.sin(x @ w) + float(rng.choice([0, 0.1, 1.0])) * y
    with torch.inference_mode():
        h = net[:-1](torch.from_numpy(x)).numpy()
        fitted, *_ = np.linalg.lstsq(np.c_[h, np.ones(n)], y, rcond=1e-6)
        head = nn.Linear(h.shape[1], t).double()
        head.weight.copy_(torch.from_numpy(fitted[:-1].T.copy()))
        head.bias.copy_(torch.from_numpy(fitted[-1]))
    return nn.Sequential(*net[:-1], head).eval(), x, y


def random(folder: Path, *, quick: bool) -> bool:
    """Count the verdicts on networks that have not collapsed."""
    good = True
    for make, many in ((self_labelled, 600), (random_features, 500)):
        states: Counter[str] = Counter()
        for seed in range(many // 20 if quick else many):
            net, x, y = make(seed)
            found = verdict(net, (x, y), folder)
            states[found.verdict.state.value] += 1
            if found.verdict.state.value == "collapsed":
                print(f"  {make.__name__} {seed}: {found.verdict.text}")
        print(f"{make.__name__}: {dict(states.most_common())}", flush=True)
        good = good and not states["collapsed"]
    return good


# --- fewer samples ---------------------------------------------------------------------------


def networks() -> Iterator[tuple[Path, Path]]:
    """Yield the shipped networks that predict something, each with its data."""
    for name in ("swimmer", "reacher"):
        for path in sorted((FIXTURES / name).rglob("*.pt")):
            yield path, FIXTURES / name / "data.npz"
    for folder in sorted((FIXTURES / "parity").iterdir()):
        yield folder / "model.pth", folder / "data.npz"


def samples(folder: Path, *, quick: bool) -> bool:
    """Count the verdicts on some of the samples that contradict that on all."""
    draws, good = (3 if quick else 30), True
    for path, data in networks():
        with np.load(data) as arrays:
            x, y = arrays["X"], arrays["y"]
        whole = verdict(path, (x, y), folder, activation="relu").verdict
        line = []
        for n in (50, 100, 200, 400, 600, 800):
            states: Counter[str] = Counter()
            for draw in range(draws):
                rows = np.sort(np.random.default_rng([n, draw]).permutation(len(x))[:n])
                part = verdict(path, (x[rows], y[rows]), folder, activation="relu").verdict
                same = part.state is whole.state or part.state.value in OPEN
                states["same" if part.state is whole.state else "open" if same else "OTHER"] += 1
                if not same:
                    print(f"  {n} of {path.relative_to(FIXTURES)}: {part.text}")
                    print(f"    all: {whole.text}")
                    good = False
            line.append(f"{n}: {states['same']}+{states['open']}")
        name = path.relative_to(FIXTURES)
        print(f"{name} ({whole.state.value}), same + open: {', '.join(line)}", flush=True)
    return good


# --- another basis ---------------------------------------------------------------------------


def basis(folder: Path, *, quick: bool) -> bool:
    """Count the verdicts that change with the basis of hidden units."""
    good = rotated(folder, 3 if quick else 60)
    changed = 0
    for path, data in networks():
        with np.load(data) as arrays:
            x, y = arrays["X"].astype(np.float64), arrays["y"]
        state = torch.load(path, weights_only=True)["model"]
        weights = [w.double() for name, w in state.items() if name.endswith("weight")]
        whole = verdict(_chain(weights), (x, y), folder)
        for seed in range(1 if quick else 10):
            other = [w.clone() for w in weights]
            rng = np.random.default_rng(seed)
            for a, b in pairwise(other):
                order = torch.from_numpy(rng.permutation(len(a)))
                scale = 2.0 ** int(rng.integers(-22, 23))  # one for all units: the same directions
                a.copy_((a * scale)[order])
                b.copy_((b / scale)[:, order])
            part = verdict(_chain(other), (x, y), folder)
            changed += not _alike(whole, part)
    print(f"rescaled and permuted: {changed} changed", flush=True)
    return good and not changed


def rotated(folder: Path, many: int) -> bool:
    """Count the verdicts on linear networks that change with a rotation of their hidden units."""
    changed = 0
    for seed in range(many):
        rng = np.random.default_rng([3, seed])
        widths = [8, *[int(rng.integers(4, 40)) for _ in range(4)], 2]
        weights = [rng.standard_normal((b, a)) / np.sqrt(a) for a, b in pairwise(widths)]
        if seed % 3 == 0:  # orthogonal: no direction of a weight is above another
            weights = [np.linalg.qr(w.T)[0].T if len(w) <= w.shape[1] else w for w in weights]
        x = rng.standard_normal((400, 8)) * (1.0 if seed % 2 else rng.uniform(0.1, 3, 8))
        y = x @ np.linalg.multi_dot(weights[::-1]).T
        y = y + 0.1 * y.std(axis=0) * rng.standard_normal(y.shape)
        turns = [np.linalg.qr(rng.standard_normal((w, w)))[0] for w in widths[1:-1]]
        turned = [
            after @ weight @ before.T
            for weight, before, after in zip(
                weights, [np.eye(8), *turns], [*turns, np.eye(2)], strict=True
            )
        ]
        one, two = (
            verdict(_chain([torch.from_numpy(w) for w in ws], nn.Identity), (x, y), folder)
            for ws in (weights, turned)
        )
        changed += not _alike(one, two)
    print(f"rotated: {changed} of {many} changed", flush=True)
    return not changed


def _alike(one: nrcscan.Report, two: nrcscan.Report) -> bool:
    """Say whether two reports have one verdict, and alignments equal to 1e-8 where defined."""
    if (one.verdict.state, one.verdict.onset) != (two.verdict.state, two.verdict.onset):
        print(f"  {one.verdict.text}\n    {two.verdict.text}")
        return False
    for ours, theirs in zip(one.layers, two.layers, strict=True):
        for quantity in ("alignment", "noise_alignment", "cka", "weight_signal_energy"):
            a, b = (layer.metrics.get(quantity) for layer in (ours, theirs))
            if a is not None and b is not None and abs(a - b) > 1e-8:
                print(f"  {ours.name} {quantity}: {a!r} and {b!r}")
                return False
            if (a is None) != (b is None):
                print(f"  {ours.name} {quantity}: {a!r} and {b!r}")
                return False
    return True


def _chain(weights: list[torch.Tensor], act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    modules: list[nn.Module] = []
    for weight in weights:
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False).double()
        with torch.no_grad():
            linear.weight.copy_(weight)
        modules += [linear, act()]
    return nn.Sequential(*modules[:-1]).eval()


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few draws")
    parser.add_argument("--only", action="append", metavar="NAME")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        works = {"random": random, "samples": samples, "basis": basis}
        good = [
            work(Path(folder), quick=asked.quick)
            for name, work in works.items()
            if asked.only is None or name in asked.only
        ]
    if not all(good):
        raise SystemExit("a verdict is false: see above")


if __name__ == "__main__":
    main()
