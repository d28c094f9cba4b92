"""One network on two sets of samples: both verdicts, and every gap with its error bar."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import pytest
from conftest import FIXTURES, Run

from nrcscan import InputError, UsageError, against, extract, report
from nrcscan.comparing.against_table import render
from nrcscan.metrics.quantities import QUANTITIES

SWIMMER = FIXTURES / "swimmer"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("against")
    wanted = {
        "train": ("wd0.01/epoch_600.pt", {"limit": 500}),
        "test": ("wd0.01/epoch_600.pt", {"offset": 500}),
        "both": ("wd0.01/epoch_600.pt", {}),
        "bare": ("wd0.01/epoch_600.pt", {"offset": 500, "blocks": 0}),
        "other": ("wd0/epoch_600.pt", {"offset": 500}),
        "part": ("wd0.01/epoch_600.pt", {"offset": 500, "exclude": ["layers.14"]}),
    }
    for name, (model, options) in wanted.items():
        extract(
            SWIMMER / model,
            SWIMMER / "data.npz",
            folder / f"{name}.h5",
            activations=False,
            activation="relu",
            **options,  # type: ignore[arg-type]
        )
    return {name: folder / f"{name}.h5" for name in wanted}


def test_a_gap_is_the_difference_of_two_reports(files: dict[str, Path]) -> None:
    found = against(files["train"], files["test"])
    train, test = report(files["train"]), report(files["test"])
    assert found.train.verdict == train.verdict
    assert found.test.verdict == test.verdict
    for (layer, gaps), ours, theirs in zip(found.layers(), train.layers, test.layers, strict=True):
        a, b = ours.metrics, theirs.metrics
        assert layer.name == ours.name
        assert gaps.keys() == {q for q in QUANTITIES if q in a.values and q in b.values}
        for quantity, gap in gaps.items():
            assert gap.value == b.values[quantity] - a.values[quantity]
            errors = [m.standard_errors.get(quantity) for m in (a, b)]
            if None in errors:
                assert gap.standard_error is None
            else:
                assert gap.standard_error == math.hypot(*map(float, errors))  # type: ignore[arg-type]
    assert train.mse_error is not None
    assert test.mse_error is not None
    assert found.model["mse"].standard_error == math.hypot(train.mse_error, test.mse_error)
    assert not found.notes


def test_k_is_that_of_the_first(files: dict[str, Path]) -> None:
    found = against(files["train"], files["test"], signal_dim="auto")
    assert found.test.signal_dim == found.train.signal_dim
    assert found.test.signal_dim_source == found.train.signal_dim_source == "auto"


def test_without_error_bars_a_gap_has_none(files: dict[str, Path]) -> None:
    found = against(files["train"], files["bare"])
    assert all(gap.standard_error is None for _, gaps in found.layers() for gap in gaps.values())
    assert "±" not in render(found, "table").split("\n\n")[1]


def test_samples_that_both_have_are_told(files: dict[str, Path]) -> None:
    (note,) = against(files["train"], files["both"]).notes
    assert note == "the two files share samples: the gap is smaller than that to new samples"


def test_two_checkpoints_are_told(files: dict[str, Path]) -> None:
    (note,) = against(files["train"], files["other"]).notes
    assert "different checkpoints" in note


def test_what_cannot_be_put_side_by_side(files: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"is the file itself; give that of other samples"):
        against(files["train"], files["train"])
    with pytest.raises(InputError, match=r"another network \(layers.14 .*; measure the same one"):
        against(files["train"], files["part"])


def test_every_format_shows_both_verdicts_and_the_gaps(files: dict[str, Path]) -> None:
    found = against(files["train"], files["test"])
    document = json.loads(render(found, "json"))
    assert document["schema"] == "nrcscan.against/1"
    assert document["train"]["verdict"]["text"] == found.train.verdict.text
    gap = document["layers"][1]["gaps"]["noise_component"]
    assert gap["gap"] == gap["test"] - gap["train"]
    rows = list(csv.DictReader(io.StringIO(render(found, "csv"))))
    assert {row["name"] for row in rows} == {layer.name for layer in found.train.layers}
    assert float(rows[0]["gap"]) == float(rows[0]["test"]) - float(rows[0]["train"])
    for form in ("table", "md"):
        text = render(found, form)
        for side in (found.train, found.test):
            assert side.verdict.text[:30] in text
        assert "500 and 300 samples" in text


def test_the_command(cli: Run, files: dict[str, Path], tmp_path: Path) -> None:
    found = against(files["train"], files["test"])
    done = cli("report", files["train"], "--against", files["test"])
    assert (done.returncode, done.stdout) == (0, render(found, "table"))
    done = cli(
        "report", files["train"], "--against", files["test"], "--format", "json", "-o", "o.json"
    )
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads((tmp_path / "o.json").read_text()) == found.to_dict()
    for flag in ("--errors", "--chance"):
        done = cli("report", files["train"], "--against", files["test"], flag)
        assert done.returncode == 2
        assert f"{flag} has no effect with --against; leave it out" in done.stderr
    done = cli("report", files["train"], "--against", "missing.h5")
    assert done.returncode == 3
    assert "missing.h5" in done.stderr
