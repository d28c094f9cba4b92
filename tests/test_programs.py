"""Checkpoints that hold more than weights: whole networks, programs, shards, hyper-parameters."""

from __future__ import annotations

import json
import os
import pickle
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import tolerances
import torch
from conftest import imported, mlp, samples
from torch import Tensor, nn

from nrcscan import InputError, UnsafeError, extract, inspect, report
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint

DATA = samples(50, 6, 2)
IMAGES = (DATA[0].reshape(50, 1, 2, 3), DATA[1])

pytestmark = [
    pytest.mark.numerical,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


class Conv(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 1)
        self.group = nn.Conv2d(8, 8, (2, 1), groups=2)
        self.up = nn.ConvTranspose2d(8, 4, 2)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.group(torch.relu(self.stem(x))))
        return self.head(torch.relu(self.up(x)).mean((2, 3)))


def measured(path: Path, data: Any, **options: Any) -> list[tuple[str, str, dict[str, float]]]:
    """Return (name, kind, quantities) of every layer."""
    output = path.parent / f"{path.name}.{len(options)}.h5"
    done = extract(path, data, output, force=True, **options)
    assert done.n_samples == 50
    return [(la.name, la.kind, la.metrics.values) for la in report(output).layers]


def expect_same(found: Any, expected: Any, rel: float = tolerances.SHALLOW) -> None:
    assert [f[:2] for f in found] == [e[:2] for e in expected]
    for (*_, ours), (*_, theirs) in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=rel, abs=1e-6)


def _scripted(model: nn.Module, x: Tensor, path: Path) -> None:
    torch.jit.save(torch.jit.script(model), path)


def _traced(model: nn.Module, x: Tensor, path: Path) -> None:
    torch.jit.save(torch.jit.trace(model, x), path)


def _exported(model: nn.Module, x: Tensor, path: Path) -> None:
    batch = {0: torch.export.Dim("batch", min=2)}
    torch.export.save(torch.export.export(model, (x,), dynamic_shapes=(batch,)), path)


def _exported_static(model: nn.Module, x: Tensor, path: Path) -> None:
    torch.export.save(torch.export.export(model, (x,)), path)


PROGRAMS = [_scripted, _traced, _exported, _exported_static]


@pytest.mark.parametrize("write", PROGRAMS)
@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_a_program_measures_as_its_state_dict_does(
    tmp_path: Path, write: Callable[..., None], kind: str
) -> None:
    model = (mlp(6, 8, 2) if kind == "mlp" else Conv()).eval()
    data = DATA if kind == "mlp" else IMAGES
    write(model, torch.from_numpy(data[0][:7]), tmp_path / "program.pt2")
    torch.save(model.state_dict(), tmp_path / "state.pt")
    expected = measured(tmp_path / "state.pt", data, factory=lambda: model)
    expect_same(measured(tmp_path / "program.pt2", data, trust=True), expected)


