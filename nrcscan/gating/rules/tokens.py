"""The words of a rule, and the error that points at one of them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nrcscan.errors import UsageError
from nrcscan.wording import printable

LONGEST = 1000
"""Characters in a rule, at most."""
NEAR = 24
"""Characters of a rule that an error quotes."""

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
  | (?P<name>[^\W\d]\w*(?:\.\w+)*(?:\#[0-9]+)?)
  | (?P<text>"[^"]*"|'[^']*')
  | (?P<mark><=|>=|==|!=|[<>+\-*/()\[\].:])
    """,
    re.VERBOSE,
)
_INSTEAD = {
    "=": "write == to compare",
    "≤": "write <=",
    "≥": "write >=",
    "≠": "write !=",
    "&": "write and",
    "|": "write or",
    "!": "write not",
    '"': "close the quotation mark",
    "'": "close the quotation mark",
}


class RuleError(UsageError):
    """A rule that cannot be read.

    Attributes:
        caret: the rule and below it a mark at the character, as two lines for a terminal.
    """

    def __init__(self, text: str, at: int, end: int, what: str, remedy: str, origin: str) -> None:
        near = shortened(text[at:end], NEAR)
        where = f"at character {at + 1}, {near!r}" if near else "at the end"
        super().__init__(f"{origin} {shortened(text)!r}: {what} {where}; {remedy}")
        self.caret = f"{printable(text)}\n{' ' * len(printable(text[:at]))}^"


@dataclass(frozen=True)
class Token:
    """A word of a rule: its kind ("number", "name", "text", "mark" or "end") and its place."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """The place after its last character."""
        return self.start + len(self.text)


def tokens(text: str, origin: str) -> list[Token]:
    """Return the words of a rule, the last one "end".

    Raises:
        RuleError: a character belongs to no word, or the rule is too long.

    >>> [token.text for token in tokens("layers[-1].cka>=1e-3", "rule")]
    ['layers', '[', '-', '1', ']', '.', 'cka', '>=', '1e-3', '']
    """
    if len(text) > LONGEST:
        what = f"a rule of {len(text)} characters, more than {LONGEST},"
        raise RuleError(text, LONGEST, len(text), what, "write several rules", origin)
    found = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            remedy = _INSTEAD.get(text[at], "quote layer names that hold such characters")
            raise RuleError(text, at, at + 1, "unexpected character", remedy, origin)
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match.group(), at))
        at = match.end()
    return [*found, Token("end", "", len(text.rstrip()))]


def shortened(text: str, longest: int = 120) -> str:
    """Return a text, cut where it is long."""
    return text if len(text) <= longest else f"{text[:longest]}…"
