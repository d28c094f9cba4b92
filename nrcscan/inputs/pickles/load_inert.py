"""Loads files of torch.save, and plain pickles, as data and placeholders; nothing in them runs."""

from __future__ import annotations

import mmap
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nrcscan.files import open_safely
from nrcscan.inputs.pickles.known_arrays import STATE_SETTERS, known_arrays
from nrcscan.inputs.pickles.known_containers import known_containers
from nrcscan.inputs.pickles.known_tensors import Storage, StorageType, known_tensors
from nrcscan.inputs.pickles.pickle_machine import PickleMachine
from nrcscan.inputs.pickles.placeholder import Known, PickleDamaged, PickleRefused
from nrcscan.inputs.pickles.tensor_sizes import count
from nrcscan.inputs.pickles.zip_records import ZipRecords

LEGACY_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_STORAGE_HEADER = 8
_MOST_NESTED = 1


@dataclass
class Inert:
    """What a file holds, as far as it is data.

    Attributes:
        content: tensors, arrays, numbers, text and containers of them; a `Placeholder` stands for
            every object of another class, an `Unreadable` for a tensor without values of its own.
        asked: every class and function that the file asks for and that is no data.
        attributes: containers that the file gives attributes to, with these.
        tensor_classes: the classes of tensors that were taken as plain ones.
    """

    content: Any = None
    asked: set[str] = field(default_factory=set)
    attributes: list[tuple[Any, Any]] = field(default_factory=list)
    tensor_classes: set[str] = field(default_factory=set)


def load_inert(path: Path, *, mapped: bool = False) -> Inert:
    """Load a file of torch.save, of any version since 0.4, or a pickle.

    Args:
        path: of the file.
        mapped: leave tensors in the file until they are read, where its form allows.

    Raises:
        PickleRefused: it does what no file of data does, or ends too early.
        zipfile.BadZipFile: it is a damaged archive.
        OSError: it cannot be read.
    """
    with open_safely.opened(path) as file:
        start = file.read(4)
        if start == b"PK\x03\x04":
            return _of_zip(path, mapped=mapped)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as buffer:
            return _of_buffer(buffer, nesting=0)


def _of_zip(path: Path, *, mapped: bool) -> Inert:
    found = Inert()
    with ZipRecords(path, mapped=mapped) as records:
        order = records.read("byteorder").decode("ascii") if "byteorder" in records else "little"
        if order not in ("little", "big"):
            raise PickleRefused("it does not say in which order its bytes are")
        storages: dict[str, Storage] = {}

        def storage(key: str, dtype: torch.dtype, size: int) -> Storage:
            if key not in storages:
                if order != sys.byteorder and "/" not in key and dtype == torch.uint8:
                    raise PickleRefused("its bytes are of the other order, and of unknown values")
                held = records.storage(f"data/{key}")
                if order != sys.byteorder:
                    held = held.clone()  # a mapped file stays as it is
                    held.byteswap(dtype)
                storages[key] = Storage(held, dtype)
            held = storages[key].held
            if size * dtype.itemsize > held.nbytes():
                raise PickleRefused(f"storage {key} claims more bytes than it has")
            return Storage(held, dtype)

        _fill(found, records.read("data.pkl"), storage)
    return found


def _fill(
    found: Inert,
    buffer: bytes | mmap.mmap,
    storage: Callable[[str, torch.dtype, int], Storage],
    position: int = 0,
    nesting: int = 0,
) -> int:
    """Read one pickle, and return where it ends."""

    def persistent(saved: Any) -> Any:
        if type(saved) is tuple and len(saved) == 4 and saved[0] == "module":
            return saved[1]  # a class, which files of before 1.6 gave with its source
        if type(saved) is not tuple or len(saved) not in (5, 6) or saved[0] != "storage":
            raise PickleRefused("it refers to what is no storage")
        _, kind, key, place, size, *view = saved
        if not isinstance(kind, StorageType) or type(key) is not str or type(place) is not str:
            raise PickleRefused("a storage's description is out of order")
        whole = storage(key, kind.dtype, count(size))
        return whole if view in ([], [None]) else _part(whole, view[0])

    known = known_containers() | known_arrays() | known_tensors(found.tensor_classes.add)
    name = "torch.storage._load_from_bytes"
    known["torch.storage", "_load_from_bytes"] = Known(
        name, lambda data: _storage_in(data, nesting), is_class=False
    )
    machine = PickleMachine(buffer, known, persistent, position, STATE_SETTERS)
    found.content = machine.load()
    found.asked |= machine.asked
    found.attributes += machine.attributes
    return machine.position


