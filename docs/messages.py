"""The tables of docs/errors.md: every message, its cause and the next step, read off the code.

`python docs/messages.py docs/errors.md` writes them anew. A message is the text that an error is
made with; its cause is what the docstring says under Raises, of the function or of who calls it;
the next step is what follows the message's last semicolon.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import nrcscan
from nrcscan import errors
from nrcscan.wording import with_tables

PACKAGE = Path(nrcscan.__file__).parent

BASES = {name: cls for name, cls in vars(errors).items() if isinstance(cls, type)}
"""The classes of errors by name; `made_by` adds those that derive from them elsewhere."""

TABLES = {
    "of-options": ("options", "cli"),
    "of-checkpoints": ("inputs/checkpoints", "inputs/catalogue"),
    "of-data": ("inputs/datasets",),
    "of-code": ("inputs/user_code",),
    "of-networks": ("network",),
    "of-passes": ("extracting", "merging", "statistics"),
    "of-files": ("files", "acts_file", "reporting"),
    "of-scans": ("scanning", "comparing"),
    "of-rules": ("gating",),
}
"""The rooms, or modules, whose messages are in a table, by the name in the comment before it."""

_RAISES = re.compile(r"^(?P<names>[\w, |]+Error(?: or \w+Error)?): (?P<cause>.+)$")
# Functions whose result is their argument, put into words.
_WORDED = {"listed", "some", "reason", "repr", "str", "sorted", "said", "shortened", "printable"}


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
        return int(getattr(BASES.get(self.kind, errors.UsageError), "exit_code"))  # noqa: B009


@dataclass
class _Function:
    """A function of a module, and what it can see."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | None
    outer: _Function | None
    constants: dict[str, ast.expr] = field(default_factory=dict)
    callers: list[tuple[_Function, ast.Call]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.node.name if self.node else ""

    @cached_property
    def parameters(self) -> list[str]:
        if self.node is None:
            return []
        arguments = self.node.args
        names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
        return names[1:] if names[:1] in (["self"], ["cls"]) else names

    @cached_property
    def raises(self) -> dict[str, str]:
        """The cause that the docstring gives for each class of error."""
        lines = (ast.get_docstring(self.node) or "").splitlines() if self.node else []
        found: dict[str, str] = {}
        names: list[str] = []
        inside = False
        for line in lines:
            if line == "Raises:":
                inside = True
            elif inside and line and not line.startswith(" "):
                break
            elif inside and (match := _RAISES.match(line.strip())):
                names = re.findall(r"\w+Error", match["names"])
                found |= dict.fromkeys(names, match["cause"])
            elif inside and line.strip():
                found |= {name: f"{found[name]} {line.strip()}" for name in names}
        return found

    def seen(self, name: str) -> ast.expr | None:
        """Return what a name was set to, here or further out."""
        if name in self.constants:
            return self.constants[name]
        return self.outer.seen(name) if self.outer else None


class _Module(ast.NodeVisitor):
    """Collects a module's functions and the calls in each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.top = _Function(None, None)
        self.functions = [self.top]
        self.calls: list[tuple[_Function, ast.Call]] = []
        self._inside = self.top
        self.visit(ast.parse(path.read_text(encoding="utf-8")))
        for caller, call in self.calls:
            for function in self.functions:
                if function.node is not None and _called(call) == function.name:
                    function.callers.append((caller, call))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = self._inside
        self._inside = _Function(node, outer)
        self.functions.append(self._inside)
        self.generic_visit(node)
        self._inside = outer

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._inside.constants[target.id] = node.value
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.calls.append((self._inside, node))
        self.generic_visit(node)


def _called(call: ast.Call) -> str:
    """Return the last name of what is called."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def messages() -> list[Message]:
    """Return every message of every error that a user can cause, in the order of the code."""
    modules = [_Module(path) for path in sorted(PACKAGE.rglob("*.py"))]
    found = []
    for module in modules:
        where = module.path.relative_to(PACKAGE).with_suffix("").as_posix()
        for function, call in module.calls:
            if (kind := _called(call)) in BASES and call.args:
                cause = _cause(function, kind)
                for text in _texts(call.args[0], function):
                    found.append(_message(text, cause, kind, where))
    return list(dict.fromkeys(found))


def _message(text: str, cause: str, kind: str, where: str) -> Message:
    what, _, remedy = text.rpartition("; ")
    return Message(what, cause, remedy, kind, where)


def _cause(function: _Function | None, kind: str, past: tuple[_Function, ...] = ()) -> str:
    """Return what a docstring says of when this error comes, the nearest one's."""
    kinds = [base.__name__ for base in BASES[kind].__mro__ if base.__name__ in BASES]
    at = function
    while at is not None:
        for name in kinds:
            if name in at.raises:
                return at.raises[name]
        for caller, _ in at.callers:
            if caller not in past and (cause := _cause(caller, kind, (*past, at))):
                return cause
        at = at.outer
    return ""


def _texts(value: ast.expr, function: _Function) -> list[str]:
    """Return the texts that an expression can be, with capitals for what is filled in."""
    names = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    given = [name for name in function.parameters if name in names]
    bound: list[tuple[_Function, dict[str, ast.expr]]] = []
    for caller, call in function.callers:
        arguments = dict(zip(function.parameters, call.args, strict=False))
        arguments |= {word.arg: word.value for word in call.keywords if word.arg}
        texts = {n: arguments[n] for n in given if isinstance(arguments.get(n), _TEXT)}
        bound.append((caller, texts))
    if not any(texts for _, texts in bound):
        return [_text(value, function)]
    found = []
    for caller, texts in bound:
        inner = _Function(function.node, function.outer, {**function.constants})
        inner.constants |= {name: ast.Constant(_text(node, caller)) for name, node in texts.items()}
        found.append(_text(value, inner))
    return list(dict.fromkeys(found))


_TEXT = (ast.JoinedStr, ast.Constant)


def _text(node: ast.expr, function: _Function) -> str:
    """Return an expression as it stands in a message."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, function) for part in parts)
        case ast.FormattedValue(value=value):
            return _text(value, function)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left, function) + _text(right, function)
        case ast.IfExp(body=body, orelse=orelse):
            return _text(body, function) or _text(orelse, function)
        case ast.Name(id=name):
            known = function.seen(name)
            if isinstance(known, (*_TEXT, ast.IfExp, ast.BinOp)) and not _number(known):
                return _text(known, function)
            return _placeholder(name)
        case ast.Attribute(attr=name):
            return _placeholder(name)
        case ast.Call(args=[first, *_]) if _called(node) in _WORDED:
            return _text(first, function)
        case ast.Call():
            return _placeholder(_called(node))
        case ast.Subscript(value=value) | ast.Starred(value=value):
            return _text(value, function)
    return "…"


def _number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and not isinstance(node.value, str)


def _placeholder(name: str) -> str:
    return name.strip("_").upper()


def table(found: Iterable[Message]) -> str:
    """Return messages as a Markdown table."""
    rows = ["| message | code | cause | next step |", "|---|---|---|---|"]
    for message in found:
        cells = (message.text, str(message.exit_code), message.cause, message.remedy)
        rows.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    return re.sub(r"([|<>*_\\\[\]])", r"\\\1", text)


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
