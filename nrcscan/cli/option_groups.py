"""Options as Typer takes them: those that are declared, and a few of the commands' own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from nrcscan.cli.console import errors, speaking
from nrcscan.errors import UsageError
from nrcscan.files.read_json import parse_json
from nrcscan.inputs import catalogue
from nrcscan.options.check import check
from nrcscan.options.choices import Format, ReportFormat
from nrcscan.options.option import Field, declared, nested
from nrcscan.wording import reason


def words_of(choices: Any) -> str:
    """Return the words of a Literal as `--help` shows them."""
    return "|".join(get_args(choices))


Checkpoint = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="Checkpoint: a file, a folder or the index of shards."),
]
DataFiles = Annotated[
    list[Path] | None,
    typer.Argument(metavar="DATA...", help=f"{catalogue.data_kinds()}."),
]
DataFactory = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="WHERE:NAME",
        help="In place of DATA, what returns a Dataset, a DataLoader or batches:"
        " package.module:factory or path/file.py:factory.",
        rich_help_panel="Data",
    ),
]
Form = Annotated[Format, typer.Option("--format", metavar=words_of(Format), help="What to write.")]
FormOfReport = Annotated[
    ReportFormat,
    typer.Option("--format", metavar=words_of(ReportFormat), help="What to write."),
]
Written = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write to a file; - is the terminal, or a pipe."
    ),
]
Statistics = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="The file of statistics to write.")
]
Errors = Annotated[bool, typer.Option("--errors", help="Show every value's standard error.")]
Chance = Annotated[bool, typer.Option("--chance", help="Show what every value would be by chance.")]
Wide = Annotated[
    bool,
    typer.Option(
        "--wide",
        help="Show kind, width and stable ranks too, as a terminal of 120 columns does, and"
        " whole names.",
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there already.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        help="Keep what is done, until the end, and go on with what was kept: after a crash or"
        " Ctrl-C the same command comes to the same file.",
    ),
]

_VOLUME = {
    "quiet": typer.Option("--quiet", "-q", help="Say nothing but errors and results."),
    "verbose": typer.Option("--verbose", "-v", help="Say what was tried, and how long it took."),
}
"""What every command takes, as `takes` gives it to them."""


def takes(
    *, many: bool = False, **options: type
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command declared options in place of its parameters of these names.

    Errors that a user can cause end the command in one line, those of the options included.

    Args:
        many: with the defaults of a scan.
        options: parameter → the TypedDict that declares what it holds.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        fields = {name: _offered(kind, many) for name, kind in options.items()}

        @functools.wraps(command)
        def run(**given: Any) -> None:
            with speaking(**{name: given.pop(name) for name in _VOLUME}), errors():
                chosen = {name: _gathered(kind, given) for name, kind in fields.items()}
                command(**chosen, **{name: given[name] for name in own.parameters.keys() & given})

        parameters: list[inspect.Parameter] = []
        for name, parameter in own.parameters.items():
            if name not in fields:
                parameters.append(parameter)
                continue
            for field in fields[name]:
                within = nested(field)
                every = [field] if within is None else list(declared(within).values())
                known = {parameter.name for parameter in parameters}
                parameters += [_parameter(one) for one in every if one.name not in known]
        keyword = inspect.Parameter.KEYWORD_ONLY
        for name, option in _VOLUME.items():
            hint = Annotated[bool, option]
            parameters.append(inspect.Parameter(name, keyword, default=False, annotation=hint))
        run.__signature__ = own.replace(  # type: ignore[attr-defined]
            parameters=[parameter.replace(kind=keyword) for parameter in parameters]
        )
        return run

    return decorate


def _offered(options: type, many: bool) -> list[Field]:
    """Return the options that the command line has, by the panels of its help."""
    fields = [field for field in declared(options, many=many).values() if field.flags]
    panels = list(dict.fromkeys(field.option.group for field in fields))
    return sorted(fields, key=lambda field: panels.index(field.option.group))


def _parameter(field: Field) -> inspect.Parameter:
    """Return an option as Typer takes it."""
    option, default = field.option, field.default
    least = greatest = None
    hint: Any = field.kinds[0]
    if field.has(Sequence):
        hint = list[str] if option.separator is None else str
        default = None
    elif field.is_path:
        hint = Path
    elif field.is_code or field.has(Mapping):
        hint, default = str, None
    elif len(field.kinds) > 1 or option.share:  # a word, or a number; or percent
        hint = str
    elif hint is int:
        least, greatest = option.minimum, option.maximum
    text = option.help
    if hint == list[str]:
        text = f"{text.rstrip('.')}; repeatable."
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[
            hint | None if default is None else hint,
            typer.Option(
                *filter(None, (field.flags, option.short)),
                help=text,
                metavar=option.metavar or _stands_for(field),
                min=least,
                max=greatest,
                show_default=option.shown_default or True,
                rich_help_panel=option.group,
            ),
        ],
    )


def _stands_for(field: Field) -> str | None:
    """Return what `--help` calls a value of which only the type is declared."""
    if field.choices:
        return "|".join(map(str, field.choices))
    return next((word for kind, word in _WORDS.items() if field.has(kind)), None)


_WORDS = {Path: "FILE", int: "N", float: "X"}


def _gathered(fields: Sequence[Field], given: dict[str, Any]) -> dict[str, Any]:
    """Return of what Typer gave the options that the library is to be told."""
    chosen = {}
    for field in fields:
        within = nested(field)
        if within is not None:
            chosen[field.name] = within(
                **{name: check(inner, given[name]) for name, inner in declared(within).items()}
            )
        elif (value := given[field.name]) not in (None, []):
            chosen[field.name] = _parsed(field, value)
    return chosen


def _parsed(field: Field, value: Any) -> Any:
    """Return a value that is more than a string, read from one."""
    if field.has(Mapping):
        return _json_object(field.flag, value)
    if field.choices and field.has(int) and value.isdecimal() and len(value) < 10:
        return int(value)
    return value


def one_source(
    data: list[Path] | None, data_factory: str | None, command: str, otherwise: Any = None
) -> Any:
    """Return where the data comes from: files, or what the user's own code returns.

    Args:
        data: files, or None.
        data_factory: code, or None.
        command: that takes it, for the message.
        otherwise: where it comes from if neither is given, if that is known.

    Raises:
        UsageError: DATA and --data name the samples in two ways, and none is given, or both.
    """
    if not data and data_factory is None:
        if otherwise is not None:
            return otherwise
        raise UsageError(
            "DATA is missing; name the file of the samples, or with --data what returns them:"
            f" see nrcscan {command} --help"
        )
    if data and data_factory is not None:
        raise UsageError("DATA and --data both say where the samples are; give one of them")
    return data or data_factory


def given_in(context: typer.Context) -> frozenset[str]:
    """Return the parameters that the command line gives; the others have their defaults."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return frozenset(name for name, of in sources.items() if of and of.name == "COMMANDLINE")


def _json_object(option: str, text: str) -> dict[str, Any]:
    """Return the arguments by name that an option gives.

    Raises:
        UsageError: the option takes arguments by name, as a JSON object.
    """
    try:
        value = parse_json(text)
    except ValueError as error:
        shown = text if len(text) <= 200 else f"{text[:200]}…"
        raise UsageError(
            f"{option} {shown}: not JSON ({reason(error)});"
            ' write an object such as {"width": 256}'
        ) from error
    if not isinstance(value, dict):
        raise UsageError(
            f'{option} {text[:200]}: not an object; write one such as {{"width": 256}}'
        )
    return value
