from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import edited, mlp, samples
from torch import Tensor, nn

from nrcscan import (
    InputError,
    NrcscanError,
    OutputError,
    Statistics,
    UsageError,
    extract,
    merge,
    report,
)
from nrcscan.acts_file import kept_in_memory, reading, schema, writing


@pytest.fixture
def acts(tmp_path: Path) -> Path:
    extract(mlp(5, 8, 2), samples(60, 5, 2), tmp_path / "acts.h5")
    return tmp_path / "acts.h5"


def test_a_name_is_never_opened_for_writing(acts: Path) -> None:
    before = acts.read_bytes()
    with pytest.raises(UsageError, match="exists already; replace it with --force"):
        extract(mlp(5, 8, 2), samples(60, 5, 2), acts)

    def fail_half_way() -> None:
        with writing.create(acts, force=True) as writer:
            writer.append("targets/values", np.zeros((5, 2)))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail_half_way()
    assert acts.read_bytes() == before
    assert list(acts.parent.iterdir()) == [acts]


def test_appearing_at_the_last_moment(tmp_path: Path) -> None:
    path = tmp_path / "acts.h5"
    with pytest.raises(UsageError, match="has just created it"), writing.create(path):
        path.write_text("theirs")
    assert path.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("nowhere/acts.h5", "there is no folder .*nowhere; create it first"),
        ("", "is a folder; give a file name with -o"),
    ],
)
def test_no_place_to_write(tmp_path: Path, where: str, message: str) -> None:
    with pytest.raises(NrcscanError, match=message):
        extract(mlp(5, 8, 2), samples(60, 5, 2), tmp_path / where)


def test_read_only_folder_is_found_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = os.open

    def refuse(path: str, flags: int, *args: int, **options: int) -> int:
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied")
        return begin(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", refuse)  # permissions do not bind a superuser
    ran: list[str] = []
    monkeypatch.setattr(nn.Module, "__call__", lambda *args: ran.append("network"))
    with pytest.raises(OutputError, match="cannot be written: Permission denied; choose another"):
        extract(mlp(5, 8, 2), samples(60, 5, 2), tmp_path / "acts.h5")
    assert not ran


FULL = """
import os
import resource, signal, sys
from pathlib import Path
sys.path[:0] = [{tests!r}]
from conftest import mlp, samples
import nrcscan
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
silent = {{"on_note": lambda note: None}}
for limit in (1, 3000, 1_000_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, -1))
    try:
        nrcscan.extract(mlp(5, 64, 2), samples(20000, 5, 2), "acts.h5", **silent)
    except nrcscan.OutputError as error:
        print(error)
"""


@pytest.mark.usefixtures("forked")
def test_a_full_disk_is_one_message(tmp_path: Path) -> None:
    code = FULL.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0
    message = "acts.h5: cannot be written: File too large; choose another place with -o\n"
    assert done.stdout == 3 * message
    assert list(tmp_path.iterdir()) == []


def test_compressed_activations_are_the_same(tmp_path: Path) -> None:
    x, y = samples(3000, 5, 2)
    net, data = mlp(5, 64, 2), (np.round(x), y)  # few values: they compress well
    extract(net, data, tmp_path / "plain.h5")
    extract(net, data, tmp_path / "small.h5", compress=True)
    sizes = [(tmp_path / name).stat().st_size for name in ("plain.h5", "small.h5")]
    assert sizes[1] < 0.9 * sizes[0]
    with (
        reading.open_acts(tmp_path / "plain.h5") as plain,
        reading.open_acts(tmp_path / "small.h5") as small,
    ):
        for position in range(2):
            a, b = (np.concatenate([*acts.activation_rows(position)]) for acts in (plain, small))
            np.testing.assert_array_equal(a, b)


def test_no_room_for_activations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OutputError, match=r"activations need 0.0 GB .* use --no-activations"):
        extract(mlp(5, 8, 2), samples(60, 5, 2), tmp_path / "acts.h5")
    assert list(tmp_path.iterdir()) == []


# --- whose targets a position has ---------------------------------------------------------------


class OfTokens(nn.Module):
    """Two layers that see every token, and one that sees their mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.head = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        weights = attention_mask[:, :, None].to(x.dtype)
        h = self.b(torch.relu(self.a(x)))
        return self.head((h * weights).sum(1) / weights.sum(1))


def of_tokens() -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return masked sequences, their targets, and the targets token by token."""
    x, y = samples(1800, 5, 2)
    counts = 1 + np.arange(600) % 3
    mask = (np.arange(3) < counts[:, None]).astype(np.int64)
    y = y[:600] + 1000  # whose squares float32 does not tell apart
    return {"x": x.reshape(600, 3, 5), "attention_mask": mask}, y, np.repeat(y, counts, axis=0)


NARROW = [{"precision": "float32"}, {"sketch": 4}, {"sketch": 4, "sketch_passes": 2}]


