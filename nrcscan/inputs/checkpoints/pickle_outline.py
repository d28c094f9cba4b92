"""What a file of `torch.save` holds in outline: names, numbers and the shapes of its tensors.

Read off its pickle's operations one by one; nothing is imported, built or run, and no tensor read.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from nrcscan.inputs.checkpoints.signs import LEGACY_MAGIC

_LIMIT = 1 << 27
_LEGACY_PICKLES = 3
_DICTS = ("collections.OrderedDict", "builtins.dict", "collections.defaultdict")
_NUMBERED = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_SAME = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
_GETS = ("GET", "BINGET", "LONG_BINGET")
_MARK = object()


@dataclass(eq=False)
class Named:
    """A class, or what is made of one.

    Attributes:
        name: "package.module.Class".
        parts: what it would be made of.
        shape: of a tensor; else None.
    """

    name: str
    parts: list[Any] = field(default_factory=list)
    shape: tuple[int, ...] | None = None


def outline(path: Path) -> Any:
    """Return dicts, lists, numbers and texts as they are, and a `Named` in place of all else.

    Raises:
        ValueError: it is no file of `torch.save`, or its pickle is damaged or too long.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                if archive.getinfo(name).file_size > _LIMIT:
                    raise ValueError("a long pickle")
                with archive.open(name) as pickled:
                    return _outline(pickled)
        with path.open("rb") as file:
            if file.read(len(LEGACY_MAGIC)) != LEGACY_MAGIC:
                raise ValueError("no file of torch.save")
            file.seek(0)
            for _ in range(_LEGACY_PICKLES):
                _outline(file)
            return _outline(file)
    except Exception as error:  # damaged archives and pickles raise almost anything
        raise ValueError(f"no outline of {path}") from error


def pickled_class(path: Path) -> str:
    """Return the name of the class of which a plain pickle holds an object; "" if of none."""
    try:
        with path.open("rb") as file:
            content = _outline(file) if path.stat().st_size <= _LIMIT else None
    except Exception:  # damaged pickles raise almost anything
        return ""
    return content.name if isinstance(content, Named) else ""


def walk(content: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield everything in an outline once, with the keys that lead to it."""
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    while waiting:
        keys, value = waiting.pop()
        yield keys, value
        if not isinstance(value, Mapping | list | tuple | Named) or id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            waiting += [((*keys, str(name)), part) for name, part in value.items()]
        elif isinstance(value, Named):
            waiting += [(keys, part) for part in value.parts]
        else:
            waiting += [(keys, part) for part in value]


def _outline(file: IO[bytes]) -> Any:
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name == "STOP":
            return stack.pop()
        if name in _PUTS:
            memo[len(memo) if argument is None else int(str(argument))] = stack[-1]
        elif name in _GETS:
            stack.append(memo[int(str(argument))])
        elif name == "MARK":
            stack.append(_MARK)
        elif name not in ("PROTO", "FRAME"):
            _act(stack, name, argument)
    raise ValueError("no end")


def _act(stack: list[Any], name: str, argument: Any) -> None:
    """Do what an operation does to the stack."""
    if name in _SAME:
        stack.append(_SAME[name])
    elif name in ("EMPTY_DICT", "DICT"):
        stack.append(_pairs(_since_mark(stack)) if name == "DICT" else {})
    elif name in ("EMPTY_LIST", "EMPTY_SET"):
        stack.append([])
    elif name in ("LIST", "FROZENSET"):
        stack.append(_since_mark(stack))
    elif name in ("EMPTY_TUPLE", "TUPLE"):
        stack.append(tuple(_since_mark(stack)) if name == "TUPLE" else ())
    elif name in _NUMBERED:
        taken = stack[-_NUMBERED[name] :]
        del stack[-_NUMBERED[name] :]
        stack.append(tuple(taken))
    elif name in ("SETITEM", "SETITEMS", "APPEND", "APPENDS", "ADDITEMS"):
        _put_in(stack, name)
    elif name in ("POP", "POP_MARK"):
        stack.pop() if name == "POP" else _since_mark(stack)
    elif name == "DUP":
        stack.append(stack[-1])
    elif argument is not None and name not in ("GLOBAL", "INST", "PERSID"):
        stack.append(argument)
    else:
        _make(stack, name, argument)


def _put_in(stack: list[Any], name: str) -> None:
    """Put items into the container below them."""
    if name.endswith("S"):
        items = _since_mark(stack)
    else:
        items = [stack.pop() for _ in range(2 if name == "SETITEM" else 1)][::-1]
    target = stack[-1]
    if name.startswith("SET"):
        if isinstance(target, dict):
            target.update(_pairs(items))
        else:
            target.parts.append(_pairs(items))
    else:
        (target.parts if isinstance(target, Named) else target).extend(items)


def _make(stack: list[Any], name: str, argument: Any) -> None:
    """Name a class, or what is made of one."""
    if name == "GLOBAL":
        stack.append(Named(str(argument).replace(" ", ".")))
    elif name == "STACK_GLOBAL":
        last = stack.pop()
        stack.append(Named(f"{stack.pop()}.{last}"))
    elif name in ("BINPERSID", "PERSID"):
        kept = stack.pop() if name == "BINPERSID" else argument
        stack.append(Named("a storage", [kept]))
    elif name == "BUILD":
        state = stack.pop()
        if isinstance(stack[-1], Named):
            stack[-1].parts.append(state)
    elif name in ("OBJ", "INST"):
        parts = _since_mark(stack)
        made = parts.pop(0) if name == "OBJ" else Named(str(argument).replace(" ", "."))
        stack.append(Named(made.name, parts))
    else:  # REDUCE, NEWOBJ, NEWOBJ_EX
        taken = [stack.pop() for _ in range(3 if name == "NEWOBJ_EX" else 2)]
        stack.append(_made_of(taken.pop().name, taken[::-1]))


def _made_of(name: str, parts: list[Any]) -> Any:
    if name in _DICTS:
        return {}
    arguments = parts[0] if parts and isinstance(parts[0], tuple) else ()
    shape = None
    if name.startswith("torch._utils._rebuild_") and len(arguments) > 1:
        first, *rest = arguments
        inner = first.shape if isinstance(first, Named) else None
        sizes = [part for part in rest if isinstance(part, tuple)]
        shape = inner if inner is not None else next(iter(sizes), None)
    return Named(name, parts, shape)


def _pairs(items: list[Any]) -> dict[Any, Any]:
    plain = (str, int, float, bool, type(None), bytes)
    return {
        key if isinstance(key, plain) else str(type(key)): value
        for key, value in zip(items[::2], items[1::2], strict=True)
    }


def _since_mark(stack: list[Any]) -> list[Any]:
    items: list[Any] = []
    while (top := stack.pop()) is not _MARK:
        items.append(top)
    return items[::-1]
