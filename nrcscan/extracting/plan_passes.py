"""How often the data is read, and what is added up each time, so that it fits in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import torch

from nrcscan.acts_file.kept_in_memory import TakesActs
from nrcscan.errors import UsageError
from nrcscan.extracting.accumulate import Accumulated
from nrcscan.extracting.check_resources import memory_of_machine
from nrcscan.extracting.cross_sums import CrossSums, refuse_in_turn, require_rows_of_samples
from nrcscan.extracting.plan_blocks import TOO_FEW, BlockPlan, planned, that_fit
from nrcscan.extracting.sample_blocks import WorkerSums, ends, totals, whole_ones
from nrcscan.extracting.unit_sums import UnitSums
from nrcscan.extracting.worker_threads import most_workers
from nrcscan.network.call_plan import CallPlan
from nrcscan.network.forward import Forward
from nrcscan.options.choices import Precision
from nrcscan.options.pass_options import PassOptions
from nrcscan.statistics.blocks import FEWEST
from nrcscan.statistics.moments import BLOCK_ROWS, Array, Moments, Statistics
from nrcscan.statistics.moments_on_gpu import accumulates
from nrcscan.statistics.sketch import Sketch, Sketched, orthonormal, test_matrix
from nrcscan.wording import listed

OPEN_BLOCKS = 2
"""Blocks that a worker has begun and that are not gathered yet, as a rule."""

SHARE = 4
"""More workers than one may take this part of the machine's memory; they only save time."""


