"""Every kind of data file, written by the library that users write it with."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from conftest import FIXTURES, mlp, samples
from pyarrow import parquet

from nrcscan import InputError, UnsafeError, UsageError, extract, report
from nrcscan.inputs.datasets.open_dataset import open_dataset

pytestmark = pytest.mark.numerical

X, Y = samples(50, 4, 2)
NAMES = ["a", "b", "c", "d", "speed", "turn"]
TABLE = np.hstack([X, Y])


def collect(*args: Any, batch_size: int = 7, **options: Any) -> tuple[Any, Any]:
    batches = list(open_dataset(*args, **options).batches(batch_size))
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def lines(delimiter: str, header: bool = True, order: Any = slice(None)) -> str:
    rows = [delimiter.join(repr(float(v)) for v in row[order]) for row in TABLE]
    head = [delimiter.join(np.array(NAMES)[order])] if header else []
    return "\n".join(head + rows) + "\n"


def _csv(path: Path) -> dict[str, Any]:
    path.write_text(lines(","))
    return {"targets": ["speed", "turn"]}


def _csv_shuffled(path: Path) -> dict[str, Any]:
    path.write_text(lines(",", order=[0, 5, 1, 4, 2, 3]))
    return {"targets": ["speed", "turn"]}


def _csv_bare(path: Path) -> dict[str, Any]:
    path.write_text(lines(",", header=False))
    return {"n_targets": 2}


def _csv_excel(path: Path) -> dict[str, Any]:
    text = "\ufeff" + lines(";").replace("\n", "\r\n")
    path.write_bytes(text.encode())
    return {"n_targets": 2}


def _csv_quoted(path: Path) -> dict[str, Any]:
    head, *rest = lines(",").splitlines()
    quoted = ['"' + row.replace(",", '","') + '"' for row in rest]
    path.write_text("\n".join([head, *quoted, "", ""]))
    return {"targets": ["speed", "turn"]}


def _tsv(path: Path) -> dict[str, Any]:
    path.write_text(lines("\t"))
    return {"targets": ["speed", "turn"]}


def _parquet(path: Path) -> dict[str, Any]:
    table = pyarrow.table(dict(zip(NAMES, TABLE.T, strict=True)))
    parquet.write_table(table, path, row_group_size=11)
    return {"targets": ["speed", "turn"]}


def _hdf5(path: Path) -> dict[str, Any]:
    with h5py.File(path, "w") as file:
        file.create_dataset("observations", data=X, chunks=(8, 4), compression="gzip")
        file["actions"] = Y
    return {}


def _hdf5_nested(path: Path) -> dict[str, Any]:
    with h5py.File(path, "w") as file:
        file["train/X"], file["train/y"], file["test/X"] = X, Y, X[:3]
    return {"x_key": "train/X", "y_key": "train/y"}


def _tensors(path: Path) -> dict[str, Any]:
    torch.save({"x": torch.from_numpy(X), "y": torch.from_numpy(Y)}, path)
    return {}


def _tensors_legacy(path: Path) -> dict[str, Any]:
    content = {"x": torch.from_numpy(X), "y": torch.from_numpy(Y)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return {}


def _tensor_pair(path: Path) -> dict[str, Any]:
    torch.save((torch.from_numpy(X), torch.from_numpy(Y)), path)
    return {}


def _safetensors(path: Path) -> dict[str, Any]:
    safetensors.numpy.save_file({"inputs": X, "targets": Y}, path)
    return {}


FORMS = [
    _csv,
    _csv_shuffled,
    _csv_bare,
    _csv_excel,
    _csv_quoted,
    _tsv,
    _parquet,
    _hdf5,
    _hdf5_nested,
    _tensors,
    _tensors_legacy,
    _tensor_pair,
    _safetensors,
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["data", "misleading.safetensors"])
def test_every_form_gives_the_same_samples(
    tmp_path: Path, form: Callable[[Path], dict[str, Any]], name: str
) -> None:
    path = tmp_path / name
    x, y = collect(path, **form(path))
    np.testing.assert_array_equal(x.astype(np.float32), X)
    if form is _csv_shuffled:  # the order of the targets is the one asked for
        assert open_dataset(path, targets=["speed", "turn"]).provenance["targets"] == NAMES[4:]
    np.testing.assert_array_equal(y.astype(np.float32), Y)


@pytest.mark.parametrize("form", [_csv, _parquet, _hdf5, _tensors, _safetensors])
def test_every_form_gives_the_same_report(tmp_path: Path, form: Any) -> None:
    options = form(tmp_path / "data")
    extract(mlp(4, 16, 2), (X, Y), tmp_path / "a.h5")
    extract(mlp(4, 16, 2), tmp_path / "data", tmp_path / "b.h5", **options)
    expected, found = report(tmp_path / "a.h5"), report(tmp_path / "b.h5")
    assert found.n_samples == 50
    for ours, theirs in zip(found.layers, expected.layers, strict=True):
        assert ours.metrics.values == pytest.approx(theirs.metrics.values, rel=1e-6)


# --- tables: which columns, and what is no number ---------------------------------------------


def test_usual_names_are_targets(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n1,2\n3,4\n")
    x, y = collect(tmp_path / "t.csv")
    assert (x.tolist(), y.tolist()) == ([[1], [3]], [[2], [4]])


@pytest.mark.parametrize("form", [_csv, _parquet])
def test_columns_that_are_not_told(tmp_path: Path, form: Any) -> None:
    form(tmp_path / "t")
    with pytest.raises(UsageError, match="are the targets is not told; name them with --targ"):
        open_dataset(tmp_path / "t")
    with pytest.raises(UsageError, match="no column 'power'; choose --targets from a, b, c"):
        open_dataset(tmp_path / "t", targets=["power"])
    with pytest.raises(UsageError, match="6 of 6 columns as targets leaves no inputs"):
        open_dataset(tmp_path / "t", n_targets=6)
    with pytest.raises(UsageError, match="are the targets is not told; name them with --targ"):
        open_dataset(tmp_path / "t", x_key="a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sex,y\nmale,1\n", "column 'sex' holds 'male' in line 2, not numbers; encode it as numb"),
        ("a,y\n1,2\n3,\n", "column 'y' holds an empty cell in line 3, not numbers"),
        ("a,y\n1,2\n1,2,3\n", "line 3 has 3 cells, and there are 2 columns; mend the line"),
        ("a,y\n1,2\n1\n", "line 3 has 1 cells, and there are 2 columns"),
        ("a,y\n1,nan\n", "the targets hold NaN, first in sample 0"),
        ("a,a,y\n1,2,3\n", "several columns are called 'a'"),
        ("a,y\n", "holds no samples"),
        ("a,y\n1,1_000\n", "column 'y' holds '1_000' in line 2"),
        ("a,y\n1,2\n\n\n3,x\n", "column 'y' holds 'x' in line 5"),
        ("a,y\r1,2\r3,x\r", "column 'y' holds 'x' in line 3"),
        ("a,y\n1,NA\n", "holds 'NA' in line 2, not numbers; remove or impute such samples"),
        ("a;y\n1,500;2\n", "holds '1,500' in line 2, not numbers; write numbers with a point"),
        ("a;y\n1,5;2.5\n", "holds '1,5' in line 2, not numbers; write numbers with a point"),
        ('a,y\n"1,000",2\n', "holds '1,000' in line 2, not numbers; write numbers with a point"),
        ("a,y\n١٢,2\n", "column 'a' holds '١٢' in line 2"),
        ("a,y\n0x10,2\n", "column 'a' holds '0x10' in line 2"),
        ("a,y\n1e400,2\n", "the inputs hold an infinite value, first in sample 0"),
        ('a,y\n"1,2\n3,4\n', "line 2 cannot be cut into cells"),
        (f"a,y\n{'x' * 140_000},2\n", "line 2 cannot be cut into cells"),
        ("a,b,y\n1,2\n3,4\n", "line 2 has 2 cells, and there are 3 columns"),
        ("a,,y\n0,1,2\n", "column 2 has no name; name it"),
        ("0,1,2\n5,6,7\n", "line 1 counts 0, 1, 2, … and could be names or a sample"),
    ],
)
def test_cells_that_are_no_numbers(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        collect(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"a,y\n" + b"1,2\n" * 9000 + b"\xe9,3\n",
            r"is not UTF-8 text \(after line \d+\)",
        ),
        ("a,y\n1,2\n".encode("utf-16"), "is UTF-16 text, to be saved as UTF-8"),
        (b"a y\n1 2\n", "is a text file without commas, semicolons or tabs in its first line"),
        (b"a,y\n" + b"1,2\n" * 3000 + b"\0,3\n", r"column 'a' holds '\\x00' in line 3002"),
    ],
)
def test_text_that_is_no_table(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=message):
        collect(tmp_path / "t.csv", n_targets=1)


def test_columns_that_are_chosen_twice(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n a , p\tq , y \n 1 , +.5 , 1.E1 \n")
    assert collect(tmp_path / "t.csv", n_targets=2)[1].tolist() == [[0.5, 10]]
    with pytest.raises(UsageError, match="--targets and --n-targets both say which"):
        open_dataset(tmp_path / "t.csv", targets=["y"], n_targets=1)
    with pytest.raises(UsageError, match="--targets y,y: names a column twice"):
        open_dataset(tmp_path / "t.csv", targets=["y", "y"])


def test_parquet_columns_that_are_no_numbers(tmp_path: Path) -> None:
    table = pyarrow.table({"sex": ["male", "female"], "y": [1.0, 2.0]})
    parquet.write_table(table, tmp_path / "t")
    with pytest.raises(InputError, match="column 'sex' holds string, not numbers; encode it"):
        open_dataset(tmp_path / "t")
    parquet.write_table(pyarrow.table({"a": [1, None], "y": [1.0, 2.0]}), tmp_path / "n")
    with pytest.raises(InputError, match="column 'a' has no value in sample 1; remove"):
        collect(tmp_path / "n")


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = _parquet(tmp_path / "t")
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UsageError, match=r"needs pyarrow; pip install pyarrow$"):
        open_dataset(tmp_path / "t", **options)


# --- damaged, hostile, foreign ----------------------------------------------------------------


@pytest.mark.parametrize("form", [_parquet, _hdf5, _tensors, _tensors_legacy, _safetensors])
def test_truncated(tmp_path: Path, form: Any) -> None:
    path = tmp_path / "data"
    options = form(path)
    content = path.read_bytes()
    for size in range(20, len(content) - 1, max(1, len(content) // 25)):
        path.write_bytes(content[:size])
        with pytest.raises((InputError, UsageError), match=r"damaged|no array|is of an|is a zip"):
            collect(path, **options)


def test_objects_beside_tensors_stay_unread(tmp_path: Path) -> None:
    torch.save({"x": torch.ones(3, 2), "y": torch.zeros(3), "z": Path("a")}, tmp_path / "d.pt")
    batches = list(open_dataset(tmp_path / "d.pt").batches(3))
    assert len(batches) == 1
    torch.save({"z": Path("a")}, tmp_path / "d.pt")
    with pytest.raises(
        UnsafeError, match=r"a pickle that asks for pathlib\.PosixPath.* save plain"
    ):
        open_dataset(tmp_path / "d.pt")


def test_hdf5_links_are_not_followed(tmp_path: Path) -> None:
    _hdf5(tmp_path / "other.h5")
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["y"] = Y
        file["X"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "observations")
    with pytest.raises(InputError, match="X is a link to somewhere else; copy what it leads to"):
        open_dataset(tmp_path / "d.h5")


def test_hdf5_filters_that_need_a_plug_in(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["y"] = Y
        file.create_dataset("lzf", data=X, compression="lzf", shuffle=True)
    x, _ = collect(tmp_path / "d.h5", x_key="lzf")  # which h5py brings along
    np.testing.assert_array_equal(x, X)
    with h5py.File(tmp_path / "d.h5", "a") as file:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk(X.shape)
        made.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)  # Zstandard
        kind, space = h5py.h5t.py_create(X.dtype), h5py.h5s.create_simple(X.shape)
        h5py.h5d.create(file.id, b"X", kind, space, made)
    with pytest.raises(InputError, match="X is compressed in a way that needs a plug-in; use gzip"):
        open_dataset(tmp_path / "d.h5")


def test_our_own_file_is_no_data(tmp_path: Path) -> None:
    extract(mlp(4, 2), (X, Y), tmp_path / "acts.h5")
    with pytest.raises(InputError, match="is a file of nrcscan extract, not data"):
        open_dataset(tmp_path / "acts.h5")


def test_text_in_hdf5(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["X"], file["y"] = ["a"] * 50, Y
    with pytest.raises(InputError, match="'X': text, references or lists of unequal length; save"):
        open_dataset(tmp_path / "d.h5")


def test_tensors_of_other_kinds(tmp_path: Path) -> None:
    x = torch.from_numpy(X)
    torch.save({"x": x.to(torch.float8_e5m2), "y": (1j * x).conj().imag}, tmp_path / "d")
    np.testing.assert_array_equal(collect(tmp_path / "d")[1], -X)
    huge = {"x": torch.ones(1, 1).expand(2**40, 1), "y": torch.ones(1).expand(2**40)}
    torch.save(huge, tmp_path / "e")
    with pytest.raises(InputError, match=f"'x' claims {2**40} values and holds 1; save a contig"):
        collect(tmp_path / "e")
    torch.save({"train": {"x": x}}, tmp_path / "g")
    with pytest.raises(UsageError, match=r"no array is called X; .* among train/x \(50, 4\)"):
        open_dataset(tmp_path / "g")


def test_complex_tensors(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(3, 2, dtype=torch.complex64), "y": torch.zeros(3)}, tmp_path / "d")
    with pytest.raises(InputError, match="the inputs: complex numbers"):
        collect(tmp_path / "d")


@pytest.mark.parametrize("form", [_csv, _hdf5, _safetensors])
def test_only_what_a_batch_needs_is_read(tmp_path: Path, form: Any) -> None:
    options = form(tmp_path / "data")
    batches = open_dataset(tmp_path / "data", **options).batches(5)
    x, y = next(batches)
    assert len(x) == len(y) == 5


# --- the user's own code ----------------------------------------------------------------------

LOADERS = """
import numpy as np, torch
from torch.utils.data import DataLoader, TensorDataset
x = torch.arange(40.).reshape(10, 4); y = x[:, :2] * 2
def dataset(): return TensorDataset(x, y)
def loader(): return DataLoader(dataset(), batch_size=3)
def batches():
    for i in range(0, 10, 5): yield x[i:i + 5], y[i:i + 5]
