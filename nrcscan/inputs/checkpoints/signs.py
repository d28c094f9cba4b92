"""What a path shows of the checkpoint that it may be, without opening it.

First bytes, names in a zip archive, names in a folder: nothing here runs, and nothing heavy is
imported.
"""

from __future__ import annotations

import itertools
import mmap
import re
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nrcscan.errors import InputError
from nrcscan.files import open_safely, sniff
from nrcscan.files.read_json import read_json

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""How files of torch.save begin that are no zip archive."""

METADATA = ".metadata"
"""What torch.distributed.checkpoint writes beside the ranks' files."""

POLICY = "policy.pth"
"""Where an archive of Stable-Baselines3 keeps its policy's weights."""

VERSION = "_stable_baselines3_version"
"""What says there which version wrote it."""

INDEX_LIMIT = 1 << 25
_HEADER_LIMIT = 100_000_000
_SETTINGS_LIMIT = 1 << 20
# Tags of the fields that may follow the first of a ModelProto, the version of the format.
_SECOND_TAGS = b"\x12\x1a\x22\x28\x32\x3a\x42\x72"
# An entry of ONNX that says in which file beside the model data is: its key, then its value.
_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f]|[\x80-\xff][\x01-\x7f])")
TRAINING = re.compile(
    r"(optim(s|izers?|isers?|_states?)?|(lr_)?sched(ulers?)?|(grad_)?scalers?|samplers?|rng_states?"
    r"|random_states|training_args|dl_state_dict|(bf16_)?zero_pp_rank)([._\W\d]|$)",
    re.I,
)
"""How files begin that trainers keep beside the weights; a help where content does not tell."""

FURTHER = re.compile(r"(pytorch_)?model_\d+\.(safetensors|bin)")
"""How accelerate calls the second network of a training, and every further one."""

WEIGHTS = ("*.index.json", "*.safetensors", "*.bin")
"""How files of a Hugging Face folder's weights are called."""


@dataclass(frozen=True)
class Evidence:
    """What can be seen of a path; each is looked at once, and only if it is asked for."""

    path: Path

    @cached_property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return open_safely.is_folder(self.path)

    @cached_property
    def start(self) -> bytes:
        """The first bytes of a file."""
        return b"" if self.is_folder else open_safely.head(self.path, 64)

    @cached_property
    def members(self) -> frozenset[str] | None:
        """The names in a zip archive, without its own folder; None if it is none, or damaged."""
        if not self.start.startswith(b"PK\x03\x04"):
            return None
        try:
            with open_safely.opened(self.path) as file, zipfile.ZipFile(file) as archive:
                return frozenset(name.split("/", 1)[-1] for name in archive.namelist())
        except Exception:  # zipfile raises almost anything on a damaged directory
            return None


Sign = Callable[[Evidence], bool]
"""Whether a path is of a form."""

Parts = Callable[[Path], list[str]]
"""The names of files that belong to a checkpoint: beside a file, or in a folder."""


def zip_with(*names: str, without: tuple[str, ...] = ()) -> Sign:
    """Return the sign of a zip archive with a member whose name ends like one of these."""

    def sign(seen: Evidence) -> bool:
        members = seen.members or ()
        return any(m.endswith(names) for m in members) and not any(
            m.endswith(without) for m in members
        )

    return sign


def stable_baselines3(seen: Evidence) -> bool:
    """Whether this is an archive of Stable-Baselines3: a policy's weights beside its settings."""
    members = seen.members or frozenset()
    return POLICY in members and bool({"data", VERSION} & members)


def either(*signs: Sign) -> Sign:
    """Return the sign that one of several is there."""
    return lambda seen: any(sign(seen) for sign in signs)


def legacy_torch(seen: Evidence) -> bool:
    """Whether this is a file of torch.save from before it wrote zip, or tar, archives."""
    if seen.is_folder or seen.start.startswith(b"PK\x03\x04"):
        return False
    return seen.start.startswith(LEGACY_MAGIC) or is_tar(seen.path)


def pickled(seen: Evidence) -> bool:
    """Whether this is a pickle of protocol 2 or later."""
    start = seen.start
    return len(start) > 2 and start[0] == 0x80 and 2 <= start[1] <= 5 and not safetensors(seen)


