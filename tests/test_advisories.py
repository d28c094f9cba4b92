"""What published advisories describe, built anew: nothing runs, and nothing elsewhere is read.

Where what is installed can still be made to do it, a control shows that the file would have.
"""

from __future__ import annotations

import base64
import json
import marshal
import os
import pickle
import re
import struct
import subprocess
import sys
import types
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from conftest import ROOT, Run, mlp, samples
from test_hostile import Bomb, Writes, _exported, _legacy, _tar, _zip, goes_off
from test_inert_pickles import rezipped
from test_onnx import WEIGHT, with_data

import nrcscan
from nrcscan import InputError
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint
from nrcscan.inputs.datasets.open_dataset import open_dataset

pytestmark = pytest.mark.filterwarnings("ignore")

Control = Callable[[Path], object] | None


@dataclass(frozen=True)
class Advisory:
    """One, or several of one kind.

    Attributes:
        numbers: as they are published.
        write: writes a file into a folder, whose code would touch a marker; returns what is to be
            read, and what really loads it, where that can be had.
        says: what the message says; None where the file is read, and what is harmless of it taken.
        read: it.
    """

    numbers: str
    write: Callable[[Path, Path], tuple[Any, Control]]
    says: str | None
    read: Callable[[Any], Any] = open_checkpoint


class Calls:
    """Calls a function of the standard library when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._called = function, arguments

    def __reduce__(self) -> Any:
        return self._called


def _of(write: Any) -> Callable[[Path, Path], tuple[Any, Control]]:
    def written(folder: Path, marker: Path) -> tuple[Any, Control]:
        return folder / "m.pt", write(Bomb(marker), folder / "m.pt")

    return written


# --- torch -------------------------------------------------------------------------------------


def _item_of_a_number(folder: Path, marker: Path) -> tuple[Any, Control]:
    """An item is set in what is no dict, which torch did at any place in memory."""
    torch.save({"w": torch.zeros(4)}, folder / "m.pt")
    rezipped(folder / "m.pt", {"data.pkl": b"\x80\x02K\x01K\x02K\x03s."})
    return folder / "m.pt", None


def _more_than_stored(folder: Path, marker: Path) -> tuple[Any, Control]:
    """A tensor has more numbers than its storage."""
    path = folder / "m.pt"
    torch.save({"w": torch.zeros(5, 3)}, path)
    with zipfile.ZipFile(path) as archive:
        pickled = archive.read("m/data.pkl")
    changed = pickled.replace(b"K\x05K\x03\x86", b"J\xff\xff\xff\x7fK\x03\x86")
    assert changed != pickled
    rezipped(path, {"data.pkl": changed})
    return path, None


def _torchscript(folder: Path, marker: Path) -> tuple[Any, Control]:
    torch.jit.save(torch.jit.script(Writes(str(marker))), folder / "m.pt")
    return folder / "m.pt", lambda path: torch.jit.load(str(path))


# --- what scanners of pickles missed -------------------------------------------------------------


def _archive(folder: Path, marker: Path) -> tuple[Path, Control]:
    return folder / "m.pt", _zip(Bomb(marker), folder / "m.pt")


def _in_another_member(folder: Path, marker: Path) -> tuple[Any, Control]:
    """The pickle has no name of pickles."""
    path, _ = _archive(folder, marker)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("m/config.p", pickle.dumps(Bomb(marker)))
    return path, lambda path: pickle.loads(zipfile.ZipFile(path).read("m/config.p"))


def _patched(at: int, change: Callable[[bytes], bytes], *, central: bool) -> Any:
    """Return what damages data.pkl's header, in the archive's directory or before the member."""

    def write(folder: Path, marker: Path) -> tuple[Any, Control]:
        path, control = _archive(folder, marker)
        content = bytearray(path.read_bytes())
        start = content.rindex(b"PK\x01\x02", 0, content.rindex(b"m/data.pkl"))
        if not central:
            start = struct.unpack("<I", content[start + 42 : start + 46])[0]
        content[start + at :] = change(bytes(content[start + at :]))
        path.write_bytes(content)
        # torch itself takes an encrypted member for damage by now
        return path, None if change is _encrypted and central else control

    return write


def _renamed(rest: bytes) -> bytes:
    return rest.replace(b"m/data.pkl", b"m/data.txt", 1)


def _encrypted(rest: bytes) -> bytes:
    return bytes([rest[0] | 1]) + rest[1:]


def _other_crc(rest: bytes) -> bytes:
    return bytes([rest[0] ^ 0xFF]) + rest[1:]


def _calling(function: str, *arguments: Any) -> Any:
    """Return what writes a raw pickle that calls a function by its dotted name."""
    module, name = function.split(":")

    def write(folder: Path, marker: Path) -> tuple[Any, Control]:
        given = [[str(marker) if w == "MARKER" else w for w in a] if isinstance(a, list) else
                 str(marker) if a == "MARKER" else a for a in arguments]  # fmt: skip
        packed = pickle.dumps(Calls(os.system, *given), protocol=2)
        called = packed.replace(b"cposix\nsystem\n", f"c{module}\n{name}\n".encode())
        (folder / "m.pt").write_bytes(b"\x80\x04" + called[2:])

        def load(path: Path) -> None:
            found = pickle.loads(path.read_bytes())
            if isinstance(found, subprocess.Popen):
                found.wait()

        return folder / "m.pt", load

    return write


# --- others --------------------------------------------------------------------------------------


def _random_state(folder: Path, marker: Path) -> tuple[Any, Control]:
    """A checkpoint of transformers' Trainer, with a pickle that it loads beside the weights."""
    safetensors.torch.save_file(mlp(4, 3, 2).state_dict(), folder / "model.safetensors")
    torch.save(Bomb(marker), folder / "rng_state.pth")
    return folder, lambda path: torch.load(path / "rng_state.pth", weights_only=False)


