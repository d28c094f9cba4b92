"""Arrays of MATLAB, what torch.save keeps as samples, and targets of further axes."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from conftest import mlp, samples
from torch import nn
from torch.utils.data import ConcatDataset, Subset, TensorDataset

from nrcscan import InputError, UsageError, extract, report
from nrcscan.inputs.datasets.open_dataset import open_dataset
from nrcscan.inputs.datasets.saved_samples import arrays_in

pytestmark = pytest.mark.numerical

X, Y = samples(30, 4, 2)
TX, TY = torch.from_numpy(X), torch.from_numpy(Y)


def collect(*args: Any, batch_size: int = 7, **options: Any) -> tuple[Any, Any]:
    batches = list(open_dataset(*args, **options).batches(batch_size))
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


# --- MATLAB -----------------------------------------------------------------------------------


def matlab73(path: Path, *, header: bool = True, **arrays: np.ndarray) -> Path:
    """Write arrays as MATLAB does with -v7.3: axes in reverse, behind 512 bytes of its own."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            kind = "char" if array.dtype == np.uint16 else "double"
            file[name] = array.T
            file[name].attrs["MATLAB_class"] = np.bytes_(kind)
        file["s/field"] = X.T
        file["s"].attrs["MATLAB_class"] = np.bytes_("struct")
        file["#refs#/a"] = np.zeros(3)
        file["e"] = np.array([0, 0], np.uint64)
        file["e"].attrs["MATLAB_class"] = np.bytes_("double")
        file["e"].attrs["MATLAB_empty"] = np.uint8(1)
        both = np.dtype([("real", "f8"), ("imag", "f8")])
        file["c"] = np.zeros((4, 30), both)
    start = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    with path.open("r+b") as raw:
        raw.write(start if header else bytes(512))
    return path


@pytest.mark.parametrize("header", [True, False])
def test_arrays_of_matlab_are_turned_the_right_way(tmp_path: Path, header: bool) -> None:
    path = matlab73(tmp_path / "data.mat", header=header, a=X, u=Y)
    for batch_size in (1, 7, 100):
        x, y = collect(path, x_key="a", y_key="u", batch_size=batch_size)
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, Y)
    if header:
        images = np.arange(30 * 2 * 3).reshape(30, 2, 3).astype(np.float32)
        more = matlab73(tmp_path / "more.mat", a=images, u=Y)
        np.testing.assert_array_equal(collect(more, x_key="a", y_key="u")[0], images)
        np.testing.assert_array_equal(collect(path, x_key="s/field", y_key="u")[0], X)


def test_as_many_features_as_samples_are_still_turned(tmp_path: Path) -> None:
    square = X[:4]
    path = matlab73(tmp_path / "data.mat", a=square, u=Y[:4])
    np.testing.assert_array_equal(collect(path, x_key="a", y_key="u")[0], square)


def test_a_file_of_others_behind_a_block_is_not_turned(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d.h5", "w", userblock_size=1024) as file:
        file["X"], file["y"] = X, Y
    np.testing.assert_array_equal(collect(tmp_path / "d.h5")[0], X)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("t", "'t': text; choose an array of numbers"),
        ("e", "0 inputs but 30 targets"),
        ("c", "'c': complex numbers; give real"),
        ("#refs#/a", "no array '#refs#/a'; choose --x-key from a"),
    ],
)
def test_what_of_matlab_is_no_numbers(tmp_path: Path, key: str, message: str) -> None:
    text = np.frombuffer(b"thirty letters" * 10, np.uint16)[:30, None]
    path = matlab73(tmp_path / "data.mat", a=X, u=Y, t=text)
    with pytest.raises((InputError, UsageError), match=message):
        collect(path, x_key=key, y_key="u")


