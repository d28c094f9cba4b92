"""The command line: each command parses, makes one library call, and renders."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

import nrcscan
from nrcscan.errors import NrcscanError, OutputError, UsageError, printable
from nrcscan.onset import Thresholds
from nrcscan.options import Convention, DType, Format, Pool, Precision

INTERRUPTED = 130
CLOSED_PIPE = 141
_ASCII = str.maketrans(
    {"✓": "+", "✗": "-", "·": ".", "—": "n/a", "▼": "v", "─": "-", "→": ">", "×": "x", "²": "^2"}
)
_DEFAULTS = Thresholds()

app = typer.Typer(
    name="nrcscan",
    help="Find where a trained regressor has collapsed onto its targets, and how far.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"nrcscan {nrcscan.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_show_version
        ),
    ] = False,
) -> None:
    pass


@app.command(no_args_is_help=True)
def extract(
    model: Annotated[
        Path, typer.Argument(help="Checkpoint: .pt .pth .ckpt .bin .safetensors, shards, …")
    ],
    data: Annotated[
        list[Path] | None,
        typer.Argument(
            help="An .npz, .csv, .tsv, .parquet, .h5, .pt or .safetensors file, or X.npy y.npy."
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")] = Path(
        "acts.h5"
    ),
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
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
    state_key: Annotated[
        str | None, typer.Option(help="Which state dict of a training checkpoint.")
    ] = None,
    data_factory: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="WHERE:NAME",
            help="In place of DATA, what returns a Dataset, a DataLoader or batches:"
            " package.module:factory or path/file.py:factory.",
        ),
    ] = None,
    trust: Annotated[
        bool,
        typer.Option("--trust", help="Open a checkpoint that can run code as it loads."),
    ] = False,
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
    activations: Annotated[bool, typer.Option(help="Store the features themselves too.")] = True,
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
    batch_size: Annotated[int, typer.Option(min=1, help="Samples per forward pass.")] = 256,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many samples.")] = None,
    device: Annotated[str, typer.Option(help="Where the network runs.")] = "cpu",
    dtype: Annotated[DType, typer.Option(help="What the network runs in.")] = "float32",
) -> None:
    """Run a trained network over a dataset once and keep its statistics in a file.

    Example: nrcscan extract model.pt data.npz -o acts.h5
    """
    with _errors():
        if (data is None) == (data_factory is None):
            raise UsageError("give either DATA or --data: see nrcscan extract --help")
        progress = _progress()
        with progress:
            task = progress.add_task("samples", total=None, visible=False)
            result = nrcscan.extract(
                model,
                data or data_factory,
                output,
                factory=factory,
                factory_args=_json_object("--model-args", model_args),
                state_key=state_key,
                trust=trust,
                pythonpath=pythonpath,
                activation=activation,
                x_key=x_key,
                y_key=y_key,
                targets=_words(targets),
                n_targets=n_targets,
                standardize=_words(standardize),
                scales=scales,
                layers=layers or (),
                exclude=exclude or (),
                pool=pool,
                output_key=output_key,
                output_slice=output_slice,
                activations=activations,
                precision=precision,
                sketch=sketch,
                sketch_passes=sketch_passes,
                memory=memory,
                batch_size=batch_size,
                limit=limit,
                device=device,
                dtype=dtype,
                force=force,
                on_note=_say,
                on_progress=lambda done, total: progress.update(
                    task, completed=done, total=total, visible=True
                ),
            )
        fit = "" if result.r2 is None else f", R² = {result.r2:.3f}"
        done = f"{result.path}: {len(result.layers)} layers, {result.n_samples} samples{fit}"
        if _speaks():
            _emit(f"{done}\n", None)
        _say(f"see where it collapses with: nrcscan report {result.path}")


@app.command(no_args_is_help=True)
def report(
    acts: Annotated[Path, typer.Argument(help="A file of nrcscan extract.")],
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
    form: Annotated[Format, typer.Option("--format", help="What to write.")] = "table",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to a file instead.")
    ] = None,
) -> None:
    """Show where collapse begins, layer by layer.

    Example: nrcscan report acts.h5 --format json -o report.json
    """
    with _errors():
        result = nrcscan.report(
            acts,
            signal_dim=_signal_dim(signal_dim),
            convention=convention,
            thresholds=Thresholds(noise_max, cka_min, alignment_min, excess_max),
        )
        from nrcscan import tables

        terminal = form == "table" and output is None
        if not (terminal and _in_terminal(tables.table(result), tables.least_width(result))):
            _emit(tables.render(result, form), output)


@app.command(no_args_is_help=True)
def inspect(
    model: Annotated[
        Path, typer.Argument(help="Checkpoint: .pt .pth .ckpt .bin .safetensors, shards, …")
    ],
    state_key: Annotated[
        str | None, typer.Option(help="Which state dict of a training checkpoint.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show what a checkpoint is and holds, without running anything in it.

    Example: nrcscan inspect model.pt
    """
    with _errors():
        found = nrcscan.inspect(model, state_key=state_key)
        if json_:
            _emit(json.dumps(found.to_dict(), indent=2) + "\n", None)
            return
        from nrcscan import tables

        shown = tables.inspection(found)
        if not _in_terminal(shown):
            _emit(tables.plain(shown), None)


