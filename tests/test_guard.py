"""What crashes, hangs or takes all memory ends in one line, and leaves nothing: real processes."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import ROOT, Run
from torch import nn

import nrcscan
from nrcscan.cli import last_words
from nrcscan.errors import UnsafeError
from nrcscan.files import at_work, memory_left
from nrcscan.files.at_work import Board, Deed, Told
from nrcscan.files.memory_left import Memory
from nrcscan.inputs.checkpoints.pickle_globals import wanted_globals
from nrcscan.inputs.datasets import open_dataset

FAULTS = """
import ctypes, os, signal, subprocess, sys, time
import torch
from torch import nn

def crash(number):
    os.kill(os.getpid(), number)

def network():
    layers = [nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2)]
    return nn.Sequential(*layers)

class Network(nn.Sequential):
    def forward(self, x):
        if len(x) == 7:
            print("running", flush=True)
            self.fault()
        return super().forward(x)

def built(fault):
    found = Network(*network())
    found.fault = fault
    return found

def forward_crashes():
    return built(lambda: ctypes.string_at(0))

def forward_cuts():
    return built(lambda: os.truncate("X.npy", 200))

def forward_hangs():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    return built(lambda: time.sleep(60))

def forward_sleeps():
    return built(lambda: time.sleep(0.05))

def hangs():
    helper = subprocess.Popen(["sleep", "61.5"])
    print(helper.pid, flush=True)
    time.sleep(60)

def fills_memory():
    kept = []
    while True:
        kept.append(b"1" * (1 << 25))

def reads_answers():
    print(sys.stdin.read(), flush=True)
    return network()

def data_hangs():
    time.sleep(60)

def data_that_hangs():
    def batches():
        yield torch.ones(9, 5), torch.ones(9, 2)
        time.sleep(60)
    return batches()
