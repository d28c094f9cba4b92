"""What a user sees of cuts: table, JSON, CSV, Markdown, notebook, DataFrame, and each error."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import FIXTURES, Run
from jsonschema import Draft202012Validator
from test_cli import failed, ok
from test_python import HOSTILE as HTML
from test_python import SHOWN, _Tags
from test_terminal_tables import HOSTILE, WIDTHS, shown, widest

import nrcscan
from nrcscan import Cuts, UsageError
from nrcscan.cutting.cuts import Cut, Estimate
from nrcscan.cutting.cuts_frame import rows
from nrcscan.cutting.cuts_schema import cut_schema
from nrcscan.cutting.cuts_table import CutsTable, render
from nrcscan.cutting.linear_head import LinearHead
from nrcscan.cutting.numbers_of_cuts import alike, change, kept
from nrcscan.reporting.marks import MARKS
from nrcscan.verdict.answers import Answer

SWIMMER, PENDULUM = FIXTURES / "swimmer", FIXTURES / "pendulum"
BRANCH = "the shortcut past it, shortcut, is not in what reaches it"
STRICT = Draft202012Validator(cut_schema())


def estimate(value: float) -> Estimate:
    return Estimate(value, value / 10)


def made(names: Sequence[str], own: float = 0.125, **changes: object) -> Cuts:
    """Return cuts of every answer before these layers, the third of them refused."""
    found = []
    for i, name in enumerate(names):
        if i == 2:
            found.append(Cut(name, i, False, BRANCH, step=i))
            continue
        error = own * 2.0 ** (3 - i)
        found.append(
            Cut(
                name,
                i,
                inputs=i == 0,
                weights=12 * (i + 1),
                multiply_adds=24 * (i + 1),
                head=LinearHead(np.ones((2, 6)), np.zeros(6), np.zeros(2), 10.0**-i),
                train=estimate(error),
                cross_validated=estimate(error * 1.1),
                held_out=estimate(error * 1.2),
                change=Estimate(error * 1.2 / own - 1, 0.01),
                answer=[*Answer][::-1][i % 4],
                step=i or None,
            )
        )
    smallest = next((one for one in found if one.answer is Answer.MET), None)
    sizes = 12 * (len(names) + 1), 24 * (len(names) + 1)
    cuts = Cuts(
        *(Path("train.h5"), Path("test.h5"), 500, 300, 0.05, *sizes),
        *(estimate(own), estimate(own * 1.01), tuple(found), smallest),
        text="THE LAST 3 LAYERS HELP: so they do.",
        notes=("what else to know",),
    )
    return replace(cuts, **changes)  # type: ignore[arg-type]


PLAIN = [f"layers.{2 * i}" for i in range(6)]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of the swimmer and the pendulum, on samples of training and others."""
    folder = tmp_path_factory.mktemp("cut_table")
    swimmer = SWIMMER / "wd0.01" / "epoch_600.pt", SWIMMER / "data.npz"
    pendulum = PENDULUM / "model.safetensors", PENDULUM / "data.npz"
    build = {"factory": f"{PENDULUM / 'network.py'}:build"}
    wanted = {
        "train": (*swimmer, {"limit": 500}),
        "test": (*swimmer, {"offset": 500}),
        "bare": (*swimmer, {"offset": 500, "activations": False}),
        "silent": (*swimmer, {"limit": 500, "predictions": False}),
        "pixels": (*pendulum, build | {"limit": 300}),
        "others": (*pendulum, build | {"offset": 300}),
    }
    for name, (model, data, options) in wanted.items():
        nrcscan.extract(model, data, folder / f"{name}.h5", **options)  # type: ignore[arg-type]
    return {name: folder / f"{name}.h5" for name in wanted}


# --- the table --------------------------------------------------------------------------------


