from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tolerances
import torch
from conftest import FIXTURES, PARITY, mlp, samples
from test_metrics import reference
from torch import Tensor, nn

from nrcscan import Report, Thresholds, UsageError, extract, report
from nrcscan.acts_file.reading import open_acts
from nrcscan.acts_file.schema import Unmeasured
from nrcscan.metrics.layer_values import LayerMetrics
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.reporting.make_report import report_of
from nrcscan.verdict.answers import Answer, answers
from nrcscan.verdict.conclude import conclude
from nrcscan.verdict.depth import Step
from nrcscan.verdict.state import State
from nrcscan.verdict.verdict import NetworkFit, Verdict

pytestmark = pytest.mark.numerical

CASES = ["swimmer_collapsed", "swimmer_uncollapsed"]

# Our quantity → its name in the reference files, which an independent two-pass script made.
REFERENCE = {
    "cka": "cka_signal",
    "cka_full": "cka_full",
    "alignment": "alignment_effective",
    "noise_alignment": "noise_alignment",
    "weight_signal_energy": "weight_signal_energy",
    "feature_stable_rank": "stable_rank_H",
    "weight_stable_rank": "stable_rank_W",
    "feature_rank": "feature_rank",
    "weight_rank": "weight_rank",
}


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    folder = tmp_path_factory.mktemp("parity")
    paths = {}
    for case in CASES:
        for dtype in ("float32", "float64"):
            paths[case, dtype] = folder / f"{case}_{dtype}.h5"
            extract(
                PARITY / case / "model.pth",
                PARITY / case / "data.npz",
                paths[case, dtype],
                dtype=dtype,
                activations=False,
            )
    return paths


def expected(case: str, name: str) -> Any:
    return json.loads((PARITY / case / f"{name}.json").read_text())


def recomputed(case: str, draw: np.random.Generator | None) -> dict[str, float]:
    """Return quantities of a fixture, "layer quantity" each, with roundings drawn or none."""
    state = torch.load(PARITY / case / "model.pth", weights_only=True)["model"]
    weights = {
        name.removesuffix(".weight"): weight.double().numpy() for name, weight in state.items()
    }
    with np.load(PARITY / case / "data.npz") as data:
        x, y = data["X"].astype(np.float64), data["y"].astype(np.float64)
    *seen, out = tolerances.features([*weights.values()], x, draw)
    mse = float(((out - y) ** 2).mean())
    found = {"mse": mse}
    for (name, weight), h in zip(weights.items(), seen, strict=True):
        values = reference(h, y, weight, y.shape[1])
        values["excess"] = (values["linear_mse"] - mse) / float(y.var(axis=0).mean())
        found |= {f"{name} {quantity}": value for quantity, value in values.items()}
    return found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    ("dtype", "name"), [("float64", "expected_float64"), ("float32", "expected")]
)
def test_agrees_with_the_reference(acts: Any, case: str, dtype: str, name: str) -> None:
    found, wanted = report(acts[case, dtype]), expected(case, name)
    allowed = {}
    if dtype == "float32":
        allowed = tolerances.of_roundings(functools.partial(recomputed, case))

    def agree(value: float, reference: float, quantity: str, **tight: float) -> None:
        tolerance = {"abs": allowed[quantity]} if quantity in allowed else tight
        assert value == pytest.approx(reference, **{"rel": 0, **tolerance}), quantity  # type: ignore[arg-type]

    assert found.n_samples == wanted["samples"]
    assert found.mse is not None
    agree(found.mse, wanted["model_mse"], "mse", rel=1e-9)
    assert found.target_variance == pytest.approx(wanted["target_variance"], rel=1e-9)
    assert found.target_stable_rank == pytest.approx(wanted["target_stable_rank"], rel=1e-9)
    assert [layer.name for layer in found.layers] == list(wanted["layers"])
    for layer in found.layers:
        values, reference = layer.metrics.values, wanted["layers"][layer.name]
        for ours, theirs in REFERENCE.items():
            agree(values[ours], reference[theirs], f"{layer.name} {ours}", rel=1e-9)
        noise, affine = reference["noise"], reference["linear_mse_affine"]
        agree(values["noise_component"], noise, f"{layer.name} noise_component", abs=1e-14)
        agree(values["linear_mse"], affine, f"{layer.name} linear_mse", rel=1e-9)
        excess = (affine - wanted["model_mse"]) / wanted["target_variance"]
        agree(values["excess"], excess, f"{layer.name} excess", abs=1e-9)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_published_convention_agrees_with_the_published_script(
    acts: Any, case: str, dtype: str
) -> None:
    found, wanted = report(acts[case, dtype], convention="published"), expected(case, "published")
    columns = {
        "noise_component": "noise",
        "cka": "cka_published",
        "alignment": "alignment",
        "linear_mse": "linear_mse",
        "feature_stable_rank": "stable_rank_H",
        "weight_stable_rank": "stable_rank_W",
    }
    for ours, theirs in columns.items():
        values = [layer.metrics.values[ours] for layer in found.layers]
        np.testing.assert_allclose(values, wanted[theirs], rtol=0, atol=2e-4, err_msg=ours)
    assert found.mse == pytest.approx(wanted["model_mse"], abs=2e-4)


