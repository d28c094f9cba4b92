"""What several test modules share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

ROOT = Path(__file__).parent.parent
FIXTURES = ROOT / "fixtures"
PARITY = FIXTURES / "parity"

Run = Callable[..., subprocess.CompletedProcess[str]]


# A shell has what it runs in the background ignore Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def cli(tmp_path: Path) -> Run:
    """Run the real command line in an empty folder."""

    def run(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "nrcscan", *map(str, args)],
            cwd=options.get("cwd", tmp_path),  # type: ignore[call-overload]
            env={**environment, **options.get("env", {})},  # type: ignore[dict-item]
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def mlp(*widths: int, bias: bool = True, seed: int = 0) -> nn.Sequential:
    """Return a ReLU network with weights that depend on the seed alone."""
    torch.manual_seed(seed)
    modules: list[nn.Module] = []
    for width, out in pairwise(widths):
        modules += [nn.Linear(width, out, bias=bias), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def samples(n: int, width: int, n_targets: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 inputs and targets that depend on each other."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, width)).astype(np.float32)
    y = np.tanh(x @ rng.standard_normal((width, n_targets))).astype(np.float32)
    return x, y


@pytest.fixture
def saved(tmp_path: Path) -> tuple[Path, Path]:
    """A small trained-looking network and its data, as files."""
    model, data = tmp_path / "model.pt", tmp_path / "data.npz"
    torch.save(mlp(5, 16, 16, 2).state_dict(), model)
    x, y = samples(100, 5, 2)
    np.savez(data, X=x, y=y)
    return model, data