def _config(**entries: Any) -> Callable[[Path, Path], tuple[Any, Control]]:
    def write(folder: Path, marker: Path) -> tuple[Any, Control]:
        told = {"model_type": "vit", "architectures": ["ViTForImageClassification"], **entries}
        (folder / "config.json").write_text(json.dumps(told))
        safetensors.torch.save_file({"w": torch.zeros(2, 2)}, folder / "model.safetensors")
        return folder, None

    return write


def _onnx_data(place: Callable[[Path, Path], str], **more: str) -> Any:
    def write(folder: Path, marker: Path) -> tuple[Any, Control]:
        (folder / "in").mkdir()
        secret = folder / "secret"
        secret.write_bytes(WEIGHT.tobytes())
        path = with_data(folder / "in" / "m.onnx", place(folder / "in", secret))
        model = onnx.load(path, load_external_data=False)
        for key, value in more.items():
            model.graph.initializer[0].external_data.add(key=key, value=value)
        path.write_bytes(model.SerializeToString())
        return path, None

    return write


def _hard(folder: Path, secret: Path) -> str:
    os.link(secret, folder / "w")
    return "w"


def _symbolic(folder: Path, secret: Path) -> str:
    (folder / "w").symlink_to(secret)
    return "w"


def _own(folder: Path, secret: Path) -> str:
    (folder / "w").write_bytes(secret.read_bytes())
    return "w"


def _keras(folder: Path, marker: Path) -> tuple[Any, Control]:
    call = {"module": "os", "class_name": "function", "config": f"touch {marker}"}
    with zipfile.ZipFile(folder / "m.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", json.dumps({"config": {"layers": [call]}}))
        archive.writestr("model.weights.h5", b"\x89HDF\r\n\x1a\n")
    return folder / "m.keras", None


