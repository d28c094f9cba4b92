"""Archives of Stable-Baselines3: a zip with the policy's weights and all that training needs.

The policy's weights are read, as data. The rest stays closed: it holds pickles.
"""

from __future__ import annotations

import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path

from nrcscan.errors import InputError, NrcscanError, UnsafeError
from nrcscan.files import open_safely
from nrcscan.inputs.checkpoints.contents import Contents, damaged
from nrcscan.inputs.checkpoints.signs import POLICY
from nrcscan.inputs.checkpoints.torch_save import read_torch

POLICY_LIMIT = 4_000_000_000
"""How large the policy's weights may be, unpacked, in bytes."""

_VERSION = "_stable_baselines3_version"
_VERSION_LIMIT = 100


def read_archive(path: Path) -> Contents:
    """Read the policy in an archive of Stable-Baselines3; nothing else in it is opened.

    Raises:
        UnsafeError: the policy's file asks for more than data.
        InputError: the archive is damaged, or its policy holds no weights.
    """
    try:
        with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
            members = [member for member in archive.infolist() if not member.is_dir()]
            copy = Path(folder) / POLICY
            copy.write_bytes(_policy(path, archive))
            contents = _read(path, copy)
            version = _version(archive, members)
    except NrcscanError:
        raise
    except Exception as error:  # zipfile raises almost anything on a damaged archive
        raise damaged(path, error) from error
    n_tensors = sum(len(state) for state in contents.states.values())
    entries = {
        member.filename: f"{n_tensors} tensors" if member.filename == POLICY else "not opened"
        for member in members
    }
    if version:
        entries[_VERSION] = version
    return replace(
        contents,
        path=path,
        format="stable_baselines3",
        sha256=open_safely.sha256(path),
        entries=entries,
    )


def _policy(path: Path, archive: zipfile.ZipFile) -> bytes:
    """Return the file of the policy's weights.

    Raises:
        InputError: it is larger than the limit.
    """
    size = archive.getinfo(POLICY).file_size
    if size > POLICY_LIMIT:
        raise InputError(
            f"{path}: its {POLICY} is of {size:,} bytes, and {POLICY_LIMIT:,} are read at most;"
            f" unpack it, and give {POLICY} itself"
        )
    return archive.read(POLICY)


def _read(path: Path, copy: Path) -> Contents:
    """Read the unpacked weights; errors speak of the archive.

    Raises:
        UnsafeError: they ask for more than data.
        InputError: they are damaged, or are none.
    """
    try:
        return read_torch(copy)
    except UnsafeError as error:
        what = str(error).removeprefix(f"{copy}: ").rpartition("; ")[0]
        raise UnsafeError(
            f"{path}: its {POLICY} was {what}; save model.policy.state_dict() with torch.save"
        ) from error
    except NrcscanError as error:
        raise type(error)(str(error).replace(str(copy), f"{path}: its {POLICY}", 1)) from error


def _version(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> str | None:
    """Return the version that wrote the archive, if it says so in a few characters."""
    for member in members:
        if member.filename == _VERSION and member.file_size <= _VERSION_LIMIT:
            return repr(archive.read(member).decode("utf-8", "replace").strip())
    return None
