"""What a file is, told by its content: the one table of kinds that are not wanted somewhere.

Whoever expects a checkpoint, data or a file of statistics opens its own forms first, and asks here
what else it was given. Nothing is unpacked or run.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nrcscan.files import text_kinds
from nrcscan.files.open_safely import head, opened
from nrcscan.wording import some

HDF5 = b"\x89HDF\r\n\x1a\n"
"""The signature of HDF5; it may stand behind a user block of 512 bytes, or of 1024, 2048, …"""

HEAD = 1 << 16
"""How much of a file is looked at."""

_USER_BLOCKS = tuple(512 << n for n in range(12))
_TAR_MAGIC = 257
_NAME_LIMIT = 1000


@dataclass(frozen=True)
class Kind:
    """What a file is.

    Attributes:
        words: what to call it, as in "FILE: is …".
        remedy: the next step, whatever the file was wanted for; empty where that decides.
        holds: what such files hold as a rule: "data", a "network", or nothing in particular.
    """

    words: str
    remedy: str = ""
    holds: Literal["data", "network", ""] = ""


def _data(words: str) -> Kind:
    return Kind(words, holds="data")


def _network(words: str, remedy: str = "") -> Kind:
    return Kind(words, remedy, holds="network")


UNKNOWN = "of an unknown format"
TEXT = text_kinds.TEXT
PICKLE = "a pickle"
NPZ = "a NumPy archive (.npz)"
ZIP = "a zip archive"
DAMAGED_ZIP = "a damaged zip archive"

KERAS = "export it to ONNX with model.export(path, format='onnx')"
_COPY = "copy or download it again"
_TENSORFLOW = "convert it to ONNX with tf2onnx"

SIGNATURES: tuple[tuple[int, bytes, Kind], ...] = (
    (0, HDF5, _data("an HDF5 file")),
    (0, b"MATLAB 5.0 MAT-file", _data("a MATLAB 5 file (.mat)")),
    (0, b"\x93NUMPY", _data("a NumPy array (.npy)")),
    (0, b"PK\x05\x06", Kind("an empty zip archive", _COPY)),
    (0, b"\x1f\x8b", Kind("gzip-compressed", "decompress it with gunzip")),
    (0, b"BZh", Kind("bzip2-compressed", "decompress it with bunzip2")),
    (0, b"\xfd7zXZ\x00", Kind("xz-compressed", "decompress it with unxz")),
    (0, b"\x28\xb5\x2f\xfd", Kind("Zstandard-compressed", "decompress it with unzstd")),
    (0, b"\x04\x22\x4d\x18", Kind("LZ4-compressed", "decompress it with unlz4")),
    (0, b"7z\xbc\xaf\x27\x1c", Kind("a 7z archive", "unpack it")),
    (0, b"Rar!\x1a\x07", Kind("a RAR archive", "unpack it")),
    (0, b"PAR1", _data("a Parquet file")),
    (0, b"ARROW1", _data("an Arrow (Feather) file")),
    (0, b"\xff\xff\xff\xff", _data("a stream of Arrow, whose folder is the data")),
    (0, b"ORC", _data("an ORC file")),
    (0, b"Obj\x01", _data("an Avro file")),
    (0, b"SQLite format 3\x00", _data("an SQLite database")),
    (0, b"CDF\x01", _data("a NetCDF file")),
    (0, b"CDF\x02", _data("a NetCDF file")),
    (0, b"SIMPLE  =", _data("a FITS file")),
    (0, b"RDX2\n", _data("an R file (.RData)")),
    (0, b"RDX3\n", _data("an R file (.RData)")),
    (0, b"GGUF", _network("a GGUF file (llama.cpp)")),
    (0, b"lmgg", _network("a GGML file (llama.cpp)")),
    (0, b"tjgg", _network("a GGML file (llama.cpp)")),
    (0, b"fmgg", _network("a GGML file (llama.cpp)")),
    (4, b"TFL3", _network("a TensorFlow Lite model (.tflite)", _TENSORFLOW)),
    (4, b"ET12", _network("an ExecuTorch program (.pte)")),
    (0, b"ftrt", _network("a TensorRT engine")),
    (0, b"\x12\x01\x00\x00\x00\x00\x00\x00", _network("an MXNet parameter file")),
    (0, b"\x89PNG", Kind("an image")),
    (0, b"\xff\xd8\xff", Kind("an image")),
    (0, b"GIF8", Kind("an image")),
    (0, b"II*\x00", Kind("an image")),
    (0, b"MM\x00*", Kind("an image")),
    (8, b"WEBP", Kind("an image")),
    (8, b"WAVE", Kind("a sound file")),
    (4, b"ftyp", Kind("a video")),
    (0, b"%PDF", Kind("a PDF")),
    (0, b"\x7fELF", Kind("a program")),
    (0, b"\xff\xfe", Kind("UTF-16 text, to be saved as UTF-8")),
    (0, b"\xfe\xff", Kind("UTF-16 text, to be saved as UTF-8")),
    (_TAR_MAGIC, b"ustar", Kind("a tar archive", "unpack it")),
)
"""Where a kind's signature stands, the signature, and the kind; the first that fits counts."""

