"""Folders as data: saved datasets, and images with the table of their targets."""

from __future__ import annotations

import builtins
import decimal
import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pytest
import tolerances
import torch
from conftest import Run, mlp, samples
from datasets import Array2D, ClassLabel, DatasetDict, Features, List, Value
from PIL import Image
from pyarrow import parquet
from torch import nn

from nrcscan import InputError, Report, UsageError, extract, report, scan
from nrcscan.inputs.datasets.image_folder import FORMATS
from nrcscan.inputs.datasets.open_dataset import open_dataset
from nrcscan.scanning.scan import _anywhere

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("workers_here")]

datasets.disable_progress_bars()

X, Y = samples(50, 4, 2)
NAMES = ["a", "b", "c", "d", "speed", "turn"]
COLUMNS = dict(zip(NAMES, np.hstack([X, Y]).T, strict=True))
SPEC = "channels=rgb height=6 width=5 scale=255 mean=0 std=1"


def collect(data: Any, batch_size: int = 7, **options: Any) -> tuple[Any, Any]:
    batches = list(open_dataset(data, **options).batches(batch_size))
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def saved(path: Path, columns: Any, **options: Any) -> Path:
    datasets.Dataset.from_dict(columns, **options).save_to_disk(path / "ds")
    return path / "ds"


# --- saved datasets ---------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3])
def test_a_saved_dataset_is_a_table(tmp_path: Path, shards: int) -> None:
    datasets.Dataset.from_dict(COLUMNS).save_to_disk(tmp_path / "ds", num_shards=shards)
    x, y = collect(tmp_path / "ds", targets=["speed", "turn"])
    np.testing.assert_array_equal(x.astype(np.float32), X)
    np.testing.assert_array_equal(y.astype(np.float32), Y)
    assert open_dataset(tmp_path / "ds", n_targets=2).n_samples == 50


def test_columns_of_arrays_are_inputs_and_targets(tmp_path: Path) -> None:
    kinds = {
        "x": Array2D((2, 2), "float32"),
        "y": List(Value("float32"), length=2),
        "note": Value("string"),
    }
    columns = {"x": list(X.reshape(50, 2, 2)), "y": list(Y), "note": ["not read"] * 50}
    x, y = collect(saved(tmp_path, columns, features=Features(kinds)))
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, X.reshape(50, 2, 2))
    np.testing.assert_array_equal(y, Y)


def test_tokens_stay_integers_and_targets_may_be_single_columns(tmp_path: Path) -> None:
    tokens = np.arange(30).reshape(10, 3)
    folder = saved(tmp_path, {"ids": list(tokens), "p": np.arange(10.0), "q": np.arange(10) > 4})
    x, y = collect(folder, x_key="ids", targets=["q", "p"])
    assert x.dtype == np.int64
    np.testing.assert_array_equal(x, tokens)
    np.testing.assert_array_equal(y, np.column_stack([np.arange(10) > 4, np.arange(10)]))


def test_rows_that_were_selected_are_the_samples(tmp_path: Path) -> None:
    data = datasets.Dataset.from_dict({"a": range(10), "y": range(10)}).select([7, 1, 4])
    data.with_format("torch").save_to_disk(tmp_path / "ds")
    assert collect(tmp_path / "ds")[0].tolist() == [[7], [1], [4]]


def test_a_saved_dataset_gives_the_report_of_its_arrays(tmp_path: Path) -> None:
    extract(mlp(4, 16, 2), (X, Y), tmp_path / "a.h5")
    extract(mlp(4, 16, 2), saved(tmp_path, COLUMNS), tmp_path / "b.h5", n_targets=2)
    expected, found = report(tmp_path / "a.h5"), report(tmp_path / "b.h5")
    for ours, theirs in zip(found.layers, expected.layers, strict=True):
        assert ours.metrics.values == pytest.approx(theirs.metrics.values, rel=1e-6)
    data = found.provenance["data"]
    (file,) = (tmp_path / "ds").glob("*.arrow")
    digest = hashlib.sha256(hashlib.sha256(file.read_bytes()).digest()).hexdigest()
    assert (data["sha256"], data["targets"]) == (digest, ["speed", "turn"])


