"""Fails and kills nrcscan at every system call that touches what it writes, and counts outcomes.

`make crash` runs it all, which takes a while; a test runs a little of it. It wants strace, which
makes the N-th such call of a process fail, or has the process killed as it makes it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from forked import Forked

ROOT = Path(__file__).parent.parent
SWIMMER = ROOT / "fixtures" / "swimmer"

CALLS = {
    "openat": ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EACCES"),
    "write": ("EIO", "ENOSPC", "EDQUOT"),
    "pwrite64": ("EIO", "ENOSPC"),
    "ftruncate": ("EIO", "ENOSPC"),
    "fsync": ("EIO", "ENOSPC"),
    "close": ("EIO", "ENOSPC"),
    "mkdir": ("EACCES", "ENOSPC"),
    "link": ("EIO", "EXDEV", "EACCES", "EPERM"),
    "rename": ("EIO", "EXDEV", "EACCES", "ENOSPC"),
    "unlink": ("EIO",),
}
"""System call → what it is made to fail with, beside being killed."""

KILL = "KILL"

_CHILD = """
import ctypes, os, signal, sys
import h5py
os.kill(os.getpid(), signal.SIGSTOP)
from nrcscan.cli.app import main
if "--resume" in sys.argv:  # kept after every batch
    from nrcscan.extracting import unfinished
    unfinished.EVERY = unfinished.SHARE = 0
try:
    main()
except SystemExit as ended:
    code = ended.code
sys.stdout.flush()
ctypes.CDLL(h5py.h5.__file__).H5close()  # what HDF5 does at the end, and a fork would leave out
sys.exit(code)
"""


_PREPARE = """
import sys
import nrcscan
model, data, first, second, both = sys.argv[1:]
for output, offset, limit in ((first, 0, 100), (second, 100, 100), (both, 0, 200)):
    nrcscan.extract(model, data, output, offset=offset, limit=limit, activations=False)
"""


@dataclass(frozen=True)
class Command:
    """What is tried.

    Attributes:
        words: of the command line; the output comes last.
        output: what it writes, a file or a folder, in a folder of its own.
        same: says whether two outputs are the same.
    """

    words: tuple[str, ...]
    output: str
    same: Callable[[Path, Path], bool]


@dataclass(frozen=True)
class Fault:
    """What happens to the n-th call of its name, in each thread."""

    call: str
    number: int
    what: str

    def __str__(self) -> str:
        return f"{self.what} at {self.call} {self.number}"


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, negative for a signal, and what it said."""

    code: int
    said: str


def same_bytes(one: Path, other: Path) -> bool:
    """Say whether two files are the same."""
    return one.read_bytes() == other.read_bytes()


def same_acts(one: Path, other: Path) -> bool:
    """Say whether two statistics files hold the same, but for when they were made."""

    def held(path: Path) -> dict[str, object]:
        found: dict[str, object] = {}

        def keep(name: str, value: h5py.Dataset | h5py.Group) -> None:
            found[name] = {key: str(value.attrs[key]) for key in value.attrs}
            if isinstance(value, h5py.Dataset) and name not in ("provenance", "checksums"):
                found[name] = (found[name], np.asarray(value).tobytes())

        with h5py.File(path, "r") as file:
            file.visititems(keep)
            found[""] = {key: str(file.attrs[key]) for key in file.attrs if key != "checksums"}
        return found

    try:
        return held(one) == held(other)
    except (OSError, RuntimeError):
        return False


def same_but_for_when(one: Path, other: Path) -> bool:
    """Say whether two statistics files hold the same, and tell the same of how they were made."""

    def told(path: Path) -> dict[str, object]:
        with h5py.File(path, "r") as file:
            return {**json.loads(bytes(file["provenance"][:])), "created": None}

    return same_acts(one, other) and told(one) == told(other)


def same_scan(one: Path, other: Path) -> bool:
    """Say whether two scans found the same."""
    return all(same_bytes(one / name, other / name) for name in ("scan.json", "scan.csv"))


