"""A report as a table for papers, in LaTeX with booktabs, plain ASCII whatever its names hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from nrcscan.metrics import quantities
from nrcscan.reporting import sentences
from nrcscan.reporting.layer_result import LayerResult
from nrcscan.reporting.numbers import number
from nrcscan.reporting.place import place
from nrcscan.reporting.report_document import Report
from nrcscan.verdict.answers import Answer
from nrcscan.verdict.state import State
from nrcscan.wording import printable

_COMMANDS = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "`": r"{\char96}",
    "-": "{-}",  # two of them are no dash
    "—": "---",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
    "²": "$^2$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\to$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "√": r"$\surd$",
    "λ": r"$\lambda$",
    "ρ": r"$\rho$",
    "Σ": r"$\Sigma$",
}
"""What TeX would take for itself, and what it has no letter for, as it is written there."""

MARKS = {
    Answer.MET: r"$\bullet$",
    Answer.NOT_MET: r"$\circ$",
    Answer.UNDECIDED: r"$\sim$",
    Answer.NOT_JUDGED: "?",
}

HEAD = ("#", "layer", "width", *quantities.COLUMNS.values())


def escaped(text: str) -> str:
    r"""Return text that LaTeX sets as it stands; letters beyond ASCII are shown as escapes.

    >>> escaped("50% of $x_1$"), escaped("R² of \\input{層}")
    ('50\\% of \\$x\\_1\\$', 'R$^2$ of \\textbackslash{}input\\{\\textbackslash{}u5c64\\}')
    """
    return "".join(map(_letter, printable(text)))


def _letter(letter: str) -> str:
    if letter in _COMMANDS:
        return _COMMANDS[letter]
    if letter.isascii():
        return letter
    return "".join(map(_letter, letter.encode("unicode_escape").decode("ascii")))


def tex(report: Report, *, errors: bool = False) -> str:
    """Return a table of a report's layers, its verdict as the caption.

    Args:
        report: it.
        errors: show every value with its standard error.
    """
    alignment = "@{}rl" + "r" * (len(HEAD) - 2) + "@{}"
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_caption(report)}}}",
        r"\small",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        _row([escaped(column) for column in HEAD]),
        r"\midrule",
        *_body(report, errors=errors),
        r"\bottomrule",
        r"\end{tabular}",
        r"\par\smallskip",
        r"\begin{minipage}{\linewidth}\footnotesize",
        *(f"{line}\\par" for line in _below(report)),
        r"\end{minipage}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _caption(report: Report) -> str:
    verdict = report.verdict
    told = [verdict.text, *verdict.findings, f"{sentences.signal(report)}."]
    return escaped(" ".join(told))


def _body(report: Report, *, errors: bool) -> Iterator[str]:
    """Yield the rows; where collapse begins a line of its own says so."""
    for layer in report.layers:
        collapsed = report.verdict.state is State.COLLAPSED
        if collapsed and layer.name == report.verdict.onset:
            yield r"\midrule"
            yield rf"\multicolumn{{{len(HEAD)}}}{{@{{}}l@{{}}}}{{\itshape collapsed}} \\"
        name = rf"\texttt{{{escaped(layer.name)}}}"
        numbers = (_number(layer, quantity, errors=errors) for quantity in quantities.COLUMNS)
        yield _row([place(layer), name, str(layer.width), *numbers])


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _number(layer: LayerResult, quantity: str, *, errors: bool) -> str:
    """Return a value with its mark; what the verdict leaves out has none."""
    shown = _power(number(layer.metrics.get(quantity), quantities.ENTRIES[quantity].digits))
    error = layer.metrics.standard_errors.get(quantity)
    if errors and error is not None:
        shown += rf" $\pm$ {_power(f'{error:.1g}')}"
    if quantity in quantities.JUDGES and layer.step is not None:
        shown += f" {MARKS[layer.answers[quantities.JUDGES[quantity].name]]}"
    return shown


def _power(shown: str) -> str:
    r"""Return a number as it is printed: 9.8e-3 with its power of ten.

    >>> _power("9.8e-3"), _power("-0.5"), _power("—")
    ('$9.8\\times10^{-3}$', '$-0.5$', '---')
    """
    if found := re.fullmatch(r"(-?[\d.]+)e([+-]?)0*(\d+)", shown):
        mantissa, sign, exponent = found.groups()
        return rf"${mantissa}\times10^{{{sign.replace('+', '')}{exponent}}}$"
    return f"${shown}$" if shown.startswith("-") else _COMMANDS.get(shown, shown)


def _below(report: Report) -> Iterator[str]:
    """Yield what stands below the table: where conditions are met, marks, and why values lack."""
    yield escaped(sentences.onsets(report))
    yield ", ".join(f"{mark} {answer.value}" for answer, mark in MARKS.items()) + "."
    for line in (*sentences.undefined(report), *sentences.bounds(report)):
        yield escaped(line)