@pytest.mark.parametrize("compress", [False, True])
def test_matlab_5(tmp_path: Path, compress: bool) -> None:
    content = {"a": X, "u": Y, "s": {"f": X}, "c": np.array(["x", 1], object), "z": X * 1j,
               "t": "text"}  # fmt: skip
    scipy.io.savemat(tmp_path / "v5.mat", content, do_compression=compress)
    x, y = collect(tmp_path / "v5.mat", x_key="a", y_key="u")
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    for key, told in {
        "s": "struct; save the file with -v7.3",
        "c": "cell; save it as a full array",
        "t": "char; save it as a full array",
    }.items():
        with pytest.raises(InputError, match=rf"'{key}': of class {told}"):
            collect(tmp_path / "v5.mat", x_key=key, y_key=key)
    with pytest.raises(InputError, match="complex numbers"):
        collect(tmp_path / "v5.mat", x_key="z", y_key="u")
    raw = (tmp_path / "v5.mat").read_bytes()
    for size in range(129, len(raw), len(raw) // 9):
        (tmp_path / "cut.mat").write_bytes(raw[:size])
        with pytest.raises((InputError, UsageError), match="damaged|no array|holds no arrays"):
            collect(tmp_path / "cut.mat", x_key="z", y_key="t")


@pytest.mark.parametrize("kind", [0, 8, 14, 99, 255, 0x7F07])
@pytest.mark.parametrize("compress", [False, True])
def test_numbers_of_an_unknown_type_in_matlab_5(
    tmp_path: Path, compress: bool, kind: int
) -> None:  # scipy 1.17 takes most of them for addresses, and crashes
    path = tmp_path / "v5.mat"
    scipy.io.savemat(path, {"e": np.empty((0, 0), object), "a": X, "u": Y})
    raw = path.read_bytes()
    begins = raw.index(X.T.tobytes()) - 8
    assert len(collect(path, x_key="a", y_key="u")[0]) == len(X)
    raw = raw[:begins] + kind.to_bytes(4, "little") + raw[begins + 4 :]
    path.write_bytes(_compressed(raw) if compress else raw)
    with pytest.raises(InputError, match=rf"'a' has numbers of an unknown type, {kind}"):
        collect(path, x_key="a", y_key="u")


def _compressed(raw: bytes) -> bytes:
    """Return a file of MATLAB 5 with every variable of it compressed."""
    done, rest = raw[:128], raw[128:]
    while rest:
        size = 8 + int.from_bytes(rest[4:8], "little")
        packed, rest = zlib.compress(rest[:size]), rest[size:]
        done += np.array([15, len(packed)], "<i4").tobytes() + packed
    return done


@pytest.mark.parametrize("version", [5, 7.3])
def test_samples_in_columns(tmp_path: Path, version: float) -> None:
    path = tmp_path / "d.mat"

    def write(**arrays: np.ndarray) -> None:
        if version == 5:
            scipy.io.savemat(path, arrays)
        else:
            matlab73(path, header=True, **arrays)

    for a, u, turned, wanted in (
        (X.T, Y.T, r"a \(4, 30\) and u \(2, 30\)", Y),
        (X.T, Y, r"a \(4, 30\)", Y),
        (X, Y[:, :1].T, r"u \(1, 30\)", Y[:, :1]),
        (X, Y, "", Y),
    ):
        write(a=a, u=u)
        x, y = collect(path, x_key="a", y_key="u")
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, wanted)
        notes = open_dataset(path, x_key="a", y_key="u").notes
        assert len(notes) == bool(turned)
        assert all(re.search(f"samples are the columns of {turned}: only", note) for note in notes)
    for a, u in ((X, X.T), (X[:4], X[:5]), (X.T, Y[:9])):  # more than one way, or none
        write(a=a, u=u)
        with pytest.raises(InputError, match="give each sample both"):
            open_dataset(path, x_key="a", y_key="u")


# --- torch.save -------------------------------------------------------------------------------

BATCHES = [(TX[i : i + 8], TY[i : i + 8]) for i in range(0, 30, 8)]
SAVED: dict[str, Any] = {
    "dataset": TensorDataset(TX, TY),
    "subset": Subset(TensorDataset(TX.flip(0), TY.flip(0)), list(range(29, -1, -1))),
    "parts": ConcatDataset([TensorDataset(TX[:11], TY[:11]), TensorDataset(TX[11:], TY[11:])]),
    "pairs": list(zip(TX, TY, strict=True)),
    "pairs as lists": [[x, y] for x, y in zip(TX, TY, strict=True)],
    "dicts": [{"obs": x, "actions": y} for x, y in zip(TX, TY, strict=True)],
    "batches": BATCHES,
    "two lists": (list(TX), list(TY)),
    "numbers": ([row.tolist() for row in TX], [row.tolist() for row in TY]),
    "subset of a range": Subset(TensorDataset(TX, TY), range(30)),
    "a dict of lists": {"x": list(TX), "y": list(TY), "losses": [0.5, 0.25]},
    "a dict of numbers": {"x": [row.tolist() for row in TX], "y": [row.tolist() for row in TY]},
    "a dict of episodes": {"obs": [TX[:11], TX[11:]], "actions": [TY[:11], TY[11:]]},
    "dict": {"epoch": 3, "x": TX, "y": TY, "name": "run"},
}


@pytest.mark.parametrize("form", SAVED)
def test_samples_of_torch_save(tmp_path: Path, form: str) -> None:
    torch.save(SAVED[form], tmp_path / "d.pt")
    for batch_size in (1, 7, 100):
        x, y = collect(tmp_path / "d.pt", batch_size=batch_size)
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, Y)


def test_scalar_targets_of_pairs(tmp_path: Path) -> None:
    torch.save([(x, float(y[0])) for x, y in zip(TX, TY, strict=True)], tmp_path / "d.pt")
    np.testing.assert_array_equal(collect(tmp_path / "d.pt")[1], Y[:, :1])


def test_splits_and_further_tensors_are_named(tmp_path: Path) -> None:
    halves = TensorDataset(TX[:, :1], TX[:, 1:], TY)
    torch.save({"train": halves, "test": {"x": TX, "y": TY}}, tmp_path / "d.pt")
    x, y = collect(tmp_path / "d.pt", x_key="train/0+train/1", y_key="train/2")
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(collect(tmp_path / "d.pt", x_key="test/x")[0], X)
    with pytest.raises(UsageError, match=r"among test/x \(30, 4\), test/y \(30, 2\), train/0"):
        open_dataset(tmp_path / "d.pt")


