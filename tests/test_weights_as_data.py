"""Weights are read as data, whatever lies beside them; what was left out is named."""

from __future__ import annotations

import argparse
import json
import pathlib
import pickle
import sys
import types
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, as_rank_of, imported, mlp, samples
from torch import nn
from torch.distributed.tensor import Partial, Replicate, Shard, distribute_tensor

from nrcscan import InputError, UnsafeError, extract, inspect, report
from nrcscan.errors import NoNetworkError
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint
from nrcscan.inputs.checkpoints.torch_save import load_tensors, read_torch
from nrcscan.inputs.pickles.placeholder import Placeholder
from nrcscan.network.build import build

DATA = samples(60, 6, 2)
STATE = mlp(6, 8, 2).state_dict()


def same(state: dict[str, torch.Tensor]) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(state[k], STATE[k]) for k in STATE)


def foreign(monkeypatch: pytest.MonkeyPatch, name: str, base: type = object) -> Any:
    """Return a class of a package that is gone once the file was written."""
    module, _, kind = name.rpartition(".")
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        part = ".".join(parts[:depth])
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    made = type(kind, (base,), {"__module__": module, "__qualname__": kind})
    setattr(sys.modules[module], kind, made)
    return made


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, str]]:
    """What people have beside their weights, and the note that it was left out."""
    widths = foreign(monkeypatch, "omegaconf.listconfig.ListConfig")()
    widths._content = [8]
    box = foreign(monkeypatch, "gymnasium.spaces.box.Box")()
    box.low, box.dtype = np.full(6, -1.0), np.dtype("f4")
    history = foreign(monkeypatch, "mmengine.logging.history_buffer.HistoryBuffer")()
    history._log_history = np.zeros(3)
    return {
        "hyper_parameters": (
            {"widths": widths}, "omegaconf.listconfig.ListConfig (hyper_parameters.widths)",
        ),
        "data": (
            {"space": box, "act": nn.Tanh},
            "gymnasium.spaces.box.Box (data.space) and torch.nn.modules.activation.Tanh (data.act)",
        ),
        "hub": ({"loss": history}, "mmengine.logging.history_buffer.HistoryBuffer (hub.loss)"),
        "args": (argparse.Namespace(lr=0.1), "argparse.Namespace (args)"),
        "cfg": ([pathlib.PurePosixPath("/data")], "pathlib.PurePosixPath (cfg)"),
        "rng": (np.random.default_rng(0), "numpy.random._pickle.__generator_ctor (rng)"),
        "gelu": (nn.functional.gelu, "torch._C._nn.gelu (gelu)"),
        "state": (np.random.RandomState(0).get_state(), ""),
        "best": (np.array([0.1, 0.2]), ""),
    }  # fmt: skip


@pytest.mark.parametrize("new", [True, False])
def test_what_lies_beside_weights_is_left_out_and_named(
    tmp_path: Path, beside: dict[str, tuple[Any, str]], new: bool
) -> None:
    for key, (value, words) in beside.items():
        path = tmp_path / f"{key}.pt"
        content = {"state_dict": STATE, key: value, "epoch": 3}
        torch.save(content, path, _use_new_zipfile_serialization=new)
        found = open_checkpoint(path)
        assert same(found.state)
        assert found.notes == ((f"left out, not built: {words}",) if words else ())
        assert inspect(path).notes == found.notes


def test_the_note_is_shown_and_kept(tmp_path: Path, cli: Run) -> None:
    model, data = tmp_path / "m.pt", tmp_path / "d.npz"
    torch.save({"state_dict": STATE, "args": argparse.Namespace(lr=0.1)}, model)
    torch.save(STATE, tmp_path / "plain.pt")
    np.savez(data, X=DATA[0], y=DATA[1])
    note = "left out, not built: argparse.Namespace (args)"
    assert f"note: {note}" in cli("extract", str(model), str(data), "-o", tmp_path / "a.h5").stderr
    extract(tmp_path / "plain.pt", data, tmp_path / "b.h5")
    found, expected = report(tmp_path / "a.h5"), report(tmp_path / "b.h5")
    assert note in found.notes
    assert found.layers == expected.layers
    assert "argparse.Namespace" in cli("inspect", str(model)).stdout
    assert json.loads(cli("inspect", str(model), "--json").stdout)["notes"] == [note]


def test_many_classes_make_one_short_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = [foreign(monkeypatch, f"package{i}.sub.Thing") for i in range(9)]
    torch.save(
        {"model": STATE, **{f"k{i}": [k(), k()] for i, k in enumerate(kinds)}}, tmp_path / "m"
    )
    (note,) = open_checkpoint(tmp_path / "m").notes
    assert note.endswith("package5.sub.Thing (k5) and 3 classes more")