@pytest.mark.parametrize("case", CASES)
def test_the_published_linear_mse_in_float64(acts: Any, case: str) -> None:
    found, wanted = (
        report(acts[case, "float64"], convention="published"),
        expected(case, "expected_float64"),
    )
    for layer in found.layers:
        assert layer.metrics.values["linear_mse"] == pytest.approx(
            wanted["layers"][layer.name]["linear_mse_published"], rel=1e-9
        )


def test_where_collapse_begins(acts: Any) -> None:
    collapsed = report(acts["swimmer_collapsed", "float32"])
    assert collapsed.onset["all"] == "layers.8"
    assert collapsed.runs["nrc3"] == [["layers.4", "layers.14"]]  # layers.0 reads the inputs
    assert collapsed.verdict.text == (
        "COLLAPSED from layers.8 (4th of 7) to the output. Perhaps already from layers.6: layers.6"
        " is open: NRC4 is undecided (error ratio 0.402 ± 0.05, 0.5 to 2). The"
        " network fits: R² = 0.867 (MSE 0.133 ± 0.01)."
    )
    assert collapsed.verdict.findings == (
        "A linear probe does better: from layers.2 (1st of 7) it predicts the targets with 0.13"
        " times the network's error. Layers after this lose information: see nrcscan cut.",
    )
    strict = report(acts["swimmer_collapsed", "float32"], thresholds=Thresholds(noise_max=1e-6))
    assert strict.onset["nrc1"] == "layers.10"
    assert strict.onset["all"] == "layers.10"
    lax = report(acts["swimmer_collapsed", "float32"], thresholds=Thresholds(error_ratio_max=20))
    assert lax.onset["nrc4"] == "layers.2"
    assert lax.onset["all"] == "layers.4"


def test_a_single_layer_that_breaks_a_run_is_named(acts: Any) -> None:
    # the naive alignment of the last layer, whose weight has one direction, is 0.574
    path = acts["swimmer_collapsed", "float32"]
    found = report(path, convention="published", thresholds=Thresholds(cka_min=0))
    assert found.onset["all"] is None
    assert found.onset["nrc3"] is None
    verdict = found.verdict
    assert verdict.state is State.PARTLY
    assert (verdict.onset, verdict.last) == ("layers.8", "layers.12")
    assert verdict.broken_by is not None
    assert verdict.broken_by.layer == "layers.14"
    assert verdict.broken_by.conditions == {"nrc3": pytest.approx(0.574, abs=1e-3)}
    words = verdict.text
    assert (
        "but not to the output: layers.14 (7th of 7) does not meet NRC3 (alignment 0.574" in words
    )
    assert "alone" in words


def test_signal_dimension(acts: Any) -> None:
    path = acts["swimmer_collapsed", "float32"]
    assert (report(path).signal_dim, report(path).signal_dim_source) == (2, "t")
    one = report(path, signal_dim=1)
    assert (one.signal_dim, one.signal_dim_source) == (1, "given")
    assert one.layers[3].metrics.values["noise_component"] > 1e-3
    auto = report(path, signal_dim="auto")
    assert (auto.signal_dim, auto.target_rank) == (2, 2)
    wide = report(path, signal_dim=8).layers
    assert wide[0].metrics.undefined["noise_component"].startswith("width 8 leaves nothing")
    assert wide[0].met["nrc1"] is None
    assert wide[0].answers["nrc1"] is Answer.NOT_JUDGED
    for wrong in (0, -1, "2"):
        with pytest.raises(UsageError, match="give t, auto or a number from 1 up"):
            report(path, signal_dim=wrong)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--convention mine: choose one of default and published"):
        report(path, convention="mine")  # type: ignore[arg-type]


