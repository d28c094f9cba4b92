from __future__ import annotations

import os
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import mlp
from torch import nn
from torch.optim.swa_utils import AveragedModel

from nrcscan import InputError, UsageError, inspect
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint
from nrcscan.inputs.checkpoints.wrapper_names import stripped

STATE = mlp(3, 4, 2).state_dict()


def save(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def same(state: dict[str, torch.Tensor]) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(state[k], STATE[k]) for k in STATE)


@pytest.mark.parametrize("name", ["m.pt", "m.pth", "m.ckpt", "m.bin", "misleading.npz"])
@pytest.mark.parametrize("new", [True, False])
def test_state_dicts_whatever_they_are_called(tmp_path: Path, name: str, new: bool) -> None:
    found = open_checkpoint(save(tmp_path / name, STATE, _use_new_zipfile_serialization=new))
    assert found.format == "torch"
    assert same(found.state)


def test_safetensors_in_the_order_of_the_network(tmp_path: Path) -> None:
    state = {f"layers.{i}.weight": torch.full((2, 2), float(i)) for i in range(12)}
    safetensors.torch.save_file(state, tmp_path / "m", metadata={"epoch": "3"})
    found = open_checkpoint(tmp_path / "m")
    assert found.format == "safetensors"
    assert list(found.state) == list(state)


@pytest.mark.parametrize("key", ["state_dict", "model", "net", "model_state_dict", "ema", "other"])
def test_training_checkpoints(tmp_path: Path, key: str) -> None:
    optimizer = torch.optim.SGD(mlp(3, 4, 2).parameters(), 0.1, momentum=0.9)
    content = {"epoch": 3, key: STATE, "optimizer": optimizer.state_dict(), "args": {"lr": 0.1}}
    found = open_checkpoint(save(tmp_path / "m.pt", content))
    assert found.state_key == key
    assert same(found.state)


def test_a_network_beside_its_scaler(tmp_path: Path) -> None:
    content = {"model": STATE, "scaler": {"mean": torch.zeros(3)}, "step": torch.tensor(4)}
    assert same(open_checkpoint(save(tmp_path / "m.pt", content)).state)


@pytest.mark.parametrize("new", [True, False])
def test_numbers_and_arrays_of_numpy_beside_the_weights_are_data(tmp_path: Path, new: bool) -> None:
    content = {"model": STATE, "loss": np.float64(0.5), "n": np.int32(3), "ok": np.bool_(True)}
    path = save(tmp_path / "m.pt", content, _use_new_zipfile_serialization=new)
    assert same(open_checkpoint(path).state)
    path = save(tmp_path / "a.pt", {"model": STATE, "mean": np.zeros(3)})
    found = open_checkpoint(path)
    assert same(found.state)
    assert found.notes == ()


