"""Delimited text as programs write it: quotes, names of rows, comments, decimal commas, gzip."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from conftest import mlp, samples
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from nrcscan import InputError, extract, report
from nrcscan.inputs.datasets.open_dataset import open_dataset

pytestmark = pytest.mark.numerical

X, Y = samples(40, 3, 2)
NAMES = ["a", "b", "c", "speed", "turn"]
ROWS = [[repr(float(v)) for v in row] for row in np.hstack([X, Y])]
TARGETS = ["speed", "turn"]


def written(
    delimiter: str = ",", quote: str = "", ends: str = "", header: list[str] | None = NAMES
) -> str:
    lines = [[f'"{name}"' if quote else name for name in header]] if header else []
    lines += [[f"{quote}{cell}{quote}" for cell in row] for row in ROWS]
    return "".join(delimiter.join(line) + ends + "\n" for line in lines)


def _r(corner: str) -> str:
    """Return what write.csv of R writes, or write.table with sep="," where no corner is."""
    head = corner + ",".join(f'"{name}"' for name in NAMES)
    return "\n".join([head, *(f'"row, {i}",' + ",".join(row) for i, row in enumerate(ROWS))])


FORMS: dict[str, str] = {
    "quoted names": '"a","b","c","speed","turn"\n' + written(header=None),
    "all quoted": written(quote='"'),
    "one quoted": written().replace("c,", '"c",', 1),
    "tab and quotes": written("\t", '"'),
    "names of rows": _r('"",'),
    "names of rows, header one shorter": _r(""),
    "an index of pandas": "\n".join(
        ["," + ",".join(NAMES), *(f"{i}," + ",".join(row) for i, row in enumerate(ROWS))]
    ),
    "decimal commas": written(";").replace(".", ","),
    "decimal commas, quoted": written(";", '"').replace(".", ","),
    "decimal commas, tabs": written("\t").replace(".", ","),
    "what tells a spreadsheet": "sep=;\n" + written(";"),
    "comments": "# made by a script, on a day\n" + written().replace("\n", "\n# a comment\n", 1),
    "names in a comment": "# " + written(),
    "ends with a delimiter": written(ends=","),
    "rows end with a delimiter": written(header=NAMES).replace("\n", ",\n").replace(",\n", "\n", 1),
    "spaces": written(", ", '"'),
    "byte order mark, line ends of Windows": "\ufeff" + written(quote='"').replace("\n", "\r\n"),
    "empty lines": "\n\n" + written() + "\n  \n",
}


def collect(path: Path, batch_size: int = 7, **options: Any) -> tuple[Any, Any]:
    batches = list(open_dataset(path, **options).batches(batch_size))
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


@pytest.mark.parametrize("form", FORMS)
def test_every_way_of_writing_holds_the_same_table(tmp_path: Path, form: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(FORMS[form], newline="")
    for batch_size in (1, 7):
        x, y = collect(path, batch_size, targets=TARGETS)
        np.testing.assert_array_equal(x.astype(np.float32), X)
        np.testing.assert_array_equal(y.astype(np.float32), Y)
    notes = " ".join(open_dataset(path, targets=TARGETS).notes)
    named = form.startswith(("names of rows", "an index"))
    assert ("taken for the names of rows and left out" in notes) == named
    assert ("decimal comma" in notes) == form.startswith("decimal")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_compressed_tables_give_the_same_report(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "plain").write_text(written(quote='"'))
    (tmp_path / "packed").write_bytes(pack(written(quote='"').encode()))
    torch.manual_seed(0)
    net = mlp(3, 8, 2)
    for name in ("plain", "packed"):
        extract(net, tmp_path / name, tmp_path / f"{name}.h5", targets=TARGETS)
    found, expected = (report(tmp_path / f"{name}.h5") for name in ("packed", "plain"))
    assert [layer.metrics.values for layer in found.layers] == [
        layer.metrics.values for layer in expected.layers
    ]


def test_compressed_files_that_are_cut_or_hold_no_table(tmp_path: Path) -> None:
    packed = gzip.compress((written() + written(header=None) * 50).encode())
    (tmp_path / "t.csv.gz").write_bytes(packed[:-20])
    with pytest.raises(InputError, match="is damaged or cut short"):
        collect(tmp_path / "t.csv.gz", targets=TARGETS)
    (tmp_path / "n.gz").write_bytes(gzip.compress(b"nothing of that kind"))
    with pytest.raises(InputError, match="n.gz: is gzip-compressed"):
        open_dataset(tmp_path / "n.gz")


def test_an_archive_of_a_table_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.csv.zip", "w") as archive:
        archive.writestr("t.csv", written())
    with pytest.raises(InputError, match=r"a zip archive of t.csv, and no .npz .*; unpack it"):
        open_dataset(tmp_path / "t.csv.zip", targets=TARGETS)


def test_a_line_without_end_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nrcscan.inputs.datasets import text_lines

    monkeypatch.setattr(text_lines, "LONGEST_LINE", 100)
    (tmp_path / "t.csv").write_text("a,y\n" + "1," * 200)
    with pytest.raises(InputError, match="line 2 has more than 100 characters; write a table with"):
        collect(tmp_path / "t.csv")


@pytest.mark.parametrize("words", [("True", "False"), ("TRUE", "FALSE"), ("true", "false")])
@pytest.mark.parametrize("quote", ["", '"'])
def test_truth_is_one_and_zero(tmp_path: Path, words: tuple[str, str], quote: str) -> None:
    yes, no = (f"{quote}{word}{quote}" for word in words)
    (tmp_path / "t.csv").write_text(f"a,b,y\n{yes},1,2\n{no},0,{yes}\n")
    x, y = collect(tmp_path / "t.csv")
    assert (x.tolist(), y.tolist()) == ([[1, 1], [0, 0]], [[2], [1]])
    (tmp_path / "t.csv").write_text("a,y\nTru,1\n")
    with pytest.raises(InputError, match="column 'a' holds 'Tru' in line 2"):
        collect(tmp_path / "t.csv")


def test_truth_in_arrow(tmp_path: Path) -> None:
    table = pyarrow.table({"a": [True, False], "b": [0.5, 2], "y": [1.0, 2.0]})
    parquet.write_table(table, tmp_path / "t")
    assert collect(tmp_path / "t")[0].tolist() == [[1, 0.5], [0, 2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('"","a","y"\n"r",1,NA\n', "column 'y' holds 'NA' in line 2, .*; remove or impute such"),
        ("a,b,y\n1,2,3\n1,,3\n", "column 'b' holds an empty cell in line 3"),
        ('"a","y"\n"r",1,2\n"s",3\n', "line 3 has 2 cells, and there are 3 columns"),
        ("a;y\n1,5;2\n3;1.5\n", "holds '1,5' in line 2, not numbers; write numbers with a point"),
        (
            "a;y\n1;2\n" * 1 + "1,5;2\n" + "3;4\n" * 1000 + "5;6.5\n",
            "'6.5' in line 1004, .*; write all",
        ),
        ("a;y\n1.000,5;2\n", "holds '1.000,5' in line 2"),
        ("a,y\n1,2\n3,4,\n", "line 3 has 3 cells, and there are 2 columns"),
        ("a,y\n# 1,2\n", "holds no samples"),
        ("a,y\n1,2\n#N/A,3\n", "column 'a' holds '#N/A' in line 3, .*; remove or impute such"),
    ],
)
def test_cells_that_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        collect(tmp_path / "t.csv")


@given(
    cells=st.lists(
        st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2),
        min_size=1,
        max_size=9,
    ),
    quote=st.sampled_from(["", '"']),
    named=st.booleans(),
    delimiter=st.sampled_from([",", ";", "\t"]),
)
def test_numbers_come_back_as_they_were_written(
    cells: list[list[float]], quote: str, named: bool, delimiter: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "round.csv"
    start = [f'"{i}"{delimiter}' if named else "" for i in range(len(cells))]
    rows = [
        begin + delimiter.join(f"{quote}{value!r}{quote}" for value in row)
        for begin, row in zip(start, cells, strict=True)
    ]
    path.write_text("\n".join([f'"a"{delimiter}"y"', *rows]))
    x, y = collect(path, 4)
    assert np.hstack([x, y]).tolist() == cells
