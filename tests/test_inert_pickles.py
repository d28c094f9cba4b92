"""The pickle machine: data comes out as it went in, and nothing else comes to life."""

from __future__ import annotations

import argparse
import datetime
import enum
import functools
import pathlib
import pickle
import struct
import subprocess
import sys
import types
import zipfile
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT
from forked import Forked
from torch import nn

from nrcscan.inputs.pickles.load_inert import load_inert
from nrcscan.inputs.pickles.placeholder import PickleRefused, Placeholder, Unreadable


def read(tmp_path: Path, pickled: bytes) -> Any:
    path = tmp_path / "m.pkl"
    path.write_bytes(pickled)
    return load_inert(path).content


# --- data -------------------------------------------------------------------------------------

DATA = {
    "numbers": [0, -1, 255, 256, 65536, -(2**31), 2**31, 2**100, -(2**100), 0.5, 1 + 2j, True],
    "text": ["", "ü", "x" * 300],
    "bytes": [b"", b"abc", b"x" * 300, bytearray(b"yz")],
    "containers": (1, (2, 3), [4, [5]], {6: {7: 8}}, {9, 10}, frozenset([11]), slice(1, 2)),
    "ordered": OrderedDict([("b", 1), ("a", 2)]),
    "default": defaultdict(list, {"x": [1]}),
    "range": range(1, 9, 2),
    "counted": Counter("aab"),
    "none": None,
    "numbers as keys": {np.int64(1): 2, np.str_("a"): 3},
}
ARRAYS = {
    "float": np.arange(6.0).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0, dtype="f4").reshape(2, 3)),
    "other order": np.arange(3, dtype=">i4"),
    "text": np.array(["a", "bc"]),
    "flags": np.array([True, False]),
    "fields": np.array([(1, 2.0)], dtype=[("a", "i8"), ("b", "f4")]),
    "dates": np.array(["2020-01-02"], dtype="M8[D]"),
    "no date": np.array([0], dtype="m8"),
    "records": np.array([(1, 2.0)], dtype=np.dtype((np.record, [("a", "i8"), ("b", "f4")]))),
    "scalar": np.array(3.0),
    "empty": np.zeros((0, 4)),
    "objects": np.array([1, "a", None], dtype=object),
}
TENSORS = {
    "turned": torch.arange(12.0).reshape(3, 4).t()[1:],
    "bfloat16": torch.ones(3, dtype=torch.bfloat16),
    "uint16": torch.arange(3).to(torch.uint16),
    "conjugate": torch.tensor([1 + 2j]).conj(),
    "negative": torch.tensor([1 + 2j]).conj().imag,
    "parameter": nn.Parameter(torch.ones(2, 2)),
    "buffer": nn.Buffer(torch.ones(2)),
    "empty": torch.zeros(0, 3),
    "scalar": torch.tensor(5),
}


def same_array(found: Any, expected: Any) -> bool:
    return found.shape == expected.shape and bool((found == expected).all())


