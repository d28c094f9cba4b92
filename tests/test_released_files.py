"""What a release has written is read by every later one: docs/policy.md."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import pytest
from conftest import FIXTURES

import nrcscan
from nrcscan import InputError
from nrcscan.acts_file import schema

RELEASED = FIXTURES / "released"
STATISTICS = sorted(RELEASED.glob("*/*.h5"))


def test_every_version_of_the_file_is_kept() -> None:
    versions, checked = set(), set()
    for path in STATISTICS:
        with h5py.File(path) as file:
            versions.add(int(file.attrs["version"]))
            checked.add("checksums" in file)
    assert versions == {*range(1, schema.VERSION + 1)}
    assert checked == {False, True}


@pytest.mark.parametrize("path", STATISTICS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_statistics_say_what_they_said(path: Path) -> None:
    told = json.loads(path.with_suffix(".json").read_text())
    found = nrcscan.report(path)
    assert found.n_samples == told["n_samples"]
    assert found.mse == (told["mse"] and pytest.approx(told["mse"], rel=1e-9))
    assert [layer.name for layer in found.layers] == list(told["layers"])
    for layer, before in zip(found.layers, told["layers"].values(), strict=True):
        for quantity, value in before.items():
            if value is None:
                assert quantity in layer.metrics.undefined
                continue
            # 0.1.0 took the targets of a sketch from float32 products: off within its bounds.
            off = layer.metrics.bounds.get(quantity, 0.0)
            expected = pytest.approx(value, rel=1e-9, abs=off)
            assert layer.metrics.values[quantity] == expected, quantity


def test_what_is_newer_is_told_so_and_not_half_understood(tmp_path: Path) -> None:
    path = tmp_path / "new.h5"
    path.write_bytes((RELEASED / "next" / "plain.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = schema.VERSION + 1
        del file["positions"], file["checksums"]  # whatever it keeps, and where
    with pytest.raises(InputError, match=r"written by a newer nrcscan .*; upgrade nrcscan"):
        nrcscan.report(path)


def test_a_scan_without_a_quantity_that_came_later_is_read(tmp_path: Path) -> None:
    scan = json.loads((RELEASED / "0.1.0" / "scan.json").read_text())
    for checkpoint in scan["checkpoints"]:
        for layer in checkpoint["layers"]:
            del layer["weight_signal_energy"]
    (tmp_path / "scan.json").write_text(json.dumps(scan))
    _, old = nrcscan.compare([RELEASED / "0.1.0" / "plain.h5", tmp_path]).runs
    for layer in old.layers.values():
        assert layer["weight_signal_energy"] is None
        assert "did not measure it" in layer["undefined"]["weight_signal_energy"]


@pytest.mark.parametrize("path", sorted(RELEASED.glob("*/scan.json")), ids=lambda p: p.parent.name)
def test_a_scan_can_be_compared(path: Path) -> None:
    run, _ = nrcscan.compare([path.parent, path.parent / "plain.h5"]).runs
    assert run.epoch == 1
    assert list(run.layers) == ["0", "2", "4"]
