"""Options told by `help()` and by a function's signature, from their declarations."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from nrcscan.options.option import declared

Function = TypeVar("Function", bound=Callable[..., Any])


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