# --- degenerate networks and data, from end to end -------------------------------------------


def measured(tmp_path: Path, model: nn.Module, x: Any, y: Any, **options: Any) -> Report:
    path = tmp_path / "acts.h5"
    extract(model, (x, y), path, dtype="float64", activations=False, force=True)
    found = report(path, **options)
    json.dumps(found.to_dict(), allow_nan=False)
    for layer in found.layers:
        both = layer.metrics.values.keys() | layer.metrics.undefined.keys()
        assert both == set(QUANTITIES)
        assert not layer.metrics.values.keys() & layer.metrics.undefined.keys()
    return found


@pytest.mark.parametrize("shrink", [1e-3, 1e-8, 0.0])
def test_a_dead_network(tmp_path: Path, shrink: float) -> None:
    model = mlp(8, 64, 64, 64, 64, 2, bias=False)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(shrink)
    found = measured(tmp_path, model, *samples(200, 8, 2))
    assert not found.learned
    assert found.model["learned"] is False
    assert found.verdict.state is State.LEARNED_NOTHING
    assert found.verdict.text.startswith("LEARNED NOTHING: R² = ")
    assert set(found.onset.values()) == {None}
    for layer in found.layers[2:]:
        assert "the features do not vary" in layer.metrics.undefined["noise_component"]
        assert set(layer.answers.values()) == {Answer.NOT_JUDGED}


def test_the_fixture_that_died_in_training(tmp_path: Path) -> None:
    data = FIXTURES / "swimmer" / "data.npz"
    extract(FIXTURES / "swimmer" / "wd0.05" / "epoch_100.pt", data, tmp_path / "a.h5")
    found = report(tmp_path / "a.h5")
    assert not found.learned
    assert not any(layer.metrics.varies for layer in found.layers[2:])


def test_an_untrained_network_is_not_a_dead_one(tmp_path: Path) -> None:
    found = measured(tmp_path, mlp(8, 64, 64, 64, 2, bias=False), *samples(200, 8, 2))
    assert not found.learned
    assert all(layer.metrics.varies for layer in found.layers)


def test_one_target(tmp_path: Path) -> None:
    found = measured(tmp_path, mlp(8, 16, 1), *samples(200, 8, 1))
    assert (found.signal_dim, found.n_targets) == (1, 1)
    assert all(not layer.metrics.undefined for layer in found.layers)


def test_more_targets_than_a_layer_is_wide(tmp_path: Path) -> None:
    found = measured(tmp_path, mlp(8, 16, 3, 4), *samples(200, 8, 4))
    bottleneck = found.layers[2].metrics
    assert bottleneck.undefined["alignment"] == "width 3 leaves nothing beside k = 4 directions"
    assert found.layers[2].met == {"nrc1": None, "nrc2": False, "nrc3": None, "nrc4": False}
    assert found.layers[2].answers["nrc1"] is Answer.NOT_JUDGED


def test_fewer_samples_than_features(tmp_path: Path) -> None:
    found = measured(tmp_path, mlp(8, 64, 2), *samples(30, 8, 2))
    assert "any targets would be fitted" in found.layers[1].metrics.undefined["linear_mse"]


def test_a_single_sample(tmp_path: Path) -> None:
    found = measured(tmp_path, mlp(8, 64, 2), *samples(1, 8, 2))
    assert found.r2 is None
    assert not any(layer.metrics.varies for layer in found.layers)


def test_a_constant_target_column(tmp_path: Path) -> None:
    x, y = samples(200, 8, 3)
    y[:, 1] = 0.3
    found = measured(tmp_path, mlp(8, 16, 3), x, y)
    assert found.target_rank == 2
    assert found.notes == (
        "target column 1 of 3 (from 0) never varies and adds no signal",
        "the targets have rank 2, less than k = 3: --signal-dim auto takes the rank",
    )
    assert measured(tmp_path, mlp(8, 16, 3), x, y, signal_dim="auto").signal_dim == 2


def test_targets_that_never_vary(tmp_path: Path) -> None:
    x, y = samples(200, 8, 2)
    found = measured(tmp_path, mlp(8, 16, 2), x, 0 * y + 0.3)
    assert found.r2 is None
    assert found.model == {
        "mse": found.mse,
        "r2": None,
        "learned": False,
        "standard_error": {"mse": found.mse_error},
        "doubts": [],
        "undefined": {"r2": "the targets do not vary"},
    }
    assert found.target_stable_rank is None
    assert found.notes == ("no target ever varies: there is nothing to collapse onto",)
    assert found.verdict.state is State.NOT_JUDGED
    assert "the targets do not vary, so R² is undefined" in found.verdict.text