def test_without_weights_it_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(lr=0.1)}, tmp_path / "m.pt")
    with pytest.raises(NoNetworkError, match=r"holds no weight matrix \(keys: args\); give the"):
        open_checkpoint(tmp_path / "m.pt")
    with pytest.raises(UnsafeError, match=r"asks for argparse\.Namespace, which could run code"):
        read_torch(tmp_path / "m.pt")


def test_what_a_file_is_trusted_for_is_named_by_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.pt"
    with monkeypatch.context() as patched:
        box = foreign(patched, "gymnasium_of_old.spaces.Box")()
        torch.save({"state_dict": STATE, "data": {"space": [box]}}, path)
    with pytest.raises(
        InputError, match=r"its key 'data' needs gymnasium_of_old, which is not installed; leave"
    ):
        open_checkpoint(path, trust=True)
    assert same(open_checkpoint(path).state)


def test_hyper_parameters_of_a_namespace_are_offered_where_they_are_data(tmp_path: Path) -> None:
    held = argparse.Namespace(width=8, root=pathlib.PurePosixPath("/x"))
    torch.save({"state_dict": STATE, "hyper_parameters": held}, tmp_path / "m.pt")
    found = open_checkpoint(tmp_path / "m.pt")
    assert found.hyper_parameters == {"width": 8}
    given: dict[str, Any] = {}

    def factory(width: int = 1, root: str = "default") -> nn.Module:
        given.update(width=width, root=root)
        return mlp(6, width, 2)

    build(found, factory=factory)
    assert given == {"width": 8, "root": "default"}


# --- where weights are ------------------------------------------------------------------------

NETWORK = """
from torch import nn
class Net(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body
        self.register_buffer("kept", body[0].bias.detach() + 1)
        self.register_buffer("unkept", body[0].bias.detach() + 2, persistent=False)
    def forward(self, x):
        return self.body(x)
"""


@pytest.mark.parametrize("new", [True, False])
def test_a_network_of_another_class_gives_its_state_dict(tmp_path: Path, new: bool) -> None:
    (tmp_path / "my_own_net.py").write_text(NETWORK)
    with imported(tmp_path, "my_own_net") as module:
        model = module.Net(mlp(6, 8, 2))
        torch.save({"net": model}, tmp_path / "m.pt", _use_new_zipfile_serialization=new)
        expected = model.state_dict()
    found = open_checkpoint(tmp_path / "m.pt")
    assert found.module is None
    assert list(found.state) == list(expected)
    assert all(torch.equal(found.state[name], value) for name, value in expected.items())
    assert found.notes == (
        "the my_own_net.Net under 'net' was not built: its weights were taken as a state dict",
    )


@pytest.mark.parametrize("new", [True, False])
def test_torchs_own_layers_are_built(tmp_path: Path, new: bool) -> None:
    shared = nn.Linear(6, 6)
    attention = nn.TransformerEncoderLayer(6, 2, 8, activation="gelu", batch_first=True)
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.BatchNorm1d(6), attention, nn.Linear(6, 2))
    model(torch.randn(9, 6))
    beside = argparse.Namespace(lr=0.1)
    content = {"model": model, "args": beside}
    torch.save(content, tmp_path / "m.pt", _use_new_zipfile_serialization=new)
    found = open_checkpoint(tmp_path / "m.pt")
    assert isinstance(found.module, nn.Sequential)
    assert found.module[0] is found.module[2]
    x = torch.from_numpy(DATA[0])
    with torch.inference_mode():
        assert torch.equal(found.module.eval()(x), model.eval()(x))


def test_hooks_are_not_built(tmp_path: Path) -> None:
    model = mlp(6, 8, 2)
    model.register_forward_hook(print)
    torch.save(model, tmp_path / "m.pt")
    found = open_checkpoint(tmp_path / "m.pt")
    assert found.module is None
    assert same(found.state)
    assert "which holds hooks, was not built" in found.notes[0]


def test_layers_without_end_are_refused(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(6, 2))
    for _ in range(40):  # 2^40 names for one layer
        model = nn.Sequential(model, model)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"model": model}))
    with pytest.raises(UnsafeError, match="a network has layers without end"):
        open_checkpoint(tmp_path / "m.pkl")


class StateDict(OrderedDict[str, Any]):
    """A dict of a class of its own."""


