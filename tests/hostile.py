"""Pickles that ask for what no checkpoint needs, in whatever holds a pickle: what comes of them.

`make hostile` runs it. Each function is asked for in every way that pickle has, in every container
and under several names; files are opened as a checkpoint and as data. Python tells of programs that
are started, connections that are opened and classes that are looked up; none of it may happen.
"""

from __future__ import annotations

import io
import pickle
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import torch

from nrcscan.errors import NrcscanError
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint
from nrcscan.inputs.datasets.open_dataset import open_dataset

FUNCTIONS = (
    (Path(__file__).parent.parent / "fixtures" / "hostile_functions.txt").read_text().split()
)
"""What published advisories on scanners of pickles name, and near relatives, installed or not."""


def _name(function: str, protocol: int) -> bytes:
    module, name = function.rsplit(".", 1)
    if protocol < 4:
        return f"c{module}\n{name}\n".encode()
    return _text(module) + _text(name) + b"\x93"


def _text(value: str) -> bytes:
    told = value.encode()
    return b"X" + len(told).to_bytes(4, "little") + told


def _call(function: str, protocol: int, argument: str) -> bytes:
    return _name(function, protocol) + b"(" + _text(argument) + b"tR"


def _instance(function: str, protocol: int, argument: str) -> bytes:
    module, name = function.rsplit(".", 1)
    return b"(" + _text(argument) + f"i{module}\n{name}\n".encode()


def _object(function: str, protocol: int, argument: str) -> bytes:
    return b"(" + _name(function, protocol) + _text(argument) + b"o"


def _new(function: str, protocol: int, argument: str) -> bytes:
    return _name(function, protocol) + b"(" + _text(argument) + b"t\x81"


def _state(function: str, protocol: int, argument: str) -> bytes:
    """Have a state set by it: a class's `__setstate__`, where the name is one of a class."""
    return _name(function, protocol) + b")\x81}" + _text("command") + _text(argument) + b"sb"


WAYS = (_call, _instance, _object, _new, _state)
"""Each takes a function's name, a protocol and an argument."""


def _raw(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _appended(content: bytes, path: Path) -> None:
    """Put it behind a pickle that is harmless."""
    path.write_bytes(pickle.dumps({"epoch": 1}) + content)


def _legacy(content: bytes, path: Path) -> None:
    head = io.BytesIO()
    torch.save({}, head, _use_new_zipfile_serialization=False)
    file = io.BytesIO(head.getvalue())
    for _ in range(3):  # a magic number, the version, the system
        pickle.load(file)
    path.write_bytes(head.getvalue()[: file.tell()] + content + pickle.dumps([], 2))


def _zip(content: bytes, path: Path, *, compressed: bool = False) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else 0) as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


def _compressed(content: bytes, path: Path) -> None:
    _zip(content, path, compressed=True)