def test_rank_deficient_weights(tmp_path: Path) -> None:
    model = mlp(8, 16, 16, 2)
    with torch.no_grad():
        first = model[2]
        assert isinstance(first, nn.Linear)
        first.weight.copy_(torch.outer(torch.randn(16), torch.randn(16)))
    found = measured(tmp_path, model, *samples(200, 8, 2))
    assert found.layers[1].metrics.values["weight_rank"] == 1
    assert "alignment over 1 of k = 2 directions" in found.layers[1].metrics.notes[0]


class Twins(nn.Module):
    """Two layers read the same features, and only the mean of their alignments is high enough."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Linear(16, 16, bias=False)
        self.a, self.b = nn.Linear(16, 2, bias=False), nn.Linear(16, 2, bias=False)
        with torch.no_grad():
            self.inputs.weight.copy_(torch.eye(16))
            self.a.weight.copy_(torch.eye(16)[:2])
            self.b.weight.copy_(torch.eye(16)[[0, 2]])

    def forward(self, x: Tensor) -> Tensor:
        x = self.inputs(x)
        return self.a(x) + 0 * self.b(x)


def test_layers_that_read_the_same_features_are_one_position(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 16)) * [1, 1, *[1e-3] * 14]
    y = x[:, :2] + 0.1 * rng.standard_normal((500, 2))  # an error to compare others with
    found = measured(tmp_path, Twins(), x, y)
    _, a, b = found.layers
    assert (a.position, b.position) == (1, 1)
    assert (a.step, b.step) == (1, 1)
    assert a.met["nrc3"] is True
    assert b.met["nrc3"] is False
    assert b.metrics.values["alignment"] == pytest.approx(0.5, abs=0.01)
    assert found.onset["all"] == "a"  # (1 + 0.5) / 2 ≥ 0.7
    assert found.runs["all"] == [["a", "b"]]
    assert (found.verdict.onset, found.verdict.last) == ("a", "b")


def narrowed(tmp_path: Path, *weights: Tensor, **options: Any) -> Report:
    """Return a report on a linear network of these weights, on inputs of two large directions."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 6)) * [1, 1, 1e-3, 1e-3, 1e-3, 1e-3]
    model = nn.Sequential(*(nn.Linear(w.shape[1], w.shape[0], bias=False) for w in weights))
    with torch.no_grad():
        for module, weight in zip(model, weights, strict=True):
            assert isinstance(module, nn.Linear)
            module.weight.copy_(weight)
    return measured(tmp_path, model, x, x[:, :2] + 0.1 * rng.standard_normal((500, 2)), **options)


def test_a_narrow_layer_is_not_judged_and_says_so(tmp_path: Path) -> None:
    """Beside k = 2 directions nothing is left of a width of 2."""
    found = narrowed(tmp_path, torch.eye(6), torch.eye(6)[:2], torch.eye(2))
    assert found.layers[1].step == 1
    assert set(found.layers[1].met.values()) == {True}
    assert found.layers[2].met["nrc1"] is None
    assert found.onset["all"] is None
    assert found.verdict.state is State.NOT_JUDGED
    assert found.verdict.text.startswith("CANNOT BE JUDGED: all four conditions may hold from 1")
    assert "width 2 leaves nothing beside k = 2 directions" in found.verdict.text


def test_a_narrow_layer_before_does_not_hide_the_collapse_after_it(tmp_path: Path) -> None:
    narrow = torch.eye(6)[:2]
    two_stronger = torch.diag(torch.tensor([1, 1, 0.5, 0.5, 0.5, 0.5]))
    found = narrowed(tmp_path, narrow, narrow.T, two_stronger, narrow)
    assert found.layers[1].met["nrc1"] is None
    assert found.verdict.state is State.COLLAPSED
    assert found.onset["all"] == found.verdict.onset == "2"
    assert "Perhaps already from 1: 1 is open: NRC1 cannot be judged (width 2" in found.verdict.text


