"""What a scan costs: per checkpoint beside the arithmetic it needs, with more jobs, and again.

    python benchmarks/scan.py [--checkpoints 64] [--json FILE]

Makes a folder of checkpoints of an 8 × 256 network and 800 samples in a temporary place.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

WIDTHS = (11, *[256] * 7, 3)
SAMPLES = 800


def make(folder: Path, n: int) -> None:
    """Write checkpoints, and data that they fit roughly."""
    import numpy as np
    import torch
    from torch import nn

    rng = np.random.default_rng(0)
    x = rng.standard_normal((SAMPLES, WIDTHS[0])).astype(np.float32)
    y = np.tanh(x @ rng.standard_normal((WIDTHS[0], WIDTHS[-1]))).astype(np.float32)
    np.savez(folder / "data.npz", X=x, y=y)
    (folder / "run").mkdir()
    for epoch in range(n):
        torch.manual_seed(epoch)
        layers: list[nn.Module] = []
        for width, out in pairwise(WIDTHS):
            layers += [nn.Linear(width, out), nn.ReLU()]
        torch.save(nn.Sequential(*layers[:-1]).state_dict(), folder / "run" / f"{epoch}.pth")


def bare(folder: Path, repeats: int = 10) -> dict[str, float]:
    """Return the median seconds, in one process and thread, of the arithmetic alone."""
    import numpy as np
    import scipy.linalg
    import torch
    from torch import nn

    torch.set_num_threads(1)
    layers: list[nn.Module] = []
    for width, out in pairwise(WIDTHS):
        layers += [nn.Linear(width, out), nn.ReLU()]
    network = nn.Sequential(*layers[:-1])
    state = torch.load(folder / "run" / "0.pth", weights_only=True)
    network.load_state_dict(state)
    with np.load(folder / "data.npz") as data:
        x = torch.from_numpy(data["X"])
    features: list[Any] = []
    with torch.inference_mode():
        h = x
        for layer in network:
            if isinstance(layer, nn.Linear):
                features.append(h.double().numpy())
            h = layer(h)
    covariances = [np.cov(f.T) for f in features]
    weights = [t.double().numpy() for name, t in state.items() if name.endswith("weight")]

    def forward() -> None:
        with torch.inference_mode():
            for start in range(0, SAMPLES, 256):
                network(x[start : start + 256])

    def eigen() -> None:
        for covariance in covariances:
            scipy.linalg.eigh(covariance, check_finite=False)

    def svd() -> None:
        for weight in weights:
            scipy.linalg.svd(weight, full_matrices=False, check_finite=False)

    return {f.__name__: _median(f, repeats) for f in (forward, eigen, svd)}


def _median(function: Any, repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def bare_alone(folder: Path) -> dict[str, float]:
    """Return what `bare` does in a process of its own, on one thread."""
    done = subprocess.run(
        [sys.executable, __file__, "--bare", str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
    )
    alone: dict[str, float] = json.loads(done.stdout)
    return alone


def timed_scan(folder: Path, output: str, *options: str) -> float:
    """Return the seconds of the whole command."""
    started = time.perf_counter()
    subprocess.run(
        [
            *(sys.executable, "-m", "nrcscan", "scan", str(folder / "run")),
            *(str(folder / "data.npz"), "-o", str(folder / output), *options),
        ],
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - started


def once(folder: Path, number: int) -> dict[str, float]:
    """Time everything once, one after the other."""
    name = f"scan{number}"
    first = {**bare_alone(folder)}
    first["start, one job"] = timed_scan(folder, f"{name}a", "--jobs", "1", "--pattern", "0.pth")
    first["one job"] = timed_scan(folder, name, "--jobs", "1")
    first["again"] = timed_scan(folder, name, "--jobs", "1")
    two = ("--pattern", "0.pth", "--pattern", "1.pth")
    first["start, two jobs"] = timed_scan(folder, f"{name}b", "--jobs", "2", *two)
    first["two jobs"] = timed_scan(folder, f"{name}c", "--jobs", "2")
    last = bare_alone(folder)  # once more: the machine may have become slower or faster
    return {key: (value + last.get(key, value)) / 2 for key, value in first.items()}


def main() -> None:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    n = asked.checkpoints
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, n)
        rounds = [once(folder, number) for number in range(asked.repeat)]
    ratios = [ratios_of(seconds, n) for seconds in rounds]
    found = {name: statistics.median(r[name] for r in ratios) for name in ratios[0]}
    for name, value in found.items():
        every = ", ".join(f"{r[name]:.3g}" for r in ratios)
        print(f"{value:8.3f}  {name}  ({every})")
    if asked.json:
        text = json.dumps({"checkpoints": n, "ratios": found, "seconds": rounds}, indent=1)
        asked.json.write_text(text + "\n", encoding="utf-8")


def ratios_of(seconds: dict[str, float], n: int) -> dict[str, float]:
    """Return what the times of a round say of n checkpoints."""
    needed = seconds["forward"] + seconds["eigen"]
    one = (seconds["one job"] - seconds["start, one job"]) / (n - 1)
    two = (seconds["two jobs"] - seconds["start, two jobs"]) / (n - 2)
    return {
        "per checkpoint ÷ (forward + eigendecompositions)": one / needed,
        "per checkpoint ÷ (forward + eigendecompositions + SVDs)": one / (needed + seconds["svd"]),
        "checkpoints per second, two jobs ÷ one": one / two,
        "whole command, one job ÷ two": seconds["one job"] / seconds["two jobs"],
        "second scan ÷ first": seconds["again"] / seconds["one job"],
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        print(json.dumps(bare(Path(sys.argv[2]))))
    else:
        main()
