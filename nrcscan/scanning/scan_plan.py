"""What is left to do: every checkpoint that is there, less what the cache knows of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from nrcscan.errors import InputError
from nrcscan.network.guess import Guess
from nrcscan.scanning import fingerprint
from nrcscan.scanning.cache import FOLDER, Cache, Record
from nrcscan.scanning.epoch_from_name import NO_TIME, epoch_and_step
from nrcscan.scanning.find_checkpoints import Candidate
from nrcscan.scanning.messages import Inference, Outcome, Setup, Task
from nrcscan.scanning.scan_file import ScannedCheckpoint
from nrcscan.scanning.settle_inference import agreed
from nrcscan.wording import listed


class ScanPlan:
    """The tasks of a scan, and what became of its checkpoints.

    Attributes:
        tasks: what is to be done next: one for each content that is not known yet; copies share
            one. Then, see `go_on`, what that has shown to be done once more.
        measures: whether any of them has to be measured, and not only reported on.
        n_known: how many checkpoints need no task, as an earlier scan had them.
    """

    def __init__(
        self,
        folder: Path,
        candidates: Sequence[Candidate],
        cache: Cache,
        depends_on: Sequence[object],
        setup: Setup,
    ) -> None:
        self._folder = folder
        self._candidates = candidates
        self._cache = cache
        self._depends_on = depends_on
        self._judged_as = fingerprint.judgement_key(setup.judgement, setup.within)
        self._outcomes: dict[str, Outcome] = {}
        self._keys: dict[str, str] = {}
        self._content: dict[str, str] = {}
        self._inferences: dict[str, Inference] = {}
        self._notes: dict[str, str] = {}
        self._agreed = False
        self.tasks: list[Task] = []
        self.measures = False
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for candidate, found in zip(
                candidates, pool.map(self._look_up, candidates), strict=True
            ):
                self._add(candidate, found)
        if not self.measures:
            self._agree()
        known = [self._outcomes.get(key) for key in self._keys.values()]
        self.n_known = sum(one is not None and one.result is not None for one in known)

    def settle(self, task: Task, outcome: Outcome) -> None:
        """Take in what became of a task."""
        self._outcomes[task.key] = outcome
        if outcome.inference is not None and task.guess is None:
            self._inferences[task.key] = outcome.inference

    def go_on(self) -> None:
        """Have what the tasks that are done have shown to be done next, if there is anything."""
        self.tasks = []
        self._agree()

    def known(self) -> Iterator[str]:
        """Yield how much an earlier scan had found, if anything."""
        if self.n_known:
            yield f"{self.n_known} of {self.total} checkpoints are as they were at the last scan"

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
        in_folder = candidate.is_folder or candidate.moment is not None
        named = epoch_and_step(candidate.moment or candidate.path, folder=in_folder)
        if candidate.is_further:
            named = NO_TIME
        own = (outcome.epoch, outcome.step)
        pairs = list(zip(own, named, strict=True))
        epoch, step = (by_name if kept is None else kept for kept, by_name in pairs)
        unlike = [None if kept in (None, by_name) else by_name for kept, by_name in pairs]
        good = outcome.result is not None
        own_note = self._notes.get(candidate.path)
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
            notes=(*(outcome.result or {}).get("notes", ()), *([own_note] if own_note else [])),
        )

    def _look_up(self, candidate: Candidate) -> tuple[str, str, Record | None] | Outcome:
        """Return a checkpoint's content as a hash, its key, and what is known; or its problem."""
        if candidate.problem is not None:
            return Outcome(candidate.problem)
        files = [self._folder / name for name in candidate.files]
        try:  # that a part is missing, whoever opens it says
            content = fingerprint.of_files([file for file in files if file.exists()] or files)
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
        self._keys[candidate.path], self._content[candidate.path] = key, content
        if record is not None and record.inferred is not None:
            self._inferences[key] = record.inferred
        self._do(candidate, key, record)

    def _do(
        self, candidate: Candidate, key: str, record: Record | None, guess: Guess | None = None
    ) -> None:
        """Take a checkpoint's outcome from its record, or have what it lacks done."""
        result = None if record is None else record.reports.get(self._judged_as)
        if record is not None and result is not None:
            self._outcomes[key] = Outcome(
                epoch=record.epoch, step=record.step, data=record.data, result=result
            )
        elif all(task.key != key for task in self.tasks):
            self.measures = self.measures or record is None
            one = self._content[candidate.path] if len(candidate.files) == 1 else None
            self.tasks.append(Task(self._folder / candidate.path, key, one, guess))

    def _agree(self) -> None:
        """Have the checkpoints of a run inferred as one network, once all are looked at."""
        if self._agreed:
            return
        self._agreed = True
        runs: dict[tuple[str, str], dict[str, Inference]] = {}
        for candidate in self._candidates:
            own = self._inferences.get(self._keys[candidate.path])
            if own is not None:
                run = runs.setdefault((candidate.run, own.architecture), {})
                run[candidate.path] = own
        settled = {path: guess for run in runs.values() for path, guess in agreed(run).items()}
        self._note_unlike(runs.values(), settled)
        for candidate in self._candidates:
            own = self._inferences.get(self._keys[candidate.path])
            guess = settled.get(candidate.path)
            if own is None or guess is None or guess == own.best:
                continue
            key = fingerprint.key(self._content[candidate.path], [*self._depends_on, guess])
            self._keys[candidate.path] = key
            if key not in self._outcomes:
                self._do(candidate, key, self._cache.load(key), guess)
        wanted = set(self._keys.values())
        self.tasks = [task for task in self.tasks if task.key in wanted]

    def _note_unlike(
        self, runs: Iterable[Mapping[str, Inference]], settled: Mapping[str, Guess]
    ) -> None:
        """Note where checkpoints of a run are inferred as different networks."""
        for run in runs:
            found = dict.fromkeys(settled[path] for path in run)
            for path in run if len(found) > 1 else ():
                others = listed(one for one in found if one != settled[path])
                self._notes[path] = (
                    f"DOUBTFUL RUN: inferred with {settled[path]}, where other checkpoints"
                    f" beside it are with {others}: these are different networks, or --activation"
                    " is to be given"
                )
