"""Reads the file, once it is known to be ours, whole, and self-contained."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from nrcscan.acts_file import block_datasets, cross_group, unit_group
from nrcscan.acts_file.checked_arrays import CheckedArrays
from nrcscan.acts_file.checksum_record import checksums_in
from nrcscan.acts_file.layer_attributes import record_of
from nrcscan.acts_file.own_file import require_ours
from nrcscan.acts_file.plain_attributes import PlainAttributes
from nrcscan.acts_file.prefixes import prefixes_in
from nrcscan.acts_file.schema import DOUBLE, VERSION, Predictions, unmeasured_in
from nrcscan.errors import InputError
from nrcscan.files import at_work, open_safely, sniff
from nrcscan.files.read_json import parse_json
from nrcscan.statistics.blocks import Blocks, Targets
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.statistics.sketch import Sketched
from nrcscan.statistics.unit_features import UnitFeatures
from nrcscan.wording import reason


class Acts:
    """An open file; made by `open_acts`. Large arrays are read when asked for.

    Attributes:
        path: of the file.
        n_samples: N.
        epsilon: machine epsilon of the arithmetic that made the features.
        product_epsilon: machine epsilon of the products in the covariances.
        target_mean: μ_Y, shape (n_targets,).
        target_covariance: Σ_Y, shape (n_targets, n_targets).
        predictions: of the network itself; None where it makes none.
        layers: in execution order.
        unmeasured: the weight layers of the network that ran and are not among them.
        prefixes: what the network costs up to each position; None where the file does not tell.
        provenance: what was extracted from what, and how.
    """

    def __init__(self, file: h5py.File, path: Path, datasets: Collection[str]) -> None:
        self._file, self._checksums = file, checksums_in(file)
        self._checksums.require_all(datasets)
        self._read = CheckedArrays(file, self._checksums)
        self._shared: Targets | None = None
        self.path = path
        attributes = self._attributes("/")
        self.n_samples = int(attributes["n_samples"])
        self.epsilon = float(attributes["epsilon"])
        self.product_epsilon = float(attributes.get("product_epsilon", DOUBLE))
        self.target_mean = self._read.array("targets/mean", (None,))
        t = len(self.target_mean)
        self.target_covariance = self._read.array("targets/covariance", (t, t))
        self.predictions = self._predictions(t)
        self.provenance: dict[str, Any] = dict(parse_json(self._read.text("provenance")))
        notes = self.provenance.get("notes", [])
        if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
            raise ValueError("its notes are not text")
        self.unmeasured = unmeasured_in(self.provenance)
        if self.n_samples < 1 or not 0 <= max(self.epsilon, self.product_epsilon) < 1:
            raise ValueError("its number of samples or precision is out of range")
        self.n_positions = len(file["positions"])
        self.prefixes = prefixes_in(self.provenance)
        if self.prefixes is not None and len(self.prefixes.positions) != self.n_positions:
            raise ValueError("it tells of other positions than it has what they cost")
        names = [f"layers/{name}" for name in file["layers"]]
        self._layers = sorted(names, key=lambda name: int(self._attributes(name)["index"]))
        self.layers = [record_of(self._attributes(name)) for name in self._layers]
        if not self.layers or {r.position for r in self.layers} != set(range(self.n_positions)):
            raise ValueError("its layers and positions do not belong together")
        if len({layer.name for layer in self.layers}) < len(self.layers):
            raise ValueError("two layers have the same name")

    def _attributes(self, name: str) -> PlainAttributes:
        return PlainAttributes(self._file[name], self._checksums)

    def _predictions(self, t: int) -> Predictions | None:
        """Return the network's own predictions; files of before always hold them."""
        if "model" not in self._file and int(self._attributes("/")["version"]) == VERSION:
            return None
        return Predictions(
            self._read.not_negative("model/squared_error", (t,)),
            self._read.array("model/prediction_mean", (t,)),
            self._read.array("model/prediction_covariance", (t, t)),
        )

    def statistics(self, position: int) -> Statistics | Sketched:
        """Return the statistics of the features at a position."""
        with _reading(self.path):
            where = f"positions/{position:04d}"
            mean = self._read.array(f"{where}/mean", (None,))
            d, t = len(mean), len(self.target_mean)
            cross_covariance = self._read.array(f"{where}/target_covariance", (d, t))
            n, target_mean, covariance = self.n_samples, self.target_mean, self.target_covariance
            if self.per_token(position):
                n = int(self._attributes(where)["n_samples"])
                target_mean = self._read.array(f"{where}/own_targets/mean", (t,))
                covariance = self._read.array(f"{where}/own_targets/covariance", (t, t))
            if f"{where}/sketch" in self._file:
                sketch = self._read.array(f"{where}/sketch", (d, None))
                return Sketched(
                    n_samples=n,
                    feature_mean=mean,
                    target_mean=target_mean,
                    variances=self.variances(position),
                    test_matrix=self._read.array(f"{where}/test_matrix", sketch.shape),
                    sketch=sketch,
                    cross_covariance=cross_covariance,
                    target_covariance=covariance,
                )
            norms = f"{where}/norms"
            return Statistics(
                n_samples=n,
                feature_mean=mean,
                target_mean=target_mean,
                feature_covariance=self._read.array(f"{where}/covariance", (d, d)),
                cross_covariance=cross_covariance,
                target_covariance=covariance,
                norms=self._read.array(norms, (2, d + t + 2)) if norms in self._file else None,
            )

    def per_token(self, position: int) -> bool:
        """Whether every token counts as a sample at a position, which has targets of its own."""
        with _reading(self.path):
            group = self._file[f"positions/{position:04d}"]
            told = self._attributes(group.name).get("per_token")
            if told is not None:
                return bool(told)
            # Writers of before guessed it from rounded means, wrongly for narrow products: their
            # own targets are of tokens only where the pass pooled none.
            options = self.provenance.get("options")
            pool = options.get("pool", "tokens") if isinstance(options, dict) else "tokens"
            return pool == "tokens" and "own_targets" in group

    def own_squared_error(self, position: int) -> Array | None:
        """Return the network's mean squared error (n_targets,) over tokens, where it is told."""
        with _reading(self.path):
            name = f"positions/{position:04d}/own_squared_error"
            own = self.per_token(position) and name in self._file
            return self._read.not_negative(name, (len(self.target_mean),)) if own else None

    @property
    def last_units(self) -> UnitFeatures | None:
        """The moments of the last layer's features scaled to norm 1; None if none were taken."""
        with _reading(self.path):
            where = unit_group.where(self.layers[-1].position)
            return unit_group.read(self._file, where, self._read.array, self._attributes)

    def variances(self, position: int) -> Array:
        """Return the variances of the features (width,) at a position."""
        with _reading(self.path):
            where = f"positions/{position:04d}"
            if f"{where}/variances" not in self._file:  # only a covariance must be there
                return np.diagonal(self._read.array(f"{where}/covariance", (None, None))).copy()
            return self._read.not_negative(f"{where}/variances", (None,))

    @property
    def block_targets(self) -> Targets | None:
        """The targets of blocks of samples, and the network's errors; None without blocks."""
        with _reading(self.path):
            there = block_datasets.SHARED in self._file
            return self._block_targets(block_datasets.SHARED) if there else None

    def _block_targets(self, where: str) -> Targets:
        if where == block_datasets.SHARED and self._shared is not None:
            return self._shared  # by every position: not read again for each
        found = block_datasets.targets_from(*self._read.group(where), len(self.target_mean))
        self._shared = found if where == block_datasets.SHARED else self._shared
        return found

    def blocks(self, position: int) -> Blocks | None:
        """Return what is kept of blocks of samples at a position; None where there are none."""
        with _reading(self.path):
            where = f"positions/{position:04d}/blocks"
            if where not in self._file:
                return None
            own = f"{where}/own_targets"
            targets = self._block_targets(own if own in self._file else block_datasets.SHARED)
            d = self._file[f"positions/{position:04d}/mean"].shape[0]
            return block_datasets.blocks_from(*self._read.group(where), targets, d)

    @property
    def no_blocks(self) -> str | None:
        """Why some positions have no blocks of samples, or all; None where all have them."""
        there = block_datasets.SHARED in self._file
        return block_datasets.missing(self.provenance.get("blocks"), there=there)

    def cross(self, earlier: int, later: int) -> Array | None:
        """Return the cross-covariance (d_i, d_j) of the features at two positions; None without."""
        with _reading(self.path):
            return cross_group.read(self._file, earlier, later, self._read.array)

    def test_matrix(self, position: int) -> Array:
        """Return the directions of the sketch (width, rank) at a position: none if it is exact."""
        with _reading(self.path):
            name = f"positions/{position:04d}/test_matrix"
            return self._read.array(name, (None, None)) if name in self._file else np.empty((0, 0))

    def feature_mean(self, position: int) -> Array:
        """Return the mean of the features (width,) at a position."""
        with _reading(self.path):
            return self._read.array(f"positions/{position:04d}/mean", (None,))

    def weight(self, index: int) -> Array:
        """Return a layer's weight as the network holds it."""
        return self.stored_weight(index).astype(np.float64, copy=False)

    def stored_weight(self, index: int) -> NDArray[Any]:
        """Return a layer's weight in the dtype that the network holds it in."""
        with _reading(self.path):
            weight = self._read.stored(f"{self._layers[index]}/weight", None)
            groups = self.layers[index].groups
            if weight.ndim < 2 or weight.size == 0 or groups < 1 or len(weight) % groups:
                raise ValueError(f"the weight of layer {index} has shape {weight.shape}")
            return weight

    def beside(self, index: int) -> Array | None:
        """Return how large what a layer's outputs (out,) are added to is; None if unknown."""
        with _reading(self.path):
            name, layer = f"{self._layers[index]}/beside", self.layers[index]
            if name not in self._file:
                return None
            rows, columns, *_ = self._file[f"{self._layers[index]}/weight"].shape
            out = columns * layer.groups if layer.transposed else rows
            return self._read.not_negative(name, (out,))

    @property
    def has_activations(self) -> bool:
        """Whether the features themselves are there, at every position."""
        return all(f"positions/{p:04d}/activations" in self._file for p in range(self.n_positions))

    def target_rows(self) -> Iterator[NDArray[Any]]:
        """Yield the targets (n, n_targets), piece by piece."""
        yield from self._rows("targets/values", self.n_samples, len(self.target_mean))

    def activation_rows(self, position: int) -> Iterator[NDArray[Any]]:
        """Yield the features (n, width) at a position, piece by piece."""
        width = len(self.feature_mean(position))
        with _reading(self.path):
            own = self._attributes(f"positions/{position:04d}").get("n_samples", self.n_samples)
        yield from self._rows(f"positions/{position:04d}/activations", int(own), width)

    def _rows(self, name: str, n: int, width: int) -> Iterator[NDArray[Any]]:
        return self._read.rows(name, (n, width), lambda: _reading(self.path))


@contextmanager
def open_acts(path: Path) -> Iterator[Acts]:
    """Open a file of `nrcscan extract` for reading.

    Raises:
        InputError: it is missing, damaged, not ours, newer than this program, or refers to
            data outside itself.
    """
    open_safely.regular_file(path, "acts")
    with _reading(path):
        file = h5py.File(path, "r")
    with file:
        with _reading(path):
            acts = Acts(file, path, require_ours(file, path))
        yield acts


# Arithmetic fails on infinities that are taken for numbers of things.
_DAMAGES = (
    *(OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError),
    *(ArithmeticError, MemoryError),
)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn what damaged content makes h5py raise into one message.

    Raises:
        InputError: reading fails, or the file is of another format.
    """
    try:
        with at_work.doing(file=path):
            yield
    except _DAMAGES as error:
        if not h5py.is_hdf5(path):
            raise InputError(
                f"{path}: is {sniff.foreign(path)}, not a file of nrcscan extract;"
                " give a file that nrcscan extract wrote"
            ) from error
        raise InputError(
            f"{path}: damaged or cut short ({reason(error)}); run nrcscan extract again"
        ) from error
