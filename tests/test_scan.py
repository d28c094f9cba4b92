"""The scan command and function, on real files and with real processes."""

from __future__ import annotations

import csv
import ctypes
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from conftest import ROOT, Run, WorkerHere, mlp, samples

import nrcscan
from nrcscan.errors import NothingError, UsageError
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.scanning import worker_pool

NETWORK = """
import os, time
from torch import nn
class Net(nn.Sequential):
    def forward(self, x):
        told = float(self[0].bias[0])
        if told == 777:
            os._exit(3)
        if told == 888:
            time.sleep(600)
        return super().forward(x)
def build():
    return Net(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
"""


class Malicious:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch marker",)


def save(path: Path, seed: int = 0, first_bias: float | None = None, **more: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    state = mlp(5, 16, 16, 2, seed=seed).state_dict()
    if first_bias is not None:
        state["0.bias"][0] = first_bias
    torch.save({"model": state, **more} if more else state, path)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x, y = samples(100, 5, 2)
    np.savez(tmp_path / "data.npz", X=x, y=y)
    (tmp_path / "net.py").write_text(NETWORK)
    return tmp_path / "data.npz"


def command(*args: object) -> list[str]:
    return [sys.executable, "-W", "error", "-m", "nrcscan", "scan", *map(str, args)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def lose_privileges() -> None:
    """Have permissions mean for root what they mean for everyone."""
    libc, both = ctypes.CDLL(None), (1, 2)  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
    for capability in both:
        libc.prctl(24, capability, 0, 0, 0)  # for the program that is started next
    of_this_process, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    libc.capget(of_this_process, sets)
    for place in range(3):
        sets[place] &= ~sum(1 << capability for capability in both)
    libc.capset(of_this_process, sets)


def children(of: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == of:
            found.append(int(stat.parent.name))
    return found


def workers_of(scan: int) -> list[int]:
    """Return the workers of a scan, which are another's than of the process that guards it."""
    return [worker for works in children(scan) for worker in children(works)]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.numerical
@pytest.mark.usefixtures("forked")
def test_twenty_good_and_ten_bad_files(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    for epoch in range(10):
        save(folder / "wd0" / f"{epoch}.pth", seed=epoch)
        save(folder / "wd1" / f"m{epoch}.pt", seed=epoch, first_bias=0.5, epoch=epoch, lr=0.1)
    bad = folder / "bad"
    save(bad / "truncated.pth")
    (bad / "truncated.pth").write_bytes((bad / "truncated.pth").read_bytes()[:700])
    (bad / "foreign.pth").write_bytes(b"\x89PNG\r\n\x1a\n....")
    torch.save(Malicious(), bad / "malicious.pth")
    save(bad / "nan.pth", first_bias=float("nan"))
    torch.save(mlp(5, 17, 2).state_dict(), bad / "shapes.pth")
    (bad / "empty.pth").touch()
    (bad / "x.pth").mkdir()
    save(bad / "unreadable.pth")
    (bad / "unreadable.pth").chmod(0)
    save(bad / "killer.pth", first_bias=777)
    save(bad / "slow.pth", first_bias=888)
    done = subprocess.run(
        command("runs", "data.npz", "--model", "net.py:build", "--timeout", "4", "--jobs", "2"),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        preexec_fn=lose_privileges,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "marker").exists()
    found = json.loads((tmp_path / "scan" / "scan.json").read_text())
    rows = found["checkpoints"]
    good = [row for row in rows if row["status"] == "ok"]
    assert [row["path"] for row in good] == [
        *(f"wd0/{epoch}.pth" for epoch in range(10)),
        *(f"wd1/m{epoch}.pt" for epoch in range(10)),
    ]
    assert [row["epoch"] for row in good] == [*range(10), *range(10)]
    assert {row["run"] for row in good} == {"wd0", "wd1"}
    reasons = {row["path"]: row["reason"] for row in rows if row["status"] == "error"}
    wanted = {
        "empty": "the checkpoint file is empty",
        "foreign": "is an image; give a checkpoint of torch.save or safetensors",
        "killer": "its worker ended with exit code 3, also when it was tried again, alone",
        "malicious": "not opened, because it is a pickle that asks for posix.system",
        "nan": "NaN or infinite weights in 0.bias",
        "shapes": "does not fit the network: missing 4.weight and 4.bias; 0.weight has shape (17",
        "slow": "took longer than --timeout 4: given up",
        "truncated": "the checkpoint is damaged or cut short",
        "unreadable": "cannot be read: Permission denied; check its permissions",
        "x": "is a folder, and not one of a checkpoint",
    }
    assert sorted(reasons) == [f"bad/{name}.pth" for name in sorted(wanted)]
    for name, start in wanted.items():
        assert reasons[f"bad/{name}.pth"].startswith(start)
        assert f"- bad/{name}.pth: {start}" in done.stdout
    assert found["skipped"] == []
    table = list(csv.DictReader(io.StringIO((tmp_path / "scan" / "scan.csv").read_text())))
    assert len(table) == 20 * 3
    assert table[0]["path"] == "wd0/0.pth"
    assert float(table[0]["cka"]) == good[0]["layers"][0]["cka"]
    for row in good:  # what a scan says of a checkpoint is what extract and report say of it
        alone = nrcscan.report(tmp_path / "scan" / row["statistics"]).to_dict()
        assert {name: row[name] for name in ("model", "onset", "layers")} == {
            name: alone[name] for name in ("model", "onset", "layers")
        }


@pytest.mark.numerical
@pytest.mark.usefixtures("forked")
def test_swapped_weights_measure_as_a_fresh_network_does(data: Path, tmp_path: Path) -> None:
    save(tmp_path / "runs" / "1.pt", seed=1)
    torch.save(mlp(5, 8, 2).state_dict(), tmp_path / "runs" / "2.pt")  # another chain
    save(tmp_path / "runs" / "3.pt", seed=3)
    relu: Any = {"activation": "relu"}
    found = nrcscan.scan(tmp_path / "runs", data, tmp_path / "out", jobs=1, **relu)
    assert all(checkpoint.status == "ok" for checkpoint in found.checkpoints)
    for checkpoint in found.checkpoints:
        assert checkpoint.result is not None
        acts = tmp_path / "acts.h5"
        nrcscan.extract(tmp_path / "runs" / checkpoint.path, data, acts, force=True, **relu)
        alone = nrcscan.report(acts).to_dict()
        assert checkpoint.result["model"]["r2"] == pytest.approx(alone["model"]["r2"], abs=1e-6)
        assert len(checkpoint.result["layers"]) == len(alone["layers"])
        assert checkpoint.result["onset"] == alone["onset"]


def test_a_worker_is_the_same_within_this_process(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for epoch in range(3):
        save(tmp_path / "runs" / f"{epoch}.pt", seed=epoch)
    (tmp_path / "runs" / "empty.pt").touch()
    nrcscan.scan(tmp_path / "runs", data, tmp_path / "apart", jobs=1)
    monkeypatch.setattr(worker_pool, "Process", WorkerHere)
    nrcscan.scan(tmp_path / "runs", data, tmp_path / "here", jobs=1)
    for name in ("scan.json", "scan.csv"):
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "apart" / name).read_bytes()


@pytest.mark.usefixtures("workers_here")
def test_a_second_scan_touches_only_what_is_new(data: Path, tmp_path: Path) -> None:
    folder, out = tmp_path / "runs", tmp_path / "out"
    for epoch in range(3):
        save(folder / f"{epoch}.pt", seed=epoch)
    (folder / "copy.pt").write_bytes((folder / "0.pt").read_bytes())
    notes: list[str] = []
    relu: Any = {"activation": "relu"}  # untrained, so that they tell nothing
    first = nrcscan.scan(folder, data, out, jobs=1, **relu)
    files = {path.name: path.stat().st_mtime_ns for path in (out / "statistics").iterdir()}
    assert len(files) == 2 * 3
    assert [c.path for c in first.checkpoints] == ["copy.pt", "0.pt", "1.pt", "2.pt"]
    text = (out / "scan.json").read_bytes()
    again = nrcscan.scan(folder, data, out, on_note=notes.append, **relu)
    assert again.n_known == 4
    assert notes[0] == "4 of 4 checkpoints are as they were at the last scan"
    assert (out / "scan.json").read_bytes() == text
    # Another judgement needs no pass, only another report.
    other = nrcscan.scan(folder, data, out, signal_dim=1, **relu)
    assert other.checkpoints[0].result != first.checkpoints[0].result
    save(folder / "3.pt", seed=3)
    victim = next((out / "statistics").glob("*.h5"))
    content = victim.read_bytes()
    victim.write_bytes(content[: len(content) // 2])
    record = next(p for p in (out / "statistics").glob("*.json") if p.stem != victim.stem)
    record.write_text(record.read_text()[:-40])
    third = nrcscan.scan(folder, data, out, on_note=notes.append, **relu)
    new = {path.name: path.stat().st_mtime_ns for path in (out / "statistics").glob("*.h5")}
    touched = {name for name, when in new.items() if files.get(name) != when}
    assert victim.name in touched
    assert f"{record.stem}.h5" in touched
    assert len(touched) == 3
    assert third.to_dict()["checkpoints"][:4] == first.to_dict()["checkpoints"]
    assert [n for n in notes if n.endswith("at the last scan")][1:] == [
        f"{third.n_known} of 5 checkpoints are as they were at the last scan"
    ]
    # Other data, another key.
    x, y = samples(90, 5, 2)
    np.savez(data, X=x, y=y)
    assert nrcscan.scan(folder, data, out, patterns=["3.pt"]).n_known == 0


def test_nothing_to_measure_needs_no_torch(data: Path, tmp_path: Path, cli: Run) -> None:
    save(tmp_path / "runs" / "1.pt")
    assert cli("scan", "runs", "data.npz").returncode == 0
    code = (
        "import sys; from nrcscan.cli.app import app\n"
        "try: app(['scan', 'runs', 'data.npz'], standalone_mode=False)\n"
        "finally: print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert not set(done.stdout.splitlines()[-1].split()) & {"torch", "numpy", "h5py", "scipy"}


@pytest.mark.usefixtures("forked")
def test_killed_at_twenty_moments_it_goes_on_to_the_same_end(data: Path, tmp_path: Path) -> None:
    folder, factory = tmp_path / "runs", tmp_path / "slow.py"
    factory.write_text(
        "import time\nfrom torch import nn\nclass Slow(nn.Sequential):\n"
        "    def forward(self, x):\n        time.sleep(0.02)\n        return super().forward(x)\n"
        "def build():\n    return Slow(nn.Linear(5, 16), nn.ReLU(), "
        "nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))\n"
    )
    for epoch in range(60):
        save(folder / f"{epoch}.pt", seed=epoch)
    model = f"{factory}:build"
    undisturbed = nrcscan.scan(folder, data, tmp_path / "calm", factory=model, blocks=0).to_dict()

    def killed(out: Path, random: np.random.Generator) -> list[int]:
        """Kill ten scans, of which half are at work; return how many checkpoints were done."""
        statistics = out / "statistics"
        done, workers = [0], []
        for number in range(10):
            jobs = 1 + number // 2 % 2
            running = subprocess.Popen(
                command(folder, data, "-o", out, "--model", model, "--jobs", jobs, "--blocks", 0),
                env=environment(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if number % 2:  # at work, rather than as it starts
                wait_for(lambda: len(list(statistics.glob("*.json"))) > done[-1])
                time.sleep(random.uniform(0, 0.05))
            else:
                time.sleep(random.uniform(0, 0.3))
            workers += [*children(running.pid), *workers_of(running.pid)]
            running.kill()
            running.wait()
            done.append(len(list(statistics.glob("*.json"))))
        wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
        return done

    outs, randoms = (tmp_path / "out1", tmp_path / "out2"), np.random.default_rng(4).spawn(2)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(killed, outs, randoms))
    assert sum(len(set(done)) - 1 for done in both) >= 8, f"hardly any was killed at work: {both}"
    for out, done in zip(outs, both, strict=True):
        resumed = nrcscan.scan(folder, data, out, factory=model, blocks=0)
        assert resumed.n_known >= done[-1] > 0
        assert resumed.to_dict() == undisturbed
        for name in ("scan.json", "scan.csv"):
            assert (tmp_path / "calm" / name).read_bytes() == (out / name).read_bytes()
        assert not list((out / "statistics").glob(".*"))


@pytest.mark.usefixtures("forked")
def test_ctrl_c_keeps_what_is_done(data: Path, tmp_path: Path) -> None:
    for epoch in range(3):
        save(tmp_path / "runs" / f"{epoch}.pt", seed=epoch)
    save(tmp_path / "runs" / "9.pt", first_bias=888)
    running = subprocess.Popen(
        command("runs", "data.npz", "--model", "net.py:build", "--jobs", "1"),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    records = tmp_path / "scan" / "statistics"
    wait_for(lambda: len(list(records.glob("[!.]*.json"))) == 3)
    time.sleep(0.2)
    workers = workers_of(running.pid)
    assert len(workers) == 1
    running.send_signal(signal.SIGINT)
    stdout, stderr = running.communicate(timeout=30)
    assert running.returncode == 130
    assert stdout == ""
    last = stderr.splitlines()[-1]
    assert last == (
        "note: interrupted: 3 of 4 checkpoints are kept in scan; the same command goes on from"
        " there"
    )
    wait_for(lambda: not any(Path(f"/proc/{p}").exists() for p in workers))
    assert not (tmp_path / "scan" / "scan.json").exists()
    (tmp_path / "runs" / "9.pt").unlink()
    factory = f"{tmp_path / 'net.py'}:build"
    found = nrcscan.scan(tmp_path / "runs", data, tmp_path / "scan", factory=factory)
    assert len(found.checkpoints) == 3


def test_nothing_to_scan_never_exits_0(data: Path, tmp_path: Path, cli: Run) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("text")
    for folder, code, message in (
        (
            "empty",
            4,
            "error: empty: nothing to scan: the folder is empty; name",
        ),
        ("none", 3, "error: none: no such folder; check the path\n"),
        ("data.npz", 2, "error: data.npz: is a file; measure a single checkpoint with"),
        ("notes", 4, "error: notes: nothing to scan: no checkpoint among what is there (1 × a"),
    ):
        done = cli("scan", folder, "data.npz")
        assert done.returncode == code
        assert message in done.stderr
        assert done.stdout == ""
    assert not (tmp_path / "scan").exists()


@pytest.mark.usefixtures("forked")
def test_what_concerns_all_is_one_error(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    save(folder / "1.pt")
    x, y = samples(10, 5, 2)
    x[3] = np.nan
    np.savez(tmp_path / "nan.npz", X=x, y=y)
    with pytest.raises(nrcscan.InputError, match="the inputs hold NaN, first in sample 3"):
        nrcscan.scan(folder, tmp_path / "nan.npz", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="has no 'nothing'; it has"):
        nrcscan.scan(folder, data, tmp_path / "out", factory=f"{tmp_path / 'net.py'}:nothing")
    (tmp_path / "dies.py").write_text("import os; build = 0; os._exit(7)")
    dies: Any = {"factory": f"{tmp_path / 'dies.py'}:build", "run_script": True}
    with pytest.raises(nrcscan.InputError, match="ended with exit code 7 as it opened the data"):
        nrcscan.scan(folder, data, tmp_path / "out", **dies)
    with pytest.raises(nrcscan.InputError, match=r"no such data file"):
        nrcscan.scan(folder, tmp_path / "no.npz", tmp_path / "out")
    for options, message in (
        ({"jobs": 0}, "--jobs 0: give at least 1"),
        ({"timeout": 0}, "--timeout 0: give seconds"),
        ({"jobs": 1, "cluster": "local:2"}, "--jobs has no effect beside --cluster; leave one"),
        ({"signal_dim": 0}, "--signal-dim 0: give t, auto or a number"),
        ({"convention": "other"}, "--convention other: choose one of"),
        ({"factory": mlp}, "called in other processes: name it as package.module:callable"),
        ({"batch_size": 0}, "--batch-size 0: give at least 1"),
    ):
        with pytest.raises(UsageError, match=message):
            nrcscan.scan(folder, data, tmp_path / "out", **options)
    with pytest.raises(UsageError, match="data is a dict, which a scan cannot hand"):
        nrcscan.scan(folder, {}, tmp_path / "out")
    with pytest.raises(TypeError, match="takes no argument colour"):
        nrcscan.scan(folder, data, tmp_path / "out", colour=1)  # type: ignore[call-arg]
    (tmp_path / "only").mkdir()
    optimizer = torch.optim.Adam(mlp(2, 2).parameters())
    torch.save(optimizer.state_dict(), tmp_path / "only" / "o.pt")
    with pytest.raises(NothingError, match="1 × holds an optimizer's state, without a network"):
        nrcscan.scan(tmp_path / "only", data, tmp_path / "out")


@pytest.mark.numerical
@pytest.mark.usefixtures("forked")
def test_data_from_code_and_from_memory(data: Path, tmp_path: Path) -> None:
    save(tmp_path / "runs" / "1.pt")
    (tmp_path / "loader.py").write_text(
        "import numpy as np, pathlib\n"
        "def load():\n"
        "    d = np.load(pathlib.Path(__file__).parent / 'data.npz')\n"
        "    yield d['X'][:60], d['y'][:60]\n"
        "    yield d['X'][60:], d['y'][60:]\n"
    )
    x, y = samples(100, 5, 2)
    results = [
        nrcscan.scan(tmp_path / "runs", source, tmp_path / f"out{i}", jobs=1).checkpoints[0].result
        for i, source in enumerate((data, f"{tmp_path / 'loader.py'}:load", (x, y)))
    ]
    in_file, in_other_batches, in_memory = results
    assert in_file == in_memory
    assert in_file is not None
    assert in_other_batches is not None
    for layer, other in zip(in_file["layers"], in_other_batches["layers"], strict=True):
        values, others = ({q: row[q] for q in QUANTITIES} for row in (layer, other))
        assert others == pytest.approx(values, rel=tolerances.SHALLOW, abs=1e-9)
    again = nrcscan.scan(tmp_path / "runs", f"{tmp_path / 'loader.py'}:load", tmp_path / "out1")
    assert again.n_known == 1


@pytest.mark.usefixtures("forked")
def test_two_scans_do_not_share_an_output(data: Path, tmp_path: Path) -> None:
    save(tmp_path / "runs" / "1.pt", first_bias=888)
    running = subprocess.Popen(
        command("runs", "data.npz", "--model", "net.py:build"),
        cwd=tmp_path,
        env=environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: workers_of(running.pid))
        with pytest.raises(UsageError, match="another scan is writing there"):
            nrcscan.scan(tmp_path / "runs", data, tmp_path / "scan")
    finally:
        running.terminate()
        assert running.wait(30) == 143
