from __future__ import annotations

import copy
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml  # type: ignore[import-untyped]
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_rules import checkpoint

from nrcscan import Thresholds
from nrcscan.errors import InputError, OutputError, UsageError
from nrcscan.gating.baseline import QUANTITIES, read_baseline
from nrcscan.gating.github import SUMMARY_BYTES, publish_github, summary
from nrcscan.gating.judge import RuleResult, exit_code, explain, failed, judge
from nrcscan.gating.junit import write_junit
from nrcscan.gating.layers_named import require_layers
from nrcscan.gating.requirements import gather_rules
from nrcscan.gating.rules.parsing import parse
from nrcscan.gating.settings_file import find_settings
from nrcscan.scanning.read_scan import read_scan

ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
PAGE = (ROOT / "docs" / "ci.md").read_text()
HOSTILE = "=cmd()](javascript:f()) http://e.il www.e.il <img src=x onerror=f()> $(f) "
HOSTILE += "a\x00\x1b[2J\n::error::<b>|`&\u202e\ufffe\ud800]]>\"'%.pt"


def good(path: str, r2: float | None = 0.9, noise: float | None = 0.4, onset: str | None = "l.2",
         **changes: Any) -> dict[str, Any]:  # fmt: skip
    """Return a usable checkpoint of five layers, l.0 to l.4."""
    found = checkpoint(path=path, run=path.rpartition("/")[0], epoch=None, step=None, reason=None)
    found["model"]["r2"] = r2
    for i, layer in enumerate(found["layers"]):
        layer["name"] = f"l.{i}"
    found["layers"][-1]["noise_component"] = noise
    found["onset"] = dict.fromkeys(found["onset"], onset)
    last = None if onset is None else "l.4"
    text = f"COLLAPSED from {onset} to the output."
    found["verdict"] |= {"onset": onset, "last": last, "text": text}
    if onset is None:
        found["verdict"] |= {"state": "not collapsed", "text": "NOT COLLAPSED: no layer is."}
    return found | changes


def unknown(path: str, state: str = "undecided", **changes: Any) -> dict[str, Any]:
    """Return a usable checkpoint of which it is not known whether it has collapsed."""
    found = good(path, onset=None, **changes)
    found["verdict"] |= {"state": state, "text": f"{state.upper()}: so and so."}
    return found


def bad(path: str, reason: str = "the file is empty") -> dict[str, Any]:
    run = path.rpartition("/")[0]
    names = {"path": path, "run": run, "epoch": None, "step": None}
    return {**names, "status": "error", "reason": reason}


def scan(*checkpoints: dict[str, Any]) -> dict[str, Any]:
    return {"schema": "nrcscan.scan/2", "provenance": {}, "checkpoints": list(checkpoints)}


def passed(results: list[RuleResult]) -> dict[tuple[str, str], bool | None]:
    return {(result.path, result.rule): result.passed for result in results}


RULES = [parse("model.r2 >= 0.8"), parse("onset.all <= l.2")]
TEXTS = [rule.text for rule in RULES]


# Which checkpoints are judged


def test_the_newest_of_every_run_is_judged() -> None:
    found = scan(good("a/1.pt", r2=0.1), good("b/1.pt"), good("a/2.pt"), good("b/2.pt", onset=None))
    results = judge(found, RULES)
    assert passed(results) == {
        ("a/1.pt", TEXTS[0]): None,
        ("a/1.pt", TEXTS[1]): None,
        ("b/1.pt", TEXTS[0]): None,
        ("b/1.pt", TEXTS[1]): None,
        ("a/2.pt", TEXTS[0]): True,
        ("a/2.pt", TEXTS[1]): True,
        ("b/2.pt", TEXTS[0]): True,
        ("b/2.pt", TEXTS[1]): False,
    }
    (failure,) = failed(results)
    assert failure.reason == "onset.all = never, not <= l.2 (3rd)"
    assert failure.values == {"onset.all": "never"}
    assert failure.to_dict()["passed"] is False


def test_all_are_judged_if_asked() -> None:
    found = scan(good("a/1.pt", r2=0.1), good("a/2.pt"))
    assert list(passed(judge(found, RULES, gate="all")).values()) == [False, True, True, True]


def test_no_older_checkpoint_stands_in_for_an_unusable_newest() -> None:
    found = scan(good("a/1.pt"), bad("a/2.pt"))
    results = judge(found, RULES)
    assert [result.passed for result in results] == [None, None]
    assert exit_code(found, results) == 3


@pytest.mark.parametrize(
    ("checkpoints", "code"),
    [
        ([], 4),
        ([good("1.pt")], 0),
        ([good("1.pt"), bad("2.pt")], 3),
        ([bad("1.pt")], 3),
        ([good("1.pt", r2=0.1)], 1),
        ([bad("1.pt"), good("2.pt", r2=0.1)], 1),
        ([good("1.pt", r2=None)], 1),
    ],
)
def test_exit_codes(checkpoints: list[dict[str, Any]], code: int) -> None:
    found = scan(*checkpoints)
    assert exit_code(found, judge(found, RULES)) == code


def test_rules_are_explained_with_what_decided_them() -> None:
    found = scan(good("a/1.pt"), good("a/2.pt", r2=0.5), good("b\x1b/1.pt"))
    results = judge(found, RULES[:1])
    assert explain(results) == (
        "rule model.r2 >= 0.8\n"
        "  ✗ a/2.pt: model.r2 = 0.5, not >= 0.8\n"
        "  ✓ b\\x1b/1.pt: model.r2 = 0.9 >= 0.8\n"
        "  · 1 not judged: not the newest of its run\n"
    )
    assert explain(failed(results)).count("\n") == 2
    assert explain([]) == ""


# Settings