def test_a_row_for_every_cut_and_one_for_the_network() -> None:
    text = render(made(PLAIN), "table")
    lines = text.splitlines()
    assert lines[0] == "THE LAST 3 LAYERS HELP: so they do."
    fitted, judged = lines[1].split(", ")
    assert fitted == "heads fitted to train.h5 (500 samples) by ridge regression"
    assert judged == "judged on test.h5 (300 samples)"
    first, last = (i for i, line in enumerate(lines) if set(line) == {"─"})
    assert [line.split() for line in lines[first - 2 : first]] == [
        ["weights", "mult-adds", "MSE", "MSE", "change"],
        ["#", "cut", "before", "kept", "kept", "train", "held-out", "≤", "+5%"],
    ]
    assert [" ".join(line.split()) for line in lines[first + 1 : last]] == [
        "in layers.0 14.3% 14.3% 1.0000 1.2000 ±0.1200 +860.0% ±1% ?",
        "1 layers.2 28.6% 28.6% 0.5000 0.6000 ±0.0600 +380.0% ±1% ~",
        "2 layers.4 — — — — —",
        "→ 3 layers.6 57.1% 57.1% 0.1250 0.1500 ±0.0150 +20.0% ±1% ●",
        "4 layers.8 71.4% 71.4% 0.0625 0.0750 ±0.0075 -40.0% ±1% ?",
        "5 layers.10 85.7% 85.7% 0.0312 0.0375 ±0.0037 -70.0% ±1% ~",
    ]
    assert " ".join(lines[last + 1].split()) == "network 100% 100% 0.1250 0.1263 ±0.0126"
    assert lines[-2:] == [f"- no cut before layers.4: {BRANCH}", "- what else to know"]
    (legend,) = (line for line in lines if line.startswith("within 5%: ●"))
    assert "→ the smallest of these · in: a linear model of the inputs" in legend


def test_what_is_not_known_is_left_out_and_said() -> None:
    found = made(PLAIN)
    old = replace(found, weights=None, multiply_adds=None, smallest=None)
    text = render(old, "table")
    assert "mult-adds" not in text
    assert "→" not in text
    assert "- what a cut keeps of the network is not known: the file to fit to does not" in text
    bare = tuple(
        replace(cut, held_out=cut.held_out and Estimate(cut.held_out.value), change=None)
        for cut in found.cuts
    )
    alone = replace(found, test=None, own_train=None, own_held_out=None, cuts=bare, smallest=None)
    text = render(alone, "table")
    assert "judged on its blocks, each by a fit without it" in text
    assert "±" not in text
    for form in ("json", "csv", "md"):
        assert "nan" not in render(alone, form).lower()
    least = [replace(cut, head=cut.head and replace(cut.head, ridge=0.0)) for cut in found.cuts]
    assert "(500 samples) by least squares" in render(replace(found, cuts=(*least,)), "table")


def test_wide_terminals_show_width_ridge_and_more_errors() -> None:
    found = made(PLAIN)
    for width, there in ((80, False), (119, False), (120, True), (200, True)):
        head = shown(CutsTable(found), width)
        assert all((word in head) is there for word in ("width", "cross-val.")), width
    wide = render(found, "table", wide=True)
    assert "1e-3" in wide
    assert "cross-val." in wide
    assert "cross-val." not in render(replace(found, test=None), "table", wide=True)


def test_the_smallest_cut_stands_out_without_colours_and_with() -> None:
    found = made(PLAIN)
    coloured = shown(CutsTable(found), force_terminal=True, color_system="truecolor")
    (line,) = (line for line in coloured.splitlines() if "layers.6" in line)
    bold = re.findall(r"\x1b\[1[;m][^\x1b]*\x1b\[0m", line)
    assert "".join(bold) == line  # all of it
    plain = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert plain == shown(CutsTable(found))
    assert [s[0] for s in plain.splitlines() if "layers." in s and "%" in s].count("→") == 1


@pytest.mark.parametrize("names", [[*HOSTILE], [f"a.block_{i}.{'long' * 20}" for i in range(6)]])
def test_names_of_any_kind_fit_any_terminal(names: list[str]) -> None:
    found = made(names, own=1.5e-4)
    for width in WIDTHS:
        text = shown(CutsTable(found), width)
        assert widest(text) <= width
        assert all(line.isprintable() for line in text.splitlines())
    narrow = shown(CutsTable(found), CutsTable(found).least_width)
    whole = shown(CutsTable(found, wide=True), 10_000)
    assert set(re.findall(r"\d\.\d+", narrow)) <= set(re.findall(r"\d\.\d+", whole))
    for name in names:
        assert nrcscan.wording.printable(name) in whole
    assert "\x1b" not in render(found, "md") + render(found, "csv") + repr(found)
    letters = render(found, "table", encoding="ascii")
    assert letters.isascii()
    assert any(re.match("> +3 ", line) for line in letters.splitlines())


def test_a_terminal_of_few_columns_has_every_number() -> None:
    text = shown(CutsTable(made(PLAIN)), 44)
    assert widest(text) <= 44
    assert text.count("layers.6") > 1  # the columns go below each other
    for number in ("57.1%", "0.1250", "0.1500", "±0.0150", "+20.0%"):
        assert number in text


