"""An extraction that ends anywhere goes on, and its file is the same as if nothing had been."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import mlp, samples
from forked import Forked
from torch import nn

from nrcscan import extract
from nrcscan.errors import InputError, UsageError
from nrcscan.extracting import unfinished
from nrcscan.extracting.kept_files import LIST, KeptFiles, folder_of
from nrcscan.extracting.provenance import versions_used
from nrcscan.files import open_safely

N, BATCH = 320, 64
X, Y = samples(N, 6, 2)
MODEL = mlp(6, 12, 9, 2)


class Sequences(nn.Module):
    """Three steps a sample, to a target each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 8), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.relu(self.first(x))).mean(dim=1)


CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "all that is kept": {"measures": "all", "cross": True, "compress": True},
    "many blocks": {"activations": False, "blocks": 2, "batch_size": 16},
    "several passes": {"memory": 250_000, "blocks": 0, "measures": "all"},
    "sketched in two passes": {"sketch": 3, "sketch_passes": 2},
    "three workers": {"dtype": "float64", "n_workers": 3, "batch_size": 20},
    "products in float32": {"precision": "float32", "predictions": False},
    "a part": {"offset": 37, "standardize": ("x", "y"), "split": "train=0.9,seed=1,part=train"},
    "tokens": {"pool": "tokens", "model": Sequences(), "data": (X.reshape(N, 3, 2), Y)},
}


def held(path: Path) -> dict[str, object]:
    """Return all that a file holds, but for when it was made."""
    found: dict[str, object] = {}

    def keep(name: str, item: h5py.Dataset | h5py.Group) -> None:
        found[name] = {key: str(item.attrs[key]) for key in item.attrs}
        if isinstance(item, h5py.Dataset) and name != "provenance":
            found[name] = (found[name], item.chunks, item.compression, np.asarray(item).tobytes())

    with h5py.File(path, "r") as file:
        file.visititems(keep)
        found[""] = {key: str(file.attrs[key]) for key in file.attrs if key != "checksums"}
        told = json.loads(bytes(file["provenance"][:]))
        found["provenance"] = {**told, "created": None}
        sums = json.loads(bytes(file["checksums"][:]))
        del sums["datasets"]["provenance"]
        found["checksums"] = sums
    return found


@pytest.fixture(autouse=True)
def saved_at_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "EVERY", 0.0)
    monkeypatch.setattr(unfinished, "SHARE", 0)


def ends_after(number: int) -> Callable[[int, int | None], None]:
    """Return what ends an extraction after so many batches."""
    left = [number]

    def progress(done: int, total: int | None) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    return progress


def in_pieces(
    path: Path, batches: int, model: Any = MODEL, data: Any = (X, Y), **options: Any
) -> int:
    """Extract, and end it after every so many batches, until it is done; return how often."""
    for number in range(100):
        try:
            extract(model, data, path, resume=True, on_progress=ends_after(batches), **options)
        except KeyboardInterrupt:
            assert not path.exists()
            continue
        assert [entry.name for entry in path.parent.iterdir()] == [path.name]
        return number
    raise AssertionError("it never comes to its end")


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_same_whatever_ends_it(tmp_path: Path, case: str) -> None:
    options = {"batch_size": BATCH, **CASES[case]}
    model, data = options.pop("model", MODEL), options.pop("data", (X, Y))
    whole, pieces = tmp_path / "whole.h5", tmp_path / "pieces" / "acts.h5"
    pieces.parent.mkdir()
    notes: list[str] = []
    extract(model, data, whole, on_note=notes.append, **options)
    assert ("several" in case) == any("passes over the data" in note for note in notes)
    batches = 7 if options["batch_size"] < BATCH else 2
    assert in_pieces(pieces, batches, model, data, **options) > 1
    assert held(pieces) == held(whole)


