"""Every command of docs/formats.md, run on real files."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import h5py
import numpy as np
import pyarrow
import pytest
import safetensors.torch
import torch
import transformers
from conftest import ROOT, mlp, samples
from pyarrow import parquet
from torch.distributed.checkpoint import state_dict_saver

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

CLASS = """
from torch import nn
class Net(nn.Sequential):
    def __init__(self, state):
        super().__init__(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        self.load_state_dict(state)
"""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("formats")
    x, y = samples(50, 4, 2)
    state = mlp(4, 16, 2).state_dict()
    torch.save(state, path / "model.pt")
    safetensors.torch.save_file(state, path / "model.safetensors")
    torch.save({"epoch": 3, "state_dict": state}, path / "training.ckpt")
    torch.save({"model": mlp(4, 16, 2, seed=1).state_dict(), "ema": state}, path / "several.pt")
    hyper_parameters = {"width": 16, "lr": 0.1}
    torch.save({"state_dict": state, "hyper_parameters": hyper_parameters}, path / "lightning.ckpt")
    (path / "shards").mkdir()
    parts = {"a.safetensors": ["0.weight", "2.bias"], "b.safetensors": ["0.bias", "2.weight"]}
    for name, keys in parts.items():
        safetensors.torch.save_file({key: state[key] for key in keys}, path / "shards" / name)
    index = {"weight_map": {key: name for name, keys in parts.items() for key in keys}}
    (path / "shards" / "model.safetensors.index.json").write_text(json.dumps(index))
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(**size, intermediate_size=8, vocab_size=9, num_labels=2)
    transformers.BertForSequenceClassification(config).save_pretrained(path / "hub")
    tokens = np.random.default_rng(0).integers(0, 9, (50, 5))
    np.savez(path / "tokens.npz", X=tokens, y=y)
    torch.save(mlp(4, 16, 2), path / "sequential.pt")
    (path / "code").mkdir()
    (path / "code" / "my_nets.py").write_text(CLASS)
    save = (
        "import sys, torch, my_nets; torch.save(my_nets.Net(torch.load('model.pt')), 'pickled.pt')"
    )
    where = {**os.environ, "PYTHONPATH": str(path / "code")}
    subprocess.run([sys.executable, "-c", save], cwd=path, check=True, env=where)
    torch.jit.save(torch.jit.script(mlp(4, 16, 2)), path / "script.pt")
    example = torch.from_numpy(x[:7])
    torch.export.save(torch.export.export(mlp(4, 16, 2), (example,)), path / "exported.pt2")
    torch.onnx.export(
        mlp(4, 16, 2), (example,), path / "model.onnx", dynamo=False,
        input_names=["x"], dynamic_axes={"x": {0: "batch"}},
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is one process
        state_dict_saver.save({"model": state}, checkpoint_id=path / "step_100")
    torch.save({name: value.half() for name, value in state.items()}, path / "half.pt")
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
    assert len(COMMANDS) >= 25


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
    other = any(name in command for name in ("tanh", "hub", "half"))
    if other or command.endswith("--standardize x,y"):
        return  # another network, or other data, on purpose
    for ours, theirs in zip(found, measured(COMMANDS[0], "b.h5"), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
