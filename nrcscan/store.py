"""The file between extraction and report: HDF5, written whole or not at all.

Its layout is docs/file-format.md. This is the only module that touches h5py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nrcscan import files
from nrcscan.errors import InputError, OutputError, UsageError, reason
from nrcscan.moments import Array, Statistics

FORMAT = "nrcscan.acts"
VERSION = 1
CHUNK_BYTES = 1 << 20
_FILTERS = {"fletcher32", "shuffle", "deflate"}


@dataclass(frozen=True)
class LayerRecord:
    """A layer in the file.

    Attributes:
        name: in the network; from its second use in a pass on with "#2" and so on.
        kind: "Linear", "Conv2d", ….
        position: which features reach it; layers that read the same tensor share one.
        groups: of a convolution, else 1.
        transposed: whether it is a transposed convolution.
        flattened: whether its features are all positions side by side, on which W does not act.
    """

    name: str
    kind: str
    position: int
    groups: int = 1
    transposed: bool = False
    flattened: bool = False


@dataclass(frozen=True)
class Predictions:
    """The network's own predictions on the samples.

    Attributes:
        squared_error: mean over samples, per target, shape (n_targets,).
        mean: shape (n_targets,).
        covariance: shape (n_targets, n_targets).
    """

    squared_error: Array
    mean: Array
    covariance: Array


# --- writing ---------------------------------------------------------------------------------


def require_free(path: Path, *, force: bool) -> None:
    """Check that `path` can be written before any work is done.

    Raises:
        UsageError: it exists already, and `force` is not given.
        OutputError: its folder is missing or cannot be written to.
    """
    if path.is_dir():
        raise UsageError(f"{path}: is a folder; give a file name with -o")
    if path.exists() and not force:
        raise UsageError(f"{path}: exists already; replace it with --force, or choose another -o")
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"{path}: there is no folder {folder}; create it first")
    probe = _beside(path)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        raise _unwritable(path, error) from error


class Writer:
    """Fills one file; made by `create`."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file = file
        self._path = path
        # Kept open to the end: what a dataset still holds is written when it is closed, and
        # h5py can only print, not raise, what goes wrong there.
        self._datasets: dict[str, h5py.Dataset] = {}
        with self._writing():
            file.attrs["format"] = _fixed(FORMAT)
            file.attrs["version"] = VERSION
            file.attrs["complete"] = 0

    def add_layer(self, record: LayerRecord, weight: NDArray[Any]) -> None:
        """Add a layer, in execution order, with its weight as the network holds it."""
        with self._writing():
            layers = self._file.require_group("layers")
            group = layers.create_group(f"{len(layers):04d}")
            group.attrs["index"] = len(layers) - 1
            group.attrs["name"] = _fixed(record.name)
            group.attrs["kind"] = _fixed(record.kind)
            group.attrs["position"] = record.position
            group.attrs["groups"] = record.groups
            group.attrs["transposed"] = int(record.transposed)
            group.attrs["flattened"] = int(record.flattened)
            self._put(f"{group.name}/weight", weight)

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Append rows (n, width) to a dataset, which the first call creates."""
        with self._writing():
            if name not in self._datasets:
                chunk = max(1, CHUNK_BYTES // max(1, rows[:1].nbytes))
                self._datasets[name] = self._file.create_dataset(
                    name,
                    shape=(0, rows.shape[1]),
                    maxshape=(None, rows.shape[1]),
                    chunks=(chunk, rows.shape[1]),
                    dtype=rows.dtype,
                    fletcher32=True,
                )
            dataset = self._datasets[name]
            start = dataset.shape[0]
            dataset.resize(start + len(rows), axis=0)
            dataset[start:] = rows

    def finish(
        self,
        positions: Sequence[Statistics],
        predictions: Predictions,
        provenance: Mapping[str, Any],
        epsilon: float,
    ) -> None:
        """Write what is known at the end of the pass, and mark the file complete."""
        first = positions[0]
        with self._writing():
            for index, s in enumerate(positions):
                self._put(f"positions/{index:04d}/mean", s.feature_mean)
                self._put(f"positions/{index:04d}/covariance", s.feature_covariance)
                self._put(f"positions/{index:04d}/target_covariance", s.cross_covariance)
            self._put("targets/mean", first.target_mean)
            self._put("targets/covariance", first.target_covariance)
            self._put("model/squared_error", predictions.squared_error)
            self._put("model/prediction_mean", predictions.mean)
            self._put("model/prediction_covariance", predictions.covariance)
            text = json.dumps(provenance, indent=1, allow_nan=False).encode()
            self._put("provenance", np.frombuffer(text, dtype=np.uint8))
            self._file.attrs["n_samples"] = first.n_samples
            self._file.attrs["epsilon"] = epsilon
            self._file.attrs["complete"] = 1
            self._file.flush()

    def _put(self, name: str, values: NDArray[Any]) -> None:
        self._datasets[name] = self._file.create_dataset(name, data=values)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # h5py raises either when a write fails
            _write_nowhere(self._file)
            raise _unwritable(self._path, error) from error


@contextmanager
def create(path: Path, *, force: bool = False) -> Iterator[Writer]:
    """Write a file that appears under its name only when it is complete.

    Raises:
        UsageError: `path` exists and `force` is not given.
        OutputError: it cannot be written.
    """
    require_free(path, force=force)
    partial = _beside(path)
    file: h5py.File | None = None
    try:
        file = _new(partial, path)
        yield Writer(file, path)
        _close(file, path)
        _sync(partial)
        if path.exists() and not force:
            raise UsageError(f"{path}: another program has just created it; choose another -o")
        partial.replace(path)
        _sync(path.parent)
    except BaseException:
        if file:
            _write_nowhere(file)
            file.close()
        raise
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def _new(partial: Path, path: Path) -> h5py.File:
    try:
        return h5py.File(partial, "x", libver=("v110", "v110"), rdcc_nbytes=2 * CHUNK_BYTES)
    except OSError as error:
        raise _unwritable(path, error) from error


def _close(file: h5py.File, path: Path) -> None:
    try:
        file.close()
    except (OSError, RuntimeError) as error:
        raise _unwritable(path, error) from error


def _write_nowhere(file: h5py.File) -> None:
    """Let a file that is not wanted any more write what it still holds to nowhere.

    On a full disk HDF5 can neither flush nor close, and crashes when the program ends.
    """
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, file.id.get_vfd_handle())
    os.close(nowhere)


def _sync(path: Path) -> None:
    """Have the operating system put a file, or a folder's entries, on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _unwritable(path: Path, error: OSError | RuntimeError) -> OutputError:
    told = re.search(r"errno = (\d+)", str(error))
    number = int(told[1]) if told else getattr(error, "errno", None)
    why = os.strerror(number) if number else reason(error)
    return OutputError(f"{path}: cannot be written: {why}; choose another place with -o")


