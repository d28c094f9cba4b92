"""Writes the file beside its final name, and renames it when it is complete and on disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
from numpy.typing import NDArray

from nrcscan.acts_file import block_datasets, checksum_record, cross_group, h5_files, unit_group
from nrcscan.acts_file.checksums import sha256_of
from nrcscan.acts_file.kept_in_memory import KeptInMemory, beside_output
from nrcscan.acts_file.layer_attributes import attributes, fixed
from nrcscan.acts_file.row_datasets import RowDatasets, chunk_rows
from nrcscan.acts_file.schema import (
    DOUBLE,
    FORMAT,
    PLAIN_VERSION,
    SKETCH_VERSION,
    VERSION,
    LayerRecord,
    OutputStatistics,
)
from nrcscan.acts_file.self_contained import require_self_contained
from nrcscan.files.write_atomically import kept_beside, put_in_place, unwritable
from nrcscan.statistics.blocks import Blocks, Targets
from nrcscan.statistics.moments import Array, Statistics
from nrcscan.statistics.sketch import Sketched
from nrcscan.statistics.unit_features import UnitFeatures


class Writer:
    """Fills one file; made by `create`."""

    def __init__(
        self,
        file: h5py.File,
        path: Path,
        n_samples: int | None,
        in_memory: KeptInMemory | None,
        *,
        compress: bool,
    ) -> None:
        self._file = file
        self._in_memory = in_memory
        self._path = path
        self._rows = RowDatasets(file, n_samples, compress=compress)
        # Open to the end: what one still holds is written as it closes, where h5py raises nothing.
        self._datasets: dict[str, h5py.Dataset] = {}
        self._groups: dict[str, h5py.Group] = {}
        self._sums: dict[str, str] = {}
        with self._writing():
            file.attrs["format"] = fixed(FORMAT)
            file.attrs["version"] = PLAIN_VERSION
            file.attrs["complete"] = 0

    def add_layer(
        self, record: LayerRecord, weight: NDArray[Any], beside: Array | None = None
    ) -> None:
        """Add a layer, in execution order, with its weight as the network holds it.

        Args:
            record: of the layer.
            weight: (out, in), or a convolution's kernel.
            beside: how large what each output is added to is, (out,), if that is known.
        """
        with self._writing():
            index = len(self._group("layers"))
            group = self._group(f"layers/{index:04d}")
            group.attrs["index"] = index
            for name, value in attributes(record).items():
                group.attrs[name] = value
            self._put(f"layers/{index:04d}/weight", weight)
            if beside is not None:
                self._put(f"layers/{index:04d}/beside", beside)
        if self._in_memory is not None:
            self._in_memory.add_layer(record, weight, beside)

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Append rows (n, width) to a dataset, which the first call creates.

        They are written a whole chunk at a time, and must stay as they are until then.
        """
        with self._writing():
            self._rows.append(name, rows)

    def end_rows(self) -> None:
        """Write the rows that still wait for a whole chunk; none come after them."""
        with self._writing():
            self._rows.end()

    def hand_over(self) -> None:
        """End the rows and close the file, for another writer to read."""
        self.end_rows()
        with self._writing():
            self._file.flush()  # while a failure can still be told
        h5_files.close(self._file, self._path)

    def append_from(self, rows: Path) -> None:
        """Append all rows that another writer has put into a file of `apart`."""
        with self._writing(), h5py.File(rows, "r") as file:
            require_self_contained(file, rows)
            self._rows.append_from(file)

    def add_statistics(
        self,
        position: int,
        statistics: Statistics | Sketched,
        output: OutputStatistics,
        *,
        per_token: bool,
        squared_error: Array | None = None,
        blocks: Blocks | None = None,
    ) -> None:
        """Add what a pass has left of the features at a position, beside the output's.

        Args:
            position: in depth.
            statistics: of the features beside the targets.
            output: of the same pass, whose targets are those of every position that has no own.
            per_token: whether every token counts as a sample, with the targets of its sequence:
                the position then has targets of its own.
            squared_error: of the network, (n_targets,), the mean over tokens; only where
                `per_token`, and only where it is known.
            blocks: what is kept of blocks of samples, which have the targets that were added
                before, or own ones where `per_token`; None where there are none.
        """
        where = f"positions/{position:04d}"
        if not per_token:
            statistics = beside_output(statistics, output)
        with self._writing():
            self._group(where).attrs["per_token"] = int(per_token)
            if per_token:
                self._put(f"{where}/own_targets/mean", statistics.target_mean)
                self._put(f"{where}/own_targets/covariance", statistics.target_covariance)
                self._group(where).attrs["n_samples"] = statistics.n_samples
                if squared_error is not None:
                    self._put(f"{where}/own_squared_error", squared_error)
            self._put(f"{where}/mean", statistics.feature_mean)
            self._put(f"{where}/target_covariance", statistics.cross_covariance)
            self._put(f"{where}/variances", statistics.variances)
            if isinstance(statistics, Sketched):
                self._file.attrs["version"] = SKETCH_VERSION
                self._put(f"{where}/test_matrix", statistics.test_matrix)
                self._put(f"{where}/sketch", statistics.sketch)
            else:
                self._put(f"{where}/covariance", statistics.feature_covariance)
                if statistics.norms is not None:
                    self._put(f"{where}/norms", statistics.norms)
            if blocks is not None:
                for name, values in block_datasets.of_blocks(blocks).items():
                    self._put(f"{where}/blocks/{name}", values)
                if per_token:
                    self._put_block_targets(f"{where}/blocks/own_targets", blocks.targets)
        if self._in_memory is not None:
            self._in_memory.add_statistics(
                position,
                statistics,
                output,
                per_token=per_token,
                squared_error=squared_error,
                blocks=blocks,
            )

    def add_unit_features(self, position: int, found: UnitFeatures) -> None:
        """Add the moments of the last layer's features, at its position, scaled to norm 1."""
        with self._writing():
            unit_group.write(found, unit_group.where(position), self._group, self._put)
        if self._in_memory is not None:
            self._in_memory.add_unit_features(position, found)

    def add_cross(self, earlier: int, later: int, values: Array) -> None:
        """Add the cross-covariance (d_i, d_j) of the features at two positions, in order."""
        with self._writing():
            self._put(cross_group.where(earlier, later), values)
        if self._in_memory is not None:
            self._in_memory.add_cross(earlier, later, values)

    def finish(
        self,
        output: OutputStatistics,
        provenance: dict[str, Any],
        epsilon: float,
        product_epsilon: float = DOUBLE,
    ) -> None:
        """Write what is known at the end of the pass, and mark the file complete."""
        self.end_rows()
        with self._writing():
            self._put("targets/mean", output.target_mean)
            self._put("targets/covariance", output.target_covariance)
            if output.predictions is not None:
                self._put("model/squared_error", output.predictions.squared_error)
                self._put("model/prediction_mean", output.predictions.mean)
                self._put("model/prediction_covariance", output.predictions.covariance)
            self._put("provenance", checksum_record.as_bytes(provenance))
            self._file.attrs["n_samples"] = output.n_samples
            self._file.attrs["epsilon"] = epsilon
            if product_epsilon != DOUBLE:
                self._file.attrs["version"] = SKETCH_VERSION
                self._file.attrs["product_epsilon"] = product_epsilon
            if output.predictions is None:
                self._file.attrs["version"] = VERSION
            self._file.attrs["complete"] = 1
            checksum_record.write(self._file, self._sums, self._rows.names, self._put)
            self._file.flush()
        if self._in_memory is not None:
            self._in_memory.finish(output, provenance, epsilon, product_epsilon)

    def add_block_targets(self, targets: Targets) -> None:
        """Add the targets of blocks of samples, which positions share unless they have own ones."""
        with self._writing():
            self._put_block_targets(block_datasets.SHARED, targets)
        if self._in_memory is not None:
            self._in_memory.add_block_targets(targets)

    def _put_block_targets(self, where: str, targets: Targets) -> None:
        for name, values in block_datasets.of_targets(targets).items():
            self._put(f"{where}/{name}", values)

    def _put(self, name: str, values: NDArray[Any]) -> None:
        where, _, leaf = name.rpartition("/")
        chunks = chunk_rows(values, len(values)), *values.shape[1:]
        self._datasets[name] = self._group(where).create_dataset(
            leaf, data=values, chunks=chunks, fletcher32=True
        )
        self._sums[name] = sha256_of(name, values)

    def _group(self, name: str) -> h5py.Group:
        """Return a group, made when it is first asked for."""
        if name not in self._groups:
            self._groups[name] = self._file.require_group(name or "/")
        return self._groups[name]

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, RuntimeError) as error:  # h5py raises either when a write fails
            h5_files.write_nowhere(self._file)
            raise unwritable(self._path, error) from error


