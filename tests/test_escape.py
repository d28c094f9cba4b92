"""Whatever stands in a file or its name steers nothing that shows it: no output in any form."""

from __future__ import annotations

import ast
import csv
import io
import json
import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, edited
from markdown_it import MarkdownIt
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.text import Text
from torch import nn

import nrcscan
from nrcscan.acts_file.layer_attributes import fixed
from nrcscan.cli.app import app
from nrcscan.errors import InputError, NrcscanError
from nrcscan.files.inert_csv import csv_text
from nrcscan.files.inert_json import json_text
from nrcscan.reporting.inert_lines import InertLines
from nrcscan.reporting.numbers import plain
from nrcscan.scanning.read_scan import read_scan
from nrcscan.training.flat_numbers import flat
from nrcscan.wording import printable

LINE = "::error title=x::"
EACH = (
    LINE,
    "##[error]x",
    "##vso[task.debug]",
    "=1+1;=2",
    "=cmd|'x'!A0",
    "+1",
    "-1",
    "@x",
    "- 1. x",
    "\x1b]52;c;eA==\a",
    "\x1b[2J\x9b2J\x7f",
    "\u202ex\u2066\u200f",
    f"\r\n{LINE}",
    f"\u2028{LINE}",
    "[/x][bold]",
    "<script>f()</script>",
    "]]>-->",
    "`|``",
    "\\input{x}$x^",
    "\"\"\"'''#",
    "![a](javascript:f())<marquee>",
)
"""Each would steer something; names begin with one of them and hold all."""

COUNT = 8
"""Layers: names begin with as many of them."""

FORMS = ("table", "json", "csv", "md", "tex")


def name(number: int, longest: int = 400) -> str:
    """Return a name that begins with one of these, and holds as many others as fit."""
    first = number % len(EACH)
    return f"{''.join([*EACH[first:], *EACH[:first]])}"[:longest] + str(number)


def file_name(number: int) -> str:
    """Return one that a file system takes: of 255 bytes, without a slash."""
    shown = name(number).replace("/", "\u2215").encode()[:200].decode(errors="ignore")
    return f"{shown}{number}"


# --- what looks at outputs -------------------------------------------------------------------


def steers_lines(text: str) -> list[str]:
    """Return what in a text could steer a terminal, or a build that reads its lines."""
    found = [f"U+{ord(c):04X}" for c in sorted(set(text)) if not c.isprintable() and c != "\n"]
    found += re.findall(r"##\w*\[", text)
    return found + [line[:40] for line in text.split("\n") if line.lstrip().startswith("::")]


def steers_cells(text: str) -> list[str]:
    """Return cells that a spreadsheet takes for formulas, wherever it has cells end."""
    found = []
    for end in ",;":
        for row in csv.reader(io.StringIO(text), delimiter=end):
            for cell in row:
                formula = re.match(r"\s*[=+\-@]", cell)
                if formula and not re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?(,.*)?", cell):
                    found.append(cell[:40])
    return found


class Elements(HTMLParser):
    """Tags of a page, and the names of their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(key for key, _ in attrs)))


def steers_page(text: str) -> list[str]:
    """Return what a page has that we never write: scripts beside its two, handlers, links out."""
    elements = Elements(text).found
    found = [f"{len(elements)} elements"] if "<img" in text else []
    found += [tag for tag, *_ in elements if tag in ("marquee", "img", "iframe", "link", "object")]
    found += [key for _, *keys in elements for key in keys if key.startswith("on") or key == "src"]
    if sum(tag == "script" for tag, *_ in elements) > 2:
        found.append("script")
    return found + [c for c in set(text) if not c.isprintable() and c != "\n"]


def steers_markdown(text: str) -> list[str]:
    """Return what a Markdown page has that we never write."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        types = [token.type, *(child.type for child in token.children or ())]
        found += [t for t in types if re.match("html|link|image|fence|code_block|ordered", t)]
        found += ["nested list"] * (token.type == "list_item_open" and token.level > 1)
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        ends = {len(re.findall(r"(?:[^|\\]|\\.)*\|", row)) for row in table.splitlines()}
        found += ["cells"] * (len(ends) > 1)
    return found


