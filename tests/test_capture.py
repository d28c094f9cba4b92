from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import mlp
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from nrcscan import UsageError
from nrcscan.network.call import Call
from nrcscan.network.capture import Capture
from nrcscan.network.evaluation_mode import evaluating
from nrcscan.network.features_from_tensor import pooled
from nrcscan.network.find_layers import find_layers, select

pytestmark = pytest.mark.numerical


def seen(model: nn.Module, x: Tensor, *, trace: bool = False) -> list[tuple[Call, Tensor]]:
    calls: list[tuple[Call, Tensor]] = []
    with evaluating(model):
        watch = Capture(
            find_layers(model),
            lambda call, features: calls.append((call, features.clone())),
            trace_sources=trace,
        )
        with watch:
            model(x)
    return calls


def names(calls: list[tuple[Call, Tensor]]) -> list[str]:
    return [call.name for call, _ in calls]


def test_features_are_what_reaches_the_layer() -> None:
    model, x = mlp(3, 4, 5, 2), torch.randn(7, 3)
    calls = seen(model, x)
    assert names(calls) == ["0", "2", "4"]
    with torch.no_grad():
        expected = [x, model[:2](x), model[:4](x)]
    for (_, features), wanted in zip(calls, expected, strict=True):
        torch.testing.assert_close(features, wanted)


def test_order_is_of_execution_not_of_definition() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last, self.first = nn.Linear(4, 2), nn.Linear(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x))

    assert names(seen(Backwards(), torch.randn(5, 3))) == ["first", "last"]


def test_in_place_activation_after_the_look() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.a(x)
            out = self.b(h)
            h.relu_()
            return out

    model, x = InPlace(), torch.randn(9, 3)
    (_, (_, features)) = seen(model, x)
    with torch.no_grad():
        torch.testing.assert_close(features, model.a(x))


def test_a_layer_called_twice_has_two_entries() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(self.a(x).relu())

    assert names(seen(Twice(), torch.randn(4, 3))) == ["a", "a#2"]


def test_a_weight_used_without_calling_its_module() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.linear(x, self.a.weight)

    assert names(seen(Functional(), torch.randn(4, 3))) == ["a"]


def test_a_parametrised_weight() -> None:
    model = nn.Sequential(weight_norm(nn.Linear(3, 4)), nn.ReLU(), nn.Linear(4, 2))
    assert names(seen(model, torch.randn(4, 3))) == ["0", "2"]


@pytest.mark.parametrize("padding_mode", ["zeros", "circular", "reflect", "replicate"])
def test_padding_of_a_convolution_is_not_its_input(padding_mode: Any) -> None:
    model = nn.Conv2d(2, 3, 3, padding=1, padding_mode=padding_mode)
    x = torch.randn(4, 2, 6, 6)
    ((call, features),) = seen(model, x)
    assert call.name == "Conv2d"
    torch.testing.assert_close(features, x)


class Residual(nn.Module):
    """A block whose first layer and shortcut read the same tensor, or one changed in between."""

    def __init__(self, change: bool) -> None:
        super().__init__()
        self.a, self.short, self.change = nn.Linear(3, 3), nn.Linear(3, 3), change

    def forward(self, x: Tensor) -> Tensor:
        h = x * 2
        out = self.a(h)
        if self.change:
            h.relu_()
        return out + self.short(h)


def test_layers_that_read_the_same_tensor_have_the_same_source() -> None:
    (a, _), (short, _) = seen(Residual(change=False), torch.randn(4, 3), trace=True)
    assert a.source == short.source
    (a, _), (short, _) = seen(Residual(change=True), torch.randn(4, 3), trace=True)
    assert a.source != short.source


def test_memory_used_again_is_not_the_same_tensor() -> None:
    class Chain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(20))

        def forward(self, x: Tensor) -> Tensor:
            for layer in self.layers:
                x = layer(x).relu()
            return x

    calls = seen(Chain(), torch.randn(4, 4), trace=True)
    assert len({call.source for call, _ in calls}) == 20


def test_the_model_is_left_as_found() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    model.train()
    model[1].eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    seen(model, torch.randn(10, 3))
    assert [m.training for m in model] == [True, False, True, True]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])
    assert all(p.requires_grad for p in model.parameters())
    model(torch.randn(10, 3)).sum().backward()


@pytest.mark.parametrize("pool", ["mean", "first", "last", "flatten"])
def test_pooling(pool: str) -> None:
    x = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    expected = {
        "mean": x.numpy().astype(np.float64).mean(axis=(2, 3)),
        "first": x[:, :, 0, 0].numpy(),
        "last": x[:, :, -1, -1].numpy(),
        "flatten": x.flatten(1).numpy(),
    }[pool]
    np.testing.assert_allclose(pooled(x, 1, pool).numpy(), expected, rtol=1e-12)  # type: ignore[arg-type]
    sequence = x[:, 0]
    if pool != "flatten":
        assert pooled(sequence, -1, pool).shape == (3, 6)  # type: ignore[arg-type]


def test_select() -> None:
    layers = ["enc.0", "enc.1", "head", "enc.0#2"]
    assert select(layers, ["enc.*"], ["*#2"]) == ["enc.0", "enc.1"]
    assert select(layers, [], []) == layers
    with pytest.raises(UsageError, match=r"no layer matches --layers 'x\*'; choose among enc.0,"):
        select(layers, ["x*"], [])


def test_compiled_network_runs_as_written() -> None:
    model, x = mlp(3, 4, 5, 2), torch.randn(7, 3)
    compiled: Any = torch.compile(model, backend="eager")
    compiled(x)  # once for itself: this is what a training script leaves behind
    for (call, features), (plain, expected) in zip(seen(compiled, x), seen(model, x), strict=True):
        assert call.name == f"_orig_mod.{plain.name}"
        torch.testing.assert_close(features, expected)
