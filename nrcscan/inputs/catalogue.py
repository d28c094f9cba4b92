"""Every form of data and checkpoint that is read, each with a command that works.

What help, error messages and docs/formats.md list comes from here. A further form of checkpoint is
an entry here, and a file that reads it.
`python -m nrcscan.inputs.catalogue docs/formats.md` writes the tables into the page. Imports
nothing heavy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from nrcscan.inputs.checkpoints import signs
from nrcscan.inputs.forms import CheckpointForm, Form
from nrcscan.wording import listed, with_tables

_EXPORTED = ("archive_format", "model.json", "serialized_exported_program.json")

IMAGES = "channels=rgb height=8 width=8 scale=255 mean=0.5,0.4,0.3 std=0.25"

DATA = (
    Form(
        "`.npz` with `X` and `y` (or `inputs`, `observations`, …; `targets`, `actions`, …)",
        "nrcscan extract model.pt data.npz",
        ".npz",
    ),
    Form(
        "`.npz` with other names",
        "nrcscan extract model.pt other.npz --x-key states --y-key torques",
    ),
    Form(
        "one with several inputs",
        "nrcscan extract model.pt parts.npz --x-key left,right --model mine.py:joined",
    ),
    Form("a pair of `.npy`", "nrcscan extract model.pt X.npy y.npy", "a pair of .npy"),
    Form(
        "`.csv`, with a line of names",
        "nrcscan extract model.pt data.csv --targets speed,turn",
        ".csv",
    ),
    Form(
        "`.tsv`, or `;` between cells; with or without names",
        "nrcscan extract model.pt data.tsv --n-targets 2",
        ".tsv",
    ),
    Form(
        "`.parquet`",
        "nrcscan extract model.pt data.parquet --targets speed,turn",
        ".parquet",
        "parquet",
    ),
    Form(
        "`.parquet` with arrays in its columns",
        "nrcscan extract model.pt arrays.parquet --x-key states --y-key torques",
        extra="parquet",
    ),
    Form(
        "`.h5`, `.hdf5`",
        "nrcscan extract model.pt data.h5 --x-key train/X --y-key train/y",
        ".h5",
    ),
    Form("`.safetensors`", "nrcscan extract model.pt data.safetensors", ".safetensors"),
    Form("tensors of `torch.save`: a dict, or a pair", "nrcscan extract model.pt data.pt", ".pt"),
    Form(
        "a folder of `Dataset.save_to_disk`",
        "nrcscan extract model.pt saved --targets speed,turn",
        "a folder of datasets",
        "datasets",
    ),
    Form(
        "one with arrays in its columns, and the split of a `DatasetDict`",
        "nrcscan extract model.pt splits/train --x-key states --y-key torques",
        extra="datasets",
    ),
    Form(
        "a folder of images, and a CSV of their file names and targets",
        f"nrcscan extract conv.pt photos targets.csv --images '{IMAGES}' --model mine.py:conv",
        "a folder of images and a CSV",
        "images",
    ),
    Form(
        "your code: a Dataset, a DataLoader, a pair of arrays, or batches",
        "nrcscan extract model.pt --data mine.py:loader",
    ),
)

SCALES = (
    Form("statistics of the data", "nrcscan extract model.pt raw.npz --standardize x,y"),
    Form(
        "saved statistics",
        "nrcscan extract model.pt raw.npz --standardize x,y --scales scales.npz",
    ),
)

CHECKPOINTS = (
    CheckpointForm(
        key="torch",
        name="PyTorch (torch.save), opened as data",
        sign=signs.either(
            signs.zip_with("data.pkl", without=("constants.pkl", *_EXPORTED)), signs.legacy_torch
        ),
        reader="torch_save:read_torch",
        runs_code=True,
        suffixes=(".pt", ".pth", ".ckpt", ".bin"),
        cases=(
            Form(
                "a state dict of `torch.save`, whatever the file is called",
                "nrcscan extract model.pt data.npz",
            ),
            Form(
                "a training checkpoint: the state dict under `state_dict`, `model`, `net`, …",
                "nrcscan extract training.ckpt data.npz",
            ),
            Form(
                "one with several networks", "nrcscan extract several.pt data.npz --state-key ema"
            ),
            Form(
                "wrapped by DataParallel, `torch.compile`, Lightning or weight averaging",
                "nrcscan extract wrapped.pt data.npz",
            ),
            Form(
                "a Lightning `.ckpt`: its `hyper_parameters` are offered to the factory",
                "nrcscan extract lightning.ckpt data.npz --model mine.py:build",
            ),
            Form(
                "weights in bfloat16, float16 or float8, run in float32",
                "nrcscan extract half.pt data.npz",
            ),
            Form(
                "any architecture, from your code",
                "nrcscan extract model.pt data.npz --model mine.py:build"
                " --model-args '{\"width\": 16}'",
            ),
            Form(
                "a chain with another activation",
                "nrcscan extract tanh.pt data.npz --activation tanh",
            ),
        ),
    ),
    CheckpointForm(
        key="module",
        name="PyTorch (torch.save), a whole network",
        sign=None,
        reader="torch_save:read_torch",
        runs_code=True,
        cases=(
            Form(
                "a whole network of torch's own layers, pickled",
                "nrcscan extract sequential.pt data.npz",
            ),
            Form(
                "a whole network of your classes, pickled",
                "nrcscan extract pickled.pt data.npz --trust --pythonpath code",
            ),
            Form(
                "one whose class stood in the script that pickled it (`__main__`)",
                "nrcscan extract scripted.pt data.npz --trust --model train.py",
            ),
        ),
    ),
    CheckpointForm(
        key="safetensors",
        name="safetensors",
        sign=signs.safetensors,
        reader="safetensors_file:read_safetensors",
        suffixes=(".safetensors",),
        cases=(Form("`.safetensors`", "nrcscan extract model.safetensors data.npz"),),
    ),
    CheckpointForm(
        key="sharded",
        name="shards with an index",
        sign=signs.index_of_shards,
        reader="sharded_index:read_shards",
        parts=signs.shards,
        cases=(
            Form(
                "shards with a `*.index.json`: the index, or the folder with it",
                "nrcscan extract shards data.npz",
            ),
        ),
    ),
    CheckpointForm(
        key="distributed",
        name="PyTorch distributed checkpoint",
        sign=signs.distributed,
        reader="distributed_folder:read_distributed",
        runs_code=True,
        parts=signs.distributed_files,
        cases=(
            Form(
                "a folder of `torch.distributed.checkpoint`",
                "nrcscan extract step_100 data.npz --trust",
            ),
        ),
    ),
    CheckpointForm(
        key="huggingface",
        name="Hugging Face folder",
        sign=signs.huggingface,
        reader="huggingface_folder:read_folder",
        parts=signs.huggingface_files,
        cases=(
            Form("a Hugging Face folder", "nrcscan extract hub tokens.npz", extra="huggingface"),
        ),
    ),
    CheckpointForm(
        key="torchscript",
        name="TorchScript program",
        sign=signs.zip_with("constants.pkl"),
        reader="torchscript_and_exported:read_torchscript",
        runs_code=True,
        cases=(Form("a TorchScript program", "nrcscan extract script.pt data.npz --trust"),),
    ),
    CheckpointForm(
        key="exported",
        name="exported program (torch.export)",
        sign=signs.zip_with(*_EXPORTED, without=("constants.pkl",)),
        reader="torchscript_and_exported:read_exported",
        runs_code=True,
        suffixes=(".pt2",),
        cases=(
            Form(
                "an exported program, of any or of a fixed batch size",
                "nrcscan extract exported.pt2 data.npz --trust",
            ),
        ),
    ),
    CheckpointForm(
        key="onnx",
        name="ONNX model",
        sign=signs.onnx,
        reader="onnx_model:read_onnx",
        parts=signs.external_data,
        suffixes=(".onnx",),
        cases=(
            Form(
                "ONNX, of any or of a fixed batch size",
                "nrcscan extract model.onnx data.npz",
                extra="onnx",
            ),
        ),
    ),
)

FORMATS = {form.key: form.name for form in CHECKPOINTS}
"""Every form of checkpoint by its key, and what to call it."""

TABLES: dict[str, Sequence[Form]] = {
    "data": DATA,
    "scales": SCALES,
    "checkpoints": [case for form in CHECKPOINTS for case in form.cases],
}
"""The page's tables, by the name in the comment that stands before each."""


def data_kinds() -> str:
    """Return every kind of data, as messages list them.

    >>> data_kinds().split(", ")[:2]
    ['.npz', 'a pair of .npy']
    """
    return listed((form.kind for form in DATA if form.kind), "or")


def table(forms: Sequence[Form]) -> str:
    """Return forms as a Markdown table."""
    rows = ["| form | a command that works |", "|---|---|"]
    for form in forms:
        install = f" (`pip install 'nrcscan[{form.extra}]'`)" if form.extra else ""
        rows.append(f"| {form.words}{install} | `{form.command}` |")
    return "\n".join(rows)


def filled(page: str) -> str:
    """Return a page with its tables as they are here.

    A table follows a line `<!-- NAME: … -->`, NAME being a key of `TABLES`.
    """
    for name in TABLES:
        if (n := page.count(f"<!-- {name}:")) != 1:
            raise ValueError(f"the page has {n} places for the table {name!r}")
    return with_tables(page, {name: table(forms) for name, forms in TABLES.items()})


if __name__ == "__main__":
    where = Path(sys.argv[1])
    where.write_text(filled(where.read_text(encoding="utf-8")), encoding="utf-8")
