"""What finds the paper's findings again: its data, networks, training, measuring and comparing."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reproduction import all_runs, drift
from reproduction.__main__ import KEPT, keep
from reproduction.measure_gemm import ORDERS, Kernel, kernels
from reproduction.measuring import features_at, measured, rounded
from reproduction.networks import Convolutional, build
from reproduction.plan import PLAN, REDUCED, Run, log_spaced
from reproduction.road_images import road_images
from reproduction.sample_sets import SETS, Samples, samples
from reproduction.training import epochs_shown, network_of, saved_in, share_of_rate, train

TINY = Run("tiny", "mlp", 4, 12, 1e-3, 0, 0.05, 0.9, 25, 12, (3, 12))


@pytest.fixture(scope="module")
def tiny() -> Iterator[Samples]:
    """Return a data set of 5 inputs and 2 targets, which a run may name."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 5)).astype(np.float32)
    y = np.stack([np.tanh(x[:, 0] + x[:, 1]), x[:, 2]], axis=1)
    data = Samples(x[:200], y[:200], x[200:], y[200:])
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(SETS, "tiny", lambda: data)
        yield data


def test_every_run_has_a_name_of_its_own_and_ends_at_a_checkpoint() -> None:
    for plan in (PLAN, REDUCED):
        assert len({run.name for run in plan}) == len(plan)
        assert all(run.checkpoints[-1] == run.epochs for run in plan)
        assert all(run.data in SETS for run in plan)


def test_checkpoints_are_spaced_by_their_logarithms() -> None:
    assert log_spaced(400, 5) == (1, 4, 20, 89, 400)
    assert log_spaced(3, 9) == (1, 2, 3)


@pytest.mark.parametrize("name", ["swimmer", "reacher", "hopper", "gemm", "synthetic", "low-rank"])
def test_tables_are_standardised_by_the_samples_trained_on(name: str) -> None:
    data = samples(name)
    for values in (data.x, data.y):
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-4)
        np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-4)
    assert len(data.x) == len(data.y)
    assert len(data.x_test) == len(data.y_test) > 0


def test_low_rank_targets_have_two_directions() -> None:
    values = np.linalg.svd(samples("low-rank").y.astype(float), compute_uv=False)
    assert values[1] > 0.1 * values[0]
    assert values[2] < 1e-5 * values[0]  # of rounding to float32


def test_a_road_is_drawn_as_it_is_to_be_driven() -> None:
    images, targets = road_images(300, seed=1)
    again, _ = road_images(300, seed=1)
    np.testing.assert_array_equal(images, again)
    assert images.shape == (300, 3, 32, 64)
    assert images.min() >= 0
    assert images.max() <= 1
    brightness = images.mean(axis=1)[:, 12:]
    columns = np.arange(64) - 31.5
    light = brightness - brightness.mean(axis=2, keepdims=True)
    lean = (light.clip(0) * columns).sum(axis=(1, 2)) / light.clip(0).sum(axis=(1, 2))
    assert np.corrcoef(lean, targets[:, 0])[0, 1] > 0.3  # a road to the right: steer right


def test_a_gemm_is_a_product_however_it_is_blocked() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 32, 32))
    for order in ORDERS:
        made = Kernel(16, 8, 32, order, False, False, True, True).multiply(a, b)
        np.testing.assert_allclose(made, a @ b, atol=1e-12)
    drawn = kernels(50)
    assert len(set(drawn)) == 50
    assert {len(one.features()) for one in drawn} == {samples("gemm").x.shape[1]}


@pytest.mark.parametrize(
    ("network", "inputs", "shape"),
    [
        ("mlp", 7, (4, 7)),
        ("convolutional", 3 * 32 * 64, (4, 3, 32, 64)),
        ("resnet18", 3 * 32 * 64, (4, 3, 32, 64)),
    ],
)
def test_networks_take_their_inputs(network: str, inputs: int, shape: tuple[int, ...]) -> None:
    model = build(network, inputs, 2, depth=8, width=8)
    assert model(torch.randn(shape)).shape == (4, 2)
    weights = [one for one in model.parameters() if one.ndim > 1]
    # A ResNet-18 has 17 convolutions, 3 on shortcuts, and here a head of two layers.
    assert len(weights) == (22 if network == "resnet18" else 8)


def test_an_unknown_network_is_named() -> None:
    with pytest.raises(ValueError, match="no network is called 'vgg'; take mlp"):
        build("vgg", 1, 1, depth=2, width=2)


