from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FIXTURES, ROOT, Run, mlp, samples
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from test_cli import failed, ok

from nrcscan import Comparison, InputError, Thresholds, UsageError, compare, extract, report
from nrcscan.comparing.comparison_table import Tables, render, verdicts
from nrcscan.comparing.short_labels import LONGEST, labels
from nrcscan.metrics.quantities import QUANTITIES

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("workers_here")]

SWIMMER = FIXTURES / "swimmer"


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The weight-decay study, and a network that shares no layer with it."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for name, epoch in (("wd0", 600), ("wd0.01", 600), ("wd0.05", 100)):
        found[name] = folder / f"{name}.h5"
        checkpoint = SWIMMER / name / f"epoch_{epoch}.pt"
        extract(checkpoint, SWIMMER / "data.npz", found[name], activations=False)
    found["other"] = folder / "other.h5"
    with np.load(SWIMMER / "data.npz") as data:
        extract(mlp(8, 12, 2), (data["X"], data["y"]), found["other"], activations=False)
    return found


def shown(width: int, comparison: Any, quantity: str = "noise_component") -> str:
    """Return what a terminal of this width shows."""
    buffer = io.StringIO()
    Console(file=buffer, width=width, color_system=None).print(Tables(comparison, quantity))
    return buffer.getvalue()


def test_the_numbers_are_those_of_the_reports(acts: dict[str, Path]) -> None:
    paths = [acts["wd0"], acts["wd0.01"], acts["wd0.05"]]
    options: dict[str, Any] = {"signal_dim": 1, "convention": "published"}
    options["thresholds"] = Thresholds(noise_max=0.3)
    found = compare(paths, **options)
    for run, path in zip(found.runs, paths, strict=True):
        expected = report(path, **options).to_dict()
        assert list(run.layers.values()) == expected["layers"]
        assert run.onset == expected["onset"]
        assert run.model == expected["model"]
        assert (run.label, run.path, run.signal_dim) == (path.stem, str(path), 1)


def test_the_weight_decay_study(acts: dict[str, Path]) -> None:
    text = render(compare([acts["wd0"], acts["wd0.01"], acts["wd0.05"]]), "table")
    lines = text.splitlines()
    assert lines[0].startswith("wd0: UNDECIDED: all four conditions may hold from layers.6 (3rd of")
    assert "but NRC3 at layers.6, layers.8 and 3 more is undecided (alignment" in lines[0]
    assert lines[1].startswith("wd0.01: COLLAPSED from layers.6 (3rd of 7) to the output. ")
    assert "LEARNED NOTHING" in lines[2]
    assert lines[3:5] == [
        "Conditions differ at 2 of 7 layers.",  # and the inputs, which no condition judges
        "3 runs, k = 2 signal directions, 800 samples",
    ]
    assert re.search(
        r"^wd0\.01 +0\.867 +0\.133 +1st +1st +2nd +3rd +collapsed from layers\.6 \(3rd of 7\)$",
        text,
        re.M,
    )
    assert re.search(r"^wd0\.05 +0\.000 +1\.000 +\? +\? +\? +\? +learned nothing$", text, re.M)
    assert re.search(r"^ +layers\.0 +0\.163 +0\.163 +0\.163$", text, re.M)
    assert re.search(r"^2 +layers\.4 +0\.227 ○●○~ +9\.8e-3 ●●●○ +— \?{4} +≠ NRC1,3$", text, re.M)
    assert re.search(r"^3 +layers\.6 +0\.169 ●●~● +▼4\.0e-4 ●●●● +— \?{4}$", text, re.M)
    assert re.search(r"^4 +layers\.8 +0\.099 ●●~● +5\.7e-5 ●●●● +— \?{4}$", text, re.M)
    assert re.search(r"^6 +layers\.12 +0\.057 ●●~● +1\.9e-6 ●●●● +— \?{4}$", text, re.M)
    assert re.search(r"^7 +layers\.14 +0\.057 ●●~● +5\.7e-6 ●●●● +— \?{4}$", text, re.M)
    assert "- wd0.05 (R² 0.000) has learned nothing" in text
    assert (
        "- wd0.05, 7 layers, layers.2 to layers.14: noise, CKA, align and ratio undefined" in text
    )