@pytest.mark.parametrize("options", [{}, *NARROW])
def test_targets_are_those_of_samples_or_of_tokens_and_exact(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    data, y, repeated = of_tokens()
    path = tmp_path / "acts.h5"
    extract(OfTokens(), (data, y), path, pool="tokens", activations=False, **options)
    with reading.open_acts(path) as acts:
        assert [acts.per_token(p) for p in range(3)] == [True, True, False]
        for position, own in enumerate([repeated, repeated, y]):
            found = acts.statistics(position)
            own = own.astype(np.float64)
            assert found.n_samples == len(own)
            np.testing.assert_allclose(found.target_mean, own.mean(axis=0), rtol=1e-13)
            exact = np.cov(own.T, bias=True)
            np.testing.assert_allclose(found.target_covariance, exact, rtol=1e-12, atol=1e-14)
        np.testing.assert_array_equal(found.target_covariance, acts.target_covariance)
    with h5py.File(path) as file:
        assert ["own_targets" in file[f"positions/{p:04d}"] for p in range(3)] == [
            True,
            True,
            False,
        ]


@pytest.mark.parametrize("per_token", [False, True])
def test_what_is_kept_in_memory_has_the_targets_of_the_file(
    tmp_path: Path, per_token: bool
) -> None:
    one, two = np.ones(2), np.eye(2)
    own = Statistics(60, np.zeros(3), one, np.eye(3), np.zeros((3, 2)), two)
    output = schema.OutputStatistics(20, 2 * one, 2 * two, schema.Predictions(one, one, two))
    kept = kept_in_memory.KeptInMemory(tmp_path / "acts.h5")
    with writing.create(kept.path, in_memory=kept) as writer:
        writer.add_layer(schema.LayerRecord("0", "Linear", 0), np.ones((2, 3)))
        writer.add_statistics(0, own, output, per_token=per_token)
        writer.finish(output, {}, 0.0)
    factor = 1 if per_token else 2
    with reading.open_acts(kept.path) as acts:
        for measured in (kept.statistics(0), acts.statistics(0)):
            np.testing.assert_array_equal(measured.target_mean, factor * one)
            np.testing.assert_array_equal(measured.target_covariance, factor * two)
            assert measured.n_samples == (60 if per_token else 20)


@pytest.mark.parametrize(("pool", "read"), [("mean", False), ("tokens", True), (None, True)])
def test_files_of_before_tell_whose_targets_they_hold_by_their_pool(
    acts: Path, pool: str | None, read: bool
) -> None:
    with edited(acts) as file:
        for position in file["positions"].values():
            del position.attrs["per_token"]
        group = file["positions/0001"]
        group.attrs["n_samples"] = 60
        group["own_targets/mean"], group["own_targets/covariance"] = np.ones(2), np.eye(2)
        provenance = json.loads(bytes(file["provenance"][:]))
        provenance["options"]["pool"] = pool
        if pool is None:
            del provenance["options"]
        del file["provenance"]
        file["provenance"] = np.frombuffer(json.dumps(provenance).encode(), np.uint8)
    with reading.open_acts(acts) as opened:
        assert [opened.per_token(p) for p in range(2)] == [False, read]
        own = opened.statistics(1).target_covariance
        np.testing.assert_array_equal(own, np.eye(2) if read else opened.target_covariance)


def test_merging_keeps_whose_targets_they_are(tmp_path: Path) -> None:
    data, y, repeated = of_tokens()
    for part in ({"limit": 350}, {"offset": 350}):
        path = tmp_path / f"{len(part)}{next(iter(part))}.h5"
        extract(OfTokens(), (data, y), path, pool="tokens", activations=False, sketch=4, **part)  # type: ignore[arg-type]
    merge(sorted(tmp_path.iterdir()), tmp_path / "merged.h5")
    with reading.open_acts(tmp_path / "merged.h5") as acts:
        assert [acts.per_token(p) for p in range(3)] == [True, True, False]
        exact = np.cov(repeated.T.astype(np.float64), bias=True)
        np.testing.assert_allclose(acts.statistics(0).target_covariance, exact, rtol=1e-12)
        assert acts.statistics(0).n_samples == len(repeated)
        assert acts.statistics(2).n_samples == 600


# --- reading what is not as it should be ------------------------------------------------------


def test_foreign_files(tmp_path: Path) -> None:
    path = tmp_path / "acts.h5"
    with pytest.raises(InputError, match="no such acts file"):
        report(path)
    path.write_text("hello")
    with pytest.raises(InputError, match="is a text file, not a file of nrcscan extract"):
        report(path)
    path.unlink()
    with h5py.File(path, "w") as file:
        file["a"] = [1, 2]
    with pytest.raises(InputError, match="an HDF5 file, but not one of nrcscan extract"):
        report(path)


def test_newer_and_unfinished(acts: Path) -> None:
    with edited(acts) as file:
        file.attrs["version"] = schema.VERSION + 1
    with pytest.raises(InputError, match=r"written by a newer nrcscan \(file version 4, .*upgrade"):
        report(acts)
    with edited(acts) as file:
        file.attrs["version"] = schema.VERSION
        file.attrs["complete"] = 0
    with pytest.raises(InputError, match="was never finished; run nrcscan extract again"):
        report(acts)


def test_truncated_anywhere(acts: Path) -> None:
    content = acts.read_bytes()
    for size in range(1, len(content) - 1, len(content) // 40):
        acts.write_bytes(content[:size])
        with pytest.raises(InputError, match="damaged or cut short|not a file of nrcscan extract"):
            report(acts)


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        ("/", "n_samples", 0),
        ("/", "n_samples", -5),
        ("/", "epsilon", np.nan),
        ("/", "version", -1),
        ("layers/0000", "groups", 0),
        ("layers/0000", "groups", 3),
        ("layers/0000", "position", 7),
        ("layers/0000", "name", np.bytes_(b"2")),
    ],
)
def test_attributes_out_of_range(acts: Path, where: str, name: str, value: object) -> None:
    with edited(acts) as file:
        file[where].attrs[name] = value
    with pytest.raises(InputError, match="damaged or cut short|has no valid version"):
        report(acts)


