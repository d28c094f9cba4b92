"""Measures nrcscan against a bare forward pass over the same data, and prints ratios.

    python benchmarks/bench.py [--quick] [--cpu] [--only NAME]... [--json FILE]

What is compared is timed in turns, so that whatever else the machine does hits both alike; the
median of the repetitions counts, and the smallest is shown beside it. On a busy machine wall time
says little (a pool of threads that waits for a core it does not get spins): --cpu counts processor
time on one thread instead.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import naive
import numpy as np
import scipy.linalg
import torch
from threadpoolctl import threadpool_limits
from torch import nn

import nrcscan

BATCH = 256
ROOT = Path(__file__).resolve().parent.parent


def chain(*widths: int) -> nn.Sequential:
    """Return a ReLU network."""
    torch.manual_seed(0)
    modules: list[nn.Module] = []
    for width, out in pairwise(widths):
        modules += [nn.Linear(width, out), nn.ReLU()]
    return nn.Sequential(*modules[:-1]).eval()


def data(n: int, *shape: int, t: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs (n, *shape) and targets (n, t)."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, *shape), dtype=np.float32)
    return x, x.reshape(n, -1)[:, :t].copy()


def seconds(work: Callable[[], Any]) -> float:
    """Time one call."""
    start = clock()
    work()
    return clock() - start


clock = time.perf_counter


def in_turns(repeat: int, **works: Callable[[], Any]) -> dict[str, list[float]]:
    """Time several works in turns, after one round that does not count."""
    for work in works.values():
        work()
    rounds = [{name: seconds(work) for name, work in works.items()} for _ in range(repeat)]
    return {name: [times[name] for times in rounds] for name in works}


class Bench:
    """Runs the benchmarks; each returns a dict of what it measured."""

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder, self.quick = folder, quick
        self.repeat = 1 if quick else 5
        self.rows: list[dict[str, Any]] = []

    def add(self, work: str, measure: str, target: str, value: float, **more: Any) -> None:
        """Note one result, and print it."""
        row = {"work": work, "measure": measure, "target": target, "value": value, **more}
        self.rows.append(row)
        best = f"  (best {more['best']:.3g})" if "best" in more else ""
        print(f"{work:46} {measure:38} {target:>8} {value:8.3g}{best}", flush=True)

    def ratio(
        self, work: str, measure: str, target: str, top: list[float], unit: list[float], **more: Any
    ) -> None:
        """Note the ratio of two lists of times."""
        value = statistics.median(top) / statistics.median(unit)
        self.add(
            work,
            measure,
            target,
            value,
            best=min(top) / min(unit),
            seconds=statistics.median(top),
            unit_seconds=statistics.median(unit),
            **more,
        )

    def extract(self, net: nn.Module, xy: Any, **options: Any) -> Callable[[], Any]:
        """Return an extraction of statistics alone."""

        def work() -> None:
            nrcscan.extract(
                net,
                xy,
                self.folder / "acts.h5",
                force=True,
                **{"activations": False, **options},
            )

        return work

    def forward(self, net: nn.Module, x: np.ndarray, batch: int = BATCH) -> Callable[[], Any]:
        """Return a bare forward pass."""
        inputs = torch.from_numpy(x)

        def work() -> None:
            with torch.inference_mode():
                for start in range(0, len(inputs), batch):
                    net(inputs[start : start + batch])

        return work

    def _saved(self, name: str, array: np.ndarray) -> Path:
        path = self.folder / f"{name}.npy"
        np.save(path, array)
        return path

    # Each method named bench_… is one benchmark.

    def bench_mlp(self) -> None:
        """8×512: exact, float32 and sketched, beside the arithmetic limit."""
        n, width = (2048, 64) if self.quick else (32_768, 512)
        net, xy = chain(*[width] * 8, 2), data(n, width)
        block = np.random.default_rng(0).standard_normal((4096, width + 3))
        sums = np.zeros((width + 3, width + 3), order="F")
        single, narrow = block.astype(np.float32), sums.astype(np.float32)

        def updates(kernel: Any, rows: np.ndarray, into: np.ndarray) -> Callable[[], Any]:
            def work() -> None:
                for _ in range(8 * n // len(rows)):
                    kernel(1.0, rows.T, beta=0.5, c=into, overwrite_c=1)

            return work

        times = in_turns(
            self.repeat,
            forward=self.forward(net, xy[0]),
            larger=self.forward(net, xy[0], 4 * BATCH),
            exact=self.extract(net, xy),
            float32=self.extract(net, xy, precision="float32"),
            sketch=self.extract(net, xy, sketch=32),
            dsyrk=updates(scipy.linalg.blas.dsyrk, block, sums),
            ssyrk=updates(scipy.linalg.blas.ssyrk, single, narrow),
        )
        forward = times["forward"]
        for name, target in (("exact", "≤ 2.3"), ("float32", "≤ 1.7"), ("sketch", "≤ 1.25")):
            self.ratio(
                f"8×{width} MLP, N = {n}, {name}",
                "extract ÷ bare forward",
                target,
                times[name],
                forward,
            )
        self.ratio(
            "  bare forward in batches of 1,024", "÷ in those of 256", "", times["larger"], forward
        )
        for kernel in ("dsyrk", "ssyrk"):
            both = [a + b for a, b in zip(forward, times[kernel], strict=True)]
            self.ratio(f"  limit: forward + {kernel} alone", "÷ bare forward", "", both, forward)

    def bench_blocks(self) -> None:
        """Blocks of samples and the error bars made from them, beside neither."""
        n, width = (2048, 64) if self.quick else (32_768, 512)
        net, xy = chain(*[width] * 8, 2), data(n, width)
        plain, barred = self.folder / "plain.h5", self.folder / "barred.h5"

        def extract(path: Path, blocks: int) -> Callable[[], Any]:
            return lambda: nrcscan.extract(
                net, xy, path, force=True, activations=False, blocks=blocks
            )

        times = in_turns(
            self.repeat,
            plain=extract(plain, 0),
            barred=extract(barred, 16),
            report=lambda: nrcscan.report(plain),
            bars=lambda: nrcscan.report(barred),
        )
        work = f"8×{width} MLP, N = {n}, 16 blocks"
        self.ratio(work, "extract ÷ without", "≤ 1.1", times["barred"], times["plain"])
        self.ratio("  its report", "÷ without", "≤ 1.5", times["bars"], times["report"])

    def bench_wide(self) -> None:
        """Three wide layers, sketched."""
        n, width = (512, 512) if self.quick else (8192, 8192)
        net, xy = chain(*[width] * 3, 2), data(n, width)
        times = in_turns(
            1 if self.quick else 3,
            forward=self.forward(net, xy[0]),
            sketch=self.extract(net, xy, sketch=64),
        )
        self.ratio(
            f"3 layers of width {width}, sketch 64",
            "extract ÷ bare forward",
            "≤ 1.15",
            times["sketch"],
            times["forward"],
        )
        peaks = json.loads(
            _run(
                _PEAK
                + f"""
