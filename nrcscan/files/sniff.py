"""What a file seems to be, told by its first bytes."""

from __future__ import annotations

from pathlib import Path

from nrcscan.files.open_safely import head


def foreign(path: Path) -> str:
    """Say what a file that is not wanted here seems to be."""
    start = head(path, 16)
    known = {
        b"\x89HDF\r\n\x1a\n": "an HDF5 file",
        b"\x93NUMPY": "a NumPy array (.npy)",
        b"PK\x03\x04": "a zip archive",
        b"PK\x05\x06": "an empty zip archive",
        b"\x1f\x8b": "gzip-compressed",
        b"PAR1": "a Parquet file",
        b"\x89PNG": "an image",
        b"\xff\xd8\xff": "an image",
        b"%PDF": "a PDF",
        b"\xff\xfe": "UTF-16 text, to be saved as UTF-8",
        b"\xfe\xff": "UTF-16 text, to be saved as UTF-8",
        b"ARROW1": "an Arrow (Feather) file",
        b"\xff\xff\xff\xff": "a stream of Arrow, whose folder is the data",
        b"\x7fELF": "a program",
        b"version https://": "a Git LFS pointer, not the file itself",
    }
    for magic, name in known.items():
        if start.startswith(magic):
            return name
    if start[:1] == b"\x80" and start[1:2] <= b"\x05":
        return "a pickle"
    try:
        start.decode("ascii")
    except UnicodeDecodeError:
        return "of an unknown format"
    return "a text file"
