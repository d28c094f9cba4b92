"""What is left to do: every checkpoint that is there, less what the cache knows of it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nrcscan.errors import InputError
from nrcscan.options.report_options import ReportOptions
from nrcscan.scanning import fingerprint
from nrcscan.scanning.cache import FOLDER, Cache, Record
from nrcscan.scanning.epoch_from_name import epoch_and_step
from nrcscan.scanning.find_checkpoints import Candidate
from nrcscan.scanning.messages import Outcome, Task
from nrcscan.scanning.scan_file import ScannedCheckpoint


class ScanPlan:
    """The tasks of a scan, and what became of its checkpoints.

    Attributes:
        tasks: one for each content that is not known yet; copies share one.
        measures: whether any of them has to be measured, and not only reported on.
        n_known: how many checkpoints need no task, as an earlier scan had them.
    """

    def __init__(
        self,
        folder: Path,
        candidates: Sequence[Candidate],
        cache: Cache,
        depends_on: Sequence[object],
        judgement: ReportOptions,
    ) -> None:
        self._folder = folder
        self._candidates = candidates
        self._cache = cache
        self._depends_on = depends_on
        self._judged_as = fingerprint.judgement_key(judgement)
        self._outcomes: dict[str, Outcome] = {}
        self._keys: dict[str, str] = {}
        self.tasks: list[Task] = []
        self.measures = False
        self.n_known = 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for candidate, found in zip(
                candidates, pool.map(self._look_up, candidates), strict=True
            ):
                self._add(candidate, found)

    def settle(self, task: Task, outcome: Outcome) -> None:
        """Take in what became of a task."""
        self._outcomes[task.key] = outcome

    @property
    def total(self) -> int:
        """How many checkpoints there are."""
        return len(self._candidates)

    @property
    def n_open(self) -> int:
        """How many checkpoints wait for a task to be done."""
        return sum(self._keys[c.path] not in self._outcomes for c in self._candidates)

    def rows(self) -> tuple[list[ScannedCheckpoint], list[tuple[str, str]]]:
        """Return the checkpoints of the result, and what turned out to be none, with reasons."""
        rows, skipped = [], []
        for candidate in self._candidates:
            key = self._keys[candidate.path]
            outcome = self._outcomes[key]
            if outcome.skipped:
                skipped.append((candidate.path, str(outcome.problem)))
                continue
            rows.append(self._row(candidate, key, outcome))
        return rows, skipped

    def _row(self, candidate: Candidate, key: str, outcome: Outcome) -> ScannedCheckpoint:
        """Return a checkpoint of the result: its own keys tell its time, else its name does."""
        named = epoch_and_step(candidate.path, folder=candidate.is_folder)
        own = (outcome.epoch, outcome.step)
        pairs = list(zip(own, named, strict=True))
        epoch, step = (by_name if kept is None else kept for kept, by_name in pairs)
        unlike = [None if kept in (None, by_name) else by_name for kept, by_name in pairs]
        good = outcome.result is not None
        return ScannedCheckpoint(
            path=candidate.path,
            run=candidate.run,
            epoch=epoch,
            step=step,
            named_epoch=unlike[0],
            named_step=unlike[1],
            reason=outcome.problem,
            statistics=f"{FOLDER}/{self._cache.statistics(key).name}" if good else None,
            data=outcome.data,
            result=outcome.result,
        )

    def _look_up(self, candidate: Candidate) -> tuple[str, str, Record | None] | Outcome:
        """Return a checkpoint's content as a hash, its key, and what is known; or its problem."""
        if candidate.problem is not None:
            return Outcome(candidate.problem)
        try:
            content = fingerprint.of_files([self._folder / name for name in candidate.files])
        except InputError as error:
            return Outcome(str(error).removeprefix(f"{self._folder / candidate.path}: "))
        key = fingerprint.key(content, self._depends_on)
        return content, key, self._cache.load(key)

    def _add(self, candidate: Candidate, found: tuple[str, str, Record | None] | Outcome) -> None:
        if isinstance(found, Outcome):
            self._keys[candidate.path] = candidate.path
            self._outcomes[candidate.path] = found
            return
        content, key, record = found
        self._keys[candidate.path] = key
        result = None if record is None else record.reports.get(self._judged_as)
        if record is not None and result is not None:
            self._outcomes[key] = Outcome(
                epoch=record.epoch, step=record.step, data=record.data, result=result
            )
            self.n_known += 1
        elif all(task.key != key for task in self.tasks):
            self.measures = self.measures or record is None
            one = content if len(candidate.files) == 1 else None
            self.tasks.append(Task(self._folder / candidate.path, key, one))
