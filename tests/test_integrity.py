"""What is in a statistics file is what was written, or one message that names what is not."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import edited, mlp, samples
from flips import FILES, SameNumbers, reader
from fuzz import fuzz

from nrcscan import InputError, extract, merge, report
from nrcscan.acts_file.checksums import sha256_of
from nrcscan.acts_file.reading import open_acts


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "acts.h5"
    extract(mlp(4, 5, 2), samples(40, 4, 2), path, cross=True, measures="all")
    return path


@pytest.fixture
def acts(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path))


def names_in(path: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the datasets and the attributes of a file."""
    datasets, attributes = [], []
    with h5py.File(path) as file:
        attributes += [("", name) for name in file.attrs]
        names: list[str] = []
        file.visit(names.append)
        for name in names:
            attributes += [(name, attribute) for attribute in file[name].attrs]
            if isinstance(file[name], h5py.Dataset):
                datasets.append(name)
    return datasets, attributes


def read_all(path: Path) -> None:
    """Read whatever a statistics file holds."""
    with open_acts(path) as acts:
        for position in range(acts.n_positions):
            acts.statistics(position), acts.variances(position), acts.blocks(position)
            for earlier in range(position):
                acts.cross(earlier, position)
            list(acts.activation_rows(position))
        for index in range(len(acts.layers)):
            acts.weight(index), acts.beside(index)
        assert acts.last_units is not None
        list(acts.target_rows())


def test_the_record_is_of_all_that_there_is(acts: Path) -> None:
    datasets, attributes = names_in(acts)
    with h5py.File(acts) as file:
        held = bytes(file["checksums"][:])
        told = json.loads(held)
        assert file.attrs["checksums"].decode() == sha256_of("checksums", file["checksums"][:])
        rows = {name for name, of in told["datasets"].items() if of is None}
        assert rows == {name for name in datasets if file[name].maxshape[0] is None}
        for name in set(datasets) - rows - {"checksums"}:
            assert told["datasets"][name] == sha256_of(name, file[name][()])
    assert {*told["datasets"], "checksums"} == {*datasets}
    of_groups = {(group, name) for group, of in told["attributes"].items() for name in of}
    assert of_groups | {("", "checksums")} == {*attributes}


def test_every_dataset_that_is_another_is_named(acts: Path) -> None:
    """HDF5's own checksum is that of what was written last: it does not know what was first."""
    datasets, _ = names_in(acts)
    read_all(acts)
    for name in datasets:
        if name == "checksums" or "activations" in name or "values" in name:
            continue
        before = acts.read_bytes()
        with h5py.File(acts, "r+") as file:
            values = file[name][()]
            raw = values.view(np.uint8).reshape(-1)
            raw[0] ^= 1  # the least of a number, or of a text
            file[name][...] = values
        with pytest.raises(InputError, match=rf"damaged or cut short \({name} is not what was"):
            read_all(acts)
        acts.write_bytes(before)


def test_every_attribute_that_is_another_is_named(acts: Path) -> None:
    _, attributes = names_in(acts)
    for group, name in attributes:
        if name == "checksums" or (group, name) in (("", "format"), ("", "version")):
            continue
        before = acts.read_bytes()
        with h5py.File(acts, "r+") as file:
            held = file[group or "/"].attrs
            value = held[name]
            held[name] = np.bytes_(value + b"x") if isinstance(value, bytes) else value + 1
        told = f"attribute {name} of {group or 'the file'} is not what was written"
        with pytest.raises(InputError, match=told):
            read_all(acts)
        acts.write_bytes(before)


