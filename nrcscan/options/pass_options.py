"""Every option of a pass over the data, declared once: for one checkpoint or for many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from nrcscan.options.choices import COLUMNS, DEVICE, DType, Pool, Precision
from nrcscan.options.measure_options import MeasuresOption
from nrcscan.options.option import Option

if TYPE_CHECKING:
    from torch import nn

    Factory = Callable[..., nn.Module]
else:
    Factory = Callable[..., Any]


class CheckpointOptions(TypedDict, total=False):
    """How a checkpoint is opened, and taken for a network."""

    activation: Annotated[
        str | None,
        Option(
            help="Activation of an inferred chain: relu, tanh, gelu, silu, elu, selu, leaky_relu,"
            " sigmoid, softplus or identity; by default the one that explains the first samples"
            " best.",
            metavar="NAME",
            not_with="factory",  # which builds the network with its own
            group="Network",
            shards_may_differ=True,
        ),
    ]
    state_key: Annotated[
        str | None,
        Option(
            help="Which network of a checkpoint: the dotted key of a state dict, a place in a list,"
            " what a part's names begin with, or such parts joined by commas.",
            metavar="KEY[,KEY]",
            group="Network",
            shards_may_differ=True,
        ),
    ]
    ignore: Annotated[
        Sequence[str],
        Option(
            (),
            help="Leave aside the checkpoint's tensors that match, or that are in a module that"
            " does.",
            metavar="GLOB",
            group="Network",
            shards_may_differ=True,
        ),
    ]
    trust: Annotated[
        bool,
        Option(
            False,
            help="Open a checkpoint that can run code as it loads.",
            flag="--trust",
            in_file=False,  # who runs the command decides on that, not what lies in a folder
            group="Network",
            shards_may_differ=True,
        ),
    ]


class SourceOptions(CheckpointOptions, total=False):
    """How a network is made of what is saved."""

    factory: Annotated[
        str | Factory | None,
        Option(
            help="What builds the network: package.module:factory or path/file.py:factory."
            " Without it, a plain chain is inferred from the weights. With --trust, path/file.py"
            " alone is the script that a network was pickled in.",
            flag="--model",
            metavar="WHERE:NAME",
            group="Network",
            shards_may_differ=True,
        ),
    ]
    factory_args: Annotated[
        Mapping[str, Any] | None,
        Option(
            {},
            help="Arguments of the factory by name; on the command line a JSON object.",
            flag="--model-args",
            metavar="JSON",
            goes_with="factory",
            group="Network",
            shards_may_differ=True,
        ),
    ]
    run_script: Annotated[
        bool,
        Option(
            False,
            help="Import your code though that does more than define things, such as train.",
            flag="--run-script",
            group="Network",
            changes_numbers=False,
        ),
    ]
    pythonpath: Annotated[
        str | Path | None,
        Option(
            help="Where a trusted checkpoint finds its classes.",
            metavar="DIR",
            group="Network",
            shards_may_differ=True,
        ),
    ]


class MeasuredOptions(TypedDict, total=False):
    """Where a network runs, on which samples, and what of it is measured."""

    device: Annotated[
        str | None,
        Option(
            help="Where the network runs; by default the CPU, or where it is for one in memory.",
            in_scan="cpu",
            shown_default="cpu",
            pattern=DEVICE,
            form="cpu, cuda, cuda:1, mps or another of torch's devices",
            metavar="DEVICE",
            group="Network",
            shards_may_differ=True,
        ),
    ]
    dtype: Annotated[
        DType | None,
        Option(
            help="What the network runs in; by default float32, or its own for one in memory or"
            " of ONNX.",
            group="Network",
        ),
    ]
    x_key: Annotated[
        str | None,
        Option(
            help="The inputs' key in a file of named arrays, or columns in a table: a+b side by"
            " side, a,b several inputs, 'data/*/obs' joined episodes.",
            metavar="KEY",
            group="Data",
            shards_may_differ=True,
        ),
    ]
    y_key: Annotated[
        str | None,
        Option(
            help="The targets' key in a file of named arrays, or columns in a table, likewise.",
            metavar="KEY",
            group="Data",
            shards_may_differ=True,
        ),
    ]
    targets: Annotated[
        Sequence[str],
        Option(
            (),
            help="The targets' columns in a table.",
            metavar="COL,COL",
            separator=",",
            group="Data",
            shards_may_differ=True,
        ),
    ]
    n_targets: Annotated[
        int | None,
        Option(
            help="So many last columns of a table are targets.",
            minimum=1,
            group="Data",
            shards_may_differ=True,
        ),
    ]
    drop: Annotated[
        Sequence[str],
        Option(
            (),
            help="A table's columns that are neither inputs nor targets.",
            metavar="COL,COL",
            separator=",",
            group="Data",
            shards_may_differ=True,
        ),
    ]
    images: Annotated[
        str | None,
        Option(
            help="How images become inputs: channels=rgb|grey height= width= scale= mean= std=,"
            " resized, then (pixels / scale - mean) / std.",
            metavar="'NAME=VALUE ...'",
            group="Data",
        ),
    ]
    standardize: Annotated[
        Sequence[str],
        Option(
            (),
            help="Put inputs, targets or both to mean 0, spread 1.",
            metavar="x|y|x,y",
            separator=",",
            group="Data",
            shards_may_differ=True,
        ),
    ]
    scales: Annotated[
        str | Path | None,
        Option(
            help="To standardize by, an .npz of x_mean, x_std, y_mean, y_std; else the data's, or"
            " of a split the training part's.",
            goes_with="standardize",
            metavar="FILE",
            group="Data",
            shards_may_differ=True,
        ),
    ]
    split: Annotated[
        str | None,
        Option(
            help="Only one part of the data, cut as scikit-learn's train_test_split cuts it:"
            " train=0.8,seed=42,part=test.",
            metavar="NAME=VALUE,...",
            group="Data",
        ),
    ]
    limit: Annotated[
        int | None,
        Option(help="At most so many samples.", minimum=1, group="Data", shards_may_differ=True),
    ]
    offset: Annotated[
        int,
        Option(
            0,
            help="Leave out so many samples first: a shard is an offset and a limit.",
            minimum=0,
            group="Data",
            shards_may_differ=True,
        ),
    ]
    layers: Annotated[
        Sequence[str],
        Option(
            (),
            help="Only layers that match.",
            metavar="GLOB",
            group="Layers",
            shards_may_differ=True,  # those that they choose are compared
        ),
    ]
    exclude: Annotated[
        Sequence[str],
        Option(
            (),
            help="Leave out layers that match.",
            metavar="GLOB",
            group="Layers",
            shards_may_differ=True,
        ),
    ]
    pool: Annotated[
        Pool,
        Option(
            "mean",
            help="How positions in space or time become one row of features.",
            group="Layers",
        ),
    ]
    mask: Annotated[
        str | None,
        Option(
            help="Which of several inputs is 1 for the positions that count; ~NAME where 1 is"
            " padding, none for no mask. By default attention_mask and others known by name.",
            metavar="NAME",
            group="Data",
        ),
    ]
    output_key: Annotated[
        str | None,
        Option(
            help="Where the predictions are, if the network returns several tensors: a key, a"
            " field or an index, or several with commas between, side by side. By default the"
            " first.",
            metavar="KEY,KEY",
            group="Network",
        ),
    ]
    output_slice: Annotated[
        str | None,
        Option(
            help="Which columns of it are the predictions, such as :2.",
            metavar="A:B",
            pattern=COLUMNS,
            form="from:to, such as :2",
            group="Network",
        ),
    ]
    predictions: Annotated[
        bool,
        Option(
            True,
            help="Judge the network by its predictions; without, NRC4 and R² are left out.",
            flag="--predictions/--no-predictions",
            group="Network",
        ),
    ]
    measures: MeasuresOption


class NetworkOptions(SourceOptions, MeasuredOptions, total=False):
    """Which network is measured, and on what."""


class StoringOptions(TypedDict, total=False):
    """What a file keeps beside the statistics that a report is made from."""

    activations: Annotated[
        bool,
        Option(
            True,
            help="Store the features themselves too.",
            flag="--activations/--no-activations",
            in_scan=False,
            group="Output",
            shards_may_differ=True,
        ),
    ]
    compress: Annotated[
        bool,
        Option(
            False,
            help="Compress stored features: smaller, but slower.",
            flag="--compress",
            goes_with="activations",
            group="Output",
            changes_numbers=False,
        ),
    ]
    cross: Annotated[
        bool,
        Option(
            False,
            help="Keep how the features of any two depths vary together, for cut --between.",
            flag="--cross",
            not_with="sketch",  # of which there are no whole covariances
            group="Cost",
        ),
    ]


class CostOptions(TypedDict, total=False):
    """What a pass takes, of time and memory."""

    precision: Annotated[
        Precision,
        Option(
            "float64",
            help="What covariances are multiplied in; float32 is faster.",
            group="Cost",
        ),
    ]
    sketch: Annotated[
        int | None,
        Option(
            help="For wide layers: sketch covariances from so many random directions.",
            minimum=1,
            metavar="RANK",
            group="Cost",
        ),
    ]
    sketch_passes: Annotated[
        int,
        Option(
            1,
            help="A second pass over the data sharpens a sketch.",
            minimum=1,
            maximum=2,
            goes_with="sketch",
            group="Cost",
        ),
    ]
    memory: Annotated[
        int | None,
        Option(
            help="Covariances take so much at most; layers that do not fit wait for another pass.",
            minimum=1,
            unit="byte",
            metavar="BYTES",
            group="Cost",
            changes_numbers=False,
        ),
    ]
    blocks: Annotated[
        int | None,
        Option(
            help="How many blocks of samples error bars are made from at least, and less than twice"
            " as many; 0 for none; by default 16 where layers are up to 512 wide and memory"
            " allows.",
            minimum=0,
            maximum=40,
            group="Cost",
            shards_may_differ=True,
        ),
    ]
    batch_size: Annotated[
        int | None,
        Option(
            help="Samples per forward pass; by default 1024 for narrow networks, else 256.",
            minimum=1,
            group="Cost",
            shards_may_differ=True,
        ),
    ]
    n_workers: Annotated[
        int | None,
        Option(
            help="Batches that are worked on side by side, by default one per core. It decides"
            " the last bits.",
            flag="",
            in_scan=1,  # so that the numbers do not depend on how many jobs share the cores
            minimum=1,
            shards_may_differ=True,
        ),
    ]


class PassOptions(NetworkOptions, StoringOptions, CostOptions, total=False):
    """Every option of a pass that writes a file."""
