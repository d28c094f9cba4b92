"""One door per input: whatever a file is, what comes of it is a result or an NrcscanError."""

from __future__ import annotations

import ast
import gzip
import io
import json
import os
import random
import signal
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import ROOT, edited
from fuzz import READERS, Reader, damaged, fuzz, outcome

import nrcscan
from nrcscan.errors import InputError, NrcscanError, UsageError
from nrcscan.files import budgets, open_safely
from nrcscan.files.read_json import DEEPEST, parse_json
from nrcscan.files.read_toml import parse_toml
from nrcscan.gating.settings_file import find_settings
from nrcscan.inputs.datasets.open_dataset import open_dataset

PACKAGE = ROOT / "nrcscan"
KINDS = sorted(READERS)


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fail, rather than wait, where something never ends."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# --- every reader, and everything that is thrown at it -----------------------------------------


def _bomb() -> bytes:
    """An archive of arrays that would be unpacked to 3 GB each."""
    held = io.BytesIO()
    header = b"{'descr': '<f8', 'fortran_order': %s, 'shape': (200000, 2000), }\n"
    with zipfile.ZipFile(held, "w") as archive:
        for name, order in (("X", b"True"), ("y", b"False"), ("x_mean", b"False")):
            text = header % order
            start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
            archive.writestr(f"{name}.npy", start + bytes(1000))
    return held.getvalue()


CONTENTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "one byte": lambda good: good[:1],
    "half": lambda good: good[: len(good) // 2],
    "all but the end": lambda good: good[:-1],
    "zeros": lambda good: bytes(4096),
    "noise": lambda good: random.Random(0).randbytes(4096),
    "deep JSON": lambda good: b"[" * 100_000,
    "deep objects": lambda good: b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "a huge integer": lambda good: b'{"weight_map": ' + b"9" * 100_000 + b"}",
    "infinity": lambda good: b'{"weight_map": Infinity, "schema": NaN}',
    "a list": lambda good: b"[1, 2, 3]",
    "deep TOML": lambda good: b"a=" + b"[" * 100_000,
    "long keys of TOML": lambda good: b"a." * 100_000 + b"a = 1",
    "a bomb": lambda good: _bomb(),
    "a bomb of gzip": lambda good: gzip.compress(b"1,2,3\n" * 100 + b"1" * (1 << 25)),
    "twice": lambda good: good + good,
}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """What a good file of each kind holds."""
    held: dict[str, bytes] = {}

    def content(kind: str) -> bytes:
        if kind not in held:
            held[kind] = READERS[kind].write(tmp_path_factory.mktemp("good")).read_bytes()
        return held[kind]

    return content


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_malformed_is_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    reader = READERS[kind]
    path = reader.write(tmp_path)
    content = path.read_bytes()
    assert outcome(reader, path) == "result"
    wrong = {}
    for name, change in CONTENTS.items():
        path.write_bytes(change(content))
        with within(20):
            found = outcome(reader, path)
        if found not in ("result", "refused"):
            wrong[name] = found
    assert not wrong


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "arguments"])
def test_pipes_and_devices_and_folders_are_never_waited_for(kind: str, tmp_path: Path) -> None:
    reader = READERS[kind]
    path = reader.write(tmp_path)
    wrong = {}

    def pipe() -> None:
        os.mkfifo(path)

    def device() -> None:
        path.symlink_to("/dev/zero")

    def loop() -> None:
        path.symlink_to(path)

    for make in (pipe, device, loop, path.mkdir):
        path.unlink() if not path.is_dir() else path.rmdir()
        make()
        with within(20):
            found = outcome(reader, path)
        if found not in ("result", "refused"):
            wrong[make.__name__] = found
    assert not wrong


@pytest.mark.parametrize("kind", KINDS)
def test_files_with_random_damage(kind: str) -> None:
    counts = fuzz(READERS[kind], 100, seed=1)
    assert not counts.violations
    assert sum(counts.outcomes.values()) == 100


