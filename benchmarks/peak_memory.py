"""Measures the most memory that extracting from large files takes, and reports of deep networks.

    python benchmarks/peak_memory.py [--only KIND]... [--sizes GB]... [--layers N]... [--folder DIR]

Each file is measured in two sizes or more: what does not grow with the file is bounded. The peak is
that of the resident memory of a process of its own, `nrcscan extract` or `nrcscan report`, as the
system tells it when the process has ended. Files are removed as soon as they are measured.

npz          numbers that deflate shrinks about eighty times, all of which stream through
npz-stored   the same as np.savez writes them
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.lib import format as npy
from torch import nn

GB = 10**9
SPARE = 5 * GB
"""That is left free on the disk."""

WIDTH, TARGETS = 256, 2
ROWS = 8192
"""Samples that are written at a time."""

PERIOD = 16
"""Samples after which those of `npz` repeat, so that deflate sees them again."""


def samples(period: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs (ROWS, WIDTH) and targets (ROWS, TARGETS) that repeat after so many rows."""
    draw = np.random.default_rng(0)
    x = draw.standard_normal((period, WIDTH), dtype=np.float32)
    x = np.tile(x, (ROWS // period, 1))
    return x, np.tanh(x[:, :TARGETS])


def pieces(size: float) -> int:
    """Return how many times `ROWS` samples make so many bytes."""
    return max(round(size / (ROWS * (WIDTH + TARGETS) * 4)), 1)


# --- files ------------------------------------------------------------------------------------


def npz(path: Path, size: float, method: int = zipfile.ZIP_DEFLATED) -> None:
    """Write an archive of so many bytes, unpacked."""
    arrays = samples(PERIOD if method == zipfile.ZIP_DEFLATED else ROWS)
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as archive:
        for name, array in zip("Xy", arrays, strict=True):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                shape = (pieces(size) * ROWS, array.shape[1])
                head = {"descr": "<f4", "fortran_order": False, "shape": shape}
                npy.write_array_header_1_0(member, head)
                for _ in range(pieces(size)):
                    member.write(array.tobytes())


def npz_stored(path: Path, size: float) -> None:
    """Write an archive as np.savez does."""
    npz(path, size, zipfile.ZIP_STORED)


def csv(path: Path, size: float) -> None:
    """Write a table as text, the targets last."""
    rows = "\n".join(",".join(f"{v:.6g}" for v in row) for row in np.hstack(samples())[:1024])
    with path.open("w") as file:
        file.write(",".join(f"c{i}" for i in range(WIDTH + TARGETS)) + "\n")
        for _ in range(max(round(size / len(rows)), 1)):
            file.write(rows + "\n")


def parquet(path: Path, size: float) -> None:
    """Write a table by columns, in the row groups that pyarrow makes by default, of 2²⁰ rows."""
    columns = {f"c{i}": column for i, column in enumerate(np.hstack(samples()).T)}
    block = pa.table(columns)
    with pq.ParquetWriter(path, block.schema, use_dictionary=False) as writer:
        left = pieces(size)
        while left > 0:
            many = min(left, 2**20 // ROWS)
            writer.write_table(pa.concat_tables([block] * many), row_group_size=2**20)
            left -= many


def hdf5(path: Path, size: float) -> None:
    """Write two datasets as h5py does by default, in one piece each."""
    with h5py.File(path, "w") as file:
        for name, array in zip("Xy", samples(), strict=True):
            shape = (pieces(size) * ROWS, array.shape[1])
            data = file.create_dataset(name, shape, np.float32)
            for start in range(0, shape[0], ROWS):
                data[start : start + ROWS] = array


def hdf5_gzip(path: Path, size: float) -> None:
    """Write two datasets that are packed in chunks."""
    with h5py.File(path, "w") as file:
        for name, array in zip("Xy", samples(), strict=True):
            shape = (pieces(size) * ROWS, array.shape[1])
            data = file.create_dataset(name, shape, np.float32, compression=1, chunks=True)
            for start in range(0, shape[0], ROWS):
                data[start : start + ROWS] = array


Writer = Callable[[Path, float], None]
FILES: dict[str, tuple[Writer, str, tuple[str, ...]]] = {
    "npz": (npz, "npz", ()),
    "npz-stored": (npz_stored, "npz", ()),
    "csv": (csv, "csv", ("--n-targets", str(TARGETS))),
    "parquet": (parquet, "parquet", ("--n-targets", str(TARGETS))),
    "hdf5": (hdf5, "h5", ()),
    "hdf5-gzip": (hdf5_gzip, "h5", ()),
}


# --- what they take ---------------------------------------------------------------------------


LAUNCH = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:]).returncode
print(status, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""
"""A process begins with the peak of what started it: one that has imported nothing does that."""


def peak(*arguments: object) -> tuple[float, float]:
    """Run the command in a process of its own, and return its peak in MB and its seconds."""
    began = time.monotonic()
    command = [sys.executable, "-c", LAUNCH, sys.executable, "-m", "nrcscan"]
    said = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=True
    ).stderr
    status, kilobytes = map(int, said.splitlines()[-1].split())
    if status:
        raise SystemExit(f"{' '.join(map(str, arguments))}: {said}")
    return kilobytes * 1.024e-3, time.monotonic() - began


def told(what: str, size: str, taken: tuple[float, float]) -> None:
    """Print a row of the table."""
    print(f"| {what} | {size} | {taken[0]:.0f} MB | {taken[1]:.0f} s |", flush=True)


def of_file(kind: str, size: float, folder: Path) -> None:
    """Measure extracting from a file of a kind."""
    write, suffix, options = FILES[kind]
    on_disk = size / 50 if kind == "npz" else size
    if shutil.disk_usage(folder).free < on_disk + SPARE:
        print(f"| {kind} | {size / GB:g} GB | the disk has no room for it | |", flush=True)
        return
    data, model = folder / f"data.{suffix}", folder / "network.pt"
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, TARGETS))
    torch.save(net.state_dict(), model)
    try:
        write(data, size)
        stored = data.stat().st_size / GB
        common = ("--activation", "relu", "--no-activations", "--force", "-o", folder / "acts.h5")
        taken = peak("extract", model, data, *common, *options)
        told(kind, f"{size / GB:g} GB ({stored:.2f} on disk)", taken)
    finally:
        data.unlink(missing_ok=True)


