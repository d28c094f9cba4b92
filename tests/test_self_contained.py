"""Files that lead elsewhere, or claim what nobody has: refused, and nothing elsewhere is read."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from conftest import edited, mlp, samples
from h5py import h5d, h5p, h5s, h5t, h5z
from test_distributed import saved
from test_malformed import within
from test_onnx import WEIGHT, with_data

from nrcscan import InputError, UnsafeError, extract, inspect, report
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint
from nrcscan.inputs.datasets.open_dataset import open_dataset

SECRET = np.arange(7777.0, 7797.0)


def _external_link(file: h5py.File, name: str, canary: Path) -> None:
    file[name] = h5py.ExternalLink(str(canary), "secret")


def _link_to_a_group(file: h5py.File, name: str, canary: Path) -> None:
    file[f"{name}_group"] = h5py.ExternalLink(str(canary), "/")


def _soft_link(file: h5py.File, name: str, canary: Path) -> None:
    file["aside"] = h5py.ExternalLink(str(canary), "/")
    file[name] = h5py.SoftLink("/aside/secret")


def _soft_link_inside(file: h5py.File, name: str, canary: Path) -> None:
    file[name] = h5py.SoftLink("/nowhere")


def _virtual(file: h5py.File, name: str, canary: Path) -> None:
    layout = h5py.VirtualLayout(shape=(20,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(canary), "secret", shape=(20,))
    file.create_virtual_dataset(name, layout)


def _external_storage(file: h5py.File, name: str, canary: Path) -> None:
    file.create_dataset(name, shape=(20,), dtype="f8", external=[(str(canary), 0, 160)])


def _filtered(number: int) -> Callable[[h5py.File, str, Path], None]:
    def trick(file: h5py.File, name: str, canary: Path) -> None:
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_chunk((20,))
        plist.set_filter(number, h5z.FLAG_OPTIONAL, (1,))
        where, _, leaf = name.rpartition("/")
        group = file.require_group(where or "/")
        h5d.create(group.id, leaf.encode(), h5t.NATIVE_DOUBLE, h5s.create_simple((20,)), plist)

    return trick


TRICKS = {
    "external link": _external_link,
    "external link to a group": _link_to_a_group,
    "soft link": _soft_link,
    "soft link to nothing": _soft_link_inside,
    "virtual": _virtual,
    "external storage": _external_storage,
    "plug-in": _filtered(32001),
    "nbit": _filtered(h5z.FILTER_NBIT),
    "szip": _filtered(h5z.FILTER_SZIP),
}
READ = {"external link", "soft link", "virtual", "external storage"}
"""Those that HDF5 itself follows to the secret."""


def _statistics(path: Path) -> Path:
    extract(mlp(4, 3, 2), samples(30, 4, 2), path.with_suffix(".h5"), activations=False)
    with edited(path.with_suffix(".h5")):
        return path.with_suffix(".h5")


def _data(path: Path) -> Path:
    x, y = samples(30, 4, 2)
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["X"], file["y"] = x, y
    return path.with_suffix(".h5")


def _matlab(path: Path) -> Path:
    x, y = samples(30, 4, 2)
    path = path.with_suffix(".mat")
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in (("X", x), ("y", y)):
            file[name] = values.T
            file[name].attrs["MATLAB_class"] = np.bytes_(b"double")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    return path


READERS: dict[str, tuple[Callable[[Path], Path], Callable[[Path], Any]]] = {
    "statistics": (_statistics, report),
    "data": (_data, lambda path: [*open_dataset(path).batches(10)]),
    "matlab": (_matlab, lambda path: [*open_dataset(path).batches(10)]),
    "checkpoint": (_data, open_checkpoint),
}


def _canary(path: Path) -> Path:
    with h5py.File(path, "w", userblock_size=512) as file:
        file["secret"] = SECRET
    with path.open("r+b") as file:
        file.write(SECRET.tobytes())  # for external storage, which reads any bytes
    os.utime(path, ns=(1, 1))
    return path


@pytest.mark.parametrize("kind", ["statistics", "data", "matlab"])
@pytest.mark.parametrize("trick", TRICKS)
def test_nothing_elsewhere_is_read(tmp_path: Path, kind: str, trick: str) -> None:
    write, read = READERS[kind]
    good = write(tmp_path / "good")
    read(good)
    for name in ("away", "some/group/away", "positions/0000/away"):
        canary, path = _canary(tmp_path / "canary.h5"), tmp_path / f"bad{good.suffix}"
        before = canary.read_bytes(), canary.stat().st_mtime_ns
        shutil.copy(good, path)
        with h5py.File(path, "r+") as file:
            TRICKS[trick](file, name, canary)
            file.create_group("zz").attrs["late"] = "text of any length"
        os.utime(canary, ns=(1, 1))
        with pytest.raises(InputError, match=r"copy (what it leads to|it into)|needs a plug-in"):
            read(path)
        read_at = canary.stat().st_atime_ns
        assert (canary.read_bytes(), canary.stat().st_mtime_ns) == before
        if canary.stat().st_atime_ns != 1:  # where the disk keeps when files are read
            assert read_at == 1
    if trick in READ:  # and it would have been
        with h5py.File(path) as file:
            np.testing.assert_array_equal(file[name][:], SECRET)


@pytest.mark.parametrize("kind", [*READERS])
def test_the_whole_is_looked_at_before_any_attribute(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attributes of texts of any length, damaged, have crashed HDF5: none is ever read."""
    write, read = READERS[kind]
    path = write(tmp_path / "f")
    asked: list[str] = []
    opened = h5py.AttributeManager.get_id

    class Told:
        def __init__(self, attributes: Any, name: str) -> None:
            self._name, self._found = name, opened(attributes, name)
            self.dtype, self.shape = self._found.dtype, self._found.shape

        def read(self, values: Any, *more: Any) -> None:
            asked.append(self._name)
            assert not self.dtype.hasobject, self._name
            self._found.read(values, *more)

    with h5py.File(path, "r+") as file:
        for item in (file, *file.values()):
            for name in ("keras_version", "layer_names", "MATLAB_class", "note"):
                if name not in item.attrs:
                    item.attrs[name] = "text of any length"
    monkeypatch.setattr(h5py.AttributeManager, "get_id", lambda *a: Told(*a))
    monkeypatch.setattr(h5py.AttributeManager, "__getitem__", lambda *a: asked.append("?"))
    if kind == "checkpoint":
        with pytest.raises(InputError, match="is a Keras model"):
            read(path)
        assert not asked
        return
    read(path)
    assert "?" not in asked
    with h5py.File(path, "r+") as file:
        file["zz"] = h5py.SoftLink("/X")
    asked.clear()
    with pytest.raises(InputError, match="is a link to somewhere else"):
        read(path)
    assert not asked