def _keras_hdf5(folder: Path, marker: Path) -> tuple[Any, Control]:
    code = compile(f"open({str(marker)!r}, 'w').close()", "lambda", "exec")
    packed = base64.b64encode(marshal.dumps(code)).decode()
    layer = {"class_name": "Lambda", "config": {"function": [packed, None, None]}}
    with h5py.File(folder / "m.h5", "w") as file:
        file.attrs["keras_version"] = "3.0.0"
        file.attrs["model_config"] = json.dumps({"config": {"layers": [layer]}})
        file.create_group("model_weights")

    def load(path: Path) -> None:
        with h5py.File(path) as file:
            told = json.loads(file.attrs["model_config"])
        (layer,) = told["config"]["layers"]
        held = marshal.loads(base64.b64decode(layer["config"]["function"][0]))
        types.FunctionType(held, {})()

    return folder / "m.h5", load


def _hdf5(how: str) -> Callable[[Path, Path], tuple[Any, Control]]:
    def write(folder: Path, marker: Path) -> tuple[Any, Control]:
        secret = folder / "secret.h5"
        with h5py.File(secret, "w", userblock_size=512) as file:
            file["X"] = np.full((10, 4), 7777.0)
        secret.write_bytes(np.full(64, 7777.0).tobytes() + secret.read_bytes()[512:])
        with h5py.File(folder / "d.h5", "w") as file:
            file["y"] = np.zeros((10, 2))
            if how == "link":
                file["X"] = h5py.ExternalLink(str(secret), "X")
            else:
                file.create_dataset("X", (10, 4), "f8", external=[(str(secret), 0, 320)])

        def load(path: Path) -> None:
            with h5py.File(path) as file:
                if (file["X"][:] == 7777).any():
                    marker.touch()

        return folder / "d.h5", load

    return write


def _objects(folder: Path, marker: Path) -> tuple[Any, Control]:
    np.savez(folder / "d.npz", X=np.array([Bomb(marker)], dtype=object), y=np.zeros(1))
    return folder / "d.npz", lambda path: np.load(path, allow_pickle=True)["X"]


def _overlapping(folder: Path, marker: Path) -> tuple[Any, Control]:
    """The second array's header and content lie within the first's content."""
    held = {}
    for name, array in (("y", np.zeros((9, 1))), ("X", np.zeros((9, 4)))):
        written = BytesIO()
        np.save(written, array)
        held[name] = written.getvalue()
    inner = BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("y.npy", held["y"])
    quoted = inner.getvalue()[: 30 + len("y.npy") + len(held["y"])]
    with zipfile.ZipFile(folder / "d.npz", "w") as archive:
        archive.writestr("X.npy", held["X"] + quoted)
        member = zipfile.ZipInfo("y.npy")
        member.header_offset = 30 + len("X.npy") + len(held["X"])
        member.file_size = member.compress_size = len(held["y"])
        member.CRC = zlib.crc32(held["y"])
        archive.filelist.append(member)
        archive.NameToInfo["y.npy"] = member
    return folder / "d.npz", None


NOT_OPENED = r"not opened, .*posix\.system"
OUTSIDE = "outside its own folder"
CODE = "names code to run; take it out"

