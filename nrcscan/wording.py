"""Words in messages: names listed, and nothing in them that steers a terminal or a build log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

_ASCII = str.maketrans(
    {
        "●": "*",
        "○": "o",
        "✓": "+",
        "✗": "-",
        "━": "=",
        "╸": "-",
        "│": "|",
        "─": "-",
        "▼": "v",
        "·": ".",
        "—": "n/a",
        "–": "-",
        "→": ">",
        "×": "x",
        "²": "^2",
        "≠": "!=",
        "±": "+-",
        "≤": "<=",
        "≥": ">=",
        "√": "sqrt",
        "ρ": "rho",
        "…": "...",
    }
)

_COMMAND = re.compile(r"(?<!\S):(?=:)|#(?=#\w*\[)")
"""What begins a command in a build's log: `::` before which a line has only spaces, and `##[` or
`##vso[` anywhere."""

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def in_ascii(text: str) -> str:
    r"""Return text in letters that every terminal has; what has no like there as escapes.

    >>> in_ascii("R² ≤ 0.2 ●○ 層")
    'R^2 <= 0.2 *o \\u5c64'
    """
    return text.translate(_ASCII).encode("ascii", "backslashreplace").decode("ascii")


def printable(text: str) -> str:
    r"""Return `text` on one line that steers neither a terminal nor the CI that reads its lines.

    Names come from files that nobody has vetted: control characters, line breaks, direction
    overrides, and what begins a command of GitHub Actions, Azure or TeamCity, are shown as escapes.
    What is printable stays as it is, however often it passes here.

    >>> printable("layer\x1b[2J\n0")
    'layer\\x1b[2J\\n0'
    >>> printable("::error ::x"), printable("a##[error]b"), printable("onnx::Gemm_0")
    ('\\x3a:error \\x3a:x', 'a\\x23#[error]b', 'onnx::Gemm_0')
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _as_escape(c) for c in text)
    return _COMMAND.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _as_escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def listed(names: Iterable[object], last: str = "and") -> str:
    """Return names as one readable enumeration.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    words = [str(name) for name in names]
    return f" {last} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def some(names: Sequence[object]) -> str:
    """Return names as one readable enumeration, or the first of many.

    >>> some(["a", "b", "c"]), some(range(9))
    ('a, b and c', '0, 1 and 7 more')
    """
    return listed(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more"


def counted(number: int, what: str) -> str:
    """Return how many there are of something.

    >>> counted(1, "run"), counted(12, "layer")
    ('1 run', '12 layers')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"


def power_of_ten(exponent: int) -> str:
    """Return a power of ten as an axis has it.

    >>> [power_of_ten(n) for n in (-3, -1, 0, 2, 4)]
    ['10⁻³', '0.1', '1', '100', '10⁴']
    """
    if -2 <= exponent <= 2:
        return f"{10.0**exponent:g}"
    return f"10{str(exponent).translate(_RAISED)}"


def ordinal(number: int) -> str:
    """Return 1st, 2nd, 3rd, ….

    >>> [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 21)]
    ['1st', '2nd', '3rd', '4th', '11th', '12th', '21st']
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"


def r_squared(value: float | None) -> str:
    """Return an R² with so many digits that none below 1 reads as 1; a dash where there is none.

    >>> r_squared(0.8671), r_squared(0.99992), r_squared(1.0), r_squared(-1234.5), r_squared(None)
    ('0.867', '0.9999', '1', '-1.23e+03', '—')
    >>> r_squared(-0.0001)
    '0.000'
    """
    if value is None:
        return "—"
    if value >= 1 or value < -100:
        return f"{value:.3g}"
    digits = 3
    while digits < 12 and float(f"{value:.{digits}f}") >= 1:
        digits += 1
    return f"{value:z.{digits}f}"


def reason(error: BaseException) -> str:
    """Return the first line of what another library said, for use inside a message."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


def with_tables(page: str, tables: Mapping[str, str]) -> str:
    r"""Return a Markdown page with its tables as they are given.

    A table follows a line `<!-- NAME: … -->`, NAME being a key of `tables`; every key may have
    its place on another page.

    >>> with_tables("<!-- sizes: made -->\n| old |\n", {"sizes": "| new |"})
    '<!-- sizes: made -->\n| new |\n'
    """
    for name, table in tables.items():
        place = rf"(<!-- {name}:[^\n]*-->\n)(?:\|[^\n]*\n)*"
        page = re.sub(place, lambda found, table=table: f"{found[1]}{table}\n", page)  # type: ignore[misc]
    return page