def test_a_saved_dataset_is_never_held_whole(tmp_path: Path) -> None:
    folder = saved(tmp_path, {"x": list(np.zeros((4000, 64))), "y": np.zeros(4000)})
    before = pyarrow.total_allocated_bytes()
    for x, _ in open_dataset(folder).batches(10):
        assert len(x) <= 10
        assert pyarrow.total_allocated_bytes() - before < 64 * 2000 * 8  # half


@pytest.mark.parametrize(
    ("columns", "kinds", "message"),
    [
        ({"a": ["p"], "y": [1.0]}, None, "column 'a' holds string, not numbers; encode it as"),
        (
            {"a": [1.0], "y": [0]},
            {"a": Value("float32"), "y": ClassLabel(names=["cat", "dog", "cow", "ant"])},
            r"column 'y' holds classes \(cat, dog or cow, …\), not numbers; encode it as one column"
            r" each, or, if its codes are meant, ds.cast_column\('y', datasets.Value\('int64'\)\)",
        ),
        (
            {"image": [Image.new("RGB", (4, 4))], "y": [1.0]},
            {"image": datasets.Image(), "y": Value("float32")},
            "column 'image' holds image files, not numbers; decode them into arrays .* with ds.map",
        ),
        ({"a": [{"q": 1}], "y": [1.0]}, None, "column 'a' holds struct<q: int64>, not numbers"),
        ({"a": [1.0, None], "y": [1.0, 2.0]}, None, "'a' has no value in sample 1; remove"),
        ({"a": [], "y": []}, None, "holds no samples"),
        (
            {"x": [[1, 2], [3]], "y": [1, 2]},
            None,
            "'x' holds lists of 2 and, in sample 1, of 1",
        ),
        ({"x": [[[1], [2]], [[3], [None]]], "y": [1, 2]}, None, "'x' has no value in sample 1"),
        (
            {"x": [[1.0]] * 7 + [[1.0, 2.0]], "y": range(8)},
            None,
            r"'x' holds arrays of shape \(1,\) and, from sample 7 on, \(2,\)",
        ),
        ({"x": [["a"]], "y": [1]}, None, "column 'x' holds string, not numbers"),
    ],
)
def test_columns_that_are_no_numbers(
    tmp_path: Path, columns: Any, kinds: Any, message: str
) -> None:
    folder = saved(tmp_path, columns, features=Features(kinds) if kinds else None)
    with pytest.raises(InputError, match=message):
        collect(folder)


def test_columns_that_are_not_told(tmp_path: Path) -> None:
    folder = saved(tmp_path, {"v": [[1.0]], "w": [1.0], "u": [[1.0]]})
    with pytest.raises(UsageError, match="say which of v, w and u are the targets with --y-key"):
        open_dataset(folder)
    with pytest.raises(UsageError, match="say which of v, w and u are the inputs with --x-key"):
        open_dataset(folder, y_key="w")
    with pytest.raises(UsageError, match="--targets and --y-key both say which are the targets"):
        open_dataset(folder, x_key="v", y_key="w", targets=["w"])
    ((_, y),) = open_dataset(folder, x_key="v", targets=["w", "u"]).batches(9)
    assert y.tolist() == [[1, 1]]
    with pytest.raises(UsageError, match="are the targets is not told"):
        open_dataset(saved(tmp_path / "b", COLUMNS), x_key="a")


