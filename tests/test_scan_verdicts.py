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
    assert "note: rules from nrcscan.toml\n" in notes


def test_a_scan_takes_its_settings_from_the_project_around(cli: Run, tmp_path: Path) -> None:
    shutil.copytree(SWIMMER / "wd0.01", tmp_path / "runs")
    shutil.copy(SWIMMER / "data.npz", tmp_path / "d.npz")
    (tmp_path / "pyproject.toml").write_text(
        "[tool.nrcscan]\n"
        "require = ['onset.all <= layers[-2]']\n"
        "data = 'd.npz'\n"
        "pattern = ['epoch_600.pt']\n"
        "limit = 300\n"
        "noise-max = 0.15\n"
    )
    (tmp_path / "src").mkdir()
    done = cli("scan", "../runs", "-j", 1, "--limit", 400, cwd=tmp_path / "src")
    assert done.returncode == 0, done.stderr
    where = f"{tmp_path / 'pyproject.toml'} [tool.nrcscan]"
    assert f"note: settings from {where}: data, pattern and noise-max\n" in done.stderr
    assert f"note: rules from {where}\n" in done.stderr
    told = json.loads((tmp_path / "src" / "scan" / "scan.json").read_text())
    assert [checkpoint["n_samples"] for checkpoint in told["checkpoints"]] == [400]
    assert told["provenance"]["report"]["thresholds"]["noise_max"] == 0.15


def test_without_rules_that_is_said(cli: Run, output: Path) -> None:
    code, _, notes = scanned(cli, output)
    assert (code, "note: no rules: nothing is judged, see --require\n" in notes) == (0, True)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--explain"], "--explain has no effect without rules; give rules, or leave it out"),
        (["--gate", "newest"], "--gate has no effect without rules; "),
        (["--tolerance", "0"], "--tolerance has no effect without --baseline; "),
        (["--compress"], "--compress has no effect without --activations; give both, or neither"),
        (["--jobs", "2", "--cluster", "local:1"], "--jobs has no effect beside --cluster; leave"),
        (["--data", "a.py:b"], "DATA and --data both say where the samples are; give one of them"),
        (["--model", "a:b", "--activation", "relu"], "--activation has no effect beside --model"),
        (["--model-args", '{"a": 1}'], "--model-args has no effect without --model WHERE:NAME"),
        (["--junit", "no/such/folder.xml"], "there is no folder no/such; create it first"),
    ],
)
def test_what_has_no_effect_is_refused_before_any_work(
    cli: Run, tmp_path: Path, flags: list[str], said: str
) -> None:
    done = cli("scan", SWIMMER, SWIMMER / "data.npz", "-o", tmp_path / "new", *flags)
    assert (done.returncode, done.stdout) == (3 if flags[0] == "--junit" else 2, "")
    assert said in done.stderr
    assert not (tmp_path / "new").exists()


def test_a_rule_on_no_layer_is_a_mistake_of_usage(cli: Run, output: Path) -> None:
    code, _, notes = scanned(cli, output, "--require", "onset.all <= layer.10")
    assert code == 2
    assert "'onset.all <= layer.10': no checkpoint has a layer layer.10; write layers.10" in notes


# The report of one checkpoint


def test_a_checkpoint_is_reported_on_as_the_scan_judged_it(cli: Run, tmp_path: Path) -> None:
    output = tmp_path / "scan"
    strict = ("--noise-max", "1e-5", "--pattern", "epoch_600.pt")
    code, _, _ = scanned(cli, output, *strict)
    assert code == 0
    entries = json.loads((output / "scan.json").read_text())["checkpoints"]
    for entry in entries:
        done = cli("report", output, "--checkpoint", entry["path"])
        assert done.stdout.startswith(entry["verdict"]["text"] + "\n")
        alone = cli("report", output / entry["statistics"], "--noise-max", "1e-5")
        assert (done.returncode, done.stdout) == (0, alone.stdout)
    usual = cli("report", output / "scan.json", "--checkpoint", SWIMMER / "wd0.01/epoch_600.pt",
                "--noise-max", "0.2", "--format", "json")  # fmt: skip
    assert "another nrcscan" not in usual.stderr
    expected = nrcscan.report(output / entries[1]["statistics"])
    assert json.loads(usual.stdout)["verdict"]["text"] == expected.verdict.text
    assert expected.verdict.text != entries[1]["verdict"]["text"]


def test_what_cannot_be_told_of_a_checkpoint_is_said(cli: Run, tmp_path: Path) -> None:
    shutil.copytree(SWIMMER / "wd0.01", tmp_path / "runs" / "a")
    (tmp_path / "runs" / "a" / "epoch_700.pt").write_bytes(b"")
    output = tmp_path / "scan"
    cli("scan", "runs", SWIMMER / "data.npz", "-o", output, "-j", 1)

    def said(*args: object) -> tuple[int, str]:
        done = cli("report", output, *args)
        assert (done.stdout, done.stderr.count("\n")) == ("", 1)
        return done.returncode, done.stderr

    code, why = said()
    assert code == 2
    assert "a scan of 4 checkpoints; name one, such as --checkpoint a/epoch_600.pt" in why
    code, why = said("--checkpoint", "epoch_600.pt")
    assert code == 2
    assert "has none of that path; choose a/epoch_600.pt" in why
    code, why = said("--checkpoint", "a/epoch_700.pt")
    assert code == 3
    assert "a/epoch_700.pt: could not be used by the scan: " in why
    code, why = said("--checkpoint", "a/epoch_600.pt", "--against", "b.h5")
    assert code == 2
    for file in (output / "statistics").glob("*.h5"):
        file.unlink()
    code, why = said("--checkpoint", "a/epoch_600.pt")
    assert code == 3
    assert "not there any more, and scan.json alone has no eigenvalues or error bars of a/" in why
