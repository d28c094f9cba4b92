"""The records of a zip archive of torch.save, each as many bytes as it says, and no more."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO

import torch

from nrcscan.files import open_safely
from nrcscan.files.apart_in_zip import require_apart
from nrcscan.inputs.pickles.placeholder import PickleDamaged, PickleRefused

_LOCAL_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 1
_MOST_INFLATED = 200
"""How many times larger than in the file a compressed record may be."""


class ZipRecords:
    """Reads records by name, below the archive's own folder.

    Checksums are not looked at: torch lets them be left out.
    """

    def __init__(self, path: Path, *, mapped: bool = False) -> None:
        """Open an archive.

        Args:
            path: of the file.
            mapped: leave storages in the file until they are read.

        Raises:
            PickleRefused: names or sizes contradict each other.
            zipfile.BadZipFile: it is damaged.
        """
        self._path = path
        self._size = path.stat().st_size
        self._file: IO[bytes] = open_safely.opened(path)
        self._whole: torch.UntypedStorage | None = None
        self._mapped = mapped
        try:
            with zipfile.ZipFile(self._file) as archive:
                listed = archive.infolist()
                require_apart(archive)
                # ZipFile closes no file that it was given open.
            self._records = {info.filename: info for info in listed}
            if len(self._records) != len(listed):
                raise PickleRefused("its archive has two records of one name")
            pickles = [name for name in self._records if name.split("/")[1:] == ["data.pkl"]]
            if len(pickles) != 1:
                raise PickleRefused("its archive has no pickle, or several")
            self._folder = pickles[0].removesuffix("data.pkl")
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> ZipRecords:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def __contains__(self, name: str) -> bool:
        return self._folder + name in self._records

    def read(self, name: str) -> bytes:
        """Return a record's bytes."""
        info = self._info(name)
        self._file.seek(self._start(info))
        data = self._file.read(info.compress_size)
        if info.compress_type == zipfile.ZIP_DEFLATED:
            unpacking = zlib.decompressobj(-15)
            data = unpacking.decompress(data, info.file_size + 1)
        if len(data) != info.file_size:
            raise PickleDamaged(f"its record {name} is cut short")
        return data

    def storage(self, name: str) -> torch.UntypedStorage:
        """Return a record's bytes as what tensors are views of."""
        info = self._info(name)
        size, start = info.file_size, self._start(info)
        if info.compress_type == zipfile.ZIP_STORED and self._mapped and start % 16 == 0 and size:
            if start + size > self._size:
                raise PickleDamaged(f"its record {name} is cut short")
            if self._whole is None:
                view = torch.from_file(str(self._path), False, self._size, dtype=torch.uint8)
                self._whole = view.untyped_storage()
            return self._whole[start : start + size]
        filled = torch.empty(size, dtype=torch.uint8)
        if info.compress_type == zipfile.ZIP_DEFLATED:
            filled.numpy()[:] = memoryview(self.read(name))
        else:
            self._file.seek(start)
            if self._file.readinto(filled.numpy()) != size:  # type: ignore[attr-defined]
                raise PickleDamaged(f"its record {name} is cut short")
        return filled.untyped_storage()

    def _info(self, name: str) -> zipfile.ZipInfo:
        info = self._records.get(self._folder + name)
        if info is None:
            raise PickleRefused(f"its archive has no record {name}")
        if info.flag_bits & _ENCRYPTED:
            raise PickleRefused(f"its record {name} is encrypted")
        if info.compress_type == zipfile.ZIP_STORED:
            believed = info.file_size == info.compress_size <= self._size
        else:
            believed = (
                info.compress_type == zipfile.ZIP_DEFLATED
                and info.file_size <= _MOST_INFLATED * info.compress_size + 1024
            )
        if not believed:
            raise PickleRefused(f"its record {name} is of a size that cannot be")
        return info

    def _start(self, info: zipfile.ZipInfo) -> int:
        self._file.seek(info.header_offset)
        header = self._file.read(_LOCAL_HEADER.size)
        if len(header) != _LOCAL_HEADER.size:
            raise PickleDamaged("its archive is cut short")
        magic, name, extra = _LOCAL_HEADER.unpack(header)
        if magic != b"PK\x03\x04":
            raise PickleRefused("its archive's directory points to what is no record")
        return int(info.header_offset + _LOCAL_HEADER.size + name + extra)