def test_splits_are_given_by_their_sub_folder(tmp_path: Path) -> None:
    data = datasets.Dataset.from_dict(COLUMNS)
    DatasetDict(train=data, test=data.select([0])).save_to_disk(tmp_path / "dd")
    with pytest.raises(UsageError, match=r"holds the splits train and test; .* such as .*dd/train"):
        open_dataset(tmp_path / "dd", n_targets=2)
    assert len(collect(tmp_path / "dd" / "test", n_targets=2)[0]) == 1


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no folder of Dataset.save_to_disk \(it has no state"):
        open_dataset(tmp_path)


def test_saved_datasets_that_are_cut_short(tmp_path: Path) -> None:
    folder = saved(tmp_path, {"a": np.arange(3000), "y": np.arange(3000)})
    (path,) = folder.glob("*.arrow")
    content = path.read_bytes()
    for size in range(0, len(content), len(content) // 20):
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match="damaged or cut short|file is empty"):
            collect(folder)
    path.write_bytes(b"\0" * 100 + content[-8:])
    with pytest.raises(InputError, match="damaged or cut short"):
        collect(folder)
    path.unlink()
    with pytest.raises(InputError, match="no such data file"):
        open_dataset(folder)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"_data_files": [{"filename": "../secret.arrow"}]}, "outside its own folder, '../secret"),
        ({"_data_files": [{"filename": "/etc/passwd"}]}, "outside its own folder, '/etc/passwd'"),
        ({"_data_files": [{"filename": "link.arrow"}]}, "is a link out of its folder"),
        ({"_data_files": [{}]}, "names no file but None"),
        ({"_data_files": 3}, "_data_files is not a list"),
        ({}, r"is not as datasets writes it \('_data_files'\)"),
        ([1], "is not as datasets writes it"),
        ({"_data_files": [], "_indices_data_files": [1]}, "takes its rows through an index"),
    ],
)
def test_states_that_lie(tmp_path: Path, state: Any, message: str) -> None:
    folder = saved(tmp_path, COLUMNS)
    (path,) = folder.glob("*.arrow")
    (tmp_path / "secret.arrow").write_bytes(path.read_bytes())
    (folder / "link.arrow").symlink_to("../secret.arrow")
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(InputError, match=message):
        open_dataset(folder, n_targets=2)


# --- the same columns in Parquet --------------------------------------------------------------


def test_parquet_of_arrays_and_decimals(tmp_path: Path) -> None:
    tensor = pyarrow.FixedShapeTensorArray.from_numpy_ndarray(X.reshape(50, 2, 2))
    table = {"v": tensor, "w": [decimal.Decimal(f"{value:.9f}") for value in Y[:, 0]]}
    parquet.write_table(pyarrow.table(table), tmp_path / "t")
    x, y = collect(tmp_path / "t", x_key="v", y_key="w")
    np.testing.assert_array_equal(x, X.reshape(50, 2, 2))
    np.testing.assert_allclose(y, Y[:, :1], atol=1e-9)


def test_an_index_of_pandas_is_no_input(tmp_path: Path) -> None:
    table = pyarrow.table({"a": [1.0], "y": [1.0], "__index_level_0__": [5]})
    parquet.write_table(table, tmp_path / "t")
    with pytest.raises(InputError, match="holds an index of pandas as a column"):
        open_dataset(tmp_path / "t")
    categories = pyarrow.array(["p"]).dictionary_encode()
    parquet.write_table(pyarrow.table({"a": categories, "y": [1.0]}), tmp_path / "c")
    with pytest.raises(InputError, match="column 'a' holds categories of string, not numbers"):
        open_dataset(tmp_path / "c")


# --- images -----------------------------------------------------------------------------------

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 6, 5, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight images in photos/ and their targets in t.csv."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for i, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(f"photos/{i}.png")
    Path("t.csv").write_text("file,p,q\n" + "".join(f"{i}.png,{i},{-i}\n" for i in range(8)))
    return tmp_path


def images(table: str = "t.csv", spec: str | None = SPEC, **options: Any) -> tuple[Any, Any]:
    return collect(["photos", table], images=spec, batch_size=3, **options)


@pytest.mark.usefixtures("photos")
def test_images_are_scaled_as_told() -> None:
    x, y = images(spec="channels=rgb height=6 width=5 scale=255 mean=0.5,0.4,0.3 std=0.25,0.2,0.1")
    expected = (PIXELS / 255 - [0.5, 0.4, 0.3]) / [0.25, 0.2, 0.1]
    assert (x.shape, x.dtype) == ((8, 3, 6, 5), np.float32)
    np.testing.assert_allclose(x, expected.transpose(0, 3, 1, 2), rtol=1e-6)
    assert y.tolist() == [[i, -i] for i in range(8)]


