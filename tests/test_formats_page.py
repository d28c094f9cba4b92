"""Every command of docs/formats.md, run on real files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import h5py
import numpy as np
import pyarrow
import pytest
import safetensors.torch
import torch
from conftest import ROOT, mlp, samples
from pyarrow import parquet

from nrcscan import report
from nrcscan.cli import app

COMMANDS = re.findall(r"`(nrcscan extract [^`]+)`", (ROOT / "docs" / "formats.md").read_text())

MINE = """
import numpy as np, torch
from torch import nn

from torch.utils.data import DataLoader, TensorDataset
def build(width):
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
def loader():
    data = np.load("data.npz")
    return DataLoader(TensorDataset(*map(torch.from_numpy, (data["X"], data["y"]))), batch_size=9)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("formats")
    x, y = samples(50, 4, 2)
    state = mlp(4, 16, 2).state_dict()
    torch.save(state, path / "model.pt")
    safetensors.torch.save_file(state, path / "model.safetensors")
    torch.save({"epoch": 3, "state_dict": state}, path / "training.ckpt")
    torch.save({"model": mlp(4, 16, 2, seed=1).state_dict(), "ema": state}, path / "several.pt")
    torch.save({f"module._orig_mod.{k}": v for k, v in state.items()}, path / "wrapped.pt")
    np.savez(path / "data.npz", X=x, y=y)
    np.savez(path / "other.npz", states=x, torques=y)
    np.savez(path / "raw.npz", X=x * 10 + 3, y=y * 5 - 1)
    np.savez(path / "scales.npz", x_mean=3.0, x_std=10.0, y_mean=-1.0, y_std=5.0)
    np.save(path / "X.npy", x)
    np.save(path / "y.npy", y)
    names = ["a", "b", "c", "d", "speed", "turn"]
    table = np.hstack([x, y])
    np.savetxt(path / "data.csv", table, "%.9g", ",", header=",".join(names), comments="")
    np.savetxt(path / "data.tsv", table, "%.9g", "\t")
    parquet.write_table(
        pyarrow.table(dict(zip(names, table.T, strict=True))), path / "data.parquet"
    )
    with h5py.File(path / "data.h5", "w") as file:
        file["train/X"], file["train/y"] = x, y
    tensors = {"x": torch.from_numpy(x), "y": torch.from_numpy(y)}
    torch.save(tensors, path / "data.pt")
    safetensors.torch.save_file(tensors, path / "data.safetensors")
    (path / "mine.py").write_text(MINE)
    return path


def test_the_page_lists_commands() -> None:
    assert len(COMMANDS) >= 19


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_works_and_measures_the_same(
    command: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    def measured(line: str, name: str) -> list[dict[str, float]]:
        output = tmp_path / name
        app([*shlex.split(line)[1:], "-o", str(output)], standalone_mode=False)
        return [layer.metrics.values for layer in report(output).layers]

    found = measured(command, "a.h5")
    if "tanh" in command or command.endswith("--standardize x,y"):
        return  # another network, or other data, on purpose
    for ours, theirs in zip(found, measured(COMMANDS[0], "b.h5"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
