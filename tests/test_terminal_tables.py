"""Tables where they are read: in terminals of any width, with colours or none, of any network."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FIXTURES, Run, samples
from rich.cells import cell_len
from rich.console import Console, RenderableType
from test_cli import ok
from torch import Tensor, nn

from nrcscan import Report, Thresholds, against, compare, extract, report, scan
from nrcscan.comparing.against_table import BothSides
from nrcscan.comparing.comparison_table import Tables
from nrcscan.reporting.fitted_grid import FittedGrid, plain_column
from nrcscan.reporting.log_bar import LEAST, WIDTH, log_bar
from nrcscan.reporting.marks import MARKS
from nrcscan.reporting.numbers import plain
from nrcscan.reporting.report_table import Shown, render, table
from nrcscan.reporting.strip import LONGEST, Strip
from nrcscan.scanning import scan_table
from nrcscan.short_names import short_names, shortened
from nrcscan.verdict.answers import Answer
from nrcscan.wording import printable

SWIMMER = FIXTURES / "swimmer"
WIDTHS = (80, 100, 120, 200)
HOSTILE = (
    "a\x1b[2Jb" * 9,
    "\u202egpj" * 9,
    "line\nbreak" * 9,
    "層" * 40,
    "[red]x[/red]" * 9,
    "|" * 90,
)


class Deep(nn.Module):
    """A chain of which every layer is deep inside, by a long name."""

    def __init__(self, names: list[str], width: int = 6) -> None:
        super().__init__()
        encoder = nn.Module()
        for name in names:
            encoder._modules[name] = layer = nn.Linear(width, width)
            nn.init.orthogonal_(layer.weight)
        encoder._modules["head"] = nn.Linear(width, 2)
        self.model = nn.Module()
        self.model.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.model.get_submodule("encoder").children():
            x = layer(x)
        return x


def shown(what: RenderableType, width: int = 80, **options: Any) -> str:
    """Return what a terminal shows."""
    buffer = io.StringIO()
    Console(file=buffer, width=width, **{"color_system": None, **options}).print(what)
    return buffer.getvalue()


def widest(text: str) -> int:
    return max(map(cell_len, text.splitlines()))


def laid_out(text: str) -> str:
    """Return the lines that are no sentences, which are whole where there is no terminal."""
    sentences = ("- ", "NOT", "COLL", "UNDEC", "LEARNED", "THIS", "A linear", "k = ", "Not e")
    return "\n".join(s for s in text.splitlines() if not s.startswith(sentences))


def numbers(text: str) -> list[str]:
    return sorted(re.findall(r"\d\.\d+(?:e-?\d+)?", text))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def acts(folder: Path) -> dict[str, Path]:
    """Files of networks of every kind."""
    found = {}
    for name, epoch in (("wd0", 600), ("wd0.01", 600)):
        checkpoint = SWIMMER / name / f"epoch_{epoch}.pt"
        found[name] = folder / f"{name}.h5"
        extract(checkpoint, SWIMMER / "data.npz", found[name], activations=False)
    networks = {
        "deep": Deep([f"layer_{i}_attention_output_projection_dense" for i in range(50)]),
        "hostile": Deep([*HOSTILE]),
        "one": nn.Sequential(nn.Linear(6, 2)),
        "two": nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2)),
    }
    torch.manual_seed(0)
    for name, network in networks.items():
        found[name] = folder / f"{name}.h5"
        extract(network, samples(120, 6, 2), found[name], activations=False)
    return found


@pytest.fixture(scope="module")
def reports(acts: dict[str, Path]) -> dict[str, Report]:
    return {name: report(path) for name, path in acts.items()}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("what", [Shown(), Shown(errors=True, chance=True), Shown(wide=True)])
def test_a_report_fits_any_terminal(reports: dict[str, Report], width: int, what: Shown) -> None:
    for name, found in reports.items():
        text = shown(table(found, what), width)
        assert widest(text) <= width, name
        values = [line for line in text.splitlines() if re.match(r" *(in|\d+) ", line)]
        everything = shown(table(found, Shown(what.errors, what.chance, wide=True)), 10_000)
        if width >= 120 or what.wide:  # no number is cut, wherever it stands
            assert set(numbers(everything)) == set(numbers(text)), name
        assert values, name


def test_kind_width_and_stable_ranks_are_for_wide_terminals(reports: dict[str, Report]) -> None:
    found = reports["wd0.01"]
    for width, there in ((80, False), (119, False), (120, True), (200, True)):
        head = shown(table(found), width)
        assert all((word in head) is there for word in ("SR(H)", "SR(W)", "Linear ")), width
    assert "SR(W)" in shown(table(found, Shown(wide=True)))
    assert "SR(W)" not in render(found, "table")
    assert "SR(W)" in render(found, "table", Shown(wide=True))
    assert "| kind | width |" in render(found, "md")


def test_columns_are_headed_by_condition_quantity_and_threshold(acts: dict[str, Path]) -> None:
    strict = Thresholds(noise_max=0.05, cka_min=0.9, alignment_min=0.95, error_ratio_max=1.5)
    for thresholds, own in ((Thresholds(), "≤ 0.2 ≥ 0.65 ≥ 0.7 0.5 to 2"), (strict, None)):
        lines = render(report(acts["wd0.01"], thresholds=thresholds), "table").splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith(" # layer"))
        titles = "NRC1 noise log NRC2 CKA NRC3 align lin. MSE NRC4 ratio"
        assert lines[at - 1].split() == titles.split()
        limits = own or "≤ 0.05 ≥ 0.9 ≥ 0.95 0.667 to 1.5"
        beside = re.sub(r"1e-8…1|net 0\.133|# layer", "", lines[at])
        assert beside.split() == limits.split()
        assert "net 0.133" in lines[at]  # the network's error beside the linear one


def test_the_strip_shows_where_collapse_begins(reports: dict[str, Report]) -> None:
    lines = render(reports["wd0.01"], "table").splitlines()
    (at,) = [i for i, line in enumerate(lines) if line.lstrip() == "▼ collapsed from layers.6"]
    assert lines[at + 1 : at + 6] == [
        "NRC1 noise ● ● │ ● ● ● ● ●  from the 1st",
        "NRC2 CKA   ● ● │ ● ● ● ● ●  from the 1st",
        "NRC3 align ○ ● │ ● ● ● ● ●  from the 2nd",
        "NRC4 ratio ○ ○ │ ● ● ● ● ●  from the 3rd",
        "depth      1 2   3 4 5 6 7",
    ]
    assert lines[at].index("▼") == lines[at + 1].index("│")
    assert "│" not in render(reports["wd0"], "table")  # undecided: it begins nowhere
    assert "depth" not in render(reports["one"], "table")  # inputs alone, which are data
    assert "depth      1\n" in render(reports["two"], "table")


def strip_of(n: int, begins: int | None) -> Strip:
    answers = [Answer.NOT_MET if begins and i < begins else Answer.MET for i in range(n)]
    name = "model.encoder.layer_with_a_name_that_takes_more_than_a_line"
    at = None if begins is None else (begins, name)
    return Strip(range(1, n + 1), {"NRC1 noise": answers}, ["from the 1st"], at)


@pytest.mark.parametrize("n", [1, 2, 9, 10, 20, 21, 40, 41, 100, 200])
def test_a_strip_wraps_and_marks_every_layer(n: int) -> None:
    for begins in (None, *range(0, n, 1 if n < 50 else 13)):
        text = shown(strip_of(n, begins))
        assert widest(text) <= 80
        rows = [line for line in text.splitlines() if line.startswith("NRC1")]
        marks = [re.sub(r"[^●○]", "", row) for row in rows]
        assert "".join(marks) == "○" * (begins or 0) + "●" * (n - (begins or 0))
        assert all(len(row) == LONGEST for row in marks[:-1])
        if begins is not None:
            lines = text.splitlines()
            (label,) = [i for i, line in enumerate(lines) if "▼" in line]
            assert lines[label].index("▼") == lines[label + 1].index("│")
            before, _ = lines[label + 1].split("│")
            assert len(re.sub(r"[^●○]", "", before)) == begins % LONGEST


def test_a_tick_is_above_its_layer() -> None:
    for n in (7, 19, 30, 90):
        for begins in (None, 3, 26 if n > 26 else 5):
            text = shown(strip_of(n, begins)).splitlines()
            parts = [line for line in text if line.startswith(("NRC1", "depth"))]
            marks, ticks = parts[0], parts[1]
            columns = [i for i, c in enumerate(marks) if c in "●○"]
            for tick in re.finditer(r"\d+", ticks):
                assert tick.start() == columns[int(tick[0]) - 1], (n, begins)


def test_long_names_keep_what_tells_them_apart(reports: dict[str, Report]) -> None:
    text = render(reports["deep"], "table")
    assert widest(laid_out(text)) <= 80
    rows = [line for line in text.splitlines() if re.match(r" *(in|\d+) layer_", line)]
    names = [row[3:].split(" ")[0] for row in rows]
    assert len(set(names)) == len(names) == 50
    assert "…" in names[10]
    assert text.count("\n # model.encoder.") == 1  # what they begin with alike, once
    whole = render(reports["deep"], "table", Shown(wide=True))
    assert all(layer.name in whole for layer in reports["deep"].layers)


def test_names_are_cut_to_their_width() -> None:
    assert short_names(["short", "names"], 12) == ("", ["short", "names"])
    assert short_names(["one.of.a.single.layer.alone"], 12)[0] == ""
    assert short_names(["a.b", "a.b.c"], 2) == ("a.", ["b", "b…"])
    prefix, short = short_names([f"one_long_word_of_{i}_and_more" for i in range(3)], 8)
    assert prefix == "one_long_word_of_"
    assert len(set(short)) == 3
    parts = ("attention.self.query", "attention.self.key", "attention.output.dense", "output.dense")
    bert = [f"bert.encoder.layer.{i}.{part}" for i in range(12) for part in parts]
    assert len(set(short_names([*bert, "classifier"], 16)[1])) == 49
    for room in range(2, 30):
        for name in (*map(printable, HOSTILE), "a" * 60, "x.y" * 20):
            cut = shortened(name, room)
            assert cell_len(cut) <= room
            assert "…" in cut


def test_hostile_names_are_inert_and_line_up(acts: dict[str, Path], reports: Any) -> None:
    for what in (table(reports["hostile"]), Tables(compare([acts["hostile"], acts["deep"]]))):
        for width in WIDTHS:
            text = shown(what, width)
            assert widest(text) <= width
            assert all(line.isprintable() for line in text.splitlines())
            assert "\x1b" not in shown(what, width, color_system=None, force_terminal=True)
    lines = render(reports["hostile"], "table").splitlines()
    rows = [line for line in lines if re.match(r" *(in|\d+) ", line) and "━" in line]
    ends = {cell_len(row[: row.index("━")]) for row in rows}
    assert len(rows) == 7
    assert len(ends) == 1


def test_marks_line_up_in_ascii_as_elsewhere(reports: dict[str, Report]) -> None:
    for name in ("wd0", "wd0.01", "deep", "hostile"):
        text = render(reports[name], "table", encoding="ascii")
        assert text.isascii()
        lines = text.splitlines()
        rules = [i for i, line in enumerate(lines) if set(line) == {"-"}]
        assert len(rules) == 1
        assert widest(laid_out(text)) <= 80
        rows = [s for s in lines[rules[0] + 1 :] if re.match(r" *(in|\d+) ", s)]
        ends = {row.index("=") for row in rows if "=" in row}
        assert len(ends) == 1, name
    marks = [mark for mark, _ in MARKS.values()]
    assert len(marks) == len(set(marks))
    text = render(reports["wd0.01"], "table", encoding="ascii")
    assert "NRC3 align o * | * * * * *  from the 2nd\n" in text
    assert "\nv collapsed ---" in text
    assert render(reports["wd0.01"], "table", encoding="utf-16") == render(
        reports["wd0.01"], "table"
    )


@pytest.mark.usefixtures("forked")
def test_the_command_in_ascii_and_without_colours(program: Run, acts: dict[str, Path]) -> None:
    for command in (["report", acts["wd0"], "--errors"], ["compare", acts["wd0"], acts["deep"]]):
        plain_one = ok(program(*command, env={"NO_COLOR": "1", "COLUMNS": "33"}))
        assert "\x1b" not in plain_one
        assert plain_one == ok(program(*command))  # the same wherever it is read
        ascii_one = ok(program(*command, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}))
        assert ascii_one.isascii()
        assert len(ascii_one.splitlines()) == len(plain_one.splitlines())


def test_colours_alone_tell_nothing_and_are_not_red_and_green() -> None:
    colours = {style for _, style in MARKS.values()}
    assert len(colours) == len(MARKS)
    assert not any("red" in style or "green" in style for style in colours)


def test_no_color_is_heard(reports: dict[str, Report], monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = shown(table(reports["wd0.01"]), color_system="truecolor", force_terminal=True)
    assert "38;2;" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    colourless = shown(table(reports["wd0.01"]), color_system="truecolor", force_terminal=True)
    assert "38;2;" not in colourless
    without = re.compile(r"\x1b\[[\d;]*m")
    assert without.sub("", colourless) == without.sub("", coloured)


def test_a_bar_is_a_column_for_every_power_of_ten() -> None:
    assert len(log_bar(1.0)) == WIDTH
    lengths = [len(log_bar(10.0**-i)) for i in range(9)]
    assert lengths == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert log_bar(LEAST / 2) == log_bar(0.0) == log_bar(None) == ""


def test_columns_that_do_not_fit_go_below() -> None:
    columns = [[plain_column((f"head{i}",), [f"{i}.{row}" * 5 for row in "12"])] for i in range(6)]
    grid = FittedGrid(["first", "second"], "name", columns)
    for width in (grid.least_width, 40, 80, 200):
        text = shown(grid, width)
        assert widest(text) <= width
        assert [text.count(f"{i}.1" * 5) for i in range(6)] == [1] * 6
        assert text.count("second") == text.count("name")


def test_rows_below_the_others_are_under_a_line_and_lengthen_no_name() -> None:
    names = [f"net.encoder.block_{i}.attention" for i in range(3)]
    column = [plain_column(("value",), [*"123", "sum"])]
    grid = FittedGrid(names, "layer", [column], below=["network"], strong=1, width=30)
    lines = shown(grid).splitlines()
    assert "net.encoder." in lines[1]  # what the names above begin with alike
    assert [line.split()[-1] for line in lines[3:6]] == [*"123"]
    assert set(lines[6]) == {"─"}
    assert lines[7].split() == ["network", "sum"]
    (bold,) = [s for s in shown(grid, force_terminal=True, color_system="standard").splitlines()
               if s.rstrip().endswith("2\x1b[0m")]  # fmt: skip
    assert bold.startswith("\x1b[1m")


@pytest.mark.parametrize("width", WIDTHS)
def test_comparisons_fit(acts: dict[str, Path], folder: Path, width: int) -> None:
    paths = [acts["wd0"], acts["wd0.01"], acts["deep"], acts["two"]]
    assert widest(shown(Tables(compare(paths)), width)) <= width
    for name in ("train", "test"):
        if not (folder / f"{name}.h5").exists():
            part = {"limit": 500} if name == "train" else {"offset": 500}
            network, data = SWIMMER / "wd0.01" / "epoch_600.pt", SWIMMER / "data.npz"
            extract(network, data, folder / f"{name}.h5", activations=False, **part)  # type: ignore[arg-type]
    sides = BothSides(against(folder / "train.h5", folder / "test.h5"))
    text = shown(sides, width)
    assert widest(text) <= width
    assert len(re.findall(r"\btrain +test +gap", text)) == 4
    assert all(
        title in " ".join(text.split()) for title in ("NRC1 noise ≤ 0.2", "NRC3 align ≥ 0.7")
    )


@pytest.mark.usefixtures("workers_here")
def test_a_scan_shows_onset_over_epochs_and_a_line_for_a_dead_run(tmp_path: Path) -> None:
    found = scan(SWIMMER, SWIMMER / "data.npz", tmp_path / "scan", jobs=1)
    text = plain(scan_table.table(found, 80))
    assert text.splitlines()[:3] == [
        "epoch   20 100 600",
        "wd0      ·   ~   ~",
        "wd0.01   ·   ○   3",
    ]
    dead = [line for line in text.splitlines() if "wd0.05" in line]
    assert dead == ["wd0.05: learned nothing at epoch 100 (R² 0.000; inferred, and doubtful)"]
    for width in WIDTHS:
        assert widest(shown(scan_table.table(found), width)) <= width
    letters = plain(scan_table.table(found, 80), "ascii")
    assert letters.isascii()
    assert "wd0.01   .   o   3\n" in letters


@pytest.mark.usefixtures("workers_here")
def test_many_checkpoints_wrap_and_their_long_names_are_cut(tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "a_run_of_a_name_that_is_long_and_longer"
    runs.mkdir(parents=True)
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 2))
    for epoch in range(30):
        torch.save(
            {"epoch": 1000 + epoch, **model.state_dict()},
            runs / f"checkpoint_of_a_very_long_name_indeed_{epoch:04}.pt",
        )
    x, _ = samples(60, 6, 2)
    with torch.no_grad():
        y = model(torch.tensor(x)).numpy()
    np.savez(tmp_path / "data.npz", X=x, y=y)
    shutil.copy(SWIMMER / "wd0" / "epoch_20.pt", runs / "other.pt")  # of other inputs
    found = scan(tmp_path / "runs", tmp_path / "data.npz", tmp_path / "scan", jobs=1)
    text = shown(scan_table.table(found))
    assert widest(text) <= 80
    heads = re.findall(r"^ +(?:other.pt +)?10\d\d(?: +10\d\d)*$", text, re.M)
    assert " ".join(heads).split() == ["other.pt", *(str(1000 + i) for i in range(30))]
    rows = [line for line in text.splitlines() if re.match(r"  ch.*…", line)]
    assert len({row.split()[0] for row in rows}) == len(rows) == 30
    assert len(re.findall(r"×", text)) == 2  # and in the legend
