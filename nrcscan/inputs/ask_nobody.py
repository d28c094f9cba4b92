"""While a library loads a file, nobody is asked anything: a question is an error, at once.

What a file makes a library ask is the file's question, and an answer that lies ready on standard
input, as `yes |` or a script's next line, is none to it.
"""

from __future__ import annotations

import builtins
import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


class AskedError(RuntimeError):
    """A library asked the user; the message says what."""


@contextmanager
def ask_nobody() -> Iterator[None]:
    """Let no library read an answer, from the terminal, a notebook or standard input."""
    before = builtins.input, getpass.getpass, sys.stdin
    with open(os.devnull, encoding="utf-8") as nothing:  # noqa: PTH123 (as it is, on Windows too)
        builtins.input, getpass.getpass, sys.stdin = _refuse, _refuse, nothing
        try:
            yield
        finally:
            builtins.input, getpass.getpass, sys.stdin = before


def _refuse(prompt: object = "", *_: object, **__: object) -> NoReturn:
    raise AskedError(f"it asks {' '.join(str(prompt).split())[:200]!r}")