def test_several_networks_need_a_choice(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", {"model": STATE, "ema": STATE, "deep": {"net": STATE}})
    message = "choose with --state-key model, --state-key ema or --state-key deep.net"
    with pytest.raises(UsageError, match=message):
        open_checkpoint(path)
    assert same(open_checkpoint(path, state_key="deep.net").state)
    with pytest.raises(
        UsageError, match="no state dict is called 'x', .*; choose --state-key from 'model',"
    ):
        open_checkpoint(path, state_key="x")


def test_wrappers_come_off_in_any_order() -> None:
    for prefix in ("module.", "_orig_mod.module.", "model._orig_mod.", "module.model.module."):
        wrapped = {prefix + k: v for k, v in STATE.items()}
        *_, bare = stripped(wrapped)
        assert same(bare)
    partly = {"module.a": torch.zeros(1), "b": torch.zeros(1)}
    assert [list(s) for s in stripped(partly)] == [["module.a", "b"], ["a", "b"]]
    twice = {"module.a": torch.zeros(1), "a": torch.zeros(1)}
    assert [list(s) for s in stripped(twice)] == [["module.a", "a"]]


def test_weight_averaging(tmp_path: Path) -> None:
    averaged = AveragedModel(mlp(3, 4, 2)).state_dict()
    *_, bare = stripped(open_checkpoint(save(tmp_path / "m.pt", averaged)).state)
    assert same(bare)


# --- what cannot be read ----------------------------------------------------------------------


def test_missing_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere.pt: no such checkpoint file; check the path"):
        open_checkpoint(tmp_path / "nowhere.pt")
    (tmp_path / "empty.pt").touch()
    with pytest.raises(InputError, match="the checkpoint file is empty"):
        open_checkpoint(tmp_path / "empty.pt")
    with pytest.raises(InputError, match=r"empty.pt: the checkpoint file is empty"):
        open_checkpoint(tmp_path)
    (tmp_path / "empty.pt").unlink()
    with pytest.raises(InputError, match="a folder without weights; give the checkpoint file"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_truncated_anywhere(tmp_path: Path, form: str) -> None:
    path = tmp_path / "m"
    if form == "safetensors":
        safetensors.torch.save_file(STATE, path)
    else:
        save(path, STATE, _use_new_zipfile_serialization=form == "zip")
    content = path.read_bytes()
    for size in range(1, len(content) - 1, max(1, len(content) // 40)):
        path.write_bytes(content[:size])
        with pytest.raises(
            InputError, match=r"damaged|is of an unknown|is a pickle|text file|zip|zeros"
        ):
            open_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "is an HDF5 file, damaged or cut short; copy it"),
        (b"\x93NUMPY" + bytes(100), "is a NumPy array"),
        (b"epoch,loss\n1,0.5\n", r"is a table in text \(CSV\)"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "is a Git LFS pointer"),
        (os.urandom(4) + b"\xff" * 100, "is of an unknown format"),
    ],
)
def test_foreign(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m.pt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_checkpoint(tmp_path / "m.pt")


def test_foreign_zips(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.pt", X=np.zeros(3))
    with pytest.raises(InputError, match=r"is an .npz data archive; give MODEL before DATA"):
        open_checkpoint(tmp_path / "m.pt.npz")
    with zipfile.ZipFile(tmp_path / "z.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="is a zip archive but no PyTorch checkpoint"):
        open_checkpoint(tmp_path / "z.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (torch.zeros(3), "holds a single tensor, not a state dict"),
        ([torch.zeros(3)], "holds a list, not a state dict"),
        ({"epoch": 3, "loss": 0.1}, r"no tensors by name \(keys: epoch and loss\)"),
        ({}, r"no tensors by name \(keys: none\)"),
        ({"w": torch.zeros(1).expand(2**40)}, "claims 1099511627776 values and holds 1"),
        ({"w": torch.eye(3).to_sparse()}, "'w' is a sparse_coo tensor"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse invariant checks:UserWarning")
def test_no_weights(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_checkpoint(save(tmp_path / "m.pt", content))


# --- inspect ----------------------------------------------------------------------------------


def test_inspect_says_what_would_be_taken(tmp_path: Path) -> None:
    wrapped = OrderedDict({f"module.{k}": v for k, v in STATE.items()})
    found = inspect(save(tmp_path / "m.pt", {"epoch": 7, "net": wrapped}))
    assert found.state_key == "net"
    assert found.prefix == "module."
    assert found.network == "3 → 4 → activation → 2"
    assert found.entries == {"epoch": "7", "net": "4 tensors"}
    assert [t.shape for t in found.tensors] == [(4, 3), (4,), (2, 4), (2,)]


def test_inspect_lists_choices_and_reasons(tmp_path: Path) -> None:
    found = inspect(save(tmp_path / "m.pt", {"actor": STATE, "critic": STATE}))
    assert found.state_key is None
    assert found.state_keys == ("actor", "critic")
    assert "--state-key critic" in str(found.problem)
    assert [tensor.name for tensor in found.tensors] == [
        f"{key}.{name}" for key in ("actor", "critic") for name in STATE
    ]
    found = inspect(save(tmp_path / "c.pt", nn.Conv2d(1, 2, 3).state_dict()))
    assert found.network is None
    assert "(2, 1, 3, 3)" in str(found.problem)


def test_an_averaged_nothing(tmp_path: Path) -> None:
    found = inspect(save(tmp_path / "m.pt", {"n_averaged": torch.tensor(3)}))
    assert found.prefix == ""
    assert "not a plain chain" in str(found.problem)


def test_a_zip_directory_that_is_no_text(tmp_path: Path) -> None:
    path = save(tmp_path / "m.pt", STATE)
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")
    content[at + 8 : at + 10] = (0x800).to_bytes(2, "little")  # names are UTF-8, it says
    content[at + 46] = 0xB7
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged or cut short"):
        open_checkpoint(path)