def test_on_a_gpu_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nrcscan.extracting.add_up.accumulates", lambda device: True)
    options: dict[str, Any] = {"batch_size": BATCH, "measures": "all", "cross": True, "blocks": 0}
    extract(MODEL, (X, Y), tmp_path / "whole.h5", **options)
    pieces = tmp_path / "pieces" / "acts.h5"
    pieces.parent.mkdir()
    assert in_pieces(pieces, 2, **options) > 1
    assert held(pieces) == held(tmp_path / "whole.h5")


class Batches:
    """Code that makes samples: nothing tells beforehand what they are."""

    def __init__(self, x: np.ndarray = X, size: int = BATCH) -> None:
        self.x, self.size = x, size

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, N, self.size):
            rows = slice(start, start + self.size)
            yield self.x[rows], Y[rows]


@pytest.mark.parametrize("once", [False, True])
def test_samples_that_code_makes(tmp_path: Path, once: bool) -> None:
    def data() -> Any:
        return iter(Batches()) if once else Batches()

    extract(MODEL, data(), tmp_path / "whole.h5")
    path = tmp_path / "pieces" / "acts.h5"
    path.parent.mkdir()
    for batches in (3, 1):
        with pytest.raises(KeyboardInterrupt):
            extract(MODEL, data(), path, resume=True, on_progress=ends_after(batches))
    others = X.copy()
    others[100] += 1  # not among the first, which the network sees before
    for other in (Batches(others), Batches(size=70)):
        with pytest.raises(UsageError, match=r"Batches: its first \d+ samples are others than .*"):
            extract(MODEL, other, path, resume=True)
    extract(MODEL, data(), path, resume=True)
    assert held(path) == held(tmp_path / "whole.h5")


def begun(path: Path, model: Any = MODEL, data: Any = (X, Y), **options: Any) -> str:
    """Begin an extraction, and return what it says that is kept of it."""
    with pytest.raises(KeyboardInterrupt) as ended:
        extract(
            model, data, path, resume=True, batch_size=BATCH, on_progress=ends_after(4), **options
        )
    (told,) = ended.value.__notes__
    return str(told)


def test_it_says_what_is_kept_and_goes_on_from_there(tmp_path: Path) -> None:
    path = tmp_path / "acts.h5"
    where = folder_of(path)
    assert begun(path) == (
        f"192 of 320 samples are kept in {where}: the same command goes on from there"
    )
    notes: list[str] = []
    seen: list[tuple[int, int | None]] = []
    extract(
        MODEL,
        (X, Y),
        path,
        resume=True,
        batch_size=BATCH,
        on_note=notes.append,
        on_progress=lambda done, total: seen.append((done, total)),
    )
    assert f"going on after 192 of 320 samples, which {where} keeps" in notes
    assert seen[0] == (256, 320)
    assert not where.exists()


OTHERS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"pool": "last"}, r"--pool: last \(was mean\)"),
    ({"data": (X, 2 * Y)}, r"the data's sha256: \w{12}… \(was \w{12}…\)"),
    ({"model": mlp(6, 12, 9, 2, seed=1)}, r"the weights: \w{12}… \(was \w{12}…\)"),
    ({"model": mlp(6, 12, 2)}, "the layers: "),
    ({"batch_size": 65}, r"--batch-size: 65 \(was 64\)"),
    ({"n_workers": 3}, r"n_workers: 3 \(was 1\) and the number of workers: 3 \(was 1\)"),
    ({"limit": 300, "compress": True}, r"--limit: 300 \(was none\) and --compress: True \("),
)