ADVISORIES = {
    "a tar of torch": Advisory("CVE-2025-32434", _of(_tar), NOT_OPENED),
    "torch before 1.6": Advisory("CVE-2025-32434", _of(_legacy), NOT_OPENED),
    "an item of no dict": Advisory("CVE-2026-24747", _item_of_a_number, "damaged|not opened"),
    "more than is stored": Advisory("CVE-2026-24747", _more_than_stored, "damaged|not opened"),
    "an exported program": Advisory("CVE-2026-4538", _of(_exported), NOT_OPENED),
    "TorchScript": Advisory("torch.jit.load", _torchscript, "is a TorchScript program, which can"),
    "no name of pickles": Advisory("CVE-2025-1889", _in_another_member, None),
    "another name before the member": Advisory(
        "CVE-2025-1944", _patched(0, _renamed, central=False), None
    ),
    "flags of encryption": Advisory(
        "CVE-2025-1945", _patched(8, _encrypted, central=True), "damaged|not opened|encrypted"
    ),
    "flags before the member": Advisory(
        "CVE-2025-1945", _patched(6, _encrypted, central=False), None
    ),
    "another CRC": Advisory("CVE-2025-10156", _patched(16, _other_crc, central=True), None),
    "an archive called .bin": Advisory(
        "CVE-2025-10155", lambda f, m: (f / "m.bin", _zip(Bomb(m), f / "m.bin")), None
    ),
    "a submodule": Advisory(
        "CVE-2025-10157",
        _calling("asyncio.unix_events:subprocess.Popen", ["touch", "MARKER"]),
        r"not opened, .*asyncio\.unix_events\.subprocess\.Popen",
    ),
    "pip": Advisory(
        "CVE-2025-1716", _calling("pip:main", ["--version"]), r"not opened, .*pip\.main"
    ),
    "uuid": Advisory(
        "CVE-2026-56315",
        _calling("uuid:_get_command_stdout", "touch", "MARKER"),
        r"not opened, .*uuid\._get_command_stdout",
    ),
    "random states of Trainer": Advisory("CVE-2026-1839", _random_state, None),
    "attention": Advisory(
        "CVE-2026-4372", _config(_attn_implementation_internal="evil/kernel"), CODE
    ),
    "nested trust": Advisory(
        "CVE-2026-5241", _config(keypoint_detector_config={"trust_remote_code": True}), CODE
    ),
    "a hard link": Advisory("CVE-2026-34446", _onnx_data(_hard), "has a second name, a hard link"),
    "a symbolic link": Advisory(
        "CVE-2026-34447, CVE-2026-27489", _onnx_data(_symbolic), "is a link out of its folder"
    ),
    "two dots": Advisory(
        "CVE-2024-27318, CVE-2025-51480", _onnx_data(lambda f, s: "../secret"), OUTSIDE
    ),
    "more dots": Advisory("CVE-2024-27318", _onnx_data(lambda f, s: "a/../../secret"), OUTSIDE),
    "a member of its class": Advisory(
        "CVE-2026-34445", _onnx_data(_own, basepath="/", length=str(2**60)), "damaged"
    ),
    "a module of Keras": Advisory(
        "CVE-2025-1550, CVE-2025-8747, CVE-2025-9906", _keras, "is a Keras model"
    ),
    "a Lambda of Keras": Advisory("CVE-2025-9905", _keras_hdf5, "is a Keras model"),
    "an external link": Advisory(
        "datasets#8523", _hdf5("link"), "is a link to somewhere else", open_dataset
    ),
    "external storage": Advisory(
        "h5py#2891", _hdf5("storage"), "keeps its data in another file", open_dataset
    ),
    "objects of NumPy": Advisory("CVE-2019-6446", _objects, "an object array", open_dataset),
    "members that overlap": Advisory(
        "CVE-2024-0450", _overlapping, "damaged.*overlap", open_dataset
    ),
}  # fmt: skip


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Variables that ask libraries to load what comes, none of which is to count."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setenv("HF_DATASETS_TRUST_REMOTE_CODE", "1")
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(tmp_path))
    monkeypatch.setenv("ORT_LOAD_CONFIG_FROM_MODEL", "1")


@pytest.mark.parametrize("name", ADVISORIES)
def test_what_an_advisory_describes_does_nothing(tmp_path: Path, name: str) -> None:
    one, marker, folder = ADVISORIES[name], tmp_path / "marker", tmp_path / "made"
    folder.mkdir()
    path, control = one.write(folder, marker)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    if one.says is None:
        one.read(path)
    else:
        with pytest.raises(InputError, match=one.says) as caught:
            one.read(path)
        assert len(str(caught.value).splitlines()) == 1
    with suppress(InputError):  # of a network that it does not build it may tell the rest
        nrcscan.inspect(path)
    assert not marker.exists()
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    if control is not None and name != "pip":
        assert goes_off(control, path, marker)


