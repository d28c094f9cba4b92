"""What options are written as, and how programs that run elsewhere find what they name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from nrcscan.options.check import plain
from nrcscan.options.option import declared

Options = TypeVar("Options")


def recorded(options: type, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that numbers depend on, as JSON has them."""
    return {
        name: as_json(chosen[name])
        for name, field in declared(options).items()
        if field.option.changes_numbers
    }


def as_json(value: Any) -> Any:
    """Return a value as JSON has it; what JSON has no word for is told by its `repr`."""
    value = plain(value)
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): as_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    finite = not isinstance(value, float) or math.isfinite(value)
    return value if isinstance(value, str | int | float | None) and finite else repr(value)


def anywhere(options: type[Options], chosen: Options) -> Options:
    """Return options whose paths and code are found by a program that runs in another folder."""
    values = dict(cast("Mapping[str, Any]", chosen))
    for name, field in declared(options).items():
        if isinstance(values[name], str) and field.is_path:
            values[name] = str(Path(values[name]).resolve())
        elif isinstance(values[name], str) and field.is_code:
            values[name] = code_anywhere(values[name])
    return cast("Options", values)


def code_anywhere(spec: str) -> str:
    """Return "path/file.py:name" with the whole path, and "package.module:name" as it is."""
    return _led(spec, lambda path: Path(path).resolve())


def code_within(folder: Path, spec: str) -> str:
    """Return "path/file.py:name" whose path leads from a folder as one that leads from here."""
    return _led(spec, folder.joinpath)


def _led(spec: str, lead: Callable[[str], Path]) -> str:
    where, colon, name = spec.rpartition(":")
    if not colon:  # a script by itself
        return str(lead(spec))
    return f"{lead(where)}:{name}" if where.endswith(".py") else spec