def steers_tex(text: str) -> list[str]:
    """Return commands of TeX that we never write."""
    known = (
        "begin|end|centering|caption|small|toprule|midrule|bottomrule|par|smallskip|linewidth"
        "|footnotesize|texttt|textbackslash|textasciicircum|textasciitilde|textless|textgreater"
        "|textbar|char|ldots|cdot|pm|times|to|leq|geq|neq|surd|lambda|rho|Sigma|bullet|circ|sim"
        "|multicolumn|itshape|usepackage"
    )
    found = set(re.findall(r"\\([a-zA-Z]+)", text)) - set(known.split("|"))
    return [*found, *re.findall(r"\\input", text)]


LOOK = {
    "csv": steers_cells,
    "md": steers_markdown,
    "tex": steers_tex,
    "json": lambda text: [] if json.loads(text) else ["nothing"],
    "html": steers_page,
    "svg": lambda text: [e.tag for e in ET.fromstring(text).iter() if "script" in str(e.tag)],
    "xml": lambda text: [
        e.tag for e in ET.fromstring(text).iter()
        if e.tag not in ("testsuites", "testsuite", "testcase", "failure", "error", "skipped",
                         "system-out")
    ],
}  # fmt: skip


def steers(text: str, form: str) -> list[str]:
    """Return what in an output of a form could steer what shows it."""
    found = LOOK.get(form, lambda _: [])(text)
    return found if form == "html" else [*steers_lines(text), *found]


@pytest.mark.parametrize("form", ["table", "csv", "md", "tex", "html", "svg", "xml"])
def test_what_looks_finds_what_it_looks_for(form: str) -> None:
    raw = {
        "table": name(0),
        "csv": "name\n" + "\n".join(EACH),
        "md": f"| a | b | c |\n|---|---|---|\n| {EACH[15]} | x |\n",
        "tex": name(18),
        "html": f"<p>{name(20)}</p>",
        "svg": "<svg><script>f()</script></svg>",
        "xml": "<testsuites><script>f()</script></testsuites>",
    }[form]
    assert LOOK.get(form, steers_lines)(raw)


# --- one place for every form ----------------------------------------------------------------


def test_what_is_printable_stays_so() -> None:
    for text in (*EACH, *map(name, range(len(EACH)))):
        shown = printable(text)
        assert not steers_lines(shown), text
        assert not steers_lines(f"  {shown}"), text
        assert printable(shown) == shown


def test_json_is_read_back_exactly() -> None:
    told = {name(i): [name(i)] for i in range(len(EACH))}
    for indent in (None, 1):
        text = json_text(told, indent)
        assert json.loads(text) == told
        assert not steers_lines(text)
        assert text.isascii()
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(float("nan"))


@pytest.mark.parametrize(
    "text", ["=1", "+1", "-1", "@x", " =1", "a;=1", "a; -1", "\uff1d1", "\t=1"]
)
def test_no_cell_of_csv_begins_a_formula(text: str) -> None:
    assert not steers_cells(csv_text([[text, -0.5, text]]))
    (row,) = csv.reader(io.StringIO(csv_text([[text, -0.5, None, "a-b; c"]])))
    assert row[1:] == ["-0.5", "", "a-b; c"]


def test_a_line_is_looked_at_where_it_begins() -> None:
    """A word that wrapping puts at the start of a line begins a command there alone."""
    words = Text(f"{'a' * 30}{LINE} b c {'d' * 10}::error ::e", "bold")
    buffer = io.StringIO()
    Console(file=buffer, width=30).print(words)
    assert steers_lines(buffer.getvalue())
    buffer = io.StringIO()
    Console(file=buffer, width=30).print(InertLines(words))
    assert not steers_lines(buffer.getvalue())
    assert not steers_lines(plain(Text(f"x\n{LINE}\x1b\u202e")))


# --- every string of every file, in every command ---------------------------------------------


def network() -> nn.Sequential:
    """Return a network of which each layer's name steers something."""
    torch.manual_seed(0)
    layers = nn.Sequential()
    for i in range(COUNT):
        layers._modules[name(i).replace(".", "")] = nn.Linear(6, 6 if i < COUNT - 1 else 2)
        if i % 4 == 0:
            layers._modules[f"relu{i}"] = nn.ReLU()
    return layers


