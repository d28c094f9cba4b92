"""A folder scanned, from end to end."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Literal

from nrcscan.cpu_threads import processors
from nrcscan.errors import NothingError, OutputError, UsageError
from nrcscan.files.write_atomically import sweep
from nrcscan.options.choices import CONVENTIONS, Convention
from nrcscan.options.pass_options import Settings
from nrcscan.options.report_options import Judgement, Thresholds
from nrcscan.scanning import fingerprint
from nrcscan.scanning.cache import FOLDER, Cache
from nrcscan.scanning.data_source import (
    code_of,
    data_fingerprint,
    data_paths,
)
from nrcscan.scanning.dispatch import Workplace, finish, require_address
from nrcscan.scanning.find_checkpoints import find
from nrcscan.scanning.messages import Setup
from nrcscan.scanning.scan_file import Scan
from nrcscan.scanning.scan_plan import ScanPlan
from nrcscan.scanning.source_code import SourceCode, is_code, search_path
from nrcscan.scanning.worker_pool import WorkerPool
from nrcscan.wording import listed


def scan(
    folder: str | Path,
    data: Any,
    output: str | Path = "scan",
    *,
    patterns: Sequence[str] = (),
    follow_links: bool = False,
    jobs: int | None = None,
    timeout: float | None = None,
    cluster: str | None = None,
    signal_dim: int | Literal["t", "auto"] = "t",
    convention: Convention = "default",
    thresholds: Thresholds | None = None,
    on_note: Callable[[str], None] = lambda note: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    **options: Any,
) -> Scan:
    """Measure every checkpoint in a folder, and write what was found to an output folder.

    What an earlier scan into the same output found is taken over, where checkpoint, data and
    options are the same; so an interrupted scan goes on from where it was.

    Args:
        folder: where checkpoints are looked for, in sub-folders too.
        data: the path of a data file or of a folder of `Dataset.save_to_disk`, two paths of `.npy`
            files or of a folder of images and the table of their targets, two arrays, or
            "package.module:callable" or "path/file.py:callable"; see `nrcscan.extract`.
        output: the folder to write to; it is made if it is not there.
        patterns: globs of which a checkpoint's name or relative path must match one.
        follow_links: follow links that lead out of the folder.
        jobs: how many checkpoints are measured at once; by default as many as there are
            processors, and one on a device that is not the CPU.
        timeout: seconds for one checkpoint, after which it is given up.
        cluster: "tcp://host:port" of a Dask scheduler to run on, or "local:N" to start one
            with N workers here. Its workers must find folder, data and output at these paths.
        signal_dim: of the reports, see `nrcscan.report`.
        convention: likewise.
        thresholds: likewise.
        on_note: called with every note as it comes up.
        on_progress: called with checkpoints done, and in all, after every one.
        options: any option of `nrcscan.extract` on the network, the data and the pass.

    Raises:
        NothingError: there is no checkpoint in the folder.
        NrcscanError: the folder, the data, the options or the output cannot be used. What is
            wrong with a single checkpoint is not raised, but told in place of its result.
    """
    settings = _settings(options)
    _require_usable(convention, signal_dim, jobs, timeout, cluster)
    judgement = Judgement(signal_dim, convention, thresholds or Thresholds())
    folder, output = Path(folder), Path(output)
    apart = [output, *data_paths(data)]
    found = find(folder, patterns=patterns, follow_links=follow_links, apart=apart)
    if not found.candidates:
        raise NothingError(_nothing(folder, found.skipped))
    jobs = min(jobs or _usual_jobs(settings), len(found.candidates))
    workplace = Workplace(jobs, timeout, cluster)
    setup = Setup(data, settings, judgement, output / FOLDER, measures=True)
    with _alone(output):
        known = Cache(setup.statistics, SourceCode(search_path(data, settings)))
        sweep(known.folder)
        pool = WorkerPool(_sent(setup, workplace), max(1, processors() // jobs))
        try:
            provenance = _provenance(folder, setup, data_fingerprint(data, pool.ask))
            where = folder if cluster is None else folder.resolve()
            plan = ScanPlan(where, found.candidates, known, _made_by(setup, provenance), judgement)
            if plan.n_known:
                total = len(found.candidates)
                on_note(f"{plan.n_known} of {total} checkpoints are as they were at the last scan")
            setup = replace(setup, measures=plan.measures)
            finish(plan, pool, _sent(setup, workplace), workplace, on_progress)
        finally:
            pool.close()
        rows, no_networks = plan.rows()
        skipped = [*found.skipped, *no_networks]
        if not rows:
            raise NothingError(_nothing(folder, skipped))
        result = Scan(folder, output, tuple(rows), dict(skipped), provenance, plan.n_known)
        result.write()
    return result


def _usual_jobs(settings: Settings) -> int:
    """Return how many checkpoints are measured at once: a device other than the CPU takes one."""
    return processors() if settings.device in (None, "cpu") else 1


def _sent(setup: Setup, workplace: Workplace) -> Setup:
    """Return what is sent to workers: with paths that hold wherever they run."""
    setup = replace(setup, statistics=setup.statistics.resolve())
    if workplace.cluster is None:
        return setup
    return replace(setup, data=_anywhere(setup.data), settings=_settings_anywhere(setup.settings))


def _provenance(folder: Path, setup: Setup, source: dict[str, Any]) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "data": source,
        "options": fingerprint.of_settings(setup.settings),
        "report": asdict(setup.judgement),
        "versions": fingerprint.versions(),
    }


def _made_by(setup: Setup, provenance: Mapping[str, Any]) -> list[object]:
    """Return all that statistics depend on, beside the checkpoint and the code that is imported."""
    code = code_of(setup.data, setup.settings.factory)
    told = [provenance[name] for name in ("options", "versions")]
    return [provenance["data"]["sha256"], code, *told]


def _settings(options: dict[str, Any]) -> Settings:
    """Return the options of the passes.

    Raises:
        UsageError: a value is out of range, or cannot be handed to another process.
    """
    unknown = sorted(set(options) - {field.name for field in fields(Settings)})
    if unknown:
        raise TypeError(f"scan() takes no argument {listed(unknown)}")
    # A single lane, so that the numbers do not depend on how many jobs share the cores.
    given = {"activations": False, "lanes": 1, **options}
    settings = Settings(**{**given, "device": given.get("device") or "cpu"})
    if settings.factory is not None and not isinstance(settings.factory, str):
        raise UsageError(
            "the factory is called in other processes: name it as package.module:callable or"
            " path/file.py:callable"
        )
    return settings


def _require_usable(
    convention: str,
    signal_dim: int | str,
    jobs: int | None,
    timeout: float | None,
    cluster: str | None,
) -> None:
    if convention not in CONVENTIONS:
        raise UsageError(f"--convention {convention}: choose one of {listed(CONVENTIONS)}")
    if signal_dim not in ("t", "auto") and not (isinstance(signal_dim, int) and signal_dim > 0):
        raise UsageError(f"--signal-dim {signal_dim}: give t, auto or a number from 1 up")
    if jobs is not None and jobs < 1:
        raise UsageError(f"--jobs {jobs}: give at least 1")
    if jobs is not None and cluster is not None:
        raise UsageError("--jobs is for this machine; a --cluster has workers of its own")
    if cluster is not None:
        require_address(cluster)
    if timeout is not None and not timeout > 0:
        raise UsageError(f"--timeout {timeout:g}: give seconds, more than 0")


def _nothing(folder: Path, skipped: Sequence[tuple[str, str]]) -> str:
    if not skipped:
        return f"{folder}: nothing to scan: the folder is empty"
    reasons = Counter(why for _, why in skipped)
    told = "; ".join(f"{count} × {why}" for why, count in reasons.most_common(4))
    return f"{folder}: nothing to scan: no checkpoint among what is there ({told})"


def _anywhere(data: Any) -> Any:
    """Return where data is, for a program that runs in another folder."""
    if is_code(data):
        return _code_anywhere(data)
    paths = [str(path.resolve()) for path in data_paths(data)]
    return paths or data


def _settings_anywhere(settings: Settings) -> Settings:
    def path(given: str | Path | None) -> str | None:
        return None if given is None else str(Path(given).resolve())

    factory = settings.factory
    return replace(
        settings,
        factory=_code_anywhere(factory) if isinstance(factory, str) else factory,
        scales=path(settings.scales),
        pythonpath=path(settings.pythonpath),
    )


def _code_anywhere(spec: str) -> str:
    where, _, name = spec.rpartition(":")
    return f"{Path(where).resolve()}:{name}" if where.endswith(".py") else spec


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Make the output folder, and keep other scans out of it.

    Raises:
        UsageError: it is a file, or another scan writes there.
        OutputError: it cannot be written to.
    """
    if output.exists() and not output.is_dir():
        raise UsageError(f"{output}: is a file; give a folder with -o")
    made = not output.exists()
    try:
        (output / FOLDER).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(output, os.O_RDONLY)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot be written: {error.strerror}; choose another place with -o"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"{output}: another scan is writing there; wait for it, or choose another -o"
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)
        if made:  # what stayed empty goes again
            with suppress(OSError):
                (output / FOLDER).rmdir()
                output.rmdir()
