"""Cross-covariances of positions: what `extract --cross` keeps, and what merging makes of it."""

from __future__ import annotations

from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import FIXTURES, Run, edited, mlp, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nrcscan import InputError, UsageError, extract, merge, report
from nrcscan.acts_file.kept_in_memory import KeptInMemory
from nrcscan.acts_file.reading import open_acts
from nrcscan.extracting.cross_sums import CrossSums

pytestmark = pytest.mark.numerical

N = 300
X, Y = samples(N, 5, 2)
MODEL = mlp(5, 16, 12, 2).double()
PAIRS = list(combinations(range(3), 2))

Crosses = dict[tuple[int, int], NDArray[np.float64]]


def crosses(path: Path) -> Crosses:
    with open_acts(path) as acts:
        pairs = combinations(range(acts.n_positions), 2)
        found = {(i, j): acts.cross(i, j) for i, j in pairs}
    return {pair: values for pair, values in found.items() if values is not None}


def directly(path: Path) -> Crosses:
    """Return the cross-covariances of the features that a file holds, in two passes over them."""
    with open_acts(path) as acts:
        rows = [
            np.concatenate([*acts.activation_rows(p)]).astype(np.float64)
            for p in range(acts.n_positions)
        ]
    centred = [h - h.mean(axis=0) for h in rows]
    return {
        (i, j): centred[i].T @ centred[j] / len(centred[i])
        for i, j in combinations(range(len(centred)), 2)
    }


def assert_same(found: Crosses, expected: Crosses, within: float = 1e-12) -> None:
    """Compare entries with the largest of their matrix: of so much, sums of products round."""
    assert found.keys() == expected.keys()
    for pair, values in expected.items():
        scale = np.abs(values).max() or 1.0
        np.testing.assert_allclose(found[pair], values, rtol=0, atol=within * scale)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 7, "n_workers": 1},
        {"batch_size": 32, "n_workers": 3},
        {"blocks": 0, "precision": "float32"},
    ],
)
def test_those_of_one_pass_are_those_of_two(tmp_path: Path, options: dict[str, Any]) -> None:
    path = extract(MODEL, (X, Y), tmp_path / "acts.h5", cross=True, **options).path
    found = crosses(path)
    assert {pair: values.shape for pair, values in found.items()} == {
        (0, 1): (5, 16),
        (0, 2): (5, 12),
        (1, 2): (16, 12),
    }
    assert_same(found, directly(path))


def test_features_of_any_kind_pooled_per_sample(tmp_path: Path) -> None:
    source = FIXTURES / "pendulum"
    path = extract(
        source / "model.safetensors",
        source / "data.npz",
        tmp_path / "acts.h5",
        factory=f"{source / 'network.py'}:build",
        limit=100,
        dtype="float64",  # in which their means are stored as they are
        cross=True,
        on_note=lambda note: None,
    ).path
    assert len(crosses(path)) > 3
    assert_same(crosses(path), directly(path))


def test_what_else_a_file_holds_is_the_same_without(tmp_path: Path) -> None:
    files = [
        extract(MODEL, (X, Y), tmp_path / f"{cross}.h5", cross=cross).path
        for cross in (False, True)
    ]
    held: list[dict[str, Any]] = []
    for path in files:
        with h5py.File(path) as file:
            names: list[str] = []
            file.visit(names.append)
            sets = [name for name in names if isinstance(file[name], h5py.Dataset)]
            held.append(
                {name: file[name][()] for name in sets if name not in ("provenance", "checksums")}
            )
            assert file.attrs["version"] == 1  # to programs of before it is as any other
    kept = {f"positions/{j:04d}/cross/{i:04d}" for i, j in PAIRS}
    assert held[1].keys() - held[0].keys() == kept
    for name, values in held[0].items():
        np.testing.assert_array_equal(values, held[1][name], err_msg=name)
    assert report(files[0]).verdict.text == report(files[1]).verdict.text


def test_large_means_cancel_nothing(tmp_path: Path) -> None:
    x = X * np.array([1, 1e-3, 1, 1e-3, 1]) + 1e6
    path = extract(MODEL, (x, Y), tmp_path / "acts.h5", cross=True, batch_size=50).path
    found, expected = crosses(path), directly(path)
    # The mean of 1e6 is known to 1e-10, which is all that the spreads of 1e-3 can be off by.
    np.testing.assert_allclose(found[0, 1][1], expected[0, 1][1], rtol=1e-6)
    assert_same(found, expected, 1e-9)
    raw = np.abs((x.T @ x / N - np.outer(x.mean(0), x.mean(0)))[1, 3] - np.cov(x.T, ddof=0)[1, 3])
    assert raw > 1e-6  # the formula that cancels leaves nothing of it


