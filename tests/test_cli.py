from __future__ import annotations

import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import FIXTURES, ROOT, Run, mlp

from nrcscan import extract
from nrcscan.cli.console import emit
from nrcscan.comparing.comparison_table import DIFFERS
from nrcscan.reporting.marks import LEGEND, MARKS
from nrcscan.reporting.report_table import BEGINS

PENDULUM = FIXTURES / "pendulum"


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def failed(done: subprocess.CompletedProcess[str], code: int, message: str) -> None:
    assert done.returncode == code
    assert done.stdout == ""
    *_, line = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line), line
    assert "Traceback" not in done.stderr


def test_the_main_job(cli: Run, saved: tuple[Path, Path], tmp_path: Path) -> None:
    done = cli("extract", *saved)
    assert re.fullmatch(r"acts\.h5: 3 layers, 100 samples, R² = -?\d+\.\d+\n", ok(done))
    assert (
        "network inferred from the weights: 5 → (16 → relu) × 2 → 2; on the first 100 samples"
        in done.stderr
    )
    assert re.search(r"note: storing [0-9.]+ kB of activations", done.stderr)
    assert "\x1b" not in done.stderr
    table = ok(cli("report", "acts.h5"))
    assert " lin. MSE " in table
    assert json.loads(ok(cli("report", "acts.h5", "--format", "json")))["n_samples"] == 100
    assert ok(cli("report", "acts.h5", "--format", "csv")).startswith("index,position,name")
    assert cli("report", "acts.h5", "--format", "md", "-o", "out.md").stdout == ""
    assert "| # |" in (tmp_path / "out.md").read_text()


def test_a_factory_and_a_residual_block(cli: Run, tmp_path: Path) -> None:
    ok(
        cli(
            *("extract", PENDULUM / "model.safetensors", PENDULUM / "data.npz"),
            *("--model", f"{PENDULUM / 'network.py'}:build", "--model-args", '{"width": 16}'),
            *("--no-activations", "--limit", "200", "--exclude", "stem"),
        )
    )
    found = json.loads(ok(cli("report", "acts.h5", "--format", "json")))
    names = [layer["name"] for layer in found["layers"]]
    assert names == ["conv1", "conv2", "shortcut", "mix", "hidden", "head"]
    positions = [layer["position"] for layer in found["layers"]]
    assert positions == [0, 1, 0, 2, 3, 4]
    assert found["model"]["r2"] > 0.9


def test_a_pair_of_npy(cli: Run, saved: tuple[Path, Path], tmp_path: Path) -> None:
    with np.load(saved[1]) as data:
        np.save(tmp_path / "X.npy", data["X"])
        np.save(tmp_path / "y.npy", data["y"])
    ok(cli("extract", saved[0], "X.npy", "y.npy"))


def test_options_reach_the_report(cli: Run, saved: tuple[Path, Path]) -> None:
    ok(cli("extract", *saved, "-o", "a.h5", "--dtype", "float64", "--batch-size", "7"))
    options = "--signal-dim 1 --noise-max 0.5 --cka-min 0.1 --alignment-min 0.2 --error-ratio-max 3"
    done = ok(
        cli("report", "a.h5", *options.split(), "--convention", "published", "--format", "json")
    )
    found = json.loads(done)
    assert found["signal_dim"] == 1
    assert found["convention"] == "published"
    assert list(found["thresholds"].values()) == [0.5, 0.1, 0.2, 3.0]
    assert found["provenance"]["options"]["dtype"] == "float64"


def test_inspect(cli: Run, tmp_path: Path) -> None:
    torch.save({"epoch": 2, "net": mlp(3, 4, 2).state_dict()}, tmp_path / "m.pt")
    text = ok(cli("inspect", "m.pt"))
    for part in (
        "PyTorch (torch.save), opened as data",
        "'net'",
        "3 → 4 → activation → 2",
        "4 × 3",
    ):
        assert part in text
    found = json.loads(ok(cli("inspect", "m.pt", "--json")))
    assert found["schema"] == "nrcscan.inspect/1"
    assert found["tensors"][0] == {"name": "0.weight", "shape": [4, 3], "dtype": "float32"}


@pytest.mark.parametrize("command", [[], ["extract"], ["report"], ["scan"], ["inspect"]])
def test_help_and_report_need_no_torch(command: list[str]) -> None:
    code = (
        "import sys; from nrcscan.cli.app import app; app(standalone_mode=False);"
        " print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--help"], capture_output=True, text=True, check=True
    )
    assert "Usage" in done.stdout
    modules = set(done.stdout.splitlines()[-1].split())
    assert not modules & {"torch", "numpy", "h5py", "scipy"}


