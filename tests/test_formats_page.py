"""Every form of the catalogue is in docs/formats.md, and its command run on real files."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pickle
import runpy
import shlex
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import datasets
import h5py
import numpy as np
import onnx
import pyarrow
import pytest
import safetensors.torch
import tolerances
import torch
import transformers
from conftest import ROOT, as_rank_of, imported, mlp, samples
from PIL import Image
from pyarrow import parquet
from torch.distributed.checkpoint import state_dict_saver
from torch.distributed.tensor import Shard, distribute_tensor

import nrcscan
from nrcscan import InputError, Report, report
from nrcscan.cli.app import app
from nrcscan.inputs import catalogue
from nrcscan.inputs.checkpoints.recognise import recognise
from nrcscan.inputs.checkpoints.weights_of_folder import weights_of_folder
from nrcscan.inputs.datasets.open_dataset import open_dataset
from nrcscan.inputs.forms import CheckpointForm, Form

KEYS = {case: form.key for form in catalogue.CHECKPOINTS for case in form.cases}
FORMS = [form for forms in catalogue.TABLES.values() for form in forms]
PLAIN = "nrcscan extract model.pt data.npz"

MINE = """
import numpy as np, torch
from torch import nn

from torch.utils.data import DataLoader, TensorDataset
def build(width):
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2))
def tanh():
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
def conv():
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 2))
def bert():
    import transformers
    config = transformers.AutoConfig.from_pretrained("hub", local_files_only=True)
    return transformers.AutoModelForSequenceClassification.from_config(config)
class Joined(nn.Sequential):
    def forward(self, *parts, **named):
        parts = [part.reshape(len(part), -1) for part in (*parts, *named.values())]
        return super().forward(torch.cat(parts, dim=1))