def filled(value: Any, keys: set[str], at: str = "") -> Any:
    """Return JSON in which every string is a hostile one, but those under these keys."""
    if isinstance(value, dict):
        return {key: filled(inner, keys, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, keys, at) for inner in value]
    return name(len(at)) if isinstance(value, str) and at not in keys else value


def strings(value: Any, at: str = "") -> Iterator[str]:
    """Yield the key of every string of JSON."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from strings(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner, at)
    elif isinstance(value, str):
        yield at


def fill_acts(path: Path, kept: set[str] | None = None) -> set[str]:
    """Make every string of a statistics file hostile; return what the reader does not take so."""
    with edited(path) as file:
        for i, group in enumerate(file["layers"].values()):
            group.attrs["kind"] = fixed(name(i))
        told = json.loads(bytes(file["provenance"][:]))
    whole = set(strings(told))
    if kept is None:
        kept, found = set(), list[str]()
        for key in sorted(whole):
            put_provenance(path, filled(told, whole - {key}))
            try:
                nrcscan.report(path)
            except NrcscanError as error:
                found += steers_lines(str(error))
                kept.add(key)
        assert not found
    put_provenance(path, filled(told, kept))
    assert len(whole - kept) > 15
    return kept


def put_provenance(path: Path, told: Any) -> None:
    """Have a statistics file tell something else of itself."""
    with edited(path) as file:
        del file["provenance"]
        file["provenance"] = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with hostile names, of hostile networks, with hostile strings."""
    made = tmp_path_factory.mktemp("escape") / file_name(0)
    made.mkdir()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((240, 6)).astype(np.float32)
    y = (x[:, :2] + 0.1 * rng.standard_normal((240, 2))).astype(np.float32)
    np.savez(made / "data.npz", X=x, y=y)
    model = network()
    for part, first in (("train", 0), ("test", 120)):
        path = made / f"{file_name(1)}{part}.h5"
        nrcscan.extract(model, (x, y), path, activations=False, cross=True,
                        offset=first, limit=120)  # fmt: skip
    for i, epoch in enumerate((1, 2)):
        run = made / "runs" / file_name(i)
        run.mkdir(parents=True)
        torch.save(model.state_dict(), run / f"{file_name(i)}_epoch{epoch}.pt")
        (run / f"{file_name(7 + i)}.pt").write_bytes(b"no checkpoint")
        (run / f"{file_name(9 + i)}.npz").write_bytes(b"nothing")
    (made / "network.py").write_text(
        "from torch import nn\n"
        "def build(names, last):\n"
        "    layers = nn.Sequential()\n"
        "    for i, name in enumerate(names):\n"
        "        layers._modules[name] = nn.Linear(6, 2 if i == last else 6)\n"
        "        if i % 4 == 0:\n"
        "            layers._modules[f'relu{i}'] = nn.ReLU()\n"
        "    return layers\n"
    )
    return made


@pytest.fixture(scope="module")
def hostile(folder: Path) -> tuple[Path, Path]:
    """Both statistics files, with whatever they say of themselves hostile."""
    kept: set[str] | None = None
    made = []
    for part in ("train", "test"):
        path = folder / f"{file_name(2)}{part}.h5"
        path.write_bytes((folder / f"{file_name(1)}{part}.h5").read_bytes())
        kept = fill_acts(path, kept)
        made.append(path)
    return made[0], made[1]


def arguments() -> str:
    """Return what the factory makes the network of."""
    names = [name(i).replace(".", "") for i in range(COUNT)]
    return json.dumps({"names": names, "last": len(names) - 1})