@pytest.mark.parametrize("kind", ["dataset", "attribute"])
def test_what_is_gone_is_named(acts: Path, kind: str) -> None:
    """Many parts may be absent, and a report is then another one."""
    datasets, attributes = names_in(acts)
    chosen: list[Any] = datasets if kind == "dataset" else [a for a in attributes if a[0]]
    for one in chosen:
        before = acts.read_bytes()
        with h5py.File(acts, "r+") as file:
            if kind == "dataset":
                del file[one]
            else:
                del file[one[0]].attrs[one[1]]
        told = f"{one} is missing" if kind == "dataset" else f"attribute {one[1]} of {one[0]} is m"
        with pytest.raises(InputError, match=told if one != "checksums" else "damaged or cut"):
            read_all(acts)
        acts.write_bytes(before)


def test_two_that_changed_places_are_named(acts: Path) -> None:
    with h5py.File(acts, "r+") as file:
        file.move("positions/0001/mean", "aside")
        file.move("positions/0000/mean", "positions/0001/mean")
        file.move("aside", "positions/0000/mean")
    with pytest.raises(InputError, match="damaged or cut short"):
        read_all(acts)


def test_what_was_added_is_not_taken_for_ours(acts: Path) -> None:
    with h5py.File(acts, "r+") as file:
        file["positions/0000/own_targets/mean"] = np.ones(2)
        file["positions/0000/own_targets/covariance"] = np.eye(2)
        file["notes of mine"] = np.ones(2)
    read_all(acts)
    with h5py.File(acts, "r+") as file:
        del file["layers/0001/beside"]
        file["layers/0001/beside"] = np.ones(2)
    with pytest.raises(InputError, match=r"layers/0001/beside is not what was written"):
        read_all(acts)


def test_rows_that_rot_are_named(acts: Path) -> None:
    with h5py.File(acts) as file:
        place = file["positions/0001/activations"].id.get_chunk_info(0).byte_offset
    content = bytearray(acts.read_bytes())
    content[place + 5] ^= 4
    acts.write_bytes(content)
    report(acts)
    with pytest.raises(InputError, match=r"damaged or cut short \(positions/0001/activations: "):
        read_all(acts)


def test_half_a_record_is_damage_and_none_is_a_file_of_before(acts: Path) -> None:
    expected = report(acts).to_dict()
    content = acts.read_bytes()
    for gone in ("dataset", "attribute"):
        with h5py.File(acts, "r+") as file:
            del (file if gone == "dataset" else file.attrs)["checksums"]
        with pytest.raises(InputError, match="damaged or cut short"):
            report(acts)
        acts.write_bytes(content)
    with edited(acts):
        pass
    assert report(acts).to_dict() == expected


def test_a_merged_file_has_its_own(acts: Path, tmp_path: Path) -> None:
    x, y = samples(160, 5, 2)
    parts = [
        extract(mlp(5, 8, 2), (x, y), tmp_path / f"{n}.h5", offset=n, limit=80).path
        for n in (0, 80)
    ]
    path = merge(parts, tmp_path / "merged.h5").path
    with h5py.File(path) as file:
        assert "checksums" in file
    report(path)


# --- flipped bits ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILES)
def test_no_flipped_bit_changes_numbers_in_silence(kind: str) -> None:
    counts = fuzz(reader(kind), 2 if kind == "unit features" else 15, seed=16)
    assert not counts.violations
    assert counts.outcomes["refused"]


def test_the_harness_sees_numbers_that_changed() -> None:
    """In a file without checksums, of HDF5's own either, many a bit can be another."""

    def bare(folder: Path) -> Path:
        path = FILES["plain"](folder)
        with h5py.File(path) as old, h5py.File(folder / "bare.h5", "w") as new:
            for name, value in old.attrs.items():
                if name != "checksums":
                    new.attrs[name] = value
            names = names_in(path)
            for name in names[0]:
                if name != "checksums":
                    new[name] = old[name][()]
            for group, name in names[1]:
                if group:
                    new[group].attrs[name] = old[group].attrs[name]
        return folder / "bare.h5"

    one = replace(reader("plain"), write=bare, read=SameNumbers("plain"))
    counts = fuzz(one, 60, seed=0)
    assert any("other numbers" in told for told in counts.violations)
