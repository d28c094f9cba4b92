"""Everything that decides what a pass measures, as one value: for one checkpoint or for many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrcscan.errors import UsageError
from nrcscan.options.choices import DTYPES, POOLS, PRECISIONS, DType, Pool, Precision
from nrcscan.wording import listed

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The options of `nrcscan.extract`, which describes them.

    Raises:
        UsageError: a value is out of range.
    """

    factory: str | Callable[..., nn.Module] | None = None
    factory_args: Mapping[str, Any] = field(default_factory=dict)
    state_key: str | None = None
    trust: bool = False
    pythonpath: str | Path | None = None
    activation: str = "relu"
    x_key: str | None = None
    y_key: str | None = None
    targets: Sequence[str] = ()
    n_targets: int | None = None
    images: str | None = None
    standardize: Sequence[str] = ()
    scales: str | Path | None = None
    layers: Sequence[str] = ()
    exclude: Sequence[str] = ()
    pool: Pool = "mean"
    output_key: str | None = None
    output_slice: str | None = None
    activations: bool = True
    compress: bool = False
    precision: Precision = "float64"
    sketch: int | None = None
    sketch_passes: int = 1
    memory: int | None = None
    batches_at_once: int | None = None
    """Batches that are worked on side by side; None for one per core. It decides the last bits."""
    batch_size: int | None = None
    limit: int | None = None
    offset: int = 0
    device: str | None = None
    dtype: DType | None = None

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size < 1:
            raise UsageError(f"--batch-size {self.batch_size}: give at least 1")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"--limit {self.limit}: give at least 1")
        if self.offset < 0:
            raise UsageError(f"--offset {self.offset}: give at least 0")
        if self.pool not in POOLS:
            raise UsageError(f"--pool {self.pool}: choose one of {listed(POOLS)}")
        if self.precision not in PRECISIONS:
            raise UsageError(f"--precision {self.precision}: choose one of {listed(PRECISIONS)}")
        if self.sketch is not None and self.sketch < 1:
            raise UsageError(f"--sketch {self.sketch}: give at least 1")
        if self.sketch_passes not in (1, 2):
            raise UsageError(f"--sketch-passes {self.sketch_passes}: give 1 or 2")
        if self.sketch_passes == 2 and self.sketch is None:
            raise UsageError("--sketch-passes goes with --sketch RANK")
        if self.memory is not None and self.memory < 1:
            raise UsageError(f"--memory {self.memory}: give at least 1 byte")
        if self.dtype not in (None, *DTYPES):
            raise UsageError(f"--dtype {self.dtype}: choose one of {listed(DTYPES)}")
        if self.scales is not None and not self.standardize:
            raise UsageError("--scales goes with --standardize x, y or x,y")
