"""A folder of images and the table of their targets, read one image at a time.

The table's lines say which images are the samples, in order. Size and scale are part of how a
network was trained, and no file tells them: they are always given.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nrcscan.errors import InputError, NrcscanError, UsageError
from nrcscan.extras import to_install
from nrcscan.files import open_safely, sniff
from nrcscan.inputs.datasets.batches import Batch, Dataset
from nrcscan.inputs.datasets.delimited_text import Text, is_number, is_table
from nrcscan.inputs.datasets.table_columns import TableColumns
from nrcscan.inputs.datasets.text_lines import start_of
from nrcscan.wording import listed, reason

NAME_COLUMNS = ("file", "filename", "file_name", "path", "image", "name")
"""What a column of file names is usually called; else it is the first."""

CHANNELS = {"rgb": 3, "grey": 1}

EXAMPLE = (
    "--images 'channels=rgb height=64 width=64 scale=255 mean=0.485,0.456,0.406"
    " std=0.229,0.224,0.225'"
)

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What is opened: other formats of Pillow's can start programs, or are no pictures."""

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
"""Pillow's names of at most 8 bits per channel."""

LARGEST_SIDE = 1 << 14


@dataclass(frozen=True)
class Preparation:
    """How an image becomes a network's input: resized, then (pixels / scale − mean) / std.

    Attributes:
        channels: "rgb" or "grey".
        height: in pixels.
        width: in pixels.
        scale: what pixel values, which are 0 to 255, are divided by.
        mean: one number, or one per channel.
        std: one number, or one per channel.
    """

    channels: str
    height: int
    width: int
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def parse(cls, text: str | None) -> Preparation:
        """Read what --images says: name=value for every attribute, spaces between.

        Raises:
            UsageError: what --images says of the images is incomplete, or a word of it is unknown,
                twice, or out of range.
        """
        if text is None:
            what = (
                "a folder of images needs their size and scale as the network was trained on them"
            )
            raise UsageError(f"{what}; write for example {EXAMPLE}")
        given: dict[str, str] = {}
        for word in text.split():
            name, equals, value = word.partition("=")
            if not equals or name not in cls.__annotations__:
                raise _wrong(f"{word!r} is none of {listed(f'{n}=…' for n in cls.__annotations__)}")
            if name in given:
                raise _wrong(f"{name} is given twice")
            given[name] = value
        if missing := [name for name in cls.__annotations__ if name not in given]:
            raise _wrong(f"{listed(missing)} must be given too")
        channels = given["channels"]
        if channels not in CHANNELS:
            raise _wrong(f"channels={channels} is not rgb or grey")
        height, width = (_side(name, given[name]) for name in ("height", "width"))
        (scale,) = _numbers("scale", given["scale"], {1}, above=0)
        counts = {1, CHANNELS[channels]}
        mean = _numbers("mean", given["mean"], counts)
        std = _numbers("std", given["std"], counts, above=0)
        return cls(channels, height, width, scale, mean, std)

    def apply(self, path: Path, where: str) -> NDArray[np.float32]:
        """Return an image file as (channels, height, width) float32.

        Raises:
            InputError: a file beside the table is no still image of 8 bits per channel, is damaged,
                or too large.
        """
        from PIL import Image, UnidentifiedImageError

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                with Image.open(path, formats=FORMATS) as image:
                    _require_still(image, path, where)
                    pixels = self._pixels(image)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise InputError(f"{where}: {path} has too many pixels; make it smaller") from error
        except UnidentifiedImageError as error:
            raise InputError(
                f"{where}: {path} is no image that can be read; save it as {listed(FORMATS, 'or')}"
            ) from error
        except NrcscanError:
            raise
        except Exception as error:  # each format's decoder has errors of its own
            raise InputError(
                f"{where}: {path} is damaged or cut short ({reason(error)}); copy it again"
            ) from error
        scaled = (pixels / self.scale - np.array(self.mean)) / np.array(self.std)
        return np.ascontiguousarray(scaled.transpose(2, 0, 1), dtype=np.float32)

    def _pixels(self, image: Any) -> NDArray[np.float64]:
        """Return the pixels (height, width, channels), resized."""
        from PIL import Image

        image.load()
        if image.mode in ("P", "PA"):  # colours first: a palette's indices cannot be mixed
            image = image.convert("RGBA")
        image = image.convert("RGB" if self.channels == "rgb" else "L")
        if image.size != (self.width, self.height):
            image = image.resize((self.width, self.height), Image.Resampling.BILINEAR)
        return np.asarray(image, dtype=np.float64).reshape(self.height, self.width, -1)


def _require_still(image: Any, path: Path, where: str) -> None:
    if image.mode not in MODES:
        raise InputError(
            f"{where}: {path} has more than 8 bits per channel ({image.mode}); save it with 8, or"
            " give the arrays as .npz"
        )
    # A phone's MPO is a JPEG with a preview behind it.
    if getattr(image, "n_frames", 1) > 1 and image.format != "MPO":
        raise InputError(
            f"{where}: {path} is animated ({image.n_frames} frames); save the one that is meant"
        )


