"""All runs on a few processes, each on one thread; what is done already is not done again."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

from nrcscan.files.write_atomically import write_text
from reproduction.plan import Run

Document = dict[str, Any]

SECONDS_PER_EPOCH = {"mlp": 0.02, "convolutional": 0.3, "resnet18": 1.2}
"""About what an epoch takes: the bar's time left alone is made from it."""

MEASURING = 5.0
"""About how many seconds it takes to measure the checkpoints of a run; likewise."""

POLLED = 0.5
"""Seconds between two looks at how far the processes are."""

_work_done: Synchronized[float] | None = None


def run_all(
    runs: Sequence[Run],
    folder: Path,
    *,
    processes: int = 2,
    on_run: Callable[[Document], None] = lambda result: None,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> dict[str, Document]:
    """Train and measure all runs, and return what was found, by name.

    Args:
        runs: what to do.
        folder: where everything is left; what an earlier call has left there counts as done.
        processes: how many work on it.
        on_run: called with every result, as soon as it is there.
        on_progress: called with seconds of work done, about, and in all.
    """
    found = {run.name: result for run in runs if (result := _kept(run, folder)) is not None}
    left = [run for run in runs if run.name not in found]
    for result in found.values():
        on_run(result)
    total = sum(map(expected_seconds, runs))
    before = total - sum(map(expected_seconds, left))
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    done = context.Value("d", before)
    with _OneThread(), ProcessPoolExecutor(processes, context, _begin, (done,)) as pool:
        waited: dict[Future[Document], Run] = {pool.submit(do, run, folder): run for run in left}
        try:
            while waited:
                ready, _ = wait(waited, timeout=POLLED, return_when=FIRST_COMPLETED)
                on_progress(round(done.value), round(total))
                for future in ready:
                    result = future.result()
                    found[waited.pop(future).name] = result
                    on_run(result)
        except BaseException:
            for process in multiprocessing.active_children():
                process.terminate()  # else they would first do what they have been given
            raise
    return {run.name: found[run.name] for run in runs}


def expected_seconds(run: Run) -> float:
    """Return about how long a run takes."""
    return SECONDS_PER_EPOCH[run.network] * run.epochs + MEASURING


def do(run: Run, folder: Path) -> Document:
    """Train and measure one run, and return what was found, as `README.md` describes it.

    What is left in the folder, and complete, is taken from there.
    """
    from reproduction.measuring import measured
    from reproduction.sample_sets import samples

    result = _kept(run, folder)
    if result is not None:
        return result
    data, place = samples(run.data), folder / run.name
    trained = train_once(run, folder)
    share = MEASURING / len(run.checkpoints)
    begun = time.process_time()
    found = measured(run, data, place, lambda done: _advance(share))
    seconds = {
        "training": round(trained["seconds"], 1),
        "measuring": round(time.process_time() - begun, 1),
    }
    result = {"run": described(run), "curve": trained["curve"], **found, "seconds": seconds}
    _write(place / "result.json", result)
    return result


def train_once(run: Run, folder: Path) -> Document:
    """Train one run unless its checkpoints are there; return `curve` and `seconds`."""
    from reproduction.sample_sets import samples
    from reproduction.training import saved_in, set_up, train

    place = folder / run.name
    trained = _read(place / "trained.json", run)
    share = SECONDS_PER_EPOCH[run.network]
    if trained is not None:
        _advance(share * run.epochs)
        return trained
    set_up()
    place.mkdir(parents=True, exist_ok=True)
    begun = time.process_time()
    curve = train(run, samples(run.data), saved_in(place), lambda epoch: _advance(share))
    rounded = [[epoch, float(f"{mse:.6g}"), float(f"{test:.6g}")] for epoch, mse, test in curve]
    trained = {
        "run": described(run),
        "curve": rounded,
        "seconds": time.process_time() - begun,
    }
    _write(place / "trained.json", trained)
    return trained


def described(run: Run) -> Document:
    """Return every field of a run as JSON has it, its name first."""
    fields = {"name": run.name, **asdict(run)}
    return {**fields, "checkpoints": list(run.checkpoints)}


def _kept(run: Run, folder: Path) -> Document | None:
    return _read(folder / run.name / "result.json", run)


def _read(path: Path, run: Run) -> Document | None:
    """Return a document of this very run; None where there is none."""
    if not path.is_file():
        return None
    found: Document = json.loads(path.read_text(encoding="utf-8"))
    return found if found["run"] == described(run) else None


def _write(path: Path, document: Document) -> None:
    """Write a document whole, or not at all."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    write_text(path, text + "\n")


# --- in each process --------------------------------------------------------------------------


class _OneThread:
    """Processes started in here compute on one thread each: libraries read it as they load."""

    NAMES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in self.NAMES}
        os.environ.update(dict.fromkeys(self.NAMES, "1"))

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin(done: Synchronized[float]) -> None:
    """Get a process ready, which tells how far it is through `done`."""
    global _work_done
    _work_done = done
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the first one has ended, however that came about."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _advance(seconds: float) -> None:
    """Tell that so many seconds of expected work are done."""
    if _work_done is not None:
        with _work_done.get_lock():
            _work_done.value += seconds