def test_the_page_has_every_number() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    told = {number for one in ADVISORIES.values() for number in one.numbers.split(", ")}
    assert not [number for number in told if number not in page]
    listed = set(re.findall(r"CVE-\d{4}-\d+", page))
    assert listed <= told


# --- what lies in a folder that is scanned -------------------------------------------------------

MODULES = (
    "torch.py", "numpy.py", "h5py.py", "json.py", "sitecustomize.py", "usercustomize.py",
    "conftest.py", "typer.py", "rich/__init__.py", "nrcscan/__init__.py", "nrcscan/__main__.py",
)  # fmt: skip


@pytest.fixture
def trapped(tmp_path: Path) -> tuple[Path, Path]:
    """Return a folder with a network, and modules and pipes; and the marker that these leave."""
    folder, marker = tmp_path / "runs", tmp_path / "marker"
    folder.mkdir()
    for name in MODULES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"open({str(marker)!r}, 'w').close()\n")
    torch.save(mlp(4, 3, 2).state_dict(), folder / "epoch_1.pt")
    os.mkfifo(folder / "epoch_2.pt")
    (folder / "epoch_3.pt").symlink_to("/dev/zero")
    (folder / "nrcscan").joinpath("epoch_4.pt").symlink_to("/dev/tty")
    x, y = samples(30, 4, 2)
    np.savez(tmp_path / "data.npz", X=x, y=y)
    return folder, marker


def _command(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as it is installed: its own folder comes first in sys.path, no other."""
    start = "import sys; sys.argv[0] = 'nrcscan'; from nrcscan.__main__ import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-P", "-c", start, *map(str, words)],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_modules_and_pipes_of_a_folder_are_left_alone(
    trapped: tuple[Path, Path], tmp_path: Path
) -> None:
    folder, marker = trapped
    data, out = tmp_path / "data.npz", tmp_path / "out"
    done = _command("scan", ".", data, "-o", out, "--jobs", "1", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert not marker.exists()
    told = json.loads((out / "scan.json").read_text())
    assert [one["path"] for one in told["checkpoints"]] == ["epoch_1.pt"]
    assert "Traceback" not in done.stderr
    subprocess.run([sys.executable, "-c", "import typer"], cwd=folder, check=False, timeout=60)
    assert marker.exists()  # which Python itself does there


@pytest.mark.parametrize("name", ["nrcscan.toml", "pyproject.toml"])
@pytest.mark.parametrize(
    "line",
    [
        "model = 'evil.py:build'", "data = 'evil.py:load'", "pythonpath = 'lib'",
        "cluster = 'tcp://evil:8786'",
    ],
)  # fmt: skip
def test_settings_in_a_folder_that_is_scanned_name_no_code(
    trapped: tuple[Path, Path], tmp_path: Path, name: str, line: str, cli: Run
) -> None:
    folder, marker = _with_settings(trapped, name, line)
    data = [] if line.startswith("data") else [tmp_path / "data.npz"]
    for place, scanned in ((folder, "."), (folder / "rich", "..")):
        done = cli("scan", scanned, *data, "-o", tmp_path / "out", cwd=place)
        assert done.returncode == 2, done.stderr
        assert "is in the folder that is scanned, and its" in done.stderr
        assert not marker.exists()


@pytest.mark.usefixtures("workers_here")
def test_settings_are_not_looked_for_in_a_folder_that_is_scanned(
    trapped: tuple[Path, Path], tmp_path: Path, cli: Run
) -> None:
    folder, marker = _with_settings(trapped, "nrcscan.toml", "model = 'evil.py:build'\nlimit = 1")
    done = cli("scan", folder, tmp_path / "data.npz", "-o", tmp_path / "out", "--jobs", "1")
    assert done.returncode == 0, done.stderr
    assert not marker.exists()


def _with_settings(trapped: tuple[Path, Path], name: str, text: str) -> tuple[Path, Path]:
    folder, marker = trapped
    (folder / "evil.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    table = "[tool.nrcscan]\n" if name == "pyproject.toml" else ""
    (folder / name).write_text(table + text)
    return trapped