"""

OF_OTHERS = ("__pycache__", ".ses")  # of Python, and of onnxruntime
CALLED = "import sys; from nrcscan.cli import guard; {}; sys.argv[0] = 'nrcscan'; guard.main()"


@pytest.fixture
def faults(tmp_path: Path) -> Path:
    (tmp_path / "faults.py").write_text(FAULTS)
    return tmp_path


@pytest.fixture
def start(faults: Path, forked: None) -> Callable[..., subprocess.Popen[str]]:
    """Start the command line in an empty folder; `before` is code that runs first."""

    def started(*args: object, before: str = "", **options: Any) -> subprocess.Popen[str]:
        how = ["-c", CALLED.format(before)] if before else ["-m", "nrcscan"]
        return subprocess.Popen(
            [sys.executable, *how, *map(str, args)],
            cwd=faults,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(faults / "tmp")},
            text=True,
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **options,
            },
        )

    (faults / "tmp").mkdir()
    return started


@pytest.fixture
def ended(faults: Path, start: Callable[..., Any]) -> Callable[..., tuple[int, str, str]]:
    """Run the command line; it has to leave nothing that was not there before."""

    def run(*args: object, **options: Any) -> tuple[int, str, str]:
        there = sorted(faults.rglob("*"))
        running = start(*args, **options)
        said, told = running.communicate(timeout=60)
        left = [p for p in sorted(faults.rglob("*")) if p.name not in OF_OTHERS]
        if running.returncode != 0:
            assert left == there
        return running.returncode, said, told

    return run


def state(process: int) -> str:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]
    except FileNotFoundError:
        return ""


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)


def one_line(told: str) -> str:
    (line,) = told.splitlines()
    return line


# --- crashes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["SIGBUS", "SIGABRT", "SIGFPE"])
def test_a_crash_of_code_is_one_line(
    saved: tuple[Path, Path], ended: Callable[..., Any], faults: Path, name: str
) -> None:
    (faults / "net.py").write_text(
        f"from signal import *\nimport os\ndef build(): os.kill(os.getpid(), {name})\n"
    )
    code, said, told = ended("extract", *saved, "--model", "net.py:build")
    assert (code, said) == (3, "")
    assert one_line(told) == (
        f"error: nrcscan crashed ({name}) while the code of net.py:build ran: that code or a"
        " library has a fault; run it by itself to find where"
    )


def test_a_crash_of_the_network_is_told_from_what_is_read_meanwhile(
    saved: tuple[Path, Path], ended: Callable[..., Any]
) -> None:
    options = ("--model", "faults.py:forward_crashes", "--batch-size", 7)
    code, said, told = ended("extract", *saved, *options, "-o", "acts.h5")
    assert (code, said) == (3, "running\n")
    assert "error: nrcscan crashed (SIGSEGV) while the network ran: that code or" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("command", "reader", "file"),
    [
        ("report acts.h5", "h5py.File", "acts.h5"),
        ("merge acts.h5 acts.h5 -o both.h5", "h5py.File", "acts.h5"),
        ("inspect model.safetensors", "safetensors.torch.load", "model.safetensors"),
        ("extract model.pt data.npz -o new.h5", "numpy.frombuffer", "data.npz"),
        ("measure model.pt data.h5", "h5py.File", "data.h5"),
        ("extract model.pt data.parquet", "pyarrow.parquet.ParquetFile", "data.parquet"),
    ],
)
def test_a_crash_of_a_parser_names_the_file(
    saved: tuple[Path, Path],
    ended: Callable[..., Any],
    faults: Path,
    command: str,
    reader: str,
    file: str,
) -> None:
    if "acts.h5" in command:
        nrcscan.extract(*saved, output=faults / "acts.h5", activations=False)
    safetensors.torch.save_file(torch.load(saved[0]), faults / "model.safetensors")
    (faults / "data.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    (faults / "data.parquet").write_bytes(b"PAR1" + bytes(600))
    crash = "lambda *_, **__: ctypes.string_at(0)"
    before = f"import ctypes, {reader.rpartition('.')[0]}; {reader} = {crash}"
    code, said, told = ended(*command.split(), before=before)
    assert (code, said) == (3, "")
    assert one_line(told) == (
        f"error: {file}: nrcscan crashed (SIGSEGV) while it was read: it is damaged, or a library"
        " has a fault; save or copy it again, or in another form"
    )


def test_a_killed_process_is_told(
    saved: tuple[Path, Path], ended: Callable[..., Any], faults: Path
) -> None:
    (faults / "net.py").write_text("import os\ndef build(): os.kill(os.getpid(), 9)\n")
    code, _, told = ended("extract", *saved, "--model", "net.py:build")
    assert code == 3
    assert one_line(told).startswith("error: nrcscan was killed (SIGKILL) while the code of net.py")


def test_the_cursor_is_shown_after_a_crash(
    saved: tuple[Path, Path], start: Callable[..., Any]
) -> None:
    leader, follower = pty.openpty()
    running = start(
        *("extract", *saved, "--model", "faults.py:forward_crashes", "--batch-size", 7),
        stderr=follower,
    )
    os.close(follower)
    running.communicate(timeout=60)
    seen = b""
    while b"crashed" not in seen:
        seen += os.read(leader, 4096)
    os.close(leader)
    assert b"\x1b[?25h" in seen


def test_data_that_is_cut_while_it_is_mapped(
    saved: tuple[Path, Path], ended: Callable[..., Any], faults: Path
) -> None:
    np.save(faults / "X.npy", np.ones((4000, 5), "f4"))
    np.save(faults / "y.npy", np.ones((4000, 2), "f4"))
    options = ("--model", "faults.py:forward_cuts", "--batch-size", 7, "--no-activations")
    code, _, told = ended("extract", saved[0], "X.npy", "y.npy", *options)
    assert code == 3
    assert re.match(
        r"error: X\.npy and y\.npy: nrcscan crashed( in numpy)? \(SIGBUS\) while it was read: ",
        told.splitlines()[-1],
    )


def test_a_crash_names_the_package_that_it_was_in() -> None:
    report = (
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00000000000000ff (most recent"
        ' call first):\n  File "{}", line 1 in read\n  File "a/nrcscan/x.py", line 2 in f\n'
    )
    told = Told([Deed(1, "the network ran", ""), Deed(255, "", "data.h5")])

    def message(file: str) -> str:
        return str(last_words.crashed(told, signal.SIGSEGV, report.format(file)))

    found = message("/lib/python3.11/site-packages/h5py/_hl/attrs.py")
    assert found.startswith("data.h5: nrcscan crashed in h5py (SIGSEGV) while it was read")
    own = message("/lib/python3.11/site-packages/nrcscan/inputs/x.py")
    assert own.startswith("data.h5: nrcscan crashed (SIGSEGV) while it was read")
    both = str(last_words.crashed(told, signal.SIGBUS, ""))
    assert both.startswith("nrcscan crashed (SIGBUS) while data.h5 was read and the network ran")


# --- hangs ---------------------------------------------------------------------------------------


def test_what_hangs_ends_in_time_with_all_that_it_started(
    saved: tuple[Path, Path], ended: Callable[..., Any]
) -> None:
    options = ("--model", "faults.py:hangs", "--timeout", "1.5", "-o", "acts.h5")
    code, said, told = ended("extract", *saved, *options)
    assert (code, one_line(told)) == (
        3,
        "error: nrcscan took longer than --timeout 1.5: given up while the code of faults.py:hangs"
        " ran; give more time, or see what it waits for",
    )
    assert state(int(said)) in ("", "Z")


@pytest.mark.parametrize("source", ["data_hangs", "data_that_hangs"])
def test_data_that_hangs(saved: tuple[Path, Path], ended: Callable[..., Any], source: str) -> None:
    options = ("--data", f"faults.py:{source}", "--timeout", "1.5")
    code, said, told = ended("extract", saved[0], *options, "-o", "acts.h5", "--quiet")
    assert (code, said) == (3, "")
    assert re.match("error: .*took longer than --timeout 1.5: given up while ", one_line(told))


def test_a_network_that_hangs_and_will_not_end(
    saved: tuple[Path, Path], ended: Callable[..., Any], faults: Path
) -> None:
    options = ("--model", "faults.py:forward_hangs", "--batch-size", 7, "--timeout", 2)
    code, said, told = ended("measure", *saved, *options, "--memory", 10**8, "--quiet")
    assert (code, said) == (3, "running\n")
    assert one_line(told) == (
        "error: nrcscan took longer than --timeout 2: given up while the network ran; give more"
        " time, or see what it waits for"
    )
    assert not list((faults / "tmp").iterdir())


def test_an_endless_loop_of_onnx(
    tmp_path: Path, saved: tuple[Path, Path], ended: Callable[..., Any]
) -> None:
    from onnx import TensorProto, helper, save

    def value(name: str, kind: int, *shape: str | int) -> Any:
        return helper.make_tensor_value_info(name, kind, shape)

    same = [helper.make_node("Identity", [of], [f"next_{of}"]) for of in ("on", "sum")]
    body = helper.make_graph(
        same,
        "body",
        [
            value("n", TensorProto.INT64),
            value("on", TensorProto.BOOL),
            value("sum", TensorProto.FLOAT, "N", 2),
        ],
        [value("next_on", TensorProto.BOOL), value("next_sum", TensorProto.FLOAT, "N", 2)],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "weight", "bias"], ["h"], "head"),
            helper.make_node("Loop", ["", "true", "h"], ["y"], body=body),
        ],
        "endless",
        [value("x", TensorProto.FLOAT, "N", 5)],
        [value("y", TensorProto.FLOAT, "N", 2)],
        [
            helper.make_tensor("weight", TensorProto.FLOAT, (5, 2), np.ones(10)),
            helper.make_tensor("bias", TensorProto.FLOAT, (2,), np.zeros(2)),
            helper.make_tensor("true", TensorProto.BOOL, (), [True]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(model, tmp_path / "endless.onnx")
    code, _, told = ended("extract", tmp_path / "endless.onnx", saved[1], "--timeout", 3)
    assert code == 3
    assert "took longer than --timeout 3: given up while" in told.splitlines()[-1]


def test_time_is_a_number_above_0(saved: tuple[Path, Path], cli: Run) -> None:
    done = cli("extract", *saved, "--timeout", 0)
    message = "error: --timeout 0: give seconds, more than 0\n"
    assert (done.returncode, done.stderr) == (2, message)


def test_a_scan_whose_data_hangs(
    saved: tuple[Path, Path], ended: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = "import nrcscan.scanning.worker_pool as p; p.STARTING = 0"
    options = ("--data", "faults.py:data_hangs", "--timeout", 2, "-o", "scan")
    code, said, told = ended("scan", ".", *options, "--pattern", "*.pt", before=before)
    assert (code, said) == (3, "")
    assert "a worker took longer than --timeout 2, and 0 seconds to start, to open" in told


# --- memory --------------------------------------------------------------------------------------


def test_what_takes_more_memory_than_allowed_is_ended(
    saved: tuple[Path, Path], ended: Callable[..., Any]
) -> None:
    most = 1 << 30
    before = f"import resource; resource.setrlimit(resource.RLIMIT_RSS, ({most}, {most}))"
    options = ("--model", "faults.py:fills_memory", "-o", "acts.h5")
    code, said, told = ended("extract", *saved, *options, before=before)
    assert (code, said) == (3, "")
    assert re.fullmatch(
        r"error: nrcscan was ended before memory runs out while the code of faults.py:fills_memory"
        r" ran: it held \d\.\d GB, and ulimit -m allows 1\.1 GB;.*",
        one_line(told),
    )


def test_what_may_be_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, held in {
        "memory/box/job/memory.limit_in_bytes": f"{1 << 30}",
        "memory/box/job/memory.usage_in_bytes": f"{900 << 20}",
        "memory/box/job/memory.stat": f"cache 5\ntotal_inactive_file {100 << 20}\n",
        "memory/memory.limit_in_bytes": f"{(1 << 63) - 4096}",
        "memory/memory.usage_in_bytes": "7",
        "box/memory.max": "max",
        "own": "4:cpu,memory:/box/job\n0::/box\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(held)
    monkeypatch.setattr(memory_left, "_OWN", tmp_path / "own")
    monkeypatch.setattr(memory_left, "_CGROUPS", tmp_path)
    assert list(memory_left._of_containers()) == [Memory(1 << 30, 224 << 20)]
    (tmp_path / "box/memory.max").write_text(f"{1 << 29}")
    (tmp_path / "box/memory.current").write_text(f"{1 << 29}")
    (tmp_path / "box/memory.stat").write_text("active_file 4096\ninactive_file 4096\n")
    assert list(memory_left._of_containers())[1] == Memory(1 << 29, 8192)
    assert memory_left.memory() == Memory(1 << 29, 8192)
    assert memory_left.over(1 << 20) is None  # others hold what is in use
    assert memory_left.over(300 << 20) == "8192 bytes of 536.9 MB are left"


def test_memory_that_the_system_does_not_give(
    saved: tuple[Path, Path], cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(nrcscan, "report", refused)
    nrcscan.extract(*saved, output=saved[0].parent / "acts.h5")
    done = cli("report")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == (
        "error: there is not enough memory; use a smaller --batch-size, or more memory"
    )


def test_a_layer_that_asks_for_all_memory(
    saved: tuple[Path, Path], cli: Run, tmp_path: Path
) -> None:
    network = nn.Sequential(
        nn.Linear(5, 8), nn.Unflatten(1, (8, 1)), nn.Upsample(scale_factor=10**12), nn.Flatten()
    )
    torch.save(network, tmp_path / "network.pt")
    done = cli("extract", tmp_path / "network.pt", saved[1])
    assert done.returncode == 3
    assert "Traceback" not in done.stderr


# --- as without a guard --------------------------------------------------------------------------


def test_the_process_that_works_ends_with_its_guard(
    saved: tuple[Path, Path], start: Callable[..., Any]
) -> None:
    options = ("--model", "faults.py:forward_hangs", "--batch-size", 7, "-o", "acts.h5")
    running = start("extract", *saved, *options)
    assert running.stdout.readline() == "running\n"
    (works,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    running.kill()
    running.communicate(timeout=30)
    wait_for(lambda: state(int(works)) in ("", "Z"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_both_is_taken_once(
    saved: tuple[Path, Path],
    start: Callable[..., Any],
    faults: Path,
    number: signal.Signals,
    code: int,
) -> None:
    options = ("--model", "faults.py:forward_sleeps", "--batch-size", 7, "-o", "acts.h5")
    there = sorted(faults.iterdir())
    running = start("extract", *saved, *options, start_new_session=True)
    assert running.stdout.readline() == "running\n"
    os.killpg(running.pid, number)
    _, told = running.communicate(timeout=30)
    assert running.returncode == code
    assert "Traceback" not in told
    assert [path for path in sorted(faults.iterdir()) if path.suffix != ".pyc"] == there


def test_what_is_stopped_goes_on_and_loses_no_time(
    saved: tuple[Path, Path], start: Callable[..., Any]
) -> None:
    options = ("--model", "faults.py:forward_sleeps", "--batch-size", 7, "--timeout", 4)
    running = start("extract", *saved, *options, start_new_session=True)
    assert running.stdout.readline() == "running\n"
    (works,) = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    os.killpg(running.pid, signal.SIGSTOP)
    wait_for(lambda: state(running.pid) == state(int(works)) == "T")
    time.sleep(4)
    os.killpg(running.pid, signal.SIGCONT)
    said, told = running.communicate(timeout=60)
    assert running.returncode == 0, told
    assert "acts.h5: 3 layers, 100 samples" in said


def test_answers_are_for_the_code_alone(
    saved: tuple[Path, Path], start: Callable[..., Any]
) -> None:
    options = ("--model", "faults.py:reads_answers")
    running = start("extract", *saved, *options, stdin=subprocess.PIPE)
    said, told = running.communicate("one\ntwo\n", timeout=60)
    assert running.returncode == 0, told
    assert said.startswith("one\ntwo\n\n")


def test_all_that_is_written_is_there_when_it_ends(
    saved: tuple[Path, Path], start: Callable[..., Any], cli: Run
) -> None:
    nrcscan.extract(*saved, output=saved[0].parent / "acts.h5")
    options = ("report", "acts.h5", "--format", "json")
    said, _ = start(*options).communicate(timeout=60)
    assert said == cli(*options).stdout
    (saved[0].parent / "none").mkdir()
    running = start("scan", "none", saved[1])
    running.communicate(timeout=60)
    assert running.returncode == 4


def test_where_no_process_is_left_nobody_guards(
    saved: tuple[Path, Path], start: Callable[..., Any]
) -> None:
    before = "import os\ndef none(): raise BlockingIOError\nos.fork = none"
    code = f"exec({before!r})"
    running = start("inspect", saved[0], before=code)
    said, told = running.communicate(timeout=60)
    assert (running.returncode, told) == (0, "")
    assert "3 tensors" in said or "float32" in said


def test_what_is_ignored_stays_so(saved: tuple[Path, Path], start: Callable[..., Any]) -> None:
    before = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    options = ("--model", "faults.py:forward_sleeps", "--batch-size", 7)
    running = start("extract", *saved, *options, before=before, start_new_session=True)
    assert running.stdout.readline() == "running\n"
    os.killpg(running.pid, signal.SIGHUP)
    _, told = running.communicate(timeout=60)
    assert running.returncode == 0, told


# --- questions, and names ------------------------------------------------------------------------


def test_no_reader_of_data_can_ask(
    saved: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asks(*_: object, **__: object) -> None:
        assert sys.stdin.readline() == ""
        input("Run it? [y/N] ")

    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    monkeypatch.setattr(open_dataset, "open_npz", asks)
    question = r"data\.npz: what reads it has a question \(it asks 'Run it\? \[y/N\]'\); save it as"
    with pytest.raises(UnsafeError, match=question):
        open_dataset.open_dataset(saved[1])
    assert sys.stdin.readline() == "y\n"


def test_a_long_name_in_a_pickle_is_cut(tmp_path: Path) -> None:
    name = b"x" * 10**6
    for protocol, pickled in enumerate(
        (
            b"c" + name + b"\n" + name + b"\n.",
            b"\x80\x04" + 2 * (b"X" + len(name).to_bytes(4, "little") + name) + b"\x93.",
        )
    ):
        path = tmp_path / f"{protocol}.pkl"
        path.write_bytes(pickled)
        (wanted,) = wanted_globals(path)
        assert 200 <= len(wanted) <= 401


# --- what is told --------------------------------------------------------------------------------


def test_a_board_holds_what_was_told_last() -> None:
    board = Board()
    assert board.read() == Told()
    odd = os.fsdecode(b"a\xff\n\x01 \xc3\xa9")
    first = Told([Deed(3, "the network ran", ""), Deed(4, "", odd)], 0.1, [odd, ""], ["/tmp/x y"])
    for told in (first, Told(limit=1e9), Told([Deed(1, "", "")])):
        board.write(told)
        assert board.read() == told
    board.write(Told([Deed(1, "", "x" * 200_000)]))  # more than there is place for
    assert board.read().deeds[0].thread == 1


def test_what_threads_are_at_is_told_until_it_is_done() -> None:
    board, begun = Board(), []
    at_work.tell(board, lambda: begun.append(True))
    try:
        with at_work.doing(file="a.h5"):
            with at_work.doing("the network ran"):
                assert [deed.what for deed in board.read().deeds] == ["the network ran"]
            assert [deed.file for deed in board.read().deeds] == ["a.h5"]
            with at_work.own_folder() as folder:
                assert board.read().folders == [str(folder)]
            items = at_work.each_read("b.h5", iter([1, 2]))
            assert [(item, board.read().deeds[0].file) for item in items] == [
                (1, "a.h5"),
                (2, "a.h5"),
            ]
        assert board.read() == Told()
        assert begun == [True]
    finally:
        at_work.tell(None)
    with at_work.doing("the network ran"):
        assert board.read() == Told()
