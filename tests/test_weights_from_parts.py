"""State dicts that hold what weights are computed from, and the weights that then act."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, samples
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

from nrcscan import InputError, extract, report
from nrcscan.inputs.checkpoints.acting_weights import acting

pytestmark = [
    pytest.mark.numerical,
    pytest.mark.filterwarnings("ignore:.*torch.nn.utils.weight_norm.*:FutureWarning"),
]

X, Y = samples(60, 6, 2)
Change = Callable[[Any], Any]


def plain(width: int = 12) -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 2))


def changed(change: Change) -> nn.Sequential:
    """Return a network each of whose layers computes its weight."""
    net = plain()
    for layer in (net[0], net[2]):
        change(layer)
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return net.eval()


NO_DIM: Any = None
CHANGES: dict[str, Change] = {
    "weight norm": parametrizations.weight_norm,
    "weight norm as one": lambda la: parametrizations.weight_norm(la, dim=NO_DIM),
    "weight norm by column": lambda la: parametrizations.weight_norm(la, dim=1),
    "weight norm of before": nn.utils.weight_norm,
    "weight norm of before, as one": lambda la: nn.utils.weight_norm(la, dim=NO_DIM),
    "spectral norm": parametrizations.spectral_norm,
    "spectral norm of before": nn.utils.spectral_norm,
    "pruned": lambda la: prune.l1_unstructured(la, "weight", 0.5),
}
MODULES: dict[str, Callable[[], Any]] = {
    "Linear": lambda: nn.Linear(5, 7),
    "one row": lambda: nn.Linear(5, 1),
    "one column": lambda: nn.Linear(1, 5),
    "Conv2d": lambda: nn.Conv2d(4, 4, 3),
    "ConvTranspose2d": lambda: nn.ConvTranspose2d(4, 4, 3),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(3, 5, 2),
}


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("change", CHANGES)
def test_the_weight_is_what_the_module_runs_with(change: str, module: str) -> None:
    layer = MODULES[module]()
    CHANGES[change](layer)
    for parameter in layer.parameters():
        parameter.data *= 1 + 0.05 * torch.rand(parameter.shape)
    channels = layer.weight.shape[0 if "Transpose" in module else 1]
    x = torch.randn((2, channels, 9, 9)[: layer.weight.ndim])
    for _ in range(20):  # the vectors of a spectral norm turn into place as it is trained
        layer(x)
    layer.eval()(x)
    net = {f"a.b.{name}": tensor for name, tensor in layer.state_dict().items()}
    found = acting(net, {})
    assert found.state.keys() == {"a.b.weight", "a.b.bias"}
    assert not found.unknown
    np.testing.assert_allclose(found.state["a.b.weight"], layer.weight.detach(), atol=1e-6)
    assert found.notes[0].startswith("weights of a.b from ")


@pytest.mark.parametrize("change", CHANGES)
def test_a_network_is_inferred_from_parts(tmp_path: Path, change: str) -> None:
    net = changed(CHANGES[change])
    net(torch.zeros(1, 6))
    torch.save(net.state_dict(), tmp_path / "m.pt")
    done = extract(tmp_path / "m.pt", (X, Y), tmp_path / "a.h5", activation="relu")
    assert done.notes[0].startswith("weights of 0 and 2 from ")
    assert done.layers == ("0", "2")
    extract(net, (X, Y), tmp_path / "b.h5")
    ours, theirs = report(tmp_path / "a.h5"), report(tmp_path / "b.h5")
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        assert a.metrics.values == pytest.approx(b.metrics.values, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("change", CHANGES)
def test_parts_fit_a_plain_network(tmp_path: Path, change: str) -> None:
    net = changed(CHANGES[change])
    state = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save(state, tmp_path / "m.pt")
    done = extract(tmp_path / "m.pt", (X, Y), tmp_path / "a.h5", factory=plain)
    assert done.notes[0].startswith("weights of 0 and 2 from ") or "module.0" in done.notes[0]
    with torch.no_grad():
        error = (net(torch.from_numpy(X).float()).double().numpy() - Y) ** 2
    assert done.r2 == pytest.approx(1 - error.sum() / ((Y - Y.mean(0)) ** 2).sum(), rel=1e-5)


@pytest.mark.parametrize("change", [name for name in CHANGES if "spectral" not in name])
def test_plain_weights_fit_a_network_that_computes_its_own(tmp_path: Path, change: str) -> None:
    net = plain()
    torch.save(net.state_dict(), tmp_path / "m.pt")

    def factory() -> nn.Module:
        other = plain()
        for layer in (other[0], other[2]):
            if change == "pruned":
                prune.identity(layer, "weight")
            else:
                CHANGES[change](layer)
        return other

    done = extract(tmp_path / "m.pt", (X, Y), tmp_path / "a.h5", factory=factory)
    assert done.notes[0] == "plain weights of 0 and 2 put into a network that computes its own"
    extract(net, (X, Y), tmp_path / "b.h5")
    ours, theirs = report(tmp_path / "a.h5"), report(tmp_path / "b.h5")
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        assert a.metrics.values == pytest.approx(b.metrics.values, rel=1e-5, abs=1e-6)


def test_weight_norm_of_before_fits_that_of_today(tmp_path: Path) -> None:
    net = changed(nn.utils.weight_norm)
    torch.save(net.state_dict(), tmp_path / "m.pt")
    done = extract(
        tmp_path / "m.pt",
        (X, Y),
        tmp_path / "a.h5",
        factory=lambda: changed(parametrizations.weight_norm),
    )
    extract(net, (X, Y), tmp_path / "b.h5")
    assert done.r2 == pytest.approx(report(tmp_path / "b.h5").r2, abs=1e-6)


def test_a_norm_cannot_be_put_on_plain_weights(tmp_path: Path) -> None:
    torch.save(plain().state_dict(), tmp_path / "m.pt")
    with pytest.raises(InputError, match="does not fit the network: missing 0.parametrizations"):
        extract(
            tmp_path / "m.pt",
            (X, Y),
            tmp_path / "a.h5",
            factory=lambda: changed(parametrizations.spectral_norm),
        )


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).T


def test_a_function_that_is_not_in_the_file(tmp_path: Path, cli: Run) -> None:
    net: Any = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 6), nn.Linear(6, 2))
    parametrize.register_parametrization(net[0], "weight", Symmetric())
    parametrizations.orthogonal(net[2])
    torch.save(net.state_dict(), tmp_path / "m.pt")
    np.savez(tmp_path / "d.npz", x=X, y=Y)
    done = cli("extract", "m.pt", "d.npz")
    assert done.returncode == 3
    assert done.stderr.endswith(
        "m.pt: the weights that act cannot be computed from the file alone: 0 (the function that"
        " makes it of original is not in the file) and 2 (the function that makes it of 0.base and"
        " original is not in the file); name the network's factory with --model\n"
    )


def test_names_that_only_look_like_parts() -> None:
    square = torch.ones(4, 4)
    state = {
        "a.weight_g": square, "a.weight_v": square, "b.gate_g": torch.ones(4, 1),
        "b.gate_v": square, "c.weight_orig": square, "d.weight": square, "d.weight_mask": square,
        "e.weight_u": torch.ones(4),
    }  # fmt: skip
    found = acting(state, {})
    assert list(found.state) == list(state)
    assert not found.computed
    assert not found.unknown


SHAPES: list[tuple[int, ...]] = [(), (0,), (1,), (4,), (4, 1), (1, 4), (4, 4), (4, 3, 1), (0, 4)]
PARTS = [
    ("weight_g", "weight_v"),
    ("parametrizations.weight.original0", "parametrizations.weight.original1"),
    ("weight_orig", "weight_mask"),
    ("weight_orig", "weight_u", "weight_v"),
    ("parametrizations.weight.original", "parametrizations.weight.0._u",
     "parametrizations.weight.0._v"),
    ("base_layer.weight", "lora_A", "lora_B.x.weight"),
    ("base_layer.weight", "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"),
]  # fmt: skip


@pytest.mark.parametrize("parts", PARTS, ids=str)
def test_parts_of_any_shape_are_computed_or_left(parts: tuple[str, ...]) -> None:
    draw = np.random.default_rng(0)
    for _ in range(60):
        state = {}
        for name in parts:
            shape = SHAPES[draw.integers(len(SHAPES))]
            dtype = [torch.float32, torch.bfloat16, torch.int64, torch.bool][draw.integers(4)]
            state[f"a.{name}"] = torch.ones(shape).to(dtype)
        found = acting(state, {"lora_alpha": 2})
        assert found.state
        assert not (found.computed and found.unknown)
        if found.computed:
            assert list(found.state) == ["a.weight"]


def adapted(*, dora: bool = False, name: str = "") -> tuple[dict[str, Any], np.ndarray]:
    """Return the state dict of a chain whose first layer has an adapter, and W and BA apart."""
    net: Any = plain()
    a, b = torch.randn(4, 6), torch.randn(12, 4)
    state = {
        "0.base_layer.weight": net[0].weight.data,
        "0.base_layer.bias": net[0].bias.data,
        f"0.lora_A{name}.weight": a,
        f"0.lora_B{name}.weight": b,
        **{f"2.{leaf}": tensor for leaf, tensor in net[2].state_dict().items()},
    }
    if dora:
        state[f"0.lora_magnitude_vector{name}.weight"] = torch.rand(12) + 0.5
    wide = [t.double().numpy() for t in (net[0].weight.data, b @ a)]
    return state, np.stack(wide)


@pytest.mark.parametrize("name", ["", ".default"])
@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize(("rank", "scale"), [(False, 2.0), (True, 4.0)])
def test_adapters_of_a_state_dict(name: str, *, dora: bool, rank: bool, scale: float) -> None:
    state, (weight, low) = adapted(dora=dora, name=name)
    found = acting(state, {"lora": {"lora_alpha": 8, "use_rslora": rank}})
    assert list(found.state) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    expected = weight + scale * low
    if dora:
        lengths = state[f"0.lora_magnitude_vector{name}.weight"].numpy()
        expected *= (lengths / np.linalg.norm(expected, axis=1))[:, None]
    np.testing.assert_allclose(found.state["0.weight"], expected, rtol=1e-5, atol=1e-5)
    how = f"weights of 0 from base_layer, lora_A and lora_B, with scale {scale:g}"
    assert found.notes == (how + " (DoRA)" * dora,)


def test_the_settings_of_an_adapter_beside_its_weights(tmp_path: Path) -> None:
    state, (weight, low) = adapted()
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(InputError) as caught:
        extract(tmp_path / "m.pt", (X, Y), tmp_path / "a.h5")
    assert str(caught.value) == (
        f"{tmp_path / 'm.pt'}: the weights that act cannot be computed from the file alone: 0 (the"
        " scale of lora_A and lora_B, lora_alpha over r, is not in the file); name the network's"
        " factory with --model"
    )
    (tmp_path / "adapter_config.json").write_text("[" * 200_000)  # no settings
    with pytest.raises(InputError, match="the scale of lora_A and lora_B, .* is not in the file"):
        extract(tmp_path / "m.pt", (X, Y), tmp_path / "a.h5")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 8, "r": 4}))
    done = extract(tmp_path / "m.pt", (X, Y), tmp_path / "a.h5", activation="relu")
    hidden = np.maximum(X @ (weight + 2 * low).T + state["0.base_layer.bias"].numpy(), 0)
    error = hidden @ state["2.weight"].numpy().T + state["2.bias"].numpy() - Y
    r2 = 1 - (error**2).sum() / ((Y - Y.mean(0)) ** 2).sum()
    assert done.r2 == pytest.approx(r2, rel=1e-5)


def test_adapters_that_do_not_act_and_several(tmp_path: Path) -> None:
    state, (weight, _) = adapted()
    state["0.lora_B.weight"] *= 0  # as they begin
    np.testing.assert_array_equal(acting(state, {}).state["0.weight"], weight.astype("f4"))
    state["0.lora_A.other.weight"] = state["0.lora_A.weight"]
    state["0.lora_B.other.weight"] = state["0.lora_B.weight"]
    found = acting(state, {"lora_alpha": 8})
    assert found.unknown == {"2 adapters; which of them act is not in the file": ["0"]}
