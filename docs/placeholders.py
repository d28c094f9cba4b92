"""What stands in a message for what is filled in: a word in capitals."""

from __future__ import annotations

import ast

_BY_WORD = {
    "--require": "origin",
    "ANOTHER FORMAT": "foreign",
    "ANOTHER OPTION": "shown",
    "COUNT": "in_features input_size len n n_frames n_samples numel rows",
    "FOLDER": "within",
    "LIST": "told",
    "NAMES": "wanted_globals",
    "NUMBER": "lineno",
    "OPTION": "flag",
    "PATH": "next twice",
    "PLACE": "at pos",
    "REASON": "error msg reason strerror why",
    "TYPE": "__name__ __qualname__",
    "VALUE": "fitting get",
    "WHAT": "words",
    "WHAT TO DO": "remedy step",
}
_WORDS = {name: word for word, names in _BY_WORD.items() for name in names.split()}
"""What is filled in for a name that says little by itself; any other stands in capitals."""

WORDED = {"int", "list", "listed", "printable", "reason", "repr", "reversed", "said", "set"}
WORDED |= {"shortened", "some", "sorted", "str", "sum", "tuple"}
"""Functions whose result is their argument, put into words."""


def called(call: ast.Call) -> str:
    """Return the last name of what is called."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def placeholder(node: ast.AST) -> str:
    """Return what stands for an expression that the code cannot tell."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return _WORDS.get(name.strip("_"), _WORDS.get(name, name.strip("_").upper()))
        case ast.Subscript(value=value) | ast.Starred(value=value) | ast.BinOp(left=value):
            return placeholder(value)
        case ast.FormattedValue(value=value):
            return placeholder(value)
        case ast.Call(func=ast.Attribute(attr="join"), args=[value]):
            return placeholder(value)
        case ast.Call(func=ast.Name(id="map"), args=[_, value]):
            return placeholder(value)
        case ast.Call(args=[value, *_]) if called(node) in WORDED:
            return placeholder(value)
        case ast.Call(func=ast.Attribute(value=value, attr=attr)) if hasattr(str, attr):
            return placeholder(value)
        case ast.Call():
            return placeholder(ast.Name(called(node)))
        case ast.GeneratorExp(generators=[of, *_]) | ast.ListComp(generators=[of, *_]):
            return placeholder(of.iter)
    return "…"