def test_rules_of_the_file_come_first_and_none_comes_twice(tmp_path: Path) -> None:
    (tmp_path / "nrcscan.toml").write_text(
        'require = ["model.r2 > 0"]\ngate = "all"\ntolerance = 1'
    )
    (tmp_path / "pyproject.toml").write_text("[tool.other]\nrequire = 3")
    found = gather_rules(find_settings(tmp_path), require=["onset.all <= x", " model.r2 > 0 "])
    assert [rule.text for rule in found.rules] == ["model.r2 > 0", "onset.all <= x"]
    assert (found.gate, found.tolerance, found.baseline) == ("all", 1.0, None)
    assert gather_rules(find_settings(tmp_path), gate="newest").gate == "newest"
    (tmp_path / "old.json").write_text(json.dumps(scan(good("a/1.pt"))))
    least = gather_rules(find_settings(tmp_path), tolerance=0, baseline=tmp_path / "old.json")
    assert least.tolerance == 0


def test_settings_stand_in_pyproject_too(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text(json.dumps(scan(good("a/1.pt"))))
    text = "[tool.nrcscan]\nrequire = ['model.learned']\nbaseline = 'old.json'"
    (tmp_path / "pyproject.toml").write_text(text)
    found = gather_rules(find_settings(tmp_path))
    assert [rule.text for rule in found.rules] == ["model.learned"]
    assert found.baseline is not None
    assert found.baseline.path == tmp_path / "old.json"
    assert gather_rules(find_settings(tmp_path)).gate == "newest"


def test_without_a_file_there_are_the_defaults(tmp_path: Path) -> None:
    found = gather_rules(find_settings(tmp_path))
    assert (found.rules, found.gate, found.baseline, found.tolerance) == ((), "newest", None, 0.01)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("requires = []", "toml: unknown key requires; choose among require$"),
        ("require = 'model.learned'", "nrcscan.toml: require is not a list of rules; write"),
        ("require = [1]", "toml: require: .1. is a list: give a string or a list"),
        ("require = ['model.r3 > 1']", "toml: require 'model.r3 > 1': unknown field at"),
        ("gate = 'last'", "nrcscan.toml: gate last: choose one of newest and all"),
        ("gate = []", "choose one of newest and all"),
        ("tolerance = -1", "nrcscan.toml: tolerance -1: give a number from 0 to 1"),
        ("tolerance = nan", "give a number from 0 to 1"),
        ("tolerance = true", "give a number from 0 to 1"),
        ("baseline = 3", "toml: baseline: 3 is a int: give a path"),
        ("[tool.nrcscan]\ngate = 'all'", "no table here; leave out the line .tool.nrcscan"),
        ("gate = \n1", "nrcscan.toml: not TOML: .*line 1.*; mend it"),
        ("gate = '\udcff'", "not TOML"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "nrcscan.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=message):
        gather_rules(find_settings(tmp_path))


def test_a_wrong_setting_of_the_command_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--gate last: choose one of newest and all"):
        gather_rules(find_settings(tmp_path), gate="last")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--tolerance 2: give a number from 0 to 1"):
        gather_rules(find_settings(tmp_path), tolerance=2)


def test_two_files_of_settings_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "nrcscan.toml").write_text("")
    (tmp_path / "pyproject.toml").write_text("[tool.nrcscan]\n")
    with pytest.raises(UsageError, match="has a table .tool.nrcscan. too; keep one"):
        gather_rules(find_settings(tmp_path))
    (tmp_path / "nrcscan.toml").unlink()
    (tmp_path / "pyproject.toml").write_text("tool = {nrcscan = 3}")
    with pytest.raises(UsageError, match="not a table; write one with keys such as require, data"):
        gather_rules(find_settings(tmp_path))


def project(tmp_path: Path, text: str, *folders: str) -> Path:
    """Write settings into a folder, and return one within it."""
    (tmp_path / "pyproject.toml").write_text(f"[tool.nrcscan]\n{text}")
    within = tmp_path.joinpath(*folders)
    within.mkdir(parents=True, exist_ok=True)
    return within


def test_settings_are_found_from_every_folder_of_a_project(tmp_path: Path) -> None:
    below = project(tmp_path, "require = ['model.learned']\ndata = 'd.npz'", "src", "deep")
    (tmp_path / "src" / "pyproject.toml").write_text("[tool.other]")
    found = find_settings(below)
    assert found.where == f"{tmp_path / 'pyproject.toml'} [tool.nrcscan]"
    assert found.data == [tmp_path / "d.npz"]
    (tmp_path / "src" / "nrcscan.toml").write_text("gate = 'all'")
    assert find_settings(below).values == {"gate": "all"}


def test_settings_above_a_projects_root_are_not_its_own(tmp_path: Path) -> None:
    below = project(tmp_path, "gate = 'all'", "src", "deep")
    (tmp_path / "src" / ".git").mkdir()
    assert find_settings(below).where is None
    (tmp_path / "src" / ".git").rename(tmp_path / ".git")
    assert find_settings(below).values == {"gate": "all"}
    tmp_path.chmod(0o777)  # where anybody may have put them
    assert find_settings(below).where is None
    assert find_settings(tmp_path).values == {"gate": "all"}


def test_what_settings_name_is_found_from_their_folder(tmp_path: Path) -> None:
    text = """
data = ["X.npy", "y.npy"]
model = "nets/mlp.py:build"
model-args = {width = 8}
standardize = ["x", "y"]
scales = "scales.npz"
layers = ["head", "trunk.*"]
noise-max = 0.1
activations = true
"""
    found = find_settings(project(tmp_path, text, "src"))
    assert found.data == [tmp_path / "X.npy", tmp_path / "y.npy"]
    assert found.values == {
        "factory": f"{tmp_path}/nets/mlp.py:build",
        "factory_args": {"width": 8},
        "standardize": ("x", "y"),
        "scales": str(tmp_path / "scales.npz"),
        "layers": ("head", "trunk.*"),
        "noise_max": 0.1,
        "activations": True,
    }
    code = find_settings(project(tmp_path, "model = 'pack.nets:build'\ndata = 'd.py:load'"))
    assert (code.values, code.data) == ({"factory": "pack.nets:build"}, f"{tmp_path}/d.py:load")


def test_the_command_line_wins_over_settings(tmp_path: Path) -> None:
    text = "noise-max = 0.1\ncka-min = 0.5\nlimit = 5\nstandardize = ['x']\ngate = 'all'"
    found = find_settings(project(tmp_path, text))
    asked: Any = {"thresholds": Thresholds(noise_max=0.2), "limit": 7}
    chosen = found.completed(asked, {"noise_max", "limit"})
    assert chosen == {
        "thresholds": Thresholds(noise_max=0.2, cka_min=0.5),
        "limit": 7,
        "standardize": ("x",),
    }
    said = f"settings from {tmp_path / 'pyproject.toml'} [tool.nrcscan]: cka-min and standardize"
    assert found.told({"noise_max", "limit"}) == said
    assert find_settings(project(tmp_path, "gate = 'all'")).told(set()) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trust = true", "trust is not for a file that is found by itself; give --trust on the"),
        ("x_key = 'a'", "unknown key x_key; choose among x-key"),
        ("data = 3", "data is not a path or two; write data = 'data.npz'"),
        ("data = []", "data is not a path or two"),
        ("limit = 0", "limit 0: give at least 1"),
        ("noise-max = 2", "noise-max 2: give a number from 0 to 1"),
        ("model-args = 'a'", "model-args: 'a' is a str: give a mapping"),
    ],
)
def test_a_wrong_setting_of_a_scan_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        find_settings(project(tmp_path, text))