@pytest.mark.parametrize("write", PROGRAMS)
def test_a_program_is_refused_before_it_loads(
    tmp_path: Path, write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "program.pt"
    write(mlp(6, 2), torch.from_numpy(DATA[0][:7]), path)
    for module, name in [(torch, "load"), (torch.jit, "load"), (torch.export, "load")]:
        monkeypatch.setattr(module, name, lambda *a, **k: pytest.fail("opened"))
    with pytest.raises(UnsafeError, match="is an? (TorchScript|exported) program.* use --trust if"):
        open_checkpoint(path)


def test_a_frozen_program_has_no_weights_to_watch(tmp_path: Path) -> None:
    frozen = torch.jit.freeze(torch.jit.script(mlp(6, 8, 2).eval()))
    torch.jit.save(frozen, tmp_path / "m.pt")
    with pytest.raises(InputError, match="has no weights to watch .a frozen program keeps none"):
        extract(tmp_path / "m.pt", DATA, tmp_path / "a.h5", trust=True)


@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_a_damaged_program(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "program.pt"
    write = _traced if kind == "torchscript" else _exported
    write(mlp(6, 2), torch.from_numpy(DATA[0][:7]), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = bytes(200)
    path.write_bytes(content)
    with pytest.raises(InputError):
        extract(path, (DATA[0][:, :3], DATA[1]), tmp_path / "a.h5", trust=True)


# --- whole networks ---------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"epoch": 3, "model": m}])
def test_torchs_own_layers_are_data(tmp_path: Path, wrap: Callable[[nn.Module], Any]) -> None:
    model = nn.Sequential(
        nn.Unflatten(1, (1, 6)), nn.Conv1d(1, 4, 3), nn.BatchNorm1d(4), nn.GELU(), nn.Flatten(),
        nn.Dropout(), nn.Linear(16, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 2),
    )  # fmt: skip
    torch.save(wrap(model), tmp_path / "m.pt")
    torch.save(model.state_dict(), tmp_path / "state.pt")
    expected = measured(tmp_path / "state.pt", DATA, factory=lambda: model)
    expect_same(measured(tmp_path / "m.pt", DATA), expected)


CUSTOM = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 2)
    def forward(self, x):
        return self.b(self.a(x).relu())
if __name__ == "__main__":
    import sys
    torch.save(Net(), sys.argv[1])
"""


def test_a_network_of_ones_own_needs_trust_and_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.pt"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "my_project_net.py").write_text(CUSTOM)
    with imported(tmp_path / "code", "my_project_net") as module:
        torch.save(module.Net(), path)
    found = open_checkpoint(path)
    assert found.module is None
    assert list(found.state) == ["a.weight", "a.bias", "b.weight", "b.bias"]
    with pytest.raises(
        InputError, match="class is not to be found .* folder of its module with --"
    ):
        extract(path, DATA, tmp_path / "a.h5", trust=True)
    monkeypatch.setattr(sys, "path", list(sys.path))
    done = extract(path, DATA, tmp_path / "a.h5", trust=True, pythonpath=tmp_path / "code")
    assert done.layers == ("a", "b")
    sys.modules.pop("my_project_net")


def test_a_class_of_a_script_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(CUSTOM)
    path = tmp_path / "m.pt"
    monkeypatch.setattr(sys, "argv", ["train.py", str(path)])
    runpy.run_path(str(tmp_path / "code" / "train.py"), run_name="__main__")
    told = r"pickled in a script or notebook, as __main__.Net; name the file that defines Net with"
    with pytest.raises(InputError, match=told):
        extract(path, DATA, tmp_path / "a.h5", trust=True)
    (tmp_path / "other.py").write_text("class Other: ...\n")
    with pytest.raises(InputError, match=r"pickled in another script, as __main__.Net; name the f"):
        extract(path, DATA, tmp_path / "a.h5", trust=True, factory=str(tmp_path / "other.py"))


class Marker:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_inspect_says_that_the_network_is_in_the_file(tmp_path: Path) -> None:
    torch.save(nn.Sequential(nn.Conv1d(1, 2, 3)), tmp_path / "m.pt")
    found = inspect(tmp_path / "m.pt")
    assert (found.format, found.network) == ("module", "in the file, a Sequential")
    found = inspect(sharded(tmp_path, "bin"))
    assert found.entries == {"part-1.bin": "4 tensors", "part-2.bin": "2 tensors"}


def test_trust_is_what_it_says(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    model = mlp(6, 2)
    model.extra = Marker(marker)  # type: ignore[assignment]
    torch.save(model, tmp_path / "m.pt")
    done = extract(tmp_path / "m.pt", DATA, tmp_path / "b.h5")
    assert any("which holds posix.system, was not built" in note for note in done.notes)
    assert "posix.system" in inspect(tmp_path / "m.pt").notes[0]
    assert not marker.exists()
    extract(tmp_path / "m.pt", DATA, tmp_path / "a.h5", trust=True)
    assert marker.exists()


def test_the_command_line_knows_trust(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from nrcscan.cli.app import app

    torch.jit.save(torch.jit.script(mlp(4, 2)), tmp_path / "m.pt")
    import numpy as np

    np.savez(tmp_path / "d.npz", X=DATA[0][:, :4], y=DATA[1])
    common = ["extract", str(tmp_path / "m.pt"), str(tmp_path / "d.npz")]
    output = ["-o", str(tmp_path / "a.h5")]
    assert CliRunner().invoke(app, [*common, *output]).exit_code == 3
    assert CliRunner().invoke(app, [*common, *output, "--trust"]).exit_code == 0
    wrong = ["--pythonpath", str(tmp_path / "no"), "--force"]
    assert CliRunner().invoke(app, [*common, *output, *wrong]).exit_code == 2


# --- shards -----------------------------------------------------------------------------------


def sharded(folder: Path, kind: str) -> Path:
    state = mlp(6, 8, 8, 2).state_dict()
    names = list(state)
    parts = {f"part-1.{kind}": names[:1] + names[3:], f"part-2.{kind}": names[1:3]}
    for name, keys in parts.items():
        tensors = {key: state[key] for key in keys}
        if kind == "safetensors":
            safetensors.torch.save_file(tensors, folder / name)
        else:
            torch.save(tensors, folder / name)
    weight_map = {key: name for name, keys in parts.items() for key in keys}
    order = {key: weight_map[key] for key in names}
    index = folder / f"model.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": order}))
    torch.save(state, folder / "whole.pt")
    return index


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_measure_as_the_whole(tmp_path: Path, kind: str) -> None:
    index = sharded(tmp_path, kind)
    expected = measured(tmp_path / "whole.pt", DATA)
    expect_same(measured(index, DATA), expected)
    extract(tmp_path, DATA, tmp_path / "a.h5")  # the folder will do
    assert report(tmp_path / "a.h5").provenance["checkpoint"]["format"] == "sharded"


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    index = sharded(tmp_path, "bin")
    (tmp_path / "part-2.bin").unlink()
    with pytest.raises(InputError, match=r"shard part-2\.bin is missing; copy it beside the index"):
        open_checkpoint(index)


def test_a_shard_that_lacks_a_tensor(tmp_path: Path) -> None:
    index = sharded(tmp_path, "bin")
    torch.save({"other": torch.zeros(1)}, tmp_path / "part-2.bin")
    with pytest.raises(InputError, match=r"no shard holds 0.bias and 2.weight; copy all shards"):
        open_checkpoint(index)


@pytest.mark.parametrize(
    "name", ["../x.bin", "/etc/passwd", "a/b.bin", "..", ".", "", "a\\b", "x\0.bin"]
)
def test_an_index_that_points_outside_its_folder(tmp_path: Path, name: str) -> None:
    index = tmp_path / "model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(UnsafeError, match="names a shard outside its own folder"):
        open_checkpoint(index)


def test_a_shard_that_is_a_link_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    torch.save({"w": torch.zeros(2, 2)}, tmp_path / "secret.bin")
    (tmp_path / "in" / "a.bin").symlink_to(tmp_path / "secret.bin")
    index = tmp_path / "in" / "model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"w": "a.bin"}}))
    with pytest.raises(
        UnsafeError, match=r"'a\.bin' is a link out of its folder; copy the file there"
    ):
        open_checkpoint(index)


def test_shards_are_data_too(tmp_path: Path) -> None:
    index = sharded(tmp_path, "bin")
    marker = tmp_path / "marker"
    (tmp_path / "part-2.bin").write_bytes(pickle.dumps(Marker(marker)))
    with pytest.raises(InputError):
        open_checkpoint(index, trust=False)
    torch.save({"0.bias": Marker(marker)}, tmp_path / "part-2.bin")
    with pytest.raises(UnsafeError, match=r"posix\.system"):
        open_checkpoint(index)
    assert not marker.exists()


@pytest.mark.parametrize("text", ["{}", '{"weight_map": []}', '{"weight_map": {}}', "{", "[1]"])
def test_what_is_no_index(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.index.json").write_text(text)
    with pytest.raises(InputError, match="index of shards|weight_map|is a text file"):
        open_checkpoint(tmp_path / "m.index.json")


# --- hyper-parameters -------------------------------------------------------------------------


def build(width: int, depth: int = 1, activation: str = "relu") -> nn.Module:
    assert activation == "relu"
    return mlp(6, *[width] * depth, 2)


def test_hyper_parameters_are_offered_to_the_factory(tmp_path: Path) -> None:
    content = {
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {f"model.{k}": v for k, v in mlp(6, 5, 5, 2).state_dict().items()},
        "hyper_parameters": {"width": 5, "depth": 2, "lr": 0.1},
    }
    torch.save(content, tmp_path / "epoch=3.ckpt")
    path = tmp_path / "epoch=3.ckpt"
    done = extract(path, DATA, tmp_path / "a.h5", factory=build)
    assert done.layers == ("0", "2", "4")
    assert done.notes[0] == "the checkpoint's hyper-parameters give depth and width"
    with pytest.raises(InputError, match="where the network wants"):
        extract(path, DATA, tmp_path / "b.h5", factory=build, factory_args={"width": 7})


# --- what is not measured is named ------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(5, 6), nn.LSTM(6, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x + self.embed.weight[0])[0])


class Distances(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(2, 6))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cdist(x, self.centres)


class Batched(Recurrent):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn((x + self.embed.weight[0])[None])[0][0])


def test_other_kinds_of_layers_are_named(tmp_path: Path) -> None:
    done = extract(Batched(), DATA, tmp_path / "a.h5")
    assert done.layers == ("rnn.weight_ih_l0", "rnn.weight_hh_l0", "head")
    assert done.notes == (
        "not Linear, convolution or recurrent layers, so not measured: embed (Embedding)",
    )
    # Fed as one sequence, the samples are steps in time: no sample has features of its own.
    with pytest.raises(
        InputError, match="the network mixes samples: the prediction for one changes"
    ):
        extract(Recurrent(), DATA, tmp_path / "b.h5")
    with pytest.raises(InputError, match=r"of centres .Distances, used in cdist., was seen"):
        extract(Distances(), DATA, tmp_path / "b.h5")
