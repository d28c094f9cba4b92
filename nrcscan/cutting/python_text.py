"""Values and calls as lines of Python, laid out as formatters do."""

from __future__ import annotations

import keyword
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from nrcscan.wording import printable

WIDTH = 100
"""Columns of a line."""


@dataclass(frozen=True)
class Group:
    """What stands between brackets: on one line if it fits, else item by item.

    Attributes:
        begin: up to the opening bracket, such as `nn.Linear(`.
        items: what is separated by commas.
        end: the closing bracket.
    """

    begin: str
    items: Sequence[str | Group]
    end: str = ")"

    def __str__(self) -> str:
        return f"{self.begin}{', '.join(map(str, self.items))}{self.end}"


def laid_out(expression: str | Group, indent: int = 0, before: str = "", after: str = "") -> str:
    """Return an expression as lines.

    Args:
        expression: what to lay out.
        indent: columns before it.
        before: what its first line begins with, such as `return `.
        after: what its last line ends with.
    """
    whole = f"{' ' * indent}{before}{expression}{after}"
    if len(whole) <= WIDTH or isinstance(expression, str) or not expression.items:
        return whole
    sole = len(expression.items) == 1 and isinstance(expression.items[0], Group)
    comma = "" if sole else ","
    items = [laid_out(item, indent + 4, after=comma) for item in expression.items]
    margin = " " * indent
    return "\n".join(
        [f"{margin}{before}{expression.begin}", *items, f"{margin}{expression.end}{after}"]
    )


def literal(value: Any) -> str:
    r"""Return a value as Python has it, in letters of ASCII.

    >>> literal(["na\u00efve \"x\"", 2, None, float("inf")])
    '["na\\xefve \\"x\\"", 2, None, float("inf")]'
    >>> literal((3,)), literal(torch.float64), literal(torch.device("cpu"))
    ('(3,)', 'torch.float64', 'torch.device("cpu")')
    """
    if isinstance(value, str):
        escaped = value.encode("unicode_escape").decode("ascii")
        return '"' + escaped.replace('"', '\\"') + '"'
    if isinstance(value, float) and not math.isfinite(value):
        return f'float("{value}")'
    if isinstance(value, torch.device):
        return f"torch.device({literal(str(value))})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    if isinstance(value, tuple):
        items = ", ".join(map(literal, value))
        return f"({items},)" if len(value) == 1 else f"({items})"
    return repr(value)


def documented(text: str) -> str:
    r"""Return text as it may stand between the quotes of a docstring.

    >>> documented('a "b" \\ c')
    'a "b" \\\\ c'
    """
    text = "\n".join(map(printable, text.split("\n")))
    return text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')


def is_plain_name(name: str) -> bool:
    """Whether a name can stand after a dot."""
    return name.isidentifier() and name.isascii() and not keyword.iskeyword(name)