def _tar(content: bytes, path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def _array(content: bytes) -> bytes:
    header = io.BytesIO()
    told = {"descr": "|O", "fortran_order": False, "shape": (1,)}
    np.lib.format.write_array_header_1_0(header, told)
    return header.getvalue() + content


def _npy(content: bytes, path: Path) -> None:
    path.write_bytes(_array(content))


def _npz(content: bytes, path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", _array(content))
        archive.writestr("y.npy", _array(content))


CONTAINERS = {
    _raw: ("pt", "pkl", "joblib", "ckpt"),
    _appended: ("bin", "pickle"),
    _legacy: ("pth", "pt"),
    _zip: ("pt", "safetensors"),
    _compressed: ("ckpt", "zip"),
    _tar: ("pt", "tar"),
    _npy: ("npy", "pt"),
    _npz: ("npz", "pt"),
}
"""Writes a pickle → endings of its files."""

FIRED = {
    "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.remove", "subprocess.Popen",
    "pty.spawn", "socket.connect", "socket.getaddrinfo", "urllib.Request", "webbrowser.open",
    "ftplib.connect", "smtplib.connect", "shutil.rmtree", "shutil.copyfile", "sqlite3.connect",
    "pickle.find_class", "sys.settrace", "ctypes.dlopen", "ctypes.string_at", "tempfile.mkdtemp",
}  # fmt: skip
"""Events of Python's audit that say that a pickle has had its way."""


class Watch:
    """Hears, as long as a block lasts, what Python tells of programs, connections and lookups.

    Attributes:
        fired: what it heard in the last block.
    """

    def __init__(self) -> None:
        self.fired: list[str] = []
        self._on = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._on and event in FIRED:
            self.fired.append(f"{event}{arguments!r:.60}")

    def __enter__(self) -> None:
        self.fired.clear()
        self._on = True

    def __exit__(self, *ended: object) -> None:
        self._on = False


@dataclass
class Counts:
    """What came of the files."""

    files: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def files() -> Iterator[tuple[str, str, Callable[[bytes, Path], None], bytes]]:
    """Yield what each file is, its ending, what writes it, and the pickle in it.

    Every function is asked for in every container; ways, protocols and endings take turns, so that
    every pair of them comes.
    """
    for shift, function in enumerate(FUNCTIONS):
        ways = islice(cycle(WAYS), shift, None)
        for container, endings in CONTAINERS.items():
            for nth, way in enumerate(islice(ways, 2)):
                protocol, ending = (0, 2, 4)[(shift + nth) % 3], endings[shift % len(endings)]
                begin = b"" if protocol == 0 else bytes([0x80, protocol])
                asked = way(function, protocol, "touch fired")
                told = (
                    f"{function} by {way.__name__} in {container.__name__}, .{ending}, {protocol}"
                )
                yield told, ending, container, begin + asked + b"."


def control(watch: Watch, folder: Path) -> list[str]:
    """Return the containers whose pickle runs nothing that is heard where it is trusted."""

    def trusted(path: Path) -> None:
        torch.load(path, weights_only=False)

    def unpickled(path: Path) -> None:
        pickle.loads(path.read_bytes())

    def of_numpy(path: Path) -> None:
        found = np.load(path, allow_pickle=True)
        found["X"]

    loads = dict.fromkeys(CONTAINERS, trusted) | {_raw: unpickled, _npy: of_numpy, _npz: of_numpy}
    del loads[_appended]  # which nothing reads
    deaf = []
    for write, load in loads.items():
        write(b"\x80\x02" + _call("os.system", 2, "true") + b".", folder / "control")
        with suppress(Exception), watch:
            load(folder / "control")
        if not any(event.startswith("os.system") for event in watch.fired):
            deaf.append(write.__name__)
    return deaf


def hostile(watch: Watch, folder: Path) -> Counts:
    """Open all files, and count what comes of it."""
    counts = Counts()
    for told, ending, write, content in files():
        path = folder / f"file.{ending}"
        write(content, path)
        counts.files += 1
        for opens in (open_checkpoint, open_dataset):
            before, outcome = set(sys.modules), "read as data"
            with watch:
                try:
                    opens(path)
                except NrcscanError as error:
                    outcome = type(error).__name__
                except BaseException as error:
                    outcome = f"traceback: {type(error).__name__}: {error}"
            new, asked = set(sys.modules) - before, told.partition(" ")[0].rpartition(".")[0]
            heard = [event for event in watch.fired if counts.files > 2 * len(CONTAINERS)]
            if outcome.startswith("traceback") or heard or asked in new:
                counts.wrong.append(f"{told}: {outcome}; {heard}; {sorted(new)[:3]}")
            counts.outcomes[outcome.partition(":")[0]] += 1
        path.unlink()
    return counts


def main() -> int:
    """Print what came of all files; of the first few what the readers import is heard too."""
    watch = Watch()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counts, deaf = hostile(watch, Path(name)), control(watch, Path(name))
    asked = f"{len(FUNCTIONS)} functions, {len(WAYS)} ways, {len(CONTAINERS)} containers"
    print(f"{counts.files} files: {asked}")
    print(", ".join(f"{outcome}: {n}" for outcome, n in sorted(counts.outcomes.items())))
    for line in counts.wrong[:40]:
        print(f"  WRONG {line}")
    print(f"{len(counts.wrong)} had code run, a class looked up, a module imported, or a traceback")
    print(f"run where they are trusted: all containers but {deaf or 'none'}")
    return 1 if counts.wrong or deaf else 0


if __name__ == "__main__":
    sys.exit(main())
