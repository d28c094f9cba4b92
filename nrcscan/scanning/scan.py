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
from nrcscan.errors import InputError, NothingError, OutputError, UsageError
from nrcscan.files.claims import sweep
from nrcscan.files.untouched import Untouched
from nrcscan.files.write_atomically import require_folder
from nrcscan.inputs.check_first import is_code, require_there
from nrcscan.options.check import checked, part
from nrcscan.options.describe import described
from nrcscan.options.effect import require_effect
from nrcscan.options.faces import heard, names_keywords
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
)
from nrcscan.scanning.dispatch import Workplace, finish, require_address
from nrcscan.scanning.find_checkpoints import Found, find
from nrcscan.scanning.messages import DataQuestion, Died, Setup, TookTooLong
from nrcscan.scanning.scan_file import Scan, require_own
from nrcscan.scanning.scan_plan import ScanPlan
from nrcscan.scanning.source_code import SourceCode, search_path
from nrcscan.scanning.worker_pool import WorkerPool
from nrcscan.wording import reason


@names_keywords
@described(ScanOptions, many=True)
def scan(
    folder: str | Path,
    data: Any,
    output: str | Path = "scan",
    *,
    on_note: Callable[[str], None] | None = None,
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
        on_note: called with every note as it comes up; by default the logger `nrcscan` shows it.
        on_progress: called with checkpoints done, and in all, after every one.
        options: those of `nrcscan.extract` and `nrcscan.report`, and of the scan itself; see
            `nrcscan.options.scan_options`.

    Raises:
        NothingError: there is no checkpoint in the folder.
        NrcscanError: the folder, the data, the options or the output cannot be used. What is
            wrong with a single checkpoint is not raised, but told in place of its result.
        TypeError: there is no such option.
    """
    chosen, note = checked(ScanOptions, options, "scan", many=True), heard(on_note)
    settings, judgement = part(PassOptions, chosen), part(ReportOptions, chosen)
    _require_usable(data, settings, chosen["cluster"])
    folder, output = Path(folder), Path(output)
    found = _found(folder, [output, *data_paths(data)], chosen)
    workplace = _workplace(chosen, len(found.candidates))
    setup = Setup(data, settings, judgement, output / FOLDER, True, _within(chosen))
    with _alone(output):
        known = Cache(setup.statistics, SourceCode(search_path(data, settings)))
        sweep(known.folder)
        pool = WorkerPool(_sent(setup, workplace), max(1, processors() // workplace.jobs))
        try:
            provenance = _provenance(folder, setup, _known_data(data, pool, folder, found, chosen))
            where = folder if workplace.cluster is None else folder.resolve()
            plan = ScanPlan(where, found.candidates, known, _made_by(setup, provenance), setup)
            for line in plan.known():
                note(line)
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
    result.tell(note)
    return result


def _found(folder: Path, apart: Sequence[Path], chosen: ScanOptions) -> Found:
    """Return what is in a folder, which has to be something."""
    found = find(
        folder, patterns=chosen["patterns"], follow_links=chosen["follow_links"], apart=apart
    )
    if not found.candidates:
        raise NothingError(_nothing(folder, found.skipped))
    return found


def _within(chosen: ScanOptions) -> float | None:
    """Return how far above the network's error a cut may be; None where none are looked at.

    Raises:
        UsageError: that is given, and none are.
    """
    field = declared(ScanOptions)["within"]
    if chosen["cuts"]:
        return chosen["within"]
    given = {field.flag: chosen["within"] != field.default}
    require_effect(given, "without --cuts", "give both, or neither")
    return None


def _known_data(
    data: Any, pool: WorkerPool, folder: Path, found: Found, chosen: ScanOptions
) -> dict[str, Any]:
    """Return what data is known by; a worker that has to read it runs the user's code first.

    Raises:
        InputError: that code wrote to a checkpoint, or reading ends a worker, or takes longer than
            --timeout.
    """
    timeout = chosen["timeout"]

    def ask(question: DataQuestion) -> Any:
        try:
            return pool.ask(question, timeout)
        except TookTooLong as error:
            raise InputError(
                f"reading the data took longer than --timeout {timeout:g}; give more time, or see"
                " what it waits for"
            ) from error
        except Died as error:
            raise InputError(
                f"a worker {error} as it read the data; try one checkpoint with nrcscan extract"
            ) from error

    names = [] if data_paths(data) else [name for one in found.candidates for name in one.files]
    checkpoints = Untouched(folder / name for name in names)
    source = data_fingerprint(data, ask)
    checkpoints.check()
    return source


def _workplace(chosen: ScanOptions, n_checkpoints: int) -> Workplace:
    """Return where checkpoints are measured; a device other than the CPU takes one at a time."""
    usual = processors() if chosen["device"] in (None, "cpu") else 1
    jobs = min(chosen["jobs"] or usual, n_checkpoints)
    return Workplace(jobs, chosen["timeout"], chosen["cluster"])


def _sent(setup: Setup, workplace: Workplace) -> Setup:
    """Return what is sent to workers: with paths that hold wherever they run."""
    setup = replace(setup, statistics=setup.statistics.resolve())
    if workplace.cluster is None:
        return setup
    settings = anywhere(PassOptions, setup.settings)
    return replace(setup, data=_anywhere(setup.data), settings=settings)


def _provenance(folder: Path, setup: Setup, source: dict[str, Any]) -> dict[str, Any]:
    return {
        "folder": str(folder),
        "data": source,
        "options": fingerprint.of_settings(setup.settings),
        "report": as_json(setup.judgement),
        "versions": fingerprint.versions(),
    }


def _made_by(setup: Setup, provenance: Mapping[str, Any]) -> list[object]:
    """Return all that statistics depend on, beside the checkpoint and the code that is imported."""
    code = code_of(setup.data, setup.settings["factory"])
    told = [provenance[name] for name in ("options", "versions")]
    return [provenance["data"]["sha256"], code, *told]


def _require_usable(data: Any, settings: PassOptions, cluster: str | None) -> None:
    """Refuse options that processes cannot be given, or that lead nowhere.

    Raises:
        UsageError: a value is of one process alone.
        InputError: a file that they name cannot be read.
    """
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
    require_there(None, data, settings)


def _nothing(folder: Path, skipped: Sequence[tuple[str, str]]) -> str:
    if not skipped:
        return f"{folder}: nothing to scan: the folder is empty; name the folder of the checkpoints"
    reasons = Counter(why for _, why in skipped)
    told = "; ".join(f"{count} × {why}" for why, count in reasons.most_common(4))
    return (
        f"{folder}: nothing to scan: no checkpoint among what is there ({told});"
        " name the folder of the checkpoints, or what they are called with --pattern"
    )


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
        UsageError: a scan writes into a folder of its own, alone.
        OutputError: the folder of the output cannot be made or written to.
    """
    require_folder(output)
    require_own(output)
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