def test_the_harness_sees_what_goes_wrong(tmp_path: Path) -> None:
    def fails(path: Path) -> None:
        match path.read_bytes()[:1]:
            case b"g":
                return
            case byte if byte > b"\x80":
                os.kill(os.getpid(), signal.SIGKILL)
        raise ZeroDivisionError

    def write(folder: Path) -> Path:
        (folder / "file").write_bytes(b"g")
        return folder / "file"

    counts = fuzz(Reader("failing", write, fails), 60, seed=0)
    assert any("ZeroDivisionError" in one for one in counts.violations)
    assert any("the process ends with 9" in one for one in counts.violations)


# --- no reader is forgotten ----------------------------------------------------------------------

OPENERS = {
    "open", "read_text", "read_bytes", "load", "loads", "File", "ZipFile", "is_zipfile",
    "is_tarfile", "fromfile", "from_file", "loadtxt", "loadmat", "whosmat", "safe_open",
    "memory_map", "OSFile", "open_stream", "ParquetFile", "read_table", "InferenceSession",
    "ParseFromString", "from_pretrained", "read_metadata", "raw_decode", "opened",
    "read_json", "parse_json", "parse_toml",
}  # fmt: skip
"""What calls that open, or parse, are called."""


READ_IN: dict[str, tuple[str, tuple[str, ...] | str]] = {
    "acts_file/checksum_record.py": ("parse_json", ("acts",)),
    "acts_file/h5_files.py": ("File open", "writes"),
    "acts_file/reading.py": ("File parse_json", ("acts",)),
    "acts_file/self_contained.py": ("open", ("acts", "hdf5")),
    "acts_file/writing.py": ("File", "its own rows, which it has just written"),
    "cli/console.py": ("open", "writes"),
    "cli/guard.py": ("open read_text", "what the system says of processes"),
    "cli/option_groups.py": ("parse_json", ("arguments",)),
    "cutting/write_cut.py": ("opened", "opens no file: Acts that are open"),
    "cutting/written_forms.py": ("InferenceSession load read_text", "what it has just written"),
    "demonstration/networks.py": ("read_bytes", "files of the package"),
    "extracting/extract.py": ("opened", "opens no file: a dataset that is open"),
    "extracting/kept_files.py": ("read_json", ("kept list",)),
    "extracting/measure.py": ("opened", "opens no file: a dataset that is open"),
    "files/claims.py": ("open", "locks, which hold nothing"),
    "extracting/resumed_alike.py": ("loads", "what it has just written"),
    "files/memory_left.py": ("read_text", "what the system says of memory"),
    "files/open_safely.py": ("open opened", "the door itself"),
    "files/read_json.py": (
        "loads parse_json",
        ("arguments", "index", "config", "adapter", "baseline", "record", "kept list"),
    ),
    "files/read_toml.py": ("loads", ("toml", "project")),
    "files/sniff.py": ("ZipFile opened", ("npz", "image")),
    "files/text_kinds.py": ("raw_decode", ("arguments",)),
    "files/write_atomically.py": ("open", "writes"),
    "gating/github.py": ("open", "appends to what GitHub names"),
    "gating/settings_file.py": ("parse_toml", ("toml", "project")),
    "inputs/catalogue.py": ("read_text", "a page of the documentation"),
    "inputs/checkpoints/distributed_folder.py": ("load read_metadata", "with --trust alone"),
    "inputs/ask_nobody.py": ("open", "the null device"),
    "inputs/checkpoints/huggingface_config.py": ("read_json", ("config",)),
    "inputs/checkpoints/huggingface_folder.py": (
        "from_pretrained",
        "transformers' own reader, behind checks of the folder",
    ),
    "inputs/checkpoints/left_out.py": ("opened", "opens no file: a pickle that is open"),
    "inputs/checkpoints/no_checkpoint.py": ("File", ("acts", "hdf5", "keras")),
    "inputs/checkpoints/onnx_model.py": ("InferenceSession ParseFromString", ("onnx",)),
    "inputs/checkpoints/pickle_globals.py": (
        "ZipFile is_tarfile is_zipfile open opened",
        ("state dict",),
    ),
    "inputs/checkpoints/pickle_outline.py": ("ZipFile is_zipfile load opened", ("state dict",)),
    "inputs/checkpoints/safetensors_file.py": ("load opened parse_json", ("safetensors",)),
    "inputs/checkpoints/sharded_index.py": ("read_json", ("index",)),
    "inputs/checkpoints/signs.py": (
        "ZipFile open opened read_json",
        ("index", "config", "adapter"),
    ),
    "inputs/checkpoints/stable_baselines3.py": ("ZipFile open", ("policy",)),
    "inputs/checkpoints/torch_save.py": ("load opened", ("state dict",)),
    "inputs/checkpoints/torchscript_and_exported.py": ("load", "with --trust alone"),
    "inputs/datasets/csv_text.py": ("loadtxt open", ("csv",)),
    "inputs/datasets/hdf5_arrays.py": ("File opened", ("hdf5",)),
    "inputs/datasets/image_folder.py": ("load open", ("image",)),
    "inputs/datasets/matlab_arrays.py": ("loadmat whosmat", ("matlab",)),
    "inputs/datasets/matlab_types.py": ("opened", ("matlab",)),
    "inputs/datasets/numpy_files.py": ("ZipFile load open opened", ("scales", "npz", "npy")),
    "inputs/datasets/parquet_and_arrow.py": ("ParquetFile parse_json", ("parquet",)),
    "inputs/datasets/saved_datasets_folder.py": (
        "OSFile memory_map open_stream opened read_json",
        ("saved folder",),
    ),
    "inputs/datasets/saved_tensors.py": ("safe_open", ("tensors",)),
    "inputs/datasets/text_lines.py": ("opened", ("csv",)),
    "inputs/pickles/load_inert.py": ("load opened", ("state dict", "old state dict", "torch data")),
    "inputs/pickles/zip_records.py": ("ZipFile from_file opened", ("state dict", "torch data")),
    "inputs/script_source.py": ("open", "the user's own code"),
    "inspecting/inspect_folder.py": ("read_json", ("config",)),
    "metrics/quantity_tables.py": ("read_text", "a page of the documentation"),
    "publishing/whole_document.py": ("read_text", "files of the package"),
    "scanning/cache.py": ("read_json", ("record",)),
    "scanning/read_scan.py": ("read_json", ("baseline",)),
    "scanning/scan.py": ("open", "a folder, for a lock"),
    "scanning/scan_plan.py": ("load", "opens no file: the cache does"),
    "scanning/worker_pool.py": ("loads", "what the parent sends"),
    "scanning/worker_process.py": ("load", "what the parent sends"),
    "statistics/saved_state.py": ("open opened parse_json", ("kept sums",)),
}
"""Module → what in it opens or parses, and the kinds that damage what it reads, or why none."""


