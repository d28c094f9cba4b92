"""A file of Python as it stands: what it defines and imports, read without running it."""

from __future__ import annotations

import ast
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from nrcscan.inputs.module_files import own_files
from nrcscan.wording import reason

Function = ast.FunctionDef | ast.AsyncFunctionDef

Imported = tuple[Path, str | None]
"""The file that a name comes from, and its name there; None for the module itself."""


class Script:
    """A file of Python, read.

    Args:
        path: of the file.
        search: where modules are looked for as it is imported, in order.

    Raises:
        SyntaxError: it is no Python.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path, search: Sequence[str]) -> None:
        self.path, self._search = path, search
        try:
            with tokenize.open(path) as file:  # in the encoding that it declares
                self.text = file.read()
            self._tree = ast.parse(self.text, str(path))
        except SyntaxError as error:
            error.filename = str(path)
            raise
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(reason(error), (str(path), None, None, None)) from error

    @property
    def body(self) -> list[ast.stmt]:
        """Its statements."""
        return self._tree.body

    def line(self, statement: ast.stmt) -> str:
        """Return the first line of a statement, as it stands."""
        return self.text.splitlines()[statement.lineno - 1].strip()

    @cached_property
    def functions(self) -> dict[str, Function]:
        """Functions of the module, by name."""
        return {node.name: node for node in on_import(self.body) if isinstance(node, Function)}

    @cached_property
    def methods(self) -> dict[str, Function]:
        """Methods of the module's classes, by name."""
        classes = [node for node in on_import(self.body) if isinstance(node, ast.ClassDef)]
        found = (node for one in classes for node in one.body if isinstance(node, Function))
        return {node.name: node for node in found if not node.name.startswith("__")}

    @cached_property
    def networks(self) -> frozenset[str]:
        """Names of what is made of the module's own classes and, when called, runs `forward`."""
        own = {
            node.name
            for node in on_import(self.body)
            if isinstance(node, ast.ClassDef)
            and any(isinstance(part, Function) and part.name == "forward" for part in node.body)
        }
        return frozenset(
            target.id
            for node in on_import(self.body)
            if isinstance(node, ast.Assign) and _made_of(node.value) in own
            for target in node.targets
            if isinstance(target, ast.Name)
        )

    @cached_property
    def names(self) -> tuple[str, ...] | None:
        """Names that a module has once it is imported; None where the text does not tell."""
        found: dict[str, None] = {}
        for node in on_import(self.body):
            if isinstance(node, Function | ast.ClassDef):
                found[node.name] = None
                continue
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    found[alias.asname or alias.name.partition(".")[0]] = None
            for part in _own_expressions(node):
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    found[part.id] = None
        if "*" in found or "__getattr__" in found or any(map(_hides_names, ast.walk(self._tree))):
            return None
        return tuple(found)

    @property
    def offered(self) -> list[str]:
        """Functions and classes of the module that are meant to be used."""
        defined = (n for n in on_import(self.body) if isinstance(n, Function | ast.ClassDef))
        return list(dict.fromkeys(n.name for n in defined if not n.name.startswith("_")))

    @cached_property
    def modules(self) -> frozenset[str]:
        """Names that modules are imported by."""
        plain = (node for node in on_import(self.body) if isinstance(node, ast.Import))
        return frozenset(
            alias.asname or alias.name.partition(".")[0] for node in plain for alias in node.names
        )

    @cached_property
    def imported(self) -> dict[str, Imported]:
        """What is imported from the user's own files as this one is: name here → where it is."""
        return self._imports(on_import(self.body))

    def imports(self, within: ast.AST) -> dict[str, Imported]:
        """Return likewise what is imported when a definition is called."""
        return self._imports(ast.walk(within))

    def _imports(self, nodes: Iterable[ast.AST]) -> dict[str, Imported]:
        found: dict[str, Imported] = {}
        for node in nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    for file in self._files(alias.name):
                        found[alias.asname or alias.name] = (file, None)
            elif isinstance(node, ast.ImportFrom):
                base = "." * node.level + (node.module or "")
                for file in self._files(base):
                    found.setdefault(base, (file, None))
                    for alias in node.names:
                        found[alias.asname or alias.name] = (file, alias.name)
                for alias in node.names:  # a module of a package
                    dotted = f"{base}{alias.name}" if base.endswith(".") else f"{base}.{alias.name}"
                    for file in self._files(dotted):
                        found[alias.asname or alias.name] = (file, None)
        return found

    def _files(self, name: str) -> list[Path]:
        """Return the user's own file that a module comes from, after those of what it is in."""
        search: Sequence[str] = self._search
        if name.startswith("."):
            level = len(name) - len(name.lstrip("."))
            folders = self.path.resolve().parents
            name, search = (
                name.lstrip(".") or "__init__",
                [str(p) for p in folders[level - 1 : level]],
            )
        return own_files(name, search)


def on_import(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield every statement that is reached as a module is imported, those within others too.

    What a function or a class holds is not among them.
    """
    for node in body:
        yield node
        if isinstance(node, Function | ast.ClassDef):
            continue
        for block in blocks(node):
            yield from on_import(block)


def blocks(node: ast.stmt) -> Iterator[Sequence[ast.stmt]]:
    """Yield the blocks of a compound statement that an import can reach."""
    if isinstance(node, ast.If):
        guarded = _guard(node.test)
        if guarded is not True:
            yield node.body
        if guarded is not False:
            yield node.orelse
        return
    for name in ("body", "orelse", "finalbody"):
        yield getattr(node, name, [])
    for inner in (*getattr(node, "handlers", []), *getattr(node, "cases", [])):
        yield inner.body


def _guard(test: ast.expr) -> bool | None:
    """Say whether a condition never holds on import (True), always does (False), or may (None)."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return True if any(_guard(part) is True for part in test.values) else None
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _guard(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        sides = [test.left, test.comparators[0]]
        named = any(isinstance(side, ast.Name) and side.id == "__name__" for side in sides)
        main = any(isinstance(side, ast.Constant) and side.value == "__main__" for side in sides)
        if named and main and isinstance(test.ops[0], ast.Eq | ast.NotEq):
            return isinstance(test.ops[0], ast.Eq)
    typing = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return True if typing == "TYPE_CHECKING" else None


def _made_of(value: ast.expr) -> str | None:
    """Return what is called for a value, as `Net` is for `Net(3).eval()`."""
    while isinstance(value, ast.Call | ast.Attribute):
        value = value.func if isinstance(value, ast.Call) else value.value
    return value.id if isinstance(value, ast.Name) else None


def _own_expressions(node: ast.stmt) -> Iterator[ast.AST]:
    """Yield the expressions of a statement, and not those of statements within it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.stmt | ast.excepthandler | ast.match_case):
            yield from ast.walk(child)


def _hides_names(node: ast.AST) -> bool:
    """Whether something can define names of the module that its text does not show."""
    if isinstance(node, ast.Global):
        return True
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    bare = node.func.id in {"vars", "locals"} and not node.args
    of_module = node.func.id == "setattr" and node.args and "modules" in ast.dump(node.args[0])
    return node.func.id in {"exec", "globals"} or bare or bool(of_module)