def test_another_extraction_is_refused_and_what_differs_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "acts.h5"
    begun(path, n_workers=1)
    before = sorted(path.name for path in folder_of(path).iterdir())
    options: Any = {"model": MODEL, "data": (X, Y), "batch_size": BATCH, "n_workers": 1}

    def refused(told: str, **change: Any) -> None:
        wanted = f"keeps another extraction, unfinished: .*{told}.*; go on as that was begun, or be"
        with pytest.raises(UsageError, match=wanted):
            extract(output=path, resume=True, **{**options, **change})
        assert sorted(path.name for path in folder_of(path).iterdir()) == before

    for change, told in OTHERS:
        refused(told, **change)
    for version in ("nrcscan", "torch", "numpy"):
        with monkeypatch.context() as patch:
            older = {**versions_used(), version: "0.0.1"}
            patch.setattr("nrcscan.extracting.resumed_alike.versions_used", lambda: older)  # noqa: B023
            refused(rf"{version}: 0\.0\.1 \(was .*\)")
    notes: list[str] = []
    options["batch_size"] = 65
    extract(output=path, resume=True, force=True, on_note=notes.append, **options)
    assert f"{folder_of(path)} keeps another extraction, unfinished: beginning anew" in notes
    assert [entry.name for entry in tmp_path.iterdir()] == ["acts.h5"]


def test_code_that_computes_something_else_is_seen(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.layers, self.scale = mlp(6, 12, 2), scale

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers(self.scale * x)

    path = tmp_path / "acts.h5"
    begun(path, Scaled(1.0))
    with pytest.raises(UsageError, match=r"unfinished: what the network computes: \w{12}…"):
        extract(Scaled(1.5), (X, Y), path, resume=True, batch_size=BATCH)


def damages(folder: Path) -> Iterator[str]:
    """Damage each file of a folder in every way, and mend it again."""
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        middle = len(content) // 2
        flipped = bytes([content[middle] ^ 1])
        path.unlink()
        yield f"no {path.name}"
        path.write_bytes(content[:middle])
        yield f"half of {path.name}"
        path.write_bytes(content[:middle] + flipped + content[middle + 1 :])
        yield f"another bit in {path.name}"
        path.write_bytes(content)


def test_what_is_damaged_is_never_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "acts.h5"
    begun(path)
    files = KeptFiles(path, {})
    names = []
    for name in damages(files.folder):
        names.append(name)
        if name == f"no {LIST}":
            assert files.there() is None
            continue
        with pytest.raises((ValueError, InputError)):
            print(f"{name}: taken for {files.there()}")
    assert len(names) == 3 * len(["rows"] * 3 + ["sums", LIST])
    assert files.there() is not None
    notes: list[str] = []
    next(files.folder.glob("sums-*")).write_bytes(b"")
    extract(MODEL, (X, Y), path, resume=True, batch_size=BATCH, on_note=notes.append)
    assert any("is not what was written): beginning anew" in note for note in notes)
    extract(MODEL, (X, Y), tmp_path / "whole.h5", batch_size=BATCH)
    assert held(path) == held(tmp_path / "whole.h5")


def test_what_cannot_be_read_is_not_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "acts.h5"
    begun(path)
    before = sorted(folder_of(path).iterdir())

    def fails(path: Path) -> str:
        raise InputError(f"{path}: cannot be read: Input/output error; check the path")

    with monkeypatch.context() as patch:
        patch.setattr(open_safely, "sha256", fails)
        with pytest.raises(InputError, match="rows-1: cannot be read: Input/output error"):
            extract(MODEL, (X, Y), path, resume=True, batch_size=BATCH)
    assert sorted(folder_of(path).iterdir()) == before


def test_a_link_or_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    path, elsewhere = tmp_path / "acts.h5", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "rows-1").write_bytes(b"mine")
    folder_of(path).symlink_to(elsewhere)
    with pytest.raises(UsageError, match="is a link or a file, and not a folder; remove it"):
        extract(MODEL, (X, Y), path, resume=True)
    assert (elsewhere / "rows-1").read_bytes() == b"mine"


