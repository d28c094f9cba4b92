from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import mlp
from torch.utils.data import DataLoader, TensorDataset

from nrcscan import InputError, UsageError, extract
from nrcscan.inputs.datasets.batches import Dataset
from nrcscan.inputs.datasets.open_dataset import open_dataset

X = np.arange(70, dtype=np.float32).reshape(10, 7)
Y = np.arange(20, dtype=np.float64).reshape(10, 2)


def collect(dataset: Dataset, batch_size: int = 3, limit: int | None = None) -> tuple[Any, Any]:
    batches = list(dataset.batches(batch_size, limit))
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path / "d.npz", **arrays)
    return path / "d.npz"


def _npz_pair(path: Path) -> Any:
    return npz(path, X=X, y=Y)


def _deflated(path: Path) -> Any:
    np.savez_compressed(path / "d.npz", inputs=X, targets=Y)
    return path / "d.npz"


def _column_major(path: Path) -> Any:
    return npz(path, X=np.asfortranarray(X), y=np.asfortranarray(Y))


def _npy(path: Path) -> Any:
    np.save(path / "X.npy", X)
    np.save(path / "y.npy", np.asfortranarray(Y))
    return [path / "X.npy", path / "y.npy"]


def _big_endian(path: Path) -> Any:
    return npz(path, X=X.astype(">f4"), y=Y.astype(">f8"))


def _arrays(path: Path) -> Any:
    return X, Y


def _tensors(path: Path) -> Any:
    return torch.from_numpy(X), torch.from_numpy(Y).bfloat16()


def _torch_dataset(path: Path) -> Any:
    return TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


def _loader(path: Path) -> Any:
    return DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=4)


SOURCES = [
    _npz_pair,
    _deflated,
    _column_major,
    _npy,
    _big_endian,
    _arrays,
    _tensors,
    _torch_dataset,
    _loader,
]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("limit", [None, 5])
def test_every_source_gives_the_same_samples(
    tmp_path: Path, source: Callable[[Path], Any], limit: int | None
) -> None:
    x, y = collect(open_dataset(source(tmp_path)), limit=limit)
    np.testing.assert_array_equal(x, X[:limit])
    np.testing.assert_array_equal(y, Y[:limit])
    assert y.dtype == np.float64


def test_a_generator_of_batches() -> None:
    def batches() -> Iterator[tuple[Any, Any]]:
        yield X[:4], Y[:4]
        yield X[4:], Y[4:]

    dataset = open_dataset(batches())
    assert dataset.n_samples is None
    np.testing.assert_array_equal(collect(dataset, limit=6)[0], X[:6])


def test_a_limit_beyond_the_end_of_a_stream(tmp_path: Path) -> None:
    loader = DataLoader(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=4)
    done = extract(mlp(7, 2), loader, tmp_path / "acts.h5", limit=100)
    assert done.n_samples == 10


def test_one_dimensional_targets_become_a_column(tmp_path: Path) -> None:
    _, y = collect(open_dataset(npz(tmp_path, X=X, y=Y[:, 0])))
    np.testing.assert_array_equal(y, Y[:, :1])


def test_an_archive_member_is_never_held_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = npz(tmp_path, X=np.zeros((5000, 64), np.float32), y=np.zeros(5000))
    asked: list[int] = []
    read = zipfile.ZipExtFile.read

    def spy(self: zipfile.ZipExtFile, n: int | None = -1) -> bytes:
        asked.append(-1 if n is None else n)
        return read(self, n)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", spy)
    collect(open_dataset(path), batch_size=10)
    assert min(asked) >= 0
    assert max(asked) <= 10 * 64 * 4


def test_provenance(tmp_path: Path) -> None:
    import hashlib

    path = npz(tmp_path, obs=X, y=Y)
    found = open_dataset(path).provenance
    assert found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found["path"], found["x_key"], found["y_key"]) == (str(path), "obs", "y")
    content = open_dataset((X, Y)).provenance["sha256"]
    assert content == open_dataset((X.copy(), Y.copy())).provenance["sha256"]
    assert content != open_dataset((X + 1, Y)).provenance["sha256"]


# --- which array is which ---------------------------------------------------------------------


def test_keys(tmp_path: Path) -> None:
    path = npz(tmp_path, a=X, b=Y)
    with pytest.raises(
        UsageError, match=r"no array is called X; say with --x-key .* a \(10, 7\) and b"
    ):
        open_dataset(path)
    x, _ = collect(open_dataset(path, x_key="a", y_key="b"))
    np.testing.assert_array_equal(x, X)
    with pytest.raises(
        UsageError, match=r"has no array 'c'; choose --y-key from a \(10, 7\) and b"
    ):
        open_dataset(path, x_key="a", y_key="c")


def test_ambiguous_keys(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="X and observations could all be the inputs"):
        open_dataset(npz(tmp_path, X=X, observations=X, y=Y))