@pytest.mark.usefixtures("photos")
def test_images_in_grey_and_of_another_size() -> None:
    x, _ = images(spec="channels=grey height=3 width=4 scale=1 mean=0 std=1")
    grey = Image.fromarray(PIXELS[7]).convert("L").resize((4, 3), Image.Resampling.BILINEAR)
    assert x.shape == (8, 1, 3, 4)
    np.testing.assert_array_equal(x[7, 0], np.asarray(grey))


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("table", "options", "y"),
    [
        ("p,image\n1,0.png\n2,1.png\n", {}, [[1], [2]]),
        ("0.png,1\n1.png,2\n", {}, [[1], [2]]),
        ("who;p;note\n0.png;1;x\n\n1.png;2;y\n", {"targets": ["p"]}, [[1], [2]]),
        ("file\tp\tq\r\n0.png\t1\t2\r\n1.png\t2\t3\r\n", {"n_targets": 1}, [[2], [3]]),
    ],
)
def test_tables_of_images(table: str, options: Any, y: Any) -> None:
    Path("t.csv").write_text(table)
    x, found = images(**options)
    assert found.tolist() == y
    np.testing.assert_allclose(x[1], PIXELS[1].transpose(2, 0, 1) / 255, rtol=1e-6)


@pytest.mark.usefixtures("photos")
def test_every_format_and_mode_of_eight_bits() -> None:
    picture = Image.fromarray(PIXELS[0])
    lines = ["file,p"]
    for kind in FORMATS:
        picture.save(f"photos/x.{kind}", kind)
        lines.append(f"x.{kind},1")
    for mode in ("1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"):
        picture.convert(mode).save(f"photos/{mode}.tif" if mode != "LA" else "photos/LA.png")
        lines.append(f"{mode}.tif,1" if mode != "LA" else "LA.png,1")
    picture.save("photos/phone.jpg", "MPO", save_all=True, append_images=[picture])
    Path("t.csv").write_text("\n".join([*lines, "phone.jpg,1"]))
    assert images()[0].shape == (len(lines), 3, 6, 5)


@pytest.mark.usefixtures("photos")
def test_the_fingerprint_covers_table_and_images() -> None:
    def fingerprint(**options: Any) -> str:
        found = open_dataset(["photos", "t.csv"], images=SPEC, **options).provenance
        assert found["images"]["mean"] == (0,)
        return str(found["sha256"])

    first = fingerprint()
    assert fingerprint() == first
    content = Path("photos/3.png").read_bytes()
    Image.fromarray(255 - PIXELS[3]).save("photos/3.png")
    assert fingerprint() != first
    Path("photos/3.png").write_bytes(content)
    Path("t.csv").write_text(Path("t.csv").read_text().replace("7,-7", "7,-8"))
    assert fingerprint() != first


@pytest.mark.usefixtures("photos")
def test_images_are_read_as_they_are_needed() -> None:
    batches = open_dataset(["photos", "t.csv"], images=SPEC).batches(2)
    assert len(next(batches)[0]) == 2
    Path("photos/4.png").unlink()
    assert len(next(batches)[0]) == 2
    with pytest.raises(InputError, match=r"t.csv, line 6: photos/4.png is not there"):
        next(batches)


def _bomb(path: Path) -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 99)), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def _cut(path: Path) -> None:
    path.write_bytes(Path("photos/0.png").read_bytes()[:-30])


def _animated(path: Path) -> None:
    frames = [Image.fromarray(pixels) for pixels in PIXELS[:2]]
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])


def _deep(path: Path) -> None:
    Image.fromarray(PIXELS[0, ..., 0].astype(np.uint16)).save(path, "PNG")


def _program(path: Path) -> None:
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")


