"""Says of any path which form of checkpoint it is, or why it is none.

`extract`, `scan`, `inspect` and whoever opens data ask here. Nothing is opened beyond what
`signs` looks at, and nothing heavy is imported.
"""

from __future__ import annotations

from pathlib import Path

from nrcscan.files import open_safely, sniff
from nrcscan.inputs.catalogue import CHECKPOINTS
from nrcscan.inputs.checkpoints.signs import Evidence
from nrcscan.inputs.forms import CheckpointForm

NO_INDEX = "JSON, but no index of shards"

SUFFIXES = frozenset(suffix for form in CHECKPOINTS for suffix in form.suffixes)
"""What checkpoints are usually called; a file of such a name has to be one."""


def recognise(path: Path) -> CheckpointForm | str:
    """Return the form of a file or a folder, told by its content; or what it is instead.

    Raises:
        InputError: it cannot be read.
    """
    seen = Evidence(path)
    for form in CHECKPOINTS:
        if form.sign is not None and form.sign(seen):
            return form
    if seen.is_folder:
        return "a folder, and not one of a checkpoint"
    if seen.path.name.endswith(".index.json"):
        return NO_INDEX
    return sniff.foreign(path)


def files_of(path: Path, form: CheckpointForm) -> list[str]:
    """Return the names of all files that make up a checkpoint, in its folder; its own comes first.

    Raises:
        InputError: it cannot be read.
    """
    named = [] if form.parts is None else form.parts(path)
    return named if open_safely.is_folder(path) else [path.name, *named]


def parts_beside(path: Path) -> list[str]:
    """Return the names of files beside a file that belong to it; most have none.

    Raises:
        InputError: it cannot be read.
    """
    seen = Evidence(path)
    for form in CHECKPOINTS:
        if form.parts is not None and form.sign is not None and form.sign(seen):
            return form.parts(path)
    return []
