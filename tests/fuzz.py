"""Damages files of every kind that is read, and counts what is no result and no NrcscanError.

    python tests/fuzz.py --count 20000 --seed 1

Files are read in children, so that a crash, a hang or memory without bound is one line here. Of a
kind's files some are damaged byte by byte, others where their structure is: a value of JSON, a
member of an archive with its checksum made anew, an attribute or dataset of HDF5, a header.
"""

from __future__ import annotations

import argparse
import atexit
import io
import json
import os
import random
import resource
import select
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import safetensors.torch
import torch

import nrcscan
from nrcscan.cli.option_groups import _json_object
from nrcscan.errors import InputError, NrcscanError
from nrcscan.extracting import unfinished
from nrcscan.extracting.accumulate import STATE_CLASSES
from nrcscan.extracting.kept_files import LIST, KeptFiles, folder_of
from nrcscan.gating.baseline import read_baseline
from nrcscan.gating.settings_file import find_settings
from nrcscan.inputs.checkpoints.signs import adapter_settings
from nrcscan.inputs.datasets.in_memory import from_arrays
from nrcscan.inputs.datasets.open_dataset import open_dataset, standardized
from nrcscan.scanning.cache import Cache
from nrcscan.statistics.saved_state import MAGIC, read_state

SECONDS = 30
"""That a file may take."""

MOST_MEMORY = 1500
"""MB that reading a small file may add."""

FEATURES, N = 3, 40


@dataclass(frozen=True)
class Reader:
    """What reads files of a kind.

    Attributes:
        name: of the kind.
        write: writes a good one into a folder, and returns it.
        read: reads it, to its end.
        structure: how it is damaged where its structure is, if it has one that is known here.
        anywhere: how it is damaged else.
    """

    name: str
    write: Callable[[Path], Path]
    read: Callable[[Path], object]
    structure: Callable[[bytes, random.Random], bytes] | None = None
    anywhere: Callable[[bytes, random.Random], bytes] = lambda content, rng: damaged(content, rng)


# --- good files ---------------------------------------------------------------------------------


def _arrays() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    numbers = np.random.default_rng(0)
    x = numbers.normal(size=(N, FEATURES)).astype(np.float32)
    return x, x[:, :2] * 2


def _network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(FEATURES, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))


def _scales(folder: Path) -> Path:
    x, y = _arrays()
    held = {"x_mean": x.mean(0), "x_std": x.std(0), "y_mean": y.mean(0), "y_std": y.std(0)}
    np.savez(folder / "scales.npz", **held)
    return folder / "scales.npz"


def _npz(folder: Path) -> Path:
    x, y = _arrays()
    np.savez_compressed(folder / "data.npz", X=x, y=y)
    return folder / "data.npz"


def _npy(folder: Path) -> Path:
    x, y = _arrays()
    np.save(folder / "y.npy", y)
    np.save(folder / "x.npy", x)
    return folder / "x.npy"


def _csv(folder: Path) -> Path:
    x, y = _arrays()
    rows = np.hstack([x, y])
    np.savetxt(folder / "data.csv", rows, delimiter=",", header="a,b,c,d,e", comments="")
    return folder / "data.csv"


def _hdf5(folder: Path) -> Path:
    x, y = _arrays()
    with h5py.File(folder / "data.h5", "w") as file:
        file.create_dataset("X", data=x, chunks=(8, FEATURES), compression="gzip")
        file["y"] = y
    return folder / "data.h5"


def _keras(folder: Path) -> Path:
    with h5py.File(folder / "model.h5", "w") as file:  # whose texts are of any length
        file.attrs["keras_version"], file.attrs["model_config"] = "3.0.0", '{"config": {}}'
        weights = file.create_group("model_weights")
        weights.attrs["layer_names"] = ["dense", "dense_1"]
        weights["dense/kernel"] = _arrays()[0]
        weights["dense/kernel"].attrs["unit"] = "none"
    return folder / "model.h5"


def _tensors(folder: Path) -> Path:
    x, y = map(torch.from_numpy, _arrays())
    safetensors.torch.save_file({"X": x, "y": y.contiguous()}, folder / "data.safetensors")
    return folder / "data.safetensors"