@settings(max_examples=30)
@given(
    cuts=st.lists(st.integers(0, 60), max_size=5),
    shift=st.sampled_from([0.0, 1.0, -1e5]),
    seed=st.integers(0, 99),
)
def test_merged_equals_having_seen_both(cuts: list[int], shift: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    rows = [draw.standard_normal((60, d)) + shift for d in (3, 1, 4)]

    def summed(first: int, stop: int) -> CrossSums:
        sums = CrossSums((3, 1, 4))
        for position in (2, 0, 1):  # in whatever order they come
            sums.hold(position, torch.from_numpy(rows[position][first:stop]))
        sums.take_held()
        return sums

    ends = [0, *sorted(cuts), 60]
    parts = [summed(first, stop) for first, stop in pairwise(ends)]
    for other in parts[1:]:
        parts[0].merge(other)
    unmoved = [h - shift for h in rows]
    whole = np.cov(np.hstack(unmoved).T, ddof=0)
    for (i, j), found in parts[0].result():
        at = np.cumsum([0, 3, 1, 4])
        expected = whole[at[i] : at[i + 1], at[j] : at[j + 1]]
        # Rounding of the rows themselves, whose spread is 1.
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13 * (1 + abs(shift)))


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, N - 1), min_size=1, max_size=3), shift=st.sampled_from([0, 1e5]))
def test_shards_merge_to_those_of_one_pass(tmp_path: Path, cuts: set[int], shift: float) -> None:
    data, kept = (X.astype(np.float64) + shift, Y), {"activations": False, "cross": True}
    whole = extract(MODEL, data, tmp_path / "whole.h5", force=True, **kept)  # type: ignore[arg-type]
    ends = [0, *sorted(cuts), N]
    parts = [
        extract(
            MODEL,
            data,
            tmp_path / f"{a}.h5",
            offset=a,
            limit=b - a,
            force=True,
            **kept,  # type: ignore[arg-type]
        ).path
        for a, b in pairwise(ends)
    ]
    merged = merge(parts[::-1], tmp_path / "merged.h5", force=True)
    assert_same(crosses(merged.path), crosses(whole.path), 1e-14 * max(shift, 100))


def test_a_part_without_is_refused_or_told_of(tmp_path: Path) -> None:
    a = extract(MODEL, (X, Y), tmp_path / "a.h5", limit=100, cross=True).path
    b = extract(MODEL, (X, Y), tmp_path / "b.h5", offset=100).path
    with pytest.raises(InputError, match=r"b.h5 differs from .*a.h5 in cross \(False, not True\)"):
        merge([a, b], tmp_path / "m.h5")
    extract(MODEL, (X, Y), b, offset=100, cross=True, force=True)
    with edited(b) as file:  # as a merge by an nrcscan of before leaves it
        for position in range(1, 3):
            del file[f"positions/{position:04d}/cross"]
    merged = merge([a, b], tmp_path / "m.h5", on_note=lambda note: None)
    assert f"cross-covariances are left out: {b} holds none" in merged.notes
    assert crosses(merged.path) == {}


def test_parts_too_large_together(tmp_path: Path) -> None:
    tiny = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.Linear(3, 2)).double()
    with torch.no_grad():
        for parameter in tiny.parameters():
            parameter.mul_(1e-3)
    data = np.where(X > 0, 8e152, -8e152), Y
    parts = [
        extract(tiny, data, tmp_path / f"{a}.h5", offset=a, limit=150, cross=True).path
        for a in (0, 150)
    ]
    with pytest.raises(InputError, match="cannot be merged: the values are too large"):
        merge(parts, tmp_path / "m.h5")


def test_what_goes_with_no_cross_covariance(tmp_path: Path) -> None:
    path = tmp_path / "acts.h5"
    with pytest.raises(UsageError, match="--cross has no effect beside --sketch; leave one of"):
        extract(MODEL, (X, Y), path, cross=True, sketch=4)
    with pytest.raises(UsageError, match="--pool tokens layers may have other tokens; choose an"):
        extract(MODEL, (X, Y), path, cross=True, pool="tokens")
    with pytest.raises(
        UsageError,
        match=r"the cross-covariances at 3 depths need \S+ GB at once and --memory allows \S+ GB;"
        " choose fewer layers with --layers or --exclude, or leave --cross out",
    ):
        extract(MODEL, (X, Y), path, cross=True, memory=400_000)
    extract(MODEL, (X, Y), path, cross=True, memory=400_000, exclude=["2"], blocks=0)
    assert crosses(path).keys() == {(0, 1)}


def test_kept_in_memory_as_in_a_file(tmp_path: Path) -> None:
    kept = KeptInMemory()
    kept.add_cross(0, 2, np.eye(2))
    np.testing.assert_array_equal(kept.cross(0, 2), np.eye(2))
    assert kept.cross(0, 1) is None


def test_damage_is_told(tmp_path: Path) -> None:
    path = extract(MODEL, (X, Y), tmp_path / "acts.h5", cross=True).path
    with h5py.File(path, "r+") as file:
        del file["positions/0002/cross/0001"]
        file["positions/0002/cross/0001"] = np.zeros((12, 16))
    with (
        open_acts(path) as acts,
        pytest.raises(InputError, match=r"damaged or cut short \(.*has shape \(12, 16\)"),
    ):
        acts.cross(1, 2)


def test_command(program: Run, tmp_path: Path) -> None:
    swimmer = FIXTURES / "swimmer"
    checkpoint, data = swimmer / "wd0/epoch_600.pt", swimmer / "data.npz"
    done = program("extract", checkpoint, data, "--cross", "--limit", "100", "--exclude", "*[2468]")
    assert done.returncode == 0, done.stderr
    assert_same(crosses(tmp_path / "acts.h5"), directly(tmp_path / "acts.h5"))
