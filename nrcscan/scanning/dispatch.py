"""Has workers do the tasks of a scan: on this machine, or on a Dask cluster."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from nrcscan.errors import InputError, NrcscanError, UsageError
from nrcscan.extras import to_install
from nrcscan.scanning.messages import Died, Outcome, Setup, Task, TookTooLong
from nrcscan.scanning.scan_plan import ScanPlan
from nrcscan.scanning.worker_pool import WorkerPool, do_anywhere
from nrcscan.wording import reason

PATIENCE = 10
"""Seconds that a scheduler has to answer."""

Submit = Callable[[Task], "Future[Outcome]"]


@dataclass(frozen=True)
class Workplace:
    """Where the tasks of a scan are done.

    Attributes:
        jobs: how many at once on this machine.
        timeout: seconds for each, or None.
        cluster: the address of a Dask scheduler, or "local:N"; None for this machine.
    """

    jobs: int
    timeout: float | None
    cluster: str | None


def finish(
    plan: ScanPlan,
    pool: WorkerPool,
    setup: Setup,
    workplace: Workplace,
    on_progress: Callable[[int, int], None],
) -> None:
    """Have all tasks of a plan done.

    Args:
        plan: takes in what becomes of them.
        pool: the workers of this machine.
        setup: of the workers.
        workplace: where they work.
        on_progress: called with checkpoints done, and in all, at first and after every one.

    Raises:
        NrcscanError: the scheduler or all of its workers have ended.
    """
    done = plan.total - plan.n_open
    on_progress(done, plan.total)
    if not plan.tasks:
        return
    timeout = workplace.timeout
    pool.prepare(setup)
    with (
        on_this_machine(pool, workplace.jobs, timeout)
        if workplace.cluster is None
        else on_cluster(workplace.cluster, setup, timeout)
    ) as submit:
        while plan.tasks:
            for task, outcome in outcomes(submit, plan.tasks, timeout):
                plan.settle(task, outcome)
                done = max(done, plan.total - plan.n_open)  # what is done once more was done
                on_progress(done, plan.total)
            plan.go_on()


@contextmanager
def on_this_machine(pool: WorkerPool, jobs: int, timeout: float | None) -> Iterator[Submit]:
    """Yield what has a task done here, `jobs` of them at once."""
    executor = ThreadPoolExecutor(jobs)  # of threads that wait for processes
    try:
        yield lambda task: executor.submit(pool.ask, task, timeout)
    finally:
        pool.close()
        executor.shutdown(cancel_futures=True)


def require_address(where: str) -> None:
    """Refuse what is neither the address of a scheduler nor "local:N".

    Raises:
        UsageError: the cluster is named as local:N or by its address, and this is neither.
    """
    kind, _, rest = where.partition(":")
    if kind == "local" and not (rest.isdecimal() and int(rest) > 0):
        raise UsageError(f"--cluster {where}: write local:N, such as local:4")
    if kind not in ("local", "tcp", "tls", "ws", "wss", "ucx"):
        raise UsageError(f"--cluster {where}: write tcp://host:port, or local:4 to start one here")


@contextmanager
def on_cluster(where: str, setup: Setup, timeout: float | None) -> Iterator[Submit]:
    """Yield what has a task done on a Dask cluster.

    Args:
        where: the address of a scheduler, or "local:N" to start one with N workers.
        setup: of the workers.
        timeout: seconds for a task.

    Raises:
        UsageError: distributed is not installed.
        InputError: the scheduler does not answer.
    """
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise UsageError(
            f"--cluster {where}: needs distributed; {to_install('cluster')}"
        ) from error
    kind, _, rest = where.partition(":")
    cluster: Any = None
    client: Any = None
    try:
        try:
            if kind == "local":
                cluster = LocalCluster(
                    n_workers=int(rest),
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",  # any port that is free
                    silence_logs=logging.ERROR,
                )
            client = Client(cluster or where, timeout=PATIENCE, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(
                f"--cluster {where}: no scheduler answers ({reason(error)}); start one with"
                " dask scheduler"
            ) from error
        executor = client.get_executor(pure=False)
        sent = pickle.dumps(setup)
        yield lambda task: executor.submit(do_anywhere, sent, task, timeout)
    finally:
        for open_ in (client, cluster):
            if open_ is not None:
                open_.close()


def outcomes(
    submit: Submit, tasks: Sequence[Task], timeout: float | None
) -> Iterator[tuple[Task, Outcome]]:
    """Yield what becomes of every task, as they are done.

    A task whose worker dies may be innocent: memory runs out when several work at once. It is
    tried once more at the end, alone.

    Raises:
        NrcscanError: the scheduler or all of its workers have ended.
    """
    waiting = {submit(task): task for task in tasks}
    died: list[Task] = []
    for future in as_completed(waiting):
        outcome = _outcome(future, timeout)
        if isinstance(outcome, Died):
            died.append(waiting[future])
        else:
            yield waiting[future], outcome
    for task in died:
        outcome = _outcome(submit(task), timeout)
        if isinstance(outcome, Died):
            outcome = Outcome(f"its worker {outcome}, also when it was tried again, alone")
        yield task, outcome


def _outcome(future: Future[Outcome], timeout: float | None) -> Outcome | Died:
    try:
        return future.result()
    except Died as error:
        return error
    except TookTooLong:
        return Outcome(f"took longer than --timeout {timeout:g}: given up")
    except NrcscanError:
        raise
    except CancelledError as error:
        raise InputError(
            "the cluster is gone; run the same command again, which goes on from what is done"
        ) from error
    except Exception as error:  # a cluster fails in its own ways
        return Outcome(f"the cluster failed: {type(error).__name__}: {reason(error)}")
