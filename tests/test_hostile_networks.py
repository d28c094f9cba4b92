"""Whole networks in files that say what no network is: each is one message, or just its weights."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import mlp, samples
from torch import nn

from nrcscan import NrcscanError, extract
from nrcscan.inputs.checkpoints.layers_made_again import layer_classes
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Damage = Callable[[Any], Any]
"""Makes of a network (6 → 8 → 2) one that is none, in place; or returns another."""

VALUES: tuple[Any, ...] = (5, "x", [1], {1: 2}, None)
WEIGHTS: tuple[Any, ...] = (5, "x", None, [1.0], {}, 2**70)
METHODS = (
    "forward", "train", "eval", "to", "state_dict", "load_state_dict", "parameters",
    "named_modules", "modules", "children", "apply", "float", "double", "register_forward_hook",
    "__call__",
    "_call_impl", "__class__", "__dict__", "__setattr__", "_version", "requires_grad_",
)  # fmt: skip


def own(name: str, value: Any = 5, layer: int | None = None) -> Damage:
    """Return what gives a network, or a layer of it, an attribute as its pickle has it."""

    def damage(model: Any) -> None:
        (model if layer is None else model[layer]).__dict__[name] = value

    return damage


def within(part: str, name: Any, value: Any, layer: int | None = 0) -> Damage:
    """Return what sets an entry of a layer's parameters, buffers or modules."""

    def damage(model: Any) -> None:
        target = model if layer is None else model[layer]
        target.__dict__[part][name] = value() if callable(value) else value

    return damage


def _holds_itself(model: Any) -> None:
    model._modules["9"] = model


def _hold_each_other(model: Any) -> None:
    inner = nn.Sequential(nn.Linear(2, 2))
    inner._modules["1"] = model
    model._modules["9"] = inner


def _a_recurrent(**said: Any) -> Damage:
    def damage(_: Any) -> Any:
        lstm = nn.LSTM(6, 4)
        lstm.__dict__.update(said)
        return nn.Sequential(lstm)

    return damage


def _attention_of_another_kind(_: Any) -> Any:
    attention = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    attention.self_attn._modules["out_proj"] = nn.Tanh()
    return nn.Sequential(attention, nn.Linear(6, 2))


def _encoder_without_attention(_: Any) -> Any:
    encoder = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True)
    del encoder._modules["self_attn"]
    return nn.Sequential(encoder, nn.Linear(6, 2))


def _encoder_of_tanh(_: Any) -> Any:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 1)
    encoder._modules["layers"] = nn.Tanh()
    return nn.Sequential(encoder, nn.Linear(6, 2))


def _ones(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Callable[[], Any]:
    return lambda: torch.ones(shape, dtype=dtype)


def _nested() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])


