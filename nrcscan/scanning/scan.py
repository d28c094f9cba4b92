"""A folder scanned, from end to end."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

from nrcscan.cpu_threads import processors
from nrcscan.errors import NothingError, OutputError, UsageError
from nrcscan.files.write_atomically import sweep
from nrcscan.options.check import checked, part
from nrcscan.options.describe import described
from nrcscan.options.option import declared
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.record import anywhere, as_json, code_anywhere
from nrcscan.options.report_options import ReportOptions
from nrcscan.options.scan_options import ScanOptions
from nrcscan.scanning import fingerprint
from nrcscan.scanning.cache import FOLDER, Cache
from nrcscan.scanning.data_source import (
    code_of,
    data_fingerprint,
    data_paths,
    is_code,
    specs_of,
)
from nrcscan.scanning.dispatch import on_cluster, on_this_machine, outcomes, require_address
from nrcscan.scanning.find_checkpoints import find
from nrcscan.scanning.messages import Setup
from nrcscan.scanning.scan_file import Scan
from nrcscan.scanning.scan_plan import ScanPlan
from nrcscan.scanning.source_code import SourceCode, search_path
from nrcscan.scanning.worker_pool import WorkerPool
from nrcscan.wording import reason


@described(ScanOptions, many=True)
def scan(
    folder: str | Path,
    data: Any,
    output: str | Path = "scan",
    *,
    on_note: Callable[[str], None] = lambda note: None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    **options: Unpack[ScanOptions],
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
        on_note: called with every note as it comes up.
        on_progress: called with checkpoints done, and in all, after every one.
        options: those of `nrcscan.extract` and `nrcscan.report`, and of the scan itself; see
            `nrcscan.options.scan_options`.

    Raises:
        NothingError: there is no checkpoint in the folder.
        NrcscanError: the folder, the data, the options or the output cannot be used. What is
            wrong with a single checkpoint is not raised, but told in place of its result.
        TypeError: there is no such option.
    """
    chosen = checked(ScanOptions, options, "scan", many=True)
    settings, judgement = part(PassOptions, chosen), part(ReportOptions, chosen)
    jobs, timeout, cluster = chosen["jobs"], chosen["timeout"], chosen["cluster"]
    _require_usable(settings, jobs, cluster)
    folder, output = Path(folder), Path(output)
    apart = [output, *data_paths(data)]
    found = find(
        folder, patterns=chosen["patterns"], follow_links=chosen["follow_links"], apart=apart
    )
    if not found.candidates:
        raise NothingError(_nothing(folder, found.skipped))
    jobs = jobs or (1 if settings["device"] not in (None, "cpu") else processors())
    jobs = min(jobs, len(found.candidates))
    threads = max(1, processors() // jobs)
    where, sent = folder, Setup(data, settings, judgement, Path(), measures=True)
    if cluster is not None:
        where = folder.resolve()
        sent = replace(sent, data=_anywhere(data), settings=anywhere(PassOptions, settings))
    with _alone(output):
        specs = specs_of(data, settings["factory"])
        cache = Cache(output / FOLDER, SourceCode(search_path(settings, *specs)))
        sweep(cache.folder)
        sent = replace(sent, statistics=cache.folder.resolve())
        bench = WorkerPool(sent, threads)
        try:
            source = data_fingerprint(data, bench.ask)
            passed = fingerprint.of_settings(settings)
            code = code_of(data, settings["factory"])
            made_by = [source["sha256"], code, passed, fingerprint.versions()]
            plan = ScanPlan(where, found.candidates, cache, made_by, judgement)
            total = len(found.candidates)
            if plan.n_known:
                on_note(f"{plan.n_known} of {total} checkpoints are as they were at the last scan")
            on_progress(total - plan.n_open, total)
            if plan.tasks:
                sent = replace(sent, measures=plan.measures)
                bench.prepare(sent)
                pool = (
                    on_this_machine(bench, jobs, timeout)
                    if cluster is None
                    else on_cluster(cluster, sent, timeout)
                )
                with pool as submit:
                    for task, outcome in outcomes(submit, plan.tasks, timeout):
                        plan.settle(task, outcome)
                        on_progress(total - plan.n_open, total)
        finally:
            bench.close()
        rows, no_networks = plan.rows()
        skipped = [*found.skipped, *no_networks]
        if not rows:
            raise NothingError(_nothing(folder, skipped))
        result = Scan(
            folder=folder,
            output=output,
            checkpoints=tuple(rows),
            skipped=dict(skipped),
            provenance={
                "folder": str(folder),
                "data": source,
                "options": passed,
                "report": as_json(judgement),
                "versions": fingerprint.versions(),
            },
            n_known=plan.n_known,
        )
        result.write()
    return result


def _require_usable(settings: PassOptions, jobs: int | None, cluster: str | None) -> None:
    """Refuse options that do not go together, or that other processes cannot be given.

    Raises:
        UsageError: there are such.
    """
    if jobs is not None and cluster is not None:
        raise UsageError("--jobs is for this machine; a --cluster has workers of its own")
    if cluster is not None:
        require_address(cluster)
    values: Mapping[str, Any] = settings
    for name, field in declared(PassOptions).items():
        if field.is_code and callable(values[name]):
            raise UsageError(
                f"the {name} is called in other processes: name it as package.module:callable or"
                " path/file.py:callable"
            )
        try:
            pickle.dumps(values[name])
        except Exception as error:  # whatever the user's own objects raise
            raise UsageError(
                f"{field.flag}: cannot be handed to other processes ({reason(error)}); give plain"
                " values"
            ) from error


def _nothing(folder: Path, skipped: Sequence[tuple[str, str]]) -> str:
    if not skipped:
        return f"{folder}: nothing to scan: the folder is empty"
    reasons = Counter(why for _, why in skipped)
    told = "; ".join(f"{count} × {why}" for why, count in reasons.most_common(4))
    return f"{folder}: nothing to scan: no checkpoint among what is there ({told})"


def _anywhere(data: Any) -> Any:
    """Return where data is, for a program that runs in another folder."""
    if is_code(data):
        return code_anywhere(data)
    paths = [str(path.resolve()) for path in data_paths(data)]
    return paths or data


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
