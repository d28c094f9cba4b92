"""What a process holds on to: `tests/soak.py` runs as many rounds as are asked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from soak import soak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is held is read from /proc")


def test_thirty_extractions_leave_no_handle_and_no_thread() -> None:
    before, after, reports = soak(20, 10, lambda number, held: None)
    assert reports == 18  # every tenth fails halfway
    assert after.handles <= before.handles
    assert after.threads <= before.threads


READS = """
import sys
from pathlib import Path
from pyarrow import parquet
from nrcscan.inputs.datasets.open_dataset import open_dataset

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

before = peak()
seen = sum(len(y) for _, y in open_dataset(sys.argv[1], n_targets=2).batches(1024))
print(seen, peak() - before)
"""


def test_a_row_group_of_parquet_is_not_held_whole(tmp_path: Path) -> None:
    path, n = tmp_path / "data.parquet", 2_000_000
    column = np.random.default_rng(0).standard_normal(n, dtype=np.float32)
    table = pa.table({f"c{i}": column for i in range(16)})
    pq.write_table(table, path, row_group_size=n, use_dictionary=False, compression="none")
    with pq.ParquetFile(path) as file:
        assert file.metadata.row_group(0).total_byte_size > 120e6
    command = [sys.executable, "-c", READS, str(path)]
    said = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    seen, kilobytes = map(int, said.stdout.split())
    assert seen == n
    assert kilobytes < 100_000  # pages of 16 columns, and no more
