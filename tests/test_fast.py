"""Workers, float32 products, sketches, memory, ranks: faster or smaller, and true to the exact."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tolerances
import torch
from conftest import FIXTURES, PARITY, ROOT, Run, mlp, samples
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_extraction import statistics
from torch import Tensor, nn

from nrcscan import InputError, Moments, Report, UsageError, extract, report
from nrcscan.extracting.check_resources import usable_device
from nrcscan.extracting.worker_threads import ahead, in_order
from nrcscan.reporting import report_table
from nrcscan.statistics.moments import BLOCK_ROWS
from nrcscan.statistics.moments_on_gpu import OnDevice
from nrcscan.statistics.sketch import Sketch, nystrom, orthonormal, test_matrix

pytestmark = pytest.mark.numerical


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Set how many workers an extraction has."""

    def set_workers(n: int) -> None:
        monkeypatch.setattr("nrcscan.extracting.plan_passes.most_workers", lambda: n)

    return set_workers


def test_results_come_in_order_whatever_takes_long() -> None:
    def slow_if_even(item: int) -> int:
        time.sleep(0.02 * (item % 2 == 0))
        return item

    assert list(in_order(range(9), [slow_if_even] * 3)) == list(range(9))


def test_a_single_worker_leaves_a_busy_caller_its_thread() -> None:
    def here(item: int) -> tuple[int, int, int]:
        return item, threading.get_ident(), torch.get_num_threads()

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for busy in (False, True):
            found = list(in_order(range(5), [here], busy=busy))
            assert [item for item, _, _ in found] == list(range(5))
            assert {thread == threading.get_ident() for _, thread, _ in found} == {not busy}
            assert {threads for _, _, threads in found} == {3}
    finally:
        torch.set_num_threads(before)


