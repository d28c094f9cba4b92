"""Which classes and functions a file's pickles ask for, read without running any of it."""

from __future__ import annotations

import io
import pickletools
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nrcscan.files import budgets, open_safely

MAX_NESTING = 3
"""How deep archives in archives are looked into."""

LONGEST = 200
"""Letters of a name that are kept: no module, class or function has one that is longer."""

# What a state dict is made of, and the classes of a TorchScript program itself.
_DATA = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.(\w+Storage|Size|device)"
    r"|__torch__\..*|torch\.jit\._pickle\.\w+"
)


def wanted_globals(path: Path) -> list[str]:
    """Return the globals that the pickles in a file or archive ask for, data aside."""
    with open_safely.opened(path) as file:
        found = {name for pickled in _pickles(file, MAX_NESTING) for name in _globals_of(pickled)}
    return sorted(name for name in found if not _DATA.fullmatch(name))


def _pickles(file: IO[bytes], nesting: int) -> Iterator[IO[bytes]]:
    """Yield what may be a pickle: the file itself, or the members of an archive."""
    if nesting == 0:
        return
    try:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as archive:
                for name in archive.namelist():
                    start = archive.open(name).read(2)
                    if start[:1] == b"\x80" or start == b"PK":
                        if archive.getinfo(name).file_size > budgets.UNPACKED:
                            raise ValueError("a long pickle")
                        yield from _pickles(io.BytesIO(archive.read(name)), nesting - 1)
            return
        file.seek(0)
        if tarfile.is_tarfile(file):
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    inside = tar.extractfile(member) if member.isfile() else None
                    if inside is not None:
                        yield from _pickles(inside, nesting - 1)
            return
    except (zipfile.BadZipFile, tarfile.TarError, OSError, RuntimeError, ValueError, EOFError):
        return  # whoever opens it says what is wrong
    file.seek(0)
    yield file


def _globals_of(file: IO[bytes]) -> set[str]:
    """Return the globals that the pickles at the start of a file ask for, without running them."""
    found: set[str] = set()
    texts: list[str] = []
    memo: dict[int, str | None] = {}
    top: str | None = None
    try:
        while True:
            for opcode, argument, _ in pickletools.genops(file):
                name = opcode.name
                if name in ("GLOBAL", "INST"):
                    found.add(str(argument)[:LONGEST].replace(" ", "."))
                elif name == "STACK_GLOBAL" and len(texts) > 1:
                    found.add(".".join(texts[-2:]))
                if name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
                    memo[len(memo) if argument is None else int(str(argument))] = top
                    continue
                if name in ("GET", "BINGET", "LONG_BINGET"):
                    top = memo.get(int(str(argument)))
                else:
                    top = argument[:LONGEST] if isinstance(argument, str) else None
                if top is not None:
                    texts.append(top)
    except (ValueError, IndexError, EOFError, UnicodeDecodeError, OverflowError):
        return found  # the end of the pickles: raw tensor data, or the end of the file
