"""One part of the data, as scikit-learn's train_test_split cuts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, mlp, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nrcscan import UsageError, extract, report
from nrcscan.acts_file.reading import open_acts
from nrcscan.inputs.datasets.open_dataset import open_dataset
from nrcscan.inputs.datasets.split import Split, part_of

# What train_test_split of scikit-learn 1.9.1 gives of np.arange(n), sorted.
SCIKIT = [
    ("train=0.8,seed=42", 10, [0, 2, 3, 4, 5, 6, 7, 9], [1, 8]),
    ("test=0.25,seed=0", 10, [0, 1, 3, 5, 6, 7, 9], [2, 4, 8]),
    ("train=0.5,test=0.25,seed=42", 10, [0, 2, 4, 7, 9], [1, 5, 8]),
    ("test=1,seed=0", 3, [0, 1], [2]),
    ("train=3,test=2,seed=0", 10, [1, 4, 9], [2, 8]),
    ("test=0.34,shuffle=no", 10, [0, 1, 2, 3, 4, 5], [6, 7, 8, 9]),
]


@pytest.mark.parametrize(("words", "n", "train", "test"), SCIKIT)
def test_parts_are_those_of_scikit_learn(
    words: str, n: int, train: list[int], test: list[int]
) -> None:
    for part, wanted in (("train", train), ("test", test)):
        assert np.flatnonzero(Split.parse(f"{words},part={part}").rows(n)).tolist() == wanted


@settings(suppress_health_check=[HealthCheck.too_slow])  # of a busy machine
@given(
    n=st.integers(2, 400),
    thousandths=st.integers(10, 990),
    seed=st.integers(0, 2**32 - 1),
    batch_size=st.integers(1, 50),
)
def test_the_parts_together_are_the_data(
    n: int, thousandths: int, seed: int, batch_size: int
) -> None:
    share = thousandths / 1000
    data = open_dataset((np.arange(n), np.arange(n) * 2.0))
    seen: list[int] = []
    try:
        parts = [Split.parse(f"train={share},seed={seed},part={p}") for p in ("train", "test")]
        both = [part_of(data, split) for split in parts]
    except UsageError:
        assert share * n < 1
        return
    for part in both:
        rows = [x for batch, _ in part.batches(batch_size) for x in np.asarray(batch).tolist()]
        sizes = [len(y) for _, y in part.batches(batch_size)]
        assert rows == sorted(rows)
        assert len(rows) == part.n_samples
        assert all(size == batch_size for size in sizes[:-1])
        seen += rows
    assert sorted(seen) == list(range(n))


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    monkeypatch.chdir(tmp_path)
    x, y = samples(300, 5, 2)
    torch.save(mlp(5, 8, 2).state_dict(), "model.pt")
    np.savez("data.npz", X=x, y=y)
    rows = [",".join(map(repr, row)) for row in np.hstack([x, y]).astype(float).tolist()]
    Path("data.csv").write_text("\n".join(["a,b,c,d,e,u,v", *rows]))
    return x, y


@pytest.mark.parametrize("data", ["data.npz", "data.csv"])
def test_a_part_gives_the_numbers_of_its_samples_alone(trained: tuple[Any, Any], data: str) -> None:
    x, y = trained
    chosen = Split.parse("train=0.8,seed=42,part=test").rows(len(y))
    options: dict[str, Any] = {"targets": ["u", "v"]} if data == "data.csv" else {}
    done = extract("model.pt", data, "a.h5", split="train=0.8,seed=42,part=test", **options)
    extract("model.pt", (x[chosen], y[chosen]), "b.h5")
    assert done.n_samples == 60
    layers = [[layer.metrics for layer in report(name).layers] for name in ("a.h5", "b.h5")]
    assert layers[0] == layers[1]
    with open_acts(Path("a.h5")) as acts:
        told = acts.provenance["data"]["split"]
    assert told == {"part": "test", "train": "0.8", "seed": 42, "of": 300}


def test_the_scale_of_a_split_is_that_of_its_training_part(trained: tuple[Any, Any]) -> None:
    x, y = trained
    train = Split.parse("train=0.8,seed=42,part=train").rows(len(y))
    split = "train=0.8,seed=42"
    extract("model.pt", "data.npz", "a.h5", split=f"{split},part=test", standardize=["x"])
    exact = x.astype(float)
    extract(
        "model.pt",
        ((exact - exact[train].mean(0)) / exact[train].std(0), y),
        "b.h5",
        split=f"{split},part=test",
    )
    # The scales agree to n·u = 240 · 1.1e-16; an input at the edge of two float32 numbers may
    # fall on either side, and moves a share of 6e-8 of one sample.
    for one, other in zip(report("a.h5").layers, report("b.h5").layers, strict=True):
        assert one.metrics.values["cka"] == pytest.approx(other.metrics.values["cka"], rel=1e-6)
    with open_acts(Path("a.h5")) as acts:
        assert acts.provenance["data"]["standardized"]["statistics"] == "the training part"


@pytest.mark.usefixtures("workers_here")
def test_a_scan_takes_a_part(cli: Run, trained: tuple[Any, Any]) -> None:
    Path("runs").mkdir()
    Path("model.pt").rename("runs/model.pt")
    done = cli("scan", "runs", "data.npz", "-o", "s", "--split", "test=0.25,seed=1,part=test")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(Path("s/scan.json").read_text())["checkpoints"]
    assert row["n_samples"] == 75


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("0.8", "'0.8' is none of train=…, test=…, seed=…, part=… and shuffle=…; write it as"),
        ("train=0.8,seed=1", "part=… is not train or test; write it as train=0.8,seed=42,part"),
        ("seed=1,part=test", "neither train=… nor test=… says how large a part is"),
        ("train=0.8,part=test", "a shuffled split has a seed=…, and one with shuffle=no has none"),
        ("train=0.8,seed=1,shuffle=no,part=test", "a shuffled split has a seed=…, and one with"),
        ("train=0.8,shuffle=maybe,part=test", "shuffle=maybe is not yes or no"),
        (f"train=0.8,seed={'9' * 5000},part=test", "seed has more than 100 letters; write it as"),
        ("train=0.8,seed=-1,part=test", "seed=-1 is not a whole number from 0 to 4294967295"),
        ("train=1.5,seed=1,part=test", "train=1.5 is neither a share below 1 nor a number of"),
        ("train=0.8,train=0.7,seed=1,part=test", "train is given twice"),
        ("train=0.9,test=0.9,seed=1,part=test", "300 samples cannot be cut into 270 for training"),
        ("train=300,seed=1,part=test", "nothing of 300 samples is left for testing; give a small"),
    ],
)
def test_a_split_that_is_none_is_told(trained: tuple[Any, Any], split: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        extract("model.pt", "data.npz", "a.h5", split=split)
    assert str(error.value).startswith("--split")
    assert message in str(error.value)
    assert not Path("a.h5").exists()


def test_data_that_can_be_read_once_is_not_split(trained: tuple[Any, Any]) -> None:
    x, y = trained
    with pytest.raises(UsageError, match="can be read only once, and --split shuffles by the num"):
        extract("model.pt", iter([(x, y)]), "a.h5", split="train=0.8,seed=1,part=test")