def test_training_is_the_same_every_time_and_learns(tiny: Samples) -> None:
    saved: list[dict[str, torch.Tensor]] = []
    curves = [
        train(TINY, tiny, lambda _, model: saved.append(model.state_dict())) for _ in range(2)
    ]
    assert curves[0] == curves[1]
    assert len(saved) == 4
    for name, weight in saved[1].items():
        assert torch.equal(weight, saved[3][name])
    assert curves[0][-1][1] < 0.5 * curves[0][0][1]
    assert {epoch for epoch, *_ in curves[0]} == epochs_shown(TINY)
    other = train(replace(TINY, seed=1), tiny, lambda *_: None)
    assert other != curves[0]


def test_features_are_averaged_over_images_and_the_network_is_left_alone() -> None:
    model = Convolutional(2, depth=5, width=4).double().eval()
    x = np.random.default_rng(0).standard_normal((3, 3, 32, 64)).astype(np.float32)
    found = features_at(model, x, {"convolutions.2", "layers.2"})
    with torch.no_grad():
        first = model.convolutions[:2](torch.from_numpy(x).double())
    np.testing.assert_allclose(found["convolutions.2"], first.mean(dim=(2, 3)).numpy())
    assert found["layers.2"].shape == (3, 16)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the run that tests look at leaves everything."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def result(tiny: Samples, folder: Path) -> dict[str, Any]:
    return all_runs.do(TINY, folder)


def test_a_run_is_measured_as_the_page_says(result: dict[str, Any], folder: Path) -> None:
    assert result["run"] == {**all_runs.described(TINY), "name": "tiny-wd0.001-seed0"}
    assert [one["epoch"] for one in result["checkpoints"]] == [3, 12]
    last = result["checkpoints"][-1]
    for side in ("train", "test"):
        assert [one["name"] for one in last[side]["layers"]] == [
            "layers.0", "layers.2", "layers.4", "layers.6",
        ]  # fmt: skip
    assert "layers" not in result["checkpoints"][0]["test"]
    for curve, checkpoint in zip(result["curve"][2::9], result["checkpoints"], strict=True):
        assert curve[0] == checkpoint["epoch"]
        found = [checkpoint[side]["mse"][0] for side in ("train", "test")]
        assert found == pytest.approx(curve[1:], rel=1e-3)  # rounded, and float32 against float64
    layer = last["train"]["layers"][2]
    assert layer["place"] == 2
    assert set(layer["answers"]) == {"nrc1", "nrc2", "nrc3", "nrc4"}
    value, error = layer["values"]["noise_component"]
    assert 0 <= value <= 1
    assert error > 0
    assert layer["values"]["intrinsic_dimension"][0] > 0
    assert "noise_component_r" not in layer["values"]
    assert result["at_rank"] is None  # the targets have both their directions
    assert len(result["cuts"]["cuts"]) == 4
    assert result["agreement"] <= drift.AGREEMENT
    assert (folder / TINY.name / "train.h5").is_file()
    page = (Path(all_runs.__file__).parent / "README.md").read_text(encoding="utf-8")
    assert result["curve"][-1][0] == 12
    for field in [*result, *result["cuts"], *result["cuts"]["cuts"][0], *last["train"], *layer]:
        assert f"`{field}`" in page, field


def test_what_is_done_is_not_done_again(
    result: dict[str, Any], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder / TINY.name, tmp_path / TINY.name)
    kept = (tmp_path / TINY.name / "result.json").read_bytes()
    monkeypatch.setattr("reproduction.training.train", None)
    assert all_runs.do(TINY, tmp_path) == json.loads(kept)
    (tmp_path / TINY.name / "result.json").unlink()  # as when it was ended while measuring
    again = all_runs.do(TINY, tmp_path)
    assert again["checkpoints"] == result["checkpoints"]


def test_another_plan_is_done_anew(result: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / TINY.name, tmp_path / TINY.name)
    other = all_runs.do(replace(TINY, epochs=2, checkpoints=(2,)), tmp_path)
    assert [one["epoch"] for one in other["checkpoints"]] == [2]


