"""The smallest and the best cut of every checkpoint of a scan."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FIXTURES, ROOT, Run, samples
from jsonschema import Draft202012Validator

import nrcscan
from nrcscan import InputError
from nrcscan.scanning.cuts_in_scan import CHOSEN, OF_CUT, in_csv
from nrcscan.scanning.read_scan import read_scan
from nrcscan.scanning.scan_schema import scan_schema

pytestmark = pytest.mark.usefixtures("workers_here")
SWIMMER = FIXTURES / "swimmer"
OPTIONS: dict[str, Any] = {"patterns": ["epoch_600.pt", "epoch_100.pt"], "jobs": 1}

RESIDUAL = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)
    def forward(self, x):
        x = torch.relu(self.stem(x))
        return self.head(torch.relu(x + self.two(torch.relu(self.one(x)))))
"""


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One output folder for all, so that only the first scan measures."""
    return tmp_path_factory.mktemp("cuts") / "scan"


def scanned(output: Path, **options: Any) -> nrcscan.Scan:
    return nrcscan.scan(SWIMMER / "wd0.01", SWIMMER / "data.npz", output, **OPTIONS, **options)


def document(output: Path) -> Any:
    return json.loads((output / "scan.json").read_text())


def shown(cli: Run, output: Path, *words: str) -> str:
    given = (
        SWIMMER / "wd0.01",
        SWIMMER / "data.npz",
        "-o",
        output,
        "--pattern",
        "*00.pt",
        "-j",
        "1",
        *words,
    )
    done = cli("scan", *given)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_scan_says_of_cuts_what_cut_says(output: Path) -> None:
    found, within = scanned(output, cuts=True, within=0.1), 0.1
    Draft202012Validator(scan_schema()).validate(document(output))
    for checkpoint in found.checkpoints:
        assert checkpoint.result is not None
        told = checkpoint.result["cuts"]
        cuts = nrcscan.cut(output / str(checkpoint.statistics), within=within)
        alone = cuts.to_dict()
        assert told["text"] == alone["text"]
        assert told["within"] == within
        assert told["model"].items() <= alone["model"].items()
        of_layer = {cut["layer"]: cut for cut in alone["cuts"]}
        smallest = told["smallest"] and told["smallest"]["layer"]
        assert smallest == alone["smallest"]
        for which in CHOSEN:
            assert told[which].items() <= of_layer[told[which]["layer"]].items()
            assert set(told[which]) == set(OF_CUT)
        least = min(c["held_out"]["value"] for c in alone["cuts"] if not c["inputs"])
        assert told["best"]["held_out"]["value"] == least


def test_cuts_need_no_new_pass_and_are_there_on_request_alone(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scanned(output, cuts=True)
    assert scanned(output, cuts=True).n_known == len(first.checkpoints)
    before = (output / "scan.json").read_text()
    files = {path: path.stat().st_mtime_ns for path in (output / "statistics").glob("*.h5")}
    scanned(output)
    assert "cuts" not in document(output)["checkpoints"][0]
    assert "_cut_" not in (output / "scan.csv").read_text().partition("\n")[0]
    scanned(output, cuts=True, within=0.2)
    scanned(output, cuts=True)
    assert (output / "scan.json").read_text() == before
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_every_face_shows_cuts(output: Path, cli: Run, tmp_path: Path) -> None:
    found = scanned(output, cuts=True)
    newest = found.checkpoints[-1].result
    assert newest is not None
    table = shown(cli, output, "--cuts")
    assert "epoch_600.pt the inputs" in table
    assert "layers.4     17.7% 0.0297±0.002" in table
    assert "smallest: surely within 5% of the network's MSE" in " ".join(table.split())
    assert "wd0.01, cuts: THE LAST 6 LAYERS COST ACCURACY: a linear head on what" in table
    assert max(map(len, table.split("\n\n")[3].splitlines())) <= 80
    assert "cut before" not in shown(cli, output)
    scanned(output, cuts=True)
    rows = list(csv.DictReader(io.StringIO((output / "scan.csv").read_text())))
    assert rows[-1]["best_cut_layer"] == newest["cuts"]["best"]["layer"]
    assert float(rows[-1]["best_cut_mse"]) == newest["cuts"]["best"]["held_out"]["value"]
    page = tmp_path / "page.html"
    assert cli("page", output, "-o", page).returncode == 0
    assert "THE LAST 6 LAYERS COST ACCURACY" in page.read_text()
    assert "THE LAST 6 LAYERS COST ACCURACY" in found._repr_html_()


def test_every_field_of_cuts_is_documented(output: Path) -> None:
    told = scanned(output, cuts=True).checkpoints[0].result
    assert told is not None
    page = (ROOT / "docs" / "scan.md").read_text()
    for name in (*told["cuts"], *OF_CUT):
        assert f"`{name}`" in page, name
    for name in in_csv(told["cuts"]):
        assert f"`{name.replace('best_', 'smallest_')}`" in page, name


def test_a_tolerance_without_cuts_is_refused(cli: Run, tmp_path: Path) -> None:
    done = cli("scan", SWIMMER, SWIMMER / "data.npz", "-o", tmp_path / "new", "--within", "10%")
    assert done.returncode == 2
    assert "--within has no effect without --cuts; give both, or neither" in done.stderr
    assert not (tmp_path / "new").exists()


@pytest.fixture
def residual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "net.py").write_text(RESIDUAL)
    monkeypatch.syspath_prepend(tmp_path)
    x, y = samples(200, 5, 2)
    np.savez(tmp_path / "data.npz", X=x, y=y)
    (tmp_path / "runs").mkdir()
    space: dict[str, Any] = {}
    exec(RESIDUAL, space)
    torch.save(space["Net"]().state_dict(), tmp_path / "runs" / "a.pt")
    return tmp_path


def test_no_cut_is_within_a_branch(residual: Path) -> None:
    named = f"{residual / 'net.py'}:Net"
    options: dict[str, Any] = {"factory": named, "cuts": True, "within": 1.0, "jobs": 1}
    found = nrcscan.scan(residual / "runs", residual / "data.npz", residual / "scan", **options)
    told = found.checkpoints[0].result
    assert told is not None
    every = nrcscan.cut(residual / "scan" / str(found.checkpoints[0].statistics), within=1.0)
    assert [cut.layer for cut in every.cuts if cut.refused] == ["two"]
    assert told["cuts"]["best"]["layer"] in ("one", "head")
    assert told["cuts"]["model"]["weights"] == 5 * 8 + 2 * 8 * 8 + 2 * 8


def test_cuts_that_cannot_be_judged_are_none(cli: Run, residual: Path) -> None:
    words = ("--model", f"{residual / 'net.py'}:Net", "--cuts", "-j", "1", "-o", residual / "scan")
    given = (residual / "runs", residual / "data.npz", *words)
    done = cli("scan", *given, "--no-predictions")
    assert done.returncode == 0, done.stderr
    told = document(residual / "scan")["checkpoints"][0]["cuts"]
    Draft202012Validator(scan_schema()).validate(document(residual / "scan"))
    assert (told["smallest"], told["model"]["held_out"]) == (None, None)
    assert told["best"]["change"] is None
    assert "cuts: CANNOT BE JUDGED: the network makes no predictions" in done.stdout
    assert " none " in done.stdout
    done = cli("scan", *given, "--sketch", "4")
    told = document(residual / "scan")["checkpoints"][0]["cuts"]
    assert (told["smallest"], told["best"]) == (None, None)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told.pop("text"),
        lambda told: told.update(within="5%"),
        lambda told: told["model"].update(weights=True),
        lambda told: told["smallest"].update(layer=3),
        lambda told: told["smallest"]["held_out"].update(value="small"),
        lambda told: told["best"].pop("held_out"),
        lambda told: told.update(best=[]),
    ],
)
def test_damaged_cuts_are_one_message(
    output: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], object]
) -> None:
    scanned(output, cuts=True)
    assert read_scan(output)["checkpoints"] == document(output)["checkpoints"]
    whole = document(output)
    spoil(whole["checkpoints"][0]["cuts"])
    (tmp_path / "scan.json").write_text(json.dumps(whole))
    with pytest.raises(InputError, match="damaged"):
        read_scan(tmp_path / "scan.json")
