"""Values of options checked where they enter, and made plain Python: the same for every caller."""

from __future__ import annotations

import difflib
import math
import numbers
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

from nrcscan.errors import UsageError
from nrcscan.options.effect import require_effect
from nrcscan.options.option import Field, declared
from nrcscan.wording import listed

Options = TypeVar("Options")

_WORDS: dict[object, str] = {
    bool: "True or False",
    str: "a string",
    Path: "a path",
    Sequence: "a string or a list of strings",
    Mapping: "a mapping of names to values",
    Callable: "a callable",
}


class _Misfit(Exception):
    """A value is not of a kind."""


def checked(
    options: type[Options], given: Mapping[str, Any], function: str, *, many: bool = False
) -> Options:
    """Return every option: what was given, in plain Python, and defaults for what was not.

    None stands for the default.

    Args:
        options: the TypedDict that declares them.
        given: by name.
        function: that takes them, for messages.
        many: with the defaults of a scan.

    Raises:
        TypeError: there is no such option.
        UsageError: an option has no effect without another, or beside it.
    """
    fields = declared(options, many=many)
    for name in given:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise TypeError(f"{function}() takes no argument {name}{hint}")
    chosen = {
        name: field.default if given.get(name) is None else check(field, given[name])
        for name, field in fields.items()
    }
    for name, field in fields.items():
        if chosen[name] != field.default:
            _require_company(field, fields, chosen)
    return cast("Options", chosen)


def _require_company(field: Field, fields: Mapping[str, Field], chosen: Mapping[str, Any]) -> None:
    """Refuse an option without the one that it goes with, or beside the one that it does not."""
    if (other := field.option.goes_with) is not None and not chosen[other]:
        shown = " ".join(filter(None, (fields[other].flag, fields[other].option.metavar)))
        require_effect({field.flag: True}, f"without {shown}", "give both, or neither")
    if (other := field.option.not_with) is not None and chosen[other]:
        require_effect({field.flag: True}, f"beside {fields[other].flag}", "leave one of them out")


def check(field: Field, value: Any, where: str | None = None) -> Any:
    """Return a value of an option in plain Python.

    Args:
        field: the option.
        value: as it was given; a NumPy scalar or an array of no dimension is a number too.
        where: how a message names the option, if not by its flag.

    Raises:
        UsageError: the option takes values of another type or range.
    """
    where = where or field.flag
    value = plain(value)
    for kind in field.kinds:
        try:
            fitting = _fit(kind, value, field)
        except _Misfit:
            continue
        if isinstance(fitting, int | float) and not isinstance(fitting, bool):
            _require_in_range(field, fitting, value if isinstance(value, str) else fitting, where)
        pattern = field.option.pattern
        if pattern and isinstance(fitting, str) and not re.fullmatch(pattern, fitting):
            raise UsageError(f"{where} {fitting}: give {field.option.form}")
        return fitting
    if isinstance(value, str | int | float) and (field.choices or field.option.share):
        raise UsageError(f"{where} {value}: {_remedy(field)}")
    if isinstance(value, float) and field.has(float):  # not finite
        raise UsageError(f"{where} {value}: {_remedy(field)}")
    raise UsageError(f"{where}: {value!r:.60} is a {type(value).__name__}: {_remedy(field)}")


def part(options: type[Options], chosen: Mapping[str, Any]) -> Options:
    """Return those of the options that a class declares."""
    return cast("Options", {name: chosen[name] for name in declared(options)})


def plain(value: Any) -> Any:
    """Return a scalar of NumPy or torch as Python has it, and anything else as it is."""
    scalar = getattr(value, "shape", None) == () and hasattr(value, "item")
    return value.item() if scalar and not isinstance(value, type) else value


def several(paths: Any) -> list[Path]:
    """Return paths given as one or as several.

    Raises:
        UsageError: something else is given where a path is wanted.
    """
    one = isinstance(paths, str | os.PathLike)
    if not one and not isinstance(paths, Iterable):
        raise UsageError(f"{paths!r:.60} is a {type(paths).__name__}: give a path or several")
    found = []
    for path in [paths] if one else paths:
        found.append(one_path(path))
    return found


