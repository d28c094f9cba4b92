"""One entry and one function make a quantity: all that lists quantities follows the catalogue."""

from __future__ import annotations

import csv
import inspect
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from conftest import PARITY, ROOT
from typer.testing import CliRunner

from nrcscan import Thresholds, extract, report
from nrcscan.cli.app import app
from nrcscan.metrics import formulas
from nrcscan.metrics.directions import Spectrum
from nrcscan.metrics.error_bounds import Resolution, bounds
from nrcscan.metrics.quantities import (
    CATALOGUE,
    ENTRIES,
    JUDGED,
    QUANTITIES,
    Need,
    learned,
)
from nrcscan.metrics.quantity_tables import tables
from nrcscan.wording import with_tables

PAGES = ("README.md", "docs/metrics.md", "docs/quantities.md")

ENTRY = '''
    Quantity(
        name="feature_spread",
        column="spread",
        words="how far the features lie from their mean",
        formula="√(tr Σ_H)",
        lower=0,
        upper=None,
        collapsed="",
        worse="higher",
        unit="share",
        needs=frozenset({Need.FEATURES}),
        digits=1,
    ),
)
"""In the order of the report."""

QUANTITIES ='''

FORMULA = '''

def feature_spread(layer: Layer) -> float:
    """Return the square root of the features' total variance."""
    return math.sqrt(layer.features.total)
'''


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("quantities") / "exact.h5"
    case = PARITY / "swimmer_collapsed"
    extract(case / "model.pth", case / "data.npz", path, activations=False)
    sketched = path.with_name("sketched.h5")
    extract(case / "model.pth", case / "data.npz", sketched, activations=False, sketch=8)
    return path


def test_every_quantity_has_its_function_and_every_such_function_its_quantity() -> None:
    of_layer = {
        name
        for name, function in vars(formulas).items()
        if inspect.isfunction(function)
        and function.__module__ == formulas.__name__
        and list(inspect.signature(function).parameters) == ["layer"]
        and not name.startswith("_")
    }
    assert of_layer == set(QUANTITIES)
    assert len(ENTRIES) == len(QUANTITIES)


