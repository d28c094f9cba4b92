"""Every form of data and checkpoint that is read, each with a command that works.

What help, error messages and docs/formats.md list comes from here. A further form of checkpoint is
an entry here, and a file that reads it; forms of data have their entries in `data_forms`.
`python -m nrcscan.inputs.catalogue docs/formats.md` writes the tables into the page. Imports
nothing heavy.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from nrcscan.extras import to_install
from nrcscan.inputs.checkpoints import signs
from nrcscan.inputs.data_forms import DATA, SCALES, SPLITS
from nrcscan.inputs.forms import CheckpointForm, Form
from nrcscan.wording import listed, with_tables

_EXPORTED = ("archive_format", "model.json", "serialized_exported_program.json")

CHECKPOINTS = (
    CheckpointForm(
        key="torch",
        name="PyTorch (torch.save), opened as data",
        sign=signs.either(
            signs.zip_with("data.pkl", without=("constants.pkl", *_EXPORTED)),
            signs.legacy_torch,
            signs.pickled,
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
                "a part of one, by what its names begin with",
                "nrcscan extract agent.pt data.npz --state-key actor",
            ),
            Form(
                "several parts, one after the other",
                "nrcscan extract agent.pt data.npz --state-key trunk,head",
            ),
            Form(
                "a list of tensors, in the order of the network's parameters",
                "nrcscan extract averaged.pt data.npz --state-key ema.shadow_params"
                " --model mine.py:build --model-args '{\"width\": 16}'",
            ),
            Form(
                "one with more tensors than the network",
                "nrcscan extract extra.pt data.npz --ignore log_std --ignore 'critic.*'",
            ),
            Form(
                "wrapped, as a whole or in parts: DataParallel, `torch.compile`, FSDP, Lightning,"
                " weight averaging",
                "nrcscan extract wrapped.pt data.npz",
            ),
            Form(
                "a Lightning `.ckpt`: its `hyper_parameters` are offered to the factory",
                "nrcscan extract lightning.ckpt data.npz --model mine.py:build",
            ),
            Form(
                "weights beside objects of any class, which are left out and named",
                "nrcscan extract training_args.ckpt data.npz",
            ),
            Form(
                "the weights alone of a whole network of your classes, pickled",
                "nrcscan extract pickled.pt data.npz --model mine.py:build"
                " --model-args '{\"width\": 16}'",
            ),
            Form(
                "tensors of classes of their own, DTensors of one rank among them",
                "nrcscan extract dtensor.pt data.npz",
            ),
            Form(
                "weights as NumPy arrays; a pickle of tensors or arrays",
                "nrcscan extract arrays.pkl data.npz",
            ),
            Form(
                "weights in bfloat16, float16 or float8, run in float32",
                "nrcscan extract half.pt data.npz",
            ),
            Form(
                "what a weight is computed from: weight and spectral norms, pruning masks, LoRA",
                "nrcscan extract normed.pt data.npz",
            ),
            Form(
                "any architecture, from your code",
                "nrcscan extract model.pt data.npz --model mine.py:build"
                " --model-args '{\"width\": 16}'",
            ),
            Form(
                "a folder in which training left one: accelerate's, DeepSpeed's, any",
                "nrcscan extract run data.npz",
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
        key="stable_baselines3",
        name="Stable-Baselines3 archive",
        sign=signs.stable_baselines3,
        reader="stable_baselines3:read_archive",
        cases=(
            Form(
                "an archive of Stable-Baselines3: the actor of its policy",
                "nrcscan extract ppo.zip data.npz --state-key mlp_extractor.policy_net,action_net",
            ),
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
            Form(
                "ONNX of several inputs, by the names that the graph has for them",
                "nrcscan extract two.onnx parts.npz --x-key left,right",
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
    "splits": SPLITS,
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
        install = f" (`{to_install(form.extra)}`)" if form.extra else ""
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