def _part(whole: Storage, view: Any) -> Storage:
    """Return a part of a storage, as files of before 1.6 describe it."""
    if type(view) is not tuple or len(view) != 3:
        raise PickleRefused("a storage's description is out of order")
    start, size = count(view[1]) * whole.dtype.itemsize, count(view[2]) * whole.dtype.itemsize
    if start + size > whole.held.nbytes():
        raise PickleRefused("a part of a storage lies beyond it")
    return Storage(whole.held[start : start + size], whole.dtype)


def _storage_in(data: Any, nesting: int) -> Storage:
    """Return the storage in bytes, which is how plain pickles hold tensors."""
    if type(data) is not bytes or nesting >= _MOST_NESTED:
        raise PickleRefused("a storage is in no bytes")
    found = _of_buffer(data, nesting + 1).content
    if type(found) is not Storage:
        raise PickleRefused("a storage is none")
    return found


def _of_buffer(buffer: bytes | mmap.mmap, nesting: int) -> Inert:
    """Read a file of torch.save from before 1.6, or a pickle."""
    bare = PickleMachine(buffer, {})
    if not _is_legacy(bare):
        found = Inert()
        _fill(found, buffer, _no_storage, 0, nesting)
        return found
    if bare.load() != _LEGACY_PROTOCOL:
        raise PickleRefused("it is of a version of torch.save that is not known")
    system = bare.load()
    if type(system) is not dict or system.get("little_endian") not in (True, False):
        raise PickleRefused("it does not say in which order its bytes are")
    storages: dict[str, Storage] = {}
    room = len(buffer)

    def storage(key: str, dtype: torch.dtype, size: int) -> Storage:
        nonlocal room
        if key not in storages:
            room -= size * dtype.itemsize
            if room < 0:
                raise PickleDamaged(f"storage {key} claims more bytes than the file has")
            storages[key] = Storage(torch.UntypedStorage(size * dtype.itemsize), dtype)
        held = storages[key].held
        if size * dtype.itemsize > held.nbytes():
            raise PickleRefused(f"storage {key} claims more bytes than it has")
        return Storage(held, dtype)

    # The bytes lie behind the pickle, and where it ends is known once it was read: what is made
    # of tensors as they are read needs it to be read again.
    end = _fill(Inert(), buffer, storage, bare.position, nesting)
    _fill_storages(buffer, end, storages)
    found = Inert()
    _fill(found, buffer, storage, bare.position, nesting)
    return found


def _is_legacy(machine: PickleMachine) -> bool:
    try:
        return bool(machine.load() == LEGACY_MAGIC_NUMBER)
    except PickleRefused:
        return False


def _no_storage(key: str, dtype: torch.dtype, size: int) -> Storage:
    raise PickleRefused("it refers to storages, and has none")


def _fill_storages(buffer: bytes | mmap.mmap, position: int, storages: dict[str, Storage]) -> None:
    """Copy the bytes behind the pickles into the storages, in the order that a list gives."""
    listing = PickleMachine(buffer, {}, position=position)
    keys = listing.load()
    position = listing.position
    if type(keys) is not list or not all(type(key) is str for key in keys):
        raise PickleRefused("its list of storages is none")
    if sorted(keys) != sorted(storages):
        raise PickleRefused("its list of storages is not that of its tensors")
    for key in keys:
        held, width = storages[key].held, storages[key].dtype.itemsize
        data = position + _STORAGE_HEADER
        if data + held.nbytes() > len(buffer):
            raise PickleDamaged(f"storage {key} is cut short")
        (number,) = struct.unpack("<q", buffer[position:data])
        if number * width != held.nbytes():
            raise PickleRefused(f"storage {key} is not of the size that it claims")
        position = data + held.nbytes()
        if held.nbytes():
            target = torch.empty(0, dtype=torch.uint8).set_(held)
            view = memoryview(buffer)[data:position]
            target.numpy()[:] = view
            view.release()