def test_the_verdicts_are_those_of_the_reports(acts: dict[str, Path]) -> None:
    paths = [acts["wd0"], acts["wd0.01"], acts["wd0.05"]]
    found = compare(paths)
    texts = [report(path).verdict.text for path in paths]
    assert verdicts(found) == [f"{p.stem}: {text}" for p, text in zip(paths, texts, strict=True)]
    assert [run["verdict"] for run in found.to_dict()["runs"]] == [
        report(path).to_dict()["verdict"] for path in paths
    ]
    for form in ("table", "md"):
        assert all(text in render(found, form).replace("\\", "") for text in texts)


def test_a_dead_run_hides_no_difference_between_two_that_learned(acts: dict[str, Path]) -> None:
    two, three = (
        {row.name: row.differs for row in compare([acts[name] for name in names]).rows}
        for names in (("wd0", "wd0.01"), ("wd0", "wd0.01", "wd0.05"))
    )
    assert two == three
    assert two["layers.4"] == ("nrc1", "nrc3")  # NRC4 is undecided in the first
    one = {row.name: row.differs for row in compare([acts["wd0.01"], acts["wd0.05"]]).rows}
    assert one["layers.2"] == one["layers.4"] == ()  # what cannot be judged is no other answer


def test_a_run_without_predictions_is_not_judged(acts: dict[str, Path], tmp_path: Path) -> None:
    x, y = samples(600, 8, 2)
    network = mlp(8, 16, 2)
    with torch.no_grad():  # more alike than by chance: the head reads the strongest directions
        features, head = network[:-1](torch.tensor(x)), network[-1]
        assert isinstance(head, torch.nn.Linear)
        head.weight.copy_(torch.linalg.svd(features - features.mean(0)).Vh[:2])
    headless = extract(network, (x, y), tmp_path / "headless.h5", predictions=False).path
    lax = Thresholds(noise_max=1, cka_min=0, alignment_min=0)
    found = compare([acts["wd0.01"], headless], thresholds=lax)
    assert found.runs[1].verdict["text"] == (
        "CANNOT BE JUDGED: no predictions are made, so that NRC4 is not judged; NRC1, NRC2 and"
        " NRC3 hold at 2 alone (1st of 1)."
    )
    assert found.runs[1].at_the_end("nrc4").value == "cannot be judged"
    row = next(line for line in render(found, "table").splitlines() if line.startswith("headless "))
    assert re.fullmatch(r"headless +— +— +1st +1st +1st +\? +cannot be judged", row)


def test_the_same_conditions_everywhere(acts: dict[str, Path], tmp_path: Path) -> None:
    shutil.copy(acts["wd0.01"], tmp_path / "copy.h5")
    text = render(compare([acts["wd0.01"], tmp_path / "copy.h5"]), "table")
    assert text.count(": COLLAPSED from layers.6 (3rd of 7) to the output. ") == 2
    assert "The same conditions hold at every layer." in text
    assert not re.search(r"≠ NRC", text)


@pytest.fixture(scope="module")
def two(acts: dict[str, Path]) -> Comparison:
    return compare([acts["wd0"], acts["wd0.01"]])


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_any_quantity_can_be_shown(two: Comparison, quantity: str) -> None:
    value = two.runs[0].layers["layers.6"][quantity]
    table = render(two, "table", quantity).splitlines()
    (line,) = [s for s in table if re.match(r"3 +layers\.6 ", s)]
    first = float(line.split()[2])
    assert first == pytest.approx(value, rel=0.06, abs=6e-4)