def test_an_error_comes_in_its_turn_and_ends_the_rest() -> None:
    begun: list[int] = []

    def fail(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise ValueError("item 2")
        return item

    results: list[int] = []
    with pytest.raises(ValueError, match="item 2"):
        results.extend(in_order(range(1000), [fail] * 2))
    assert len(begun) < 20


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_workers_change_nothing(tmp_path: Path, workers: Any, dtype: Any) -> None:
    model, data = mlp(5, 32, 16, 2), samples(5000, 5, 2)
    found = []
    for n, name in ((1, "a"), (3, "b"), (3, "c")):
        workers(n)
        extract(model, data, tmp_path / f"{name}.h5", dtype=dtype, batch_size=100)
        found.append(statistics(tmp_path / f"{name}.h5"))
    one, three, again = found
    for name, values in one.items():
        np.testing.assert_array_equal(three[name], again[name])  # bit by bit, in every run
        assert np.linalg.norm(three[name] - values) <= 1e-10 * np.linalg.norm(values), name
        if name.endswith(("values", "activations", "weight")):
            np.testing.assert_array_equal(three[name], values)


def test_the_first_bad_sample_is_named_whoever_has_it(tmp_path: Path, workers: Any) -> None:
    class Roots(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x.sqrt())

    workers(3)
    x = np.ones((100, 1), np.float32)
    x[[33, 57, 91]] = -1
    with pytest.raises(InputError, match="layer a: its features hold NaN, first in sample 33"):
        extract(Roots(), (x, x), tmp_path / "a.h5", batch_size=8)
    assert list(tmp_path.iterdir()) == []


def test_batches_may_come_in_the_same_arrays_again(tmp_path: Path, workers: Any) -> None:
    x, y = samples(400, 5, 2)

    def refilled() -> Iterator[Any]:
        inputs, targets = np.empty((10, 5), np.float32), np.empty((10, 2), np.float32)
        for start in range(0, 400, 10):
            inputs[:], targets[:] = x[start : start + 10], y[start : start + 10]
            yield inputs, targets

    workers(2)
    extract(mlp(5, 8, 2), refilled(), tmp_path / "a.h5")
    found = statistics(tmp_path / "a.h5")
    np.testing.assert_array_equal(found["positions/0000/activations"], x)
    np.testing.assert_array_equal(found["targets/values"], y)


class Forgetful(nn.Module):
    """Hands its features to itself through an attribute, as no two threads could."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 2)
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(()))
        self.how = "attribute"

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "attribute":
            self.kept = self.a(x)
            time.sleep(0.001)
            return self.b(self.kept)
        before = self.seen.clone()
        time.sleep(0.001)
        self.seen.copy_(before + 1)
        return self.b(self.a(x))


@pytest.mark.parametrize("how", ["attribute", "buffer"])
def test_a_network_that_keeps_something_runs_in_one_thread(
    tmp_path: Path, workers: Any, how: str
) -> None:
    workers(4)
    model, data = Forgetful(), samples(400, 5, 2)
    model.how = how
    with torch.inference_mode():
        model.seen = torch.zeros(())
    extract(model, data, tmp_path / "a.h5", batch_size=4)
    if how == "buffer":
        assert model.seen == 102  # 100 batches and two probes, none of them lost
    expected = model.a(torch.from_numpy(data[0])).detach().numpy()
    found = statistics(tmp_path / "a.h5")["positions/0001/activations"]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def rows(n: int, d: int, decay: float, mean: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    h = (
        rng.standard_normal((n, d))
        * np.logspace(0, -decay, d)
        @ orthonormal(rng.standard_normal((d, d)))
    )
    return h + mean, h[:, :2] + 0.1


@pytest.mark.parametrize("mean", [0.0, 1e3])
def test_float32_products(mean: float) -> None:
    h, y = rows(5000, 40, 1, mean)
    single, double = Moments(40, 2, precision="float32"), Moments(40, 2)
    for moments in (single, double):
        for start in range(0, 5000, 300):
            moments.update(h[start : start + 300], y[start : start + 300])
    found, exact = single.statistics(), double.statistics()
    error = np.linalg.norm(found.feature_covariance - exact.feature_covariance)
    assert 1e-10 < error / np.linalg.norm(exact.feature_covariance) < 4e-6
    np.testing.assert_allclose(found.feature_mean, exact.feature_mean, rtol=1e-6, atol=1e-7)


@settings(max_examples=20)
@given(cut=st.integers(0, 3000), mean=st.sampled_from([0.0, 1e3]), rank=st.integers(1, 30))
def test_a_sketch_is_what_it_says_and_merges(cut: int, mean: float, rank: int) -> None:
    h, y = rows(3000, 20, 1, mean)
    parts = [Sketch(test_matrix(20, rank), 2) for _ in range(2)]
    parts[0].update(h[:cut], y[:cut])
    parts[1].update(h[cut:], y[cut:])
    parts[0].merge(parts[1])
    found, exact = parts[0].sketched(), Moments(20, 2)
    exact.update(h, y)
    whole = exact.statistics()
    covariance = whole.feature_covariance
    np.testing.assert_allclose(found.sketch, covariance @ found.test_matrix, atol=1e-10)
    np.testing.assert_allclose(found.variances, np.diagonal(covariance), atol=1e-10)
    np.testing.assert_allclose(found.cross_covariance, whole.cross_covariance, atol=1e-10)
    np.testing.assert_allclose(found.target_covariance, whole.target_covariance, atol=1e-10)
    values, vectors, missed, _ = nystrom(found, 2.0**-52)
    rest = covariance - (vectors * values) @ vectors.T  # what is missed is never negative
    assert np.linalg.eigvalsh(rest)[0] > -1e-10
    assert missed == pytest.approx(np.trace(rest), abs=1e-10)


@given(width=st.integers(1, 70), rank=st.integers(1, 80))
def test_every_feature_has_a_part_in_several_directions(width: int, rank: int) -> None:
    directions = test_matrix(width, rank)
    columns = min(rank, width)
    np.testing.assert_allclose(directions.T @ directions, np.eye(columns), atol=1e-12)
    seen_by = (directions != 0).sum(axis=1)
    assert min(columns, 8) <= seen_by.min()
    assert seen_by.max() < 16


def test_sketches_of_other_directions_do_not_merge() -> None:
    one, other = Sketch(test_matrix(8, 3), 1), Sketch(test_matrix(8, 4), 1)
    with pytest.raises(ValueError, match="only sketches with the same test matrix can be merged"):
        one.merge(other)
    with pytest.raises(ValueError, match="only sketches with the same test matrix"):
        one.merge(Moments(8, 1))


CASES = [
    *sorted((FIXTURES / "swimmer").glob("*/epoch_600.pt")),
    *sorted(PARITY.glob("*/model.pth")),
]


def blocks_like(options: dict[str, Any]) -> dict[str, Any]:
    """Return the option to keep no blocks of samples where these keep none, as of a sketch."""
    return {"blocks": 0} if "sketch" in options else {}


def measured(path: Path, output: Path, **options: Any) -> Report:
    data = path.parent / "data.npz"
    data = data if data.exists() else path.parent.parent / "data.npz"
    extract(path, data, output, activations=False, **options)
    return report(output)


@pytest.fixture(scope="module")
def exactly(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Report]:
    """What measures a network in float64, each once."""
    folder = tmp_path_factory.mktemp("exact")
    return cache(lambda path, **options: measured(path, folder / "exact.h5", force=True, **options))


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.parent.name)
@pytest.mark.parametrize(
    "options",
    [{"precision": "float32"}, {"sketch": 32}, {"sketch": 32, "sketch_passes": 2}],
    ids=["float32", "sketch", "two passes"],
)
def test_every_number_is_within_its_bound(
    exactly: Callable[..., Report], tmp_path: Path, case: Path, options: dict[str, Any]
) -> None:
    exact = exactly(case, **blocks_like(options))
    found = measured(case, tmp_path / "found.h5", **options)
    shown = 0
    for ours, theirs in zip(found.layers, exact.layers, strict=True):
        for quantity, value in ours.metrics.values.items():
            if quantity.startswith("weight_") and quantity != "weight_signal_energy":
                assert value == pytest.approx(theirs.metrics.values[quantity], rel=1e-9)
                continue
            error = abs(value - theirs.metrics.values[quantity])
            assert error <= ours.metrics.bounds[quantity] + 1e-12, (ours.name, quantity)
            shown += 1
        if all(theirs.met.values()):  # collapsed here
            for quantity in ("noise_component", "cka", "alignment"):
                difference = ours.metrics.values[quantity] - theirs.metrics.values[quantity]
                assert abs(difference) < 1e-3
    assert shown >= 8
    assert "not exact: at most, over all layers, these are off by: noise" in report_table.render(
        found, "table"
    )
    assert found.to_dict()["layers"][0]["bounds"].keys() == found.layers[0].metrics.bounds.keys()
    assert not exact.layers[0].metrics.bounds


class Tokens(nn.Module):
    """Layers that see every token, where there are some, and one that sees their mean."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.body, self.head = mlp(*widths[:-1]), nn.Linear(widths[-2], widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.body(x))
        return self.head(h.mean(1) if h.ndim == 3 else h)


def drawn(seed: int) -> tuple[nn.Module, tuple[np.ndarray, np.ndarray], dict[str, Any]]:
    """Return some network, data of some spectrum, and some way to know less than everything."""
    rng = np.random.default_rng(seed)
    d, width, t = (int(rng.integers(low, high)) for low, high in ((3, 50), (3, 50), (1, 5)))
    n, tokens = int(10 ** rng.uniform(1.3, 3.2)), bool(rng.random() < 0.5)
    scales = 10.0 ** (-rng.integers(0, 7) * np.linspace(0, 1, d) ** rng.choice([0.25, 1]))
    scales[int(rng.integers(1, d + 1)) :] *= 10.0 ** -rng.integers(0, 5)
    z = rng.standard_normal((n, 3, d) if tokens else (n, d))
    x = (z * scales) @ orthonormal(rng.standard_normal((d, d)))
    x = (x + rng.choice([0, 1, 30, 1000]) * rng.standard_normal(d)).astype(np.float32)
    y = (z.mean(1) if tokens else z) @ rng.standard_normal((d, t)) * rng.integers(0, 2, t)
    y = y + 10.0 ** -rng.integers(0, 5) * rng.standard_normal((n, t)) + rng.choice([0, 1e3])
    torch.manual_seed(seed)
    net = Tokens(d, width, width, t)
    if rng.random() < 0.2:
        net = net.double()
    known: dict[str, Any] = {"sketch": int(10 ** rng.uniform(0, 1.8))}
    known["sketch_passes"] = int(rng.integers(1, 3))
    return net, (x, y), known if rng.random() < 0.75 else {"precision": "float32"}


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), k=st.sampled_from(["t", 1, 2, 6]))
@example(seed=1, k="t")
@example(seed=42, k="t")
@example(seed=258, k="t")
@example(seed=335, k="t")
@example(seed=384, k="t")
@example(seed=75165, k="t")
def test_whatever_is_measured_is_within_its_bound(tmp_path: Path, seed: int, k: Any) -> None:
    net, data, known = drawn(seed)
    common: dict[str, Any] = {"activations": False, "force": True, "pool": "tokens"}
    extract(net, data, tmp_path / "exact.h5", **common, **blocks_like(known))
    extract(net, data, tmp_path / "found.h5", **common, **known)
    exact, found = (report(tmp_path / f"{name}.h5", signal_dim=k) for name in ("exact", "found"))
    for theirs, ours in zip(exact.layers, found.layers, strict=True):
        for quantity, value in ours.metrics.values.items():
            if "arbitrary" in theirs.metrics.undefined.get(quantity, ""):
                continue  # which directions they are is arbitrary: none has another value
            expected = theirs.metrics.values[quantity]
            unit = exact.target_variance if quantity == "linear_mse" else max(1, abs(expected))
            bound = ours.metrics.bounds.get(quantity, 0.0) + 1e-10 * unit
            assert abs(value - expected) <= bound, (ours.name, quantity, known)


