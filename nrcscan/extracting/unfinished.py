"""An extraction that can be killed at any moment, and goes on from what it has kept.

What is kept are the rows of samples, what passes that have ended have added up, and of the pass
under way the sums of every worker as they are between two batches. They go on from there, with
the same batches in the same hands: so the file is the same, bit for bit, as if nothing had been.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from nrcscan.acts_file import writing
from nrcscan.errors import InputError, UsageError
from nrcscan.extracting.accumulate import STATE_CLASSES
from nrcscan.extracting.add_up import Part, RowStore
from nrcscan.extracting.kept_files import KeptFiles
from nrcscan.extracting.resumed_alike import differences
from nrcscan.extracting.sample_blocks import BlockSums, WorkerSums
from nrcscan.extracting.work_on_batch import NumberedBatch, Taken
from nrcscan.statistics.saved_state import read_state, write_state
from nrcscan.wording import listed, reason

EVERY = 30.0
"""Seconds of work that a kill loses at most, beside the batches in hand."""

SHARE = 20
"""Saving takes no more than this part of the time."""


class Unfinished:
    """What is kept of an extraction until it has ended.

    Args:
        output: the file that is to be written.
        alike: what an extraction must have to go on with what is kept.
        device: where the network runs.
        n_passes: over the data.
        total: how many samples there are, if that is known.

    Attributes:
        files: that it is kept in.
        rows: takes the rows of samples, in the first pass.
    """

    def __init__(
        self,
        output: Path,
        alike: dict[str, Any],
        device: torch.device,
        n_passes: int,
        total: int | None,
    ) -> None:
        self._output, self._device = output, device
        self._n_passes, self._total = n_passes, total
        self.files = KeptFiles(output, alike)
        self.rows: RowShards | None = None
        self._due = time.monotonic() + EVERY
        self._seen: str | None = None

    def begin(self, note: Callable[[str], None], *, force: bool) -> None:
        """Go on with what is there, or begin anew.

        Args:
            note: told which of both it is, where something is there.
            force: begin anew where what is there is of another extraction.

        Raises:
            UsageError: what is kept is of another extraction.
            InputError: it cannot be read, as the operating system says.
            OutputError: the folder cannot be made, or written to.
        """
        where = self.files.folder
        try:
            found = self.files.there()
        except ValueError as error:
            note(f"what {where} keeps is damaged ({reason(error)}): beginning anew")
            found = None
        if found is not None and (apart := differences(found.alike, self.files.list.alike)):
            if not force:
                raise UsageError(
                    f"{self._output}: {where} keeps another extraction, unfinished:"
                    f" {listed(apart)}; go on as that was begun, or begin anew with --force"
                )
            note(f"{where} keeps another extraction, unfinished: beginning anew")
            found = None
        self.files.go_on(found)
        if self.told is not None:
            note(f"going on after {self.told}, which {where} keeps")

    @property
    def told(self) -> str | None:
        """How much is kept, in words; None for nothing."""
        ended, done = self.n_ended, self.done
        samples = f"{done} of {self._total} samples" if self._total else f"{done} samples"
        if ended == self._n_passes:
            return "all samples"
        if ended and done:
            return f"{ended} of {self._n_passes} passes, and {samples} of the next"
        if ended:
            return f"{ended} of {self._n_passes} passes"
        return samples if done else None

    def explain(self, error: BaseException) -> None:
        """Have an error, or an interruption, tell what is kept."""
        if self.told is not None:
            error.add_note(
                f"{self.told} are kept in {self.files.folder}: the same command goes on from there"
            )

    # --- what is kept ------------------------------------------------------------------------

    @property
    def n_ended(self) -> int:
        """How many passes have ended."""
        return len(self.files.list.passes)

    @property
    def done(self) -> int:
        """Samples that are done in the pass under way."""
        return self.files.list.done

    @property
    def batches(self) -> int:
        """Batches that these came in."""
        return self.files.list.batches

    @property
    def seen(self) -> str | None:
        """A hash of these samples; None where their file's tells that they are the same."""
        return self.files.list.seen

    @property
    def most(self) -> int | None:
        """Samples that memory has room for at once; None for as many as a batch has."""
        return self.files.list.most

    def ended(self, number: int) -> Part | None:
        """Return what a pass has added up; None if it has not ended."""
        if number >= self.n_ended:
            return None
        kept = self._state(self.files.list.passes[number])
        rows = self.row_files if number == 0 else []
        return Part(kept["whole"], kept["blocks"], [], kept["n_samples"], rows)

    def restore(self, sums: Sequence[WorkerSums], blocks: BlockSums) -> int | None:
        """Have sums as they were; return the block of the last sample, or None for none."""
        if self.files.list.sums is None:
            return None
        kept = self._state(self.files.list.sums)
        for one, state in zip(sums, kept["workers"], strict=True):
            one.restore(state)
        blocks.restore(kept["blocks"])
        return self.files.list.block

    @property
    def row_files(self) -> list[Path]:
        """The files of rows, in order."""
        return [self.files.folder / name for name, _ in self.files.list.rows]

    def _state(self, file: Sequence[str]) -> Any:
        """Return what a file of sums holds.

        Raises:
            InputError: another program has changed what an unfinished extraction keeps.
        """
        path = self.files.folder / file[0]
        try:
            return read_state(path, STATE_CLASSES, self._device)
        except (ValueError, OSError) as error:
            raise InputError(
                f"{path}: damaged ({reason(error)}); remove {self.files.folder} to begin anew"
            ) from error

    # --- keeping it --------------------------------------------------------------------------

    def stretches(self, batches: Iterator[NumberedBatch]) -> Iterator[Iterator[NumberedBatch]]:
        """Yield batches in stretches; at the end of each it is time to save."""
        ended = False

        def stretch() -> Iterator[NumberedBatch]:
            nonlocal ended
            for batch in batches:
                self._seen = batch.seen
                yield batch
                if time.monotonic() >= self._due:
                    return
            ended = True

        while not ended:
            yield stretch()

    def save(
        self,
        sums: Sequence[WorkerSums],
        blocks: BlockSums,
        block: int,
        done: int,
        batches: int,
        most: int | None,
    ) -> None:
        """Keep what a pass has come to, while no worker is at work; see `KeptList`.

        Raises:
            OutputError: it cannot be written.
        """
        if done == self.done:
            return
        begun = time.monotonic()
        if self.rows is not None:
            self.rows.cut()
        state = {"workers": [one.state for one in sums], "blocks": blocks.state}
        files = self.files
        written = files.write("sums", lambda path: write_state(path, state, STATE_CLASSES))
        files.flush(
            sums=written, done=done, batches=batches, block=block, seen=self._seen, most=most
        )
        now = time.monotonic()
        self._due = now + max(EVERY, SHARE * (now - begun))

    def end_pass(self, part: Part) -> None:
        """Keep what a pass has added up, before anything is made of it.

        Raises:
            OutputError: it cannot be written.
        """
        state = {"whole": part.accumulated, "blocks": part.blocks, "n_samples": part.n_samples}
        files = self.files
        written = files.write("pass", lambda path: write_state(path, state, STATE_CLASSES))
        passes = [*files.list.passes, written]
        files.flush(passes=passes, sums=None, done=0, batches=0, block=0, seen=None)