def one_path(path: Any) -> Path:
    """Return a path, given as one or as what has one.

    Raises:
        UsageError: something else is given where a path is wanted.
    """
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"{path!r:.60} is a {type(path).__name__}: give a path")
    return Path(path)


def _fit(kind: Any, value: Any, field: Field) -> Any:
    """Return a value in plain Python if it is of a kind.

    Raises:
        _Misfit: it is not.
    """
    found: Any = None
    origin = get_origin(kind) or kind
    if origin is Literal:
        known = isinstance(value, str | int) and not isinstance(value, bool)
        found = next((word for word in get_args(kind) if known and word == value), None)
    elif origin is Sequence:
        found = _words(value, field.option.separator)
    elif origin is Mapping:
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            found = dict(value)
    elif origin is Callable:
        found = value if callable(value) else None
    elif origin is Path:
        path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
        found = str.__str__(path) if isinstance(path, str) else None
    elif origin is str:
        found = str.__str__(value) if isinstance(value, str) else None
    elif origin in (int, float):
        found = _number(origin, _out_of_hundred(value) if field.option.share else value)
    elif isinstance(value, origin):  # True or False, or options in a class of their own
        found = value
    if found is None:
        raise _Misfit
    return found


def _number(kind: type, value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    if kind is int:
        return int(value) if isinstance(value, numbers.Integral) else None
    try:
        number = float(value) if isinstance(value, numbers.Real) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _out_of_hundred(value: Any) -> Any:
    """Return a share that is written as a number or in percent; anything else as it is."""
    if not isinstance(value, str):
        return value
    number, percent, rest = value.strip().partition("%")
    try:
        return value if rest else float(number) / (100 if percent else 1)
    except ValueError:
        return value


def _words(value: Any, separator: str | None) -> tuple[str, ...] | None:
    """Return several strings; one string is a single item, or as many as it separates."""
    if isinstance(value, str):
        text = str.__str__(value)
        if separator is None:
            return (text,)
        return tuple(word.strip() for word in text.split(separator)) if text else ()
    if isinstance(value, bytes | Mapping | Set) or not isinstance(value, Iterable):
        return None  # a set is in no order
    words = tuple(map(plain, value))
    if not all(isinstance(word, str) for word in words):
        return None
    return tuple(str.__str__(word) for word in words)


# --- what is wrong, and what to give ---------------------------------------------------------


def _require_in_range(field: Field, value: Any, given: Any, where: str) -> None:
    option = field.option
    if (
        (option.minimum is not None and value < option.minimum)
        or (option.maximum is not None and value > option.maximum)
        or (option.above is not None and value <= option.above)
    ):
        least = option.minimum
        whole = field.kinds == (int,) and least is not None and option.maximum is None
        unit = f" {option.unit}" if option.unit else ""
        told = f"{given:g}" if isinstance(given, float) else given
        remedy = f"give at least {least}{unit}" if whole else _remedy(field)
        raise UsageError(f"{where} {told}: {remedy}")


def _remedy(field: Field) -> str:
    """Say what to give."""
    if len(field.kinds) == 1 and field.choices:
        return f"choose one of {listed(field.choices)}"
    words = [str(choice) for choice in field.choices]
    for kind in field.kinds:
        origin = get_origin(kind) or kind
        if origin in (int, float):
            words.append(_range(field, whole=origin is int))
        elif origin is not Literal:
            words.append(_WORDS.get(origin) or f"a {origin.__name__}")
    if field.is_code:
        words = ["package.module:callable", "path/file.py:callable", "a callable"]
    elif field.is_path:
        words = ["a path"]
    return f"give {listed(words, 'or')}"


def _range(field: Field, *, whole: bool) -> str:
    option = field.option
    number = "a whole number" if whole and not field.choices else "a number"
    if option.share:
        return f"a share from {option.minimum:g} to {option.maximum:g}, such as 5% or 0.05"
    if option.above is not None:
        return f"{option.unit or number}, more than {option.above:g}"
    if option.minimum is not None and option.maximum is not None:
        if whole:
            return listed(range(int(option.minimum), int(option.maximum) + 1), "or")
        return f"{number} from {option.minimum:g} to {option.maximum:g}"
    return f"{number} from {option.minimum:g} up" if option.minimum is not None else number
