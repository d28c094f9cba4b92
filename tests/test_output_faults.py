"""What is written is whole or not there, whatever fails, whoever is killed, whoever else writes."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import crash
import pytest
import torch
from conftest import Run, mlp, samples

import nrcscan
from nrcscan.errors import NrcscanError, OutputError, UsageError
from nrcscan.files import claims
from nrcscan.files.write_atomically import put_in_place, require_free, write_bytes
from nrcscan.files.write_together import put_together

ERRORS = (
    *(errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EXDEV),
    *(errno.ENOENT, errno.EPERM, errno.EINVAL),
)
CALLS = ("open", "fsync", "link", "replace", "mkdir", "unlink")
NEW, OLD = b"new" * 1000, b"old"


class Killed(BaseException):
    """Stands for kill -9: nothing that the program would still do is done."""


class Faults:
    """Has the n-th call to the operating system fail, or everything from it on not happen."""

    def __init__(self, patch: pytest.MonkeyPatch, number: int, fault: int | type[Killed]) -> None:
        self._left, self._fault = number, fault
        self.failed: str | None = None
        self.opened: set[int] = set()
        for name in CALLS:
            patch.setattr(os, name, self._failing(name, getattr(os, name)))
        patch.setattr(Path, "write_bytes", lambda path, content: self._half_written(path, content))
        patch.setattr(fcntl, "flock", self._failing("flock", fcntl.flock))

    def _failing(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **options: Any) -> Any:
            self._count(name)
            done = call(*args, **options)
            if name == "open":
                self.opened.add(done)
            return done

        return made

    def _count(self, name: str) -> None:
        if self.failed is not None and self._fault is Killed:
            raise Killed
        self._left -= 1
        if self._left:
            return
        self.failed = name
        if isinstance(self._fault, int):
            raise OSError(self._fault, os.strerror(self._fault))
        raise Killed

    def _half_written(self, path: Path, content: bytes) -> None:
        half = len(content) // 2
        with path.open("wb") as file:
            file.write(content[:half])
            file.flush()
            self._count("write")
            file.write(content[half:])


def one_file(folder: Path, *, force: bool) -> list[Path]:
    write_bytes(folder / "a", NEW, force=force)
    return [folder / "a"]


def two_files(folder: Path, *, force: bool) -> list[Path]:
    paths = [folder / "a", folder / "b"]
    with put_together(paths, force=force) as partial:
        for path in paths:
            try:
                (partial / path.name).write_bytes(NEW)
            except OSError as error:
                raise OutputError(str(error)) from error
    return paths


@contextmanager
def nth_fault(number: int, fault: int | type[Killed]) -> Iterator[Faults]:
    with pytest.MonkeyPatch.context() as patch:
        faults = Faults(patch, number, fault)
        with suppress(Killed):
            yield faults
    if fault is Killed:
        for descriptor in faults.opened:  # as the operating system does for a program that ends
            with suppress(OSError):
                os.close(descriptor)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("write", [one_file, two_files])
@pytest.mark.parametrize("fault", ERRORS, ids=os.strerror)
def test_every_call_that_fails_is_one_message_and_nothing_partial(
    tmp_path: Path, write: Callable[..., list[Path]], fault: int, force: bool
) -> None:
    names = ["a"] if write is one_file else ["a", "b"]
    before = dict.fromkeys(names, OLD) if force else {}
    after = dict.fromkeys(names, NEW)
    for number in range(1, 100):
        for path in tmp_path.iterdir():
            path.unlink() if path.is_file() else shutil.rmtree(path)
        for name, content in before.items():
            (tmp_path / name).write_bytes(content)
        told = None
        with nth_fault(number, fault) as faults:
            try:
                write(tmp_path, force=force)
            except NrcscanError as error:
                told = error
        found = contents_of_visible(tmp_path)
        if told is None or "is written and whole" in str(told):
            assert found == after
        else:
            assert found == before, (number, faults.failed, told)
            assert isinstance(told, OutputError | UsageError)
        # A fault in what tidies up is no matter, and leaves what it leaves.
        if faults.failed != "unlink" and not (faults.failed == "open" and told is None):
            assert not hidden(tmp_path), (number, faults.failed)
        if faults.failed is None:
            assert number > 6
            return
    pytest.fail("it never ended")


def contents_of_visible(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name[0] == "."]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("write", [one_file, two_files])
def test_killed_at_every_call_it_leaves_nothing_that_the_next_write_does_not_sweep(
    tmp_path: Path, write: Callable[..., list[Path]], force: bool
) -> None:
    swept = 0
    for number in range(1, 100):
        for path in tmp_path.iterdir():
            path.unlink() if path.is_file() else shutil.rmtree(path)
        for name in ("a", "b") if force else ():
            (tmp_path / name).write_bytes(OLD)
        with nth_fault(number, Killed) as faults:
            write(tmp_path, force=force)
        found = contents_of_visible(tmp_path)
        assert set(found.values()) <= {OLD, NEW}
        assert set(found) == {"a", "b"} or not force  # at no moment is there nothing
        swept += bool(hidden(tmp_path))
        write(tmp_path, force=True)
        assert hidden(tmp_path) == []
        if faults.failed is None:
            break
    assert swept > 3


KILLED = """
import os, sys
from pathlib import Path
from nrcscan.files.write_atomically import put_in_place
with put_in_place(Path(sys.argv[1]), force=False) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_program_left_is_swept_and_what_a_living_one_writes_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.h5"
    assert subprocess.run([sys.executable, "-c", KILLED, path], check=False).returncode == -9
    assert len(hidden(tmp_path)) == 2
    (other := tmp_path / ".b.h5.0123abcd.part").write_text("of another output")
    with put_in_place(path, force=False) as partial:
        partial.write_text("half")
        assert sorted(hidden(tmp_path)) == sorted([".a.h5.lock", partial.name, other.name])
        refused = r"a\.h5: another program is writing it; wait for it, or choose another -o"
        with pytest.raises(UsageError, match=refused):
            write_bytes(path, b"x", force=True)
        assert partial.read_text() == "half"
    assert path.read_text() == "half"
    assert hidden(tmp_path) == [other.name]