def test_what_a_sketch_cannot_resolve_is_refused_and_not_judged(tmp_path: Path) -> None:
    x, y = samples(2000, 60, 2)
    extract(mlp(60, 60, 2), (x, y), tmp_path / "a.h5", sketch=5, activations=False)
    first = report(tmp_path / "a.h5").layers[0]
    for quantity in ("noise_component", "alignment", "linear_mse"):
        assert "a higher --sketch, or --sketch-passes 2" in first.metrics.undefined[quantity]
    assert first.met["nrc1"] is None
    assert first.metrics.undefined["weight_rank"] == "only the top 2 directions were looked for"


def test_a_noise_component_below_the_floor_is_no_good_number(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((3000, 2)).astype(np.float32)
    x = np.hstack([x, 1e-6 * x[:, ::-1], np.zeros((3000, 6), np.float32)])
    data = (x, x[:, :2].copy())
    extract(mlp(10, 16, 2), data, tmp_path / "a.h5", precision="float32", layers=["0"])
    first = report(tmp_path / "a.h5").layers[0].metrics
    assert first.values["noise_component"] == first.bounds["noise_component"] < 1e-5
    assert "which is all that can be resolved" in first.notes[-1]


def test_only_what_needs_it_has_the_newer_version(tmp_path: Path) -> None:
    model, data = mlp(5, 8, 2), samples(60, 5, 2)
    for options, version in (({}, 1), ({"precision": "float32"}, 2), ({"sketch": 3}, 2)):
        extract(model, data, tmp_path / "a.h5", force=True, **options)
        with h5py.File(tmp_path / "a.h5") as file:
            assert file.attrs["version"] == version


def test_little_memory_takes_more_passes_to_the_same_numbers(tmp_path: Path) -> None:
    model, data = mlp(64, 64, 64, 64, 2), samples(3000, 64, 2)
    notes: list[str] = []
    extract(model, data, tmp_path / "a.h5", blocks=0)
    extract(model, data, tmp_path / "b.h5", memory=1_500_000, on_note=notes.append)
    assert any("2 passes over the data, for 2 and 2 positions" in note for note in notes)
    expected, found = statistics(tmp_path / "a.h5"), statistics(tmp_path / "b.h5")
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-10, atol=1e-12)
    with pytest.raises(UsageError, match="GB and --memory allows .* GB: 0 has 64 features; choose"):
        extract(model, data, tmp_path / "c.h5", memory=1000)