# --- one file names another -------------------------------------------------------------------

SPELLINGS = (
    "..", ".", "", "../w", "../../w", "./w", "a/../../w", "/etc/passwd", "//etc/passwd",
    "sub/w", "w/", "..\\w", "C:\\w", "w\0", "w\0/../x",
)  # fmt: skip


def _index(folder: Path, name: str) -> Path:
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"weight_map": {"0.weight": name}}))
    return path


def _torch_index(folder: Path, name: str) -> Path:
    path = folder / "pytorch_model.bin.index.json"
    path.write_text(json.dumps({"weight_map": {"0.weight": name}}))
    return path


def _saved(folder: Path, name: str) -> Path:
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name}]}))
    return folder


def _shard(path: Path) -> None:
    safetensors.torch.save_file({"0.weight": torch.ones(2, 4)}, path)


NAMING: dict[str, tuple[Callable[[Path, str], Path], Callable[[Path], object], Any]] = {
    "index": (_index, _shard, open_checkpoint),
    "index of torch": (
        _torch_index,
        lambda path: torch.save({"0.weight": torch.ones(2, 4)}, path),
        open_checkpoint,
    ),
    "folder": (lambda folder, name: _index(folder, name).parent, _shard, open_checkpoint),
    "onnx": (
        lambda folder, name: with_data(folder / "m.onnx", name),
        lambda path: path.write_bytes(WEIGHT.tobytes()),
        open_checkpoint,
    ),
    "saved data": (_saved, lambda path: path.write_bytes(b"x"), open_dataset),
}


@pytest.mark.parametrize("kind", NAMING)
def test_a_file_names_only_what_is_beside_it(tmp_path: Path, kind: str) -> None:
    write, other, read = NAMING[kind]
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    for place in (tmp_path / "w", folder / "sub" / "w", folder / "w"):
        other(place)
    for name in SPELLINGS:
        if kind == "onnx" and "\0" in name:
            continue  # which its own check refuses as it is written
        path = write(folder, name)
        with pytest.raises(UnsafeError, match=r"outside its own folder, .*; save both in one"):
            read(path)


@pytest.mark.parametrize("kind", NAMING)
@pytest.mark.parametrize("link", ["symbolic", "chain", "hard"])
def test_a_link_to_what_is_elsewhere_is_refused(tmp_path: Path, kind: str, link: str) -> None:
    write, other, read = NAMING[kind]
    folder, secret = tmp_path / "in", tmp_path / "secret"
    folder.mkdir()
    other(secret)
    path = write(folder, "w")
    if link == "hard":
        os.link(secret, folder / "w")
    elif link == "chain":
        (folder / "w").symlink_to("v")
        (folder / "v").symlink_to(secret)
    else:
        (folder / "w").symlink_to(secret)
    told = "a hard link, which may be anywhere; copy" if link == "hard" else "copy the file there"
    with pytest.raises(UnsafeError, match=told):
        read(path)
    if kind == "saved data":  # which is none
        return
    (folder / "w").unlink()
    shutil.copy(secret, folder / "w")  # what the message says to do
    read(path)
    if kind != "onnx":  # which itself takes no link at all
        (folder / "w").rename(folder / "v")
        (folder / "w").symlink_to("v")  # which leads nowhere else
        read(path)


