"""What is said of every form that an input comes in; the catalogue says it of each."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from nrcscan.inputs.checkpoints.signs import Parts, Sign

if TYPE_CHECKING:
    from nrcscan.inputs.checkpoints.contents import Contents


@dataclass(frozen=True)
class Form:
    """A case of an input, with a command that works.

    Attributes:
        words: what it is.
        command: what reads it.
        kind: of data, how lists call it, or nothing for a further case of the same.
        extra: what must be installed for it.
    """

    words: str
    command: str
    kind: str = ""
    extra: str = ""


@dataclass(frozen=True)
class CheckpointForm:
    """A form of checkpoint: all that is to be said of it is said here, but how it is read.

    Attributes:
        key: its name in files and in JSON.
        name: what to call it.
        sign: by what it is recognised; None where only reading another form tells.
        reader: what reads it: "module:function", of a path, that returns `Contents`.
        runs_code: whether reading it can run code; its reader takes `trust` then.
        cases: its lines in docs/formats.md.
        parts: names the files that belong to it.
        suffixes: how such files are usually called.
    """

    key: str
    name: str
    sign: Sign | None
    reader: str
    cases: tuple[Form, ...]
    runs_code: bool = False
    parts: Parts | None = None
    suffixes: tuple[str, ...] = ()

    def read(self, path: Path, *, trust: bool) -> Contents:
        """Read a checkpoint of this form.

        Raises:
            UnsafeError: it could run code, and is not trusted.
            NrcscanError: it cannot be read, or its library is not installed.
        """
        module, _, function = self.reader.partition(":")
        reader = getattr(import_module(f"nrcscan.inputs.checkpoints.{module}"), function)
        contents: Contents = reader(path, trust=trust) if self.runs_code else reader(path)
        return contents