class Terminal(io.StringIO):
    """What a terminal gets."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def expect_inert(done: Any, form: str = "table", codes: tuple[int, ...] = (0,)) -> str:
    assert done.returncode in codes, done.stderr
    assert not steers(done.stdout, form), (done.args[:3], form)
    assert not steers_lines(done.stderr), done.args[:3]
    return str(done.stdout)


def test_every_string_of_a_statistics_file_is_inert(folder: Path, cli: Run) -> None:
    train, test = (folder / f"{file_name(1)}{part}.h5" for part in ("train", "test"))
    for form in FORMS:
        shown = expect_inert(cli("report", train, "--format", form), form)
        assert "title=x" in shown  # the names are there, if not as they were
    told = json.loads(cli("report", train, "--format", "json").stdout)
    assert [layer["name"] for layer in told["layers"]] == [
        name(i).replace(".", "") for i in range(COUNT)
    ]
    for more in (["--wide", "--errors", "--chance"], ["--measures", "all"]):
        expect_inert(cli("report", train, *more))
    for form in FORMS[:-1]:
        expect_inert(cli("report", train, "--against", test, "--format", form), form)
        expect_inert(cli("cut", train, "--against", test, "--format", form), form)
        expect_inert(cli("cut", train, "--between", "--against", test, "--format", form), form)
        expect_inert(cli("compare", train, test, "--format", form), form)


def test_what_a_statistics_file_says_of_itself_is_inert(
    hostile: tuple[Path, Path], cli: Run, tmp_path: Path
) -> None:
    train, test = hostile
    for form in FORMS:
        shown = expect_inert(cli("report", train, "--format", form), form)
    assert "title=x" in shown
    assert "title=x" in expect_inert(cli("report", train, "--wide"))
    for form in FORMS[:-1]:
        expect_inert(cli("report", train, "--against", test, "--format", form), form, (0, 2, 3))
        expect_inert(cli("compare", train, test, "--format", form), form)
        expect_inert(cli("cut", train, "--format", form), form)
    expect_inert(cli("merge", train, test, "-o", tmp_path / f"{file_name(3)}.h5"), codes=(0, 2, 3))


def test_pages_figures_and_notebooks_are_inert(
    hostile: tuple[Path, Path], cli: Run, tmp_path: Path
) -> None:
    train, test = hostile
    page = tmp_path / f"{file_name(5)}.html"
    expect_inert(cli("page", train, "-o", page, "--title", name(3)))
    assert not steers(page.read_text(), "html")
    for kind in ("collapse", "rank", "spectrum"):
        figure = tmp_path / f"{file_name(6)}{kind}.svg"
        more = ["--label", name(0), "--label", name(10)]
        expect_inert(cli("plot", train, test, "-o", figure, "--kind", kind, *more))
        assert not steers(figure.read_text(), "svg")
    shown = [
        nrcscan.report(train),
        nrcscan.compare([train, test]),
        nrcscan.cut(train),
        nrcscan.between(train, test),
        nrcscan.against(train, test),
    ]
    for one in shown:
        assert not steers_lines(repr(one)), type(one)
        if hasattr(one, "_repr_html_"):
            html = one._repr_html_()
            assert not steers(html, "html"), type(one)
            assert "script" not in {tag for tag, *_ in Elements(html).found}


def test_terminals_are_not_steered(
    hostile: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In colours too, and where lines wrap."""
    train, test = hostile
    for command in (
        ["report", train, "--wide"],
        ["report", train, "--against", test],
        ["compare", train, test],
        ["cut", train],
        ["cut", train, "--between"],
    ):
        for columns in ("40", "97"):
            monkeypatch.setenv("COLUMNS", columns)
            monkeypatch.setenv("TERM", "xterm-256color")
            monkeypatch.setattr(sys, "stdout", out := Terminal())
            app(list(map(str, command)), standalone_mode=False)
            text = out.getvalue()
            assert "\x1b[" in text  # it is in colours
            assert not steers_lines(re.sub(r"\x1b\[[\d;]*m", "", text)), command