@pytest.mark.parametrize("protocol", range(1, 6))
def test_plain_pickles(tmp_path: Path, protocol: int) -> None:
    content = {"data": DATA, "arrays": ARRAYS, "number": np.float32(0.5)}
    found = read(tmp_path, pickle.dumps(content, protocol))
    assert found["data"] == DATA
    assert list(found["data"]["ordered"]) == ["b", "a"]
    assert found["number"] == np.float32(0.5)
    assert all(same_array(found["arrays"][name], ARRAYS[name]) for name in ARRAYS)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_what_jax_adds_are_float32(tmp_path: Path, name: str, order: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    values = np.array([[0.5, -1.75, 3.0], [0.0, 16.0, -0.125]], dtype="f4", order=order)
    array = values.astype(getattr(ml_dtypes, name), order="K")
    for protocol in (2, 5):
        found = read(tmp_path, pickle.dumps([array, array[0, 1]], protocol=protocol))
        assert found[0].dtype == found[1].dtype == np.float32
        assert (found[0] == values).all()
        assert found[1] == -1.75


def test_an_array_of_another_class_of_values_holds_a_placeholder(tmp_path: Path) -> None:
    of_strangers = pickle.dumps(np.zeros(3, dtype=np.int16)).replace(b"\x8c\x02i2", b"cp\nQ\n")
    found = read(tmp_path, of_strangers)
    assert found.shape == ()
    assert found[()].name == "p.Q"


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("protocol", [2, 5])
def test_files_of_torch(tmp_path: Path, protocol: int, new: bool, mapped: bool) -> None:
    path = tmp_path / "m.pt"
    torch.save(
        {"tensors": TENSORS, "data": DATA}, path,
        pickle_protocol=protocol, _use_new_zipfile_serialization=new,
    )  # fmt: skip
    found = load_inert(path, mapped=mapped)
    assert found.content["data"] == DATA
    for name, tensor in TENSORS.items():
        assert torch.equal(found.content["tensors"][name], tensor), name
        assert found.content["tensors"][name].dtype == tensor.dtype
    assert not found.asked - {"torch.nn.parameter.Buffer"}


def test_views_of_one_storage_stay_so(tmp_path: Path) -> None:
    whole = torch.arange(10.0)
    torch.save([whole[2:5], whole[3:8]], tmp_path / "m.pt")
    first, second = load_inert(tmp_path / "m.pt").content
    first[1] = -1
    assert second[0] == -1


def rezipped(path: Path, changed: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    folder = next(iter(records)).split("/")[0]
    records |= {f"{folder}/{name}": data for name, data in changed.items()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in records.items():
            archive.writestr(name, data)


def test_other_byte_order_and_compressed_records(tmp_path: Path) -> None:
    path, values = tmp_path / "m.pt", torch.arange(5, dtype=torch.float64)
    torch.save({"w": values}, path)
    rezipped(path, {}, zipfile.ZIP_DEFLATED)
    assert torch.equal(load_inert(path).content["w"], values)
    swapped = values.numpy().astype(">f8").tobytes()
    rezipped(path, {"byteorder": b"big", "data/0": swapped})
    for mapped in (False, True):
        assert torch.equal(load_inert(path, mapped=mapped).content["w"], values)


@pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning")
def test_tensors_without_values_are_named(tmp_path: Path) -> None:
    content = {
        "quantised": torch.quantize_per_tensor(torch.ones(2, 2), 0.1, 0, torch.qint8),
        "sparse": torch.eye(3).to_sparse(),
        "no data": torch.empty(3, device="meta"),
        "lazy layer": nn.LazyLinear(3).weight,
    }
    torch.save(content, tmp_path / "m.pt")
    found = load_inert(tmp_path / "m.pt").content
    for name, tensor in found.items():
        assert isinstance(tensor, Unreadable)
        assert name in tensor.problem


# --- objects of other classes -----------------------------------------------------------------


class Colour(enum.Enum):
    RED = 1


class Bag(dict[str, int]):
    pass


def test_objects_stay_placeholders_with_all_that_they_hold(tmp_path: Path) -> None:
    bag = Bag(a=1)
    bag.label = "x"  # type: ignore[attr-defined]
    content = {
        "namespace": argparse.Namespace(lr=0.1, name="a"),
        "simple": types.SimpleNamespace(x=1),
        "path": pathlib.PurePosixPath("/a"),
        "bag": bag,
        "member": Colour.RED,
        "queue": deque([1, 2]),
        "partial": functools.partial(print, 1, sep=""),
        "date": datetime.date(2020, 1, 1),
        "class": nn.Tanh,
    }
    for protocol in (2, 4):
        found = read(tmp_path, pickle.dumps(content, protocol))
        assert all(isinstance(value, Placeholder) for value in found.values())
        assert found["namespace"].name == "argparse.Namespace"
        assert found["namespace"].attributes == {"lr": 0.1, "name": "a"}
        assert found["simple"].attributes == {"x": 1}
        assert (found["bag"].entries, found["bag"].attributes) == ({"a": 1}, {"label": "x"})
        assert found["member"].args == (1,)
        assert found["queue"].items == [1, 2]
        assert (found["class"].name, found["class"].args) == (
            "torch.nn.modules.activation.Tanh",
            None,
        )
        assert not any(callable(value) for value in found.values())


def test_a_dataset_of_tensors(tmp_path: Path) -> None:
    x, y = torch.randn(5, 3), torch.randn(5, 1)
    torch.save(torch.utils.data.TensorDataset(x, y), tmp_path / "m.pt")
    found = load_inert(tmp_path / "m.pt").content
    assert found.name == "torch.utils.data.dataset.TensorDataset"
    assert all(map(torch.equal, found.state["tensors"], (x, y)))


IMPORTS = """
import sys
from pathlib import Path
from nrcscan.inputs.pickles.load_inert import load_inert
load_inert(Path(sys.argv[1]))  # what reading itself needs is there now
before = set(sys.modules)
found = load_inert(Path(sys.argv[2]))
assert found.asked, "it asks for nothing"
print(sorted(set(sys.modules) - before))
"""


def test_reading_imports_nothing(tmp_path: Path) -> None:
    names = ["antigravity Thing", "this s", "tkinter Tk", "xmlrpc.client Fault", "os system"]
    torch.save({"w": torch.ones(2)}, tmp_path / "plain.pt")
    asks = b"".join(b"c" + name.replace(" ", "\n").encode() + b"\n" for name in names)
    (tmp_path / "asks.pkl").write_bytes(b"\x80\x02(" + asks + b"t.")
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, tmp_path / "plain.pt", tmp_path / "asks.pkl"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "[]\n"


# --- attacks ----------------------------------------------------------------------------------

MARKED = "touch marker"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def named(name: str) -> bytes:
    module, _, rest = name.rpartition(".")
    return f"c{module}\n{rest}\n".encode()


def call(name: str, *args: bytes) -> bytes:
    return named(name) + b"(" + b"".join(args) + b"tR"


SYSTEM = call("os.system", text(MARKED))
EMPTY = b"\x80\x04"
FLOAT = named("numpy.dtype") + b"(" + text("f8") + b"\x89\x88tR"


def array(dtype: bytes, shape: bytes, data: bytes) -> bytes:
    made = call(
        "numpy._core.multiarray._reconstruct", named("numpy.ndarray"), b"K\0\x85", b"C\x01b"
    )
    return made + b"(K\x01" + shape + dtype + b"\x89" + data + b"tb"


ALIVE = {  # name → a pickle that would run a command, or something near, if anything did
    "reduce": SYSTEM,
    "in Python 2's name": call("__builtin__.eval", text("1")),
    "instance": b"(" + text(MARKED) + b"ios\nsystem\n",
    "object": b"(" + named("os.system") + text(MARKED) + b"o",
    "new": named("os.system") + b"(" + text(MARKED) + b"t\x81",
    "new by name": named("subprocess.Popen") + b")}" + text("args") + text(MARKED) + b"s\x92",
    "name on the stack": b"\x8c\x02os\x8c\x06system\x93(" + text(MARKED) + b"tR",
    "dotted name": b"\x8c\x05torch\x8c\x0d_utils.os.sys\x93)R",
    "dotted name of what is known": b"\x8c\x05torch\x8c\x19_utils._rebuild_tensor_v2\x93)R",
    "attribute of a module": call("builtins.getattr", named("os.path"), text("os")) + b")R",
    "attribute of what is known": call(
        "builtins.getattr", named("collections.OrderedDict"), text("__subclasses__")
    )
    + b")R",
    "chain of calls": call("operator.attrgetter", text("system")) + b"(" + named("os.x") + b"tR",
    "partial": call("functools.partial", named("os.system"), text(MARKED)) + b")R",
    "map": call("builtins.map", named("os.system"), b"]" + text(MARKED) + b"a"),
    "state": named("x.Y") + b")\x81}" + text("__class__") + named("os.system") + b"sb",
    "state of slots": named("x.Y") + b")\x81N}" + text("__setstate__") + named("os.system")
    + b"s\x86b",
    "append": named("x.Y") + b")\x81" + SYSTEM + b"a",
    "extend": named("x.Y") + b")\x81(" + SYSTEM + SYSTEM + b"e",
    "entry": named("x.Y") + b")\x81" + text("k") + SYSTEM + b"s",
    "key": b"}" + SYSTEM + b"K\x01s",
    "member of a set": b"\x8f(" + SYSTEM + b"\x90",
    "metadata of an ordered dict": call("collections.OrderedDict") + b"}" + text("_metadata")
    + SYSTEM + b"sb",
    "factory of a default": call("collections.defaultdict", named("os.system")),
    "tensor's class": call(
        "torch._tensor._rebuild_from_type_v2", named("os.system"), named("x.Y"), b")", b"N"
    ),
    "layer": named("torch.nn.modules.linear.Linear") + b")\x81" + SYSTEM + b"b",
    "bytes of Python 2": b"U\x02os",
    "import by name": call("importlib.import_module", text("antigravity")),
    "code": call("builtins.exec", text("import antigravity")),
    "inner function": call("types.FunctionType", call("marshal.loads", b"C\x01c"), b"}"),
    "random": call("numpy.random._pickle.__randomstate_ctor", text("MT19937")),
    "numpy load": call("numpy.load", text("x.npy")),
    "joblib": call("joblib.numpy_pickle.NumpyArrayWrapper"),
    "torch load": call("torch.load", text("m.pt")),
    "storage from file": call("torch.from_file", text("x"), b"\x88", b"K\x04"),
}  # fmt: skip


@pytest.mark.parametrize("name", ALIVE)
def test_what_would_run_is_a_placeholder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    read(tmp_path, EMPTY + ALIVE[name] + b".")
    read(tmp_path, b"\x80\x02" + b"]" + ALIVE[name] + b"a.")
    assert not (tmp_path / "marker").exists()
    assert set(sys.modules) == before


@pytest.mark.parametrize("name", ["reduce", "instance", "object", "name on the stack", "partial"])
def test_pickle_itself_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(EMPTY + ALIVE[name] + b".")
    assert (tmp_path / "marker").exists()


STORAGE = b"(" + text("storage") + named("torch.FloatStorage") + text("0") + text("cpu")


def view(
    offset: bytes, size: bytes, stride: bytes, hooks: bytes = b"N", numel: bytes = b"K\x02"
) -> bytes:
    return call(
        "torch._utils._rebuild_tensor_v2", STORAGE + numel + b"tQ", offset, size, stride, b"\x89",
        hooks,
    )  # fmt: skip


HUGE = b"\x8a\x09" + (2**63).to_bytes(9, "little")
REFUSED = {  # name → a pickle, and what is said of it
    "extension 1": (b"\x82\x01", "which data never needs"),
    "extension 2": (b"\x83\x01\0", "which data never needs"),
    "extension 4": (b"\x84\x01\0\0\0", "which data never needs"),
    "persistent text": (b"Px\n", "which data never needs"),
    "buffer outside": (b"\x97", "which data never needs"),
    "unknown": (b"\xff", "begins nothing that a pickle has"),
    "newer protocol": (b"\x80\x06N", "protocol 6"),
    "lying frame": (b"\x95" + b"\xff" * 8 + b"N", "ends in the middle"),
    "lying text": (b"\x8d" + b"\xff" * 7 + b"\x7f", "ends in the middle"),
    "lying bytes": (b"B\xff\xff\xff\xff", "ends in the middle"),
    "negative bytes": (b"T\xff\xff\xff\xff", "negative size"),
    "nothing left": (b"", "ends with more"),
    "two objects": (b"NN", "ends with more"),
    "open mark": (b"(N", "ends with more"),
    "no mark": (b"Nt", "out of order"),
    "memo of nothing": (b"h\x07", "out of order"),
    "negative memo": (b"Np-1\n", "negative index"),
    "tuple of too little": (b"N\x87", "out of order"),
    "key without a value": (b"}(Nu", "without a value"),
    "list as a key": (b"}]Ns", "a list as a key"),
    "dict in a set": (b"\x8f(}\x90", "a dict as a key"),
    "deep tuple as a key": (b"}" + b")" + b"\x85" * 9 + b"Ns", "a tuple as a key"),
    "shared tuples as a key": (b"})" + b"2\x86" * 40 + b"Ns", "a tuple as a key"),
    "state of what is known": (named("collections.OrderedDict") + b"}b", "changes collections"),
    "state of a function": (named("torch._utils._rebuild_tensor_v2") + b"}b", "changes torch"),
    "state of a number": (b"K\x01}b", "changes a int"),
    "state of a dtype": (named("torch.float32") + b"}b", "changes a dtype"),
    "append to what is known": (named("builtins.list") + b"Na", "appends to a Known"),
    "entry of what is known": (named("collections.OrderedDict") + b"NNs", "entries of a Known"),
    "entry of a list": (b"]NNs", "entries of a list"),
    "append to a dict": (b"}Na", "appends to a dict"),
    "call of a number": (b"K\x01)R", "calls what is no class"),
    "call of a tensor": (named("torch.float32") + b")R", "calls what is no class"),
    "arguments that are none": (named("x.Y") + b"]R", "calls what is no class"),
    "name without end": (b"\x8d" + struct.pack("<Q", 501) + b"x" * 501 + b"2\x93", "no end"),
    "name that is no text": (b"K\x01\x8c\x01x\x93", "no text"),
    "new function": (named("torch._utils._rebuild_tensor_v2") + b")\x81", "in an unknown way"),
    "built twice": (named("x.Y") + b")\x81Nb}b}b", "twice"),
    "bytes by another codec": (call("_codecs.encode", text("x"), text("zip")), "decodes bytes"),
    "bytes by rot13": (call("_codecs.encode", text("x"), text("rot13")), "decodes bytes"),
    "bytes without end": (call("builtins.bytearray", HUGE), "decodes bytes"),
    "range of text": (call("builtins.range", text("x")), "made of a str"),
    "huge dtype": (call("numpy.dtype", text("f8,f8")), "dtype"),
    "evaluated dtype": (call("numpy.dtype", text("O,(2,3)f8")), "dtype"),
    "dtype of a known class": (call("numpy.dtype", named("builtins.set")), "dtype"),
    "array larger than its bytes": (array(FLOAT, b"M\xff\xff\x85", b"C\x01a"), "holds 1"),
    "array of negative size": (array(FLOAT, b"J\xff\xff\xff\xff\x85", b"C\0"), "size"),
    "array of huge size": (array(FLOAT, HUGE + b"\x85", b"C\0"), "size"),
    "objects in bytes": (
        array(call("numpy.dtype", text("O8")), b"K\x01\x85", b"C\x08" + b"a" * 8), "objects",
    ),
    "array from its shape": (call("numpy.ndarray", HUGE + b"\x85"), "shape alone"),
    "array in a buffer": (
        call("numpy._core.numeric._frombuffer", b"C\x01a", FLOAT, b"K\x02\x85", text("C")), "holds",
    ),
    "number of objects": (
        call("numpy._core.multiarray.scalar", call("numpy.dtype", text("O8")), b"C\x08" + b"a" * 8),
        "objects",
    ),
    "tensor from its shape": (call("torch.Tensor", HUGE), "shape alone"),
    "storage of its own": (call("torch.FloatStorage", HUGE), "storage of its own"),
    "persistent of no storage": (b"K\x01Q", "no storage"),
    "storage that is nowhere": (STORAGE + b"K\x02tQ", "storages, and has none"),
    "storage of a class": (
        b"(" + text("storage") + named("os.system") + text("0") + text("cpu") + b"K\x02tQ",
        "out of order",
    ),
    "storage in what is no file": (
        call("torch.storage._load_from_bytes", b"C\x02N."), "a storage is none",
    ),
    "layout of a module": (call("torch.serialization._get_layout", text("torch.os")), "layout"),
    "device": (call("torch.device", text("cpu; x")), "device"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_data_never_does_is_refused(tmp_path: Path, name: str) -> None:
    pickled, message = REFUSED[name]
    with pytest.raises(PickleRefused, match=message):
        read(tmp_path, EMPTY + pickled + b".")


VIEWS = {
    "beyond its end": (view(b"K\x01", b"K\x02\x85", b"K\x01\x85"), "reaches beyond"),
    "far beyond": (view(HUGE, b"K\x01\x85", b"K\x01\x85"), "size"),
    "by long strides": (view(b"K\0", b"K\x02\x85", b"M\xff\xff\x85"), "reaches beyond"),
    "backwards": (view(b"J\xff\xff\xff\xff", b"K\x01\x85", b"K\x01\x85"), "size -1"),
    "by negative strides": (view(b"K\x01", b"K\x02\x85", b"J\xff\xff\xff\xff\x85"), "size -1"),
    "with fewer strides": (view(b"K\0", b"K\x01K\x01\x86", b"K\x01\x85"), "other strides"),
    "of endless axes": (
        view(b"K\0", b"(" + b"J\xff\xff\xff\x7f" * 4 + b"t", b"(" + b"K\0" * 4 + b"t"), "reaches",
    ),
    "of a size that is none": (view(b"K\0", text("x") + b"\x85", b"K\x01\x85"), "size str"),
    "with hooks": (view(b"K\0", b"K\x01\x85", b"K\x01\x85", b"}NNs"), "hooks"),
    "with hooks of a class": (view(b"K\0", b"K\x01\x85", b"K\x01\x85", SYSTEM), "hooks"),
    "of a storage that lies": (
        view(b"K\0", b"K\x01\x85", b"K\x01\x85", numel=b"K\x03"), "more bytes than it has",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_a_tensor_stays_in_its_storage(tmp_path: Path, name: str) -> None:
    pickled, message = VIEWS[name]
    path = tmp_path / "m.pt"
    torch.save({"w": torch.zeros(2)}, path)
    rezipped(path, {"data.pkl": EMPTY + view(b"K\0", b"K\x02\x85", b"K\x01\x85") + b"."})
    assert torch.equal(load_inert(path).content, torch.zeros(2))
    rezipped(path, {"data.pkl": EMPTY + pickled + b"."})
    with pytest.raises(PickleRefused, match=message):
        load_inert(path)


def test_archives_that_contradict_themselves(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    torch.save({"w": torch.zeros(2)}, path)
    rezipped(path, {"data/0": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(PickleRefused, match="a size that cannot be"):
        load_inert(path)
    torch.save({"w": torch.zeros(2)}, path)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("m/data.pkl", b"N.")
    with pytest.raises(PickleRefused, match="two records of one name"):
        load_inert(path)
    torch.save({"w": torch.zeros(2)}, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("n/data.pkl", b"N.")
    with pytest.raises(PickleRefused, match="no pickle, or several"):
        load_inert(path)


def test_what_is_nested_without_end_is_read(tmp_path: Path) -> None:
    deep = read(tmp_path, EMPTY + b"]" * 100_000 + b"a" * 99_999 + b".")
    assert isinstance(deep, list)
    shared = read(tmp_path, EMPTY + b")" + b"2\x86" * 200 + b".")
    assert len(shared) == 2
    itself = read(tmp_path, EMPTY + b"]\x94h\0a.")
    assert itself[0] is itself


HOSTILE = "import sys; sys.path.insert(0, sys.argv[1]); import hostile; sys.exit(hostile.main())"


def test_whatever_a_pickle_asks_for_it_does_not_get() -> None:
    process = Forked([sys.executable, "-c", HOSTILE, str(ROOT / "tests")], stdout=subprocess.PIPE)
    said = process.communicate()[0].decode()
    assert process.returncode == 0, said
    assert int(said.partition(" files")[0]) >= 1000
    assert "run where they are trusted: all containers but none" in said