def arrays(): return x.numpy(), y.numpy()
def listed(): return [(x[:4], y[:4]), (x[4:], y[4:])]
class Samples(torch.utils.data.IterableDataset):
    def __iter__(self): return iter(zip(x, y))
def broken(): raise RuntimeError("no such disk")
def nothing(): return None
"""


@pytest.mark.parametrize("name", ["dataset", "loader", "batches", "arrays", "listed", "Samples"])
def test_data_from_code(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.py").write_text(LOADERS)
    x, y = collect(f"{tmp_path / 'mine.py'}:{name}")
    assert x.tolist() == np.arange(40).reshape(10, 4).tolist()
    np.testing.assert_array_equal(y, x[:, :2] * 2)


def test_data_from_code_that_fails(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(LOADERS)
    with pytest.raises(UsageError, match=r"--data .*:broken: calling it failed: RuntimeError: no"):
        open_dataset(f"{tmp_path / 'mine.py'}:broken")
    with pytest.raises(UsageError, match="data is a NoneType: give a path"):
        open_dataset(f"{tmp_path / 'mine.py'}:nothing")
    with pytest.raises(UsageError, match=r"--data .*: importing .*no such file"):
        open_dataset(f"{tmp_path / 'none.py'}:batches")


# --- standardising ----------------------------------------------------------------------------


def raw(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write the swimmer's data as it was before it was standardised."""
    with np.load(FIXTURES / "swimmer" / "data.npz") as data:
        x, y = data["X"].astype(np.float64), data["y"].astype(np.float64)
    spread, mean = np.logspace(-2, 3, x.shape[1]), np.linspace(-500, 500, x.shape[1])
    np.savez(path / "raw.npz", X=x * spread + mean, y=y * 30 + 7)
    np.savez(path / "scales.npz", x_mean=mean, x_std=spread, y_mean=7.0, y_std=30.0)
    return x, y