def _opens(path: Path) -> set[str]:
    return {
        name
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        for name in [getattr(node.func, "attr", getattr(node.func, "id", ""))]
        if name in OPENERS
    }


def test_every_module_that_opens_files_is_known() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): " ".join(sorted(opens))
        for path in sorted(PACKAGE.rglob("*.py"))
        if (opens := _opens(path))
    }
    assert found == {name: opens for name, (opens, _) in READ_IN.items()}, (
        "what opens files has changed: go through nrcscan/files, and say in READ_IN which kinds of"
        " tests/fuzz.py damage what it reads"
    )
    kinds = {kind for _, told in READ_IN.values() if isinstance(told, tuple) for kind in told}
    assert kinds == set(READERS)


# --- single doors --------------------------------------------------------------------------------

LONG = "x" * 300


@pytest.mark.parametrize(
    "call",
    [
        lambda: nrcscan.inspect(LONG),
        lambda: nrcscan.report(LONG),
        lambda: nrcscan.extract(LONG, "data.npz", output="acts.h5"),
        lambda: nrcscan.extract("model.pt", LONG, output="acts.h5"),
        lambda: nrcscan.scan(LONG, "data.npz", output="out"),
        lambda: nrcscan.merge(["a.h5", LONG], output="acts.h5"),
        lambda: open_dataset(LONG),
        lambda: open_dataset("a\0b"),
        lambda: find_settings(LONG),
    ],
)
def test_names_that_no_file_can_have(call: Callable[[], object]) -> None:
    with pytest.raises(NrcscanError):
        call()


