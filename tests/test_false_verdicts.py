"""What was once concluded wrongly: each is a network, and the verdict that it must not get."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FIXTURES
from torch import Tensor, nn

from nrcscan import Report, extract, report

Array = np.ndarray[Any, np.dtype[np.float64]]


def of_fixture(tmp_path: Path, name: str, k: Any = "t", **options: Any) -> Report:
    path = tmp_path / "acts.h5"
    data = FIXTURES / name.partition("/")[0] / "data.npz"
    extract(FIXTURES / name, data, path, activations=False, force=True, **options)
    return report(path, signal_dim=k)


def of_network(tmp_path: Path, net: nn.Module, x: Array, y: Array, **options: Any) -> Report:
    path = tmp_path / "acts.h5"
    extract(net, (x, y), path, dtype="float64", activations=False, force=True, **options)
    return report(path)


def chain(*weights: Array, act: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Return a network without biases of these weights."""
    modules: list[nn.Module] = []
    for weight in weights:
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight))
        modules += [linear, act()]
    return nn.Sequential(*modules[:-1])


def outputs(net: nn.Module, x: Array) -> Array:
    with torch.inference_mode():
        return np.asarray(net.double()(torch.from_numpy(x)))


def test_leaving_out_the_layer_that_fails(tmp_path: Path) -> None:
    name = "reacher/wd0.002/epoch_100.pt"
    whole = of_fixture(tmp_path, name)
    assert whole.verdict.state.value == "partly"
    assert whole.verdict.broken_by is not None
    assert whole.verdict.broken_by.layer == "layers.14"
    found = of_fixture(tmp_path, name, exclude=["layers.14"])
    assert found.verdict.state.value == "cannot be judged"
    assert found.onset["all"] is None
    assert found.verdict.unmeasured == {"layers.14": "left out by --exclude"}
    assert "to layers.12, the last layer measured, but layers.14 was not measured" in (
        found.verdict.text
    )
    assert "to the output" not in found.verdict.text


def test_leaving_out_what_comes_before(tmp_path: Path) -> None:
    found = of_fixture(tmp_path, "swimmer/wd0.01/epoch_600.pt", layers=["layers.1[0-4]"])
    assert found.verdict.state.value == "collapsed"
    assert found.verdict.onset == "layers.10"
    assert "Perhaps already from layers." in found.verdict.text
    assert "to the output" in found.verdict.text


def test_a_sketch_that_cannot_tell_is_no_network_that_has_not_collapsed(tmp_path: Path) -> None:
    name = "swimmer/wd0.01/epoch_600.pt"
    assert of_fixture(tmp_path, name).verdict.state.value == "collapsed"
    found = of_fixture(tmp_path, name, sketch=4)
    assert found.verdict.state.value == "cannot be judged"
    assert "NRC4 at" in found.verdict.text
    assert "a higher --sketch" in found.verdict.text
    assert of_fixture(tmp_path, name, sketch=32).verdict.state.value in (
        "collapsed",
        "cannot be judged",
    )


def test_a_layer_as_narrow_as_the_signal_is_not_passed_over(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 6))
    net = chain(
        rng.standard_normal((16, 6)), rng.standard_normal((2, 16)), rng.standard_normal((2, 2))
    )
    found = of_network(tmp_path, net, x, outputs(net, x) + 0.1 * rng.standard_normal((400, 2)))
    assert found.layers[-1].answers["nrc1"].value == "cannot be judged"
    assert found.verdict.state.value in ("cannot be judged", "not collapsed")
    assert "to the output" not in found.verdict.text.replace("not to the output", "")


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_not_predicted_linearly(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((150, 20)), rng.standard_normal((150, 2))
    hidden = [rng.standard_normal((128, 20)), rng.standard_normal((128, 128)) / 8]
    h = np.maximum(np.maximum(x @ hidden[0].T, 0) @ hidden[1].T, 0)
    head = np.asarray(np.linalg.lstsq(h, y, rcond=1e-6)[0].T, np.float64)
    found = of_network(tmp_path, chain(*hidden, head), x, y)
    assert found.learned  # by heart
    for layer in found.layers[1:]:
        assert layer.answers["nrc4"].value == "cannot be judged"
        why = layer.metrics.undefined["error_ratio"]
        assert "for 150 samples" in why or "150 samples for features of rank" in why
    assert found.verdict.state.value in ("not collapsed", "cannot be judged")


@pytest.mark.parametrize("name", ["swimmer/wd0/epoch_600.pt", "reacher/wd0/epoch_600.pt"])
def test_nearly_every_direction_for_signal(tmp_path: Path, name: str) -> None:
    found = of_fixture(tmp_path, name, 127)
    assert found.verdict.state.value in ("undecided", "cannot be judged")
    for layer in found.layers[1:-1]:
        assert layer.answers["nrc3"].value != "met"


def test_a_linear_model_has_nothing_to_collapse(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 6))
    net = chain(rng.standard_normal((2, 6)))
    found = of_network(tmp_path, net, x, outputs(net, x) + 0.1 * rng.standard_normal((400, 2)))
    assert found.layers[0].inputs
    assert found.layers[0].step is None
    assert found.verdict.state.value == "cannot be judged"
    assert "reads the network's inputs, which are data" in found.verdict.text