def test_errors_of_a_table_have_as_many_digits_as_the_least_needs() -> None:
    show = alike([estimate(1.0), estimate(0.00123), None])
    assert (show(1.0), show(0.00123)) == ("1.00000", "0.00123")
    assert alike([Estimate(0.0)])(0.0) == "0.00"
    assert alike([Estimate(1e-12), Estimate(1.0)])(1e-12) == "1.00e-12"
    assert kept(0, 10) == "0%"
    assert change(Estimate(0.0, 0.0)) == ("+0.0%", "±0%")


# --- JSON, CSV, Markdown, notebook, DataFrame ---------------------------------------------------


def test_json_is_as_its_schema_says_and_holds_all(files: dict[str, Path]) -> None:
    found = [nrcscan.cut(files["train"], files["test"]), nrcscan.cut(files["train"]), made(PLAIN)]
    found += [nrcscan.cut(files["pixels"], files["others"]), nrcscan.cut(files["silent"])]
    for cuts in found:
        document = json.loads(render(cuts, "json"))
        STRICT.validate(document)
        assert document == cuts.to_dict()
        assert document["schema"] == "nrcscan.cut/1"
        assert [one["layer"] for one in document["cuts"]] == [cut.layer for cut in cuts.cuts]
    assert any(cut.refused for cut in found[3].cuts)
    page = (FIXTURES.parent / "docs" / "cut.md").read_text()
    for key, value in found[0].to_dict().items():
        assert f"`{key}`" in page, key
        for inner in value if key == "model" else value[0] if key == "cuts" else ():
            assert f"`{inner}`" in page or f"`cuts[].{inner}`" in page, inner


def test_steps_are_those_of_the_report(files: dict[str, Path]) -> None:
    for name in ("train", "pixels"):
        report = nrcscan.report(files[name])
        steps = {layer.position: layer.step for layer in report.layers if not layer.shortcut}
        for cut in nrcscan.cut(files[name]).cuts:
            assert cut.step == steps[cut.position]
            assert cut.inputs == report[cut.layer].inputs


def test_csv_and_frame_have_the_same_rows(files: dict[str, Path]) -> None:
    for cuts in (nrcscan.cut(files["pixels"], files["others"]), made(PLAIN)):
        told = list(csv.DictReader(io.StringIO(render(cuts, "csv"))))
        table = cuts.to_frame()
        assert [row["layer"] for row in told] == [*table.index]
        assert [*told[0]] == ["layer", *table.columns] == [*next(rows(cuts))]
        for name in ("held_out_mse", "change_se", "weights_kept"):
            values = [float(row[name] or "nan") for row in told]
            np.testing.assert_array_equal(values, table[name].to_numpy())
        assert [row["smallest"] for row in told] == [str(one).lower() for one in table["smallest"]]
        assert table["step"].isna().iloc[0]


def test_no_name_is_a_formula_a_link_or_a_tag() -> None:
    names = ["=cmd()", "a|b", HTML, "`c`", "[x](http://y)", "+1"]
    found = made(names)
    told = [row["layer"] for row in csv.DictReader(io.StringIO(render(found, "csv")))]
    assert (told[0], told[5]) == ("'=cmd()", "'+1")
    markdown = render(found, "md")
    table = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    assert "`[x](http://y)`" in markdown  # code, which is no link
    page = _Tags(found._repr_html_())
    assert {tag for tag, _ in page.tags} <= SHOWN
    assert not any(ord(letter) < 32 for text in page.texts for letter in text)


def test_markdown_and_a_notebook_show_what_the_table_shows() -> None:
    found = made(PLAIN)
    markdown, page = render(found, "md"), " ".join(_Tags(found._repr_html_()).texts)
    assert "| 3 | **`layers.6`** | 57.1% | 57.1% | 0.1250 ±0.0125 | 0.1500 ±0.0150 |" in markdown
    for text in (markdown, page):
        for cell in ("+20.0% ±1%", "→ ●", "0.1263 ±0.0126", "what else to know", BRANCH):
            assert cell in text
    assert page.startswith(found.text)
    assert repr(found) == (
        "<Cuts: THE LAST 3 LAYERS HELP: so they do.\n"
        "6 cuts, the smallest within 5%: before layers.6>"
    )
    assert repr(found.cuts[2]) == f"<Cut before layers.4; none: {BRANCH}>"


# --- the command ------------------------------------------------------------------------------