def test_what_is_read_is_of_a_size_that_it_can_have(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    assert len(open_safely.content(path, "small", 100)) == 100
    with pytest.raises(InputError, match="which no small file has; give another"):
        open_safely.content(path, "small", 99)


@pytest.mark.parametrize("text", ["[" * DEEPEST + "]" * DEEPEST, '{"a": 1.5}', "0"])
def test_json_that_is_read(text: str) -> None:
    assert parse_json(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "inside one another"),
        ("[" * 100_000, "inside one another"),
        ("1" * 101, "a number of 101 digits"),
        ("1" * 10_000, "a number of 10000 digits"),
        ("[1e999]", "out of range"),
        ("[NaN]", "NaN in it"),
        ("[" + "," * 10_000_001 + "]", "values in it"),
        (b"\xff", "utf-8"),
    ],
)
def test_json_that_is_not(text: str | bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_json(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"a=" + b"[" * 10_000, "cannot be read"),
        (b"a." * 200_000 + b"a=1", "a key of more than"),
        (b"a=1" + b"0" * 4000, "digits"),
    ],
)
def test_toml_that_is_not(text: bytes, why: str) -> None:
    with within(10), pytest.raises(ValueError, match=why):
        parse_toml(text)


# --- budgets -------------------------------------------------------------------------------------


def _grown(call: Callable[[], object]) -> float:
    """Return by how many MB the memory grows that numpy holds at its highest."""
    import tracemalloc

    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def _refused(call: Callable[[], object], match: str) -> float:
    def within_it() -> None:
        with pytest.raises(InputError, match=match):
            call()

    return _grown(within_it)


def _read(path: Path) -> int:
    return sum(len(y) for _, y in open_dataset(path).batches(64))


def test_shapes_that_were_never_written_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        file.create_dataset("X", shape=(1000, 2**33), dtype="f8", chunks=(1, 2**20))
        file.create_dataset("y", shape=(1000, 1), dtype="f8")
    with h5py.File(tmp_path / "long.h5", "w") as file:
        file.create_dataset("X", shape=(2**50, 4), dtype="f8", chunks=(64, 4))
        file.create_dataset("y", shape=(2**50, 1), dtype="f8", chunks=(64, 1))
    with within(20):
        assert _refused(lambda: _read(tmp_path / "wide.h5"), "at a time more than 1.1 GB") < 50
        assert _refused(lambda: _read(tmp_path / "long.h5"), "the file holds 0 bytes of it") < 50


def test_statistics_that_were_never_written_are_refused(tmp_path: Path) -> None:
    path = READERS["acts"].write(tmp_path)
    with edited(path) as file:
        del file["positions/0000/covariance"], file["positions/0000/mean"]
        file.create_dataset("positions/0000/mean", shape=(2**20,), dtype="f8")
        file.create_dataset("positions/0000/covariance", shape=(2**20, 2**20), dtype="f8",
                            chunks=(1, 2**10))  # fmt: skip
    with within(20):
        assert _refused(lambda: nrcscan.report(path), "damaged or cut short") < 50


