"""Files that would write a marker when they are loaded: none does, and what they want is named."""

from __future__ import annotations

import io
import json
import os
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import mlp
from test_onnx import linear
from torch import Tensor, nn
from torch.distributed.checkpoint import filesystem

from nrcscan import InputError, UnsafeError, extract, inspect
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True, params=["", "1"], ids=["", "forced"])
def forced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that asks torch to unpickle whatever comes, or not."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", request.param)


class Bomb:
    """Writes a marker file when it is unpickled, and asks for a second function too."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.marker}'",), None, None, iter([(1, Second())])

    def __setitem__(self, key: object, value: object) -> None: ...


class Second:
    def __reduce__(self) -> Any:
        return os.getenv, ("HOME",)


def unpickle(path: Path) -> None:
    """Load a file as torch does when it is told to trust it."""
    torch.load(path, weights_only=False)


# Each writes a file that holds a bomb, and returns what to open, and what really loads it.
Loader = Callable[[Path], object]


def _zip(bomb: Bomb, path: Path) -> Loader:
    torch.save({"state_dict": mlp(3, 2).state_dict(), "bomb": bomb}, path)
    return unpickle


def _zip_of_a_newer_protocol(bomb: Bomb, path: Path) -> Loader:
    torch.save({"state_dict": mlp(3, 2).state_dict(), "bomb": bomb}, path, pickle_protocol=4)
    return unpickle


def _zip_of_a_network(bomb: Bomb, path: Path) -> Loader:
    network = mlp(3, 2)
    network.bomb = bomb  # type: ignore[assignment]
    torch.save(network, path)
    return unpickle


def _legacy(bomb: Bomb, path: Path) -> Loader:
    torch.save({"bomb": bomb}, path, _use_new_zipfile_serialization=False)
    return unpickle


def _tar(bomb: Bomb, path: Path) -> Loader:
    content = pickle.dumps(bomb, protocol=2)
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return unpickle


def _raw(bomb: Bomb, path: Path) -> Loader:
    path.write_bytes(pickle.dumps(bomb))
    return lambda path: pickle.loads(path.read_bytes())


@cache
def _program() -> bytes:
    written = io.BytesIO()
    torch.export.save(torch.export.export(mlp(3, 2), (torch.zeros(1, 3),)), written)
    return written.getvalue()


def _exported(bomb: Bomb, path: Path) -> Loader:
    """Put the bomb where an exported program keeps its example inputs."""
    inputs = io.BytesIO()
    torch.save(bomb, inputs)
    with zipfile.ZipFile(io.BytesIO(_program())) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            kept = inputs.getvalue() if "sample_inputs" in name else old.read(name)
            new.writestr(name, kept)

    def load(path: Path) -> None:
        with path.open("rb") as file:
            torch.export.load(file)

    return load


REFUSED = [_legacy, _tar, _raw, _exported]
READ_AS_DATA = [_zip, _zip_of_a_newer_protocol, _zip_of_a_network]


def goes_off(load: Loader, path: Path, marker: Path) -> bool:
    """Load a file for real, and say whether its bomb went off."""
    assert not marker.exists()
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        load(path)
    return marker.exists()


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors", "m.onnx", "m.bin"])
@pytest.mark.parametrize("write", READ_AS_DATA)
def test_weights_beside_a_bomb_are_read_and_it_is_named(
    tmp_path: Path, write: Any, name: str
) -> None:
    marker, path = tmp_path / "marker", tmp_path / name
    load = write(Bomb(marker), path)
    found = open_checkpoint(path)
    assert found.module is None
    expected = mlp(3, 2).state_dict()
    assert found.state.keys() == expected.keys()
    assert all(torch.equal(found.state[key], expected[key]) for key in expected)
    for notes in (found.notes, inspect(path).notes):
        assert any("posix.system" in note and "not built" in note for note in notes)
    assert not marker.exists()
    if name == "m.pt":
        assert goes_off(load, path, marker)


@pytest.mark.parametrize("name", ["m.pt", "m.safetensors", "m.onnx", "m.bin"])
@pytest.mark.parametrize("write", REFUSED)
def test_a_checkpoint_runs_nothing(tmp_path: Path, write: Any, name: str) -> None:
    marker, path = tmp_path / "marker", tmp_path / name
    load = write(Bomb(marker), path)
    for look in (open_checkpoint, inspect):
        with pytest.raises(UnsafeError, match=r"not opened, .*posix\.system") as caught:
            look(path)
        assert "os.getenv" in str(caught.value)
    assert not marker.exists()
    if name == "m.pt":
        assert goes_off(load, path, marker)


def test_a_pickle_in_text(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "m.pt"
    path.write_bytes(pickle.dumps(Bomb(marker), protocol=0))
    with pytest.raises(UnsafeError, match=r"is a pickle that asks for .*posix\.system"):
        open_checkpoint(path)
    assert not marker.exists()
    assert goes_off(lambda path: pickle.loads(path.read_bytes()), path, marker)


@pytest.mark.parametrize(
    ("write", "message"),
    [(_zip, "is no shard: its tensors are not"), (_legacy, "not opened, .*posix.system")],
)
def test_a_shard_runs_nothing(tmp_path: Path, write: Any, message: str) -> None:
    marker, shard = tmp_path / "marker", tmp_path / "part-1.bin"
    load = write(Bomb(marker), shard)
    index = tmp_path / "model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"w": shard.name}}))
    for trust in (False, True):  # no shard is ever trusted
        with pytest.raises(InputError, match=r"part-1\.bin: " + message):
            open_checkpoint(index, trust=trust)
    assert not marker.exists()
    assert goes_off(load, shard, marker)


class Writes(nn.Module):
    """A program that writes a file when it is loaded."""

    def __init__(self, marker: str) -> None:
        super().__init__()
        self.marker, self.held = marker, torch.zeros(4)

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return (self.marker, True)

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.marker, self.training = state[0], state[1]
        self.held = torch.from_file(state[0], True, 4)


def test_a_torchscript_program_runs_nothing(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "m.pt"
    torch.jit.save(torch.jit.script(Writes(str(marker))), path)
    for look in (open_checkpoint, inspect):
        with pytest.raises(UnsafeError, match="is a TorchScript program, which can run code"):
            look(path)
    assert goes_off(lambda path: torch.jit.load(str(path)), path, marker)


def test_a_distributed_checkpoint_runs_nothing(tmp_path: Path) -> None:
    marker, folder = tmp_path / "marker", tmp_path / "step_10"
    folder.mkdir()
    (folder / ".metadata").write_bytes(pickle.dumps(Bomb(marker)))
    (folder / "__0_0.distcp").write_bytes(b"")
    for path in (folder, folder / ".metadata"):
        with pytest.raises(UnsafeError, match=r"not opened, .*os\.getenv and posix\.system"):
            open_checkpoint(path)
    with pytest.raises(UnsafeError, match=r"not opened, .*os\.getenv and posix\.system"):
        inspect(folder)
    assert goes_off(lambda path: filesystem.FileSystemReader(path).read_metadata(), folder, marker)


def test_an_onnx_model_cannot_set_up_its_own_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1")
    path = linear(tmp_path / "m.onnx")
    model = onnx.load(path)
    settings = {"session_options": {"enable_profiling": 1}}  # which writes a file
    model.metadata_props.add(key="ort_config", value=json.dumps(settings))
    path.write_bytes(model.SerializeToString())
    rng = np.random.default_rng(0)
    extract(path, (rng.standard_normal((9, 6)), rng.standard_normal((9, 2))), tmp_path / "a.h5")
    assert not list(tmp_path.glob("*profile*"))
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert list(tmp_path.glob("*profile*"))


# --- data -------------------------------------------------------------------------------------


def _npz(bomb: Bomb, folder: Path) -> tuple[Any, Loader]:
    path = folder / "data.npz"
    np.savez(path, X=np.array([bomb], dtype=object), y=np.zeros(1))
    return path, lambda path: np.load(path, allow_pickle=True)["X"]


def _npy(bomb: Bomb, folder: Path) -> tuple[Any, Loader]:
    np.save(folder / "X.npy", np.array([bomb], dtype=object))
    np.save(folder / "y.npy", np.zeros(1))
    return [folder / "X.npy", folder / "y.npy"], lambda paths: np.load(
        folder / "X.npy", allow_pickle=True
    )


def _tensors(bomb: Bomb, folder: Path) -> tuple[Any, Loader]:
    path = folder / "data.pt"
    return path, _zip(bomb, path)


def _old_tensors(bomb: Bomb, folder: Path) -> tuple[Any, Loader]:
    path = folder / "data.pt"
    return path, _legacy(bomb, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_npz, "'X': an object array, which only unpickling could read; save it as an array"),
        (_npy, "X.npy: an object array, which only unpickling could read; save it as an array"),
        (
            _tensors,
            r"holds the weights of a network .*, not data; give MODEL before DATA",
        ),
        (_old_tensors, r"asks for os\.getenv and posix\.system, .*; save plain tensors, as .*$"),
    ],
)
def test_data_runs_nothing_even_beside_a_trusted_checkpoint(
    tmp_path: Path, write: Any, message: str
) -> None:
    marker = tmp_path / "marker"
    data, load = write(Bomb(marker), tmp_path)
    torch.save(mlp(3, 2).state_dict(), tmp_path / "model.pt")
    with pytest.raises(InputError, match=message):
        extract(tmp_path / "model.pt", data, tmp_path / "a.h5", trust=True)
    assert not (tmp_path / "a.h5").exists()
    assert goes_off(load, data, marker)
