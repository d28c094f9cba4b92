"""Scans on a Dask cluster: a real scheduler and real workers, on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, mlp, samples

import nrcscan
from nrcscan.errors import InputError, UsageError

SLOW = """
import time
from torch import nn
class Net(nn.Sequential):
    def forward(self, x):
        time.sleep(0.1)
        return super().forward(x)
def build():
    return Net(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x, y = samples(50, 5, 2)
    np.savez(tmp_path / "data.npz", X=x, y=y)
    (tmp_path / "net.py").write_text(SLOW)
    (tmp_path / "runs").mkdir()
    for epoch in range(12):
        state = mlp(5, 16, 16, 2, seed=epoch).state_dict()
        torch.save(state, tmp_path / "runs" / f"{epoch}.pt")
    return tmp_path / "data.npz"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of a scheduler, and its two workers' processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    host, port = "--host=127.0.0.1", f"--port={address.rpartition(':')[2]}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with ExitStack() as stack:

        def start(*command: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-m", "distributed.cli.dask_" + command[0], *command[1:]],
                cwd=tmp_path,
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        start("scheduler", host, port, "--no-dashboard", "--no-show")
        options = ("--no-nanny", "--nthreads=1", host, "--no-dashboard")
        yield address, [start("worker", address, *options) for _ in range(2)]


def test_a_worker_that_dies_has_its_checkpoints_done_by_another(
    data: Path, tmp_path: Path, cluster: tuple[str, list[subprocess.Popen[bytes]]]
) -> None:
    address, workers = cluster
    factory = f"{tmp_path / 'net.py'}:build"
    statistics = tmp_path / "out" / "statistics"

    def kill_one() -> None:
        end = time.monotonic() + 60
        while len(list(statistics.glob("*.json"))) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        workers[0].kill()
        killed_at.append(len(list(statistics.glob("*.json"))))

    killed_at: list[int] = []
    killer = threading.Thread(target=kill_one)
    killer.start()
    found = nrcscan.scan(
        tmp_path / "runs", data, tmp_path / "out", factory=factory, cluster=address
    )
    killer.join()
    assert 3 <= killed_at[0] < 12
    assert [c.status for c in found.checkpoints] == ["ok"] * 12
    here = nrcscan.scan(tmp_path / "runs", data, tmp_path / "here", factory=factory)
    assert here.to_json() == found.to_json()


def test_a_cluster_started_here(data: Path, tmp_path: Path) -> None:
    with socket.socket() as other:  # whose page is at the usual port
        with suppress(OSError):
            other.bind(("127.0.0.1", 8787))
            other.listen()
        found = nrcscan.scan(
            tmp_path / "runs", data, tmp_path / "out", cluster="local:2", patterns=["[0-3].pt"]
        )
    assert [c.path for c in found.checkpoints] == ["0.pt", "1.pt", "2.pt", "3.pt"]
    assert all(checkpoint.status == "ok" for checkpoint in found.checkpoints)


def test_no_cluster(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def scan(where: str) -> None:
        nrcscan.scan(tmp_path / "runs", data, tmp_path / "out", cluster=where)

    for where, message in (
        ("local:x", "--cluster local:x: write local:N, such as local:4"),
        ("somewhere", "--cluster somewhere: write tcp://host:port, or local:4"),
    ):
        with pytest.raises(UsageError, match=message):
            scan(where)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"needs distributed; pip install distributed$"):
        scan("local:2")
    monkeypatch.undo()
    monkeypatch.setattr("nrcscan.scanning.dispatch.PATIENCE", 1)
    with pytest.raises(InputError, match="no scheduler answers .*; start one with dask scheduler"):
        scan("tcp://127.0.0.1:9")