def of_layers(layers: int, folder: Path) -> None:
    """Measure extracting and reporting on a network of so many layers of 64 units."""
    torch.manual_seed(0)
    modules: list[nn.Module] = []
    for _ in range(layers - 1):
        linear = nn.Linear(64, 64)
        nn.init.orthogonal_(linear.weight, 2**0.5)
        modules += [linear, nn.ReLU()]
    net = nn.Sequential(*modules, nn.Linear(64, TARGETS))
    model, data, acts = folder / "deep.pt", folder / "data.npz", folder / "acts.h5"
    torch.save(net.state_dict(), model)
    x, y = samples()
    np.savez(data, X=x[:, :64], y=y)
    with_options = ("--activation", "relu", "--no-activations", "--force", "-o", acts)
    told(f"extract of {layers} layers", "", peak("extract", model, data, *with_options))
    size = f"{acts.stat().st_size / 1e6:.0f} MB"
    told(f"report of {layers} layers", size, peak("report", acts, "--format", "json"))


def works(asked: argparse.Namespace, folder: Path) -> Iterator[Callable[[], None]]:
    """Yield what is to be measured."""
    for kind in FILES:
        if asked.only is None or kind in asked.only:
            for size in asked.sizes:
                yield lambda kind=kind, size=size: of_file(kind, size * GB, folder)  # type: ignore[misc]
    if asked.only is None or "layers" in asked.only:
        for layers in asked.layers:
            yield lambda layers=layers: of_layers(layers, folder)  # type: ignore[misc]


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="*", choices=[*FILES, "layers"], metavar="KIND")
    parser.add_argument("--sizes", nargs="*", type=float, default=[0.5, 2], metavar="GB")
    parser.add_argument("--layers", nargs="*", type=int, default=[100, 1000], metavar="N")
    parser.add_argument("--folder", type=Path, help="where files are written; by default of /tmp")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        for work in works(asked, Path(folder)):
            work()


if __name__ == "__main__":
    main()