def test_where_the_rules_come_from_is_said(tmp_path: Path) -> None:
    settings = find_settings(project(tmp_path, "require = ['model.learned']"))
    both = gather_rules(settings, require=["model.r2 > 0"])
    assert both.told() == f"rules from {tmp_path / 'pyproject.toml'} [tool.nrcscan] and --require"
    assert gather_rules(require=["model.r2 > 0"]).told() == "rules from --require"
    assert gather_rules().told() == "no rules: nothing is judged, see --require"
    old = tmp_path / "old.json"
    old.write_text(json.dumps(scan(good("a/1.pt"))))
    assert gather_rules(baseline=old).told() == f"no rules, but no worse than {old}"
    told = gather_rules(settings, baseline=old).told()
    assert told.endswith(f"[tool.nrcscan], no worse than {old}")


def test_what_has_no_effect_without_rules_is_refused() -> None:
    with pytest.raises(UsageError, match="--gate has no effect without rules; give rules with"):
        gather_rules(gate="all")
    with pytest.raises(UsageError, match="--tolerance has no effect without --baseline; give"):
        gather_rules(require=["model.learned"], tolerance=0.0)


# Layers that rules name


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("onset.all <= m.2", "'onset.all <= m.2': no checkpoint has a layer m.2; write l."),
        ("onset.all <= conv", "a layer conv; choose among l.0, l.1, l.2, l.3 and l.4$"),
        ("not layers['l.9'].met.nrc1", "no checkpoint has a layer l.9; write l."),
        ("model.learned or layers[5].cka > 0", r"has layers\[5\]; give a place from -5 to 4"),
        ("model.r2 > -layers[-6].cka * 2", r"no checkpoint has layers\[-6\]"),
    ],
)
def test_a_layer_that_no_checkpoint_has_is_a_mistake_in_the_rule(rule: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        require_layers(scan(good("a/1.pt"), bad("b/1.pt")), [parse(rule)])


def test_a_layer_that_some_checkpoint_has_is_none() -> None:
    other = good("b/1.pt")
    other["layers"][1]["name"] = "other"
    rules = [parse("onset.all <= other"), parse("onset.all <= layers[-2]"), parse("model.learned")]
    require_layers(scan(good("a/1.pt"), other), rules)
    require_layers(scan(bad("a/1.pt")), [parse("onset.all <= nowhere")])
    many = good("a/1.pt")
    many["layers"] = [many["layers"][0] | {"name": f"n{i}"} for i in range(20)]
    with pytest.raises(UsageError, match=r"among n0, .*, n11 and 8 more$"):
        require_layers(scan(many), [parse("onset.all <= zzzz")])


# Baseline


def against(tmp_path: Path, before: dict[str, Any], now: dict[str, Any], **options: Any) -> Any:
    (tmp_path / "old.json").write_text(json.dumps(before))
    return judge(now, [], baseline=read_baseline(tmp_path / "old.json"), **options)


@pytest.mark.parametrize(
    ("before", "now", "tolerance", "worse"),
    [
        ({}, {}, 0.0, None),
        ({"r2": 0.9}, {"r2": 0.89}, 0.01, None),
        ({"r2": 0.9}, {"r2": 0.8899}, 0.01, "r2"),
        ({"r2": 0.9}, {"r2": 0.99}, 0.0, None),
        ({"r2": None}, {"r2": 0.1}, 0.0, None),
        ({"r2": 0.9}, {"r2": None}, 1.0, "r2"),
        ({"noise": 0.4}, {"noise": 0.5}, 0.1, None),
        ({"noise": 0.4}, {"noise": 0.5}, 0.09, "noise"),
        ({"noise": 0.5}, {"noise": 0.1}, 0.0, None),
        ({"noise": None}, {"noise": 0.1}, 0.0, None),
        ({"noise": 0.1}, {"noise": None}, 1.0, "noise"),
        ({"noise": None}, {"noise": None}, 0.0, None),  # a scan is no worse than itself
        ({"onset": "l.2"}, {"onset": "l.3"}, 0.2, None),
        ({"onset": "l.2"}, {"onset": "l.3"}, 0.19, "onset"),
        ({"onset": "l.2"}, {"onset": "l.1"}, 0.0, None),
        ({"onset": "l.2"}, {"onset": None}, 1.0, "onset"),
        ({"onset": None}, {"onset": None}, 0.0, None),
        ({"onset": None}, {"onset": "l.4"}, 0.0, None),
    ],
)
def test_no_worse_than_last_time(
    tmp_path: Path, before: Any, now: Any, tolerance: float, worse: str | None
) -> None:
    results = against(
        tmp_path, scan(good("a/1.pt", **before)), scan(good("a/2.pt", **now)), tolerance=tolerance
    )
    assert [result.rule for result in results] == list(QUANTITIES.values())
    assert [result.rule for result in failed(results)] == ([QUANTITIES[worse]] if worse else [])


def test_a_comparison_names_both_values(tmp_path: Path) -> None:
    before, now = scan(good("a/1.pt")), scan(good("a/2.pt", r2=0.5, onset=None))
    reasons = [result.reason for result in against(tmp_path, before, now, tolerance=0.1)]
    assert reasons == [
        "0.5, and 0.9 in the baseline's a/1.pt (tolerance 0.1)",
        "0.4, and 0.4 in the baseline's a/1.pt (tolerance 0.1)",
        "never, and l.2 in the baseline's a/1.pt (tolerance 0.1)",
    ]


@pytest.mark.parametrize("state", ["undecided", "cannot be judged"])
def test_an_onset_that_is_not_known_is_not_called_late(tmp_path: Path, state: str) -> None:
    known, open_ = good("a/1.pt"), unknown("a/1.pt", state)

    def onset(before: dict[str, Any], now: dict[str, Any]) -> RuleResult:
        (found,) = [
            result
            for result in against(tmp_path, scan(before), scan(now), tolerance=1.0)
            if result.rule == QUANTITIES["onset"]
        ]
        return found

    said = f"onset.all is not known: {state.upper()}: so and so."
    assert (onset(known, open_).passed, onset(known, open_).reason) == (False, said)
    assert onset(known, open_).values == {"now": None, "baseline": "l.2"}
    better = onset(open_, known)
    assert (better.passed, better.reason) == (True, "l.2, and not known in the baseline's a/1.pt")
    both = onset(open_, open_)
    assert (both.passed, both.reason) == (None, f"{said}, as in the baseline's a/1.pt")


def of_schema_1(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint as a scan of before had it."""
    found = copy.deepcopy(checkpoint)
    del found["verdict"]
    for layer in found["layers"]:
        del layer["answers"], layer["step"], layer["error_ratio"]
    return found


def test_a_baseline_of_before_is_compared_but_for_its_onsets(tmp_path: Path) -> None:
    before = scan(of_schema_1(good("a/1.pt"))) | {"schema": "nrcscan.scan/1"}
    results = against(tmp_path, before, scan(good("a/1.pt", r2=0.5)))
    assert [result.passed for result in results] == [False, True, True]
    assert results[-1].reason == "l.2, and not known in the baseline's a/1.pt"
    (entry,) = read_scan(tmp_path / "old.json")["checkpoints"]
    assert entry["verdict"]["text"].startswith("CANNOT BE JUDGED")
    assert entry["verdict"]["text"].endswith("scan again.")
    assert entry["onset"] == dict.fromkeys(("nrc1", "nrc2", "nrc3"), "l.2") | {
        "nrc4": None,  # which was another condition then
        "all": None,
    }
    assert entry["layers"][2]["answers"] == {
        **dict.fromkeys(("nrc1", "nrc2", "nrc3"), "met"),
        "nrc4": "cannot be judged",
    }


def test_onsets_by_other_thresholds_are_not_compared(tmp_path: Path) -> None:
    old = {"noise_max": 0.2, "cka_min": 0.65, "alignment_min": 0.7, "excess_max": 0.05}
    new = {"noise_max": 0.2, "cka_min": 0.65, "alignment_min": 0.7, "error_ratio_max": 2.0}
    before, now = (
        scan(good("a/1.pt", onset=onset)) | {"provenance": {"report": {"thresholds": thresholds}}}
        for onset, thresholds in (("l.1", old), ("l.4", new))
    )
    results = against(tmp_path, before, now)
    assert [result.passed for result in results] == [True, True, None]
    assert results[-1].reason == (
        "thresholds differ from the baseline's: error_ratio_max (2, and none there) and"
        " excess_max (none, and 0.05 there)"
    )


def test_the_newest_is_compared_with_the_newest_and_all_with_their_own(tmp_path: Path) -> None:
    before = scan(good("a/1.pt", r2=0.1), good("a/2.pt", r2=0.5), bad("a/3.pt"))
    now = scan(good("a/1.pt", r2=0.2), good("a/2.pt", r2=0.3), good("a/4.pt", r2=0.6))
    name = QUANTITIES["r2"]

    def verdicts(results: list[RuleResult]) -> list[bool | None]:
        return [result.passed for result in results if result.rule == name]

    assert verdicts(against(tmp_path, before, now)) == [None, None, True]
    assert verdicts(against(tmp_path, before, now, gate="all")) == [True, False, True]


def test_a_new_run_is_not_compared_but_nothing_compared_is_a_failure(tmp_path: Path) -> None:
    before = scan(good("a/1.pt"))
    results = against(tmp_path, before, scan(good("a/1.pt"), good("b/1.pt")))
    assert [result.passed for result in results] == [True] * 3 + [None] * 3
    assert results[-1].reason == "its run is not in the baseline"
    results = against(tmp_path, before, scan(good("c/1.pt")))
    assert [result.passed for result in results] == [False] * 3
    assert results[0].reason.startswith("no run of this scan is in ")
    assert results[0].reason.endswith("old.json, which begins with a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such scan file"),
        ("", "the scan file is empty"),
        ("{", "not a scan's JSON"),
        ("[" * 100_000, "not a scan's JSON"),
        ('{"schema": NaN}', "not a scan's JSON .NaN in it"),
        ("[]", "not a scan .no schema.; give the scan.json of nrcscan scan"),
        ('{"schema": "nrcscan.report/1"}', "not a scan .nrcscan.report/1."),
        ('{"schema": "nrcscan.scan/3"}', "by a newer nrcscan .schema nrcscan.scan/3.*upgrade"),
        ('{"schema": "nrcscan.scan/2"}', "damaged"),
        ('{"schema": "nrcscan.scan/1"}', "damaged"),
        (json.dumps(scan(good("a", verdict={"state": "collapsed"}))), "damaged"),
        (json.dumps(scan(good("a", verdict={"state": 1, "text": "", "onset": None}))), "damaged"),
        ('{"schema": "nrcscan.scan/1", "checkpoints": [{}]}', "damaged"),
        (json.dumps(scan()), "no checkpoint of it could be used"),
        (json.dumps(scan(bad("a"))), "no checkpoint of it could be used"),
        (json.dumps(scan(good("a", layers=[]))), "damaged"),
        (json.dumps(scan(good("a", onset="gone"))), "damaged"),
        (json.dumps(scan(good("a", model={"r2": "high"}))), "damaged"),
    ],
)  # fmt: skip
def test_a_baseline_that_cannot_be_used(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_baseline(path)


# JUnit


def parsed(path: Path) -> dict[tuple[str | None, str | None], tuple[str, str]]:
    """Return (checkpoint, case) → (what came of it, its message)."""
    root = ElementTree.parse(path).getroot()
    found = {}
    for case in root.iter("testcase"):
        (child,) = list(case) or [ElementTree.Element("passed")]
        found[case.get("classname"), case.get("name")] = (child.tag, child.get("message", ""))
    return found


def test_junit_has_a_case_per_checkpoint_and_rule(tmp_path: Path) -> None:
    found = scan(good("a/1.pt"), good("a/2.pt", r2=0.1), bad("b/1.pt"))
    write_junit(tmp_path / "out.xml", found, judge(found, RULES))
    newest = "not the newest of its run"
    assert parsed(tmp_path / "out.xml") == {
        ("a/1.pt", "can be used"): ("system-out", ""),
        ("a/1.pt", TEXTS[0]): ("skipped", newest),
        ("a/1.pt", TEXTS[1]): ("skipped", newest),
        ("a/2.pt", "can be used"): ("system-out", ""),
        ("a/2.pt", TEXTS[0]): ("failure", "model.r2 = 0.1, not >= 0.8"),
        ("a/2.pt", TEXTS[1]): ("system-out", ""),
        ("b/1.pt", "can be used"): ("error", "the file is empty"),
    }
    root = ElementTree.parse(tmp_path / "out.xml").getroot()
    counts = {name: root.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "7", "failures": "1", "errors": "1", "skipped": "2"}
    assert [suite.get("name") for suite in root] == ["a", "b"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(name=st.text(st.characters(), min_size=1, max_size=8))
def test_no_name_breaks_the_xml(tmp_path: Path, name: str) -> None:
    for odd in (name, HOSTILE):
        found = scan(
            good(f"{odd}/1.pt", r2=None), bad(f"{odd}/2.pt", odd), good(f"x/{odd}", r2=0.1)
        )
        found["checkpoints"][0]["model"]["undefined"]["r2"] = odd
        rules = [parse("model.r2 >= 0.8"), parse('onset.all <= "\x01\x7f"')]
        write_junit(tmp_path / "out.xml", found, judge(found, rules, gate="all"))
        cases = parsed(tmp_path / "out.xml")
        tags = [tag for tag, _ in cases.values()]
        assert (tags.count("failure"), tags.count("error")) == (4, 1)
        assert all(message.isprintable() for _, message in cases.values())


def test_junit_needs_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nrcscan.gating.junit.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install junitparser$"):
        write_junit(tmp_path / "out.xml", scan(good("1.pt")), [])
    assert not list(tmp_path.iterdir())


# GitHub


def published(
    tmp_path: Path, found: dict[str, Any], results: list[RuleResult], **environ: str
) -> Any:
    page, lines = tmp_path / "summary.md", io.StringIO()
    environ = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(page)} | environ
    publish_github(found, results, "runs", environ=environ, stream=lines)
    return (page.read_text() if page.exists() else ""), lines.getvalue()


def test_the_summary_shows_failed_rules_first(tmp_path: Path) -> None:
    (tmp_path / "summary.md").write_text("before\n")
    found = scan(good("a/1.pt"), good("a/2.pt", r2=0.1, epoch=2), bad("b/1.pt"))
    page, lines = published(tmp_path, found, judge(found, RULES))
    assert page == (
        "before\n"
        "## nrcscan\n\n3 checkpoints, 1 could not be used, 1 of 2 verdicts failed.\n\n"
        "### Failed rules\n\n"
        "| checkpoint | rule | decided by |\n| :--- | :--- | :--- |\n"
        "| a/2.pt | model.r2 \\>= 0.8 | model.r2 = 0.1, not \\>= 0.8 |\n\n"
        "### Not usable\n\n"
        "| checkpoint | reason |\n| :--- | :--- |\n"
        "| b/1.pt | the file is empty |\n\n"
        "### Checkpoints\n\n"
        "| checkpoint | epoch | R² | verdict | noise, last layer | rules |\n"
        "| :--- | :--- | :--- | :--- | :--- | :--- |\n"
        "| a/1.pt |  | 0.900 | COLLAPSED from l.2 to the output. | 0.400 |  |\n"
        "| a/2.pt | 2 | 0.100 | COLLAPSED from l.2 to the output. | 0.400 | ✗ 1 of 2 |\n"
        "| b/1.pt |  | not usable |  |  |  |\n"
    )
    assert lines == (
        "::error file=runs/a/2.pt,title=Rule failed::"
        "a/2.pt: model.r2 >= 0.8: model.r2 = 0.1, not >= 0.8\n"
        "::error file=runs/b/1.pt,title=Checkpoint cannot be used::b/1.pt: the file is empty\n"
    )


def test_the_step_has_outputs(tmp_path: Path) -> None:
    found = scan(good("a/1.pt"), good("a/2.pt", r2=0.1), bad("b/1.pt"))
    outputs = tmp_path / "outputs"
    outputs.write_text("before=1\n")
    published(tmp_path, found, judge(found, RULES), GITHUB_OUTPUT=str(outputs))
    assert outputs.read_text() == "before=1\nfailed=1\nunusable=1\n"
    with pytest.raises(OutputError, match="GITHUB_OUTPUT .*cannot be written: Is a directory"):
        published(tmp_path, found, [], GITHUB_OUTPUT=str(tmp_path))


def test_nothing_is_published_elsewhere(tmp_path: Path) -> None:
    found = scan(good("1.pt", r2=0.1))
    off = {"GITHUB_ACTIONS": "", "GITHUB_STEP_SUMMARY": ""}
    assert published(tmp_path, found, judge(found, RULES), **off) == ("", "")


def test_what_passes_is_not_annotated(tmp_path: Path) -> None:
    found = scan(good("0.pt", r2=0), good("1.pt"))
    page, lines = published(tmp_path, found, judge(found, RULES))
    assert "2 checkpoints, 0 of 2 verdicts failed." in page
    assert lines == ""
    assert "no rule was applied" in summary(found, [])


def test_annotations_keep_to_githubs_number_and_escapes(tmp_path: Path) -> None:
    found = scan(*(good(f"run{i}/1,:%.pt", r2=0.1) for i in range(10)))
    _, ten = published(tmp_path, found, judge(found, RULES))
    assert ten.count("::error") == 10
    assert "More failures" not in ten
    assert ten.startswith(
        "::error file=runs/run0/1%2C%3A%25.pt,title=Rule failed::run0/1,:%25.pt: "
    )
    found["checkpoints"].append(bad("b/1.pt"))
    _, more = published(tmp_path, found, judge(found, RULES))
    assert more.count("::error") == 10
    assert more.splitlines()[-1].startswith("::error title=More failures::2 more failures")


def test_hostile_names_break_no_command_and_no_table(tmp_path: Path) -> None:
    found = scan(good(f"{HOSTILE}/1.pt", onset=HOSTILE), bad(f"x/{HOSTILE}", HOSTILE))
    for layer in found["checkpoints"][0]["layers"]:
        layer["name"] = HOSTILE
    page, lines = published(tmp_path, found, judge(found, [parse("model.r2 > 1 and onset.all<=x")]))
    assert [line[:13] for line in lines.splitlines()] == ["::error file="] * 2
    assert lines.replace("\n", "").isprintable()
    assert page.replace("\n", "").isprintable()
    assert not re.search(r"(?<!\\)[<`&\]]|(?<!\\)://|www\.", page)
    for line in page.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4, 7)


@pytest.mark.parametrize("n_failed", [0, 20_000])
def test_a_summary_too_long_is_cut_at_a_row(tmp_path: Path, n_failed: int) -> None:
    one = good("run/x.pt")
    found = scan(*({**one, "path": f"run/{'ü' * 60}{i}.pt"} for i in range(8_000)))
    row = RuleResult("model.r2 > 1", "run/1.pt", False, "model.r2 = 0.9, not > 1" + "é" * 20, {})
    before = 1000
    (tmp_path / "summary.md").write_text("x" * before)
    page, _ = published(tmp_path, found, [row] * n_failed)
    size = len(page.encode())
    assert SUMMARY_BYTES - 5000 < size <= SUMMARY_BYTES
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.endswith(" |") for line in rows)
    left_out = sum(map(int, re.findall(r"^(\d+) more rows are left out", page, re.MULTILINE)))
    tables = 2 if n_failed else 1
    assert len(rows) - 2 * tables + left_out == n_failed + 8_000


def test_a_full_page_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "summary.md").write_text("x" * SUMMARY_BYTES)
    page, _ = published(tmp_path, scan(good("1.pt")), [])
    assert page == "x" * SUMMARY_BYTES


def test_a_summary_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match="GITHUB_STEP_SUMMARY .*cannot be written: Is a directory"
    ):
        published(tmp_path, scan(good("1.pt")), [], GITHUB_STEP_SUMMARY=str(tmp_path))


# The action and the page

STUB = """#!/usr/bin/env bash
printf '%s\\0' "$@" > "$RECORD"
eval "${DO:-}"
exit "${CODE:-0}"
"""
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]


def ran(
    tmp_path: Path, name: str, stub: str, code: int = 0, do: str = "", **given: str
) -> tuple[list[str], dict[str, str]]:
    """Run a step of the action's, with a stub for the program that it calls.

    Args:
        tmp_path: where it runs.
        name: of the step.
        stub: the program's name.
        code: what the program ends with.
        do: what it does before, in bash.
        given: inputs by their names, and what else expressions look up, with _ for - and .

    Returns:
        The stub's arguments, and the step's outputs.
    """
    (step,) = [step for step in STEPS if step["name"] == name]
    known = {f"inputs_{n}": str(spec.get("default", "")) for n, spec in ACTION["inputs"].items()}
    known = {n.replace("-", "_"): value for n, value in known.items()}
    known |= {"github_action_path": str(ROOT)}
    known |= {n if n.startswith(("steps_", "github_")) else f"inputs_{n}": given[n] for n in given}
    program, record, output = (tmp_path / n for n in (f"bin/{stub}", "record", "output"))
    program.parent.mkdir(exist_ok=True)
    program.write_text(STUB)
    program.chmod(0o755)
    for file in (record, output):
        file.unlink(missing_ok=True)
    env = {"PATH": f"{program.parent}:{os.environ['PATH']}", "RECORD": str(record), "DO": do}
    env |= {"CODE": str(code), "GITHUB_OUTPUT": str(output)}
    env |= {"GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md")}
    for variable, value in step["env"].items():
        env[variable] = re.sub(
            r"\$\{\{ (.+?) \}\}", lambda found: known[re.sub(r"[-.]", "_", found[1])], value
        )
    command = ["bash", "--noprofile", "--norc", "-euo", "pipefail", "-c", step["run"]]
    done = subprocess.run(command, env=env, cwd=tmp_path, check=False, capture_output=True)
    assert done.returncode == code, done.stderr
    assert done.stderr == b""
    arguments = record.read_text().split("\0")[:-1] if record.exists() else []
    told = output.read_text().splitlines() if output.exists() else []
    return arguments, {line.partition("=")[0]: line.partition("=")[2] for line in told}


def act(tmp_path: Path, code: int = 0, **inputs: str) -> list[str]:
    """Run the action's scan step against a stub, and return the stub's arguments."""
    return ran(tmp_path, "Scan", "nrcscan", code, **inputs)[0]


def test_the_action_passes_its_inputs_on(tmp_path: Path) -> None:
    arguments = act(
        tmp_path,
        folder="my runs",
        data="X.npy\ny.npy\n",
        require="onset.all <= layers.10\n\n  model.r2 >= 0.9\r\n",
        options="--model\nnet.py:build\n--gate=all\n",
        junit="out.xml",
    )
    assert arguments == [
        *("scan", "--output=scan", "--junit=out.xml", "--force"),
        *("--require=onset.all <= layers.10", "--require=model.r2 >= 0.9"),
        *("--model", "net.py:build", "--gate=all"),
        *("--", "my runs", "X.npy", "y.npy"),
    ]
    assert act(tmp_path, folder="f", data="d") == ["scan", "--output=scan", "--", "f", "d"]


def test_the_action_takes_no_input_for_shell(tmp_path: Path) -> None:
    evil = "$(touch pwned) `touch pwned` \"; touch pwned; ' * ${HOME} \\"
    arguments = act(
        tmp_path, folder=evil, data=evil, require=evil, options=evil, junit=evil, output=evil
    )
    assert arguments == [
        *("scan", f"--output={evil}", f"--junit={evil}", "--force", f"--require={evil}", evil),
        *("--", evil, evil),
    ]
    assert not (tmp_path / "pwned").exists()
    for step in STEPS:
        assert "${{" not in step.get("run", "")
    assert act(tmp_path, folder="--help", data="d")[-3:] == ["--", "--help", "d"]


@pytest.mark.parametrize("code", [1, 3])
def test_the_action_fails_as_the_scan_does(tmp_path: Path, code: int) -> None:
    assert act(tmp_path, code, folder="f", data="d")


@pytest.mark.parametrize(
    ("code", "writes", "state", "paths"),
    [
        (0, True, "passed", True),
        (1, True, "failed", True),
        (2, True, "error", True),  # a rule on no layer shows once the scan is written
        (2, False, "error", False),
        (3, True, "unusable", True),
        (3, False, "error", False),
        (4, False, "nothing", False),
        (130, False, "error", False),
    ],
)
def test_the_action_tells_what_came_of_it(
    tmp_path: Path, code: int, writes: bool, state: str, paths: bool
) -> None:
    (tmp_path / "my scan").mkdir()
    (tmp_path / "my scan" / "scan.json").write_text("of the run before")
    do = "sleep 0.05; touch 'my scan/scan.json' out.xml; echo failed=2 >> $GITHUB_OUTPUT"
    inputs: Any = {"folder": "f", "data": "d", "output": "my scan", "junit": "out.xml"}
    _, told = ran(tmp_path, "Scan", "nrcscan", code, do if writes else "", **inputs)
    assert told.pop("state") == state
    expected = {"scan": "my scan/scan.json", "junit": "out.xml", "failed": "2"}
    assert told == (expected if paths else {})


@pytest.mark.parametrize(
    ("inputs", "source", "more"),
    [
        ({}, "", [f"--constraint={ROOT}/constraints.txt", "--extra-index-url=https://download.py"]),
        ({"junit": "a.xml", "torch_index": ""}, "[junit]", [f"--constraint={ROOT}/constraints"]),
        ({"extras": " parquet, onnx\n", "constraints": "none", "torch_index": ""},
         "[parquet,onnx]", []),
        ({"extras": "parquet", "junit": "a", "constraints": "mine.txt", "torch_index": ""},
         "[parquet,junit]", ["--constraint=mine.txt"]),
    ],
)  # fmt: skip
def test_the_action_installs_versions_that_work_together(
    tmp_path: Path, inputs: dict[str, Any], source: str, more: list[str]
) -> None:
    (*pip, what), rest = (
        (arguments := ran(tmp_path, "Install nrcscan", "python", **inputs)[0])[:5],
        arguments[5:],
    )
    assert pip == ["-m", "pip", "install", "--quiet"]
    assert what == f"{ROOT}{source}"
    assert len(rest) == len(more)
    for argument, start in zip(rest, more, strict=True):
        assert argument.startswith(start)


def test_the_action_makes_a_page_and_links_it(tmp_path: Path) -> None:
    arguments, told = ran(tmp_path, "Make the page", "nrcscan", page="my page.html", output="out")
    assert arguments == ["page", "--output=my page.html", "--", "out"]
    assert told == {"page": "my page.html"}
    ran(tmp_path, "Link the page", "none", steps_upload_outputs_artifact_url="https://a/b")
    assert "[The page of this scan](https://a/b): " in (tmp_path / "summary.md").read_text()


def test_the_action_keeps_caches_apart(tmp_path: Path) -> None:
    def keys(**inputs: Any) -> dict[str, str]:
        return ran(tmp_path, "Look for pip", "none", **inputs)[1]

    one, other = keys(folder="a", data="d"), keys(folder="b", data="d")
    assert one["pip-folder"]
    assert all(re.fullmatch("[0-9a-f]{64}", one[name]) for name in ("pip", "scan"))
    assert (one["pip"] == other["pip"], one["scan"] == other["scan"]) == (True, False)


def test_the_action_names_only_what_there_is() -> None:
    text = (ROOT / "action.yml").read_text()
    used = set(re.findall(r"inputs\.([\w-]+)", text))
    assert used == set(ACTION["inputs"])
    told = {
        (step["id"], name)
        for step in STEPS
        if "id" in step
        for name in re.findall(
            r"^\s*(?:echo \"|tell |printf ')([\w-]+)[= ]", step.get("run", ""), re.M
        )
    }
    told |= {("scan", "failed"), ("scan", "unusable")}  # which nrcscan tells
    told |= {("upload", "artifact-url"), ("pip", "cache-hit")}  # which actions of GitHub tell
    asked = set(re.findall(r"steps\.([\w-]+)\.outputs\.([\w-]+)", text))
    assert asked == told
    for number, step in enumerate(STEPS):
        before = {one.get("id") for one in STEPS[:number]}
        assert set(re.findall(r"steps\.([\w-]+)\.", yaml.safe_dump(step))) <= before, step["name"]
        assert ("run" in step) == (step.get("shell") == "bash"), step["name"]
        assert re.fullmatch(
            r"actions/[\w/-]+@[0-9a-f]{40}", step.get("uses", "actions/a@" + "0" * 40)
        )
    assert all(spec["description"] for spec in (ACTION["inputs"] | ACTION["outputs"]).values())


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_workflows_of_the_page_are_whole(tmp_path: Path) -> None:
    github, moving, gitlab = map(yaml.safe_load, blocks("yaml"))
    for workflow in (github, moving):
        steps = workflow["jobs"]["collapse"]["steps"]
        (ours,) = [step for step in steps if "nrcscan@" in step.get("uses", "")]
        assert set(ours["with"]) <= set(ACTION["inputs"])
        required = {name for name, spec in ACTION["inputs"].items() if spec.get("required")}
        assert required <= set(ours["with"])
        for rule in ours["with"]["require"].splitlines():
            parse(rule)
        assert act(tmp_path, **ours["with"])[-2:] == ["runs", "data/train.npz"]
        named = {"nrcscan": set(ACTION["outputs"]), "baseline": {"cache-matched-key"}}
        for step, output in re.findall(
            r"steps\.([\w-]+)\.outputs\.([\w-]+)", yaml.safe_dump(steps)
        ):
            assert output in named[step]
    (script,) = [line for line in gitlab["collapse"]["script"] if line.startswith("nrcscan")]
    for rule in re.findall(r"--require '(.*?)'", script):
        parse(rule)
    assert gitlab["collapse"]["artifacts"]["reports"]["junit"] in script


def test_every_output_of_the_action_is_on_the_page() -> None:
    named = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \|", PAGE, re.MULTILINE)
    assert set(ACTION["outputs"]) <= set(re.findall(r"[\w-]+", " ".join(named)))


def test_the_baseline_of_the_recipe_is_what_the_next_scan_takes(tmp_path: Path) -> None:
    """Run the shell of the recipe, and judge by what it keeps."""
    steps = yaml.safe_load(blocks("yaml")[1])["jobs"]["collapse"]["steps"]
    (keep,) = [step["run"] for step in steps if "cp --" in step.get("run", "")]
    (tmp_path / "scan.json").write_text(json.dumps(scan(good("a/1.pt"))))
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", keep]
    env = {"PATH": os.environ["PATH"], "SCAN": "scan.json"}
    subprocess.run(command, env=env, cwd=tmp_path, check=True)
    paths = {step["with"]["path"] for step in steps if "cache" in step.get("uses", "")}
    (options,) = [step["with"]["options"] for step in steps if "nrcscan@" in step.get("uses", "")]
    (given,) = re.findall(r"'--baseline=(.+?)'", options)
    assert paths == {str(Path(given).parent)}
    wanted = gather_rules(baseline=tmp_path / given)
    assert failed(judge(scan(good("a/1.pt", r2=0.5)), [], baseline=wanted.baseline))


def test_every_rule_of_the_page_can_be_read(tmp_path: Path) -> None:
    table = PAGE.partition("| rule | passes when |")[2].partition("\n\n")[0]
    rules = re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)
    assert len(rules) >= 10
    for rule in rules:
        parse(rule)
    (toml,) = blocks("toml")
    (tmp_path / "nrcscan.toml").write_text(toml)
    (tmp_path / "baseline.json").write_text(json.dumps(scan(good("1.pt"))))
    settings = find_settings(tmp_path)
    assert settings.keys == tuple(tomllib.loads(toml))
    assert len(gather_rules(settings).rules) == 2


def test_judging_needs_no_torch() -> None:
    code = (
        "import sys; from nrcscan.gating import requirements, judge, github, junit;"
        "sys.exit('torch' in sys.modules or 'junitparser' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=env, check=False).returncode == 0