def test_ranks_keep_what_they_write_beside_the_first(tmp_path: Path) -> None:
    own = claims.of_rank(tmp_path / "a.h5", 1)
    with claims.claimed(own):
        (living := claims.beside(own)).touch()
        (dead := claims.beside(claims.of_rank(tmp_path / "a.h5", 2))).touch()
        (tmp_path / ".a.h5.lock").touch()
        write_bytes(tmp_path / "a.h5", b"x", force=False)
        assert living.exists()
        assert not dead.exists()


def test_where_there_are_no_locks_the_file_of_a_claim_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write_bytes(tmp_path / "a", b"x", force=False)
    (tmp_path / ".a.lock").touch()
    with pytest.raises(UsageError, match="was killed as it did; if there is none, remove"):
        write_bytes(tmp_path / "a", b"y", force=True)
    assert (tmp_path / "a").read_bytes() == b"x"


def raced(path: Path, *, force: bool) -> dict[int, str]:
    """Have two threads write a file at once; return what came of each."""
    start = threading.Barrier(2)
    ended: dict[int, str] = {}

    def write(number: int) -> None:
        start.wait()
        try:
            write_bytes(path, bytes([number]) * 1000, force=force)
            ended[number] = "wrote"
        except UsageError as error:
            ended[number] = str(error)

    writers = [threading.Thread(target=write, args=[number]) for number in (1, 2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    return ended


@pytest.mark.parametrize("force", [False, True])
def test_of_two_writers_one_wins_and_the_other_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, force: bool
) -> None:
    link, replace = os.link, os.replace

    def late(call: Callable[..., None]) -> Callable[..., None]:
        def delayed(*args: Any) -> None:
            time.sleep(0.0005)
            call(*args)

        return delayed

    monkeypatch.setattr(os, "link", late(link))
    monkeypatch.setattr(os, "replace", late(replace))
    refused = 0
    for race in range(250):
        path = tmp_path / str(race)
        ended = raced(path, force=force)
        won = [number for number, what in ended.items() if what == "wrote"]
        assert won
        assert path.read_bytes() in [bytes([number]) * 1000 for number in won]
        for what in ended.values():
            assert what == "wrote" or "another program" in what or "exists already" in what
        refused += len(won) == 1
        assert len(won) == 1 or force
    assert refused > 0
    assert hidden(tmp_path) == []


def test_who_comes_second_is_told_before_any_work(
    tmp_path: Path, cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = samples(60, 5, 2)
    nrcscan.extract(mlp(5, 8, 2), (x, y), tmp_path / "acts.h5", on_note=lambda note: None)
    ran: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "__call__", lambda *args: ran.append("network"))
    with claims.claimed(tmp_path / "b.h5"), claims.claimed(tmp_path / "r.json"):
        for force in (False, True):
            with pytest.raises(UsageError, match=r"b\.h5: another program is writing it"):
                nrcscan.extract(mlp(5, 8, 2), (x, y), tmp_path / "b.h5", force=force)
            with pytest.raises(UsageError, match=r"b\.h5: another program is writing it"):
                nrcscan.merge([tmp_path / "acts.h5"], tmp_path / "b.h5", force=force)
            with pytest.raises(UsageError, match=r"b\.h5: another program is writing it"):
                nrcscan.page(tmp_path / "acts.h5", tmp_path / "b.h5", force=force)
        done = cli("report", "acts.h5", "-o", "r.json")
    assert not ran
    assert done.returncode == 2
    assert "error: r.json: another program is writing it" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acts.h5"]


def test_a_claim_lasts_from_the_check_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with claims.holding():
        require_free(path, force=False)
        refused: list[str] = []

        def other() -> None:
            try:
                write_bytes(path, b"theirs", force=True)
            except UsageError as error:
                refused.append(str(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert "another program is writing it" in refused[0]
        path.write_bytes(b"of a program that claims nothing")
        with pytest.raises(UsageError, match="exists already"):
            write_bytes(path, b"ours", force=True)  # as a command's own output was not forced
    assert contents(tmp_path) == {"a": b"of a program that claims nothing"}


def test_a_folder_that_vanishes_is_one_message(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    def vanishing() -> None:
        with put_in_place(folder / "acts.h5", force=False) as partial:
            partial.write_text("half")
            shutil.rmtree(folder)

    with pytest.raises(OutputError, match=r"acts\.h5: cannot be written: No such file or direct"):
        vanishing()


FULL = """
import resource, signal, sys
sys.path[:0] = [{tests!r}]
import nrcscan
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, -1))
try:
    nrcscan.scan("runs", "data.npz", jobs=1, on_note=lambda note: None)
except nrcscan.OutputError as error:
    print(error)
"""


@pytest.mark.usefixtures("forked")
def test_a_full_disk_ends_a_scan_and_is_told_as_that(tmp_path: Path) -> None:
    import numpy as np

    x, y = samples(60, 5, 2)
    np.savez(tmp_path / "data.npz", X=x, y=y)
    (tmp_path / "runs").mkdir()
    for epoch in range(2):
        torch.save(mlp(5, 16, 2).state_dict(), tmp_path / "runs" / f"epoch_{epoch}.pt")
    code = FULL.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    wanted = r"\S+\.h5: cannot be written: File too large; mend that: the same command goes on .*\n"
    assert re.fullmatch(wanted, done.stdout)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_a_little_of_make_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nrcscan.extract(
        mlp(5, 8, 2), samples(60, 5, 2), tmp_path / "acts.h5", on_note=lambda note: None
    )
    words = ("merge", str(tmp_path / "acts.h5"), "-o")
    command = crash.Command(words, "merged.h5", crash.same_acts)
    tried = crash.Trials("merge", command, tmp_path, replaced=True)
    faults = tried.faults([])
    assert {fault.call for fault in faults} >= {"openat", "pwrite64", "fsync", "rename"}
    for call in ("fsync", "rename", "pwrite64"):
        for what in (crash.KILL, "EIO"):
            tried.try_(next(f for f in faults if (f.call, f.what) == (call, what)))
    assert tried.wrong == []
    assert sum(n for what, n in tried.outcomes.items() if what.startswith("killed")) == 3