def test_the_catalogue_imports_nothing_heavy() -> None:
    code = (
        "import sys, nrcscan.metrics.quantities, nrcscan.metrics.quantity_tables;"
        " assert not {'numpy', 'torch', 'scipy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_are_up_to_date(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    command = f"python -m nrcscan.metrics.quantity_tables {page}"
    assert with_tables(text, tables()) == text, f"run {command}"
    assert f"written by {command}" in text


def test_every_table_has_its_place_on_a_page() -> None:
    pages = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    for name in tables():
        assert pages.count(f"<!-- {name}: ") == 1, name


def test_a_value_lies_in_its_range(collapsed: Path) -> None:
    for path in (collapsed, collapsed.with_name("sketched.h5")):
        for layer in report(path).layers:
            for name, value in layer.metrics.values.items():
                entry = ENTRIES[name]
                upper = layer.width if entry.upper == "d" else entry.upper
                assert entry.lower is None or value >= entry.lower - 1e-12, (layer.name, name)
                assert upper is None or value <= upper + 1e-12, (layer.name, name)
                assert isinstance(value, int) == (entry.digits == 0), (layer.name, name)


def test_a_sketch_is_refused_where_the_script_needs_the_whole_covariance(collapsed: Path) -> None:
    found = report(collapsed.with_name("sketched.h5"), convention="published").layers[3].metrics
    why = "the published convention needs the whole covariance, and this is a sketch"
    assert [q for q, said in found.undefined.items() if said == why] == [
        q.name for q in CATALOGUE if Need.PLAIN_COVARIANCE in q.needs
    ]


def test_what_is_known_to_a_resolution_only_has_a_bound_and_nothing_else_has() -> None:
    known = bounds(
        Spectrum(np.array([2.0, 1.0]), np.eye(2)),
        np.ones((2, 1)),
        np.eye(1),
        dict.fromkeys(QUANTITIES, 1.0),
        1,
        Resolution(tau=1e-9, total=1e-9, cross=1e-9),
    )
    assert set(known) == {q.name for q in CATALOGUE if Need.FEATURES in q.needs}
    assert set(known) == {q.name for q in CATALOGUE if q.error}
    assert all(map(math.isfinite, known.values()))


def test_a_condition_judges_a_quantity_by_a_threshold() -> None:
    assert [condition.option for condition in JUDGED] == [f.name for f in fields(Thresholds)]
    for condition in JUDGED:
        assert (ENTRIES[condition.quantity].worse is None) == condition.both_sides
        assert ENTRIES[condition.quantity].column is not None
        assert condition.option.endswith("_max" if condition.at_most else "_min")


def test_the_help_of_a_threshold_says_what_its_condition_does() -> None:
    shown = CliRunner().invoke(app, ["report", "--help"], env={"COLUMNS": "200"}).output
    shown = " ".join(shown.split())
    for condition in JUDGED:
        side = "holds up to this" if condition.at_most else "holds from this"
        if condition.both_sides:
            side = "holds where .* is from 1 over this up to it"
        option = condition.option.replace("_", "-")
        assert re.search(rf"--{option} .*{condition.name.upper()} {side}", shown), option


def test_a_network_has_learned_from_a_tenth_on() -> None:
    assert [learned(r2) for r2 in (0.1, 0.1 - 1e-9, -3.0, None)] == [True, False, False, False]


END = "--- end of a command ---\n"
COMMANDS = f"""
import json, sys
from nrcscan.cli.app import app
for command in json.loads(sys.argv[1]):
    app(command, standalone_mode=False)
    print({END!r}, end="")
"""


def test_a_new_quantity_is_one_entry_and_one_function(collapsed: Path, tmp_path: Path) -> None:
    """Add both to a copy of the package, and find the quantity wherever quantities are listed."""
    shutil.copytree(
        ROOT / "nrcscan", tmp_path / "nrcscan", ignore=shutil.ignore_patterns("__pycache__")
    )
    catalogue = tmp_path / "nrcscan/metrics/quantities.py"
    text = catalogue.read_text(encoding="utf-8")
    changed = text.replace(ENTRY[ENTRY.rindex("\n)\n") :], ENTRY, 1)
    assert changed != text
    catalogue.write_text(changed, encoding="utf-8")
    with (tmp_path / "nrcscan/metrics/formulas.py").open("a", encoding="utf-8") as module:
        module.write(FORMULA)
    page = tmp_path / "metrics.md"
    shutil.copy(ROOT / "docs/metrics.md", page)

    def run(*args: object) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", *map(str, args)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    sketched = collapsed.with_name("sketched.h5")
    compared: list[object] = ["compare", collapsed, sketched, "--quantity", "feature_spread"]
    commands: list[list[object]] = [
        ["report", collapsed, "--format", form] for form in ("json", "csv", "table", "md")
    ]
    commands[2].append("--wide")
    commands += [
        ["report", sketched, "--format", "json"],
        compared,
        [*compared[:3], "--format", "csv"],
    ]
    said = run("-c", COMMANDS, json.dumps(commands, default=str)).split(END)
    in_json, in_csv, in_table, in_markdown, of_sketch, beside, beside_in_csv, _ = said
    layers = json.loads(in_json)["layers"]
    spread = [layer["feature_spread"] for layer in layers]
    assert all(value > 0 for value in spread)
    rows = list(csv.DictReader(io.StringIO(in_csv)))
    assert [float(row["feature_spread"]) for row in rows] == spread
    for shown in (in_table, in_markdown):
        assert re.search(r"SR\(W\).* spread", shown)
        assert f"{spread[0]:.1f}" in shown
    # Nothing bounds its error: where a covariance is not exact, it is refused.
    layer = json.loads(of_sketch)["layers"][0]
    assert layer["feature_spread"] is None
    assert layer["undefined"]["feature_spread"].startswith("known not at all from the sketch")
    assert "spread 1234" in beside
    assert "feature_spread" in beside_in_csv.partition("\n")[0]
    parsed = "from nrcscan.gating.rules.parsing import parse; parse('layers[0].feature_spread < 1')"
    subprocess.run(
        [sys.executable, "-c", parsed], cwd=tmp_path, check=True, env={**os.environ}, timeout=60
    )
    run("-m", "nrcscan.metrics.quantity_tables", page)
    assert "| `feature_spread` | √(tr Σ_H) | ≥ 0 | |" in page.read_text(encoding="utf-8")