def commands(work: Path) -> dict[str, Command]:
    """Return what is tried, with inputs that are there or made in `work`."""
    model, data = str(SWIMMER / "wd0.01" / "epoch_600.pt"), str(SWIMMER / "data.npz")
    runs, acts = work / "runs", work / "acts.h5"
    runs.mkdir()
    for epoch in (100, 600):
        shutil.copy(SWIMMER / "wd0.01" / f"epoch_{epoch}.pt", runs)
    parts = [str(work / "part0.h5"), str(work / "part1.h5")]
    made = subprocess.run(
        [sys.executable, "-c", _PREPARE, model, data, *parts, str(acts)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    small = ("--limit", "200", "--no-activations")
    return {
        "extract": Command(("extract", model, data, *small, "-o"), "acts.h5", same_acts),
        "resume": Command(
            (
                *("extract", model, data, "--limit", "140", "--batch-size", "70"),
                *("--layers", "layers.0", "--layers", "layers.14", "--resume", "-o"),
            ),
            "acts.h5",
            same_but_for_when,
        ),
        "merge": Command(("merge", *parts, "-o"), "acts.h5", same_acts),
        "report": Command(("report", str(acts), "--format", "json", "-o"), "r.json", same_bytes),
        "page": Command(("page", str(acts), "-o"), "page.html", same_bytes),
        "scan": Command(("scan", str(runs), data, *small, "--jobs", "1", "-o"), "scan", same_scan),
    }


def run(
    words: Sequence[str], cwd: Path, strace: Sequence[str] = (), seconds: float | None = None
) -> Ended:
    """Run a command line in a process forked off this one.

    It is watched by strace if that is given, and killed after so many seconds.
    """
    with (cwd / "said").open("wb") as said:
        child = Forked(
            [sys.executable, "-c", _CHILD, *words],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env={**os.environ, "RANK": "0"},
        )
    os.waitpid(child.pid, os.WUNTRACED)
    watcher = None
    if strace:
        watcher = subprocess.Popen(["strace", *strace, "-p", str(child.pid)])
        status = Path(f"/proc/{child.pid}/status")
        while watcher.poll() is None and "TracerPid:\t0\n" in status.read_text():
            time.sleep(0.005)
    os.kill(child.pid, signal.SIGCONT)
    if seconds is not None:
        with suppress(subprocess.TimeoutExpired):
            child.wait(seconds)
        child.kill()
    code = child.wait()
    if watcher is not None:
        watcher.wait()
    return Ended(code, (cwd / "said").read_text())


class Trials:
    """A command, tried with one fault after the other.

    Attributes:
        outcomes: how often what came of it.
        wrong: what should not have been.
    """

    def __init__(self, name: str, command: Command, work: Path, *, replaced: bool) -> None:
        self._command = command
        self._replaced = replaced
        self._folder = work / (f"{name}-force" if replaced else name)
        self._reference = self._folder / "reference"
        self._out = self._folder / "out"
        self._log = self._folder / "calls"
        self._reference.mkdir(parents=True)
        self.outcomes: Counter[str] = Counter()
        self.wrong: list[str] = []
        ended = run([*command.words, str(self._reference / command.output)], self._folder)
        assert ended.code == 0, ended.said

    @property
    def _output(self) -> Path:
        return self._out / self._command.output

    def faults(self, kinds: Sequence[str]) -> list[Fault]:
        """Return every fault there can be: calls are counted in a run that nothing happens to."""
        self._anew()
        watch = ["-f", "-qq", "-y", "-o", str(self._log), "-e", f"trace={','.join(CALLS)}"]
        ended = run(self._words(), self._folder, watch)
        assert ended.code == 0, ended.said
        seen: Counter[tuple[str, str]] = Counter()
        found: dict[tuple[str, int], None] = {}
        for line in self._log.read_text(errors="replace").splitlines():
            called = re.match(r"(\d+) +(\w+)\((.*)", line)
            if called is None or called[2] not in CALLS:
                continue
            seen[called[1], called[2]] += 1
            there = str(self._out) in called[3] or called[2] == "fsync"
            if there and not (called[2] in ("openat", "close") and _only_reads(line)):
                found[called[2], seen[called[1], called[2]]] = None
        return [
            Fault(call, number, what)
            for call, number in found
            for what in (KILL, *CALLS[call])
            if what in kinds or (not kinds)
        ]

    def try_(self, fault: Fault) -> None:
        """Run the command with a fault, and see what is left."""
        self._anew()
        happens = "signal=KILL" if fault.what == KILL else f"error={fault.what}"
        inject = f"inject={fault.call}:{happens}:when={fault.number}"
        watch = ["-f", "-qq", "-y", "-o", str(self._log), "-e", f"trace={fault.call}", "-e", inject]
        ended = run(self._words(), self._folder, watch)
        failed = re.findall(r"^.*\(INJECTED\)$", self._log.read_text(errors="replace"), re.M)
        if fault.what != KILL and not any(str(self._out) in line for line in failed):
            self.outcomes["another file's call failed"] += 1  # Python imported more, or less
            return
        outcome, wrong = self._outcome(ended, killed=fault.what == KILL)
        self.outcomes[outcome] += 1
        if not wrong and "--resume" in self._command.words:
            wrong = self._gone_on()
        elif not wrong and fault.what == KILL:
            wrong = self._after_kill()
        if wrong:
            told = ended.said.strip().splitlines()[-1:] or [""]
            self.wrong.append(f"{fault}: {wrong}: exit code {ended.code}: {told[0][:300]}")

    def try_moments(self, count: int, seed: int) -> None:
        """Kill the command at so many random moments, and have it go on after every second one."""
        rng = random.Random(seed)
        begun = time.monotonic()
        run(self._words(), self._folder)
        took = time.monotonic() - begun
        for number in range(count):
            if number % 2 == 0 or self._state() == "whole":
                self._anew()
            ended = run(self._words(), self._folder, seconds=rng.uniform(0, took))
            outcome, wrong = self._outcome(ended, killed=True)
            self.outcomes[f"at a random moment: {outcome}"] += 1
            if not wrong and number % 2:
                wrong = self._gone_on()
            if wrong:
                self.wrong.append(f"moment {number} of seed {seed}: {wrong}")

    def _words(self) -> list[str]:
        scan = self._command.words[0] == "scan"
        force = ["--force"] if self._replaced and not scan else []
        return [*self._command.words, str(self._output), *force]

    def _anew(self) -> None:
        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir()
        if self._replaced and self._reference.joinpath(self._command.output).is_file():
            self._output.write_bytes(b"\x89HDF of before")

    def _outcome(self, ended: Ended, *, killed: bool) -> tuple[str, str]:
        """Return what came of a run, and what is wrong with that."""
        state = self._state()
        if killed and ended.code == 3 and self._tells_of_a_worker():
            return "a worker killed, which the scan tells", ""
        if state == "partial":
            return "partial", "what is under the final name is not whole"
        if state == "nothing" and self._replaced and self._command.words[0] != "scan":
            return "lost", "what was there before is gone"
        if killed:
            if ended.code == -signal.SIGKILL:
                return f"killed, {state}", ""
            if ended.code == 0 and state == "whole":
                return "not killed itself, whole", ""
        if "Traceback" in ended.said:
            return "traceback", "a traceback"
        if ended.code == 0:
            if state == "whole":
                return "no matter, whole", ""
            return "silent", "exit code 0 without a result"
        if ended.code != 3:
            return f"exit code {ended.code}", "a wrong exit code"
        told = [line for line in ended.said.splitlines() if line.startswith("error: ")]
        if len(told) != 1:
            return "silent", "not one message"
        explained = "is written and whole" in told[0] or "stdout cannot" in told[0]
        if state == "whole" and not explained:
            return "unexplained", "a whole file is there, and the message does not say so"
        left = [entry.name for entry in self._out.rglob(".*")]
        if any(name.endswith(".part") for name in left):
            return "litter", f"{left} is left"
        return f"one message, {state}", ""

    def _state(self) -> str:
        found, reference = self._output, self._reference / self._command.output
        if not found.exists() or (found.is_dir() and not (found / "scan.json").exists()):
            return "nothing"
        if found.is_file() and found.read_bytes() == b"\x89HDF of before":
            return "as before"
        return "whole" if self._command.same(found, reference) else "partial"

    def _gone_on(self) -> str:
        """Run the very same command again, undisturbed, and say what is wrong with what it leaves.

        Where the file had got its name, it is there already.
        """
        if self._state() == "whole":
            return self._after_kill()
        ended = run(self._words(), self._folder)
        if ended.code != 0:
            return f"cannot be gone on with: {ended.said[:300]}"
        if self._state() != "whole":
            return "gone on with, it comes to something else"
        left = [entry.name for entry in self._out.rglob(".*")]
        return f"gone on with, it leaves {left}" if left else ""

    def _tells_of_a_worker(self) -> bool:
        """Say whether a whole scan is there, and has a checkpoint that its worker died of."""
        if self._command.words[0] != "scan" or not (self._output / "scan.json").exists():
            return False
        found, reference = (
            json.loads((folder / "scan.json").read_text())["checkpoints"]
            for folder in (self._output, self._reference / self._command.output)
        )
        others = [row for row in found if row["status"] == "error"]
        return (
            [row["path"] for row in found] == [row["path"] for row in reference]
            and len(others) > 0
            and all(f"killed (signal {signal.SIGKILL:d})" in row["reason"] for row in others)
        )

    def _after_kill(self) -> str:
        """Run the command again, undisturbed, and say what is wrong with what it leaves."""
        scan = self._command.words[0] == "scan"
        again = [*self._command.words, str(self._output), *([] if scan else ["--force"])]
        ended = run(again, self._folder)
        if ended.code != 0:
            return f"cannot be run again: {ended.said[:300]}"
        if self._state() != "whole":
            return "run again, it finds something else"
        if left := [entry.name for entry in self._out.rglob(".*")]:
            return f"run again, it leaves {left}"
        return ""


def _only_reads(line: str) -> bool:
    """Say whether a file was opened, or a folder, to read it."""
    return "openat(" in line and "O_CREAT" not in line and "O_DIRECTORY" in line


def trials(
    names: Sequence[str], kinds: Sequence[str], every: int, moments: int
) -> Iterator[tuple[str, Trials]]:
    """Yield every command with what came of its faults, of which each `every`-th is tried.

    What can be gone on with is killed at so many random moments too.
    """
    work = Path(tempfile.mkdtemp(prefix="crash-"))
    try:
        known = commands(work)
        for name in names or known:
            for replaced in (False, True):
                if replaced and name == "scan":
                    continue
                tried = Trials(name, known[name], work, replaced=replaced)
                for fault in tried.faults(kinds)[::every]:
                    tried.try_(fault)
                    print(f"{name}: {fault}: {sum(tried.outcomes.values())}", file=sys.stderr)
                if name == "resume":
                    tried.try_moments(moments // 2, seed=int(replaced))
                yield f"{name} over a file" if replaced else name, tried
    finally:
        with suppress(OSError):
            shutil.rmtree(work)


def main() -> None:
    """Print a line of counts for every command, and every lost or wrong result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="extract, resume, merge, …; else all")
    parser.add_argument("--kinds", nargs="*", default=[], help="KILL, EIO, …; else all")
    parser.add_argument("--every", type=int, default=1, help="try each N-th fault alone")
    parser.add_argument("--moments", type=int, default=400, help="random ones to kill resume at")
    given = parser.parse_args()
    # What is imported here is there in every process that is forked off.
    import nrcscan.cli.app
    import nrcscan.merging.merge
    import nrcscan.publishing.make_page

    with_torch = {"extract", "resume", "scan"}
    if not given.names or with_torch & {*given.names}:
        import nrcscan.extracting.run_pass
        import nrcscan.scanning.worker_process  # noqa: F401
    subprocess.Popen = Forked  # type: ignore[misc,assignment]  # a scan's workers are forked too
    wrong = 0
    for name, tried in trials(given.names, given.kinds, given.every, given.moments):
        n = sum(tried.outcomes.values())
        print(f"{name}: {n} faults: {dict(sorted(tried.outcomes.items()))}", flush=True)
        for line in tried.wrong:
            print(f"  WRONG {line}", flush=True)
        wrong += len(tried.wrong)
    print(f"lost or wrong: {wrong}")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
