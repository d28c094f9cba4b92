"""The networks that come along: which they are, and copies to work on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from nrcscan.errors import OutputError
from nrcscan.files.write_atomically import require_folder, require_free, write_bytes


@dataclass(frozen=True)
class ShippedNetwork:
    """A network that comes along.

    Attributes:
        name: of its files: `NAME.pt` and `NAME.npz`.
        words: what it is.
        made_from: the checkpoint and data among the project's fixtures that these are.
    """

    name: str
    words: str
    made_from: tuple[str, str]

    @property
    def files(self) -> tuple[str, str]:
        """The names of its checkpoint and of its data."""
        return f"{self.name}.pt", f"{self.name}.npz"


NETWORKS = (
    ShippedNetwork(
        "swimmer",
        "imitates a policy for MuJoCo's Swimmer; 600 epochs, weight decay 0.01",
        ("swimmer/wd0.01/epoch_600.pt", "swimmer/data.npz"),
    ),
    ShippedNetwork(
        "reacher",
        "imitates a controller for MuJoCo's Reacher; 20 epochs, weight decay 0.002",
        ("reacher/wd0.002/epoch_20.pt", "reacher/data.npz"),
    ),
)
"""One that has collapsed, and one that has not: what is said of that is measured, each time."""


def unpack(folder: Path, *, force: bool = False) -> Iterator[Path]:
    """Copy the networks and their data into a folder, which is made if it is not there.

    Yields:
        The path of every copy.

    Raises:
        UsageError: a file of that name is there already, or the folder is a file.
        OutputError: the folder cannot be made, or a copy not be written.
    """
    require_folder(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder}: the folder cannot be made: {error.strerror}; choose another -o"
        ) from error
    names = [name for network in NETWORKS for name in network.files]
    for name in names:
        require_free(folder / name, force=force)
    for name in names:
        content = (files("nrcscan.demonstration") / name).read_bytes()
        write_bytes(folder / name, content, force=force)
        yield folder / name