def test_what_cannot_be_gone_on_with_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Remembers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers, self.last = mlp(6, 12, 2), torch.zeros(1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.last = x.mean()
            return self.layers(x)

    with pytest.raises(UsageError, match="this one remembers those before; leave --resume out"):
        extract(Remembers(), (X, Y), tmp_path / "acts.h5", resume=True)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_at_the_end_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "acts.h5"
    extract(MODEL, (X, Y), tmp_path / "whole.h5")

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("nrcscan.acts_file.writing.Writer.finish", full)
        with pytest.raises(OSError, match="No space left") as failed:
            extract(MODEL, (X, Y), path, resume=True)
    assert failed.value.__notes__ == [
        f"all samples are kept in {folder_of(path)}: the same command goes on from there"
    ]
    assert [entry.name for entry in folder_of(path).glob("sums-*")] == []
    seen: list[int] = []
    extract(MODEL, (X, Y), path, resume=True, on_progress=lambda done, total: seen.append(done))
    assert not seen
    assert held(path) == held(tmp_path / "whole.h5")


def test_without_the_option_it_is_left_and_named(tmp_path: Path) -> None:
    path = tmp_path / "acts.h5"
    begun(path)
    notes: list[str] = []
    extract(MODEL, (X, Y), path, on_note=notes.append)
    assert f"{folder_of(path)} keeps another, unfinished; --resume goes on with it" in notes
    assert folder_of(path).is_dir()


# --- as a program -------------------------------------------------------------------------------

_KEPT_AT_ONCE = """
from nrcscan.extracting import unfinished
unfinished.EVERY = unfinished.SHARE = 0
from nrcscan.cli.app import main
main()
"""

_SLOW = """
import time
import numpy as np
held = np.load("data.npz")
class Data:
    def __iter__(self):
        for start in range(0, 320, 16):
            time.sleep(PAUSE)
            yield held["X"][start:start + 16], held["y"][start:start + 16]
"""


def started(folder: Path) -> Forked:
    words = ["extract", "model.pt", "--data", "slow.py:Data", "--activation", "relu", "--resume"]
    return Forked(
        [sys.executable, "-c", _KEPT_AT_ONCE, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RANK": "0"},
    )


def test_signals_and_a_second_program(tmp_path: Path) -> None:
    torch.save(MODEL.state_dict(), tmp_path / "model.pt")
    np.savez(tmp_path / "data.npz", X=X, y=Y)
    where = folder_of(tmp_path / "acts.h5")
    for number, code, begins in (
        (signal.SIGINT, 130, "interrupted: "),
        (signal.SIGTERM, 143, "stopped: "),
        (signal.SIGKILL, -9, ""),
    ):
        before = where.joinpath(LIST).read_bytes() if where.exists() else b""
        (tmp_path / "slow.py").write_text(_SLOW.replace("PAUSE", "0.1"))
        child = started(tmp_path)
        deadline = time.monotonic() + 60
        while not where.joinpath(LIST).exists() or where.joinpath(LIST).read_bytes() == before:
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.01)
        if number == signal.SIGINT:
            second = started(tmp_path)
            _, said = second.communicate()
            assert second.returncode == 2
            assert "error: acts.h5: another program is writing it; wait for it, or" in said
        child.send_signal(number)
        _, said = child.communicate()
        assert child.returncode == code
        if begins:
            told = rf"{begins}\d+ samples are kept in \.acts\.h5\.resume: the same command goes on"
            assert re.search(told, said), said
    (tmp_path / "slow.py").write_text(_SLOW.replace("PAUSE", "0"))
    child = started(tmp_path)
    _, said = child.communicate()
    assert child.returncode == 0, said
    assert re.search(r"going on after \d+ samples, which \.acts\.h5\.resume keeps", said)
    assert {entry.name for entry in tmp_path.iterdir()} >= {"acts.h5"}
    assert not where.exists()
    slow: dict[str, Any] = {"__name__": "slow", "np": np, "held": {"X": X, "y": Y}}
    exec(_SLOW.replace("PAUSE", "0").replace('np.load("data.npz")', "held"), slow)
    extract(tmp_path / "model.pt", slow["Data"](), tmp_path / "whole.h5", activation="relu")
    found, expected = held(tmp_path / "acts.h5"), held(tmp_path / "whole.h5")
    assert {**found, "provenance": 0} == {**expected, "provenance": 0}
