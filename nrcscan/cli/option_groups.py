"""Options that several commands share, each written once."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from nrcscan.cli.console import errors
from nrcscan.errors import UsageError
from nrcscan.inputs import catalogue
from nrcscan.options.choices import Convention, DType, Format, Pool, Precision
from nrcscan.options.report_options import Thresholds

_DEFAULTS = Thresholds()

Gather = Callable[..., dict[str, Any]]
"""Its parameters are options; it returns what the library takes for them."""

DataFiles = Annotated[
    list[Path] | None,
    typer.Argument(help=f"{catalogue.data_kinds()}."),
]
DataFactory = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="WHERE:NAME",
        help="In place of DATA, what returns a Dataset, a DataLoader or batches:"
        " package.module:factory or path/file.py:factory.",
    ),
]
StateKey = Annotated[str | None, typer.Option(help="Which state dict of a training checkpoint.")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Open a checkpoint that can run code as it loads.")
]
Form = Annotated[Format, typer.Option("--format", help="What to write.")]
Written = Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file instead.")]


def takes(**gathers: Gather) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of each gather in place of its parameter of that name.

    Errors that a user can cause end the command in one line, those of the options included.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True)
        options = {
            name: inspect.signature(gather, eval_str=True).parameters
            for name, gather in gathers.items()
        }

        @functools.wraps(command)
        def run(**given: Any) -> None:
            with errors():
                for name, gather in gathers.items():
                    given[name] = gather(**{option: given.pop(option) for option in options[name]})
                command(**given)

        parameters: list[inspect.Parameter] = []
        for name, parameter in own.parameters.items():
            parameters += options[name].values() if name in options else [parameter]
        keyword = inspect.Parameter.KEYWORD_ONLY
        run.__signature__ = own.replace(  # type: ignore[attr-defined]
            parameters=[parameter.replace(kind=keyword) for parameter in parameters]
        )
        return run

    return decorate


def pass_options(
    factory: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="WHERE:NAME",
            help="What builds the network: package.module:factory or path/file.py:factory."
            " Without it, a plain chain is inferred from the weights.",
        ),
    ] = None,
    model_args: Annotated[
        str | None,
        typer.Option(metavar="JSON", help="Arguments of the factory, as a JSON object."),
    ] = None,
    activation: Annotated[
        str,
        typer.Option(
            help="Activation of an inferred chain: relu, tanh, gelu, silu, elu, selu, leaky_relu,"
            " sigmoid, softplus or identity."
        ),
    ] = "relu",
    state_key: StateKey = None,
    trust: Trust = False,
    pythonpath: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where such a checkpoint finds its classes."),
    ] = None,
    x_key: Annotated[
        str | None, typer.Option(help="The inputs' key in a file of named arrays.")
    ] = None,
    y_key: Annotated[
        str | None, typer.Option(help="The targets' key in a file of named arrays.")
    ] = None,
    targets: Annotated[
        str | None, typer.Option(metavar="COL,COL", help="The targets' columns in a table.")
    ] = None,
    n_targets: Annotated[
        int | None, typer.Option(min=1, help="So many last columns of a table are targets.")
    ] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="'NAME=VALUE …'",
            help="How images become inputs: channels=rgb|grey height= width= scale= mean= std=,"
            " resized, then (pixels / scale - mean) / std.",
        ),
    ] = None,
    standardize: Annotated[
        str | None,
        typer.Option(metavar="x|y|x,y", help="Put inputs, targets or both to mean 0, spread 1."),
    ] = None,
    scales: Annotated[
        Path | None,
        typer.Option(help="For that, an .npz of x_mean, x_std, y_mean, y_std; else the data's."),
    ] = None,
    layers: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only layers that match; repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Leave out layers; repeatable.")
    ] = None,
    pool: Annotated[
        Pool, typer.Option(help="How positions in space or time become one row of features.")
    ] = "mean",
    output_key: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Where the predictions are, if the network returns several tensors: a key, a"
            " field or an index. By default the first.",
        ),
    ] = None,
    output_slice: Annotated[
        str | None,
        typer.Option(metavar="A:B", help="Which columns of it are the predictions, such as :2."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="What covariances are multiplied in; float32 is faster.")
    ] = "float64",
    sketch: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="RANK",
            help="For wide layers: sketch covariances from so many random directions.",
        ),
    ] = None,
    sketch_passes: Annotated[
        int, typer.Option(min=1, max=2, help="A second pass over the data sharpens a sketch.")
    ] = 1,
    memory: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="BYTES",
            help="Covariances take so much at most; layers that do not fit wait for another pass.",
        ),
    ] = None,
    compress: Annotated[
        bool, typer.Option("--compress", help="Compress stored features: smaller, but slower.")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="Samples per forward pass; by default 1024 for narrow networks, else 256."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many samples.")] = None,
    offset: Annotated[int, typer.Option(min=0, help="Leave out so many samples first.")] = 0,
    device: Annotated[str, typer.Option(help="Where the network runs.")] = "cpu",
    dtype: Annotated[
        DType | None, typer.Option(help="What the network runs in; by default float32.")
    ] = None,
) -> dict[str, Any]:
    """Return the options of a pass: how the network is built and run, and the data read."""
    return {
        "factory": factory,
        "factory_args": _json_object("--model-args", model_args),
        "state_key": state_key,
        "trust": trust,
        "pythonpath": pythonpath,
        "activation": activation,
        "x_key": x_key,
        "y_key": y_key,
        "targets": _words(targets),
        "n_targets": n_targets,
        "images": images,
        "standardize": _words(standardize),
        "scales": scales,
        "layers": layers or (),
        "exclude": exclude or (),
        "pool": pool,
        "output_key": output_key,
        "output_slice": output_slice,
        "precision": precision,
        "sketch": sketch,
        "sketch_passes": sketch_passes,
        "memory": memory,
        "compress": compress,
        "batch_size": batch_size,
        "limit": limit,
        "offset": offset,
        "device": device,
        "dtype": dtype,
    }


def report_options(
    signal_dim: Annotated[
        str,
        typer.Option(
            metavar="t|auto|INT",
            help="k: the number of targets, their numerical rank, or a number.",
        ),
    ] = "t",
    convention: Annotated[
        Convention, typer.Option(help="Details as defined, or as in the authors' script.")
    ] = "default",
    noise_max: Annotated[
        float, typer.Option(help="NRC1 holds up to this noise component.")
    ] = _DEFAULTS.noise_max,
    cka_min: Annotated[
        float, typer.Option(help="NRC2 holds from this CKA on.")
    ] = _DEFAULTS.cka_min,
    alignment_min: Annotated[
        float, typer.Option(help="NRC3 holds from this alignment on.")
    ] = _DEFAULTS.alignment_min,
    excess_max: Annotated[
        float,
        typer.Option(help="NRC4 holds up to this (linear MSE - network MSE) / target variance."),
    ] = _DEFAULTS.excess_max,
) -> dict[str, Any]:
    """Return the options of a report: how metrics are defined, and when conditions hold."""
    return {
        "signal_dim": _signal_dim(signal_dim),
        "convention": convention,
        "thresholds": Thresholds(noise_max, cka_min, alignment_min, excess_max),
    }


def one_source(data: list[Path] | None, data_factory: str | None, command: str) -> Any:
    """Return where the data comes from: files, or what the user's own code returns.

    Raises:
        UsageError: none is given, or both.
    """
    if (data is None) == (data_factory is None):
        raise UsageError(f"give either DATA or --data: see nrcscan {command} --help")
    return data or data_factory


def _json_object(option: str, text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{option} {text}: not JSON ({error.msg} at character {error.pos});"
            ' write an object such as {"width": 256}'
        ) from error
    if not isinstance(value, dict):
        raise UsageError(f'{option} {text}: not an object; write one such as {{"width": 256}}')
    return value


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in text.split(",")] if text else []


def _signal_dim(text: str) -> Any:
    if text in ("t", "auto"):
        return text
    if text.isdecimal() and len(text) < 10 and int(text) > 0:
        return int(text)
    raise UsageError(f"--signal-dim {text}: give t, auto or a number from 1 up")