@contextmanager
def _errors() -> Iterator[None]:
    """Turn an error that a user can cause into one line and an exit code."""
    try:
        yield
    except NrcscanError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        print("interrupted: nothing was written", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from error


def _speaks() -> bool:
    """Say whether this process is the only one, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def _say(text: str) -> None:
    if _speaks():
        print(f"note: {text}", file=sys.stderr)


def _progress() -> Any:
    """Return a progress bar on stderr with rate and time left; silent when it is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:,.0f} samples/s")

    return Progress(
        TextColumn("{task.completed:,.0f} samples"),
        BarColumn(),
        Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not (sys.stderr.isatty() and _speaks()),
        transient=True,
    )


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


def _emit(text: str, output: Path | None) -> None:
    """Write a result to a file, or to stdout in the marks that it can show."""
    if output is not None:
        from nrcscan.store import write_text

        write_text(output, text)
        return
    if sys.stdout is None:  # closed by whoever called
        return
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = text.translate(_ASCII)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer must not fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(CLOSED_PIPE) from error
        raise OutputError(f"the output cannot be written: {error.strerror}") from error


def _in_terminal(shown: Any, least_width: int = 0) -> bool:
    """Show something in colours if stdout is a terminal that can; say whether it was."""
    stdout = sys.stdout
    if stdout is None or not stdout.isatty() or stdout.encoding.lower() != "utf-8":
        return False
    from rich.console import Console

    console = Console()
    console.width = max(console.width, least_width)  # numbers are never cut: lines wrap instead
    console.print(shown)
    return True


class _Stopped(BaseException):
    """A signal asked the program to end; no code on the way may take it for its own exit."""


def _stop(number: int, frame: object) -> None:
    raise _Stopped(number)


def main() -> None:
    """Run the command line; a polite kill, or a closed terminal, cleans up as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        sys.exit(app(standalone_mode=False))
    except _Stopped as stopped:
        sys.exit(128 + stopped.args[0])
    except Exception as error:
        # Typer keeps the classes of its own usage errors to itself; this tells them.
        message: Callable[[], str] | None = getattr(error, "format_message", None)
        if message is None:
            raise
        if text := message():  # there is none where the help was shown instead
            context = getattr(error, "ctx", None)
            where = context.command_path if context is not None else "nrcscan"
            print(f"error: {printable(text).rstrip('.')}; see {where} --help", file=sys.stderr)
        sys.exit(getattr(error, "exit_code", UsageError.exit_code))