def test_a_stream_that_cannot_begin_again(tmp_path: Path) -> None:
    def once() -> Iterator[Any]:
        yield samples(300, 64, 2)

    with pytest.raises(UsageError, match="can be read a single time, and 2 passes are needed"):
        extract(mlp(64, 64, 2), once(), tmp_path / "a.h5", sketch=8, sketch_passes=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "float16"}, "--precision float16: choose one of float64 and float32"),
        ({"sketch": 0}, "--sketch 0: give at least 1"),
        ({"sketch": 4, "sketch_passes": 3}, "--sketch-passes 3: give 1 or 2"),
        ({"sketch_passes": 2}, "--sketch-passes has no effect without --sketch RANK; give both"),
        ({"memory": 0}, "--memory 0: give at least 1 byte"),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        extract(mlp(5, 2), samples(60, 5, 2), tmp_path / "a.h5", **options)


def ranks(cwd: Path, *args: object, room: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run two ranks of the command line, where a file can take so many bytes."""

    def limit() -> None:
        if room is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    return subprocess.run(
        [sys.executable, *launcher, "-m", "nrcscan", *map(str, args)],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=limit,
    )


@pytest.mark.parametrize(
    "room", [700_000, 1_500_000]
)  # for no rank's rows; for all but the first's
@pytest.mark.usefixtures("forked")
def test_ranks_on_a_full_disk(tmp_path: Path, room: int) -> None:
    x, y = samples(4000, 5, 2)
    np.savez(tmp_path / "data.npz", X=x, y=y)
    torch.save(mlp(5, 128, 2).state_dict(), tmp_path / "model.pt")
    done = ranks(tmp_path, "extract", "model.pt", "data.npz", room=room)
    assert done.returncode != 0
    which = "rank 1: " if room < 1_000_000 else ""
    assert f"error: {which}acts.h5: cannot be written: File too large" in done.stderr
    assert "/nrcscan/" not in done.stderr  # the traceback is the launcher's
    assert "ignored" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "model.pt"]


@pytest.mark.parametrize("stored", [["--activations", "--compress"], ["--no-activations"]])
@pytest.mark.usefixtures("forked")
def test_two_ranks_are_one(tmp_path: Path, saved: tuple[Path, Path], stored: list[str]) -> None:
    options = ["-o", "two.h5", "--batch-size", 7, "--dtype", "float64"]
    done = ranks(tmp_path, "extract", *saved, *stored, *options)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("two.h5: 3 layers, 100 samples") == 1
    kept = stored[0] == "--activations"
    extract(*saved, tmp_path / "one.h5", activations=kept, batch_size=7, dtype="float64")
    expected, found = statistics(tmp_path / "one.h5"), statistics(tmp_path / "two.h5")
    assert expected.keys() == found.keys()
    assert any(name.endswith("activations") for name in found) == kept
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-10, atol=1e-10, err_msg=name)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.usefixtures("forked")
def test_a_rank_that_fails_ends_all_with_its_reason(tmp_path: Path) -> None:
    x, y = samples(1000, 5, 2)
    x[800] = np.nan  # beyond the first samples, which all ranks look at
    np.savez(tmp_path / "data.npz", X=x, y=y)
    torch.save(mlp(5, 16, 2).state_dict(), tmp_path / "model.pt")
    done = ranks(tmp_path, "extract", "model.pt", "data.npz", "--batch-size", 100)
    assert done.returncode != 0
    assert "error: rank 1: data.npz: the inputs hold NaN, first in sample 800" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data.npz", "model.pt"]


def test_within_a_process_group_of_the_callers_own_it_is_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1
    )
    try:
        done = extract(mlp(5, 16, 2), samples(100, 5, 2), tmp_path / "a.h5")
        assert torch.distributed.is_initialized()
    finally:
        torch.distributed.destroy_process_group()
    assert done.n_samples == 100


def test_the_command_line_has_them(cli: Run, saved: tuple[Path, Path]) -> None:
    done = cli("extract", *saved, "--sketch", 4, "--sketch-passes", 2, "--memory", 10**9)
    assert done.returncode == 0, done.stderr
    assert cli("report", "acts.h5").returncode == 0


def test_items_are_made_ahead_in_order_and_no_further_than_told() -> None:
    made: list[int] = []

    def source() -> Iterator[int]:
        for item in range(5):
            made.append(item)
            yield item
        raise ValueError("at the end")

    seen = []
    items = ahead(source(), 2)
    for item in range(5):
        seen.append(next(items))
        assert len(made) <= item + 3
    with pytest.raises(ValueError, match="at the end"):
        next(items)
    assert seen == made == [0, 1, 2, 3, 4]
    assert next(ahead(source(), 2)) == 0  # and whoever wants no more may leave


def test_each_rank_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for rank, gpu in ((0, 0), (1, 1), (2, 0)):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        with pytest.raises(UsageError, match=f"--device cuda:{gpu}: not usable here"):
            usable_device("cuda")
    assert usable_device("cpu") == torch.device("cpu")


def accumulate_on_the_device(monkeypatch: pytest.MonkeyPatch, on: bool) -> None:
    """Have sums made as on a GPU, or not."""
    for module in ("add_up", "plan_passes"):
        monkeypatch.setattr(f"nrcscan.extracting.{module}.accumulates", lambda device: on)


def test_a_gpu_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(host: Moments, device: torch.device) -> OnDevice:
        raise torch.OutOfMemoryError("CUDA out of memory")

    accumulate_on_the_device(monkeypatch, True)
    monkeypatch.setattr("nrcscan.extracting.accumulate.OnDevice", full)
    with pytest.raises(InputError, match="the covariances do not fit on cpu: .* --sketch 64"):
        extract(mlp(5, 2), samples(60, 5, 2), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{}, {"precision": "float32"}, {"sketch": 8}, {"pool": "last"}])
@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_what_a_gpu_adds_up_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, options: dict[str, Any]
) -> None:
    net = nn.Sequential(mlp(6, 32, 24), nn.Flatten(1), nn.Linear(48, 2))
    used: list[object] = []

    class Counted(OnDevice):
        def hosted(self) -> Moments:
            used.append(self)
            return super().hosted()

    monkeypatch.setattr("nrcscan.extracting.accumulate.OnDevice", Counted)
    monkeypatch.setattr("nrcscan.extracting.plan_passes.most_workers", lambda: 1)  # as on a GPU
    x, y = samples(2500, 6, 2)
    data = np.stack([x, x + 1], axis=1), y
    found = []
    for moved in (False, True):
        accumulate_on_the_device(monkeypatch, moved)
        path = tmp_path / f"{moved}.h5"
        extract(net, data, path, dtype=dtype, **options)  # type: ignore[arg-type]
        found.append(statistics(path))
        assert len(used) == (3 if moved else 0)
    host, device = found
    assert device.keys() == {name for name in host if "blocks/" not in name}  # there are none
    tight = dtype == "float64" and not options
    for name in device:
        values = host[name]
        scale = 1e-12 if tight else 1e-10
        if "precision" in options or ("sketch" in options and dtype != "float64"):
            scale = 2 * tolerances.UNIT * BLOCK_ROWS**0.5  # products and their sums are float32
        largest = np.abs(values).max() if values.size else 0
        np.testing.assert_allclose(device[name], values, atol=scale * largest, rtol=0, err_msg=name)
