"""The help of every command: panels of options, what each takes, and examples; never cut."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from nrcscan.options.option import PANELS

EXAMPLES = "Examples:"
"""What stands in a command's docstring before its examples, which end it."""

OWN = "Output"
"""The panel of an option that names none."""

NAMES_WIDTH = 24
"""Letters that names take at most before what they mean stands on the next line."""

KEPT = "\N{NO-BREAK SPACE}"
"""A space at which no line ends."""


class HelpfulCommand(TyperCommand):
    """A command whose help is in panels and ends in examples."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(help_of(self, ctx, formatter.width))


class HelpfulGroup(TyperGroup):
    """Commands, and the help that lists them."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(help_of(self, ctx, formatter.width))


def help_of(command: TyperCommand | TyperGroup, ctx: Any, width: int) -> str:
    """Return the help of a command, in lines of so many letters."""
    words, _, examples = (command.help or "").partition(EXAMPLES)
    pieces = [f"Usage: {usage(ctx)}", *(_wrapped(part, width) for part in words.split("\n\n"))]
    pieces += _panels(command, ctx, width)
    if examples:
        pieces.append(
            _titled(
                EXAMPLES.rstrip(":"), textwrap.indent(textwrap.dedent(examples.strip("\n")), "  ")
            )
        )
    return "\n\n".join(piece for piece in pieces if piece) + "\n"


def usage(ctx: Any) -> str:
    """Return how a command is called: its name, and what it cannot do without."""
    arguments = [p for p in ctx.command.params if p.param_type_name == "argument"]
    words = [shown if p.required else f"[{shown}]" for p in arguments for shown in [name_of(p)]]
    if isinstance(ctx.command, TyperGroup):
        words = ["COMMAND"]
    return " ".join([ctx.command_path, *words, "[OPTIONS]"])


def name_of(argument: Any) -> str:
    """Return what an argument is called."""
    return str(argument.metavar or argument.name.upper())


def _panels(command: TyperCommand | TyperGroup, ctx: Any, width: int) -> Iterator[str]:
    """Yield what a command takes: arguments, then panel by panel in their order everywhere."""
    panels: dict[str, list[tuple[str, str]]] = {"Arguments": [], **{name: [] for name in PANELS}}
    if isinstance(command, TyperGroup):
        found = [(name, command.get_command(ctx, name)) for name in command.list_commands(ctx)]
        panels["Commands"] = [(name, _first_sentence(c.help or "")) for name, c in found if c]
    for param in command.get_params(ctx):
        if getattr(param, "hidden", False):
            continue
        if param.param_type_name == "argument":
            panels["Arguments"].append((name_of(param), getattr(param, "help", None) or ""))
        else:
            own = "Options" if isinstance(command, TyperGroup) else OWN
            panel = getattr(param, "rich_help_panel", None) or own
            panels.setdefault(panel, []).append((_names(param), _meaning(param)))
    for name, rows in panels.items():
        if rows:
            yield _titled(name, _rows(rows, width))


def _names(option: Any) -> str:
    """Return an option as it is given: its names, and what stands for its value."""
    names = sorted(option.opts, key=len)
    if option.secondary_opts:
        return " / ".join([*names, *option.secondary_opts])
    value = "" if option.is_flag else f" {option.metavar or 'TEXT'}"
    return ", ".join(names) + value


def _meaning(option: Any) -> str:
    """Return what an option does, and its default where that says something."""
    value, shown = option.default, option.show_default
    if isinstance(shown, str):
        told = shown
    elif option.secondary_opts:
        told = (option.opts if value else option.secondary_opts)[0]
    else:
        told = "" if not shown or isinstance(value, bool | list | tuple) else str(value or "")
    default = f"[default: {told}]".replace(" ", KEPT)
    return f"{option.help or ''} {default}" if told else option.help or ""


def _rows(rows: Sequence[tuple[str, str]], width: int) -> str:
    """Return names with what they mean beside them, all of it."""
    column = min(max(len(name) for name, _ in rows), NAMES_WIDTH) + 2
    lines: list[str] = []
    for name, meaning in rows:
        text = textwrap.wrap(
            meaning, width - column - 2, break_long_words=False, break_on_hyphens=False
        )
        beside = len(name) + 2 <= column
        first = text.pop(0) if beside and text else ""
        lines.append(f"  {name:<{column}}{first}".rstrip())
        lines += [" " * (column + 2) + line for line in text]
    return "\n".join(lines).replace(KEPT, " ")


def _titled(title: str, body: str) -> str:
    return f"{typer.style(title, bold=True)}\n{body}"


def _wrapped(paragraph: str, width: int) -> str:
    return textwrap.fill(" ".join(paragraph.split()), width, break_on_hyphens=False)


def _first_sentence(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split()).rstrip(".")
