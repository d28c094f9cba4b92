"""A scan that is judged: rules, gates, baselines and the files that CI reads, through the CLI."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import FIXTURES, Run

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
    assert "✗ wd0/epoch_600.pt: onset.all = layers.14 (8th), not <= layers.10 (6th)" in shown
    assert "✓" not in shown.split("rule onset.all")[1]
    code, shown, _ = scanned(cli, output, "--require", "onset.all <= layers.10", "--explain")
    assert "✓ wd0.01/epoch_600.pt: onset.all = layers.4 (3rd) <= layers.10 (6th)" in shown
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
