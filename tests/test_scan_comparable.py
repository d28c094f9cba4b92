"""Scans that were made of other data or otherwise: noted by compare, refused as a baseline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, mlp, samples

import nrcscan

pytestmark = pytest.mark.usefixtures("workers_here")


@pytest.fixture
def made(tmp_path: Path) -> Path:
    for n, seed in ((80, 0), (50, 1), (80, 2)):
        x, y = samples(n, 5, 2, seed=seed)
        np.savez(tmp_path / f"data{n}-{seed}.npz", X=x, y=y)
    for run in ("a", "b"):
        (tmp_path / "runs" / run).mkdir(parents=True)
        torch.save(mlp(5, 16, 2).state_dict(), tmp_path / "runs" / run / "1.pt")
    nrcscan.scan(tmp_path / "runs", tmp_path / "data80-0.npz", tmp_path / "first", jobs=1)
    return tmp_path


CASES: list[tuple[list[Any], list[str], str]] = [
    (
        ["data50-1.npz", "--signal-dim", 1],
        ["k differs: 2 in ", "the number of samples differs: 80 in ", "on different data"],
        "the data differs (by its SHA-256), the number of samples differs (50, and 80 there) and k"
        " differs (1, and 2 there)",
    ),
    (["data80-2.npz"], ["on different data"], "the data differs (by its SHA-256)"),
    (
        ["data80-0.npz", "--limit", 60],
        ["the number of samples differs"],
        "the number of samples differs (60, and 80 there)",
    ),
    (
        ["data80-0.npz", "--convention", "published"],
        ["convention differs: default in "],
        "the convention differs (published, and default there)",
    ),
    (
        ["data80-0.npz", "--standardize", "x"],
        [],
        "what is read from the data differs (standardize)",
    ),
]


@pytest.mark.parametrize(("options", "notes", "refusal"), CASES)
def test_unlike_scans(
    made: Path, cli: Run, options: list[Any], notes: list[str], refusal: str
) -> None:
    argv = ("scan", "runs", *options, "-o", "second", "-j", 1)
    done = cli(*argv, "--baseline", "first/scan.json")
    assert done.returncode == 3
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [
        "error: --baseline first/scan.json: cannot be compared with this scan: "
        f"{refusal}; scan the baseline's checkpoints again with the same data and options"
    ]
    found = nrcscan.compare([made / "first", made / "second"])
    for note in notes:
        assert any(note in told for told in found.notes), found.notes
    assert len({told for told in found.notes if "differs:" in told}) <= len(notes)


def test_like_scans_are_compared(made: Path, cli: Run) -> None:
    done = cli("scan", "runs", "data80-0.npz", "-o", "again", "--baseline", "first")
    assert done.returncode == 0, done.stderr
    assert "6 verdicts: 6 hold" in done.stderr
    assert not [n for n in nrcscan.compare([made / "first"]).notes if "differ" in n]
    row = json.loads((made / "again" / "scan.json").read_text())["checkpoints"][0]
    assert (row["n_samples"], row["signal_dim"], row["data"]["rows"]) == (80, 2, [0, 80])


def test_other_thresholds_are_a_note(made: Path, cli: Run) -> None:
    argv = ("scan", "runs", "data80-0.npz", "-o", "again", "--baseline", "first/scan.json")
    done = cli(*argv, "--noise-max", 0.9, "--explain")
    assert done.returncode == 0, done.stderr
    why = "thresholds differ from the baseline's: noise_max (0.9, and 0.2 there)"
    assert f"note: onsets are not compared: {why}" in done.stderr
    assert f"2 not judged: {why}" in done.stdout
    told = nrcscan.compare([made / "first", made / "again"]).notes
    assert any(note.startswith("noise_max differs: 0.2 in ") for note in told)


def test_a_file_and_a_scan_of_the_same_data(made: Path) -> None:
    nrcscan.extract(made / "runs" / "a" / "1.pt", made / "data80-0.npz", made / "same.h5")
    nrcscan.extract(made / "runs" / "a" / "1.pt", made / "data80-2.npz", made / "other.h5")

    def unlike(name: str) -> bool:
        notes = nrcscan.compare([made / name, made / "first"]).notes
        return any("different data" in note for note in notes)

    assert (unlike("same.h5"), unlike("other.h5")) == (False, True)


def test_a_scan_that_says_nothing_of_it_is_taken_as_it_is(made: Path, cli: Run) -> None:
    old = json.loads((made / "first" / "scan.json").read_text())
    del old["provenance"]
    for row in old["checkpoints"]:
        for name in ("n_samples", "signal_dim", "data"):
            del row[name]
    (made / "old.json").write_text(json.dumps(old))
    done = cli("scan", "runs", "data50-1.npz", "-o", "new", "--baseline", "old.json")
    assert "cannot be compared" not in done.stderr