from bench import chain
net = chain(*[{width}] * 3, 2)
x, y = np.load({str(self._saved("x", xy[0]))!r}, "r"), np.load({str(self._saved("y", xy[1]))!r})
before = peak()
nrcscan.extract(net, (x, y), {str(self.folder / "wide.h5")!r}, activations=False, sketch=64)
print(json.dumps([before, peak()]))
"""
            )
        )
        self.add("  its peak memory", "GB above the model", "< 1.5", (peaks[1] - peaks[0]) / 1e6)
        taken = seconds(lambda: nrcscan.report(self.folder / "acts.h5"))
        self.add("  its report", "÷ bare forward", "", taken / statistics.median(times["forward"]))

    def bench_convolution(self) -> None:
        """A convolutional regressor on images."""
        n = 64 if self.quick else 1024
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 32, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 3, 2, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(64, 2),
        ).eval()
        xy = data(n, 3, 64, 64)
        times = in_turns(
            self.repeat, forward=self.forward(net, xy[0]), extract=self.extract(net, xy)
        )
        self.ratio(
            "convolutional regressor, 64×64 images",
            "extract ÷ bare forward",
            "≤ 1.1",
            times["extract"],
            times["forward"],
        )

    def bench_naive(self) -> None:
        """All metrics, beside the naive way to them."""
        n, width = (400, 32) if self.quick else (4000, 256)
        net, (x, y) = chain(*[width] * 8, 3), data(n, width, t=3)

        def ours() -> None:
            self.extract(net, (x, y))()
            nrcscan.report(self.folder / "acts.h5")

        ours()
        times = [seconds(ours) for _ in range(self.repeat)]
        slow = seconds(lambda: naive.measures(net, torch.from_numpy(x), torch.from_numpy(y), 3))
        self.ratio(
            f"8×{width} MLP, t = 3, N = {n}, all metrics", "naive ÷ nrcscan", "≥ 200", [slow], times
        )

    def bench_memory(self) -> None:
        """Peak memory for many samples and for few, from a file."""
        peaks = []
        for n in (1_000, 10_000) if self.quick else (10_000, 1_000_000):
            path = self.folder / f"{n}.npz"
            x, y = data(n, 64)
            np.savez(path, X=x, y=y)
            del x, y
            told = _run(
                _PEAK
                + f"""