def test_a_target_that_is_not_predicted_is_not_hidden_by_one_of_another_scale(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 8))
    y = np.c_[1000 * x[:, 0], rng.standard_normal(400)]
    weights = [np.eye(16, 8), np.eye(16), np.zeros((2, 16))]
    weights[-1][0, 0] = 1000.0
    found = of_network(tmp_path, chain(*weights, act=nn.Identity), x, y)
    assert found.r2 is not None
    assert found.r2 > 0.99
    assert found.target_rank == 2
    notes = " ".join(found.notes)
    assert "target column 1 (from 0) is not predicted (R² " in notes
    assert "--signal-dim auto" not in notes


class Residual(nn.Module):
    """Two layers on the main branch of a block, and a weight past them."""

    def __init__(self, lead: Array, main: Array, shortcut: Array, head: Array) -> None:
        super().__init__()
        self.lead, self.first, self.second = (_linear(w) for w in (lead, main, main))
        self.past, self.head = _linear(shortcut), _linear(head)

    def forward(self, x: Tensor) -> Tensor:
        h = self.lead(x)
        out: Tensor = self.head(self.second(self.first(h)) + self.past(h))
        return out


def _linear(weight: Array) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight))
    return linear


def residual(rng: np.random.Generator, *, shortcut_fails: bool) -> tuple[Residual, Array]:
    """Return a network that is collapsed onto two directions, but for a block's shortcut."""
    d = 32
    basis = np.linalg.qr(rng.standard_normal((d, d)))[0]
    signal, rest = basis[:, :2], basis[:, 2:]
    main = signal @ np.diag([1.0, 0.8]) @ signal.T + 0.01 * rng.standard_normal((d, d))
    past = rest[:, :2] @ np.diag([1.0, 0.8]) @ rest[:, :2].T if shortcut_fails else main
    lead = signal @ np.diag([1.0, 0.7]) @ np.linalg.qr(rng.standard_normal((6, 2)))[0].T
    net = Residual(lead, main, 0.5 * past, np.diag([1.0, 0.9]) @ signal.T)
    return net, rng.standard_normal((500, 6))


@pytest.mark.parametrize("shortcut_fails", [False, True])
def test_a_block_is_judged_by_its_main_branch(tmp_path: Path, *, shortcut_fails: bool) -> None:
    rng = np.random.default_rng(0)
    net, x = residual(rng, shortcut_fails=shortcut_fails)
    y = outputs(net, x)
    found = of_network(tmp_path, net, x, y + 0.1 * rng.standard_normal(y.shape))
    by_name = {layer.name: layer for layer in found.layers}
    assert by_name["past"].shortcut
    assert by_name["past"].step is None
    assert (by_name["past"].answers["nrc3"].value == "not met") == shortcut_fails
    assert found.verdict.state.value == "collapsed", found.verdict.text
    assert found.verdict.onset == "first"


def test_nothing_that_is_defined(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((3, 6))
    net = chain(rng.standard_normal((16, 6)), rng.standard_normal((2, 16)))
    found = of_network(tmp_path, net, x, outputs(net, x) + 1e-3 * rng.standard_normal((3, 2)))
    assert {a.value for layer in found.layers for a in layer.answers.values()} == {
        "cannot be judged"
    }
    assert found.verdict.state.value == "cannot be judged"
    assert "3 samples have at most 2 directions, and k = 2" in found.verdict.text
    assert set(found.onset.values()) == {None}