class StandIn:
    """What a reader that builds nothing gives for an object of a class."""

    def __init__(self, name: str, **attributes: Any) -> None:
        self.name, self.attributes = name, attributes


def test_stand_ins_of_datasets_are_read_as_these(tmp_path: Path) -> None:
    whole = StandIn("torch.utils.data.dataset.TensorDataset", tensors=(TX, TY))
    part = StandIn("torch.utils.data.dataset.Subset", dataset=whole, indices=torch.tensor([5, -1]))
    arrays = arrays_in(tmp_path, part)
    np.testing.assert_array_equal(arrays["X"].read(0, 2), X[[5, -1]])
    with pytest.raises(InputError, match="holds a OmegaConf; save a dict of tensors, or a pair"):
        arrays_in(tmp_path, StandIn("omegaconf.OmegaConf"))
    far = StandIn("torch.utils.data.dataset.Subset", dataset=whole, indices=[30])
    with pytest.raises(InputError, match="a Subset's indices go beyond its 30 samples; save"):
        arrays_in(tmp_path, far)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TX, "holds a single tensor; save a dict of tensors, or a pair"),
        (
            [(TX[:8], TY[:8]), (TX[8:16], TY[8:16])],
            r"of samples or of batches, of shapes \(8, 4\) ",
        ),
        ([(TX[0], TY[0]), (TX[0, :2], TY[0])], "samples of different shapes; pad them to one"),
        ([(TX[0], TY[0]), (TX[0],)], "samples of different lengths"),
        ([{"x": TX[0], "y": TY[0]}, {"x": TX[0]}], "samples of different names"),
        (["a", "b"], "holds a list of str"),
        (3, "holds a int; save a dict of tensors"),
    ],
)
def test_what_is_no_samples(tmp_path: Path, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "d.pt")
    with pytest.raises(InputError, match=message):
        open_dataset(tmp_path / "d.pt")


def test_content_that_is_in_itself_many_times(tmp_path: Path) -> None:
    inner: Any = {"x": TX}
    for _ in range(9):
        inner = {str(i): inner for i in range(9)}
    with pytest.raises(InputError, match="is nested too deep, or too large, for samples"):
        arrays_in(tmp_path, inner)


# --- targets of further axes ------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(30, 2, 1), (30, 1, 2), (30, 2, 1, 1)])
@pytest.mark.parametrize("form", ["npz", "h5", "memory", "batches", "pt"])
def test_axes_of_length_one_do_not_matter(
    tmp_path: Path, shape: tuple[int, ...], form: str
) -> None:
    y = Y.reshape(shape)
    data: Any = tmp_path / "data"
    if form == "npz":
        data = tmp_path / "data.npz"
        np.savez(data, X=X, y=y)
    elif form == "h5":
        with h5py.File(data, "w") as file:
            file["X"], file["y"] = X, y
    elif form == "pt":
        torch.save((TX, torch.from_numpy(y)), data)
    else:
        data = (X, y) if form == "memory" else [(X[:9], y[:9]), (X[9:], y[9:])]
    np.testing.assert_array_equal(collect(data)[1], Y)


class Grid(nn.Module):
    """Predicts in two axes, in one order or the other."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net, self.shape = nn.Linear(4, 6), shape

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x).reshape(-1, *self.shape)


def test_targets_of_several_axes_need_predictions_of_the_same(tmp_path: Path) -> None:
    y = np.random.default_rng(0).normal(size=(30, 3, 2)).astype(np.float32)
    expected = None
    for shape in [(6,), (3, 2), (3, 2, 1)]:
        for data in [(X, y), (X, y.reshape(30, 6))]:
            extract(Grid(shape), data, tmp_path / "a.h5", force=True)
            found = report(tmp_path / "a.h5")
            expected = expected or found
            assert found.r2 == expected.r2
            assert found.layers[0].metrics.values == expected.layers[0].metrics.values
    with pytest.raises(InputError, match=r"predicts shape \(30, 2, 3\) where each target has \("):
        extract(Grid((2, 3)), (X, y), tmp_path / "a.h5", force=True)
    with pytest.raises(InputError, match=r"targets of shape \(N, 3, 2\); reshape them to \(N"):
        extract(Grid((3, 2)), [(X, y)], tmp_path / "b.h5")


@pytest.mark.parametrize("saved", [False, True])
def test_targets_of_further_axes_are_standardised(tmp_path: Path, saved: bool) -> None:
    mean, spread = Y.mean(0), Y.std(0)
    np.savez(tmp_path / "s.npz", y_mean=mean[:, None], y_std=spread[:, None])
    options: dict[str, Any] = {"scales": tmp_path / "s.npz"} if saved else {}
    for name, y in {"a": Y[:, :, None], "b": Y}.items():
        told = options if name == "a" else {}
        extract(mlp(4, 2), (X, y), tmp_path / f"{name}.h5", standardize=["y"], **told)
    found, expected = report(tmp_path / "a.h5"), report(tmp_path / "b.h5")
    assert found.r2 == pytest.approx(expected.r2, rel=1e-6)
