"""The tables of docs/errors.md: every message, its cause and the next step, read off the code.

`python docs/messages.py docs/errors.md` writes them anew. A message is the text that an error is
made with; its cause is what the docstring says under Raises, of the function or of who calls it;
the next step is what follows the message's last semicolon, or the colon before a verb.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from placeholders import called
from texts_in_code import Function, read_modules, texts

import nrcscan
from nrcscan import errors
from nrcscan.wording import with_tables

PACKAGE = Path(nrcscan.__file__).parent

ERRORS = {
    name: made
    for name, made in vars(errors).items()
    if isinstance(made, type) and issubclass(made, errors.NrcscanError)
}

TABLES = {
    "of-options": ("options", "cli", "demonstration", "inputs/check_first"),
    "of-code": ("inputs/user_code",),
    "of-checkpoints": ("inputs/checkpoints", "inputs/catalogue"),
    "of-data": ("inputs/datasets",),
    "of-networks": ("network",),
    "of-passes": ("extracting", "merging", "statistics"),
    "of-files": ("files", "acts_file", "reporting", "drawing", "metrics"),
    "of-cuts": ("cutting",),
    "of-scans": ("scanning", "comparing", "publishing"),
    "of-rules": ("gating",),
    "of-training": ("training",),
}
"""The rooms, or modules, whose messages are in a table, by the name in the comment before it."""

_RAISES = re.compile(r"(?P<names>[\w, |]+Error(?: or \w+Error)?): (?P<cause>.+)")
_RETURNS = re.compile(r"Return the error that (?P<cause>.+?)(?:, and what to do)?\.")
_NEXT_STEP = re.compile(
    r"(?P<what>.*)(?:; |: (?=(?:allow|choose|give|leave|name|put|save|see|take|use|write) ))"
    r"(?P<step>.*)"
)


@dataclass(frozen=True)
class Message:
    """One message, as a reader of the page sees it."""

    text: str
    cause: str
    remedy: str
    kind: str
    module: str

    @property
    def exit_code(self) -> int:
        """What the program ends with."""
        return ERRORS[self.kind].exit_code


def messages() -> list[Message]:
    """Return every message of every error that a user can cause, those of one text as one."""
    found: dict[tuple[str, ...], Message] = {}
    for module in read_modules(PACKAGE):
        own = {name: ERRORS[base] for name, base in module.bases.items() if base in ERRORS}
        for function, call in module.calls:
            kind = name = called(call)
            if kind == "__init__" and function.name in own:
                kind, name = own[function.name].__name__, function.name
            if kind not in ERRORS or module.where == "errors" or not call.args:
                continue
            names = [name, *(base.__name__ for base in ERRORS[kind].__mro__)]
            for chain, text in texts(call.args[0], function):
                split = _NEXT_STEP.fullmatch(text)
                what, step = split.groups() if split else (text, "")
                message = Message(what, _cause(chain, names), step, kind, module.where)
                found.setdefault((kind, what, step), message)
    return list(found.values())


def _cause(chain: list[Function], names: list[str], past: tuple[Function, ...] = ()) -> str:
    """Return what a docstring says of when this error comes, the nearest one's.

    Those come first that the text comes from, then whoever calls them in their module.
    """
    for causes in map(_causes, chain):
        for name in (*names, ""):
            if name in causes:
                return causes[name]
    for function in chain:
        if function in past:
            continue
        near = [caller for caller, _ in function.callers if caller.module is function.module]
        for around in (near, [function.outer] if function.outer else []):
            if cause := _cause(around, names, (*past, function)):
                return cause
    return ""


@cache
def _causes(function: Function) -> dict[str, str]:
    """Return the cause that a docstring gives for each class of error, or for any ("")."""
    lines = (ast.get_docstring(function.node) or "").splitlines() if function.node else []
    told = _RETURNS.fullmatch(lines[0]) if lines else None
    found = {"": told["cause"] + "."} if told else {}
    names: list[str] = []
    for line in lines[lines.index("Raises:") + 1 :] if "Raises:" in lines else []:
        if line and not line.startswith(" "):
            break
        if match := _RAISES.fullmatch(line.strip()):
            names = re.findall(r"\w+Error", match["names"])
            found |= dict.fromkeys(names, match["cause"])
        elif line.strip():
            found |= {name: f"{found[name]} {line.strip()}" for name in names}
    return found


def table(found: Iterable[Message]) -> str:
    """Return messages as a Markdown table, in the order of their texts."""
    rows = ["| message | code | cause | next step |", "|---|---|---|---|"]
    for message in sorted(found, key=lambda one: (one.text.casefold(), one.remedy)):
        cells = (_code(message.text), str(message.exit_code), message.cause, message.remedy)
        rows.append("| " + " | ".join([cells[0], *map(_cell, cells[1:])]) + " |")
    return "\n".join(rows)


def _code(text: str) -> str:
    return f"`{text}`".replace("|", r"\|")


def _cell(text: str) -> str:
    text = re.sub(r"`[^`]*`|[|<>*_\\\[\]$~]", _escaped, text)
    return f"{text[:1].upper()}{text[1:]}" if text.endswith(".") else text


def _escaped(found: re.Match[str]) -> str:
    return found[0] if len(found[0]) > 1 else f"\\{found[0]}"


def tables() -> dict[str, str]:
    """Return every table by the name in the comment that stands before it on the page.

    Raises:
        ValueError: a message is in no table.
    """
    found = messages()
    shown = {name: [m for m in found if m.module.startswith(TABLES[name])] for name in TABLES}
    if lost := set(found) - {m for group in shown.values() for m in group}:
        raise ValueError(f"no table has the messages of {sorted(m.module for m in lost)}")
    return {name: table(group) for name, group in shown.items()}


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(with_tables(page.read_text(encoding="utf-8"), tables()), encoding="utf-8")