MEMBERS: tuple[tuple[str, Kind], ...] = (
    ("model.weights.h5", _network("a Keras model (.keras)", KERAS)),
    ("word/document.xml", Kind("a Word document")),
    ("xl/workbook.xml", Kind("an Excel workbook", "export the sheet as CSV")),
    ("ppt/presentation.xml", Kind("a presentation")),
    ("MAR-INF/MANIFEST.json", Kind("a TorchServe archive (.mar)", "unpack it")),
    ("META-INF/MANIFEST.MF", Kind("a Java archive")),
)
"""A member of a zip archive that tells its kind, and the kind."""


def kind(path: Path) -> Kind:
    """Return what a file is.

    Raises:
        InputError: it cannot be read.
    """
    start = head(path, HEAD)
    if not start:
        return Kind("empty", _COPY)
    if not any(start):
        return Kind("nothing but zeros", _COPY)
    if start.startswith(b"PK\x03\x04"):
        return _zip_kind(path)
    if start.startswith(b"MATLAB 7.3 MAT-file"):
        return _data("a MATLAB 7.3 file (.mat)")
    for offset, signature, found in SIGNATURES:
        if start.startswith(signature, offset):
            return found
    if hdf5_offset(path) is not None:
        return _data("an HDF5 file")
    if is_pickle(start):
        return Kind(PICKLE)
    if (serialised := _serialised(start)) is not None:
        return serialised
    told = text_kinds.told(start)
    if told is None:
        return Kind(UNKNOWN)
    return _data(told[0]) if told[0] == text_kinds.TABLE else Kind(*told)


def foreign(path: Path) -> str:
    """Say what a file that is not wanted here seems to be."""
    return kind(path).words


def hdf5_offset(path: Path) -> int | None:
    """Return where in a file HDF5 begins: 0, or behind a user block; None if it is none."""
    with opened(path) as file:
        for offset in (0, *_USER_BLOCKS):
            file.seek(offset)
            found = file.read(len(HDF5))
            if found == HDF5:
                return offset
            if len(found) < len(HDF5):
                return None
    return None


def is_pickle(start: bytes) -> bool:
    """Whether a file that begins like this is a pickle of any protocol; nothing is unpickled."""
    if start[:1] == b"\x80" and start[1:2] and start[1] <= 5:
        return True
    # Protocols 0 and 1 have no signature: their opcodes must make sense up to the end.
    n_read, cut = 0, len(start) == HEAD
    try:
        for opcode, _, _ in pickletools.genops(io.BytesIO(start)):
            n_read += 1
            if opcode.name == "STOP":
                return n_read > 1
    except ValueError as error:
        # What stands across the end of what was read cannot be told from what is no opcode.
        return cut and n_read >= 8 and "opcode" not in str(error)
    except (IndexError, OverflowError, UnicodeDecodeError):
        return False
    return False


def _zip_kind(path: Path) -> Kind:
    """Return what a zip archive is, by the names in it."""
    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except Exception:  # zipfile raises almost anything on a damaged directory
        return Kind(DAMAGED_ZIP)
    for member, found in MEMBERS:
        if any(name.removeprefix("/") == member for name in names):
            return found
    if any(name.endswith(".npy") for name in names):
        return _data(NPZ)
    inside = [name for name in names if not name.endswith("/")]
    return Kind(ZIP, f"unpack it: it holds {some(inside)}" if inside else "")


def _serialised(start: bytes) -> Kind | None:
    """Return which kind of serialised records this is, of those without a signature."""
    if is_saved_model(start):
        return _network("a TensorFlow SavedModel (.pb)", _TENSORFLOW)
    if start.startswith(b"\x0a") and any(
        b"\x12" + bytes([len(op)]) + op in start for op in (b"Placeholder", b"Const", b"NoOp")
    ):
        return _network("a TensorFlow graph (.pb)", _TENSORFLOW)
    if _is_msgpack(start):
        return _network("MessagePack, as Flax saves (.msgpack)")
    return None


def is_saved_model(start: bytes) -> bool:
    """Whether a file that begins like this is the saved_model.pb of TensorFlow.

    An ONNX model may begin alike, with a name in the place of a whole graph.
    """
    return start.startswith(b"\x08\x01\x12") and _varint(start[3:]) > _NAME_LIMIT


def _is_msgpack(start: bytes) -> bool:
    """Whether this is a map of MessagePack whose first key is a name."""
    sizes = {0xDE: 3, 0xDF: 5}
    at = 1 if 0x81 <= start[0] <= 0x8F else sizes.get(start[0], 0)
    if not at or len(start) < at + 2:
        return False
    if start[at] == 0xD9:
        name = start[at + 2 : at + 2 + start[at + 1]]
    elif 0xA1 <= start[at] <= 0xBF:
        name = start[at + 1 : at + 1 + (start[at] & 0x1F)]
    else:
        return False
    return bool(name) and name.isascii() and name.decode("ascii").isprintable()


def _varint(raw: bytes) -> int:
    """Return the number that protocol buffers write at the start of `raw`."""
    number = 0
    for place, byte in enumerate(raw[:10]):
        number |= (byte & 0x7F) << (7 * place)
        if not byte & 0x80:
            break
    return number