def test_scans_are_inert_everywhere(
    folder: Path, cli: Run, tmp_path: Path, workers_here: None
) -> None:
    summary, out = tmp_path / "summary.md", tmp_path / file_name(4)
    junit = tmp_path / f"{file_name(5)}.xml"
    builds = ["--model", f"{folder / 'network.py'}:build", "--model-args", arguments()]
    call = ["scan", folder / "runs", folder / "data.npz", "-o", out, *builds, "--cuts"]
    github = {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_ACTIONS": "true"}
    rules = ["--require", "model.r2 >= 0.99", "--junit", junit, "--explain"]
    done = cli(*call, *rules, env=github)
    annotations = [line for line in done.stderr.split("\n") if line.startswith("::")]
    assert annotations
    for line in annotations:
        assert re.fullmatch(r"::error (file=[^,:]*,)?title=[\w ]+::.*", line), line
        assert not steers_lines(line.removeprefix("::"))
    done.stderr = "\n".join(set(done.stderr.split("\n")) - set(annotations))
    assert "title=x" in expect_inert(done, codes=(1, 3))
    assert not steers(junit.read_text(), "xml")
    assert not steers(summary.read_text(), "md")
    assert not steers((out / "scan.csv").read_text(), "csv")
    assert not steers((out / "scan.json").read_text(), "json")
    for form in ("json", "csv"):
        expect_inert(cli(*call, "--format", form), form, codes=(0, 1, 3))
    later_commands(out, cli, tmp_path)
    fill_scan(out / "scan.json")
    later_commands(out, cli, tmp_path / "filled")


def later_commands(scan: Path, cli: Run, folder: Path) -> None:
    """Have every command that reads scans show one."""
    folder.mkdir(exist_ok=True)
    page, figure = folder / "scan.html", folder / "scan.svg"
    expect_inert(cli("page", scan, "-o", page))
    assert not steers(page.read_text(), "html")
    expect_inert(cli("plot", scan, "--kind", "heatmap", "-o", figure))
    assert not steers(figure.read_text(), "svg")
    for form in FORMS[:-1]:
        expect_inert(cli("compare", scan, "--format", form), form)


def fill_scan(path: Path) -> None:
    """Make every string of a scan hostile that its reader takes so."""
    told = json.loads(path.read_text())
    whole: set[str] = set(strings(told))
    kept, found = set(whole), list[str]()
    for key in sorted(whole):
        path.write_text(json.dumps(filled(told, kept - {key})))
        try:
            read_scan(path)
        except InputError as error:
            found += steers_lines(str(error))
        else:
            kept.discard(key)
    assert not found
    kept |= {"onset", "last", "state", "name", "statistics", "status", "run", "path"}
    path.write_text(json.dumps(filled(told, kept)))
    assert len(whole - kept) > 10


def test_a_graph_of_onnx_is_inert(cli: Run, folder: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal((6, 6 if i < COUNT - 1 else 2)).astype(np.float32)
               for i in range(COUNT)]  # fmt: skip
    held = [numpy_helper.from_array(w, name(i)) for i, w in enumerate(weights)]
    tensors = ["x", *(f"{name(i)}out" for i in range(COUNT))]
    nodes = [
        helper.make_node("MatMul", [tensors[i], name(i)], [tensors[i + 1]], name=f"{name(i)}node",
                         doc_string=name(i))
        for i in range(COUNT)
    ]  # fmt: skip
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6])
    result = helper.make_tensor_value_info(tensors[-1], TensorProto.FLOAT, ["n", 2])
    graph = helper.make_graph(nodes, name(0), [given], [result], held, doc_string=name(1))
    options: dict[str, Any] = {"producer_name": name(2), "producer_version": name(3)}
    opsets = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10, **options)
    path = tmp_path / f"{file_name(6)}.onnx"
    path.write_bytes(model.SerializeToString())
    assert "title=x" in expect_inert(cli("inspect", path))
    expect_inert(cli("inspect", path, "--json"), "json")
    acts = tmp_path / f"{file_name(7)}.h5"
    expect_inert(cli("extract", path, folder / "data.npz", "-o", acts))
    for form in FORMS:
        expect_inert(cli("report", acts, "--format", form), form)
    model.graph.node[3].op_type = name(10)
    path.write_bytes(model.SerializeToString())
    expect_inert(cli("inspect", path), codes=(0, 3))