from bench import chain
nrcscan.extract(
    chain(64, 64, 2), {str(path)!r}, {str(self.folder / "m.h5")!r}, activations=False, force=True
)
print(peak())
"""
            )
            peaks.append(int(told))
            path.unlink()
        self.add("N = 10⁶ against 10⁴, from npz", "peak memory", "≤ 1.05", peaks[1] / peaks[0])

    def bench_beyond(self) -> None:
        """Data larger than memory: an npz of zeros that takes up no room on the disk."""
        rows, width = (1 << 20, 32) if self.quick else (1 << 21, 3584)
        path = self.folder / "large.npz"
        _write_zeros(path, {"X": (rows, width), "y": (rows, 1)})
        told = _run(
            _PEAK
            + f"""
from bench import chain
before = peak()
nrcscan.extract(
    chain({width}, 8, 8, 1), {str(path)!r}, {str(self.folder / "m.h5")!r}, activations=False,
    exclude=["0"], force=True,
)
print(json.dumps([before, peak()]))
"""
        )
        before, after = json.loads(told)
        size = path.stat().st_size / 1e9
        path.unlink()
        self.add(f"npz of {size:.3g} GB", "GB of memory added", "", (after - before) / 1e6)

    def bench_torchrun(self) -> None:
        """Two ranks of one thread each, beside one."""
        few, many, width = (256, 2048, 64) if self.quick else (2048, 65_536, 512)
        torch.save(chain(*[width] * 8, 2).state_dict(), self.folder / "model.pt")
        x, y = data(many, width)
        np.savez(self.folder / "data.npz", X=x, y=y)

        def ranks(count: int, samples: int) -> Callable[[], Any]:
            launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(count)]
            return lambda: _run_nrcscan(
                [*launcher, "-m", "nrcscan"], self.folder, "--limit", str(samples)
            )

        times = in_turns(
            1 if self.quick else 3,
            one=ranks(1, many),
            two=ranks(2, many),
            one_few=ranks(1, few),
            two_few=ranks(2, few),
        )
        one, two = (
            [a - b for a, b in zip(times[name], times[f"{name}_few"], strict=True)]
            for name in ("one", "two")
        )
        self.ratio(f"torchrun, 8×{width} MLP", "throughput of 2 ranks ÷ 1", "≥ 1.7", one, two)

    def bench_activations(self) -> None:
        """Writing activations, beside h5py writing the same bytes."""
        n, width = (2048, 64) if self.quick else (131_072, 512)
        net, xy = chain(*[width] * 8, 2), data(n, width)
        features = xy[0]

        def plain() -> None:
            with h5py.File(self.folder / "plain.h5", "w") as file:
                rows = max(1, (1 << 20) // features[:1].nbytes)
                for position in range(8):
                    file.create_dataset(
                        str(position), data=features, chunks=(min(rows, n), width), fletcher32=True
                    )
                file.flush()
                os.fsync(file.id.get_vfd_handle())

        times = in_turns(
            1 if self.quick else 2,
            plain=plain,
            without=self.extract(net, xy),
            stored=self.extract(net, xy, activations=True),
        )
        writing = [max(a - b, 1e-9) for a, b in zip(times["stored"], times["without"], strict=True)]
        self.ratio(
            f"activations, {8 * features.nbytes / 1e9:.2g} GB",
            "plain h5py ÷ time added",
            "≥ 0.8",
            times["plain"],
            writing,
        )

    def bench_report(self) -> None:
        """A report, beside the decompositions that it needs."""
        width = 64 if self.quick else 512
        net, xy = chain(*[width] * 8, 2), data(2048, width)
        self.extract(net, xy)()
        with h5py.File(self.folder / "acts.h5") as file:
            covariances = [p["covariance"][()] for p in file["positions"].values()]
            weights = [la["weight"][()].astype(np.float64) for la in file["layers"].values()]

        def bare() -> None:
            for covariance in covariances:
                scipy.linalg.eigh(covariance)
            for weight in weights:
                scipy.linalg.svd(weight, full_matrices=False)

        path = self.folder / "acts.h5"
        times = in_turns(self.repeat, bare=bare, report=lambda: nrcscan.report(path))
        self.ratio(
            f"report on 8×{width}", "÷ bare decompositions", "≤ 1.5", times["report"], times["bare"]
        )


_PEAK = f"""
import json, re, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import numpy as np
import nrcscan

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def _run(code: str) -> str:
    """Run code in a process of its own, and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout


def _run_nrcscan(launcher: list[str], folder: Path, *options: str) -> None:
    subprocess.run(
        [
            *(sys.executable, *launcher, "extract", "model.pt", "data.npz"),
            *("--no-activations", "--force", "-o", "ranks.h5", *options),
        ],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
    )


class _Holes(io.FileIO):
    """A file in which zeros leave holes."""

    def write(self, data: Any) -> int:
        """Write, or pass over what is one large piece of zeros."""
        if data is _ZEROS:
            self.seek(len(_ZEROS), io.SEEK_CUR)
            return len(_ZEROS)
        return super().write(data)


_ZEROS = bytes(1 << 24)


def _write_zeros(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Write an npz of float32 zeros."""
    with _Holes(path, "w") as file, zipfile.ZipFile(file, "w") as archive:
        for name, shape in shapes.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": "<f4", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(member, header)
                whole, rest = divmod(4 * int(np.prod(shape)), len(_ZEROS))
                for _ in range(whole):
                    member.write(_ZEROS)
                member.write(_ZEROS[:rest])


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, once: a smoke test")
    parser.add_argument("--only", action="append", metavar="NAME", help="such as mlp or report")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results here")
    parser.add_argument("--cpu", action="store_true", help="processor time, on one thread")
    options = parser.parse_args()
    if options.cpu:
        global clock
        clock = time.process_time
        torch.set_num_threads(1)
        threadpool_limits(1)
    every = [name.removeprefix("bench_") for name in dir(Bench) if name.startswith("bench_")]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), quick=options.quick)
        for name in options.only or every:
            if name not in every:
                parser.error(f"--only {name}: choose from {', '.join(every)}")
            getattr(bench, f"bench_{name}")()
    machine = {
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": os.getloadavg(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }
    print(
        f"{machine['threads']} threads on {machine['cores']} cores, load {machine['load'][0]:.1f}"
    )
    if options.json:
        text = json.dumps(
            {"machine": machine, "quick": options.quick, "rows": bench.rows}, indent=2
        )
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