@pytest.mark.parametrize("scales", [None, "scales.npz"])
def test_standardised_raw_data_gives_the_report_of_the_scaled(
    tmp_path: Path, scales: str | None
) -> None:
    raw(tmp_path)
    swimmer = FIXTURES / "swimmer"
    model = swimmer / "wd0.01" / "epoch_600.pt"
    extract(model, swimmer / "data.npz", tmp_path / "a.h5", activations=False)
    extract(
        model,
        tmp_path / "raw.npz",
        tmp_path / "b.h5",
        standardize=["x", "y"],
        scales=scales and tmp_path / scales,
        activations=False,
    )
    expected, found = report(tmp_path / "a.h5"), report(tmp_path / "b.h5")
    assert found.r2 == pytest.approx(expected.r2, abs=1e-5)
    assert found.onset == expected.onset
    assert found.provenance["data"]["standardized"]["parts"] == ["x", "y"]


def test_raw_data_on_a_network_that_wants_it_scaled_is_told(tmp_path: Path) -> None:
    raw(tmp_path)
    model = FIXTURES / "swimmer" / "wd0.01" / "epoch_600.pt"
    done = extract(model, tmp_path / "raw.npz", tmp_path / "a.h5", standardize=["y"])
    assert any(
        "the inputs are far from unit scale" in note and "use --standardize" in note
        for note in done.notes
    )