def _fixed(text: str) -> np.bytes_:
    """Return text as a fixed-length string: HDF5 can crash on damaged variable-length ones."""
    return np.bytes_(text.encode())


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, replacing what was there.

    Raises:
        UsageError: `path` is a folder.
        OutputError: it cannot be written.
    """
    require_free(path, force=True)
    partial = _beside(path)
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


# --- reading ---------------------------------------------------------------------------------


class Acts:
    """An open file; made by `open_acts`. Large arrays are read when asked for.

    Attributes:
        path: of the file.
        n_samples: N.
        epsilon: machine epsilon of the arithmetic that made the features.
        target_mean: μ_Y, shape (n_targets,).
        target_covariance: Σ_Y, shape (n_targets, n_targets).
        predictions: of the network itself.
        layers: in execution order.
        provenance: what was extracted from what, and how.
    """

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file = file
        self.path = path
        self.n_samples = int(file.attrs["n_samples"])
        self.epsilon = float(file.attrs["epsilon"])
        self.target_mean = self._array("targets/mean", (None,))
        t = len(self.target_mean)
        self.target_covariance = self._array("targets/covariance", (t, t))
        self.predictions = Predictions(
            self._array("model/squared_error", (t,)),
            self._array("model/prediction_mean", (t,)),
            self._array("model/prediction_covariance", (t, t)),
        )
        self.provenance: dict[str, Any] = json.loads(bytes(file["provenance"][:]))
        self.n_positions = len(file["positions"])
        groups = sorted(file["layers"].values(), key=lambda group: int(group.attrs["index"]))
        self._weights = [f"{group.name}/weight" for group in groups]
        self.layers = [
            LayerRecord(
                name=_text(group.attrs["name"]),
                kind=_text(group.attrs["kind"]),
                position=int(group.attrs["position"]),
                groups=int(group.attrs["groups"]),
                transposed=bool(group.attrs["transposed"]),
                flattened=bool(group.attrs["flattened"]),
            )
            for group in groups
        ]
        if not self.layers or {r.position for r in self.layers} != set(range(self.n_positions)):
            raise ValueError("its layers and positions do not belong together")

    def statistics(self, position: int) -> Statistics:
        """Return the statistics of the features at a position."""
        with _reading(self.path):
            where = f"positions/{position:04d}"
            mean = self._array(f"{where}/mean", (None,))
            d, t = len(mean), len(self.target_mean)
            return Statistics(
                n_samples=self.n_samples,
                feature_mean=mean,
                target_mean=self.target_mean,
                feature_covariance=self._array(f"{where}/covariance", (d, d)),
                cross_covariance=self._array(f"{where}/target_covariance", (d, t)),
                target_covariance=self.target_covariance,
            )

    def weight(self, index: int) -> Array:
        """Return a layer's weight as the network holds it."""
        with _reading(self.path):
            return self._array(self._weights[index], None)

    def _array(self, name: str, shape: tuple[int | None, ...] | None) -> Array:
        """Return a dataset in float64, once its shape and values are as they must be."""
        dataset = self._file[name]
        if shape is not None and (
            len(dataset.shape) != len(shape)
            or any(w is not None and w != h for w, h in zip(shape, dataset.shape, strict=True))
        ):
            raise ValueError(f"{name} has shape {dataset.shape}, expected {shape}")
        if dataset.dtype.kind != "f":
            raise ValueError(f"{name} has dtype {dataset.dtype}, expected floating point")
        values = np.asarray(dataset[()], dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"{name} holds NaN or infinite values")
        return values


