"""The texts that expressions of the package's code can be.

Nothing runs: names are followed to what they are set to, parameters to what callers give for them,
calls to what functions of the package return.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path

from placeholders import WORDED, called, placeholder

from nrcscan.extras import to_install

SUBJECTS = {"kind", "name", "option", "origin", "path", "shapes", "where"}
"""Names of what a message is about: the word is clearer than all that it can be."""

_DEPTH = 4  # calls that a text is followed through
_Settings = list[tuple[list["Function"], dict[str, str]]]


@dataclass(eq=False)
class Function:
    """A function, or a module outside all of them: what it sets and returns, and who calls it."""

    name: str
    node: ast.FunctionDef | None
    outer: Function | None
    set_to: dict[str, list[ast.expr]] = field(default_factory=dict)
    returned: list[ast.expr] = field(default_factory=list)
    callers: list[tuple[Function, ast.Call]] = field(default_factory=list)
    known: dict[str, Function] = field(default_factory=dict)
    """Of a module: its functions, and what it imports, as the function or module it is in."""

    @property
    def module(self) -> Function:
        """The module around it."""
        return self.outer.module if self.outer else self

    @cached_property
    def parameters(self) -> dict[str, ast.expr | None]:
        """The parameters that may be given by place, then the others, with their defaults."""
        if self.node is None:
            return {}
        of = self.node.args
        by_place = [a.arg for a in (*of.posonlyargs, *of.args)]
        values = [None] * (len(by_place) - len(of.defaults)) + list(of.defaults)
        found = {n: v for n, v in zip(by_place, values, strict=True) if n not in ("self", "cls")}
        return found | {a.arg: b for a, b in zip(of.kwonlyargs, of.kw_defaults, strict=True)}

    def given(self, call: ast.Call) -> dict[str, ast.expr]:
        """Return what a call gives for the parameters."""
        given = {name: value for name, value in self.parameters.items() if value is not None}
        given |= dict(zip(self.parameters, call.args, strict=False))
        return given | {word.arg: word.value for word in call.keywords if word.arg}


class Module(ast.NodeVisitor):
    """Collects a module's functions, its classes' bases, and the calls in each function."""

    def __init__(self, where: str, text: str) -> None:
        self.where = where
        self.top = self._inside = Function("", None, None)
        self.functions: list[Function] = []
        self.calls: list[tuple[Function, ast.Call]] = []
        self.imports: list[ast.ImportFrom] = []
        self.bases: dict[str, str] = {}
        self._class = ""
        self.visit(ast.parse(text))
        self.top.known |= {function.name: function for function in self.functions}

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Take down its base."""
        before, self._class = self._class, node.name
        for base in node.bases:
            if isinstance(base, ast.Name):
                self.bases[node.name] = base.id
        self.generic_visit(node)
        self._class = before

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Take down a function, and look inside."""
        outer = self._inside
        name = self._class if node.name == "__init__" else node.name
        self._inside = Function(name, node, outer)
        self.functions.append(self._inside)
        self.generic_visit(node)
        self._inside = outer

    def visit_Assign(self, node: ast.Assign) -> None:
        """Take down what names are set to."""
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._inside.set_to.setdefault(target.id, []).append(node.value)
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        """Take down what a function returns."""
        if node.value is not None:
            self._inside.returned.append(node.value)
        self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Take down where names come from."""
        self.imports.append(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Take down who calls what."""
        self.calls.append((self._inside, node))
        self.generic_visit(node)


def read_modules(package: Path) -> list[Module]:
    """Read all modules, and tell them what they import, and functions who calls them."""
    paths = {p.relative_to(package).with_suffix("").as_posix(): p for p in package.rglob("*.py")}
    modules = [Module(w, p.read_text(encoding="utf-8")) for w, p in sorted(paths.items())]
    tops = {f"{package.name}.{module.where}".replace("/", "."): module.top for module in modules}
    for module in modules:
        for node in module.imports:
            source = tops.get(node.module or "", Function("", None, None))
            for name in node.names:
                inside = tops.get(f"{node.module}.{name.name}", source.known.get(name.name, source))
                module.top.known[name.asname or name.name] = inside
    for module in modules:
        for caller, call in module.calls:
            if (function := _function(call, module.top)) is not None:
                function.callers.append((caller, call))
    return modules


def _function(call: ast.Call, module: Function) -> Function | None:
    """Return which function of the package is called, where the code tells."""
    match call.func:
        case ast.Name(id=name):
            found = module.known.get(name)
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            source = module.known.get(owner)
            own = owner in ("self", "cls") or owner[:1].isupper()
            found = (module if own else source or Function("", None, None)).known.get(name)
        case _:
            return None
    return found if found and found.node else None


def texts(value: ast.expr, function: Function) -> Iterator[tuple[list[Function], str]]:
    """Yield the texts that an expression can be, each with the functions that it comes from."""
    for chain, bound in _settings(function, _names(value, function), _DEPTH):
        for text in _read(value, function, bound) or [placeholder(value)]:
            yield [function, *chain], text


def _settings(function: Function, wanted: set[str], depth: int) -> _Settings:
    """Return the texts that callers give for parameters, together as each of them does."""
    found: _Settings = []
    wanted = (wanted & function.parameters.keys()) - SUBJECTS
    for caller, call in function.callers if wanted and depth else ():
        given = {name: node for name, node in function.given(call).items() if name in wanted}
        names = {name for node in given.values() for name in _names(node, caller)}
        for chain, outer in _settings(caller, names, depth - 1):
            read = {name: _read(node, caller, outer) for name, node in given.items()}
            read = {name: told for name, told in read.items() if told}
            for told in product(*read.values()):
                bound = dict(zip(read, told, strict=True))
                if bound not in [one for _, one in found]:
                    found.append(([caller, *chain], bound))
    return found or [([], {})]


def _names(value: ast.expr, function: Function) -> set[str]:
    """Return the names that an expression is made of, and those that they are made of."""
    found: set[str] = set()
    left = [value]
    while left:
        for node in ast.walk(left.pop()):
            if isinstance(node, ast.Name) and node.id not in found:
                found.add(node.id)
                left += function.set_to.get(node.id, [])
    return found


def _read(
    node: ast.expr, at: Function, bound: Mapping[str, str], past: tuple[ast.expr, ...] = ()
) -> list[str]:
    """Return the texts that an expression can be, with capitals for what is filled in.

    Nothing for what is no text, as far as the code tells.
    """
    if node in past or len(past) > 20:
        return []
    past = (*past, node)
    match node:
        case ast.Constant(value=str(text)) | ast.BinOp(left=ast.Constant(str(text)), op=ast.Mult()):
            return [text]
        case ast.JoinedStr(values=parts):
            told = [_read(part, at, bound, past) or [placeholder(part)] for part in parts]
            return ["".join(one) for one in product(*told)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            told = [_read(side, at, bound, past) for side in (left, right)]
            sides = zip(told, (left, right), strict=True)
            told = [side or [placeholder(of)] for side, of in sides] if any(told) else [[]]
            return ["".join(one) for one in product(*told)]
        case ast.IfExp(body=one, orelse=other) | ast.BoolOp(values=[one, other]):
            return _either([one, other], at, bound, past)
        case ast.Name(id=name):
            return _read_name(name, at, bound, past)
        case ast.Attribute(value=ast.Name(id=name), attr=attr) if name in at.module.known:
            return _read_name(attr, at.module.known[name], {}, past)
        case ast.FormattedValue(value=value):
            return _read(value, at, bound, past)
        case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="get"), args=[_, other]):
            held = at.module.set_to.get(name, [])
            nodes = [value for one in held if isinstance(one, ast.Dict) for value in one.values]
            return _either([*nodes, other], at, bound, past)
        case ast.Call(args=[ast.Constant(str(extra))]) if called(node) == "to_install":
            return [to_install(extra)]
        case ast.Call(args=[first, *_]) if called(node) in WORDED:
            return _read(first, at, bound, past)
        case ast.Call(func=ast.Name()) if function := _function(node, at.module):
            given = {n: _read(v, at, bound, past) for n, v in function.given(node).items()}
            inner = {n: told[0] for n, told in given.items() if len(told) == 1}
            return _either(function.returned, function, inner, past)
    return []


def _either(
    nodes: list[ast.expr], at: Function, bound: Mapping[str, str], past: tuple[ast.expr, ...]
) -> list[str]:
    """Return the texts that one of several expressions can be; nothing if none is a text."""
    nodes = [node for node in nodes if not (isinstance(node, ast.Constant) and not node.value)]
    told = [_read(node, at, bound, past) for node in nodes]
    if not any(told):
        return []
    filled = [one or [placeholder(of)] for one, of in zip(told, nodes, strict=True)]
    return list(dict.fromkeys(text for one in filled for text in one))


def _read_name(
    name: str, at: Function | None, bound: Mapping[str, str], past: tuple[ast.expr, ...]
) -> list[str]:
    """Return the texts that a name can be, here or further out, or where it is imported from."""
    while at is not None and name not in SUBJECTS:
        for value in at.set_to.get(name, []) if at.node is None else ():
            if isinstance(value, ast.Constant):
                return [str(value.value)]
        if name in at.parameters:
            given = [bound[name]] if name in bound else []
            return given or _either(at.set_to.get(name, []), at, bound, past)
        if name in at.set_to:
            return _either(at.set_to[name], at, bound, past)
        source = at.known.get(name)
        at = source if source and source.node is None else at.outer
    return []
