"""What follows from the options of a call: records of them, and paths that other programs find."""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from nrcscan.options.option import declared

Options = TypeVar("Options")
Function = TypeVar("Function", bound=Callable[..., Any])


def recorded(options: type, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that numbers depend on, as JSON has them."""
    return {
        name: as_json(chosen[name])
        for name, field in declared(options).items()
        if field.option.changes_numbers
    }


def as_json(value: Any) -> Any:
    """Return a value as JSON has it; what JSON has no word for is told by its `repr`."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()
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
    where, _, name = spec.rpartition(":")
    return f"{Path(where).resolve()}:{name}" if where.endswith(".py") else spec


def described(options: type, *, many: bool = False) -> Callable[[Function], Function]:
    """Have `help()` and the signature of a function tell its `**options` one by one.

    In the docstring they stand in place of the line of `options` among the arguments.
    """

    def decorate(function: Function) -> Function:
        fields = declared(options, many=many)
        lines: list[str] = []
        for line in (function.__doc__ or "").splitlines():
            if line.strip().startswith("options: "):
                for name, field in fields.items():
                    lines += _described(name, field.option.help, line)
            else:
                lines.append(line)
        function.__doc__ = "\n".join(lines) or None
        own = inspect.signature(function)
        kept = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
        named = [
            inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.hint
            )
            for name, field in fields.items()
        ]
        function.__signature__ = own.replace(parameters=kept + named)  # type: ignore[attr-defined]
        return function

    return decorate


def _described(name: str, text: str, line: str) -> Iterable[str]:
    margin = line[: len(line) - len(line.lstrip())]
    return textwrap.wrap(
        f"{name}: {text}", 100, initial_indent=margin, subsequent_indent=margin + "    "
    )