def test_tables_and_checkpoints_are_inert(cli: Run, folder: Path, tmp_path: Path) -> None:
    """Names of columns, of targets, of a state dict, and of what cannot be read."""
    columns = [name(i) for i in range(8)]
    data, model = tmp_path / f"{file_name(8)}.csv", tmp_path / f"{file_name(9)}.pt"
    with data.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *np.random.default_rng(0).random((60, 8)).tolist()])
    state = network().state_dict()
    torch.save({"epoch": 3, name(3): name(4), "state_dict": state}, model)
    assert "title=x" in expect_inert(cli("inspect", model), codes=(0, 3))
    expect_inert(cli("inspect", model, "--json"), "json")
    builds = ["--model", f"{folder / 'network.py'}:build", "--model-args", arguments()]
    call = ["extract", model, data, *builds]
    acts = tmp_path / f"{file_name(10)}.h5"
    expect_inert(cli(*call, "-o", acts, "--n-targets", "2"), codes=(0, 2, 3))
    for more in (["--targets", name(20)], ["--x-key", name(1)], ["--exclude", name(2)],
                 ["--model", f"{name(3)}:x"], ["--device", name(4)], [f"--{name(5)}"]):  # fmt: skip
        expect_inert(cli(*call, *more), codes=(2, 3))
    for number in range(len(EACH)):
        broken = tmp_path / file_name(number)
        broken.write_bytes((b"", b"PK\x03\x04", name(number).encode())[number % 3])
        for command in ("inspect", "report", "page"):
            expect_inert(cli(command, broken), codes=(2, 3))


CODE = 'a")\rgetattr(__import__("os"), "mkdir")("marker")\rdef g(self, x):\r    x = ("'
"""The name of a layer, which ends the string and the function that torch.export writes it into."""


def chain(folder: Path, names: list[str]) -> tuple[Path, Path, Path]:
    """Return a checkpoint of a chain with these names of layers, its data and its statistics."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 6)).astype(np.float32)
    model, data, acts = (folder / f"{file_name(i)}{end}" for i, end in ((15, ".pt"), (12, ".npz"),
                                                                        (13, ".h5")))  # fmt: skip
    np.savez(data, X=x, y=x[:, :2])
    widths = [6] * len(names) + [2]
    state = {}
    for at, own in enumerate(names):
        state[f"{own}.weight"] = torch.tensor(rng.standard_normal((widths[at + 1], 6))).float()
        state[f"{own}.bias"] = torch.zeros(widths[at + 1])
    torch.save(state, model)
    return model, data, acts


def test_no_name_of_a_layer_is_code_of_an_exported_network(
    cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model, data, acts = chain(tmp_path, ["first", CODE, "last"])
    expect_inert(cli("extract", model, data, "-o", acts, "--activation", "relu"))
    done = cli("cut", acts, "--model", model, "-o", tmp_path / "cut.pt", "--before", "last")
    expect_inert(done, codes=(3,))
    assert "torch.export would run a name with quotes" in done.stderr
    assert not (tmp_path / "marker").exists()
    assert not (tmp_path / "cut.py").exists()
    exported = nn.Sequential()
    exported._modules[CODE] = nn.Linear(6, 2)
    with suppress(Exception):  # whatever comes after
        torch.export.export(exported, (torch.zeros(3, 6),)).module()
    assert (tmp_path / "marker").exists()  # which is what would have been run


def test_the_source_of_a_cut_network_is_inert(cli: Run, tmp_path: Path) -> None:
    quoted = re.compile("[\"'\\\\.]")
    names = [quoted.sub("", "".join(filter(str.isprintable, name(i)))) for i in range(4)]
    model, data, acts = chain(tmp_path, names)
    expect_inert(cli("extract", model, data, "-o", acts, "--activation", "relu"))
    cut = tmp_path / f"{file_name(14)}.pt"
    expect_inert(cli("cut", acts, "--model", model, "-o", cut, "--before", names[-1]))
    source = cut.with_suffix(".py").read_text()
    assert not [c for c in source if not c.isprintable() and c != "\n"]
    tree = ast.parse(source)
    assert {type(node) for node in tree.body} <= {ast.Expr, ast.Import, ast.ImportFrom,
                                                  ast.FunctionDef}  # fmt: skip
    calls = {ast.unparse(c.func) for c in ast.walk(tree) if isinstance(c, ast.Call)}
    assert calls <= {"nn.Sequential", "nn.Linear", "nn.ReLU", "OrderedDict"}
    made: dict[str, Any] = {}
    exec(compile(tree, "cut.py", "exec"), made)
    made["build"]().load_state_dict(torch.load(cut, weights_only=True))


def test_tensorboard_gets_names_of_letters(folder: Path) -> None:
    for key in flat(nrcscan.report(folder / f"{file_name(1)}train.h5")):
        assert re.fullmatch(r"nrcscan/[\w .:/-]+", key), key
        assert not steers_lines(key)