# --- what cannot be used ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X, "y": Y[:9]}, "10 inputs but 9 targets; give each sample both"),
        ({"X": X[:0], "y": Y[:0]}, "holds no samples"),
        ({"X": X.astype(object), "y": Y}, "'X': an object array, which only unpickling could read"),
        ({"X": X + 1j, "y": Y}, "'X': complex numbers; give real and imaginary parts as columns"),
        ({"X": X.astype(str), "y": Y}, "'X': text; choose an array of numbers"),
        ({"X": X, "y": Y[:, :0]}, r"targets of shape \(N, 0\); reshape them"),
        ({"X": np.float32(3), "y": Y}, "'X': a single number"),
    ],
)
def test_arrays_that_are_no_samples(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        collect(open_dataset(npz(tmp_path, **arrays)))


@pytest.mark.parametrize("where", ["inputs", "targets"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_is_found_where_it_is(tmp_path: Path, where: str, value: float) -> None:
    x, y = X.copy(), Y.copy()
    (x if where == "inputs" else y)[7, 1] = value
    found = "NaN" if np.isnan(value) else "an infinite value"
    message = rf"the {where} hold {found}, first in sample 7 at \(1,\); remove or impute"
    with pytest.raises(InputError, match=message):
        collect(open_dataset(npz(tmp_path, X=x, y=y)))


@pytest.mark.parametrize("compress", [np.savez, np.savez_compressed])
def test_truncated_or_damaged_archive(tmp_path: Path, compress: Callable[..., None]) -> None:
    path = tmp_path / "d.npz"
    compress(path, X=np.random.default_rng(0).random((500, 7)), y=np.zeros((500, 2)))
    content = path.read_bytes()
    for size in range(1, len(content) - 1, len(content) // 25):
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"damaged or cut short|is a|of an unknown"):
            collect(open_dataset(path))
    middle = bytearray(content)
    middle[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(middle))
    with pytest.raises(InputError, match="damaged or cut short"):
        collect(open_dataset(path))


def test_truncated_npy(tmp_path: Path) -> None:
    x_path, y_path = _npy(tmp_path)
    x_path.write_bytes(x_path.read_bytes()[:-8])
    with pytest.raises(InputError, match=r"X.npy: the array is damaged or cut short"):
        open_dataset([x_path, y_path])


def test_a_header_that_lies(tmp_path: Path) -> None:
    path = npz(tmp_path, X=X, y=Y)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["X.npy"] = members["X.npy"].replace(b"(10, 7)", b"(10, 9)")
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match="'X' (is shorter|ends at sample)"):
        collect(open_dataset(path))


def test_not_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such data file"):
        open_dataset(tmp_path / "nowhere.npz")
    torch.save({"w": torch.zeros(1)}, tmp_path / "m.pt")
    with pytest.raises(UsageError, match=r"no array is called X; .* among w \(1,\)"):
        open_dataset(tmp_path / "m.pt")
    (tmp_path / "t.csv").write_text("hello\n")
    with pytest.raises(
        InputError,
        match=r"is a text file without .* in its first line; give .npz, a pair of .npy, .csv",
    ):
        open_dataset(tmp_path / "t.csv")
    np.save(tmp_path / "X.npy", X)
    with pytest.raises(UsageError, match=r"one array; give two: X.npy y.npy"):
        open_dataset(tmp_path / "X.npy")
    with pytest.raises(InputError, match=r"t.csv: is a text file; save it with np.save"):
        open_dataset([tmp_path / "X.npy", tmp_path / "t.csv"])


def test_not_even_a_source() -> None:
    with pytest.raises(UsageError, match="3 data files: give one, or two that belong together"):
        open_dataset(["X.npy", "y.npy", "z.npy"])
    with pytest.raises(UsageError, match="data is a int: give a path, a pair of arrays"):
        open_dataset(3)
    with pytest.raises(InputError, match=r"a batch is a dict of x; give a pair of inputs"):
        collect(open_dataset(iter([{"x": X}])))
    with pytest.raises(InputError, match="a batch has 4 inputs but 3 targets"):
        collect(open_dataset(iter([(X[:4], Y[:3])])))


def test_arrays_in_memory_that_are_no_arrays() -> None:
    with pytest.raises(InputError, match="the given arrays: not an array of numbers"):
        open_dataset(([[1, 2], [3]], [1, 2]))
    with pytest.raises(InputError, match="the given arrays: holds masked values; fill them"):
        open_dataset((np.ma.masked_array(X, mask=X > 3), Y))
    with pytest.raises(UsageError, match="data is a dict"):
        open_dataset({"X": X, "y": Y})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"(10, 7), }", b"(10, 7), |"),
        (b"(10, 7), }" + b" " * 24, b"(10, 99999999999999999999999), }  "),
    ],
)
def test_headers_that_are_no_headers(tmp_path: Path, old: bytes, new: bytes) -> None:
    np.save(tmp_path / "X.npy", X)
    np.savez(tmp_path / "d.npz", y=Y)
    content = (tmp_path / "X.npy").read_bytes()
    assert old in content
    (tmp_path / "X.npy").write_bytes(content.replace(old, new))
    with zipfile.ZipFile(tmp_path / "d.npz", "a") as archive:
        archive.write(tmp_path / "X.npy", "X.npy")
    for data in (tmp_path / "d.npz", [tmp_path / "X.npy", tmp_path / "X.npy"]):
        with pytest.raises(InputError, match="not a readable array|shorter than|damaged"):
            collect(open_dataset(data))