@contextmanager
def create(
    path: Path,
    *,
    n_samples: int | None = None,
    force: bool = False,
    compress: bool = False,
    in_memory: KeptInMemory | None = None,
) -> Iterator[Writer]:
    """Write a file that appears under its name only when it is complete.

    Args:
        path: of the file.
        n_samples: how many rows of samples will come, if that is known.
        force: replace an existing file.
        compress: rows of samples.
        in_memory: takes what is written, but for rows of samples.

    Raises:
        UsageError: `path` exists and `force` is not given.
        OutputError: it cannot be written.
    """
    with put_in_place(path, force=force) as partial:
        file: h5py.File | None = None
        try:
            file = h5_files.new(partial, path)
            yield Writer(file, path, n_samples, in_memory, compress=compress)
        except BaseException:
            if file:
                h5_files.abandon(file)
            raise
        h5_files.close(file, path)


@contextmanager
def apart(
    path: Path, rank: int, *, n_samples: int | None, compress: bool = False
) -> Iterator[tuple[Writer, Path]]:
    """Keep rows in a file of their own beside the one that will be theirs, and remove it again.

    Args:
        path: of the file that they will be appended to.
        rank: of the process, among those that torchrun started.
        n_samples: how many rows of samples will come, roughly.
        compress: the rows.

    Raises:
        OutputError: it cannot be written.
    """
    with kept_beside(path, rank) as partial:
        file = h5_files.new(partial, path)
        try:
            yield Writer(file, path, n_samples, None, compress=compress), partial
        finally:
            h5_files.abandon(file)