@contextmanager
def open_acts(path: Path) -> Iterator[Acts]:
    """Open a file of `nrcscan extract` for reading.

    Raises:
        InputError: it is missing, damaged, not ours, newer than this program, or refers to
            data outside itself.
    """
    files.regular_file(path, "acts")
    with _reading(path):
        file = h5py.File(path, "r")
    with file:
        with _reading(path):
            _require_ours(file, path)
            acts = Acts(file, path)
        yield acts


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what damaged content makes h5py raise into one message."""
    try:
        yield
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        if not h5py.is_hdf5(path):
            raise InputError(
                f"{path}: is {files.foreign(path)}, not a file of nrcscan extract"
            ) from error
        raise InputError(
            f"{path}: damaged or cut short ({reason(error)}); run nrcscan extract again"
        ) from error


def _require_ours(file: h5py.File, path: Path) -> None:
    if "format" not in file.attrs or _text(file.attrs["format"]) != FORMAT:
        raise InputError(f"{path}: an HDF5 file, but not one of nrcscan extract")
    version = int(file.attrs["version"])
    if version > VERSION:
        raise InputError(
            f"{path}: written by a newer nrcscan (file version {version}, this one reads up to"
            f" {VERSION}); upgrade nrcscan"
        )
    if not file.attrs["complete"]:
        raise InputError(f"{path}: was never finished; run nrcscan extract again")
    for name, link in _links(file):
        if not isinstance(link, h5py.HardLink):
            raise InputError(f"{path}: {name} is a link to somewhere else; not followed")
        item = file.get(name)
        if isinstance(item, h5py.Dataset):
            _require_inside(item, path)


def _links(file: h5py.File) -> list[tuple[str, Any]]:
    """Return every link of a file, none of them followed."""
    found: list[tuple[str, Any]] = []
    file.visititems_links(lambda name, link: found.append((name, link)))
    return found


def _require_inside(dataset: h5py.Dataset, path: Path) -> None:
    """Refuse a dataset whose bytes are not in the file, or need a plug-in to be read."""
    if dataset.external or dataset.is_virtual:
        raise InputError(f"{path}: {dataset.name} keeps its data in another file; not followed")
    unknown = set(dataset._filters) - _FILTERS
    if unknown:
        raise InputError(f"{path}: {dataset.name} is compressed in an unknown way; not read")


def _text(value: Any) -> str:
    if not isinstance(value, bytes):
        raise TypeError("a name is not a fixed-length string")
    return value.decode()
