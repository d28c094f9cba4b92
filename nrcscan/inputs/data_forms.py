"""Every form of data that is read, each with a command that works."""

from __future__ import annotations

from nrcscan.inputs.forms import Form

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
    Form(
        "arrays side by side as one input, in any file of named arrays",
        "nrcscan extract model.pt parts.npz --x-key left+right",
    ),
    Form("a pair of `.npy`", "nrcscan extract model.pt X.npy y.npy", "a pair of .npy"),
    Form(
        "`.csv`, with a line of names",
        "nrcscan extract model.pt data.csv --targets speed,turn",
        ".csv",
    ),
    Form(
        "one with columns that are neither inputs nor targets",
        "nrcscan extract model.pt runs.csv --targets speed,turn --drop run",
    ),
    Form(
        "one whose columns are several inputs, or inputs in another order",
        "nrcscan extract model.pt data.csv --x-key a,b+c+d --y-key speed+turn"
        " --model mine.py:joined",
    ),
    Form(
        "`.tsv`, or `;` between cells; with or without names",
        "nrcscan extract model.pt data.tsv --n-targets 2",
        ".tsv",
    ),
    Form(
        "as `write.csv` of R leaves it: quotes, names of rows; or compressed by gzip, bzip2 or xz",
        "nrcscan extract model.pt r.csv.gz --targets speed,turn",
    ),
    Form(
        "as spreadsheets write it where a comma is the decimal point",
        "nrcscan extract model.pt commas.csv --targets speed,turn",
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
        "`.parquet` as a tokenizer leaves it: `input_ids`, `attention_mask`, …, `labels`",
        "nrcscan extract hub tokens.parquet",
        extra="parquet",
    ),
    Form(
        "`.h5`, `.hdf5`",
        "nrcscan extract model.pt data.h5 --x-key train/X --y-key train/y",
        ".h5",
    ),
    Form(
        "episodes of Minari or ManiSkill: a last observation without an action is left out",
        "nrcscan extract model.pt main_data.hdf5",
    ),
    Form("D4RL", "nrcscan extract model.pt d4rl.hdf5"),
    Form(
        "episodes of robomimic, observations side by side",
        "nrcscan extract model.pt demo.hdf5 --x-key 'data/*/obs/eef+data/*/obs/object'",
    ),
    Form(
        "those that a list in the file names",
        "nrcscan extract model.pt demo.hdf5"
        " --x-key 'data/[mask/train]/obs/eef+data/[mask/train]/obs/object'",
    ),
    Form(
        "`.mat` of MATLAB, of version 7.3 or 5",
        "nrcscan extract model.pt burgers.mat --x-key a --y-key u",
        ".mat",
    ),
    Form("`.safetensors`", "nrcscan extract model.pt data.safetensors", ".safetensors"),
    Form("tensors of `torch.save`: a dict, or a pair", "nrcscan extract model.pt data.pt", ".pt"),
    Form(
        "a `TensorDataset`, `Subset` or `ConcatDataset` of torch, saved",
        "nrcscan extract model.pt dataset.pt",
    ),
    Form("a list of (inputs, targets) or of dicts", "nrcscan extract model.pt pairs.pt"),
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

SPLITS = (
    Form(
        "the samples held back by `train_test_split(X, y, train_size=0.8, random_state=42)`",
        "nrcscan extract model.pt data.npz --split train=0.8,seed=42,part=test",
    ),
    Form(
        "the last quarter",
        "nrcscan extract model.pt data.npz --split test=0.25,shuffle=no,part=test",
    ),
)