def test_report_runs_without_torch(cli: Run, saved: tuple[Path, Path], tmp_path: Path) -> None:
    ok(cli("extract", *saved))
    (tmp_path / "torch.py").write_text("raise ImportError('torch is not here')")
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "import nrcscan, nrcscan.reporting.report_table as t;"
        " print(t.render(nrcscan.report('acts.h5'), 'table'))"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_version(cli: Run) -> None:
    assert re.fullmatch(r"nrcscan \d+\.\d+\.\d+\n", ok(cli("--version")))


def test_errors_are_one_line_with_an_exit_code(
    cli: Run, saved: tuple[Path, Path], tmp_path: Path
) -> None:
    model, data = saved

    def all_fail(*cases: tuple[list[object], int, str]) -> None:
        for arguments, code, message in cases:
            failed(cli(*arguments), code, message)

    all_fail(
        (["extract", "no.pt", data], 3, "no.pt: no such checkpoint file; check the path"),
        (["extract", model, "no.npz"], 3, "no.npz: no such data file"),
        (["extract", data, model], 3, "MODEL before DATA"),
        (["extract", model, data, "--activation", "swish"], 2, "choose one of relu"),
        (["extract", model, data, "--model-args", "{"], 2, r"--model-args {: not JSON"),
        (["extract", model, data, "--model-args", "[1]"], 2, "not an object"),
        (["extract", model, data, "--layers", "x"], 2, "no layer matches --layers 'x'"),
        (["extract", model, data, "-o", "a/b.h5"], 3, "there is no folder a; create it first"),
        (["report", model], 3, "is a zip archive, not a file of nrcscan extract"),
        (["report", "acts.h5"], 3, "acts.h5: no such acts file"),
        (["report", "x" * 300], 2, "x…: a name of 300 letters; check the path"),
        (["report", "acts.h5", "--signal-dim", "two"], 2, "give t, auto or a number"),
        (["report", "acts.h5", "--noise-max", "2"], 2, "--noise-max 2: give a number from 0 to 1"),
        (["inspect", "no.pt"], 3, "no such checkpoint file"),
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "model.pt"]
    ok(cli("extract", model, data))
    before = (tmp_path / "acts.h5").read_bytes()
    failed(cli("extract", model, data), 2, "acts.h5: exists already; replace it with --force")
    assert (tmp_path / "acts.h5").read_bytes() == before
    ok(cli("extract", model, data, "--force"))
    (tmp_path / "link").symlink_to(data)
    os.mkfifo(tmp_path / "pipe")
    no_such = "No such command 'reprot'. Did you mean 'report'; see nrcscan --help|rep"
    all_fail(
        (["report", "acts.h5", "-o", "a/b"], 3, "there is no folder a"),
        (["report", "acts.h5", "--format", "xml"], 2, "'xml' is not one of 'table', 'json', 'cs"),
        (["reprot"], 2, no_such),
        (["extract", model], 2, "DATA is missing; name the file of the samples, or with --data"),
        (["extract", model, data, "-o", data, "--force"], 2, "is an input too; choose another"),
        (["report", "acts.h5", "-o", "link"], 2, "is a link or a device, not a file; give a"),
        (["extract", model, data, "-o", "pipe", "--force"], 2, "is a link or a device"),
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["reprot"], 2),
        (["compare"], 2),
        (["report", "acts.h5", "--format", "json"], 0),
        (["extract", "model.pt", "data.npz", "--force"], 0),
        (["merge", "acts.h5", "acts.h5", "-o", "merged.h5"], 3),
        (["compare", "acts.h5", "other.h5", "--format", "csv"], 0),
        (["inspect", "model.pt"], 0),
        (["scan", "none", "data.npz"], 3),
        (["scan", "empty", "data.npz"], 4),
    ],
)
def test_a_process_says_what_the_command_line_says_here(
    cli: Run,
    program: Run,
    saved: tuple[Path, Path],
    tmp_path: Path,
    arguments: list[str],
    code: int,
) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("acts.h5", "other.h5"):
        extract(*saved, tmp_path / name, activations=False)
    here, there = cli(*arguments), program(*arguments)
    assert (here.returncode, here.stdout, here.stderr) == (code, there.stdout, there.stderr)
    assert there.returncode == code


SLOW = r"""
import os
import time
from torch import nn
class Slow(nn.Sequential):
    def forward(self, x):
        os.write(1, b"running\n")  # in one piece: batches run side by side
        time.sleep(0.5)
        return super().forward(x)
def build():
    return Slow(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
"""


