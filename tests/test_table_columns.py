"""Which columns of a table are inputs and targets: the same wherever the table is kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from nrcscan import InputError, UsageError
from nrcscan.inputs.datasets.open_dataset import open_dataset

N = 7
NUMBERS = np.random.default_rng(0).normal(size=(N, 5))
TABLE: dict[str, Any] = {
    "run": [f"run {i}" for i in range(N)],
    **dict(zip(["a", "b", "c", "speed", "turn"], NUMBERS.T, strict=True)),
}
IDS = np.random.default_rng(1).integers(0, 9, (N, 4))
TOKENS = {
    "input_ids": list(IDS),
    "text": ["…"] * N,
    "attention_mask": list(IDS > 0),
    "age": NUMBERS[:, 0],
    "labels": NUMBERS[:, 1],
}


def _csv(path: Path, table: Mapping[str, Any]) -> None:
    rows = zip(*table.values(), strict=True)
    lines = [",".join(table), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines))


def _parquet(path: Path, table: Mapping[str, Any]) -> None:
    parquet.write_table(pyarrow.table(dict(table)), path)


def _saved(path: Path, table: Mapping[str, Any]) -> None:
    datasets.disable_progress_bars()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasets.Dataset.from_dict(dict(table)).save_to_disk(path)


KEPT = pytest.mark.parametrize("write", [_csv, _parquet, _saved])
Write = Callable[[Path, Mapping[str, Any]], None]


def read(path: Path, **options: Any) -> tuple[Any, Any]:
    ((x, y),) = open_dataset(path, **options).batches(100)
    return x, y


@KEPT
def test_dropped_columns_are_neither_read_nor_inputs(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "t", TABLE)
    x, y = read(tmp_path / "t", targets=["speed", "turn"], drop=["run"])
    np.testing.assert_array_equal(x, NUMBERS[:, :3])
    np.testing.assert_array_equal(y, NUMBERS[:, 3:])
    x, y = read(tmp_path / "t", n_targets=1, drop=["ru*", "[ab]", "turn"])
    np.testing.assert_array_equal(x, NUMBERS[:, 2:3])
    np.testing.assert_array_equal(y, NUMBERS[:, 3:4])


@KEPT
def test_columns_side_by_side_and_as_several_inputs(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "t", TABLE)
    x, y = read(tmp_path / "t", x_key="c+a", y_key="turn")
    np.testing.assert_array_equal(x, NUMBERS[:, [2, 0]])
    np.testing.assert_array_equal(y, NUMBERS[:, 4:])
    x, y = read(tmp_path / "t", x_key="a+b, c", y_key="turn+speed")
    assert set(x) == {"a+b", "c"}
    np.testing.assert_array_equal(x["a+b"], NUMBERS[:, :2])
    np.testing.assert_array_equal(x["c"], NUMBERS[:, 2])
    np.testing.assert_array_equal(y, NUMBERS[:, [4, 3]])


@pytest.mark.parametrize("write", [_parquet, _saved])
def test_what_a_hugging_face_network_sees_is_known_by_name(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "t", TOKENS)
    for options in ({}, {"x_key": "input_ids,attention_mask", "y_key": "labels"}):
        x, y = read(tmp_path / "t", **options)
        assert list(x) == ["input_ids", "attention_mask"]
        np.testing.assert_array_equal(x["input_ids"], IDS)
        np.testing.assert_array_equal(x["attention_mask"], IDS > 0)
        np.testing.assert_array_equal(y[:, 0], NUMBERS[:, 1])
    x, y = read(tmp_path / "t", x_key="input_ids+age", y_key="labels")
    np.testing.assert_array_equal(x, np.hstack([IDS, NUMBERS[:, :1]]))


def test_what_a_hugging_face_network_sees_is_known_in_every_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", input_ids=IDS, attention_mask=IDS > 0, labels=NUMBERS[:, 1])
    x, _ = read(tmp_path / "t.npz")
    assert list(x) == ["input_ids", "attention_mask"]
    np.savez(tmp_path / "u.npz", pixel_values=NUMBERS, labels=NUMBERS[:, 1])
    x, _ = read(tmp_path / "u.npz")
    np.testing.assert_array_equal(x, NUMBERS)


def test_any_batch_size_gives_the_same(tmp_path: Path) -> None:
    _csv(tmp_path / "t", TABLE)
    whole = read(tmp_path / "t", x_key="a,b", y_key="turn", drop=["run"])
    parts: Any = list(open_dataset(tmp_path / "t", x_key="a,b", y_key="turn").batches(2))
    np.testing.assert_array_equal(np.concatenate([x["b"] for x, _ in parts]), whole[0]["b"])


def test_a_line_of_another_length_is_told_beside_dropped_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("run,a,y\nx,1,2\nx,3,4,5\n")
    with pytest.raises(InputError, match="line 3 has 4 cells, and there are 3 columns; mend the"):
        read(tmp_path / "t.csv", drop=["run"])
    (tmp_path / "u.csv").write_text("run,a,y\nx,1,2\nx,three,4\n")
    with pytest.raises(InputError, match="column 'a' holds 'three' in line 3, not numbers; enc"):
        read(tmp_path / "u.csv", drop=["run"])


@KEPT
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_targets": 2}, "column 'run' holds .*not numbers; .*or leave it out with --drop run"),
        (
            {"n_targets": 2, "drop": ["id"]},
            "--drop id: .*t has no such column; choose among run, a",
        ),
        ({"n_targets": 2, "drop": ["turn", "?", "run"]}, "2 of 1 columns as targets leaves no in"),
        ({"targets": ["turn"], "y_key": "turn"}, "--targets and --y-key both say which are the"),
        (
            {"x_key": "a+d", "y_key": "turn"},
            "no column 'd'; choose --x-key from run, a, b, c, spee",
        ),
        ({"x_key": "a", "y_key": "turn,speed"}, r"side by side as 'a\+b'; choose --y-key from run"),
        ({"x_key": "a+turn", "y_key": "turn"}, "'turn' would be input and target; name others"),
        ({"targets": ["a", "b", "c", "turn", "speed"], "drop": ["run"]}, "leaves no inputs; name"),
    ],
)
def test_a_choice_that_does_not_fit_is_told(
    tmp_path: Path, write: Write, options: dict[str, Any], message: str
) -> None:
    write(tmp_path / "t", TABLE)
    with pytest.raises((UsageError, InputError), match=message):
        read(tmp_path / "t", **options)


def test_arrays_that_differ_in_other_axes_are_not_put_side_by_side(tmp_path: Path) -> None:
    cubes = [[[1.0, 2.0], [3.0, 4.0]]] * N
    _parquet(tmp_path / "t", {"cubes": cubes, "a": NUMBERS[:, 0], "y": NUMBERS[:, 1]})
    with pytest.raises(InputError, match="same number of dimensions.*; name one with --x-key, or"):
        read(tmp_path / "t", x_key="cubes+a", y_key="y")


def test_files_of_arrays_have_no_columns_to_drop(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", X=NUMBERS, y=NUMBERS[:, 0])
    with pytest.raises(UsageError, match="is no table; choose its arrays with --x-key and --y-k"):
        read(tmp_path / "t.npz", drop=["a"])