def _link_out(path: Path) -> None:
    Path("secret.png").write_bytes(Path("photos/0.png").read_bytes())
    path.symlink_to("../secret.png")


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_cut, "photos/bad is damaged or cut short"),
        (_bomb, "photos/bad has too many pixels; make it smaller"),
        (_animated, r"photos/bad is animated \(2 frames\); save the one that is meant"),
        (_deep, r"photos/bad has more than 8 bits per channel \(I;16\); save it with 8"),
        (_program, "photos/bad is no image that can be read; save it as PNG, JPEG"),
        (Path.touch, "photos/bad is no image that can be read"),
        (_link_out, "'bad' leads out of photos; copy it into the folder"),
        (Path.mkdir, "photos/bad is not a regular file"),
        (os.mkfifo, "photos/bad is not a regular file"),
        (lambda path: None, "photos/bad is not there; name it as from the folder photos"),
    ],
)
def test_files_that_are_no_images(make: Callable[[Path], None], message: str) -> None:
    make(Path("photos/bad"))
    Path("t.csv").write_text("file,p\n0.png,1\n\nbad,2\n")
    with pytest.raises(InputError, match=f"t.csv, line 4: {message}"):
        images()


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            "file,p\n../secret.png,1\n",
            r"line 2: '../secret.png' leads out of photos; copy it into the folder",
        ),
        ("file,p\n/etc/passwd,1\n", r"line 2: '/etc/passwd' leads out of photos"),
        ("file,p\n0.png,high\n", "column 'p' holds 'high' in line 2, not numbers"),
        (
            "file,p\n0.png,\n",
            "column 'p' holds an empty cell in line 2, not numbers; remove",
        ),
        ("file,p\n0.png\n", "line 2 has 1 cells, and there are 2 columns"),
        ("file,p\n0.png,nan\n", "the targets hold NaN, first in sample 0"),
        ("file,p\n", "holds no samples"),
        ("file\n0.png\n", "is a text file; give a CSV of file names and targets"),
        (f"file,p\n{'a' * 300},1\n", "is no file name: .*File name too long"),
    ],
)
def test_tables_that_do_not_fit(table: str, message: str) -> None:
    Path("t.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        images()


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mean=0 std=1", "", "mean and std must be given too"),
        ("std=1", "std=1 std=2", "std is given twice"),
        ("std=1", "std=1 size=9", "'size=9' is none of channels=…, height=…"),
        (SPEC, "64x64", "'64x64' is none of channels=…"),
        ("rgb", "bgr", "channels=bgr is not rgb or grey"),
        ("height=6", "height=0", "height=0 is not a number of pixels from 1 to 16384"),
        ("height=6", "height=9999999999999", "height=9999999999999 is not a number of pixels"),
        ("width=5", "width=5.5", "width=5.5 is not a number of pixels"),
        ("scale=255", "scale=0", "scale=0: takes numbers above 0"),
        ("scale=255", "scale=1,2", "scale takes 1 numbers, not 2"),
        ("mean=0", "mean=0,0", "mean takes 1 or 3 numbers, not 2"),
        ("mean=0", "mean=inf", "mean=inf: takes numbers"),
        ("std=1", "std=-1", "std=-1: takes numbers above 0"),
        ("std=1", "std=", "std=: takes numbers above 0"),
    ],
)
def test_preparations_that_are_wrong(old: str, new: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"--images: {message}.*; write for example --images 'cha"):
        images(spec=SPEC.replace(old, new))


@pytest.mark.usefixtures("photos")
def test_images_that_are_told_wrongly() -> None:
    with pytest.raises(
        UsageError,
        match=r"needs their size and scale as .*; write for example --images 'channels=rgb",
    ):
        images(spec=None)
    with pytest.raises(UsageError, match="'file' holds the file names, not targets"):
        images(targets=["file"])
    with pytest.raises(UsageError, match="images are a folder, then the table of their targets"):
        open_dataset(["t.csv", "photos"], images=SPEC)
    with pytest.raises(UsageError, match="--images goes with a folder of images"):
        open_dataset("t.csv", images=SPEC)
    with pytest.raises(UsageError, match="images have no --x-key or --y-key"):
        images(x_key="file")
    with pytest.raises(InputError, match=r"no.csv: no such targets file"):
        images("no.csv")


def test_images_through_the_command(photos: Path, cli: Run) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    torch.save(network, photos / "conv.pt")
    done = cli("extract", "conv.pt", "photos", "t.csv", "--images", SPEC, "-o", "a.h5")
    assert done.returncode == 0, done.stderr
    extract(
        network,
        (PIXELS.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255), images()[1]),
        "b.h5",
    )
    found, expected = report("a.h5"), report("b.h5")
    assert found.provenance["data"]["images"]["scale"] == 255
    for ours, theirs in zip(found.layers, expected.layers, strict=True):
        # Pixels are divided in another precision, so inputs are off by a rounding.
        assert ours.metrics.values == pytest.approx(
            theirs.metrics.values, rel=tolerances.SHALLOW, abs=1e-12
        )
    done = cli("extract", "conv.pt", "photos", "t.csv", "-o", "c.h5")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert not (photos / "c.h5").exists()


