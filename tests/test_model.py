from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import mlp
from torch import nn

from nrcscan import InputError, UsageError
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint
from nrcscan.inputs.user_code import load_callable
from nrcscan.network.build import build
from nrcscan.network.chain import ACTIVATIONS


def checkpoint(path: Path, model: nn.Module | dict[str, torch.Tensor]) -> Path:
    state = model if isinstance(model, dict) else model.state_dict()
    torch.save(state, path / "m.pt")
    return path / "m.pt"


def rebuilt(path: Path, model: nn.Module, **options: object) -> nn.Module:
    network = build(open_checkpoint(checkpoint(path, model)), **options)  # type: ignore[arg-type]
    return network.module.eval()


CHAINS = {
    "plain": mlp(3, 4, 5, 2),
    "no bias": mlp(3, 4, 2, bias=False),
    "one layer": nn.Linear(3, 2),
    "norm, then activation": nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)
    ),
    "activation, then norm": nn.Sequential(
        nn.Linear(3, 4), nn.ReLU(), nn.LayerNorm(4), nn.Linear(4, 2)
    ),
    "dropout": nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 2)),
    "normed input": nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
    "norm without weights": nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4, affine=False), nn.ReLU(), nn.Linear(4, 2)
    ),
}


@pytest.mark.parametrize("kind", CHAINS)
def test_a_chain_is_inferred_from_its_weights(tmp_path: Path, kind: str) -> None:
    model = CHAINS[kind].train()
    model(torch.randn(64, 3))  # running statistics away from their start
    x = torch.randn(5, 3)
    torch.testing.assert_close(rebuilt(tmp_path, model)(x), model.eval()(x))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_activation_is_a_choice(tmp_path: Path, activation: str) -> None:
    model = nn.Sequential(nn.Linear(3, 4), ACTIVATIONS[activation](), nn.Linear(4, 2))
    x = torch.randn(5, 3)
    found = rebuilt(tmp_path, model, activation=activation)
    torch.testing.assert_close(found(x), model(x))