def test_a_hub_s_cache_is_read_where_no_file_names_another(tmp_path: Path) -> None:
    """Its snapshots are links into ../../blobs: which of them is read is the user's word."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / "1234"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    safetensors.torch.save_file(mlp(4, 3, 2).state_dict(), blobs / "abc")
    (snapshot / "model.safetensors").symlink_to("../../blobs/abc")
    for path in (snapshot, snapshot / "model.safetensors"):
        assert len(open_checkpoint(path).state) == 4
    (snapshot / "model.safetensors").rename(snapshot / "w")
    _index(snapshot, "w")
    with pytest.raises(UnsafeError, match="copy the file there, as cp -rL does"):
        open_checkpoint(snapshot)
    shutil.copytree(snapshot, tmp_path / "copied")
    assert open_checkpoint(tmp_path / "copied").state.keys() == {"0.weight"}


def test_the_latest_of_deepspeed_is_in_its_folder(tmp_path: Path) -> None:
    away, folder = tmp_path / "away", tmp_path / "run"
    for place in (away, folder):
        place.mkdir()
    torch.save(mlp(4, 3, 2).state_dict(), away / "mp_rank_00_model_states.pt")
    (folder / "step").symlink_to(away)
    (folder / "latest").write_text("step")
    with pytest.raises(InputError, match="a folder without weights|name one"):
        open_checkpoint(folder)


# --- what nobody has --------------------------------------------------------------------------


def test_a_safetensors_header_is_looked_at_first(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    size = 100_000_000
    whole = {"dtype": "F32", "shape": [2**40, 4], "data_offsets": [0, 2**44]}
    for header in (
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", size + 1) + b"{" + b" " * 64,
        struct.pack("<Q", len(json.dumps({"w": whole}))) + json.dumps({"w": whole}).encode(),
    ):
        path.write_bytes(header)
        with within(10), pytest.raises(InputError):
            open_checkpoint(path)


@pytest.mark.parametrize("told", [{"length": 2**62}, {"offset": 2**62}, {"offset": -1}, {}])
def test_onnx_data_that_is_not_there_is_refused(tmp_path: Path, told: dict[str, int]) -> None:
    path = with_data(tmp_path / "m.onnx", "m.data")
    (tmp_path / "m.data").write_bytes(WEIGHT.tobytes())
    model = onnx.load(path, load_external_data=False)
    for key, value in told.items():
        model.graph.initializer[0].external_data.add(key=key, value=str(value))
    if not told:
        model.graph.initializer[0].dims[:] = [2**31, 2**30]
    path.write_bytes(model.SerializeToString())
    for look in (open_checkpoint, inspect):
        with within(20), pytest.raises(InputError):
            look(path)


def test_parts_of_a_distributed_checkpoint_are_in_its_folder(tmp_path: Path) -> None:
    folder = saved({"model": mlp(4, 3, 2).state_dict()}, tmp_path / "in")
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    (part,) = folder.glob("*.distcp")
    shutil.copy(part, tmp_path / "w")
    for place in metadata.storage_data.values():
        place.relative_path = "../w"
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(UnsafeError, match=r"outside its own folder, '\.\./w'"):
        open_checkpoint(folder, trust=True)


MEMBERS = ("../{}", "../../{}", "/tmp/{}", "a/../../{}", "..\\{}", "C:/{}")


def test_members_of_archives_are_unpacked_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    x, y = samples(30, 4, 2)
    for prefix in MEMBERS:
        arrays = {prefix.format(name): values for name, values in (("X", x), ("y", y))}
        with zipfile.ZipFile(folder / "d.npz", "w") as archive:
            for name, values in arrays.items():
                held = io.BytesIO()
                np.save(held, values)
                archive.writestr(f"{name}.npy", held.getvalue())
        keys = [*arrays]
        with contextlib.suppress(InputError):
            [*open_dataset(folder / "d.npz", x_key=keys[0], y_key=keys[1]).batches(10)]
        weights = io.BytesIO()
        torch.save(mlp(4, 3, 2).state_dict(), weights)
        with zipfile.ZipFile(folder / "m.zip", "w") as archive:
            archive.writestr(prefix.format("policy.pth"), weights.getvalue())
            archive.writestr("data", "{}")
            archive.writestr("_stable_baselines3_version", "2.3.0")
        with contextlib.suppress(InputError):
            open_checkpoint(folder / "m.zip")
    found = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"d.npz", "m.zip"}
    assert not (Path("/tmp") / "policy.pth").exists()