def test_layers_that_one_run_lacks_are_dashes(acts: dict[str, Path], tmp_path: Path) -> None:
    x, y = samples(80, 5, 2)
    extract(mlp(5, 8, 6, 2), (x, y), tmp_path / "deep.h5")
    extract(mlp(5, 10, 2), (x, y), tmp_path / "flat.h5")
    found = compare([tmp_path / "flat.h5", tmp_path / "deep.h5"])
    assert [row.name for row in found.rows] == ["0", "2", "4"]
    text = render(found, "table")
    assert re.search(r"^2 +4 +— +\S+ [●○~?]{4}", text, re.M)
    assert "- 4: in deep alone" in text
    assert "- 2: width differs: 10 in flat, 8 in deep" in text
    strangers = compare([acts["wd0"], tmp_path / "deep.h5"])
    assert [row.name for row in strangers.rows][-3:] == ["0", "2", "4"]
    assert any("no layer is in all runs" in note for note in strangers.notes)
    assert any("80 in" in note and "samples differs" in note for note in strangers.notes)
    assert any("on different data" in note for note in strangers.notes)


def test_k_that_differs_is_said(tmp_path: Path) -> None:
    for t in (1, 2):
        extract(mlp(5, 8, t), samples(80, 5, t), tmp_path / f"t{t}.h5")
    found = compare([tmp_path / "t1.h5", tmp_path / "t2.h5"])
    assert any(note.startswith("k differs: 1 in t1, 2 in t2") for note in found.notes)
    assert "k = 1 or 2 signal directions" in render(found, "table")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("n_runs", [2, 3, 7])
def test_it_fits_a_terminal(acts: dict[str, Path], tmp_path: Path, width: int, n_runs: int) -> None:
    names = [f"swimmer_imitation_mlp8x128_wd{i}e-3_seed1_epoch600" for i in range(n_runs)]
    for name in names:
        shutil.copy(acts["wd0.01"], tmp_path / f"{name}.h5")
    found = compare([tmp_path / f"{name}.h5" for name in names])
    assert [run.label for run in found.runs] == [f"wd{i}e-3" for i in range(n_runs)]
    lines = shown(width, found).splitlines()
    assert max(map(len, lines)) <= width
    rows = [line for line in lines if re.match(r"3 +layers\.6 ", line)]
    assert "".join(rows).count("▼4.0e-4 ●●●●") == n_runs
    assert len(rows) == (2 if (n_runs, width) == (7, 80) else 1)


def test_json(acts: dict[str, Path]) -> None:
    found = json.loads(render(compare([acts["wd0"], acts["wd0.05"], acts["other"]]), "json"))
    assert found["schema"] == "nrcscan.compare/2"
    assert found["convention"] == "default"
    assert [run["label"] for run in found["runs"]] == ["wd0", "wd0.05", "other"]
    (layer,) = [layer for layer in found["layers"] if layer["name"] == "layers.4"]
    assert layer["runs"][0] == report(acts["wd0"]).to_dict()["layers"][2]
    assert layer["runs"][1]["noise_component"] is None
    assert "do not vary" in layer["runs"][1]["undefined"]["noise_component"]
    assert layer["runs"][2] is None


def test_csv_is_tidy(acts: dict[str, Path]) -> None:
    text = render(compare([acts["wd0"], acts["wd0.05"], acts["other"]]), "csv")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["run"] for row in rows] == ["wd0"] * 8 + ["wd0.05"] * 8 + ["other"] * 2
    expected = report(acts["wd0"]).layers[3]
    assert rows[3]["name"] == expected.name
    for quantity in QUANTITIES:
        assert float(rows[3][quantity]) == expected.metrics.values[quantity]
    assert (rows[3]["met_nrc1"], rows[3]["met_nrc3"]) == ("true", "")  # NRC3 is undecided
    assert rows[12]["noise_component"] == ""
    assert "do not vary" in rows[12]["undefined"]


def test_markdown(acts: dict[str, Path]) -> None:
    text = render(compare([acts["wd0"], acts["wd0.01"]]), "md")
    assert "| 2 | `layers.4` | 0.227 ○●○~ | 9.8e-3 ●●●○ | NRC1,3 |" in text
    tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
    assert [len({line.count("|") for line in table.splitlines()}) for table in tables] == [1, 1]