def test_arrays_stored_by_columns_are_not_unpacked_from_nothing(tmp_path: Path) -> None:
    shape = (1 << 13, 1 << 13)  # 512 MB of zeros
    with zipfile.ZipFile(tmp_path / "data.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, of in (("X", shape), ("y", (1 << 13, 1))):
            text = f"{{'descr': '<f8', 'fortran_order': True, 'shape': {of}, }}\n".encode()
            with archive.open(f"{name}.npy", "w") as member:
                member.write(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
                for _ in range(of[1]):
                    member.write(bytes(8 << 13))
    with within(60):
        assert _refused(lambda: _read(tmp_path / "data.npz"), "claims 536.9 MB") < 100


def test_samples_without_numbers_do_not_go_on_for_ever(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        for name in ("X", "y"):
            text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({2**50}, 0), }}\n".encode()
            start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
            archive.writestr(f"{name}.npy", start)
    with within(10), pytest.raises(InputError, match="reshape them, to hold numbers"):
        _read(tmp_path / "data.npz")


def test_what_is_compressed_in_earnest_is_read(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "data.npz", X=np.zeros((400_000, 4)), y=np.ones((400_000, 1)))
    assert _read(tmp_path / "data.npz") == 400_000
    budgets.require_earnest(budgets.UNPACKED, 0, "few")
    with pytest.raises(ValueError, match="claims 1.1 GB, and the file holds 12 bytes of it"):
        budgets.require_earnest(1 << 30, 12, "it")


def test_a_pipe_among_the_files_of_a_network_is_not_opened(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    READERS["config"].write(tmp_path)
    os.mkfifo(tmp_path / "generation_config.json")
    began = time.monotonic()
    with within(60), pytest.raises(InputError, match="not a regular file; remove it"):
        nrcscan.extract(tmp_path, "data.npz", output=tmp_path / "acts.h5") if (
            tmp_path / "data.npz"
        ).exists() else _built(tmp_path)
    assert time.monotonic() - began < 60


def _built(folder: Path) -> object:
    from nrcscan.inputs.checkpoints.huggingface_folder import read_folder

    return read_folder(folder)


def test_settings_in_a_pipe_say_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "nrcscan.toml")
    with within(10), pytest.raises(UsageError, match="not a regular file"):
        find_settings(tmp_path)


def test_damage_is_the_same_for_a_seed() -> None:
    content = torch.arange(100, dtype=torch.uint8).numpy().tobytes()
    assert damaged(content, random.Random(3)) == damaged(content, random.Random(3))


def test_thousands_of_layers_are_ordered_by_their_numbers(tmp_path: Path) -> None:
    import safetensors.torch

    state = {}
    for i in range(3000):
        state[f"l{i}.weight"], state[f"l{i}.bias"] = torch.zeros(2, 2), torch.zeros(2)
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    with within(60):
        assert nrcscan.inspect(tmp_path / "model.safetensors").problem is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("positions/0001/covariance", 1e300, r"cannot be computed with \(Numerical result out of"),
        ("positions/0001/blocks/mean", -1e300, None),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_statistics_beyond_float64(
    tmp_path: Path, name: str, value: float, message: str | None
) -> None:
    path = READERS["acts"].write(tmp_path)
    with edited(path) as file:
        values = file[name][()]
        values[(-1, *[0] * (values.ndim - 1))] = value
        file[name][()] = values
    if message is None:  # of blocks alone: no error bars
        errors = nrcscan.report(path).layers[-1].metrics.standard_errors
        assert "noise_component" not in errors
        return
    with pytest.raises(InputError, match=f"{message}.*extract again, from data of a smaller scale"):
        nrcscan.report(path)


def test_means_whose_squares_exceed_float64_leave_nothing_defined(tmp_path: Path) -> None:
    path = READERS["acts"].write(tmp_path)
    with edited(path) as file:
        file["positions/0001/mean"][-1] = -1e300
    layer = nrcscan.report(path).layers[-1].metrics
    assert "noise_component" not in layer.values
    assert "squares of the means of the features" in layer.undefined["noise_component"]
    assert layer.floor is None
    nrcscan.page(path, tmp_path / "page.html")