class PassPlan:
    """The passes over the data that a plan takes under these settings.

    Attributes:
        run: the network.
        plan: which of its calls are watched.
        settings: the options.
        blocks: into which samples are divided.
        order: the positions that are added up together, pass by pass.
        n_workers: how many batches are worked on at once.
        precision: of the products.

    Raises:
        UsageError: one position alone needs more memory than there is, or all together do whose
            cross-covariances are wanted; or these are of tokens.
    """

    def __init__(
        self,
        run: Forward,
        plan: CallPlan,
        n_targets: int,
        settings: PassOptions,
        total: int | None = None,
    ) -> None:
        self._total = total
        self.run, self.plan, self.settings, self._t = run, plan, settings, n_targets
        self.precision: Precision = settings["precision"]
        if settings["sketch"] is not None and run.dtype.itemsize <= 4:
            self.precision = "float32"  # a sketch is no finer than the features
        self.tests: dict[int, Array] = {}
        if settings["sketch"] is not None:
            self.tests = {p: test_matrix(w, settings["sketch"]) for p, w in enumerate(plan.widths)}
        require_rows_of_samples(settings)
        every = list(range(len(plan.widths)))
        alone = not plan.stateless or run.device.type != "cpu"
        n_workers = 1 if alone else settings["n_workers"] or most_workers()
        asked = settings["blocks"]
        on_gpu = accumulates(run.device)
        self.blocks = BlockPlan.none("")
        self.blocks = that_fit(
            planned(asked, plan.widths, self.tests, total, on_gpu=on_gpu),
            asked,
            self._budget,
            lambda blocks: (
                sum(self.bytes(p) + self._bytes_of_blocks(p, blocks) for p in every)
                + self._bytes_of_cross
            ),
        )
        kept = sum(self._bytes_of_blocks(p, self.blocks) for p in every)
        own = sum(map(self.bytes, every)) - kept + self._bytes_of_cross
        needed = kept + own
        self.n_workers = max(1, min(n_workers, (self._budget - kept) // max(own, 1)))
        groups = [every]
        if needed > self._limit:
            refuse_in_turn(
                settings, len(every), f"{needed / 1e9:.3g} GB at once and {self._allowed}"
            )
            groups = self._grouped(every)
        self.order = [group for group in groups for _ in range(settings["sketch_passes"])]

    @property
    def _limit(self) -> int:
        return self.settings["memory"] or memory_of_machine()

    @property
    def _budget(self) -> int:
        return self.settings["memory"] or memory_of_machine() // SHARE

    @property
    def epsilon(self) -> float:
        """Machine epsilon of the products."""
        return float(np.finfo(self.precision).eps)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the layers that are measured, in execution order."""
        return tuple(record.name for record in self.plan.records)

    @property
    def feature_epsilon(self) -> float:
        """Machine epsilon of the features and of the products in their covariances."""
        return max(float(torch.finfo(self.run.dtype).eps), self.epsilon)

    def bytes(self, position: int) -> int:
        """Return how much memory a position's accumulator takes, at its largest."""
        size = self._size(position)
        blocks = self._bytes_of_blocks(position, self.blocks)
        if position in self.tests:
            columns = self.tests[position].shape[1]
            return 8 * size * (4 * (columns + self._t + 1) + BLOCK_ROWS)
        covariances = 2 if position == self._unit_position else 1
        return covariances * 8 * size * (3 * size + BLOCK_ROWS) + blocks

    def _bytes_of_blocks(self, position: int, blocks: BlockPlan) -> int:
        """Return how much memory a position's blocks take, those that are open counted in."""
        count = blocks.most(self._total) + OPEN_BLOCKS if position in blocks.positions else 0
        return 8 * self._size(position) ** 2 * count

    @property
    def _bytes_of_cross(self) -> int:
        """Return how much memory the covariance of all features side by side takes, if wanted."""
        size = sum(self.plan.widths) + 2
        return 8 * size * (3 * size + BLOCK_ROWS) if self.settings["cross"] else 0

    def _size(self, position: int) -> int:
        return self.plan.widths[position] + self._t + 1

    @property
    def most_blocks(self) -> int:
        """Blocks of samples at which neighbours are merged."""
        return 2 * self.blocks.number

    @property
    def run_of_batches(self) -> int:
        """Batches that a worker takes one after another: two where no block ends between them."""
        within = self.blocks.number and self.blocks.first(self._total) % (2 * self.plan.batch) == 0
        return 2 if within else 1

    def block_ends(self) -> Iterator[int]:
        """Yield the sample after the last of every block."""
        return ends(self.blocks.first(self._total), max(self.blocks.number, 1))

    def accumulators(self, group: Sequence[int]) -> list[WorkerSums]:
        """Return empty sums for a group of positions, one set per worker."""
        own = [p for p in group if p in self.blocks.positions]
        rest = [p for p in group if p not in self.blocks.positions]
        empty = partial(self._accumulator, own) if self.blocks.number else None
        return [
            WorkerSums(self._accumulator(rest, self._units(group), self._cross()), empty)
            for _ in range(self.n_workers)
        ]

    def _accumulator(
        self,
        positions: Sequence[int],
        units: UnitSums | None = None,
        cross: CrossSums | None = None,
    ) -> Accumulated:
        empty = {p: self._empty(p) for p in positions}
        return Accumulated(empty, self._t, self.run.dtype, units, cross)

    def _cross(self) -> CrossSums | None:
        return CrossSums(self.plan.widths) if self.settings["cross"] else None

    @property
    def _unit_position(self) -> int | None:
        """Whose features are taken scaled to norm 1 too: the last layer's, where that is asked."""
        wanted = self.settings["measures"] == "all" and not self.tests  # a sketch is no covariance
        return self.plan.records[-1].position if wanted else None

    def _units(self, group: Sequence[int]) -> UnitSums | None:
        position = self._unit_position
        if position is None or position not in group:
            return None
        return UnitSums(position, self.plan.widths[position])

    def _empty(self, position: int) -> Moments:
        if position in self.tests:
            return Sketch(self.tests[position], self._t, precision=self.precision)
        return Moments(self.plan.widths[position], self._t, precision=self.precision)

    @property
    def _allowed(self) -> str:
        whose = "this machine has" if self.settings["memory"] is None else "--memory allows"
        return f"{whose} {self._limit / 1e9:.3g} GB"

    def _grouped(self, positions: Sequence[int]) -> list[list[int]]:
        """Return positions in groups that fit, in order.

        Raises:
            UsageError: the covariance of one layer alone does not fit into memory.
        """
        groups: list[list[int]] = [[]]
        filled = 0
        for position in positions:
            needed = self.bytes(position)
            if needed > self._limit:
                name = next(r.name for r in self.plan.records if r.position == position)
                raise UsageError(
                    f"the covariances need {needed / 1e9:.3g} GB and {self._allowed}: {name} has"
                    f" {self.plan.widths[position]} features; choose another --pool, leave layers"
                    " out with --exclude, or sketch them with --sketch 64"
                )
            if filled + needed > self._limit and groups[-1]:
                groups.append([])
                filled = 0
            groups[-1].append(position)
            filled += needed
        return groups

    def keep(
        self,
        number: int,
        accumulated: Accumulated,
        blocks: dict[int, Accumulated],
        writer: TakesActs,
    ) -> None:
        """Write what a pass has left, or take from it where the next one looks more closely.

        Args:
            number: of the pass.
            accumulated: of all samples as one; takes the total of the blocks.
            blocks: the sums of blocks of samples.
            writer: takes what is done.

        Raises:
            ValueError: the values' squares overflow float64.
        """
        output = accumulated.output()
        last = (number + 1) % self.settings["sketch_passes"] == 0
        parts = whole_ones(blocks)
        targets = Accumulated.targets(parts) if len(parts) >= FEWEST else None
        if self.blocks.number and targets is None:
            self.blocks = BlockPlan.none(TOO_FEW)
        elif targets is not None and number == 0:
            writer.add_block_targets(targets)
        found = totals(parts, targets, self.plan.per_token)
        accumulated.positions |= {position: total.moments for position, total in found.items()}
        for position in self.order[number]:
            moments = accumulated.positions[position]
            if isinstance(moments, Sketch) and not last:
                self.tests[position] = orthonormal(moments.sketched().sketch)
                continue
            writer.add_statistics(
                position,
                found[position].statistics if position in found else _statistics(moments),
                output,
                per_token=self.plan.per_token[position],
                squared_error=accumulated.token_errors(position),
                blocks=found[position].blocks if position in found else None,
            )

        if (units := accumulated.units) is not None:
            writer.add_unit_features(units.position, units.units.result())
        if (cross := accumulated.cross) is not None:
            for pair, values in cross.result():
                writer.add_cross(*pair, values)

    def announcement(self) -> str | None:
        """Say what is unusual about the passes to come, or None."""
        if len(self.order) == self.settings["sketch_passes"]:
            return None
        groups = self.order[:: self.settings["sketch_passes"]]
        needed = sum(self.bytes(position) for group in groups for position in group)
        sizes = listed(len(group) for group in groups)
        return (
            f"the covariances need {needed / 1e9:.3g} GB at once and {self._limit / 1e9:.3g} GB"
            f" are allowed: {len(self.order)} passes over the data, for {sizes} positions"
        )


def _statistics(moments: Moments) -> Statistics | Sketched:
    return moments.sketched() if isinstance(moments, Sketch) else moments.statistics()