def test_names_cannot_steer_the_output(tmp_path: Path) -> None:
    x, y = samples(60, 5, 2)
    hostile = ["[red]a", "b\x1b[2J|<i>"]
    for name in hostile:
        extract(mlp(5, 8, 2), (x, y), tmp_path / f"{name}.h5")
    found = compare([tmp_path / f"{name}.h5" for name in hostile])
    for form in ("table", "md", "csv"):
        text = render(found, form)
        assert "\x1b" not in text
        if form == "table":
            assert "[red]a" in text
        if form == "md":
            assert "<i>" not in text


# --- short names -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/r/wd0.h5", "/r/wd0.01.h5"], ["wd0", "wd0.01"]),
        (["/r/wd0/acts.h5", "/s/wd1/acts.h5"], ["wd0", "wd1"]),
        (["/r/a/s1/x.h5", "/r/b/s1/x.h5"], ["a", "b"]),
        (["/r/run.h5", "/r/run_b.h5"], ["run", "run_b"]),
        (["/r/lr1e-3.h5", "/r/lr1e-4.h5"], ["lr1e-3", "lr1e-4"]),
        (["/r/mlp-3-a.h5", "/r/mlp-4-a.h5"], ["3", "4"]),
        (["/r/wd0_s1_e600.h5", "/r/wd0_s2_e20.h5"], ["s1_e600", "s2_e20"]),
        (["/r/a-b.h5", "/r/a_b.h5"], ["a-b", "a_b"]),
        (["/r/" + "x" * 30 + ".h5", "/r/" + "y" * 30 + ".h5"], ["A", "B"]),
    ],
)
def test_labels(paths: list[str], expected: list[str]) -> None:
    assert labels([PurePath(path) for path in paths]) == expected


@given(
    st.lists(
        st.from_regex(r"/([ab]{1,9}[_/-]){0,4}[ab0-9.-]{0,9}[ab]", fullmatch=True),
        min_size=2,
        max_size=40,
    )
)
def test_labels_are_short_and_all_different(texts: list[str]) -> None:
    paths = list(dict.fromkeys(PurePath(text) for text in texts))
    found = labels(paths)
    assert len(set(found)) == len(paths)
    assert all(0 < len(label) <= LONGEST for label in found)


def test_letters_are_told_what_they_stand_for(acts: dict[str, Path], tmp_path: Path) -> None:
    paths = [tmp_path / f"{letter * 30}.h5" for letter in "pq"]
    for path in paths:
        shutil.copy(acts["wd0.01"], path)
    text = render(compare(paths), "table")
    assert f"- A = {paths[0]}\n- B = {paths[1]}\n" in text


# --- scans -----------------------------------------------------------------------------------


@cache
def reported(acts: Path) -> str:
    """Return what a scan says of one network, as JSON: every test has a copy of its own."""
    return json.dumps(report(acts).to_dict())


def entry(run: str, epoch: int | None, acts: Path) -> dict[str, Any]:
    found = json.loads(reported(acts))
    made = {key: found[key] for key in ("model", "verdict", "onset", "layers")}
    path = f"{run}/{epoch}.pt"
    return {"path": path, "run": run, "epoch": epoch, "status": "ok", "reason": None, **made}


def scan(folder: Path, *checkpoints: dict[str, Any]) -> Path:
    folder.mkdir()
    content = {"schema": "nrcscan.scan/2", "checkpoints": checkpoints}
    (folder / "scan.json").write_text(json.dumps(content))
    return folder


