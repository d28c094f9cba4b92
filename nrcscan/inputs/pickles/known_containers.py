"""What pickles of Python's own containers, numbers and bytes stand for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from nrcscan.inputs.pickles.pickle_stack import require_key
from nrcscan.inputs.pickles.placeholder import Known, PickleRefused, Placeholder


def _pairs(items: Any) -> list[tuple[Any, Any]]:
    if type(items) in (dict, OrderedDict):
        return list(items.items())
    if type(items) not in (list, tuple):
        raise PickleRefused("a dict is made of what holds no pairs")
    pairs = []
    for item in items:
        if type(item) not in (list, tuple) or len(item) != 2:
            raise PickleRefused("a dict is made of what holds no pairs")
        require_key(item[0])
        pairs.append((item[0], item[1]))
    return pairs


def _ordered(items: Any = ()) -> OrderedDict[Any, Any]:
    return OrderedDict(_pairs(items))


def _dict(items: Any = ()) -> dict[Any, Any]:
    return dict(_pairs(items))


def _dict_with_default(factory: Any = None, items: Any = ()) -> dict[Any, Any]:
    """Return a plain dict: what its missing entries would be is nobody's to ask."""
    if factory is not None and not isinstance(factory, Placeholder):
        raise PickleRefused("a defaultdict makes its entries of what is no class")
    return _dict(items)


def _members(items: Any = ()) -> list[Any]:
    if type(items) not in (list, tuple, set, frozenset):
        raise PickleRefused("a set is made of what holds no members")
    for item in items:
        require_key(item)
    return list(items)


def _bytes(data: Any = b"", encoding: Any = "latin-1") -> bytes:
    """Return bytes, as `_codecs.encode` would: pickles of before protocol 3 write them as text."""
    if type(data) is bytes:
        return data
    if type(data) is not str or encoding not in ("latin1", "latin-1"):
        shown = encoding if type(encoding) is str else type(encoding).__name__
        raise PickleRefused(f"it decodes bytes as {shown[:40]}")
    return data.encode("latin-1")


def _number(value: Any, kinds: tuple[type, ...]) -> Any:
    if type(value) not in kinds:
        raise PickleRefused(f"a number is made of a {type(value).__name__}")
    return value


def _slice(*bounds: Any) -> slice:
    return slice(*(_number(bound, (int, type(None))) for bound in bounds))


def _range(*bounds: Any) -> range:
    return range(*(_number(bound, (int,)) for bound in bounds))


def _complex(real: Any = 0.0, imaginary: Any = 0.0) -> complex:
    return complex(_number(real, (int, float)), _number(imaginary, (int, float)))


def _of_its_class(kind: Any, *args: Any) -> Any:
    """Return an object of a class that Python's own protocol 2 or before names."""
    if isinstance(kind, Known) and kind.is_class:
        return kind.make(*args)
    if not isinstance(kind, Placeholder):
        raise PickleRefused("it makes an object of what is no class")
    return Placeholder(kind.name, args)


def _reconstructed(kind: Any, base: Any, state: Any) -> Any:
    """Return an object of a class as protocols 0 and 1 write it, with the value of its base."""
    if not isinstance(kind, Placeholder) or not isinstance(base, Placeholder):
        raise PickleRefused("it makes an object of what is no class")
    made = Placeholder(kind.name, ())
    if base.name in ("builtins.dict", "collections.OrderedDict"):
        made.entries.update(_pairs(state))
    elif base.name == "builtins.list" and type(state) is list:
        made.items.extend(state)
    elif base.name != "builtins.object":
        made.args = (state,)
    return made


def _attribute(owner: Any, name: Any) -> Placeholder:
    """Return a placeholder of an attribute, such as a member of an enumeration; none is read."""
    if isinstance(owner, Placeholder) and type(name) is str:
        return Placeholder(f"{owner.name}.{name}", ())
    return Placeholder("builtins.getattr", (owner, name))


_CLASSES: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered,
    "collections.defaultdict": _dict_with_default,
    "collections.Counter": _dict,
    "builtins.dict": _dict,
    "builtins.list": lambda items=(): list(items) if type(items) in (list, tuple) else _no_list(),
    "builtins.tuple": lambda items=(): tuple(items) if type(items) in (list, tuple) else _no_list(),
    "builtins.set": lambda items=(): set(_members(items)),
    "builtins.frozenset": lambda items=(): frozenset(_members(items)),
    "builtins.slice": _slice,
    "builtins.range": _range,
    "builtins.xrange": _range,  # what protocol 2, which torch.save writes, calls it
    "builtins.complex": _complex,
    "builtins.bytes": _bytes,
    "builtins.bytearray": lambda data=b"", encoding="latin-1": bytearray(_bytes(data, encoding)),
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "_codecs.encode": _bytes,
    "builtins.getattr": _attribute,
    "copyreg.__newobj__": _of_its_class,
    "copyreg._reconstructor": _reconstructed,
}


def _no_list() -> Any:
    raise PickleRefused("a list is made of what is none")


def known_containers() -> dict[tuple[str, str], Known]:
    """Return what the names stand for that pickles of Python's own types ask for."""
    known = {}
    for named, is_class in ((_CLASSES, True), (_FUNCTIONS, False)):
        for name, make in named.items():
            module, _, rest = name.rpartition(".")
            known[module, rest] = Known(name, make, is_class=is_class)
    return known