class Holder:
    """An object that keeps weights."""

    def __init__(self) -> None:
        self.decay, self.shadow = 0.9, dict(STATE)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (StateDict(STATE), ""),
        ({"state_dict": StateDict(STATE)}, "state_dict"),
        ({"ema": Holder()}, "ema.shadow"),
        ({"model": {k: v.numpy() for k, v in STATE.items()}, "epoch": 3}, "model"),
        ({k: v.numpy() for k, v in STATE.items()}, ""),
        ({"model": {k: v.numpy().astype(">f4") for k, v in STATE.items()}}, "model"),
    ],
)
@pytest.mark.parametrize("plain_pickle", [False, True])
def test_weights_in_other_containers(
    tmp_path: Path, content: Any, key: str, plain_pickle: bool
) -> None:
    path = tmp_path / "m.bin"
    if plain_pickle:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    found = open_checkpoint(path)
    assert found.state_key == key
    assert same(found.state)


def test_arrays_beside_tensors_are_no_network(tmp_path: Path) -> None:
    torch.save({"policy": STATE, "mean": np.zeros(6), "stats": Holder()}, tmp_path / "m.pt")
    found = inspect(tmp_path / "m.pt")
    assert found.state_keys == ("policy",)


def test_data_comes_with_placeholders(tmp_path: Path) -> None:
    x, y = torch.randn(5, 3), torch.randn(5, 1)
    torch.save(torch.utils.data.TensorDataset(x, y), tmp_path / "d.pt")
    found = load_tensors(tmp_path / "d.pt")
    assert isinstance(found, Placeholder)
    assert all(map(torch.equal, found.state["tensors"], (x, y)))
    torch.save(argparse.Namespace(a=1), tmp_path / "d.pt")
    with pytest.raises(UnsafeError, match=r"asks for argparse\.Namespace, .*; save plain tensors"):
        load_tensors(tmp_path / "d.pt")


# --- tensors of other classes -----------------------------------------------------------------


def test_tensors_of_a_class_of_their_own_are_plain_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.pt"
    with monkeypatch.context() as patched:
        kind = foreign(patched, "fastai_of_old.torch_core.TensorBase", torch.Tensor)
        torch.save({name: value.as_subclass(kind) for name, value in STATE.items()}, path)
        assert all(
            type(v) is torch.Tensor for v in open_checkpoint(path, trust=True).state.values()
        )
    found = open_checkpoint(path)
    assert same(found.state)
    assert found.notes == ("taken as plain tensors: those of fastai_of_old.torch_core.TensorBase",)
    with pytest.raises(InputError, match="a class that needs fastai_of_old, .*; leave --trust out"):
        open_checkpoint(path, trust=True)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    ("ranks", "placement"), [(1, Shard(0)), (1, Replicate()), (2, Replicate())]
)
def test_distributed_tensors_of_which_the_file_has_all(
    tmp_path: Path, ranks: int, placement: Any, trust: bool
) -> None:
    with as_rank_of(ranks) as mesh:
        shared = {
            name: distribute_tensor(value, mesh, [placement], src_data_rank=None)
            for name, value in STATE.items()
        }
        torch.save({"model": shared}, tmp_path / "m.pt")
    found = open_checkpoint(tmp_path / "m.pt", trust=trust)
    assert same(found.state)
    assert all(type(value) is torch.Tensor for value in found.state.values())
    extract(tmp_path / "m.pt", DATA, tmp_path / "a.h5", trust=trust)


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize(
    ("placement", "part"), [(Shard(0), r"\(4, 6\) of \(8, 6\)"), (Partial(), "a summand")]
)
def test_distributed_tensors_of_which_the_file_has_a_part(
    tmp_path: Path, placement: Any, part: str, trust: bool
) -> None:
    with as_rank_of(2) as mesh:
        local = torch.randn(*((4, 6) if isinstance(placement, Shard) else (8, 6)))
        tensor = torch.distributed.tensor.DTensor.from_local(local, mesh, [placement])
        torch.save({"weight": tensor}, tmp_path / "m.pt")
    with pytest.raises(
        InputError, match=rf"'weight' is a DTensor .* one rank's part, {part}; save all of it: get_"
    ):
        open_checkpoint(tmp_path / "m.pt", trust=trust)


def test_a_network_in_memory_of_distributed_tensors(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "m.pt")
    with as_rank_of(1) as mesh:
        model = mlp(6, 8, 2)
        for layer in model:
            if isinstance(layer, nn.Linear):
                weight = distribute_tensor(layer.weight.detach(), mesh, [Shard(0)])
                layer.weight = nn.Parameter(weight)
        found = build(open_checkpoint(tmp_path / "m.pt"), factory=lambda: model).module
    assert same(found.state_dict())


def test_long_doubles_are_taken_as_doubles(tmp_path: Path) -> None:
    arrays = {name: value.numpy().astype(np.longdouble) for name, value in STATE.items()}
    with (tmp_path / "m.pkl").open("wb") as file:
        pickle.dump(arrays, file)
    found = open_checkpoint(tmp_path / "m.pkl").state
    assert all(torch.equal(found[name], value.double()) for name, value in STATE.items())