def _side(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= LARGEST_SIDE):
        raise _wrong(f"{name}={text} is not a number of pixels from 1 to {LARGEST_SIDE}")
    return int(text)


def _numbers(name: str, text: str, counts: set[int], above: float = -math.inf) -> tuple[float, ...]:
    words = text.split(",")
    if not all(is_number(w) and math.isfinite(float(w)) and float(w) > above for w in words):
        raise _wrong(f"{name}={text}: takes {'numbers above 0' if above == 0 else 'numbers'}")
    if len(words) not in counts:
        raise _wrong(f"{name} takes {listed(sorted(counts), 'or')} numbers, not {len(words)}")
    return tuple(map(float, words))


def _wrong(problem: str) -> UsageError:
    return UsageError(f"--images: {problem}; write for example {EXAMPLE}")


@dataclass(frozen=True)
class _ImageTable:
    """The table beside a folder of images: on every line a file name, and targets.

    Attributes:
        folder: of the images.
        text: of the table.
        names: which column holds the file names.
        targets: which columns are targets.
    """

    folder: Path
    text: Text
    names: int
    targets: list[int]

    @classmethod
    def open(cls, folder: Path, table: Path, columns: TableColumns) -> _ImageTable:
        """Open a table, and find its columns.

        Raises:
            UsageError: the column of the file names is chosen as a target.
            InputError: the second file is no table of file names and targets.
        """
        open_safely.regular_file(table, "targets")
        if not is_table(start_of(table, 4096)):
            raise InputError(
                f"{table}: is {sniff.foreign(table)}; give a CSV of file names and targets"
            )
        text = Text.open(table, words=1)
        known = [name.lower() for name in text.columns]
        names = next((known.index(name) for name in NAME_COLUMNS if name in known), 0)
        left = columns.left(table, text.columns)
        if columns.targets or columns.last is not None:
            told = columns.choose_targets(table, left, whole=False)
        else:
            told = [name for name in left if name != text.columns[names]]
        chosen = [text.columns.index(name) for name in told]
        if names in chosen:
            what = f"{text.columns[names]!r} holds the file names, not targets"
            raise UsageError(f"{table}: {what}; name other columns with --targets")
        if not chosen:
            raise InputError(f"{table}: has no column of targets beside the file names; add one")
        return cls(folder, text, names, chosen)

    def rows(self) -> Iterator[tuple[Path, int, list[float]]]:
        """Yield an image's path, its line and its targets, line by line."""
        text = self.text
        for number, line in text.lines():
            cells = text.cells(number, line)
            path = _inside(self.folder, cells[self.names], text.path, number)
            yield (
                path,
                number,
                [text.number(number, text.columns[i], cells[i]) for i in self.targets],
            )


def open_images(
    folder: Path, table: Path, columns: TableColumns, preparation: Preparation
) -> Dataset:
    """Open the images that a table names, with the targets beside their names.

    Args:
        folder: of the images.
        table: delimited text: a column of file names in the folder, and columns of targets.
        columns: which of it are targets; all but the names' by default.
        preparation: what is done to each image.

    Raises:
        InputError: the table or an image cannot be used.
        UsageError: pillow is not installed, or the columns are not there.
    """
    try:
        from PIL import Image
    except ImportError as error:
        remedy = to_install("images")
        raise UsageError(f"{folder}: reading images needs pillow; {remedy}") from error
    Image.init()  # else only some formats are known by name
    images = _ImageTable.open(folder, table, columns)

    def stream(batch_size: int) -> Iterator[Batch]:
        left = images.rows()
        while batch := list(islice(left, batch_size)):
            x = [preparation.apply(path, f"{table}, line {number}") for path, number, _ in batch]
            yield np.stack(x), np.array([values for _, _, values in batch])

    digest, n_samples = hashlib.sha256(bytes.fromhex(open_safely.sha256(table))), 0
    for path, _, _ in images.rows():
        digest.update(bytes.fromhex(open_safely.sha256(path)))
        n_samples += 1
    return Dataset(
        name=f"{folder} and {table}",
        n_samples=n_samples,
        provenance={
            "path": [str(folder.resolve()), str(table.resolve())],
            "sha256": digest.hexdigest(),
            "targets": [images.text.columns[i] for i in images.targets],
            "images": asdict(preparation),
        },
        stream=stream,
    )


def _inside(folder: Path, name: str, table: Path, number: int) -> Path:
    """Return an image's path, refusing every name that leaves the folder.

    Raises:
        InputError: what the table has in place of a file name is no file in the folder.
    """
    where = f"{table}, line {number}"
    path = folder / name
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
        there = path.is_file()
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{where}: {name!r} is no file name: {reason(error)}; mend it") from error
    if not inside:
        raise InputError(f"{where}: {name!r} leads out of {folder}; copy it into the folder")
    if not there:
        state = "not a regular file" if path.exists() else "not there"
        raise InputError(f"{where}: {path} is {state}; name it as from the folder {folder}")
    return path