def test_a_network_without_error_has_no_ratio_of_errors(tmp_path: Path) -> None:
    x, _ = samples(200, 4, 2)
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False))
    with torch.no_grad():
        for module in model:
            assert isinstance(module, nn.Linear)
            module.weight.copy_(torch.eye(4)[: module.out_features])
    found = measured(tmp_path, model, x, x[:, :2])
    assert found.mse == 0
    assert found.layers[1].metrics.undefined["error_ratio"] == (
        "the network's MSE is nothing but rounding"
    )
    assert found.layers[1].answers["nrc4"] is Answer.NOT_JUDGED


def test_a_network_of_layers_on_inputs_alone_is_not_judged(tmp_path: Path) -> None:
    found = measured(tmp_path, mlp(8, 2), *samples(200, 8, 2))
    assert found.layers[0].inputs
    assert found.layers[0].step is None
    assert set(found.onset.values()) == {None}
    learned = narrowed(tmp_path, torch.eye(6)[:2])
    assert learned.verdict.state is State.NOT_JUDGED
    assert "every layer that is measured reads the network's inputs" in learned.verdict.text


class Convolutional(nn.Module):
    """Every kind of convolution that a layer's features and weight must be read right from."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular")
        self.norm = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.short = nn.Conv2d(8, 16, 1, stride=2)
        self.grouped = nn.Conv2d(16, 16, 3, padding="same", groups=4)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
        self.up = nn.ConvTranspose2d(16, 12, 2, stride=2, groups=2)
        self.hidden, self.head = nn.Linear(12, 8), nn.Linear(8, 2)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.stem(x)))
        x = self.relu(self.conv(x) + self.short(x))
        x = self.relu(self.up(self.relu(self.depthwise(self.relu(self.grouped(x))))))
        return self.head(self.relu(self.hidden(x.mean((2, 3)))))


def dense(module: nn.Module) -> Any:
    """Return a layer's weight as a full matrix (rows, channels in), zeros between groups."""
    weight = module.weight.detach().double().numpy()  # type: ignore[operator]
    if isinstance(module, nn.Linear):
        return weight
    assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    c_in, c_out, groups = module.in_channels, module.out_channels, module.groups
    full = np.zeros((c_in, c_out, *weight.shape[2:]))
    i, o = c_in // groups, c_out // groups
    for g in range(groups):
        ins, outs = slice(g * i, (g + 1) * i), slice(g * o, (g + 1) * o)
        transposed = isinstance(module, nn.ConvTranspose2d)
        full[ins, outs] = weight[ins] if transposed else weight[outs].swapaxes(0, 1)
    return full.reshape(c_in, -1).T


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_convolutions_agree_with_a_two_pass_reference(tmp_path: Path, dtype: Any) -> None:
    torch.manual_seed(1)
    model = Convolutional().eval()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((300, 3, 8, 8)).astype(np.float32)
    y = x.mean((2, 3))[:, :2] + 0.01 * rng.standard_normal((300, 2)).astype(np.float32)
    # The reference knows of no blocks: its held-out error follows from the rank.
    extract(model, (x, y), tmp_path / "a.h5", dtype=dtype, batch_size=77, blocks=0)
    found = report(tmp_path / "a.h5")
    model = model.to(getattr(torch, dtype))
    features: dict[str, Any] = {}
    modules = dict(model.named_modules())
    for layer in found.layers:
        modules[layer.name].register_forward_pre_hook(
            lambda module, inputs, name=layer.name: features.update({name: inputs[0].clone()})
        )
    with torch.no_grad():
        out = model(torch.from_numpy(x).to(getattr(torch, dtype)))
    mse = float(((out - torch.from_numpy(y)).double() ** 2).mean())
    tight = 1e-9 if dtype == "float64" else 1e-5
    assert found.mse == pytest.approx(mse, rel=tight)
    names = ["stem", "conv", "short", "grouped", "depthwise", "up", "hidden", "head"]
    assert [layer.name for layer in found.layers] == names
    assert [layer.position for layer in found.layers] == [0, 1, 1, 2, 3, 4, 5, 6]
    for layer in found.layers:
        tensor = features[layer.name].double()
        h = (tensor.mean((2, 3)) if tensor.ndim == 4 else tensor).numpy()
        wanted = reference(h, y.astype(np.float64), dense(modules[layer.name]), 2)
        wanted["excess"] = (wanted["linear_mse"] - mse) / found.target_variance
        wanted["error_ratio"] *= 0.1 / mse  # the reference's network has an MSE of 0.1
        for quantity, value in wanted.items():
            assert layer.metrics.values[quantity] == pytest.approx(value, rel=tight, abs=tight), (
                layer.name,
                quantity,
            )


