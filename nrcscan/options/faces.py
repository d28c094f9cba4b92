"""The two faces of the package: a command has flags, a function of Python has keywords.

Messages are written once, with flags, as commands and files have them. Where a function of the
library is called from Python, what it raises and notes names its keywords instead.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from nrcscan.errors import NrcscanError
from nrcscan.options.cut_network_options import CutNetworkOptions
from nrcscan.options.cut_options import CutOptions
from nrcscan.options.option import declared, nested
from nrcscan.options.page_options import PageOptions
from nrcscan.options.plot_options import PlotOptions
from nrcscan.options.scan_options import ScanOptions
from nrcscan.wording import printable

Given = ParamSpec("Given")
Returned = TypeVar("Returned")

LOGGER = logging.getLogger("nrcscan")
"""Takes the notes that a caller in Python does not; as warnings, so that they are seen unasked."""

_AT_TERMINAL = ContextVar("at_terminal", default=False)

_OF_COMMANDS = {
    "-o": "output",
    "--output": "output",
    "--data": "data",
    "--test-data": "test_data",
    "--against": "test",
}
"""Flags that commands alone declare → what functions call it."""

_NEXT_WORD = re.compile(
    r"a|again|allows|and|are|as|choose|does|for|from|goes|has|if|in|instead|is|keeps|leaves|narrows"
    r"|nor|or|out|resolves|rounds|see|shuffles|takes|that|the|to|where|which|with"
)
"""What goes on with the sentence after a flag, and is no value of it."""

_FLAG = re.compile(
    r"(?<![\w./=-])(?P<flag>--[a-z][a-z-]*[a-z]|-o)(?![\w-])"
    r"(?: (?P<value>'[^']*'|[^\s'(;:,.]\S*?)(?=[:;,.)]*(?:\s|$)))?"
)


_NUMBER_OR_METAVAR = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?|[A-Z][A-Z_,]*|\S*\|\S*")
_REPEATED = re.compile(r"(?P<name>\b\w+)=(?P<first>'[^']*')(?P<others>(?: (?P=name)='[^']*')+)")
"""A flag that is given several times is one keyword with a list."""


@contextmanager
def at_terminal() -> Iterator[None]:
    """Have messages name flags, as a command's do, for as long as this lasts."""
    before = _AT_TERMINAL.set(True)
    try:
        yield
    finally:
        _AT_TERMINAL.reset(before)


def names_keywords(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """Have what a function raises name its keywords, unless a command calls it."""

    @functools.wraps(function)
    def called(*args: Given.args, **options: Given.kwargs) -> Returned:
        try:
            return function(*args, **options)
        except NrcscanError as error:
            if not _AT_TERMINAL.get():
                error.args = (in_keywords(str(error)),)
            raise

    return called


def heard(on_note: Callable[[str], None] | None) -> Callable[[str], None]:
    """Return what takes a note: who asked for it, or the logger, in the words of the caller."""
    say = on_note or _log
    return say if _AT_TERMINAL.get() else lambda note: say(in_keywords(note))


def in_keywords(text: str) -> str:
    """Return a message as Python has it: with keywords for flags.

    >>> in_keywords("too wide; use --sketch 64, --pool mean, or leave --trust out")
    'too wide; use sketch=64, pool="mean", or leave trust=True out'
    >>> in_keywords("--limit: [1] is a list; --no-activations keeps statistics alone")
    'limit: [1] is a list; activations=False keeps statistics alone'
    >>> in_keywords("leave them aside with --ignore 'mean' --ignore 'std', or --sketch RANK")
    "leave them aside with ignore=['mean', 'std'], or sketch=RANK"
    """
    return _REPEATED.sub(_as_list, _FLAG.sub(_keyword, text))


def _keyword(found: re.Match[str]) -> str:
    flag, value = found["flag"], found["value"]
    rest = "" if value is None else f" {value}"
    if flag in _switches():
        return _switches()[flag] + rest
    name = _keywords().get(flag)
    if name is None:
        return found[0]
    if value is None or _NEXT_WORD.fullmatch(value):
        before_reason = value is None and found.string[found.end() :].startswith(":")
        return name + ("" if before_reason else "=") + rest
    plain = value[0] == "'" or _NUMBER_OR_METAVAR.fullmatch(value)
    return f"{name}={value}" if plain else f'{name}="{value}"'


def _as_list(found: re.Match[str]) -> str:
    items = [found["first"], *re.findall(r"='([^']*)'", found["others"])]
    return f"{found['name']}=[{', '.join([items[0], *(repr(item) for item in items[1:])])}]"


@functools.cache
def _keywords() -> Mapping[str, str]:
    """Return flag → keyword, of all that take a value."""
    found = dict(_OF_COMMANDS)
    for options in (PlotOptions, PageOptions, CutOptions, CutNetworkOptions, ScanOptions):
        for name, field in declared(options).items():
            within = nested(field)
            inner = {name: field} if within is None else declared(within)
            found |= {one.flag: key for key, one in inner.items() if one.kinds != (bool,)}
    return found


@functools.cache
def _switches() -> Mapping[str, str]:
    """Return flag → keyword and its value, of all that take none."""
    found = {"--force": "force=True"}
    for name, field in declared(ScanOptions).items():
        if field.kinds == (bool,):
            flags = field.flags.split("/")
            told = [f"{name}=True", f"{name}=False"]
            found |= dict(zip(flags, told, strict=False))
    return found


def _log(note: str) -> None:
    LOGGER.warning("note: %s", printable(note))