def test_the_command_shows_what_the_function_returns(
    program: Run, cli: Run, files: dict[str, Path], tmp_path: Path
) -> None:
    given = ("cut", files["train"], "--against", files["test"])
    found = nrcscan.cut(files["train"], files["test"])
    assert ok(program(*given, env={"COLUMNS": "33"})) == render(found, "table")
    ascii_one = ok(program(*given, "--wide", env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}))
    assert ascii_one == render(found, "table", wide=True, encoding="ascii")
    for form in ("json", "csv", "md"):
        assert ok(cli(*given, "--format", form)) == render(found, form)
    done = cli(*given, "--format", "csv", "-o", "cuts.csv")
    assert (ok(done), done.stderr) == ("", "note: wrote cuts.csv\n")
    assert (tmp_path / "cuts.csv").read_text() == render(found, "csv")


def test_a_tolerance_is_a_share_or_in_percent(cli: Run, files: dict[str, Path]) -> None:
    given = ("cut", files["train"], "--against", files["test"])
    for share, within, answer in (("0%", 0.0, "met"), ("0.125", 0.125, "met"), ("100%", 1, "met")):
        document = json.loads(ok(cli(*given, "--within", share, "--format", "json")))
        assert (document["within"], document["cuts"][2]["answer"]) == (within, answer)
    assert "\nwithin 12.5%: a held-out MSE of at most 12.5% above" in ok(
        cli(*given, "--within", "12.5%")
    )


def test_what_the_command_refuses(cli: Run, files: dict[str, Path], tmp_path: Path) -> None:
    train, test = files["train"], files["test"]
    share = "give a share from 0 to 1, such as 5% or 0.05"
    for given in ("5", "-1%", "much"):
        failed(cli("cut", train, f"--within={given}"), 2, f"error: --within {given}: {share}")
    failed(
        cli("cut", train, "--against", train),
        2,
        f"error: {train}: is the file itself; give that of other samples to --against",
    )
    done = cli("cut", train, "--against", files["pixels"])
    assert done.returncode == 3
    assert "is of another network (" in done.stderr
    for name in ("cut.pt", "cut.ONNX", "a/cut.safetensors"):
        failed(
            cli("cut", train, "-o", name),
            2,
            rf"error: {name}: ends as a \w+ does, and would hold a table; choose another"
            " ending",
        )
    for form in ("json", "csv", "md"):
        done = cli("cut", train, "--wide", "--format", form)
        failed(done, 2, f"error: --wide has no effect with --format {form}; leave it out")
    (tmp_path / "there.md").write_text("mine")
    failed(
        cli("cut", train, "--against", test, "--format", "md", "-o", "there.md"),
        2,
        "error: there.md: exists already; replace it with --force, or choose another name",
    )
    done = cli("cut", "missing.h5")
    assert done.returncode == 3
    assert "missing.h5" in done.stderr
    done = cli("cut", SWIMMER / "data.npz")
    assert done.returncode == 3
    assert "not a file of nrcscan extract; give a file that nrcscan extract wrote" in done.stderr


def test_what_python_is_told(files: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"^--within 2: give a share from 0 to 1"):
        nrcscan.cut(files["train"], within=2)
    with pytest.raises(TypeError, match=r"cut\(\) takes no argument witin; did you mean within"):
        nrcscan.cut(files["train"], witin=0.1)  # type: ignore[call-arg]


def test_files_without_features_or_predictions_say_so(cli: Run, files: dict[str, Path]) -> None:
    shown_one = ok(cli("cut", files["train"], "--against", files["bare"]))
    assert "±" not in next(line for line in shown_one.splitlines() if "layers.6" in line[:16])
    assert "- the errors of cuts have no error bars: TEST keeps no features" in shown_one
    silent = ok(cli("cut", files["silent"]))
    assert silent.startswith("CANNOT BE JUDGED: the network makes no predictions")
    assert {MARKS[Answer.NOT_JUDGED][0]} == {
        line.rstrip()[-1] for line in silent.splitlines() if re.match(r" +(in|\d+) ", line)
    }


def test_a_position_in_a_branch_is_a_row_with_its_reason(cli: Run, files: dict[str, Path]) -> None:
    text = ok(cli("cut", files["pixels"], "--against", files["others"]))
    (row,) = (line for line in text.splitlines() if re.match(r" *2 conv2", line))
    assert row.split() == ["2", "conv2", *["—"] * 5]
    assert f"\n- no cut before conv2: {BRANCH}\n" in text