def test_features_far_from_zero_end_to_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = 1e6 + rng.standard_normal((3000, 8)) * np.logspace(0, -2, 8)
    found = measured(tmp_path, mlp(8, 2), x, x[:, :2] - 1e6)
    c = x.astype(np.longdouble) - x.astype(np.longdouble).mean(0)
    lam = np.linalg.eigvalsh((c.T @ c).astype(np.float64))[::-1]
    noise = found.layers[0].metrics.values["noise_component"]
    assert noise == pytest.approx(lam[2:].sum() / lam.sum(), rel=1e-6)


def concluded(*alignments: float | None, error_ratio: float = 1.0) -> Verdict:
    """Return the verdict on steps that meet all but, perhaps, NRC3; one of None is undefined."""
    in_depth = []
    for number, alignment in enumerate(alignments, 1):
        values = {"noise_component": 0.0, "cka": 1.0, "error_ratio": error_ratio}
        known = {**values} if alignment is None else {**values, "alignment": alignment}
        undefined = {"alignment": "the weight is zero"} if alignment is None else {}
        metrics = LayerMetrics(known, undefined)
        own = answers(metrics, Thresholds(), learned=Answer.MET)
        in_depth.append(Step((f"l.{number}",), number, metrics, own))
    return conclude(NetworkFit(100, 0.1, 0.9, 1.0), in_depth, Thresholds())


def test_a_stretch_is_broken_by_what_surely_fails() -> None:
    found = concluded(0.9, 0.9, None, 0.1)
    assert found.state is State.PARTLY
    assert (found.onset, found.last) == ("l.1", "l.2")
    assert found.broken_by is not None
    assert (found.broken_by.layer, found.broken_by.conditions) == ("l.4", {"nrc3": 0.1})
    assert "but not to the output: l.4 (4th of 4) does not meet NRC3 (alignment 0.1" in found.text


@pytest.mark.parametrize(
    ("error_ratio", "met"), [(0.49, False), (0.5, True), (1.0, True), (2.0, True), (2.01, False)]
)
def test_nrc4_is_closeness_from_both_sides(error_ratio: float, met: bool) -> None:
    state = concluded(0.9, 0.9, error_ratio=error_ratio).state
    assert state is (State.COLLAPSED if met else State.NOT_COLLAPSED)


def test_no_later_layer_loses_what_the_last_one_does() -> None:
    (before,) = concluded(0.9, 0.9, 0.9, error_ratio=0.3).findings[:1] or [""]
    assert before.startswith("A linear probe does better: from l.1 (1st of 3)")
    assert before.endswith("Layers after this lose information: see nrcscan cut.")
    (last,) = concluded(0.9, error_ratio=0.3).findings
    assert last.endswith("last layer is not the best linear map of what it reads: see nrcscan cut.")


DEFAULTS: dict[str, Any] = {
    "signal_dim": "t",
    "convention": "default",
    "thresholds": Thresholds(),
}


def test_what_was_left_out_at_the_end_is_not_taken_for_collapsed(
    acts: dict[tuple[str, str], Path],
) -> None:
    with open_acts(acts["swimmer_collapsed", "float32"]) as file:
        measured = len(file.layers)
        file.unmeasured = [Unmeasured("head", "left out by --exclude", measured)]
        after = report_of(file, **DEFAULTS)
        file.unmeasured = [Unmeasured("stem", "left out by --exclude", 1)]
        before = report_of(file, **DEFAULTS)
    assert after.verdict.state is State.NOT_JUDGED
    assert after.verdict.unmeasured == {"head": "left out by --exclude"}
    assert after.verdict.text.startswith(
        "CANNOT BE JUDGED: all four conditions may hold from layers.8 (4th of 7) to layers.14, the"
        " last layer measured, but head was not measured (left out by --exclude): measure it too."
    )
    assert set(after.onset.values()) == {None}
    assert (before.verdict.state, before.verdict.onset) == (State.COLLAPSED, "layers.8")
    assert before.onset["all"] == "layers.8"


def test_layers_side_by_side_give_the_same_bits(acts: dict[tuple[str, str], Path]) -> None:
    with open_acts(acts["swimmer_collapsed", "float32"]) as file:
        one, three = (report_of(file, threads=threads, **DEFAULTS).to_dict() for threads in (1, 3))
    assert one == three