def test_unknown_activation(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--activation swish: choose one of relu, tanh,"):
        rebuilt(tmp_path, mlp(3, 2), activation="swish")


def test_names_tell_nothing_but_the_file_order_does(tmp_path: Path) -> None:
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.input, self.hidden, self.out = nn.Linear(3, 4), nn.Linear(4, 6), nn.Linear(6, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.hidden(self.input(x).relu()).relu())

    model, x = Named(), torch.randn(5, 3)
    torch.testing.assert_close(rebuilt(tmp_path, model)(x), model(x))


def test_more_than_ten_layers_in_natural_order(tmp_path: Path) -> None:
    model = mlp(*[4] * 14)
    state = dict(sorted(model.state_dict().items()))  # "10" before "2", as some tools write it
    state["24.weight"] = state["24.weight"][:2]
    state["24.bias"] = state["24.bias"][:2]
    head = nn.Linear(4, 2)
    head.load_state_dict({"weight": state["24.weight"], "bias": state["24.bias"]})
    model[24] = head
    network = build(open_checkpoint(checkpoint(tmp_path, state)))
    x = torch.randn(5, 4)
    torch.testing.assert_close(network.module(x), model(x))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Conv2d(1, 2, 3), r"not a plain chain.*\(2, 1, 3, 3\).*name the network's factory"),
        (
            nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(5, 2)}),
            "do not form a chain: a gives 4, b takes 5",
        ),
        (nn.LayerNorm(3), "there is no Linear layer"),
        (nn.LSTM(3, 4), "not a plain chain"),
    ],
)
def test_what_is_no_chain(tmp_path: Path, model: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rebuilt(tmp_path, model)


def test_nan_weights(tmp_path: Path) -> None:
    model = mlp(3, 2)
    with torch.no_grad():
        next(iter(model.parameters()))[1] = float("nan")
    with pytest.raises(
        InputError, match=r"NaN or infinite weights in 0.weight; the training diverged"
    ):
        rebuilt(tmp_path, model)


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision(tmp_path: Path, stored: torch.dtype) -> None:
    model = mlp(3, 4, 2).to(stored)
    found = rebuilt(tmp_path, model, dtype=torch.float64)
    torch.testing.assert_close(
        found[0].weight if isinstance(found, nn.Sequential) else found.get_parameter("0.weight"),
        model[0].weight.double(),
    )


# --- factories --------------------------------------------------------------------------------

FACTORY = """
from dataclasses import dataclass
import torch
from torch import nn

@dataclass
class Config:
    width: int = 4

class Net(nn.Sequential):
    def __init__(self, width: int = 4) -> None:
        super().__init__(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))

def build(width: int = 4) -> nn.Module:
    return Net(Config(width).width)

ready = Net()
def number(): return 3
def broken(): raise RuntimeError("no such luck\\nsecond line")
constant = 5
"""


@pytest.fixture
def factory(tmp_path: Path) -> Path:
    path = tmp_path / "my_networks.py"
    path.write_text(FACTORY)
    return path


@pytest.mark.parametrize("name", ["build", "Net", "ready"])
def test_factory_in_a_file(tmp_path: Path, factory: Path, name: str) -> None:
    model, x = mlp(3, 4, 2), torch.randn(5, 3)
    found = rebuilt(tmp_path, model, factory=f"{factory}:{name}")
    torch.testing.assert_close(found(x), model(x))


def test_factory_in_a_module_of_this_folder(
    tmp_path: Path, factory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = mlp(3, 6, 2)
    found = rebuilt(tmp_path, model, factory="my_networks:build", factory_args={"width": 6})
    torch.testing.assert_close(found[0].weight, model[0].weight)  # type: ignore[index]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("build", "write package.module:factory or path/file.py:factory"),
        ("nowhere.py:build", "importing nowhere.py failed: FileNotFoundError: no such file"),
        ("no_such_package:build", "ModuleNotFoundError: No module named 'no_such_package'"),
        ("{file}:nothing", "has no 'nothing'; it has .*build"),
        ("{file}:constant", "constant is a int, not a callable"),
    ],
)
def test_factory_not_found(factory: Path, spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_callable(spec.format(file=factory), "--model")


def test_factory_that_fails(tmp_path: Path, factory: Path) -> None:
    with pytest.raises(UsageError, match="returned a int, not an nn.Module"):
        rebuilt(tmp_path, mlp(3, 4, 2), factory=f"{factory}:number")
    with pytest.raises(UsageError, match=r"failed: RuntimeError: no such luck; give its arguments"):
        rebuilt(tmp_path, mlp(3, 4, 2), factory=f"{factory}:broken")
    with pytest.raises(UsageError, match="unexpected keyword argument 'depth'"):
        rebuilt(tmp_path, mlp(3, 4, 2), factory=f"{factory}:build", factory_args={"depth": 2})


def test_every_misfit_in_one_message(tmp_path: Path, factory: Path) -> None:
    state = mlp(3, 5, 2).state_dict()
    state["extra.weight"] = torch.zeros(1)
    del state["2.bias"]
    path = checkpoint(tmp_path, state)
    with pytest.raises(InputError) as caught:
        build(open_checkpoint(path), factory=f"{factory}:build")
    for part in (
        "missing 2.bias",
        "unexpected extra.weight",
        "0.weight has shape (5, 3) where the network wants (4, 3)",
        "0.bias has shape (5,) where the network wants (4,)",
        "2.weight has shape (2, 5) where the network wants (2, 4)",
    ):
        assert part in str(caught.value)


def test_a_network_whose_own_attribute_is_called_model(tmp_path: Path) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = mlp(3, 4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(x)

    found = rebuilt(tmp_path, Wrapped(), factory=Wrapped)
    assert "model.0.weight" in found.state_dict()


@pytest.mark.parametrize("name", ["forward", "parameters", "_steps", "_modules", "a..b"])
def test_names_that_modules_use_themselves(tmp_path: Path, name: str) -> None:
    state = {f"{name}.weight": torch.randn(2, 3)}
    found = build(open_checkpoint(checkpoint(tmp_path, state))).module
    x = torch.randn(4, 3)
    torch.testing.assert_close(found(x), x @ state[f"{name}.weight"].T)


def test_weights_that_are_no_floating_point_numbers(tmp_path: Path) -> None:
    state = {"weight": torch.ones(2, 3, dtype=torch.int8)}
    with pytest.raises(InputError, match="weight holds int8 where the network wants numbers in fl"):
        build(open_checkpoint(checkpoint(tmp_path, state)))