def test_the_newest_good_checkpoints_of_one_scan(acts: dict[str, Path], tmp_path: Path) -> None:
    broken = {"path": "wd0/9.pt", "run": "wd0", "epoch": 9, "status": "error", "reason": "NaN"}
    folder = scan(
        tmp_path / "scan",
        entry("wd0", 10, acts["wd0"]) | {"epoch": 2, "path": "wd0/2.pt"},
        broken,
        broken | {"path": "wd1/1.pt", "run": "wd1", "epoch": 1},
        entry("wd0.01", 10, acts["wd0.01"]),
        entry("wd0.01", 2, acts["wd0"]),
    )
    found = compare([folder])
    assert [(run.label, run.epoch) for run in found.runs] == [("wd0", 2), ("wd0.01", 10)]
    assert found.runs[1].onset["all"] == "layers.6"
    assert f"{folder}: wd0/9.pt could not be used: NaN" in found.notes
    assert f"{folder}: wd1/1.pt could not be used: NaN" in found.notes
    text = render(found, "table")
    assert f"- wd0.01: epoch 10 of {folder}: wd0.01/10.pt" in text
    assert "2 runs\n" in text
    assert compare([folder / "scan.json"]).to_dict()["layers"] == found.to_dict()["layers"]


def test_a_scan_of_before_can_be_compared_and_its_collapse_not_judged(
    acts: dict[str, Path], tmp_path: Path
) -> None:
    before = [entry(name, 1, acts[name]) for name in ("wd0", "wd0.01")]
    for checkpoint in before:
        del checkpoint["verdict"]
        checkpoint["onset"]["all"] = checkpoint["onset"]["nrc4"] = "layers.4"
        for layer in checkpoint["layers"]:
            del layer["answers"], layer["step"], layer["error_ratio"]
            layer["met"]["nrc4"] = True  # by the excess
    folder = scan(tmp_path / "scan", *before)
    file = folder / "scan.json"
    file.write_text(file.read_text().replace("nrcscan.scan/2", "nrcscan.scan/1"))
    found = compare([folder, acts["wd0.01"]])
    text = render(found, "table")
    told = "CANNOT BE JUDGED: the scan is of an nrcscan that gave no verdict; scan again."
    assert verdicts(found)[:2] == [f"scan/wd0: {told}", f"scan/wd0.01: {told}"]
    assert re.search(r"^scan/wd0\.01 .* +\? +cannot be judged$", text, re.M)
    assert "layers.14" not in [run.onset["all"] for run in found.runs[:2]]
    assert re.search(r"8 layers, layers\.0 to layers\.14: ratio undefined: the scan is of", text)
    assert not any("nrc4" in row.differs for row in found.rows)


def test_runs_of_two_scans_stand_beside_their_namesakes(
    acts: dict[str, Path], tmp_path: Path
) -> None:
    old = scan(tmp_path / "old", *(entry(name, 1, acts[name]) for name in ("wd0", "wd0.01")))
    new = scan(tmp_path / "new", *(entry(name, 1, acts[name]) for name in ("wd0.01", "wd0")))
    found = compare([old, new])
    assert [run.label for run in found.runs] == ["old/wd0", "new/wd0", "old/wd0.01", "new/wd0.01"]
    assert found.convention is None
    mixed = compare([acts["wd0.05"], old])
    assert [run.label for run in mixed.runs] == ["wd0.05", "wd0", "wd0.01"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a scan's JSON"),
        ("[]", "not a scan .no schema.; give the scan.json of nrcscan scan"),
        ('{"schema": "other/1", "checkpoints": []}', "not a scan .other/1.; give"),
        ('{"schema": "nrcscan.scan/3", "checkpoints": []}', "by a newer nrcscan .*upgrade"),
        ('{"schema": "nrcscan.scan/2", "checkpoints": []}', "no checkpoint of it could be used"),
        ('{"schema": "nrcscan.scan/1", "checkpoints": []}', "no checkpoint of it could be used"),
        ('{"schema": "nrcscan.scan/1", "checkpoints": [{"run": "a"}]}', "damaged"),
        ("[" * 100_000, "not a scan's JSON"),
        ('{"epoch": 1e400}', "not a scan's JSON .1e400 in it, which is out of range"),
        ('{"epoch": 1' + "0" * 400 + "}", "not a scan's JSON .*out of range"),
    ],
)
def test_scans_that_cannot_be_used(tmp_path: Path, content: str, message: str) -> None:
    folder = scan(tmp_path / "scan")
    (folder / "scan.json").write_text(content)
    with pytest.raises(InputError, match=message):
        compare([folder])


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("layers", 0, "noise_component"), "0.1"),
        (("layers", 0, "met", "nrc1"), 0.5),
        (("layers", 0, "width"), None),
        (("layers", 1, "name"), "layers.0"),
        (("layers", 0, "answers", "nrc1"), "perhaps"),
        (("layers", 0, "step"), "1"),
        (("layers", 1, "step"), 10**20),
        (("layers", 1, "step"), -1),
        (("verdict", "state"), "maybe"),
        (("verdict", "unmeasured"), ["head"]),
        (("verdict", "unmeasured"), {"head": 1}),
        (("verdict", "findings"), "none"),
        (("verdict", "confidence"), 0.9),
        (("verdict", "broken_by"), [[]]),
        (("verdict", "last"), "layers.99"),
        (("verdict", "text"), None),
        (("verdict", "onset"), 3),
        (("onset", "all"), "layers.99"),
        (("model", "r2"), "good"),
        (("layers",), []),
    ],
)
def test_damaged_entries(
    acts: dict[str, Path], tmp_path: Path, place: tuple[Any, ...], value: Any
) -> None:
    damaged = entry("wd0", 1, acts["wd0"])
    *outer, last = place
    inner: Any = damaged
    for key in outer:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(InputError, match=r"scan\.json: damaged \(.*\); scan again"):
        compare([scan(tmp_path / "scan", damaged, entry("b", 1, acts["wd0"]))])


