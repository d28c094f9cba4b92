"""Which checkpoint is the newest: the same to the table, the gate, the baseline and compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, mlp, samples

import nrcscan
from nrcscan.gating.baseline import read_baseline
from nrcscan.gating.judge import judge
from nrcscan.gating.rules.parsing import parse
from nrcscan.scanning.newest import newest
from nrcscan.scanning.scan_table import movements

pytestmark = pytest.mark.usefixtures("workers_here")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x, y = samples(100, 5, 2)
    np.savez(tmp_path / "data.npz", X=x, y=y)
    return tmp_path / "data.npz"


def save(path: Path, seed: int, **more: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": mlp(5, 16, 16, 2, seed=seed).state_dict(), **more}, path)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ({"epoch": 1}, {"epoch": 600}),
        ({"global_step": 900}, {"global_step": 1000}),
        ({"epoch": 3, "step": 20}, {"epoch": 3, "step": 100}),
        ({}, {"epoch": 0}),  # what tells no time is not known to be newer
    ],
)
def test_four_askers_have_one_answer(
    data: Path, tmp_path: Path, first: dict[str, int], last: dict[str, int]
) -> None:
    for run in ("a", "b"):
        save(tmp_path / "runs" / run / "final.pt", seed=1, **last)
        save(tmp_path / "runs" / run / "first.pt", seed=2, **first)
    found = nrcscan.scan(tmp_path / "runs", data, tmp_path / "out", jobs=1)
    assert {c["path"] for c in newest(found.to_dict()["checkpoints"]).values()} == {
        "a/final.pt",
        "b/final.pt",
    }
    judged = [r.path for r in judge(found.to_dict(), [parse("model.r2 > 2")]) if r.passed is False]
    assert judged == ["a/final.pt", "b/final.pt"]
    baseline = read_baseline(tmp_path / "out" / "scan.json")
    assert {run: c.path for run, c in baseline.newest.items()} == {
        "a": "a/final.pt",
        "b": "b/final.pt",
    }
    compared = nrcscan.compare([tmp_path / "out"])
    assert [run.path.rpartition(" ")[2] for run in compared.runs] == ["a/final.pt", "b/final.pt"]
    moved, verdict, *others = movements(found)
    assert moved.startswith("a: ")
    assert moved.endswith(f" {last.get('epoch', last.get('global_step'))}")
    newest_of_a = {c.path: c for c in found.checkpoints}["a/final.pt"].result
    assert newest_of_a is not None
    assert verdict == f"a, final.pt: {newest_of_a['verdict']['text']}"
    assert [line.replace("b", "a", 1) for line in others] == [moved, verdict]


def test_names_and_keys_that_disagree_are_both_shown(data: Path, tmp_path: Path, cli: Run) -> None:
    save(tmp_path / "runs" / "epoch_600.pt", seed=1, epoch=599)
    save(tmp_path / "runs" / "epoch_1-step_9.pt", seed=2, epoch=1, step=10)
    save(tmp_path / "runs" / "last.pt", seed=3, epoch=7)
    done = cli("scan", "runs", "data.npz")
    assert done.returncode == 0, done.stderr
    assert " 599 (name: 600) " in done.stdout
    assert done.stdout.count("(name:") == 1
    content = json.loads((tmp_path / "scan" / "scan.json").read_text())
    rows: dict[str, Any] = {row["path"]: row for row in content["checkpoints"]}
    assert (rows["epoch_600.pt"]["epoch"], rows["epoch_600.pt"]["named_epoch"]) == (599, 600)
    assert (rows["epoch_1-step_9.pt"]["step"], rows["epoch_1-step_9.pt"]["named_step"]) == (10, 9)
    assert "named_epoch" not in rows["epoch_1-step_9.pt"]
    assert not {"named_epoch", "named_step"} & set(rows["last.pt"])
    assert content["schema"] == "nrcscan.scan/2"
    again = cli("scan", "runs", "data.npz")
    assert " 599 (name: 600) " in again.stdout
