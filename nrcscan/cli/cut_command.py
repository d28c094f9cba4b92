"""``nrcscan cut``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import nrcscan
from nrcscan.cli.console import STDOUT, emit, encoding_of_stdout, in_terminal, placed, say
from nrcscan.cli.option_groups import Force, Form, takes
from nrcscan.cli.progress_bar import counting
from nrcscan.cutting.cut_forms import CUT_FORMS, writable_form
from nrcscan.errors import UsageError
from nrcscan.options.choices import Format
from nrcscan.options.cut_network_options import CutNetworkOptions
from nrcscan.options.cut_options import CutOptions
from nrcscan.options.effect import require_effect
from nrcscan.options.option import declared

Samples = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Where the samples of TRAIN are, if not where it says: a file, a second one beside it"
        " by a second --data, or package.module:factory or path/file.py:factory.",
        rich_help_panel="Data",
    ),
]
TestSamples = Annotated[
    list[str] | None,
    typer.Option(
        "--test-data",
        metavar="DATA",
        help="Where those of TEST are, likewise.",
        rich_help_panel="Data",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write the table to a file; with --model the network: .pt is a state dict with its"
        " factory beside it, .ts TorchScript, .onnx ONNX.",
    ),
]


Train = Annotated[
    Path, typer.Argument(metavar="TRAIN", help="A file of nrcscan extract: heads are fitted to it.")
]
Test = Annotated[
    Path | None,
    typer.Option(
        metavar="TEST",
        help="The same network on other samples: cuts are judged on these.",
        rich_help_panel="Data",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL|WHERE:NAME",
        help="Write the cut network: the checkpoint that TRAIN was measured on, or its code,"
        " where the checkpoint is where TRAIN says.",
        rich_help_panel="Network",
    ),
]
Between = Annotated[
    bool,
    typer.Option(
        "--between",
        help="Find layers that one linear map could replace instead, in files of extract --cross.",
        rich_help_panel="Layers",
    ),
]
Everything = Annotated[
    bool,
    typer.Option(
        "--wide",
        help="Show width, ridge and more errors too, as a terminal of 120 columns does, and whole"
        " names.",
    ),
]


@takes(options=CutOptions, network=CutNetworkOptions)
def cut(
    train: Train,
    against: Test = None,
    model: Model = None,
    data: Samples = None,
    test_data: TestSamples = None,
    between: Between = False,
    form: Form = "table",
    output: Output = None,
    force: Force = False,
    wide: Everything = False,
    *,
    options: CutOptions,
    network: CutNetworkOptions,
) -> None:
    """Find the smallest network that does as well: its first layers, and a linear head.

    Examples:
        nrcscan cut train.h5 --against test.h5
        nrcscan cut train.h5 --against test.h5 --within 1% --format csv -o cuts.csv
        nrcscan cut acts.h5
        nrcscan cut train.h5 --against test.h5 --model model.pt -o cut.pt
        nrcscan cut train.h5 --against test.h5 --between
    """
    inputs = [train, against]
    if between:
        require_effect({"--model": model}, "with --between", "leave it out: no network is written")
    if model is None:
        given = {"--data": data, "--test-data": test_data, **_flags(network)}
        require_effect(given, "without --model", "name the network that is to be written with it")
        _require_table(output)
        output = placed(output, inputs, force=force)
    else:
        output = _network_file(model, output, inputs, force=force)
    if form != "table":
        require_effect({"--wide": wide}, f"with --format {form}", "leave it out")
    if between:
        with counting("stretches") as advance:
            stretches = nrcscan.between(train, against, on_progress=advance, **options)
        _show(stretches, form, output, wide=wide)
        return
    with counting("cuts") as advance:
        found = nrcscan.cut(train, against, on_progress=advance, **options)
    _show(found, form, None if model is not None else output, wide=wide)
    if model is not None and output is not None:
        samples = {"data": _one_or_two(data), "test_data": _one_or_two(test_data)}
        written = nrcscan.write_cut(
            found, model, output, **samples, force=force, on_note=say, **network
        )
        say(written.text)


def _flags(network: CutNetworkOptions) -> dict[str, object]:
    """Return what was given of how the network is written, by flag."""
    fields = declared(CutNetworkOptions)
    return {fields[name].flag: value for name, value in network.items() if value}


def _one_or_two(paths: list[str] | None) -> str | tuple[str, ...] | None:
    """Return data as it was named: one path or code, or two paths that belong together."""
    if not paths:
        return None
    return paths[0] if len(paths) == 1 else tuple(paths)


def _network_file(
    model: str, output: Path | None, inputs: list[Path | None], *, force: bool
) -> Path:
    """Return where the network is to be written, before any work is done.

    Raises:
        UsageError: the file of the cut network is not named.
    """
    if output is None or str(output) == STDOUT:
        raise UsageError(
            f"--model {model}: the cut network is a file; name it with -o, such as -o cut.pt"
        )
    writable_form(output, [model, *filter(None, inputs)], force=force)
    return output


def _require_table(output: Path | None) -> None:
    """Refuse the name of a network for a table.

    Raises:
        UsageError: what would be written is a table, and its name ends as a network's does.
    """
    from nrcscan.inputs.checkpoints.recognise import SUFFIXES

    networks = {*SUFFIXES, *(ending for form in CUT_FORMS for ending in form.endings)}
    if output is not None and output.suffix.lower() in networks:
        raise UsageError(
            f"{output}: ends as a network does, and would hold a table; choose another ending, or"
            " have the cut network written with --model"
        )


def _show(
    found: nrcscan.Cuts | nrcscan.Replaceable, form: Format, output: Path | None, *, wide: bool
) -> None:
    """Show what was found, or write it to a file."""
    from nrcscan.cutting import cuts_table, replaceable_table

    encoding = "utf-8" if output is not None else encoding_of_stdout()
    shown: cuts_table.CutsTable | replaceable_table.ReplaceableTable
    if isinstance(found, nrcscan.Cuts):
        shown = cuts_table.CutsTable(found, wide=wide)
        text = cuts_table.render(found, form, wide=wide, encoding=encoding)
    else:
        shown = replaceable_table.ReplaceableTable(found, wide=wide)
        text = replaceable_table.render(found, form, wide=wide, encoding=encoding)
    if form == "table" and output is None and in_terminal(shown, shown.least_width):
        return
    emit(text, output)
