"""What a file is that was given as a checkpoint: told by its content, with the next step."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from nrcscan.errors import InputError, UnsafeError
from nrcscan.files import sniff
from nrcscan.files.text_kinds import told
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint

TAKEN = "give a checkpoint of torch.save or safetensors"
ORDER = f"{TAKEN}, as MODEL before DATA"
CONVERT = "convert it to ONNX, or to a state dict of PyTorch in safetensors"
ONNX = "convert it to ONNX with tf2onnx"


def _hdf5(user_block: int, start: bytes = b"") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "w", userblock_size=user_block) as file:
            file["a"] = np.zeros((3, 4))
        with path.open("r+b") as raw:
            raw.write(start)

    return write


def _keras(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = "2.15.0"
        file.create_group("model_weights")


def _acts(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["format"] = np.bytes_(b"nrcscan.acts")


def _zip(*names: str) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "content")

    return write


def _tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("000000.x.npy", "000000.y.npy"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"1234"))


def _table(write: Callable[[pa.Table, Path], None]) -> Callable[[Path], None]:
    return lambda path: write(pa.table({"a": [1, 2]}), path)


def _matlab5(path: Path) -> None:
    from scipy.io import savemat

    savemat(str(path), {"a": np.zeros(3)}, appendmat=False)


def _npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


MATLAB_73 = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\x00\x02IM"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
# MessagePack: {"params": {"kernel": 1}}
MSGPACK = b"\x81\xa6params\x81\xa6kernel\x01"
SAVED_MODEL = b"\x08\x01\x12\xb0\x9a\x01\x0a\x10" + b"abc" * 100

CASES: dict[str, tuple[Callable[[Path], None] | bytes, str]] = {
    "hdf5": (_hdf5(0), f"an HDF5 file; {ORDER}"),
    "hdf5 behind 512": (_hdf5(512), f"an HDF5 file; {ORDER}"),
    "hdf5 behind 4096": (_hdf5(4096), f"an HDF5 file; {ORDER}"),
    "matlab 7.3": (_hdf5(512, MATLAB_73), f"a MATLAB 7.3 file (.mat); {ORDER}"),
    "matlab 5": (_matlab5, f"a MATLAB 5 file (.mat); {ORDER}"),
    "keras 2": (
        _keras,
        "a Keras model (HDF5); export it to ONNX with model.export(path, format='onnx')",
    ),
    "keras 3": (
        _zip("metadata.json", "config.json", "model.weights.h5"),
        "a Keras model (.keras); export it to ONNX with model.export(path, format='onnx')",
    ),
    "acts": (
        _acts,
        "a file of statistics, which nrcscan extract has written; see it with nrcscan report",
    ),
    "npy": (_npy, f"a NumPy array (.npy); {ORDER}"),
    "tar": (_tar, "a tar archive; unpack it"),
    "zip": (
        _zip("best/model.pt"),
        "a zip archive but no PyTorch checkpoint; unpack it: it holds best/model.pt",
    ),
    "zip of zips": (
        _zip("a.pt", "b.pt", "c.pt", "d.pt"),
        "a zip archive but no PyTorch checkpoint; unpack it: it holds a.pt, b.pt and 2 more",
    ),
    "excel": (_zip("xl/workbook.xml"), "an Excel workbook; export the sheet as CSV"),
    "gguf": (b"GGUF\x03\x00\x00\x00" + bytes(50), f"a GGUF file (llama.cpp); {CONVERT}"),
    "gzip": (gzip.compress(b"weights"), "gzip-compressed; decompress it with gunzip"),
    "bzip2": (bz2.compress(b"weights"), "bzip2-compressed; decompress it with bunzip2"),
    "xz": (lzma.compress(b"weights"), "xz-compressed; decompress it with unxz"),
    "zstd": (
        b"\x28\xb5\x2f\xfd\x04\x00\x19\x00",
        "Zstandard-compressed; decompress it with unzstd",
    ),
    "saved model": (SAVED_MODEL, f"a TensorFlow SavedModel (.pb); {ONNX}"),
    "frozen graph": (
        b"\x0a\x20\x0a\x01x\x12\x0bPlaceholder*\x0b",
        f"a TensorFlow graph (.pb); {ONNX}",
    ),
    "tflite": (
        b"\x1c\x00\x00\x00TFL3" + bytes(40),
        f"a TensorFlow Lite model (.tflite); {ONNX}",
    ),
    "flax": (MSGPACK, f"MessagePack, as Flax saves (.msgpack); {CONVERT}"),
    "parquet": (_table(pa.parquet.write_table), f"a Parquet file; {ORDER}"),
    "feather": (_table(pa.feather.write_feather), f"an Arrow (Feather) file; {ORDER}"),
    "png": (b"\x89PNG\r\n\x1a\n....", f"an image; {TAKEN}"),
    "pdf": (b"%PDF-1.7\n", f"a PDF; {TAKEN}"),
    "json": (json.dumps({"epoch": 1}).encode(), f"JSON text; {TAKEN}"),
    "long json": (b"[1" + b", 2" * 50_000 + b"]", f"JSON text; {TAKEN}"),
    "yaml": (b"# a run\nmodel:\n  width: 3\n", f"YAML text; {TAKEN}"),
    "csv": (b'"x","y"\n"1","2"\n', f"a table in text (CSV); {ORDER}"),
    "code": (b"import torch\nnet = None\n", f"a program's source text; {TAKEN}"),
    "prose": ("Größe, café\nzwei Zeilen".encode(), f"a text file; {TAKEN}"),
    "pointer": (LFS, "a Git LFS pointer, not the file itself; get the file with git lfs pull"),
    "page": (
        b"\n<!DOCTYPE html>\n<html><title>404</title>",
        "a web page (HTML), not the file itself; download it again: the server answered with a"
        " page",
    ),
    "zeros": (bytes(5000), "nothing but zeros; copy or download it again"),
    "floats": (np.linspace(-1, 1, 99).astype("f4").tobytes(), f"of an unknown format; {TAKEN}"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_file_that_is_no_checkpoint_is_named_by_its_content(tmp_path: Path, case: str) -> None:
    content, message = CASES[case]
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        content(path)
    with pytest.raises(InputError) as caught:
        open_checkpoint(path)
    assert str(caught.value) == f"{path}: is {message}"


@pytest.mark.parametrize("protocol", range(2))
def test_a_pickle_of_an_old_protocol_is_named_with_what_it_asks_for(
    tmp_path: Path, protocol: int
) -> None:
    path = tmp_path / "model.pt"
    # Longer than what is looked at, in one piece and in many.
    for more in (b"x" * 100_000, list(range(30_000))):
        path.write_bytes(pickle.dumps({"scale": np.zeros(3), "more": more}, protocol=protocol))
        with pytest.raises(UnsafeError, match=r"is a pickle that asks for .*numpy.dtype"):
            open_checkpoint(path)


@pytest.mark.parametrize(
    "text", ["category name\nfoo\nbar\n" * 4000, "(a remark)\n", "I1\nI2\n", ".", "]\n"]
)
def test_text_is_no_pickle(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.txt"
    path.write_text(text)
    assert sniff.foreign(path) == "a text file"


@pytest.mark.parametrize("start", [b"\n" * 60_000 + b"!x", b"---" + b" \n" * 30_000 + b"!x"])
def test_blank_lines_are_looked_at_once(start: bytes) -> None:
    assert told(start) == ("a text file", "")