def _torch_data(folder: Path) -> Path:
    x, y = map(torch.from_numpy, _arrays())
    torch.save({"X": x, "y": y}, folder / "data.pt")
    return folder / "data.pt"


def _matlab(folder: Path) -> Path:
    from scipy import io as matlab

    x, y = _arrays()
    matlab.savemat(folder / "data.mat", {"X": x, "y": y})
    return folder / "data.mat"


def _parquet(folder: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    x, y = _arrays()
    columns = {f"c{i}": column for i, column in enumerate(np.hstack([x, y]).T)}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "data.parquet")
    return folder / "data.parquet"


def _arguments(folder: Path) -> Path:
    (folder / "arguments.json").write_text('{"width": 256, "layers": [1, 2.5, {"deep": null}]}')
    return folder / "arguments.json"


def _index(folder: Path) -> Path:
    state = _network().state_dict()
    safetensors.torch.save_file(state, folder / "model-00001-of-00001.safetensors")
    held = dict.fromkeys(state, "model-00001-of-00001.safetensors")
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 99}, "weight_map": held}))
    return path


def _config(folder: Path) -> Path:
    safetensors.torch.save_file(_network().state_dict(), folder / "model.safetensors")
    told = {"model_type": "bert", "architectures": ["BertModel"], "hidden_size": 4, "dropout": 0.1}
    (folder / "config.json").write_text(json.dumps(told))
    return folder / "config.json"


def _adapter(folder: Path) -> Path:
    (folder / "adapter_config.json").write_text('{"r": 8, "lora_alpha": 16, "peft_type": "LORA"}')
    return folder / "adapter_config.json"


def _toml(folder: Path) -> Path:
    text = "require = ['model.r2 >= 0.9']\ndata = 'data.npz'\nbatch-size = 64\n"
    (folder / "nrcscan.toml").write_text(text)
    return folder / "nrcscan.toml"


def _project(folder: Path) -> Path:
    text = "[project]\nname = 'a.b'\n[tool.nrcscan]\nrequire = ['model.r2 >= 0.9']\n"
    (folder / "pyproject.toml").write_text(text)
    return folder / "pyproject.toml"


def _state_dict(folder: Path) -> Path:
    torch.save({"state_dict": _network().state_dict(), "epoch": 3}, folder / "model.pt")
    return folder / "model.pt"


def _old_state_dict(folder: Path) -> Path:
    path = folder / "old.pt"
    torch.save(_network().state_dict(), path, _use_new_zipfile_serialization=False)
    return path


def _safetensors(folder: Path) -> Path:
    safetensors.torch.save_file(_network().state_dict(), folder / "model.safetensors")
    return folder / "model.safetensors"