@pytest.mark.parametrize(
    "judged", [{"convention": []}, {"thresholds": {"cka_min": "0.5"}}, {"thresholds": [0.5]}, "x"]
)
def test_damaged_conditions(acts: dict[str, Path], tmp_path: Path, judged: Any) -> None:
    folder = scan(tmp_path / "scan", entry("wd0", 1, acts["wd0"]), entry("b", 1, acts["wd0"]))
    content = json.loads((folder / "scan.json").read_text())
    content["provenance"] = {"report": judged}
    (folder / "scan.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"scan\.json: damaged \(.*\); scan again"):
        compare([folder])


def test_what_a_call_gets_wrong(acts: dict[str, Path], tmp_path: Path) -> None:
    folder = scan(tmp_path / "scan", *(entry(n, 1, acts[n]) for n in ("wd0", "wd0.01")))
    one = acts["wd0"]
    with pytest.raises(UsageError, match="a single run: give at least two"):
        compare([one])
    with pytest.raises(UsageError, match=r"wd0\.h5: is given twice"):
        compare([one, one.parent / "." / one.name])
    with pytest.raises(UsageError, match="a scan's numbers are made already"):
        compare([folder], signal_dim=1)
    with pytest.raises(UsageError, match="--quantity depth: choose one of noise_component"):
        render(compare([folder]), "table", "depth")
    with pytest.raises(InputError, match=r"holds no scan\.json"):
        compare([tmp_path, one])
    with pytest.raises(InputError, match="no such acts file"):
        compare([one, tmp_path / "none.h5"])


def test_the_command(cli: Run, acts: dict[str, Path], tmp_path: Path) -> None:
    options = ("--quantity", "cka", "--noise-max", "0.3", "--signal-dim", "1")
    done = cli("compare", acts["wd0"], acts["wd0.01"], *options)
    assert "2 runs, k = 1 signal directions, 800 samples" in ok(done)
    assert " CKA 1234 " in done.stdout
    found = ok(cli("compare", acts["wd0"], acts["wd0.01"], "--format", "json", "-o", "c.json"))
    assert found == ""
    assert json.loads((tmp_path / "c.json").read_text())["schema"] == "nrcscan.compare/2"
    failed(cli("compare", acts["wd0"]), 2, "a single run")


def test_comparing_does_not_wait_for_torch(acts: dict[str, Path]) -> None:
    code = "import sys, nrcscan; nrcscan.compare(sys.argv[1:]); print('torch' in sys.modules)"
    argv = [sys.executable, "-c", code, str(acts["wd0"]), str(acts["wd0.01"])]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
