"""What several test modules share."""

from __future__ import annotations

import importlib
import io
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import typer.main
from forked import Forked
from hypothesis import settings
from threadpoolctl import threadpool_limits
from torch import distributed, nn
from torch._C._distributed_c10d import HashStore
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.testing._internal.distributed.fake_pg import FakeStore

import nrcscan.__main__
from nrcscan.cli.app import main
from nrcscan.cpu_threads import processors
from nrcscan.errors import NrcscanError
from nrcscan.options.faces import at_terminal
from nrcscan.scanning import worker_pool
from nrcscan.scanning.messages import Setup, Task
from nrcscan.scanning.worker_process import Worker

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"
PARITY = FIXTURES / "parity"

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Run = Callable[..., subprocess.CompletedProcess[str]]


# A shell has what it runs in the background ignore Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests run side by side, a process per core: a pool of threads in each would only spin. Whatever
# else the environment asks for holds, as where `make test-kernels` has two of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
threadpool_limits(int(os.environ["OPENBLAS_NUM_THREADS"]), "blas")

# How long an example takes is no property of what it tries: other processes work beside it.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

# A process makes its commands once, and this one runs hundreds of them.
typer.main.get_command = cache(typer.main.get_command)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return a worker per processor that this program may use; each takes up to 1 GB."""
    return min(processors(), 8)


def pytest_runtest_setup() -> None:
    """Give a test the same networks wherever and after whatever it runs."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def as_written() -> Iterator[None]:
    """Have messages stand as they are written, with flags, whoever calls what is tested.

    `test_python.py` is on the other face.
    """
    with at_terminal():
        yield


@pytest.fixture
def cli(tmp_path: Path) -> Run:
    """Run the command line within this process, in an empty folder.

    It spares starting Python and torch; `program` shows that a process says the same.
    """

    def run(
        *args: object, cwd: Path = tmp_path, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        code: object = None
        said = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
        handlers = {number: signal.getsignal(number) for number in STOPS}
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(cwd)
            patch.setattr(sys, "argv", [nrcscan.__main__.__file__, *map(str, args)])
            patch.setattr(sys, "path", [*sys.path])
            patch.setitem(sys.modules, "__main__", nrcscan.__main__)  # by which it calls itself
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            for name, stream in zip(("stdout", "stderr"), said, strict=True):
                patch.setattr(sys, name, stream)
            try:
                main()
            except SystemExit as ended:
                code = ended.code
            finally:
                for number, handler in handlers.items():
                    signal.signal(number, handler)
        assert code is None or isinstance(code, int)
        for stream in said:
            stream.seek(0)
        argv = [str(argument) for argument in args]
        return subprocess.CompletedProcess(argv, code or 0, *(stream.read() for stream in said))

    return run


@pytest.fixture
def program(tmp_path: Path) -> Run:
    """Run the command line as a process of its own, in an empty folder."""

    def run(
        *args: object, cwd: Path = tmp_path, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "nrcscan", *map(str, args)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


class WorkerHere:
    """Stands for a scan's worker process: the same worker and messages, without starting torch."""

    alone = threading.Lock()  # what runs in a process of its own shares nothing

    def __init__(self, threads: int) -> None:
        self._worker: Worker | None = None

    def ask(self, question: Any, timeout: float | None = None) -> Any:
        """Answer as `worker_process.serve` does."""
        question = pickle.loads(pickle.dumps(question))
        with self.alone:
            if isinstance(question, Setup):
                try:
                    self._worker = Worker(question)
                except NrcscanError as error:
                    return error
                return None
            assert self._worker is not None
            task = isinstance(question, Task)
            answer = self._worker.do(question) if task else self._worker.data_sha256()
            return pickle.loads(pickle.dumps(answer))

    def close(self) -> None:
        """End nothing."""

    end = close


@pytest.fixture
def workers_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have scans measure within this process, where the process is not the point.

    `test_scan.py` shows that processes of their own come to the same.
    """
    monkeypatch.setattr(worker_pool, "Process", WorkerHere)
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have processes forked off this one where starting Python is not the point."""
    if torch.get_num_threads() == 1:  # a pool of threads does not come along
        monkeypatch.setattr(subprocess, "Popen", Forked)
        torchrun = "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler"
        monkeypatch.setattr(f"{torchrun}.Popen", Forked)


@contextmanager
def imported(folder: Path, name: str) -> Iterator[Any]:
    """Import a module as the program that saved something had it, and forget it afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield importlib.import_module(name)
        del sys.modules[name]


def mlp(*widths: int, bias: bool = True, seed: int = 0) -> nn.Sequential:
    """Return a ReLU network with weights that depend on the seed alone."""
    torch.manual_seed(seed)
    modules: list[nn.Module] = []
    for width, out in pairwise(widths):
        modules += [nn.Linear(width, out, bias=bias), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def fitted(model: nn.Sequential, x: np.ndarray, y: np.ndarray) -> nn.Sequential:
    """Return a network whose last layer is the least-squares fit to its features."""
    head = model[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        features = model[:-1].eval()(torch.tensor(x))
        known = torch.hstack([features, torch.ones(len(x), 1)]).double()
        found = torch.linalg.lstsq(known, torch.tensor(y).double(), driver="gelsd").solution.float()
        head.weight.copy_(found[:-1].T)
        head.bias.copy_(found[-1])
    return model


def samples(n: int, width: int, n_targets: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 inputs and targets that depend on each other."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, width)).astype(np.float32)
    y = np.tanh(x @ rng.standard_normal((width, n_targets))).astype(np.float32)
    return x, y


@contextmanager
def edited(path: Path) -> Iterator[h5py.File]:
    """Open a file of statistics to be changed, without the checksums that would tell of it."""
    with h5py.File(path, "r+") as file:
        if "checksums" in file:
            del file["checksums"], file.attrs["checksums"]
        yield file


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Path]:
    """A small network whose head fits, and its data, as files."""
    model, data = tmp_path / "model.pt", tmp_path / "data.npz"
    x, y = samples(100, 5, 2)
    torch.save(fitted(mlp(5, 16, 16, 2, seed=1), x, y).state_dict(), model)
    np.savez(data, X=x, y=y)
    return model, data


@contextmanager
def as_rank_of(ranks: int) -> Iterator[DeviceMesh]:
    """Be the first of so many processes that share tensors; none of the others is there."""
    if ranks == 1:
        distributed.init_process_group("gloo", store=HashStore(), rank=0, world_size=1)
    else:
        distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=ranks)
    try:
        yield init_device_mesh("cpu", (ranks,))
    finally:
        distributed.destroy_process_group()