@pytest.mark.parametrize(
    "missing",
    ["targets/mean", "model", "positions/0001/covariance", "layers/0000/weight", "provenance"],
)
def test_missing_parts(acts: Path, missing: str) -> None:
    with edited(acts) as file:
        del file[missing]
    with pytest.raises(InputError, match="damaged or cut short"):
        report(acts)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("positions/0000/covariance", np.zeros((5, 4)), r"shape \(5, 4\), expected \(5, 5\)"),
        ("targets/mean", np.array([1, 2]), "dtype int64, expected floating point"),
        ("layers/0000/weight", np.full((8, 5), np.nan), "holds NaN or infinite values"),
        ("layers/0000/weight", np.zeros(8), r"the weight of layer 0 has shape \(8,\)"),
        ("layers/0000/weight", np.zeros((0, 5)), r"the weight of layer 0 has shape \(0, 5\)"),
        ("model/squared_error", -np.ones(2), "squared_error has a negative one"),
        ("targets/covariance", -np.eye(2), "targets/covariance has a negative variance"),
        ("provenance", np.frombuffer(b"[1]", np.uint8), "damaged or cut short"),
        ("provenance", np.frombuffer(b'{"notes": [5]}', np.uint8), "its notes are not text"),
        ("layers/0000/weight", np.zeros((8, 6)), "the weight of 0 does not act on 5 features"),
    ],
)
def test_parts_of_another_kind(acts: Path, name: str, values: object, message: str) -> None:
    with edited(acts) as file:
        del file[name]
        file[name] = values
    with pytest.raises(InputError, match=message):
        report(acts)


def _external_link(file: h5py.File, other: Path) -> None:
    file["positions/0000/mean"] = h5py.ExternalLink(str(other), "a")


def _soft_link(file: h5py.File, other: Path) -> None:
    file["positions/0000/mean"] = h5py.SoftLink("/targets/mean")


def _virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout(shape=(5,), dtype="f8")
    layout[:] = h5py.VirtualSource(str(other), "a", shape=(5,))
    file.create_virtual_dataset("positions/0000/mean", layout)


def _external_storage(file: h5py.File, other: Path) -> None:
    file.create_dataset(
        "positions/0000/mean", shape=(5,), dtype="f8", external=[(str(other), 0, 40)]
    )


@pytest.mark.parametrize("trick", [_external_link, _soft_link, _virtual, _external_storage])
def test_data_from_elsewhere_is_not_followed(acts: Path, trick: object) -> None:
    other = acts.parent / "other.h5"
    with h5py.File(other, "w") as file:
        file["a"] = np.zeros(5)
    with edited(acts) as file:
        del file["positions/0000/mean"]
        trick(file, other)  # type: ignore[operator]
    with pytest.raises(InputError, match="copy (what it leads to into the file|it into this one)"):
        report(acts)


@pytest.mark.parametrize(
    "name", ["positions/0001/covariance", "layers/0000/weight", "targets/mean", "provenance"]
)
def test_bit_rot_is_told(acts: Path, name: str) -> None:
    with h5py.File(acts) as file:
        offset = file[name].id.get_chunk_info(0).byte_offset
    content = bytearray(acts.read_bytes())
    content[offset + 3] ^= 1
    acts.write_bytes(content)
    with pytest.raises(InputError, match="damaged or cut short"):
        report(acts)


def test_damage_anywhere_is_one_message_or_harmless(acts: Path) -> None:
    content = acts.read_bytes()
    expected = report(acts).to_dict()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(content), 150):
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        acts.write_bytes(damaged)
        try:
            found = report(acts).to_dict()
        except InputError:
            continue
        assert found == expected  # the damage is where a report does not look