def test_runs_are_done_in_a_process_of_their_own(tmp_path: Path) -> None:
    runs = [
        replace(REDUCED[0], epochs=2, checkpoints=(2,), depth=3, width=8, seed=seed)
        for seed in (0, 1)
    ]
    heard: list[str] = []
    told: list[tuple[int, int | None]] = []
    found = all_runs.run_all(
        runs,
        tmp_path,
        processes=1,
        on_run=lambda one: heard.append(one["run"]["name"]),
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert list(found) == [run.name for run in runs]
    assert sorted(heard) == sorted(found)
    assert told[-1][0] <= (told[-1][1] or 0)


Change = Callable[[dict[str, Any]], Any]


def moved(before: dict[str, Any], change: Change) -> list[str]:
    """Return what is told of a result whose last checkpoint a change was made to."""
    now: dict[str, Any] = json.loads(json.dumps(before))
    change(now["checkpoints"][-1])
    return drift.differences(before, now)


def test_what_moved_is_told(result: dict[str, Any]) -> None:
    def better_by(step: float) -> Change:
        return lambda last: last["train"]["r2"].__setitem__(0, last["train"]["r2"][0] + step)

    assert moved(result, lambda last: None) == []
    assert moved(result, better_by(0.5 * drift.R2)) == []
    (told,) = moved(result, better_by(2 * drift.R2))
    assert told.startswith("R² on train samples is ")
    (told,) = drift.differences(result, {**result, "agreement": 1e-6})
    assert told == "cuts foretell their error to 1.0e-06, not to 1e-09"
    planned = {**result, "run": {**result["run"], "epochs": 13}}
    assert drift.differences(planned, result) == [
        "is planned otherwise than what is kept; replace that with --keep"
    ]


def test_a_verdict_that_moved_is_told_unless_it_is_open(result: dict[str, Any]) -> None:
    def concluded(state: str) -> Change:
        return lambda last: last["train"]["verdict"].update(state=state)

    before = copy.deepcopy(result)
    concluded("collapsed")(before["checkpoints"][-1])
    for state in ("collapsed", "undecided", "cannot be judged"):
        assert moved(before, concluded(state)) == []
    for state in ("partly", "learned nothing"):
        assert moved(before, concluded(state)) == [f"the verdict is “{state}”, kept is “collapsed”"]
    concluded("undecided")(before["checkpoints"][-1])
    assert moved(before, concluded("learned nothing"))


def test_layers_that_moved_are_told(result: dict[str, Any]) -> None:
    def noisier(last: dict[str, Any]) -> None:
        for layer in last["train"]["layers"][1:]:
            layer["values"]["noise_component"][0] += 2 * drift.THROUGH_DEPTH["noise_component"]

    def dead(last: dict[str, Any]) -> None:
        for layer in last["train"]["layers"]:
            layer["values"].pop("cka", None)

    (told,) = moved(result, noisier)
    assert told.startswith("noise_component, through depth, is ")
    (told,) = moved(result, dead)
    assert told.startswith("cka, through depth, is undefined, kept is 0.")


def test_what_is_kept_and_what_is_found_have_the_same_runs(
    result: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    assert drift.drift({TINY.name: result}, kept) == [
        f"{TINY.name}: no result is kept; make it one with --keep"
    ]
    kept.mkdir()
    (kept / "gone.json").write_text("{}")
    assert drift.drift({}, kept) == [
        "gone: is kept, and planned no longer; replace what is kept with --keep"
    ]
    keep({TINY.name: result}, folder, kept)
    assert [path.name for path in kept.iterdir()] == [f"{TINY.name}.json"]
    assert drift.drift({TINY.name: result}, kept) == []


@pytest.mark.parametrize(("runs", "folder"), [(PLAN, KEPT), (REDUCED, KEPT / "reduced")])
def test_the_results_that_are_kept_are_those_of_the_plan(
    runs: tuple[Run, ...], folder: Path
) -> None:
    kept = {path.stem: json.loads(path.read_text("utf-8")) for path in folder.glob("*.json")}
    assert kept.keys() == {run.name for run in runs}
    for run in runs:
        assert kept[run.name]["run"] == all_runs.described(run)
        assert kept[run.name]["agreement"] <= drift.AGREEMENT


def test_numbers_are_rounded_to_digits_that_count() -> None:
    assert rounded(0.123456789) == 0.1235
    assert rounded(0.00123456, 3) == 0.00123
    assert rounded(None) is None


def test_a_checkpoint_is_opened_by_its_factory(tiny: Samples, tmp_path: Path) -> None:
    run = replace(TINY, epochs=1, checkpoints=(1,))
    train(run, tiny, saved_in(tmp_path))
    model = network_of(run, tiny)
    model.load_state_dict(torch.load(tmp_path / "epoch_1.pt", weights_only=True)["model"])
    found = measured(run, tiny, tmp_path)
    assert found["checkpoints"][0]["train"]["n_samples"] == 200


def test_a_rate_rises_holds_and_falls() -> None:
    shares = [share_of_rate(done, replace(TINY, epochs=20)) for done in range(20)]
    assert shares == pytest.approx([0.2, 0.4, 0.6, 0.8, *[1.0] * 12, *[0.1] * 4])


def test_a_network_that_diverges_is_named(tiny: Samples) -> None:
    with pytest.raises(FloatingPointError, match="tiny-wd0.001-seed0 has no finite error; lower"):
        train(replace(TINY, rate=30.0, depth=1), tiny, lambda *_: None)