def joined():
    return Joined(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
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


class Joined(torch.nn.Module):
    """Takes its inputs in two parts."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.net(torch.cat([left, right], dim=1))
        return found


SAME = {
    "conv.pt": "nrcscan extract conv.pt pictures.npz --model mine.py:conv",
    "half.pt": "nrcscan extract halved.pt data.npz",
    "hub": "nrcscan extract bert.pt tokens.npz --model mine.py:bert",
    "tanh": "nrcscan extract tanh.pt data.npz --model mine.py:tanh",
    "x,y": "nrcscan extract model.pt standard.npz",
    "train=0.8,seed=42,part=test": "nrcscan extract model.pt held_back.npz",
    "test=0.25,shuffle=no,part=test": "nrcscan extract model.pt last.npz",
}
"""By a word of their command, forms of other networks or data: their plain state dict and .npz."""

HELD_BACK = [13, 39, 30, 45, 17, 48, 26, 25, 32, 19]
"""What scikit-learn's train_test_split(range(50), train_size=0.8, random_state=42)[1] is."""

pytestmark = [
    pytest.mark.numerical,
    pytest.mark.usefixtures("workers_here"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("formats")
    x, y = samples(50, 4, 2)
    state = mlp(4, 16, 2).state_dict()
    torch.save(state, path / "model.pt")
    safetensors.torch.save_file(state, path / "model.safetensors")
    torch.save({"epoch": 3, "state_dict": state}, path / "training.ckpt")
    torch.save({"model": mlp(4, 16, 2, seed=1).state_dict(), "ema": state}, path / "several.pt")
    critic = {f"critic.{name}": torch.zeros(3, 3) for name in state}
    actor = {f"actor.{name}": tensor for name, tensor in state.items()}
    ends = {("trunk." if k[0] == "0" else "head.") + k[2:]: tensor for k, tensor in state.items()}
    torch.save({**critic, **actor, **ends}, path / "agent.pt")
    torch.save({**state, **critic, "log_std": torch.zeros(2)}, path / "extra.pt")
    average = {"decay": 0.9, "shadow_params": list(state.values())}
    torch.save({"model": mlp(4, 16, 2, seed=1).state_dict(), "ema": average}, path / "averaged.pt")
    places = {"0": "mlp_extractor.policy_net.0", "2": "action_net"}
    policy = {f"{places[k[0]]}{k[1:]}": tensor for k, tensor in state.items()}
    torch.save({**policy, "value_net.weight": torch.zeros(1, 16)}, path / "policy.pth")
    with zipfile.ZipFile(path / "ppo.zip", "w") as archive:
        archive.writestr("data", "{}")
        archive.write(path / "policy.pth", "policy.pth")
    hyper_parameters = {"width": 16, "lr": 0.1}
    torch.save({"state_dict": state, "hyper_parameters": hyper_parameters}, path / "lightning.ckpt")
    torch.save(
        {"state_dict": state, "args": argparse.Namespace(lr=0.1)}, path / "training_args.ckpt"
    )
    arrays = {name: value.numpy() for name, value in state.items()}
    (path / "arrays.pkl").write_bytes(pickle.dumps(arrays))
    with as_rank_of(1) as mesh:
        shared = {name: distribute_tensor(v, mesh, [Shard(0)]) for name, v in state.items()}
        torch.save(shared, path / "dtensor.pt")
    (path / "run").mkdir()
    torch.save(state, path / "run" / "pytorch_model.bin")
    torch.save({"state": {}, "param_groups": []}, path / "run" / "optimizer.bin")
    (path / "shards").mkdir()
    parts = {"a.safetensors": ["0.weight", "2.bias"], "b.safetensors": ["0.bias", "2.weight"]}
    for name, keys in parts.items():
        safetensors.torch.save_file({key: state[key] for key in keys}, path / "shards" / name)
    index = {"weight_map": {key: name for name, keys in parts.items() for key in keys}}
    (path / "shards" / "model.safetensors.index.json").write_text(json.dumps(index))
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(**size, intermediate_size=8, vocab_size=9, num_labels=2)
    bert = transformers.BertForSequenceClassification(config)
    bert.save_pretrained(path / "hub")
    torch.save(bert.state_dict(), path / "bert.pt")
    tokens = np.random.default_rng(0).integers(0, 9, (50, 5))
    np.savez(path / "tokens.npz", X=tokens, y=y)
    torch.save(mlp(4, 16, 2), path / "sequential.pt")
    (path / "code").mkdir()
    (path / "code" / "my_nets.py").write_text(CLASS)
    with imported(path / "code", "my_nets") as module:
        torch.save(module.Net(state), path / "pickled.pt")
    (path / "train.py").write_text(
        f"{CLASS}if __name__ == '__main__':\n    import sys, torch\n"
        "    torch.save(Net(torch.load('model.pt')), 'scripted.pt')\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        runpy.run_path("train.py", run_name="__main__")
    torch.jit.save(torch.jit.script(mlp(4, 16, 2)), path / "script.pt")
    example = torch.from_numpy(x[:7])
    torch.export.save(torch.export.export(mlp(4, 16, 2), (example,)), path / "exported.pt2")
    torch.onnx.export(
        mlp(4, 16, 2), (example,), path / "model.onnx", dynamo=False,
        input_names=["x"], dynamic_axes={"x": {0: "batch"}},
    )  # fmt: skip
    torch.onnx.export(
        Joined(mlp(4, 16, 2)), (example[:, :1], example[:, 1:]), path / "two.onnx", dynamo=False,
        input_names=["left", "right"], dynamic_axes={"left": {0: "n"}, "right": {0: "n"}},
    )  # fmt: skip
    normed = mlp(4, 16, 2)
    for layer in (normed[0], normed[2]):
        torch.nn.utils.weight_norm(layer)
    torch.save(normed.state_dict(), path / "normed.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is one process
        state_dict_saver.save({"model": state}, checkpoint_id=path / "step_100")
    half = {name: value.half() for name, value in state.items()}
    torch.save(half, path / "half.pt")
    torch.save({name: value.float() for name, value in half.items()}, path / "halved.pt")
    torch.save({f"module._orig_mod.{k}": v for k, v in state.items()}, path / "wrapped.pt")
    np.savez(path / "data.npz", X=x, y=y)
    np.savez(path / "last.npz", X=x[37:], y=y[37:])
    np.savez(path / "held_back.npz", X=x[sorted(HELD_BACK)], y=y[sorted(HELD_BACK)])
    standard = [(v - v.mean(0)) / v.std(0) for v in (x.astype(np.float64), y.astype(np.float64))]
    np.savez(path / "standard.npz", X=standard[0], y=standard[1])
    np.savez(path / "parts.npz", left=x[:, :1], right=x[:, 1:], y=y)
    np.savez(path / "other.npz", states=x, torques=y)
    torch.save(state, path / "tanh.pt")
    wide_x, wide_y = x.astype(np.float64), y.astype(np.float64)
    np.savez(path / "raw.npz", X=wide_x * 10 + 3, y=wide_y * 5 - 1)
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
    lines = (path / "data.csv").read_text().splitlines()
    runs = [f"{'run' if i == 0 else f'run {i}'},{line}" for i, line in enumerate(lines)]
    (path / "runs.csv").write_text("\n".join(runs))
    told = {"input_ids": list(tokens), "text": ["…"] * 50, "labels": list(y)}
    parquet.write_table(pyarrow.table(told), path / "tokens.parquet")
    arrays = {"states": list(x), "note": ["not read"] * 50, "torques": list(y)}
    parquet.write_table(pyarrow.table(arrays), path / "arrays.parquet")
    columns = dict(zip(names, table.T, strict=True))
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(columns).save_to_disk(path / "saved", num_shards=2)
    train = datasets.Dataset.from_dict(arrays)
    datasets.DatasetDict(train=train, test=train).save_to_disk(path / "splits")
    _write_photos(path, y)
    with h5py.File(path / "data.h5", "w") as file:
        file["train/X"], file["train/y"] = x, y
    _write_episodes(path, x, y)
    _write_tables(path, names, table)
    tensors = {"x": torch.from_numpy(x), "y": torch.from_numpy(y)}
    torch.save(tensors, path / "data.pt")
    torch.save(torch.utils.data.TensorDataset(*tensors.values()), path / "dataset.pt")
    torch.save(list(zip(*tensors.values(), strict=True)), path / "pairs.pt")
    safetensors.torch.save_file(tensors, path / "data.safetensors")
    (path / "mine.py").write_text(MINE)
    return path


def _write_episodes(path: Path, x: np.ndarray, y: np.ndarray) -> None:
    """Write the samples as episodes, and as MATLAB does."""
    with h5py.File(path / "d4rl.hdf5", "w") as flat:
        flat["observations"], flat["actions"], flat["terminals"] = x, y, np.zeros(50, bool)
    with (
        h5py.File(path / "main_data.hdf5", "w") as minari,
        h5py.File(path / "demo.hdf5", "w") as robomimic,
    ):
        for i, rows in enumerate((slice(0, 20), slice(20, 27), slice(27, 50))):
            minari[f"episode_{i}/observations"] = np.vstack([x[rows], x[:1]])
            minari[f"episode_{i}/actions"] = y[rows]
            robomimic[f"data/demo_{i}/obs/eef"] = x[rows, :1]
            robomimic[f"data/demo_{i}/obs/object"] = x[rows, 1:]
            robomimic[f"data/demo_{i}/actions"] = y[rows]
        robomimic["mask/train"] = [f"demo_{i}" for i in range(3)]
    with h5py.File(path / "burgers.mat", "w", userblock_size=512) as file:
        file["a"], file["u"] = x.T, y.T
    with (path / "burgers.mat").open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")


def _write_tables(path: Path, names: list[str], table: np.ndarray) -> None:
    """Write a table as R does, and as spreadsheets of other countries do."""
    rows = [[f"{value:.9g}" for value in row] for row in table]
    head = ",".join(f'"{name}"' for name in ["", *names])
    body = (f'"{i}",' + ",".join(row) for i, row in enumerate(rows, 1))
    (path / "r.csv.gz").write_bytes(gzip.compress("\n".join([head, *body]).encode()))
    lines = [";".join(row).replace(".", ",") for row in rows]
    (path / "commas.csv").write_text("\n".join([";".join(names), *lines]))


def _write_photos(path: Path, y: np.ndarray) -> None:
    """Write images as files and as the arrays that a network gets, and a network for them."""
    (path / "photos").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    lines = ["file,speed,turn"]
    for i, (image, (speed, turn)) in enumerate(zip(pixels, y, strict=True)):
        Image.fromarray(image).save(path / "photos" / f"{i}.png")
        lines.append(f"{i}.png,{speed:.9g},{turn:.9g}")
    (path / "targets.csv").write_text("\n".join(lines))
    scaled = (pixels / 255 - [0.5, 0.4, 0.3]) / 0.25
    np.savez(path / "pictures.npz", X=scaled.transpose(0, 3, 1, 2).astype(np.float32), y=y)
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(216, 2)
    torch.save(torch.nn.Sequential(*layers).state_dict(), path / "conv.pt")


def test_the_page_lists_every_form() -> None:
    page = (ROOT / "docs" / "formats.md").read_text()
    assert catalogue.filled(page) == page, "run python -m nrcscan.inputs.catalogue docs/formats.md"
    assert all(form.cases for form in catalogue.CHECKPOINTS)


def test_the_page_needs_its_places() -> None:
    with pytest.raises(ValueError, match="0 places for the table 'data'"):
        catalogue.filled("| form |\n")


@pytest.fixture(scope="module")
def plainly() -> dict[str, Report]:
    """By command, what plain state dicts on an .npz measure as; filled as forms ask for them."""
    return {}


def measured(line: str, output: Path) -> Report:
    # These networks are untrained, so that the data does not tell that they are of relu.
    given = {"--activation", "--model"} & {*shlex.split(line)}  # which says it
    relu = [] if given else ["--activation", "relu"]
    app([*shlex.split(line)[1:], *relu, "-o", str(output)], standalone_mode=False)
    return report(output)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.command)
def test_the_command_works_and_measures_the_same(
    form: Form,
    folder: Path,
    plainly: dict[str, Report],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(folder)
    plain = next((same for word, same in SAME.items() if word in form.command.split()), PLAIN)
    if "--scales" in form.command:
        plain = PLAIN
    found = measured(form.command, tmp_path / "a.h5")
    if plain not in plainly:
        plainly[plain] = measured(plain, tmp_path / "b.h5")
    expected = plainly[plain]
    key = KEYS.get(form)
    if key is not None:
        assert found.provenance["checkpoint"]["format"] == key
    assert len(found.layers) == len(expected.layers)
    # Another program's arithmetic, or other batches, round in another way.
    rel = tolerances.SHALLOW if key in ("onnx", "exported") else 1e-6
    for ours, theirs in zip(found.layers, expected.layers, strict=True):
        # The floor is for what is zero but for rounding, such as the noise of a narrow layer.
        assert ours.metrics.values == pytest.approx(theirs.metrics.values, rel=rel, abs=1e-12)


@pytest.mark.parametrize("case", KEYS, ids=lambda case: case.command)
def test_every_checkpoint_is_recognised_before_it_is_opened(case: Form, folder: Path) -> None:
    path = folder / shlex.split(case.command)[2]
    found = recognise(path)
    if isinstance(found, str):  # a folder with an index
        found = recognise(weights_of_folder(path))
    assert isinstance(found, CheckpointForm)
    assert found.key == {"module": "torch"}.get(KEYS[case], KEYS[case])


def test_data_is_no_checkpoint_and_the_other_way_round(folder: Path) -> None:
    for name in ("data.npz", "X.npy", "data.csv", "data.tsv", "data.parquet", "data.h5", "saved"):
        assert isinstance(recognise(folder / name), str), name
    for name in ("script.pt", "exported.pt2", "model.onnx", "step_100", "hub"):
        with pytest.raises(InputError, match=r"is a checkpoint \(.*\), not data; give MODEL bef"):
            open_dataset(folder / name)


def test_recognising_is_light(folder: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from nrcscan.inputs.checkpoints.recognise import recognise\n"
        "for path in pathlib.Path(sys.argv[1]).iterdir(): recognise(path)\n"
        "print(*sys.modules)"
    )
    argv = [sys.executable, "-c", code, str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "numpy", "h5py", "onnx", "safetensors"}


def test_a_scan_measures_what_extract_does(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    runs = tmp_path / "runs"
    runs.mkdir()
    for name in ("model.onnx", "script.pt", "exported.pt2", "model.pt", "shards", "step_100"):
        (shutil.copytree if Path(name).is_dir() else shutil.copy)(name, runs / name)
    onnx.save(onnx.load("model.onnx"), runs / "outside.onnx", save_as_external_data=True,
              location="outside.bin", size_threshold=0)  # fmt: skip
    relu: Any = {"activation": "relu", "trust": True, "jobs": 1}
    found = nrcscan.scan(runs, "data.npz", tmp_path / "out", **relu)
    assert {c.path: c.reason for c in found.checkpoints} == dict.fromkeys(
        ["exported.pt2", "model.onnx", "model.pt", "outside.onnx", "script.pt", "step_100",
         "shards/model.safetensors.index.json"]
    )  # fmt: skip
    assert not found.skipped
    assert {c.path: c.step for c in found.checkpoints}["step_100"] == 100
    results = [c.result for c in found.checkpoints if c.result is not None]
    for result in results:
        assert result["model"]["r2"] == pytest.approx(results[0]["model"]["r2"], rel=1e-5)
    told = {c.path: c.reason for c in nrcscan.scan(runs, "data.npz", tmp_path / "wary").checkpoints}
    assert str(told["step_100"]).startswith("not opened, because it is a distributed checkpoint")
    assert told["model.onnx"] is None
    # The data of an ONNX model beside it is part of it.
    outside = runs / "outside.bin"
    content = bytearray(outside.read_bytes())
    content[:16] = np.zeros(4, np.float32).tobytes()
    outside.write_bytes(content)
    again = nrcscan.scan(runs, "data.npz", tmp_path / "out", **relu)
    assert again.n_known == 6
    before, after = (
        next(c.result for c in scan.checkpoints if c.path == "outside.onnx")
        for scan in (found, again)
    )
    assert before != after


def test_a_folder_that_is_a_checkpoint_can_be_scanned(folder: Path, tmp_path: Path) -> None:
    found = nrcscan.scan(folder / "step_100", folder / "data.npz", tmp_path / "out", trust=True)
    assert [(c.path, c.status) for c in found.checkpoints] == [(".", "ok")]
    assert not found.skipped