def is_tar(path: Path) -> bool:
    """Whether this is a tar archive of pickles and storages, as torch wrote before 1.0."""
    with open_safely.opened(path) as file:
        file.seek(257)
        if file.read(5) != b"ustar":
            return False
    try:
        with tarfile.open(path, "r:") as archive:
            first = archive.next()
            names = {first.name} if first else set()
            names |= {member.name for member in itertools.islice(archive, 5)}
    except (tarfile.TarError, OSError, EOFError, ValueError):
        return False
    return any(name.removeprefix("./") in ("sys_info", "storages") for name in names)


def safetensors(seen: Evidence) -> bool:
    """Whether this is a safetensors file: the length of a header, then JSON."""
    size = int.from_bytes(seen.start[:8], "little")
    return seen.start[8:9] == b"{" and 2 <= size <= _HEADER_LIMIT


def onnx(seen: Evidence) -> bool:
    """Whether this begins as an ONNX model does, which has no magic number."""
    start = seen.start
    if sniff.is_saved_model(start):
        return False
    return len(start) > 2 and start[0] == 8 and 0 < start[1] < 0x80 and start[2] in _SECOND_TAGS


def external_data(path: Path) -> list[str]:
    """Return the names that an ONNX model gives for files beside it that hold its data."""
    with (
        open_safely.opened(path) as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        found = set()
        for match in _LOCATION.finditer(content):
            low, *high = match[1]
            size = (low & 0x7F) + (high[0] << 7 if high else 0)
            found.add(content[match.end() : match.end() + size].decode("utf-8", "replace"))
    return sorted(name for name in found if _is_plain(name))


def index_of_shards(seen: Evidence) -> bool:
    """Whether this is JSON that maps tensors to files."""
    return seen.start.lstrip()[:1] == b"{" and _weight_map(seen.path) is not None


def shards(path: Path) -> list[str]:
    """Return the names that an index of shards gives for files beside it."""
    values = (_weight_map(path) or {}).values()
    return sorted({name for name in values if isinstance(name, str) and _is_plain(name)})


def huggingface(seen: Evidence) -> bool:
    """Whether this is a folder whose config.json says which network its weights are of."""
    if not seen.is_folder:
        return False
    try:
        config = read_json(seen.path / "config.json", "config.json", finite=False)
    except (InputError, ValueError):
        return False
    described = isinstance(config, dict) and "model_type" in config
    return described and len(huggingface_files(seen.path)) > 1


def huggingface_files(folder: Path) -> list[str]:
    """Return the names of a Hugging Face folder's description and weights."""
    names = {path.name for pattern in WEIGHTS for path in folder.glob(pattern)}
    return ["config.json", *sorted(name for name in names if not TRAINING.match(name))]


def distributed(seen: Evidence) -> bool:
    """Whether this is a folder of torch.distributed.checkpoint."""
    return seen.is_folder and (seen.path / METADATA).is_file()


def distributed_files(folder: Path) -> list[str]:
    """Return the names of a distributed checkpoint's files."""
    return [METADATA, *sorted(path.name for path in folder.glob("*.distcp"))]


def is_deepspeed(folder: Path) -> bool:
    """Whether DeepSpeed has written to a folder, whose checkpoints are in folders of it."""
    return (folder / "latest").is_file() or (folder / "zero_to_fp32.py").is_file()


def _weight_map(path: Path) -> dict[str, object] | None:
    try:
        found = read_json(path, "index of shards", limit=INDEX_LIMIT, finite=False)["weight_map"]
    except (InputError, ValueError, LookupError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def _is_plain(name: str) -> bool:
    """Whether a name is that of a file in the same folder."""
    return bool(name) and name not in (".", "..") and not set(name) & set("/\\\0")


def adapter_settings(folder: Path) -> dict[str, Any]:
    """Return what PEFT says beside an adapter of it; nothing where that cannot be read."""
    path = folder / "adapter_config.json"
    try:
        content = read_json(path, "adapter_config.json", limit=_SETTINGS_LIMIT, finite=False)
    except (InputError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
