"""Archives of Stable-Baselines3: a zip with the policy's weights and all that training needs.

The policy's weights are read, as data. The rest stays closed: it holds pickles.
"""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

from nrcscan.errors import InputError, NrcscanError, UnsafeError
from nrcscan.files import open_safely
from nrcscan.files.apart_in_zip import require_apart
from nrcscan.files.at_work import own_folder
from nrcscan.inputs.checkpoints.contents import Contents, damaged
from nrcscan.inputs.checkpoints.signs import POLICY, VERSION
from nrcscan.inputs.checkpoints.torch_save import read_torch

POLICY_LIMIT = 1_000_000_000
"""How large the policy's weights may be, unpacked, in bytes."""

_VERSION_LIMIT = 100


def read_archive(path: Path) -> Contents:
    """Read the policy in an archive of Stable-Baselines3; nothing else in it is opened.

    Raises:
        UnsafeError: the policy's file asks for more than data.
        InputError: the archive is damaged, or its policy holds no weights.
    """
    try:
        with zipfile.ZipFile(path) as archive, own_folder() as folder:
            require_apart(archive)
            members = {
                member.filename.split("/", 1)[-1]: member
                for member in archive.infolist()
                if not member.is_dir()
            }
            copy = folder / POLICY
            _unpack(path, archive, members[POLICY], copy)
            contents = _read(path, copy)
            version = _version(archive, members.get(VERSION))
    except NrcscanError:
        raise
    except Exception as error:  # zipfile raises almost anything on a damaged archive
        raise damaged(path, error) from error
    n_tensors = sum(len(state) for state in contents.states.values())
    entries = dict.fromkeys(members, "not opened") | {POLICY: f"{n_tensors} tensors"}
    if version is not None:
        entries[VERSION] = version
    return replace(
        contents,
        path=path,
        format="stable_baselines3",
        sha256=open_safely.sha256(path),
        entries=entries,
    )


def _unpack(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, copy: Path) -> None:
    """Write the file of the policy's weights by itself.

    Raises:
        InputError: the policy in the archive is too large to unpack into memory.
    """
    if member.file_size > POLICY_LIMIT:
        raise InputError(
            f"{path}: its {POLICY} takes {member.file_size:,} bytes unpacked, and at most"
            f" {POLICY_LIMIT:,} are read; unpack it, and give {POLICY} itself"
        )
    with archive.open(member) as packed, copy.open("wb") as file:
        shutil.copyfileobj(packed, file)


def _read(path: Path, copy: Path) -> Contents:
    """Read the unpacked weights; errors speak of the archive.

    Raises:
        UnsafeError: the policy in the archive asks for more than data.
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


def _version(archive: zipfile.ZipFile, member: zipfile.ZipInfo | None) -> str | None:
    """Return the version that wrote the archive, if it says so in a few characters."""
    if member is None or member.file_size > _VERSION_LIMIT:
        return None
    return repr(archive.read(member).decode("utf-8", "replace").strip())