@pytest.mark.parametrize("saved", [False, True])
def test_one_dimensional_targets_are_standardised(tmp_path: Path, saved: bool) -> None:
    from nrcscan.inputs.datasets.standardize import standardized

    np.savez(tmp_path / "scales.npz", y_mean=Y[:, 0].mean(), y_std=Y[:, 0].std())
    scales = tmp_path / "scales.npz" if saved else None
    ((_, y),) = standardized(open_dataset((X, Y[:, 0])), ["y"], scales, None).batches(100)
    np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-6)


def test_an_entry_that_never_varies_is_only_centred() -> None:
    x = np.column_stack([np.arange(10.0), np.full(10, 3.0)])
    dataset = open_dataset((x, Y[:10]))
    from nrcscan.inputs.datasets.standardize import standardized

    ((found, _),) = standardized(dataset, ["x"], None, None).batches(100)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-15)
    np.testing.assert_allclose(found.std(axis=0), [1, 0])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"standardize": ["z"]}, UsageError, "--standardize z: give x, y or x,y"),
        ({"scales": "scales.npz"}, UsageError, "--scales has no effect without --standardize"),
        (
            {"standardize": ["x"], "scales": "no.npz"},
            InputError,
            "no.npz: no such statistics file",
        ),
        ({"standardize": ["x"], "scales": "bad.npz"}, InputError, "lacks x_mean and x_std; save"),
        ({"standardize": ["x"], "scales": "zero.npz"}, InputError, "x_std must be finite, and a"),
        ({"standardize": ["x"], "scales": "wide.npz"}, InputError, r"x has samples of shape \(4,"),
    ],
)
def test_statistics_that_do_not_fit(
    tmp_path: Path,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("scales.npz", x_mean=0.0, x_std=1.0)
    np.savez("bad.npz", mean=0.0)
    np.savez("zero.npz", x_mean=0.0, x_std=0.0)
    np.savez("wide.npz", x_mean=np.zeros(3), x_std=np.ones(3))
    with pytest.raises(error, match=message):
        extract(mlp(4, 2), (X, Y), "a.h5", **options)


def test_a_stream_has_no_statistics_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can be read only once, so its own statistics cannot be"):
        extract(mlp(4, 2), iter([(X, Y)]), tmp_path / "a.h5", standardize=["x"])


def test_nothing_is_imported_that_a_form_does_not_need(tmp_path: Path) -> None:
    import subprocess

    _csv(tmp_path / "t.csv")
    code = (
        "import sys; from nrcscan.inputs.datasets.open_dataset import open_dataset;"
        "list(open_dataset('t.csv', n_targets=2).batches(9));"
        "assert 'pyarrow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
