"""Episodes in groups, as robomimic, Minari and ManiSkill keep them: joined, and side by side."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import mlp
from hypothesis import given, settings
from hypothesis import strategies as st

import nrcscan
from nrcscan import InputError, UsageError, extract, report
from nrcscan.inputs.datasets.open_dataset import open_dataset

pytestmark = pytest.mark.numerical

RNG = np.random.default_rng(3)
X = RNG.normal(size=(70, 6)).astype(np.float32)
Y = RNG.normal(size=(70, 2)).astype(np.float32)
CUTS = [0, 4, 5, 17, 30, 31, 40, 44, 50, 52, 61, 70]  # eleven episodes: 10 comes after 2


def collect(*args: Any, batch_size: int = 7, **options: Any) -> tuple[Any, Any]:
    batches = list(open_dataset(*args, **options).batches(batch_size))
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def episodes() -> list[tuple[int, int, int]]:
    return [(i, a, b) for i, (a, b) in enumerate(pairwise(CUTS))]


def minari(path: Path) -> Path:
    """Write one observation more than actions, of another value than any that counts."""
    with h5py.File(path, "w") as file:
        for i, a, b in episodes():
            group = file.create_group(f"episode_{i}")
            group["observations"] = np.vstack([X[a:b], np.full((1, 6), 99, np.float32)])
            group["actions"], group["rewards"] = Y[a:b], np.zeros(b - a)
            group["infos/event"] = np.array([b"none"] * (b - a + 1))
    return path


def robomimic(path: Path, keys: tuple[str, ...] = ("eef", "object")) -> Path:
    with h5py.File(path, "w") as file:
        for i, a, b in episodes():
            group = file.create_group(f"data/demo_{i}")
            for key, part in zip(keys, np.split(X[a:b], len(keys), axis=1), strict=True):
                group[f"obs/{key}"] = part
            group["actions"], group["states"] = Y[a:b], X[a:b, :3]
        file["mask/train"] = np.array([b"demo_10", b"demo_2", b"demo_0"])
        file["mask/valid"] = ["demo_1", "demo_3"]
    return path


def maniskill(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        for i, a, b in episodes():
            file[f"traj_{i}/obs"] = np.vstack([X[a:b], X[:1]])
            file[f"traj_{i}/actions"] = Y[a:b]
    return path


def only(path: Path) -> Path:
    return robomimic(path, keys=("all",))


@pytest.mark.parametrize("write", [minari, maniskill, only])
def test_known_layouts_are_joined_and_said(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path / "d.hdf5")
    x, y = collect(path)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)
    found = open_dataset(path)
    assert "joined 11 episodes: inputs" in found.notes[0]
    cut = [note for note in found.notes if "has no targets beside it, in every episode" in note]
    assert bool(cut) == (write is not only)
    assert ("a list in the file" in found.notes[0]) == (write is only)
    if write is only:
        assert "as 'data/[mask/train]/actions' (mask/train and mask/valid)" in found.notes[0]


SIDE_BY_SIDE = "data/*/obs/eef+data/*/obs/object"


def test_the_samples_are_those_of_one_array_to_the_last_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = mlp(6, 8, 2)
    np.savez(tmp_path / "d.npz", X=X, y=Y)
    extract(net, tmp_path / "d.npz", tmp_path / "whole.h5", batch_size=9)
    expected = report(tmp_path / "whole.h5")
    for i, (path, options) in enumerate(
        [
            (minari(tmp_path / "m.hdf5"), {}),
            (robomimic(tmp_path / "r.hdf5"), {"x_key": SIDE_BY_SIDE, "y_key": "data/*/actions"}),
        ]
    ):
        done = extract(net, path, tmp_path / f"{i}.h5", batch_size=9, **options)  # type: ignore[arg-type]
        found = report(tmp_path / f"{i}.h5")
        assert done.n_samples == 70
        assert found.r2 == expected.r2
        for ours, theirs in zip(found.layers, expected.layers, strict=True):
            assert ours.metrics.values == theirs.metrics.values


@settings(max_examples=25)
@given(batch=st.integers(1, 80), offset=st.integers(0, 69), limit=st.integers(1, 80))
def test_any_batch_and_any_shard_holds_the_same_rows(
    batch: int, offset: int, limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "shards.hdf5"
    dataset = open_dataset(path if path.exists() else minari(path))
    parts = list(dataset.batches(batch, limit, offset))
    rows = slice(offset, offset + limit)
    np.testing.assert_array_equal(np.concatenate([x for x, _ in parts]), X[rows])
    np.testing.assert_array_equal(np.concatenate([y for _, y in parts]), Y[rows])


def test_a_list_in_the_file_chooses_episodes(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "d.hdf5")
    rows = np.r_[0:4, 5:17, 61:70]  # demo_0, demo_2 and demo_10
    told: dict[str, Any] = {"x_key": "data/[mask/train]/obs/object+data/[mask/train]/obs/eef"}
    swapped = np.hstack([X[:, 3:], X[:, :3]])
    for y_key in (None, "data/[mask/train]/actions"):
        x, y = collect(path, **told, y_key=y_key)
        np.testing.assert_array_equal(x, swapped[rows])
        np.testing.assert_array_equal(y, Y[rows])
    with pytest.raises(
        UsageError, match=r"no list of groups 'mask/tain'; choose among mask/train and"
    ):
        open_dataset(path, x_key="data/[mask/tain]/obs/eef")
    with pytest.raises(UsageError, match="'data/demo_0/actions' is no list of names of groups"):
        open_dataset(path, x_key="data/[data/demo_0/actions]/obs/eef")
    with h5py.File(path, "r+") as file:
        del file["data/demo_2"]
    with pytest.raises(InputError, match="the list 'mask/train' names demo_2, of which there is n"):
        open_dataset(path, **told)


def test_several_inputs_of_episodes(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "d.hdf5")
    (batch, _) = next(open_dataset(path, x_key="data/*/obs/eef,data/*/obs/object").batches(70))
    assert isinstance(batch, dict)
    assert list(batch) == ["eef", "object"]
    np.testing.assert_array_equal(np.hstack(list(batch.values())), X)


def test_arrays_side_by_side_in_every_file_of_arrays(tmp_path: Path) -> None:
    parts: dict[str, Any] = {
        "a": X[:, 0],
        "b": X[:, 1:].astype(np.float64),
        "y": Y[:, :1],
        "z": Y[:, 1],
    }
    np.savez(tmp_path / "d.npz", **parts)
    torch.save({k: torch.from_numpy(v) for k, v in parts.items()}, tmp_path / "d.pt")
    for name in ("d.npz", "d.pt"):
        x, y = collect(tmp_path / name, x_key="a+b", y_key="y + z")
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, Y)
        with pytest.raises(UsageError, match=r"--y-key y,z: targets are one array; .* 'y\+z'"):
            open_dataset(tmp_path / name, x_key="a", y_key="y,z")


def test_an_array_that_is_called_so_comes_first(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"a+b": X, "a,b": 2 * X, "[c]": 3 * X, "a": Y, "b": Y, "y": Y}
    np.savez(tmp_path / "d.npz", **arrays)
    for factor, name in enumerate(["a+b", "a,b", "[c]"], 1):
        np.testing.assert_array_equal(collect(tmp_path / "d.npz", x_key=name)[0], factor * X)


def test_inputs_whose_keys_end_alike_are_both_there(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["left/pos"], file["right/pos"], file["y"] = X[:, :2], X[:, 2:], Y
    (batch, _) = next(open_dataset(tmp_path / "d.h5", x_key="left/pos,right/pos").batches(70))
    assert isinstance(batch, dict)
    assert list(batch) == ["left/pos", "right/pos"]


def test_episodes_in_an_archive(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {f"obs_{i}": np.vstack([X[a:b], X[:1]]) for i, a, b in episodes()}
    arrays |= {f"act_{i}": Y[a:b] for i, a, b in episodes()}
    np.savez(tmp_path / "d.npz", **arrays)
    for batch_size in (1, 6, 100):
        x, y = collect(tmp_path / "d.npz", x_key="obs_*", y_key="act_*", batch_size=batch_size)
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, Y)


def test_one_episode_of_many(tmp_path: Path) -> None:
    path = minari(tmp_path / "d.hdf5")
    keys: dict[str, Any] = {"x_key": "episode_2/observations", "y_key": "episode_2/actions"}
    for told in (keys, {"x_key": keys["x_key"]}, {"y_key": keys["y_key"]}):
        x, y = collect(path, **told)
        np.testing.assert_array_equal(x, X[5:17])
        np.testing.assert_array_equal(y, Y[5:17])
    (note,) = open_dataset(path, **keys).notes
    assert "the last row of episode_2/observations has no targets" in note
    with h5py.File(tmp_path / "flat.h5", "w") as file:
        file["obs/a"], file["act/a"] = X[:13], Y[:12]
    with pytest.raises(InputError, match="13 inputs but 12 targets"):
        open_dataset(tmp_path / "flat.h5", x_key="obs/a", y_key="act/a")


def test_the_other_side_is_found_beside_the_one_that_is_told(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "d.h5", "w") as file:
        for name, rows in (("left", slice(0, 30)), ("right", slice(30, 70))):
            file[f"{name}/obs"], file[f"{name}/act"], file[f"{name}/action"] = (
                X[rows],
                X[rows],
                Y[rows],
            )
        file["y"] = X
    for x_key, y_key in (("*/obs", None), (None, "*/action")):
        x, y = collect(tmp_path / "d.h5", x_key=x_key, y_key=y_key)
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(y, Y)
    np.testing.assert_array_equal(collect(tmp_path / "d.h5", x_key="right/obs")[1], Y[30:])
    other = robomimic(tmp_path / "r.hdf5")
    for group in ("data/*/obs", "data/demo_2/obs"):
        named = re.escape(f"'{group}/eef+{group}/object'")
        with pytest.raises(
            UsageError, match=f"is a group of .*; choose among them with --x-key, .* as {named}"
        ):
            open_dataset(other, x_key=group)
    with pytest.raises(UsageError, match=r"'data/demo_2/obs/eef\+data/demo_2/obs/object'$"):
        open_dataset(other, y_key="data/demo_2/actions")


def test_what_cannot_be_joined(tmp_path: Path) -> None:
    path = minari(tmp_path / "d.hdf5")
    with h5py.File(path, "r+") as file:
        del file["episode_3/observations"]
        file["episode_3/observations"] = X[17:30]
    with pytest.raises(
        InputError, match="'episode_0/observations' has 5 rows and .* 4; each sample"
    ):
        open_dataset(path)
    with h5py.File(path, "r+") as file:
        del file["episode_3/observations"]
    with pytest.raises(InputError, match=r"is in 10 groups .* and .* in 11 groups .*; choose both"):
        open_dataset(path)
    other = robomimic(tmp_path / "r.hdf5")
    with pytest.raises(InputError, match=r"in 11 groups .* and 'data/demo_0/actions' in one array"):
        open_dataset(other, x_key="data/*/obs/eef", y_key="data/demo_0/actions")
    with h5py.File(other, "r+") as file:
        del file["data/demo_4/obs/eef"]
        file["data/demo_4/obs/eef"] = np.zeros((1, 5))
    with pytest.raises(
        InputError, match=r"samples of shape \(3,\) and 'data/demo_4/obs/eef' of \(5"
    ):
        open_dataset(other, x_key="data/*/obs/eef")


def test_what_there_is_is_told_by_patterns(tmp_path: Path) -> None:
    path = robomimic(tmp_path / "d.hdf5")
    with pytest.raises(UsageError) as told:
        open_dataset(path)
    assert "data/demo_*/obs/eef (11 × (T, 3)) and data/demo_*/obs/object" in str(told.value)
    assert str(told.value).endswith("--x-key 'data/demo_*/obs/eef+data/demo_*/obs/object'")
    with pytest.raises(
        UsageError, match=r"no array like 'data/\*/nope'; choose --x-key from data/demo_"
    ):
        open_dataset(path, x_key="data/*/nope")
    with pytest.raises(
        UsageError, match=r"'data/demo_0/obs' is a group of .*; choose among them with --x"
    ):
        open_dataset(path, x_key="data/demo_0/obs")


def test_a_network_of_one_input_is_told_how_to_put_several_in_it(tmp_path: Path) -> None:
    torch.save(mlp(6, 8, 2).state_dict(), tmp_path / "m.pt")
    path = robomimic(tmp_path / "d.hdf5")
    with pytest.raises(InputError, match=r"put them side by side: \+ in place of , in --x-key"):
        extract(
            tmp_path / "m.pt", path, tmp_path / "a.h5", x_key="data/*/obs/eef,data/*/obs/object"
        )


def test_shapes_that_do_not_lie_side_by_side(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", a=X, b=X.reshape(70, 3, 2), y=Y)
    with pytest.raises(
        InputError, match=r"side by side: 'a' has \(6,\) and 'b' has \(3, 2\); give"
    ):
        open_dataset(tmp_path / "d.npz", x_key="a+b")


def test_links_out_of_a_file_of_episodes_are_not_followed(tmp_path: Path) -> None:
    minari(tmp_path / "other.hdf5")
    path = minari(tmp_path / "d.hdf5")
    with h5py.File(path, "r+") as file:
        file["episode_99"] = h5py.ExternalLink(str(tmp_path / "other.hdf5"), "episode_0")
    with pytest.raises(
        InputError, match="episode_99 is a link to somewhere else; copy what it leads to"
    ):
        open_dataset(path)


@pytest.mark.usefixtures("workers_here")
def test_a_scan_and_standardising_take_episodes(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    torch.save(mlp(6, 8, 2).state_dict(), tmp_path / "runs" / "m.pt")
    np.savez(tmp_path / "d.npz", X=X, y=Y)
    path = minari(tmp_path / "d.hdf5")
    results = [
        nrcscan.scan(tmp_path / "runs", data, tmp_path / data.stem, standardize=["x", "y"], jobs=1)
        for data in (path, tmp_path / "d.npz")
    ]
    found, expected = (scan.checkpoints[0].result for scan in results)
    assert found is not None
    assert expected is not None
    assert found["layers"] == expected["layers"]


def test_not_all_episodes_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nrcscan.inputs.datasets import hdf5_arrays

    monkeypatch.setattr(hdf5_arrays, "KEPT_OPEN", 2)
    with hdf5_arrays.hdf5(minari(tmp_path / "d.hdf5")) as arrays:
        for name, rows in arrays.items():
            rows.read(0, 1)
            held = h5py.h5f.get_obj_count(h5py.h5f.OBJ_ALL, h5py.h5f.OBJ_DATASET)
            assert held <= 3, name


def test_a_folder_with_data_in_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    minari(tmp_path / "data" / "main_data.hdf5")
    with pytest.raises(UsageError, match=r"data: is a folder with main_data.hdf5; give .*a.hdf5$"):
        open_dataset(tmp_path / "data")
    (tmp_path / "store.zarr").mkdir()
    (tmp_path / "store.zarr" / ".zgroup").write_text("{}")
    with pytest.raises(InputError, match=r"store.zarr: is a Zarr store; save its arrays with np"):
        open_dataset(tmp_path / "store.zarr")


def test_weights_are_no_data(tmp_path: Path) -> None:
    torch.save(mlp(6, 8, 2).state_dict(), tmp_path / "m.pt")
    with pytest.raises(InputError, match="holds the weights of a network .*; give MODEL bef"):
        open_dataset(tmp_path / "m.pt")