@pytest.mark.parametrize(
    ("kill", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.usefixtures("forked")
def test_interrupted_leaves_nothing(
    saved: tuple[Path, Path], tmp_path: Path, kill: signal.Signals, code: int
) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    before = sorted(path.name for path in tmp_path.iterdir())
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "nrcscan", "extract", str(saved[0]), str(saved[1])),
            *("--model", "slow.py:build", "--batch-size", "5"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    for _ in range(3):  # well inside the pass
        assert running.stdout.readline() == "running\n"
    running.send_signal(kill)
    _, stderr = running.communicate(timeout=60)
    assert running.returncode == code
    assert "Traceback" not in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.usefixtures("forked")
def test_a_terminal_sees_a_progress_bar_and_colours(
    saved: tuple[Path, Path], tmp_path: Path
) -> None:
    def in_terminal(*args: object, columns: int = 100) -> str:
        leader, follower = pty.openpty()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"}
        environment |= {"COLUMNS": str(columns), "LINES": "40"}
        running = subprocess.Popen(
            [sys.executable, "-m", "nrcscan", *map(str, args)],
            cwd=tmp_path,
            env=environment,
            stdin=follower,
            stdout=follower,
            stderr=follower,
        )
        os.close(follower)
        seen = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:
                break
            if not part:
                break
            seen += part
        assert running.wait(timeout=60) == 0
        os.close(leader)
        return seen.decode()

    (tmp_path / "slow.py").write_text(SLOW)
    options = ("--model", "slow.py:build", "--batch-size", "25")
    seen = in_terminal("extract", *saved, *options)
    assert re.search(r"samples: \d+ of 100", seen)
    seen = in_terminal("report", "acts.h5")
    assert "\x1b[" in seen
    numbers = re.findall(r"\d\.\d+(?:e-?\d+)?", seen)
    narrow = in_terminal("report", "acts.h5", columns=30)
    shown = re.findall(r"\d\.\d+(?:e-?\d+)?", narrow)  # below each other, and none of them cut
    assert sorted(shown) == sorted(numbers)


def test_a_closed_pipe_is_no_error(saved: tuple[Path, Path], cli: Run, tmp_path: Path) -> None:
    ok(cli("extract", *saved))

    def shell(command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"{sys.executable} -m nrcscan {command}"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    done = shell("report acts.h5 | true")
    assert (done.returncode, done.stderr) in [(141, ""), (0, "")]
    done = shell("report acts.h5 > /dev/full")
    message = (
        "error: stdout cannot be written: No space left on device; write to a file, with > or -o\n"
    )
    assert (done.returncode, done.stderr) == (3, message)
    done = shell("report acts.h5 >&-")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("forked")
def test_a_terminal_without_unicode(saved: tuple[Path, Path], program: Run) -> None:
    environment = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    done = program("extract", *saved, env=environment)
    assert done.returncode == 0, done.stderr
    text = ok(program("report", "acts.h5", env=environment))
    assert "R^2 = " in text
    assert re.search(r"^in 0 +0\.\d+ +=+-? +0\.", text, re.MULTILINE)
    assert re.search(r"^ +1 2 +0\.\d+ [o~ ] =", text, re.MULTILINE)
    assert "* met . o not met . ~ undecided . ? cannot be judged" in text
    assert text.isascii()


def test_every_mark_has_its_stand_in_for_a_terminal_without_unicode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    marks = "".join(mark for mark, _ in MARKS.values())
    emit(f"{marks} {LEGEND} {BEGINS} {DIFFERS} R² ± √d ≤ ρ ≥ a → b × … —\n", None)
    out.seek(0)
    shown = out.read()
    assert shown.isascii()
    assert "\\" not in shown  # no escape of a mark that was forgotten
    assert shown.startswith("*o~? * met . ")
    assert shown.rstrip().endswith("R^2 +- sqrtd <= rho >= a > b x ... n/a")


@pytest.mark.parametrize("form", ["json", "csv"])
def test_what_a_form_of_output_leaves_out_is_not_asked_of_it(cli: Run, form: str) -> None:
    for args, flag in (
        (["report", "a.h5", "--errors"], "--errors"),
        (["report", "a.h5", "--chance"], "--chance"),
        (["measure", "a.pt", "a.npz", "--errors"], "--errors"),
        (["compare", "a.h5", "b.h5", "--quantity", "cka"], "--quantity"),
    ):
        done = cli(*args, "--format", form)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"{flag} has no effect with --format {form}; leave it out" in done.stderr


@pytest.mark.parametrize("form_and_flag", ["md --wide", "tex --wide", "tex --chance"])
def test_what_a_page_or_paper_shows_anyway_or_never_is_not_asked_of_it(
    cli: Run, form_and_flag: str
) -> None:
    form, flag = form_and_flag.split()
    done = cli("report", "a.h5", "--format", form, flag)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{flag} has no effect with --format {form}; leave it out" in done.stderr