def _onnx(folder: Path) -> Path:
    helper = onnx.helper
    weight = onnx.numpy_helper.from_array(np.ones((FEATURES, 2), np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    tensor = helper.make_tensor_value_info
    x, y = (tensor(n, onnx.TensorProto.FLOAT, ["n", d]) for n, d in (("x", FEATURES), ("y", 2)))
    graph = helper.make_graph([node], "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def _policy(folder: Path) -> Path:
    held = io.BytesIO()
    torch.save(_network().state_dict(), held)
    with zipfile.ZipFile(folder / "policy.zip", "w") as archive:
        archive.writestr("policy.pth", held.getvalue())
        archive.writestr("data", "{}")
        archive.writestr("_stable_baselines3_version", "2.3.0")
    return folder / "policy.zip"


def _saved_folder(folder: Path) -> Path:
    import pyarrow

    x, y = _arrays()
    table = pyarrow.table({f"c{i}": column for i, column in enumerate(np.hstack([x, y]).T)})
    path = str(folder / "data-00000-of-00001.arrow")
    with pyarrow.OSFile(path, "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    told = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_fingerprint": "0"}
    (folder / "state.json").write_text(json.dumps(told))
    return folder / "state.json"


def _image(folder: Path) -> Path:
    from PIL import Image

    (folder / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 4), (9, 99, 199)).save(folder / "images" / name)
    (folder / "targets.csv").write_text("file,y\na.png,1.5\nb.png,2.5\n")
    return folder / "images" / "a.png"


def _acts(folder: Path) -> Path:
    torch.save(_network().state_dict(), folder / "model.pt")
    path = folder / "acts.h5"
    nrcscan.extract(folder / "model.pt", _npz(folder), output=path, activations=True)
    return path


def _unfinished(folder: Path) -> Path:
    """What is kept of an extraction that is ended after its second batch."""
    done = []

    def end(*counts: object) -> None:
        done.append(counts)
        if len(done) > 1:
            raise KeyboardInterrupt

    torch.save(_network().state_dict(), folder / "model.pt")
    before, unfinished.EVERY = unfinished.EVERY, 0.0
    with suppress(KeyboardInterrupt):
        nrcscan.extract(
            folder / "model.pt",
            _npz(folder),
            output=folder / "acts.h5",
            batch_size=10,
            resume=True,
            on_progress=end,
        )
    unfinished.EVERY = before
    return folder_of(folder / "acts.h5")


def _kept_list(folder: Path) -> Path:
    return _unfinished(folder) / LIST


def _kept_sums(folder: Path) -> Path:
    return next(_unfinished(folder).glob("sums-*"))


@cache
def _scanned() -> Path:
    """Scan once in a process, and keep what was found as long."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    atexit.register(shutil.rmtree, folder)
    (folder / "runs").mkdir()
    torch.save(_network().state_dict(), folder / "runs" / "epoch_1.pt")
    nrcscan.scan(folder / "runs", _npz(folder), output=folder / "scan", jobs=1)
    return folder / "scan"


def _scan(folder: Path) -> Path:
    shutil.copytree(_scanned(), folder / "scan")
    return folder / "scan" / "scan.json"


def _record(folder: Path) -> Path:
    found = _scan(folder)
    return next((found.parent / "statistics").glob("*.json"))


# --- reading them -------------------------------------------------------------------------------


def _consume(data: Any) -> int:
    return sum(len(y) for _, y in open_dataset(data).batches(16, 4096))


def _read_scales(path: Path) -> int:
    data = from_arrays(*_arrays(), name="data", provenance=None)
    return sum(len(y) for _, y in standardized(data, ["x", "y"], path, None).batches(16))


def _read_report(path: Path) -> object:
    found = nrcscan.report(path)
    return found.to_dict() if hasattr(found, "to_dict") else str(found)


def _read_refused(path: Path) -> object:
    """Read what is refused at its best."""
    try:
        return nrcscan.inspect(path)
    except NrcscanError as error:
        return str(error)


def _read_image(path: Path) -> int:
    pair = [path.parent, path.parent.with_name("targets.csv")]
    images = "channels=rgb height=4 width=4 scale=255 mean=0 std=1"
    return sum(len(y) for _, y in open_dataset(pair, images=images).batches(16))


def _read_kept_list(path: Path) -> object:
    try:
        return KeptFiles(path.parent.with_name("acts.h5"), {}).there()
    except ValueError as error:  # of which it says so, and begins anew
        raise InputError(str(error)) from error


def _read_kept_sums(path: Path) -> object:
    try:
        return read_state(path, STATE_CLASSES, torch.device("cpu"))
    except ValueError as error:  # likewise
        raise InputError(str(error)) from error


def _read_arguments(path: Path) -> object:
    return _json_object("--model-args", path.read_bytes().decode("latin-1"))


# --- damage -------------------------------------------------------------------------------------

NUMBERS = ("-1", "0", "1e999", "NaN", "Infinity", "-Infinity", "true", "null", "1e-320", '""')
HUGE = ("9" * 5000, str(2**63), str(2**64), "9" * 90, "[" * 3000 + "]" * 3000, '"\\ud800"')


ATTRIBUTES = (
    *(np.inf, -np.inf, np.nan, -1, 0, 2**62, 1e300, True, "text", b"bytes"),
    *(np.arange(3), np.zeros((2, 2)), np.bytes_(b""), np.bytes_(b"\xff\xfe")),
)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return bytes with some of them changed, lost, doubled or moved."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if not found:
            break
        place = rng.randrange(len(found))
        length = min(rng.choice((1, 2, 4, 8, 64)), len(found) - place)
        match rng.randrange(7):
            case 0:
                found[place] ^= 1 << rng.randrange(8)
            case 1:
                found[place] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                found[place : place + length] = b"\xff" * length
            case 3:
                del found[place : place + length]
            case 4:
                found[place:place] = found[place : place + length] * rng.choice((1, 2, 100))
            case 5:
                found[place : place + length] = rng.randbytes(length)
            case 6 if rng.random() < 0.2:
                del found[place:]
    return bytes(found)


def in_json(content: bytes, rng: random.Random) -> bytes:
    """Return JSON with one value, anywhere, replaced by one that is not expected, or left out."""
    try:
        whole = json.loads(content)
    except ValueError:
        return damaged(content, rng)
    places: list[tuple[Any, Any]] = []
    waiting = [whole]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one))
        places.extend((one, key) for key in keys)
        waiting.extend(one[key] for key in keys if isinstance(one[key], dict | list))
    if not places:
        return rng.choice(NUMBERS + HUGE).encode()
    holder, key = rng.choice(places)
    if rng.random() < 0.2:
        del holder[key]
        return json.dumps(whole).encode()
    holder[key] = "@@"
    words = rng.choice((*NUMBERS, *HUGE, "[]", "{}", '"x"', "[1]", '{"a": 1}', "3", "0.5"))
    return json.dumps(whole).replace('"@@"', words, 1).encode()


def in_archive(content: bytes, rng: random.Random) -> bytes:
    """Return an archive with a member damaged, doubled, lost or packed in another way."""
    kinds = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(written, "w") as new:
        names = old.namelist()
        chosen = rng.choice(names)
        for name in names:
            member = old.read(name)
            if name == chosen:
                member = _in_header(member, rng) if rng.random() < 0.5 else damaged(member, rng)
                if rng.random() < 0.1:
                    continue
            new.writestr(name, member, rng.choice(kinds) if rng.random() < 0.1 else kinds[0])
            if name == chosen and rng.random() < 0.05:
                new.writestr(f"{name}2", member)
    found = written.getvalue()
    return damaged(found, rng) if rng.random() < 0.1 else found


def _in_header(member: bytes, rng: random.Random) -> bytes:
    """Return an array with another shape, order or dtype in its header."""
    if not member.startswith(b"\x93NUMPY"):
        return damaged(member, rng)
    size = struct.unpack("<H", member[8:10])[0]
    shapes = ("(True, 4)", "(4,)", "()", "(-1, 3)", "(0, 3)", f"({2**62}, 3)", f"({2**40},)",
              "(40, 0)", "('a',)", "(40.0, 3)", "(" * 300 + ")" * 300, f"({2**60}, 0)")  # fmt: skip
    dtypes = ("<f4", "<f8", "|O", "<U9", "|b1", "<c16", "<M8[s]", "|V8", ">f4", "<f2", "zz")
    text = (
        f"{{'descr': {rng.choice(dtypes)!r}, 'fortran_order': {rng.choice((True, False, 1))},"
        f" 'shape': {rng.choice(shapes)}, }}\n"
    ).encode()
    version, told = (b"\x01\x00", struct.pack("<H", len(text)))
    if rng.random() < 0.2:
        version, told = b"\x02\x00", struct.pack("<I", rng.choice((len(text), 2**32 - 1)))
    return b"\x93NUMPY" + version + told + text + member[10 + size :]


def in_hdf5(content: bytes, rng: random.Random) -> bytes:
    """Return an HDF5 file with an attribute or a dataset that is another, or gone."""
    held = io.BytesIO(content)
    with h5py.File(held, "r+") as file:
        items: list[Any] = [file]
        file.visititems(lambda _, item: items.append(item))
        item = rng.choice(items)
        if len(item.attrs) and rng.random() < 0.7:
            name = rng.choice(list(item.attrs))
            item.attrs[name] = rng.choice(ATTRIBUTES)
        elif isinstance(item, h5py.Dataset):
            name, shape, kind = item.name, item.shape, item.dtype
            with suppress(Exception):
                values = np.asarray(item[()])
            del file[name]
            match rng.randrange(6):
                case 0:
                    grown = tuple(rng.choice((0, 1, n, n + 1, 2**20, 2**40)) for n in shape)
                    with suppress(Exception):
                        file.create_dataset(name, shape=grown, dtype=kind, chunks=True)
                case 1:
                    file[name] = values.astype(rng.choice(("i4", "f2", "f8", "?", "S3")))
                case 2 if values.size and values.dtype.kind == "f":
                    values.flat[rng.randrange(values.size)] = rng.choice((np.nan, np.inf, -1e300))
                    file[name] = values
                case 3:
                    file.create_group(name)
                case 4:
                    file[name] = values[..., :1] if values.ndim else values
    return held.getvalue()


def without_checksums(content: bytes) -> bytes:
    """Return a file of statistics as one of before is."""
    held = io.BytesIO(content)
    with h5py.File(held, "r+") as file:
        if "checksums" in file:
            del file["checksums"], file.attrs["checksums"]
    return held.getvalue()


def in_provenance(content: bytes, rng: random.Random) -> bytes:
    """Return a file of statistics damaged in its JSON, or as any file of HDF5.

    Most have no checksums, behind which little of the reader would be seen.
    """
    if rng.random() < 0.8:
        content = without_checksums(content)
    if rng.random() < 0.5:
        return in_hdf5(content, rng)
    held = io.BytesIO(content)
    with h5py.File(held, "r+") as file:
        told = in_json(bytes(file["provenance"][:]), rng)
        del file["provenance"]
        file["provenance"] = np.frombuffer(told, np.uint8)
    return held.getvalue()


def in_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Return a file of safetensors with something else in its header."""
    size = struct.unpack("<Q", content[:8])[0]
    header = in_json(content[8 : 8 + size], rng)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def in_state(content: bytes, rng: random.Random) -> bytes:
    """Return the sums of an unfinished extraction with something else in their table."""
    begin = len(MAGIC) + 8
    size = struct.unpack("<Q", content[len(MAGIC) : begin])[0]
    table = in_json(content[begin : begin + size], rng)
    return MAGIC + struct.pack("<Q", len(table)) + table + content[begin + size :]


READERS = {
    one.name: one
    for one in (
        Reader("scales", _scales, _read_scales, in_archive),
        Reader("npz", _npz, _consume, in_archive),
        Reader("npy", _npy, lambda path: _consume([path, path.with_name("y.npy")]), _in_header),
        Reader("csv", _csv, lambda path: sum(
            len(y) for _, y in open_dataset(path, n_targets=2).batches(16, 4096))),
        Reader("hdf5", _hdf5, _consume, in_hdf5),
        Reader("matlab", _matlab, _consume),
        Reader("keras", _keras, _read_refused, in_hdf5),
        Reader("parquet", _parquet, lambda path: sum(
            len(y) for _, y in open_dataset(path, n_targets=2).batches(16, 4096))),
        Reader("tensors", _tensors, _consume, in_safetensors),
        Reader("torch data", _torch_data, _consume, in_archive),
        Reader("arguments", _arguments, _read_arguments, in_json),
        Reader("index", _index, nrcscan.inspect, in_json),
        Reader("config", _config, lambda path: nrcscan.inspect(path.parent), in_json),
        Reader("adapter", _adapter, lambda path: adapter_settings(path.parent), in_json),
        Reader("toml", _toml, lambda path: find_settings(path.parent)),
        Reader("project", _project, lambda path: find_settings(path.parent)),
        Reader("baseline", _scan, read_baseline, in_json),
        Reader("record", _record, lambda path: Cache(
            path.parent, None).load(path.stem), in_json),  # type: ignore[arg-type]
        Reader("acts", _acts, _read_report, in_provenance),
        Reader("kept list", _kept_list, _read_kept_list, in_json),
        Reader("kept sums", _kept_sums, _read_kept_sums, in_state),
        Reader("state dict", _state_dict, nrcscan.inspect, in_archive),
        Reader("old state dict", _old_state_dict, nrcscan.inspect),
        Reader("safetensors", _safetensors, nrcscan.inspect, in_safetensors),
        Reader("policy", _policy, nrcscan.inspect, in_archive),
        Reader("saved folder", _saved_folder, lambda path: sum(len(y) for _, y in open_dataset(
            path.parent, n_targets=2).batches(16, 4096)), in_json),
        Reader("image", _image, _read_image),
        Reader("onnx", _onnx, nrcscan.inspect),
    )
}  # fmt: skip
"""Whatever reads a file that a user names, or that lies in a folder that is scanned."""


# --- the harness --------------------------------------------------------------------------------


@dataclass
class Counts:
    """What came of a kind's files."""

    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    megabytes: int = 0


def mutant(reader: Reader, good: bytes, number: int, seed: int) -> bytes:
    """Return the damaged file of a number, always the same one."""
    rng = random.Random(f"{reader.name} {seed} {number}")
    with suppress(Exception):  # of a structure that does not take this damage
        if reader.structure is not None and rng.random() < 0.6:
            return reader.structure(good, rng)
    return reader.anywhere(good, rng)


def outcome(reader: Reader, path: Path) -> str:
    """Return what comes of reading a file: "result", "refused", or what went wrong."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except NrcscanError:
        return "refused"
    except BaseException as error:
        where = error.__traceback__
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        at = "" if where is None else f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}"
        return f"{type(error).__name__}: {str(error)[:100]} at {at}"
    return "result"


def _child(reader: Reader, path: Path, good: bytes, numbers: range, seed: int, out: int) -> None:
    """Read damaged files one by one, and tell of each."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in numbers:
        path.write_bytes(mutant(reader, good, number, seed))
        found = outcome(reader, path)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        os.write(out, (json.dumps([number, found, grown]) + "\n").encode())


def _told(
    reader: Reader, path: Path, good: bytes, numbers: range, seed: int
) -> Iterator[list[Any]]:
    """Yield what a child tells; of a crash or a hang, that."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        code = 1
        with suppress(BaseException):
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 2)
            _child(reader, path, good, numbers, seed, write)
            code = 0
        os._exit(code)
    os.close(write)
    last, rest, hung = numbers.start - 1, b"", False
    while True:
        ready, _, _ = select.select([read], [], [], SECONDS)
        if not ready:
            os.kill(pid, signal.SIGKILL)
            hung = True
            break
        chunk = os.read(read, 1 << 16)
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            told = json.loads(line)
            last = told[0]
            yield told
    os.close(read)
    status = os.waitpid(pid, 0)[1]
    if last + 1 < numbers.stop:
        what = f"hangs for {SECONDS} s" if hung else f"the process ends with {status}"
        yield [last + 1, what, 0]


def fuzz(reader: Reader, count: int, seed: int, keep: Path | None = None) -> Counts:
    """Damage a kind's file so many times; what went wrong is kept in a folder, if one is given."""
    counts = Counts()
    with tempfile.TemporaryDirectory() as folder:
        path = reader.write(Path(folder))
        good = path.read_bytes()
        if (found := outcome(reader, path)) != "result":
            counts.violations.append(f"the good file: {found}")
            return counts
        start = 0
        while start < count:
            numbers = range(start, min(start + 250, count))
            for number, found, grown in _told(reader, path, good, numbers, seed):
                start = number + 1
                counts.outcomes[found if found in ("result", "refused") else "violation"] += 1
                counts.megabytes = max(counts.megabytes, grown)
                if found not in ("result", "refused") or grown > MOST_MEMORY:
                    counts.violations.append(f"{number}: {found} ({grown} MB)")
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        name = f"{reader.name.replace(' ', '_')}-{seed}-{number}{path.suffix}"
                        (keep / name).write_bytes(mutant(reader, good, number, seed))
    return counts


def run(readers: Mapping[str, Reader], about: str, read: str = "results") -> int:
    """Run the harness over the kinds that a command line names, and print a line for each.

    Args:
        readers: by the name of their kind.
        about: what the command is about.
        read: what to call what comes of a file that is not refused.
    """
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000, help="files in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=readers, default=list(readers))
    parser.add_argument("--keep", type=Path, help="a folder for the files that break the promise")
    given = parser.parse_args()
    torch.set_num_threads(1)
    total = broken = 0
    each = -(-given.count // len(given.only))
    for name in given.only:
        began = time.monotonic()
        counts = fuzz(readers[name], each, given.seed, given.keep)
        total, broken = total + sum(counts.outcomes.values()), broken + len(counts.violations)
        print(
            f"{name:15} {counts.outcomes['result']:6} {read} {counts.outcomes['refused']:6} refused"
            f" {len(counts.violations):4} violations  +{counts.megabytes} MB"
            f"  {time.monotonic() - began:.0f} s",
            flush=True,
        )
        for kind in counts.violations[:20]:
            print(f"    {kind}", flush=True)
    print(f"{total} files, {broken} violations (seed {given.seed})")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(run(READERS, __doc__))
