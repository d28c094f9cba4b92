"""What a scan costs: per checkpoint beside the arithmetic it needs, with more jobs, and again.

    python benchmarks/scan.py [--checkpoints 64] [--json FILE]

Makes a folder of checkpoints of an 8 × 256 network and 800 samples in a temporary place.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
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


def timed_scan(folder: Path, output: str, *options: str) -> tuple[float, float]:
    """Return the seconds of the whole command, and those of processors in it and its workers."""
    started, busy = time.perf_counter(), _busy()
    subprocess.run(
        [
            *(sys.executable, "-m", "nrcscan", "scan", str(folder / "run")),
            *(str(folder / "data.npz"), "-o", str(folder / output), *options),
        ],
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - started, _busy() - busy


def _busy() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoints", type=int, default=64)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    n = asked.checkpoints
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make(folder, n)
        alone = json.loads(
            subprocess.run(
                [sys.executable, __file__, "--bare", place],
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                check=True,
                capture_output=True,
            ).stdout
        )
        one = timed_scan(folder, "one", "--jobs", "1")
        two = timed_scan(folder, "two", "--jobs", "2")
        again = timed_scan(folder, "one", "--jobs", "1")
        single = timed_scan(folder, "few", "--jobs", "1", "--pattern", "0.pth")
    needed = alone["forward"] + alone["eigen"]
    wall, busy = ((one[i] - single[i]) / (n - 1) for i in (0, 1))
    found = {
        "checkpoints": n,
        "seconds": {
            **alone,
            **dict(zip(("one job", "one job, busy"), one, strict=True)),
            **dict(zip(("two jobs", "two jobs, busy"), two, strict=True)),
            **dict(zip(("again", "again, busy"), again, strict=True)),
            **dict(zip(("start", "start, busy"), single, strict=True)),
        },
        "per checkpoint ÷ (forward + eigendecompositions)": wall / needed,
        "the same in processor time, which other programs do not disturb": busy / needed,
        "per checkpoint ÷ (forward + eigendecompositions + SVDs)": wall / (needed + alone["svd"]),
        "throughput of two jobs ÷ one": one[0] / two[0],
        "second scan ÷ first": again[0] / one[0],
    }
    for name, value in found.items():
        if isinstance(value, float):
            print(f"{value:8.3f}  {name}")
    print(json.dumps(found["seconds"]))
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        print(json.dumps(bare(Path(sys.argv[2]))))
    else:
        main()
