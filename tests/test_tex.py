"""The table for papers: it compiles whatever is in a name, and holds what the report says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import FIXTURES, Run

import nrcscan
from nrcscan.metrics.quantities import COLUMNS, JUDGED
from nrcscan.reporting.report_document import Report
from nrcscan.reporting.report_table import Shown, render
from nrcscan.reporting.tex import HEAD, MARKS, escaped, tex

SPECIAL = "\\{}$&#%_^~"

HOSTILE = (
    "\\input{/etc/passwd}",
    "100%",
    "a & b \\\\ c",
    "$\\frac{1}{0}$",
    "_^~#{}",
    "}}\\end{table}",
    "<img src=x onerror=alert(1)>",
    "層 é \u202e\x1b[2J\n\\hline",
)


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("acts") / "acts.h5"
    swimmer = FIXTURES / "swimmer"
    checkpoint = swimmer / "wd0.01" / "epoch_600.pt"
    nrcscan.extract(checkpoint, swimmer / "data.npz", path, activations=False)
    return path


@pytest.fixture(scope="module")
def found(acts: Path) -> Report:
    return nrcscan.report(acts)


@pytest.fixture(scope="module")
def hostile(found: Report) -> Report:
    """The report of a network with names that nobody would give."""
    layers = [replace(layer, name=name) for layer, name in zip(found.layers, HOSTILE, strict=True)]
    told = replace(found.verdict, text=" ".join(HOSTILE), onset=HOSTILE[3])
    onsets: dict[str, str | None] = dict.fromkeys(found.onset, HOSTILE[5])
    return replace(found, layers=tuple(layers), verdict=told, onset=onsets)


def as_read(text: str) -> str:
    """Return a text as TeX sets it, for the commands that escapes are made of."""
    words = {
        "textbackslash": "\\",
        "textasciicircum": "^",
        "textasciitilde": "~",
        "textless": "<",
        "textgreater": ">",
        "textbar": "|",
    }
    text = re.sub(r"\{\\char(\d+)\}", lambda code: chr(int(code[1])), text).replace("{-}", "-")
    return re.sub(
        r"\\(text\w+)\{\}|\\([{}$&#%_])",
        lambda command: words[command[1]] if command[1] else command[2],
        text,
    )


def bare(text: str) -> str:
    """Return what is left of a text without its escapes and the mathematics that is our own."""
    text = re.sub(r"\\textbackslash\{\}|\\text\w+\{\}|\\[{}$&#%_]", "", text)
    return re.sub(r"\$\\(cdot|pm|times|to|leq|geq|neq|surd|lambda|rho|Sigma)\$|\$\^2\$", "", text)


@pytest.mark.parametrize("name", [*HOSTILE, SPECIAL, "--- `` '' \"|<>", "plain.name.0"])
def test_nothing_in_a_text_is_taken_for_a_command(name: str) -> None:
    made = escaped(name)
    assert made.isascii()
    assert made.isprintable()
    assert not set(SPECIAL) & set(re.sub(r"\{-\}|\{\\char\d+\}", "", bare(made)))
    if name.isascii() and name.isprintable():
        assert as_read(made) == name


def rows(table: str) -> list[list[str]]:
    body = table.partition("\\toprule\n")[2].partition("\\bottomrule")[0]
    lines = [line for line in body.splitlines() if " & " in line]
    assert all(line.endswith(r" \\") for line in lines)
    return [re.split(r"(?<!\\) & ", line.removesuffix(r" \\")) for line in lines]


@pytest.mark.parametrize("errors", [False, True])
def test_the_table_is_balanced(found: Report, hostile: Report, errors: bool) -> None:
    for report in (found, hostile):
        table = tex(report, errors=errors)
        assert table.isascii()
        open_: list[str] = []
        for kind, name in re.findall(r"(?<!\\)\\(begin|end)\{(\w+)\}", table):
            if kind == "begin":
                open_.append(name)
            else:
                assert open_.pop() == name
        assert not open_
        for line in table.splitlines()[1:]:
            plain = re.sub(r"\\[\\{}$&#%_]", "", line)
            depth = 0
            for letter in plain:
                depth += (letter == "{") - (letter == "}")
                assert depth >= 0, line
            assert depth == 0, line
            assert plain.count("$") % 2 == 0, line
            assert "%" not in plain
        assert {len(cells) for cells in rows(table)} == {len(HEAD)}
        assert table.startswith("% needs \\usepackage{booktabs}\n")


def test_the_table_holds_the_numbers_and_the_answers(found: Report) -> None:
    head, *body = rows(tex(found))
    assert head[0] == r"\#"
    assert len(body) == len(found.layers)
    marked = {c.quantity: c.name for c in JUDGED}
    for cells, layer in zip(body, found.layers, strict=True):
        assert cells[1] == rf"\texttt{{{layer.name}}}"
        for cell, quantity in zip(cells[3:], COLUMNS, strict=True):
            power = re.match(r"\$([\d.]+)\\times10\^\{(-?\d+)\}\$", cell)
            told = f"{power[1]}e{power[2]}" if power else cell.split()[0]
            assert float(told) == pytest.approx(layer.metrics.values[quantity], rel=0.06)
            if quantity in marked and layer.step is not None:
                assert cell.endswith(f" {MARKS[layer.answers[marked[quantity]]]}")


def test_a_line_says_where_collapse_begins(found: Report) -> None:
    lines = tex(found).splitlines()
    place = next(i for i, line in enumerate(lines) if "collapsed}" in line)
    assert lines[place - 1] == r"\midrule"
    assert r"\texttt{layers.6}" in lines[place + 1]
    assert r"\caption{COLLAPSED from layers.6 (3rd of 7) to the output." in "\n".join(lines)
    not_so = replace(found, verdict=replace(found.verdict, onset=None))
    assert "collapsed}" not in tex(not_so)


def test_what_is_undefined_is_a_dash_with_its_reason(found: Report) -> None:
    layer = found.layers[2]
    metrics = replace(layer.metrics, values={**layer.metrics.values})
    del metrics.values["cka"]
    metrics.undefined = {"cka": "the features do not vary & more"}
    layers = [replace(one, metrics=metrics) if one is layer else one for one in found.layers]
    table = tex(replace(found, layers=tuple(layers)))
    assert rows(table)[3][4].startswith("---")
    assert r"layers.4: CKA undefined: the features do not vary \& more\par" in table


def test_errors_are_shown_where_asked_for(found: Report) -> None:
    assert not any(r"\pm" in cell for cells in rows(render(found, "tex")) for cell in cells)
    first = found.layers[1].metrics
    told = rf"{first.values['cka']:.3f} $\pm$ {first.standard_errors['cka']:.1g} $\bullet$"
    assert rows(render(found, "tex", Shown(errors=True)))[2][4] == told


def test_the_command_writes_it(cli: Run, acts: Path, tmp_path: Path, found: Report) -> None:
    assert cli("report", acts, "--format", "tex", "-o", "a.tex").returncode == 0
    assert (tmp_path / "a.tex").read_text() == tex(found)
    refused = cli("report", acts, "--format", "tex", "--against", acts)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: --format tex: is for the report of one file; leave")
