"""Every form of the catalogue is in docs/formats.md, and its command run on real files."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import warnings
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
from conftest import ROOT, imported, mlp, samples
from PIL import Image
from pyarrow import parquet
from torch.distributed.checkpoint import state_dict_saver

import nrcscan
from nrcscan import InputError, Report, report
from nrcscan.cli.app import app
from nrcscan.inputs import catalogue
from nrcscan.inputs.checkpoints.recognise import recognise
from nrcscan.inputs.checkpoints.signs import weights_in
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
    def forward(self, left, right):
        return super().forward(torch.cat([left, right], dim=1))
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

SAME = {
    "conv.pt": "nrcscan extract conv.pt pictures.npz --model mine.py:conv",
    "half.pt": "nrcscan extract halved.pt data.npz",
    "hub": "nrcscan extract bert.pt tokens.npz --model mine.py:bert",
    "tanh": "nrcscan extract tanh.pt data.npz --model mine.py:tanh",
    "x,y": "nrcscan extract model.pt standard.npz",
}
"""By a word of their command, forms of other networks or data: their plain state dict and .npz."""

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
    half = {name: value.half() for name, value in state.items()}
    torch.save(half, path / "half.pt")
    torch.save({name: value.float() for name, value in half.items()}, path / "halved.pt")
    torch.save({f"module._orig_mod.{k}": v for k, v in state.items()}, path / "wrapped.pt")
    np.savez(path / "data.npz", X=x, y=y)
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
    tensors = {"x": torch.from_numpy(x), "y": torch.from_numpy(y)}
    torch.save(tensors, path / "data.pt")
    safetensors.torch.save_file(tensors, path / "data.safetensors")
    (path / "mine.py").write_text(MINE)
    return path


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


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.command)
def test_the_command_works_and_measures_the_same(
    form: Form, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    def measured(line: str, name: str) -> Report:
        # These networks are untrained, so that the data does not tell that they are of relu.
        relu = [] if "--activation" in line else ["--activation", "relu"]
        app([*shlex.split(line)[1:], *relu, "-o", str(tmp_path / name)], standalone_mode=False)
        return report(tmp_path / name)

    plain = next((same for word, same in SAME.items() if word in form.command.split()), PLAIN)
    if "--scales" in form.command:
        plain = PLAIN
    found, expected = measured(form.command, "a.h5"), measured(plain, "b.h5")
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
        found = recognise(weights_in(path))
    assert isinstance(found, CheckpointForm)
    assert found.key == {"module": "torch"}.get(KEYS[case], KEYS[case])


def test_data_is_no_checkpoint_and_the_other_way_round(folder: Path) -> None:
    for name in ("data.npz", "X.npy", "data.csv", "data.tsv", "data.parquet", "data.h5", "saved"):
        assert isinstance(recognise(folder / name), str), name
    for name in ("script.pt", "exported.pt2", "model.onnx", "step_100", "hub"):
        with pytest.raises(InputError, match=r"is a checkpoint \(.*\), not data; the order is MOD"):
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