# --- folders as the data of a scan -------------------------------------------------------------


def scanned(cli: Run, *args: object) -> tuple[dict[str, Any], str]:
    """Return scan.json and the notes of a scan of runs/."""
    done = cli("scan", *args, "-j", 1)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "1 checkpoint could not" not in done.stdout
    return json.loads(Path("scan/scan.json").read_text()), done.stderr


def measures_as_extract_does(content: dict[str, Any], expected: Report) -> None:
    (row,) = content["checkpoints"]
    assert row["n_samples"] == expected.n_samples
    assert row["model"]["r2"] == pytest.approx(expected.model["r2"], rel=1e-6)


def test_a_scan_of_images(photos: Path, cli: Run) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    torch.save(network, photos / "conv.pt")
    argv = (".", "photos", "t.csv", "--images", SPEC)
    torch.save(network.state_dict(), "photos/stray.pt")  # in the data, not of the scan
    content, _ = scanned(cli, *argv)
    skipped = {entry["path"]: entry["reason"] for entry in content["skipped"]}
    assert skipped["photos"] == skipped["t.csv"] == "the data or the output of this scan"
    assert content["provenance"]["data"]["files"] == ["photos", "t.csv"]
    extract("conv.pt", ["photos", "t.csv"], "a.h5", images=SPEC)
    measures_as_extract_does(content, report("a.h5"))
    Path("a.h5").unlink()
    known = "note: 1 of 1 checkpoints are as they were at the last scan"
    assert known in scanned(cli, *argv)[1]
    Image.fromarray(255 - PIXELS[3]).save("photos/3.png")
    other, notes = scanned(cli, *argv)
    assert known not in notes
    assert other["checkpoints"] != content["checkpoints"]
    Path("t.csv").write_text(Path("t.csv").read_text().replace("7,-7", "7,-8"))
    assert known not in scanned(cli, *argv)[1]


def test_a_scan_on_a_saved_dataset(
    tmp_path: Path, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    torch.save(mlp(4, 16, 2).state_dict(), "runs/1.pt")
    saved(Path("runs"), COLUMNS)
    argv = ("runs", "runs/ds", "--n-targets", 2)
    content, _ = scanned(cli, *argv)
    assert [entry["path"] for entry in content["skipped"]] == ["ds"]
    extract("runs/1.pt", "runs/ds", "a.h5", n_targets=2)
    measures_as_extract_does(content, report("a.h5"))
    known = "note: 1 of 1 checkpoints are as they were at the last scan"
    assert known in scanned(cli, *argv)[1]
    saved(Path("runs"), {name: 2 * values for name, values in COLUMNS.items()})
    assert known not in scanned(cli, *argv)[1]
    done = cli("scan", "runs", "runs")
    assert done.returncode == 2
    assert "runs: is no folder of Dataset.save_to_disk" in done.stderr


def test_a_scan_on_a_cluster_finds_folders_from_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    torch.save(mlp(4, 16, 2).state_dict(), "runs/1.pt")
    saved(Path(), COLUMNS)
    assert _anywhere(["ds"]) == [str(tmp_path / "ds")]
    found = scan("runs", "ds", "out", n_targets=2, cluster="local:1")
    assert [checkpoint.status for checkpoint in found.checkpoints] == ["ok"]


# --- extras that are not installed ------------------------------------------------------------


@pytest.mark.usefixtures("photos")
@pytest.mark.parametrize(
    ("module", "data", "message"),
    [
        ("pyarrow", "ds", r"ds: reading .* needs pyarrow; pip install pyarrow$"),
        ("PIL", ["photos", "t.csv"], r"photos: .* needs pillow; pip install pillow$"),
    ],
)
def test_without_its_library(
    module: str, data: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(Path(), COLUMNS)
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == module:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UsageError, match=message):
        open_dataset(data, images=SPEC if module == "PIL" else None)
