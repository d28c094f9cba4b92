"""Worker processes of this machine: lent one at a time, replaced when they die, ended in time."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import Pipe
from typing import Any

from nrcscan.errors import InputError, OutputError
from nrcscan.files import memory_left
from nrcscan.files.budgets import told
from nrcscan.scanning.messages import DataQuestion, Died, Outcome, Setup, Task, TookTooLong

# Not multiprocessing's own start methods: those import the caller's script once more, and what
# the network's code prints would come out on the terminal.
_CODE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from nrcscan.scanning.worker_process import serve; serve(int(sys.argv[2]))"
)


STARTING = 60
"""Seconds that it may take to start Python and torch, which no file can help."""

TICK = 0.5
"""Seconds between two looks at a worker's memory."""


class Process:
    """A worker's process; made ready by `start`."""

    def __init__(self, threads: int) -> None:
        self._connection, theirs = Pipe()
        path = json.dumps([entry for entry in sys.path if entry])
        environment = {
            "OMP_NUM_THREADS": str(threads),
            # Threads that wait for work by spinning make a small network twice as slow, and a
            # second pool of threads beside them makes it slower yet.
            "OMP_WAIT_POLICY": "PASSIVE",
            "OPENBLAS_NUM_THREADS": "1",
            # Memory of one checkpoint serves the next, instead of going back to the system.
            "MALLOC_MMAP_THRESHOLD_": str(1 << 28),
            "MALLOC_TRIM_THRESHOLD_": str(1 << 29),
            **os.environ,
        }
        with theirs:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-c", _CODE, path, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the scan, which then ends its workers
            )

    def ask(self, question: Any, timeout: float | None = None) -> Any:
        """Return the answer to a message.

        Raises:
            Died: the process ended first, or was ended as memory ran out; the message says how.
            TookTooLong: it did not answer in `timeout` seconds, and was ended.
        """
        try:
            self._connection.send(question)
            self._wait(timeout)
            return self._connection.recv()
        except (OSError, EOFError) as error:
            raise Died(self._last_words()) from error

    def _wait(self, timeout: float | None) -> None:
        """Wait for an answer; end the process that takes too long for it, or all memory."""
        due = math.inf if timeout is None else time.monotonic() + timeout
        while not self._connection.poll(max(0, min(TICK, due - time.monotonic()))):
            if time.monotonic() >= due:
                self.end()
                raise TookTooLong
            held = memory_left.held_by(self._popen.pid)
            if held is not None and (bound := memory_left.over(held)) is not None:
                self.end()
                raise Died(f"held {told(held)} of memory, and {bound}: it was ended")

    def end(self) -> None:
        """End the process at once, and whatever waits for its answer."""
        self._popen.kill()
        self._popen.wait()

    def close(self) -> None:
        """End the process and its connection."""
        self.end()
        self._connection.close()

    def _last_words(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            code = self._popen.wait(timeout=5)
            if code == -9:
                return "was killed (signal 9): out of memory?"
            return f"died of signal {-code}" if code < 0 else f"ended with exit code {code}"
        self.end()
        return "hung up"


class WorkerPool:
    """The workers of a scan on this machine. Any number of threads may have them do tasks."""

    def __init__(self, setup: Setup, threads: int) -> None:
        self._setup = setup
        self._threads = threads
        self._lock = threading.Lock()
        self._idle: list[Process] = []
        self._all: set[Process] = set()
        self._closed = False

    def ask(self, question: Task | DataQuestion, timeout: float | None = None) -> Any:
        """Return a worker's answer: a checkpoint's outcome, or the data's SHA-256.

        Args:
            question: what to do.
            timeout: seconds for it, and for getting ready to.

        Raises:
            Died: the worker died of it.
            TookTooLong: it was ended.
            OutputError: what was found cannot be written.
            NrcscanError: the data cannot be opened, or the network's factory not be found.
        """
        process = self._ready(timeout)
        try:
            answer = process.ask(question, timeout)
        except BaseException:
            self._discard(process)
            raise
        with self._lock:
            self._idle.append(process)
        if isinstance(answer, OutputError):
            what = str(answer).partition("; ")[0]
            raise OutputError(f"{what}; mend that: the same command goes on from what is done")
        return answer

    def prepare(self, setup: Setup) -> None:
        """Have workers that start from now on be set up like this."""
        self._setup = setup

    @property
    def at_rest(self) -> bool:
        """Whether no worker has anything to do."""
        with self._lock:
            return len(self._idle) == len(self._all)

    def close(self) -> None:
        """End all workers, also those at work."""
        with self._lock:
            self._closed = True
            processes = list(self._all)
        for process in processes:
            process.end()

    def _ready(self, timeout: float | None) -> Process:
        """Return a worker that waits for a task.

        Raises:
            InputError: opening the data, or importing the network's code, ends a worker, or takes
                longer than --timeout.
            NrcscanError: a worker cannot open them.
        """
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self._closed:
                raise Died("is not needed any more")
            process = Process(self._threads)
            self._all.add(process)
        try:
            refusal = process.ask(self._setup, timeout and timeout + STARTING)
        except TookTooLong as error:
            self._discard(process)
            raise InputError(
                f"a worker took longer than --timeout {timeout:g}, and {STARTING} seconds to start,"
                " to open the data and the network's code; give more time, or see what it waits for"
            ) from error
        except Died as error:
            self._discard(process)
            raise InputError(
                f"a worker {error} as it opened the data and the network's code; try one"
                " checkpoint with nrcscan extract"
            ) from error
        if refusal is not None:
            self._discard(process)
            raise refusal
        return process

    def _discard(self, process: Process) -> None:
        with self._lock:
            self._all.discard(process)
        process.close()


_pools: dict[bytes, WorkerPool] = {}
_pools_lock = threading.Lock()


def do_anywhere(setup: bytes, task: Task, timeout: float | None) -> Outcome:
    """Do a task on whatever machine this runs, with workers that stay for the next one."""
    with _pools_lock:
        pool = _pools.get(setup)
        if pool is None:
            for other in [other for other, pool in _pools.items() if pool.at_rest]:
                _pools.pop(other).close()
            pool = _pools[setup] = WorkerPool(pickle.loads(setup), threads=1)
    outcome: Outcome = pool.ask(task, timeout)
    return outcome