DAMAGES: dict[str, Damage] = {
    **{f"a {name} of its own": own(name) for name in METHODS},
    **{f"a layer's {name} of its own": own(name, "x", layer=0) for name in METHODS[:8]},
    **{f"{part} that are a {type(value).__name__}": own(part, value)
       for part in ("_modules", "_parameters", "_buffers", "_forward_hooks", "training",
                    "_non_persistent_buffers_set", "_state_dict_hooks")
       for value in VALUES},
    **{f"a layer's {part} that are a {type(value).__name__}": own(part, value, layer=0)
       for part in ("_modules", "_parameters", "_buffers", "_forward_pre_hooks", "training")
       for value in VALUES},
    **{f"a weight that is a {type(value).__name__}": within("_parameters", "weight", value)
       for value in WEIGHTS},
    **{f"a weight of shape {shape}": within("_parameters", "weight", _ones(shape))
       for shape in ((), (8,), (6, 8), (8, 6, 1), (0, 6), (8, 0))},
    **{f"a bias of shape {shape}": within("_parameters", "bias", _ones(shape))
       for shape in ((), (1,), (8, 1), (0,))},
    **{f"a weight of {dtype}": within("_parameters", "weight", _ones((8, 6), dtype))
       for dtype in (torch.int64, torch.bool, torch.uint8)},
    **{f"a {name!r} {kind}": within(part, name, value, layer=None)
       for part, kind, value in (
           ("_modules", "layer", lambda: nn.Linear(2, 2)),
           ("_parameters", "weight", lambda: torch.ones(2)),
           ("_buffers", "buffer", lambda: torch.ones(2)))
       for name in (7, 1.5, None, True, (1,), "", "a.b", "forward", "x" * 100_000, "\x1b[2J")},
    **{f"{name} = {value!r:.20}": own(name, value, layer=0)
       for name in ("in_features", "out_features")
       for value in ("x", -1, 2**70, 1.5, None, [1], True)},
    **{f"an LSTM of {said}": _a_recurrent(**said) for said in (
        {"num_layers": 20_000}, {"num_layers": 10**9}, {"num_layers": -1}, {"num_layers": "x"},
        {"hidden_size": 10**15}, {"hidden_size": 0}, {"bidirectional": 5}, {"mode": "GRU"},
        {"proj_size": 3}, {"dropout": "x"}, {"_all_weights": 5}, {"_all_weights": [[5]]},
        {"_flat_weights": [1]}, {"bias": None})},
    "a network that holds itself": _holds_itself,
    "networks that hold each other": _hold_each_other,
    "a nested weight": within("_parameters", "weight", _nested),
    "a nested buffer": within("_buffers", "kept", _nested, layer=None),
    "a sparse weight": within("_parameters", "weight", lambda: torch.eye(8)[:, :6].to_sparse()),
    "no data": within("_parameters", "weight", lambda: torch.empty(8, 6, device="meta")),
    "a weight of one number": within("_parameters", "weight", lambda: torch.ones(1).expand(8, 6)),
    "a layer that is a number": within("_modules", "9", 5, layer=None),
    "a layer that is a class": within("_modules", "9", lambda: nn.Tanh, layer=None),
    "a layer that is a tensor": within("_modules", "9", lambda: torch.ones(2), layer=None),
    "no layer": within("_modules", "9", None, layer=None),
    "a layer in a Linear": within("_modules", "inner", lambda: nn.Linear(6, 8)),
    "attention of another kind": _attention_of_another_kind,
    "an encoder without attention": _encoder_without_attention,
    "an encoder of a Tanh": _encoder_of_tanh,
    "nothing": lambda _: nn.Module(),
    "a list": lambda model: nn.ModuleList(model),
    "a loss": lambda model: nn.Sequential(model, nn.CrossEntropyLoss(torch.ones(2))),
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> Any:
    return samples(12, 6, 2)


def outcome(path: Path, data: Any) -> str:
    """Return the message that a file ends in, or nothing if it is measured, or is weights alone."""
    try:
        found = open_checkpoint(path)
        if found.module is None:
            return ""
        kinds = set(layer_classes().values())
        for module in found.module.modules():
            assert type(module) in kinds
            assert not [name for name in vars(module) if hasattr(type(module), name)]
        assert extract(path, data, path.with_suffix(".h5")).layers
    except NrcscanError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", DAMAGES)
def test_what_no_network_is(tmp_path: Path, data: Any, name: str) -> None:
    model: Any = mlp(6, 8, 2)
    model = DAMAGES[name](model) or model
    torch.save(model, tmp_path / "m.pt")
    message = outcome(tmp_path / "m.pt", data)
    assert len(message.splitlines()) <= 1
    assert len(message) < 6000


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "LSTM": lambda: nn.LSTM(6, 5, 2, bidirectional=True, batch_first=True),
    "GRU": lambda: nn.GRU(6, 5, bias=False, batch_first=True),
    "RNN": lambda: nn.RNN(6, 5, nonlinearity="relu"),
    "attention": lambda: nn.TransformerEncoderLayer(6, 2, 8, activation="gelu", norm_first=True),
    "attention in layers": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(6, 2, 8, activation=nn.ELU()), 2, nn.LayerNorm(6)
    ),
    "convolution": lambda: nn.Conv1d(6, 4, 3, padding="same", padding_mode="reflect"),
    "transposed": lambda: nn.ConvTranspose1d(6, 4, 3, stride=2, output_padding=1),
    "norms": lambda: nn.Sequential(
        nn.BatchNorm1d(6, affine=False), nn.GroupNorm(2, 6), nn.LayerNorm(6, bias=False)
    ),
    "shapes": lambda: nn.Sequential(nn.Flatten(), nn.Unflatten(1, (2, 18)), nn.AvgPool1d(3)),
    "bounds": lambda: nn.Sequential(nn.Hardtanh(-0.3, 0.4), nn.PReLU(6), nn.ReLU6()),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", LAYERS)
def test_layers_made_again_compute_the_same(tmp_path: Path, name: str) -> None:
    model = nn.Sequential(LAYERS[name]()).eval()
    torch.save(model, tmp_path / "m.pt")
    made = open_checkpoint(tmp_path / "m.pt").module
    assert made is not None
    x = torch.randn(6, 6, 6)
    with torch.no_grad():
        expected, found = model(x), made(x)
    pairs = zip(expected, found, strict=True) if isinstance(found, tuple) else [(expected, found)]
    for ours, theirs in pairs:
        if isinstance(ours, torch.Tensor):
            assert torch.equal(ours, theirs)
