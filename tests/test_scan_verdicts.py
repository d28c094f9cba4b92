"""A scan that is judged: rules, gates, baselines and the files that CI reads, through the CLI."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import FIXTURES, Run

import nrcscan

pytestmark = pytest.mark.usefixtures("workers_here")
SWIMMER = FIXTURES / "swimmer"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One output folder for all, so that only the first scan measures."""
    return tmp_path_factory.mktemp("verdicts") / "scan"


def scanned(cli: Run, output: Path, *args: object, **options: object) -> tuple[int, str, str]:
    done = cli("scan", SWIMMER, SWIMMER / "data.npz", "-o", output, "-j", 1, *args, **options)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_rules_decide_the_exit_code(cli: Run, output: Path) -> None:
    code, shown, notes = scanned(cli, output, "--require", "model.mse <= 1.001")
    assert (code, "rule" in shown) == (0, False)
    assert "note: 3 verdicts: 3 hold, 0 fail" in notes
    code, shown, notes = scanned(cli, output, "--require", "onset.all <= layers.10")
    assert code == 1
    assert "7 of 7 checkpoints are as they were at the last scan" in notes
    open_ = "✗ wd0/epoch_600.pt: onset.all is not known: UNDECIDED: all four conditions"
    assert open_ in shown
    assert "✗ wd0.05/epoch_100.pt: onset.all = never, not <= layers.10 (5th)" in shown
    assert "✓" not in shown.split("rule onset.all")[1]
    code, shown, _ = scanned(cli, output, "--require", "onset.all <= layers.10", "--explain")
    assert "✓ wd0.01/epoch_600.pt: onset.all = layers.6 (3rd) <= layers.10 (5th)" in shown
    code, _, notes = scanned(cli, output, "--require", "model.r2 >= 0", "--gate", "all")
    assert (code, "7 verdicts: 7 hold" in notes) == (0, True)


def test_what_is_wrong_with_a_rule_is_said_before_any_work(cli: Run, tmp_path: Path) -> None:
    code, shown, notes = scanned(cli, tmp_path / "new", "--require", "model.r2 >> 0.8")
    assert (code, shown) == (2, "")
    assert notes.count("\n") == 1
    assert "--require 'model.r2 >> 0.8': unexpected at character 11" in notes
    assert not (tmp_path / "new").exists()


def test_files_for_ci(cli: Run, output: Path, tmp_path: Path) -> None:
    junit, summary = tmp_path / "nrcscan.xml", tmp_path / "summary.md"
    environment = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(summary)}
    rule = "layers[-1].noise_component < 0.01"
    code, shown, notes = scanned(
        cli, output, "--require", rule, "--junit", junit, "--format", "json", env=environment
    )
    assert code == 1
    assert json.loads(shown) == json.loads((output / "scan.json").read_text())
    assert "::error " in notes
    assert ElementTree.parse(junit).getroot().get("failures") == "2"
    assert r"wd0/epoch\_600.pt" in summary.read_text()


def unmarked(text: str) -> str:
    """Return text without Markdown's escapes."""
    return re.sub(r"\\([\\`*_<>\[\]|~&@#])", r"\1", text)


def test_everything_shows_the_verdict_of_the_report(cli: Run, output: Path, tmp_path: Path) -> None:
    junit, summary = tmp_path / "nrcscan.xml", tmp_path / "summary.md"
    environment = {"GITHUB_STEP_SUMMARY": str(summary)}
    _, shown, _ = scanned(
        cli, output, "--require", "model.learned", "--junit", junit, env=environment
    )
    checkpoints = json.loads((output / "scan.json").read_text())["checkpoints"]
    of_junit = {
        case.get("classname"): case.findtext("system-out")
        for case in ElementTree.parse(junit).getroot().iter("testcase")
        if case.get("name") == "can be used"
    }
    of_github = [unmarked(line) for line in summary.read_text().splitlines()]
    compared = cli("compare", output, "--format", "json")
    of_compare = [run["verdict"]["text"] for run in json.loads(compared.stdout)["runs"]]
    texts = []
    for checkpoint in checkpoints:
        statistics = output / checkpoint["statistics"]
        whole = nrcscan.report(statistics)
        text = whole.verdict.text
        assert checkpoint["verdict"] == whole.verdict.to_dict()
        for form in ("table", "md"):
            said = cli("report", statistics, "--format", form).stdout.splitlines()[0]
            assert (said if form == "table" else unmarked(said).strip("*")) == text
        assert of_junit[checkpoint["path"]] == text
        assert any(f"| {checkpoint['path']} |" in row and f"| {text} |" in row for row in of_github)
        texts.append(text)
    newest = [f"epoch_{epoch}.pt: {text}" for epoch, text in of_newest(checkpoints, texts)]
    assert len(newest) == len(of_compare) == 3
    for line, text in zip(newest, of_compare, strict=True):
        assert line.endswith(text)
        if "LEARNED NOTHING" in text:  # a run that learns nothing is a line
            line = "wd0.05: learned nothing at epoch 100 (R² 0.000; inferred, and doubtful)"
        assert line in " ".join(shown.split())


def of_newest(checkpoints: list[Any], texts: list[str]) -> list[tuple[int, str]]:
    """Return epoch and verdict of every run's newest checkpoint."""
    both = zip(checkpoints, texts, strict=True)
    return list({c["run"]: (c["epoch"], text) for c, text in both}.values())


def test_a_gate_fails_on_what_is_not_known_and_says_why(cli: Run, tmp_path: Path) -> None:
    """Leaving out the predictions makes no network collapsed."""
    (tmp_path / "runs").mkdir()
    shutil.copy(SWIMMER / "wd0.01" / "epoch_600.pt", tmp_path / "runs")
    rule = ("--require", "onset.all <= layers.12")
    done = cli("scan", "runs", SWIMMER / "data.npz", "--no-predictions", *rule)
    assert done.returncode == 1, done.stderr
    assert "✗ epoch_600.pt: onset.all is not known: CANNOT BE JUDGED: no predictions" in done.stdout


def test_no_worse_than_last_time(cli: Run, output: Path, tmp_path: Path) -> None:
    scanned(cli, output)
    earlier = json.loads((output / "scan.json").read_text())
    baseline = tmp_path / "earlier.json"
    baseline.write_text(json.dumps(earlier))
    assert scanned(cli, output, "--baseline", baseline)[0] == 0
    for checkpoint in earlier["checkpoints"]:
        checkpoint["model"]["r2"] += 0.02
    baseline.write_text(json.dumps(earlier))
    code, shown, _ = scanned(cli, output, "--baseline", baseline)
    assert (code, "r2" in shown.lower() or "R²" in shown) == (1, True)
    assert scanned(cli, output, "--baseline", baseline, "--tolerance", 0.03)[0] == 0


def test_rules_stand_in_a_file(cli: Run, output: Path, tmp_path: Path) -> None:
    (tmp_path / "nrcscan.toml").write_text('require = ["model.r2 >= 0.9"]\ngate = "all"\n')
    code, shown, notes = scanned(cli, output, cwd=tmp_path)
    assert code == 1
    assert "7 verdicts: 2 hold, 5 fail" in notes
    assert "rule model.r2 >= 0.9" in shown