class RowShards(RowStore):
    """Takes the rows of samples into files of their own, for the output to be made of at the end.

    Args:
        kept: where they are.
        features: whether features are stored, not targets alone.
        compress: them.
    """

    def __init__(self, kept: Unfinished, *, features: bool, compress: bool) -> None:
        super().__init__(None, features=False)
        self.features = features
        self._kept, self._compress = kept, compress
        self._open = ExitStack()
        self._path: Path | None = None

    def __enter__(self) -> RowShards:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def take(self, taken: Taken) -> None:
        """Take what is left of the next batch."""
        if self._path is None:
            self._path = self._kept.files.new("rows")
            made = writing.create(
                self._path,
                n_samples=len(taken.y),  # a chunk takes its place on disk, however full it is
                force=True,
                compress=self._compress,
            )
            self._writer = self._open.enter_context(made)
        super().take(taken)

    def cut(self) -> None:
        """Have what was taken so far be a file, on disk.

        Raises:
            OutputError: it cannot be written.
        """
        if self._path is None:
            return
        path, self._path = self._path, None
        if isinstance(self._writer, writing.Writer):
            self._writer.end_rows()
        self._open.close()
        self._kept.files.list.rows.append(self._kept.files.hashed(path))

    def end(self) -> list[Path]:
        """Return all files, in order."""
        self.cut()
        return self._kept.row_files
