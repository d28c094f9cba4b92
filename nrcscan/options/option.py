"""What an option is: a field of a TypedDict or dataclass, annotated with all there is to say of it.

Everything else is derived from that one declaration: the flag, its help and the check of its
range, the library's keyword and its line in `help()`, what a file's provenance records, what the
cache depends on, and which shards belong together. Imports nothing heavy.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

PANELS = ("Network", "Data", "Layers", "Cost", "Judgement", "Output")
"""The panels of `--help`, in their order: every option is in one of them."""


@dataclass(frozen=True)
class Option:
    """What is said of an option besides its name and type.

    Attributes:
        default: its value where none is given; a dataclass gives a field's default as usual.
        help: what it does, in a sentence, for the command line and for the library alike.
        group: the panel of `--help` that it is in, of `PANELS`.
        metavar: what `--help` calls its value.
        flag: on the command line; by default its name with hyphens. Empty: the library's alone.
        short: another flag, of one letter.
        in_scan: its default where many checkpoints are measured, if that is another.
        shown_default: what `--help` shows as the default, where the value says nothing.
        minimum: the least value of a number.
        maximum: the greatest.
        above: what a number has to be greater than.
        unit: of a number, in messages.
        share: whether a number may be given as a percentage too, such as 5%.
        pattern: what the whole of a word has to match.
        form: such words, in a message: what to give.
        separator: of several words in one string; without it a string is one item.
        goes_with: the option without which this one means nothing.
        not_with: the option beside which this one means nothing.
        in_file: whether a file of settings may give it.
        changes_numbers: whether what a pass stores depends on it: then its file records it.
        shards_may_differ: whether parts that are merged may differ in it, as what it leads to
            is compared by content, or is to differ.
    """

    default: Any = None
    help: str = ""
    group: str | None = None
    metavar: str | None = None
    flag: str | None = None
    short: str | None = None
    in_scan: Any = None
    shown_default: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    unit: str = ""
    share: bool = False
    pattern: str | None = None
    form: str = ""
    separator: str | None = None
    goes_with: str | None = None
    not_with: str | None = None
    in_file: bool = True
    changes_numbers: bool = True
    shards_may_differ: bool = False


@dataclass(frozen=True)
class Field:
    """An option as declared.

    Attributes:
        name: the library's keyword.
        option: what is said of it.
        default: its value where none is given.
        hint: its type.
    """

    name: str
    option: Option
    default: Any
    hint: Any

    @property
    def kinds(self) -> tuple[Any, ...]:
        """The types that a value may have, besides None."""
        union = get_origin(self.hint) in (Union, types.UnionType)
        kinds = get_args(self.hint) if union else (self.hint,)
        return tuple(kind for kind in kinds if kind is not types.NoneType)

    @property
    def flags(self) -> str:
        """How the command line takes it, such as `--trust` or `--x/--no-x`."""
        named = f"--{self.name.replace('_', '-')}"
        return named if self.option.flag is None else self.option.flag

    @property
    def flag(self) -> str:
        """How messages name it."""
        return self.flags.partition("/")[0] or self.name

    def has(self, kind: object) -> bool:
        """Whether it may be of a kind: Path, Callable, Sequence, Literal, …."""
        return any((get_origin(one) or one) is kind for one in self.kinds)

    @property
    def key(self) -> str:
        """How a file of settings names it."""
        return self.flag.removeprefix("--")

    @property
    def choices(self) -> tuple[Any, ...]:
        """The words that it takes, if it takes only some."""
        return tuple(
            word for kind in self.kinds if get_origin(kind) is Literal for word in get_args(kind)
        )

    @property
    def is_path(self) -> bool:
        """Whether it names a file or folder."""
        return self.has(Path)

    @property
    def is_code(self) -> bool:
        """Whether it names code, as package.module:name or path/file.py:name."""
        return self.has(Callable)


def declared(options: Any, *, many: bool = False) -> Mapping[str, Field]:
    """Return the options that a class declares, by name, in order.

    Args:
        options: a TypedDict or a dataclass; a field without an `Option` is none.
        many: with the defaults of a scan.
    """
    fields = {}
    for name, hint in get_type_hints(options, include_extras=True).items():
        for option in getattr(hint, "__metadata__", ()):
            if isinstance(option, Option):
                default = vars(options).get(name, option.default)
                if many and option.in_scan is not None:
                    default = option.in_scan
                fields[name] = Field(name, option, default, hint.__origin__)
    return types.MappingProxyType(fields)


def nested(field: Field) -> type | None:
    """Return the dataclass of options that an option's value is, if it is one."""
    for kind in field.kinds:
        if isinstance(kind, type) and is_dataclass(kind):
            return kind
    return None
