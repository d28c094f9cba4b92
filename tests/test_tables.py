from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import PARITY, mlp, samples
from torch import Tensor, nn

from nrcscan import Report, extract, measure, report
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.reporting.report_table import BEGINS, Shown, render

JSON_LAYER = {
    "index",
    "position",
    "name",
    "kind",
    "width",
    *QUANTITIES,
    "step",
    "inputs",
    "shortcut",
    "met",
    "answers",
    "reach",
    "standard_error",
    "corrected",
    "chance",
    "floor",
    "undefined",
    "bounds",
    "notes",
}


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> Report:
    path = tmp_path_factory.mktemp("tables") / "acts.h5"
    case = PARITY / "swimmer_collapsed"
    extract(case / "model.pth", case / "data.npz", path, activations=False)
    return report(path)


@pytest.fixture(scope="module")
def dead(tmp_path_factory: pytest.TempPathFactory) -> Report:
    path = tmp_path_factory.mktemp("tables") / "acts.h5"
    model = mlp(5, 16, 3, 2, bias=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    extract(model, samples(60, 5, 2), path)
    return report(path)


def test_json_is_what_the_page_says(collapsed: Report, dead: Report) -> None:
    found = json.loads(render(collapsed, "json"))
    assert found["schema"] == "nrcscan.report/2"
    assert found["layers"][0].keys() == JSON_LAYER
    assert found["layers"][0]["weight_rank"] == 8
    assert isinstance(found["layers"][0]["weight_rank"], int)
    assert found["onset"]["all"] == "layers.8"
    verdict = found["verdict"]
    assert verdict == collapsed.verdict.to_dict()
    assert (verdict["state"], verdict["onset"], verdict["last"]) == (
        "collapsed",
        "layers.8",
        "layers.14",
    )
    assert (verdict["broken_by"], verdict["unmeasured"]) == (None, {})
    inputs, first = found["layers"][:2]
    assert (inputs["inputs"], inputs["step"]) == (True, None)
    assert (first["inputs"], first["step"]) == (False, 1)
    assert first["answers"]["nrc3"] == "not met"
    assert found["model"]["learned"] is True
    lines = render(dead, "json")
    assert not re.search(r"\b(NaN|Infinity)\b", lines)
    layer = json.loads(lines)["layers"][1]
    assert layer["noise_component"] is None
    assert "do not vary" in layer["undefined"]["noise_component"]


def test_csv_is_tidy(collapsed: Report, dead: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(render(collapsed, "csv"))))
    assert [row["name"] for row in rows] == [layer.name for layer in collapsed.layers]
    for row, layer in zip(rows, collapsed.layers, strict=True):
        for quantity in QUANTITIES:
            assert float(row[quantity]) == layer.metrics.values[quantity]
        assert row["met_nrc1"] == str(layer.met["nrc1"]).lower()
    row = list(csv.DictReader(io.StringIO(render(dead, "csv"))))[1]
    assert row["noise_component"] == ""
    assert "do not vary" in row["undefined"]


def test_the_table_shows_every_layer_and_where_collapse_begins(collapsed: Report) -> None:
    lines = render(collapsed, "table").splitlines()
    assert lines[0].startswith("COLLAPSED from layers.8 (4th of 7) to the output.")
    assert lines[1].startswith("A linear probe does better: from layers.2 (1st of 7)")
    assert "k = 2 signal directions (the number of targets), 800 samples" in lines[2]
    begins = next(i for i, line in enumerate(lines) if line.startswith(BEGINS))
    assert "layers.8" in lines[begins + 1]
    text = "\n".join(lines)
    assert re.search(r"\bin +layers\.0 +0\.129 +[━╸]+ +0\.801 +0\.941 +0\.055 +0\.43$", text, re.M)
    assert re.search(r"\b1 +layers\.2 +0\.182 +[━╸]+ +0\.882 +0\.528 ○ ", text)  # what fails alone
    wide = render(collapsed, "table", Shown(wide=True))
    assert re.search(r"\b1 +layers\.2 +Linear +256 +0\.182 +[━╸]+ +0\.882 +0\.528 ○ ", wide)
    assert re.search(r"^ # layer +kind +width .* SR\(H\) SR\(W\)$", wide, re.M)
    assert re.search(r"^ +NRC1 noise log +NRC2 CKA NRC3 align", wide, re.M)
    assert any("alignment over 1 of k = 2 directions" in line for line in lines)


def test_the_dead_network_is_loud_and_shows_no_number(dead: Report) -> None:
    text = render(dead, "table")
    assert text.startswith("LEARNED NOTHING: R² = ")
    assert BEGINS not in text
    assert re.search(r"\b1 +2 +— \? +— \? +— \? +— +— \?$", text, re.M)
    assert "noise, CKA, lin. MSE, ratio and SR(H) undefined: the features do not vary" in text


def test_markdown(collapsed: Report) -> None:
    text = render(collapsed, "md")
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(collapsed.layers) + 1
    assert len({line.count("|") for line in table}) == 1
    assert "`layers.14`" in text


@pytest.mark.parametrize(
    "name", ["`<img src=x onerror=alert(1)>`", "a\\|<b>`", "&lt;b&gt;|`", "~~@all~~ http://a.b `"]
)
def test_no_name_ends_the_code_that_markdown_has_it_in(name: str) -> None:
    found = measure(Hostile(name), samples(60, 5, 2), measures="all")
    lines = render(found, "md", Shown(chance=True)).splitlines()
    live = [re.sub(r"\\.", "", line) for line in lines]
    assert not [line for line in live if re.search(r"<|~~|@|&|://", line)]
    for head, rule, row in zip(live, live[1:], live[2:], strict=False):
        if rule.startswith("| ---"):
            assert row.count("|") == rule.count("|") == head.count("|")
    assert {line.count("`") % 2 for line in live} == {0}


class Hostile(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self._modules[name] = nn.Linear(5, 2)  # add_module would refuse a dot, but nothing else

    def forward(self, x: Tensor) -> Tensor:
        return self._modules[self.name](x)  # type: ignore[misc]


@pytest.mark.parametrize(
    "name", ["[bold]x[/x]", "a\x1b[2Jb", "a|b", "<script>", "a\nb", "‮gpj", "a" * 300, "a/b", ".."]
)
def test_names_cannot_steer_the_output_and_are_never_cut(tmp_path: Path, name: str) -> None:
    extract(Hostile(name), samples(60, 5, 2), tmp_path / "acts.h5")
    found = report(tmp_path / "acts.h5")
    assert found.layers[0].name == name
    shown = name.encode("unicode_escape").decode() if not name.isprintable() else name
    for form in ("table", "md", "csv"):
        text = render(found, form, Shown(wide=True))
        assert "\x1b" not in text
        assert "‮" not in text
        if form == "table":
            assert shown in text
    assert json.loads(render(found, "json"))["layers"][0]["name"] == name


def test_no_name_is_a_formula_in_csv(collapsed: Report) -> None:
    named = [
        replace(layer, name=f"{'=+-@'[i % 4]}cmd()|{i}") for i, layer in enumerate(collapsed.layers)
    ]
    rows = list(csv.DictReader(io.StringIO(render(replace(collapsed, layers=tuple(named)), "csv"))))
    assert [row["name"] for row in rows] == [f"'{layer.name}" for layer in named]
    assert [float(row["cka"]) for row in rows] == [layer["cka"] for layer in collapsed.layers]
