"""Putting a network into a precision keeps what it computes: complex, wide and narrow numbers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import imported, mlp, samples
from torch import Tensor, nn

from nrcscan import InputError, UsageError, extract, report, scan
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint
from nrcscan.network.build import build

pytestmark = pytest.mark.numerical

SPECTRAL = """
import torch
from torch import nn

class Filter(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 3, dtype=torch.complex64))

    def forward(self, x):
        f = torch.fft.rfft(x)
        low = torch.einsum("bim,iom->bom", f[..., :3], self.weight.to(f.dtype))
        return torch.fft.irfft(nn.functional.pad(low, (0, f.shape[-1] - 3)), n=x.shape[-1])

class Operator(nn.Module):
    def __init__(self, field=False):
        super().__init__()
        self.lift, self.filter = nn.Conv1d(1, 4, 1), Filter()
        self.head = nn.Conv1d(4, 1, 1) if field else nn.Linear(4, 1)

    def forward(self, x):
        x = torch.relu(self.filter(self.lift(x)))
        return self.head(x if isinstance(self.head, nn.Conv1d) else x.mean(-1))

def field():
    return Operator(True)
"""
"""A network with complex weights, which are half of what it computes."""


@pytest.fixture
def spectral(tmp_path: Path) -> dict[str, Any]:
    """The network as a state dict and whole, data it half explains, and what is right of it."""
    (tmp_path / "spectral_net.py").write_text(SPECTRAL)
    x = np.random.default_rng(0).standard_normal((60, 1, 8)).astype(np.float32)
    with imported(tmp_path, "spectral_net") as code:
        network = code.Operator()
        torch.save(network.state_dict(), tmp_path / "state.pt")
        torch.save(network, tmp_path / "whole.pt")
        wide = code.Operator().double()
        wide.filter.weight.data = network.filter.weight.data.to(torch.complex128)
        wide.load_state_dict(network.state_dict())
    seen: list[Tensor] = []
    wide.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        predictions = wide(torch.from_numpy(x).double()).numpy()
    noise = np.random.default_rng(1).standard_normal(predictions.shape)
    y = predictions + 0.3 * predictions.std() * noise
    values = np.linalg.eigvalsh(np.cov(seen[0].numpy().T, bias=True))
    return {
        "network": network,
        "data": (x, y),
        "r2": 1 - ((predictions - y) ** 2).mean() / y.var(),
        "noise": values[:-1].sum() / values.sum(),
    }


@pytest.mark.parametrize(
    ("route", "options"),
    [
        ("whole.pt", {"trust": True}),
        ("whole.pt", {"trust": True, "dtype": "float64"}),
        ("state.pt", {"factory": "spectral_net.py:Operator"}),
        ("state.pt", {"factory": "spectral_net.py:Operator", "dtype": "float64"}),
        ("memory", {}),
        ("memory", {"dtype": "float32"}),
        ("memory", {"dtype": "float64"}),
    ],
)
def test_complex_weights_stay_complex(
    tmp_path: Path, spectral: dict[str, Any], route: str, options: dict[str, Any]
) -> None:
    if "factory" in options:
        options = {**options, "factory": str(tmp_path / options["factory"])}
    elif route == "whole.pt":
        options = {**options, "pythonpath": str(tmp_path)}
    model = spectral["network"] if route == "memory" else tmp_path / route
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = extract(model, spectral["data"], tmp_path / "a.h5", **options)
    assert done.r2 == pytest.approx(spectral["r2"], abs=1e-5)
    head = report(tmp_path / "a.h5").layers[-1]
    assert head.name == "head"
    assert head.metrics.values["noise_component"] == pytest.approx(spectral["noise"], rel=1e-4)
    assert spectral["network"].filter.weight.dtype == torch.complex64


def test_a_field_is_predicted_where_it_has_one_axis(
    tmp_path: Path, spectral: dict[str, Any]
) -> None:
    with imported(tmp_path, "spectral_net") as code:
        network = code.field()
        torch.save(network.state_dict(), tmp_path / "field.pt")
    x = spectral["data"][0]
    with torch.no_grad():
        y = network(torch.from_numpy(x)).numpy() + np.float32(0.1)
    factory = f"{tmp_path / 'spectral_net.py'}:field"
    done = extract(tmp_path / "field.pt", (x, y), tmp_path / "a.h5", factory=factory)
    right = 1 - 0.01 / y.reshape(len(y), -1).var(axis=0).mean()
    assert done.r2 == pytest.approx(right, abs=1e-5)


def load(tmp_path: Path, state: Any, factory: Callable[[], nn.Module]) -> Any:
    torch.save(state, tmp_path / "m.pt")
    return build(open_checkpoint(tmp_path / "m.pt"), factory=factory).module


def complex_layer() -> nn.Module:
    return nn.Linear(3, 2, dtype=torch.complex64)


def test_kinds_of_numbers_are_compared(tmp_path: Path) -> None:
    of_complex, of_real = complex_layer().state_dict(), nn.Linear(3, 2).state_dict()
    with pytest.raises(InputError, match="weight holds complex64 where the network wants real num"):
        load(tmp_path, of_complex, lambda: nn.Linear(3, 2))
    lost = r"bias holds float32 where the network wants complex numbers \(imaginary parts that are"
    with pytest.raises(InputError, match=lost):
        load(tmp_path, of_real, complex_layer)
    counted = {**of_real, "steps": torch.tensor(2.5)}

    def counting() -> nn.Module:
        layer = nn.Linear(3, 2)
        layer.register_buffer("steps", torch.tensor(0))
        return layer

    with pytest.raises(InputError, match="steps holds float32 where the network wants whole numb"):
        load(tmp_path, counted, counting)
    assert load(tmp_path, {**of_real, "steps": torch.tensor(2.0)}, counting).steps == 2
    wide = {name: tensor.to(torch.complex128) for name, tensor in of_complex.items()}
    assert load(tmp_path, wide, complex_layer).weight.dtype == torch.complex64


def test_nan_in_a_complex_weight(tmp_path: Path) -> None:
    state = complex_layer().state_dict()
    state["weight"][0, 0] = complex(0, float("nan"))
    with pytest.raises(InputError, match="NaN or infinite weights in weight"):
        load(tmp_path, state, complex_layer)


class Phases(nn.Module):
    """Complex layers, then, if there is one, a real head."""

    def __init__(self, *, head: bool) -> None:
        super().__init__()
        self.turn = nn.Linear(5, 4, dtype=torch.complex64)
        self.head = nn.Linear(4, 2) if head else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.turn(x.to(torch.complex64)).abs()
        return out[:, :2] if self.head is None else self.head(out)


def test_layers_of_complex_features_are_left_out_and_named(tmp_path: Path) -> None:
    data = samples(20, 5, 2)
    done = extract(Phases(head=True), data, tmp_path / "a.h5")
    assert done.layers == ("head",)
    assert "turn is left out: what reaches it are complex numbers" in done.notes
    with pytest.raises(InputError, match="what reaches every layer are complex numbers, and feat"):
        extract(Phases(head=False), data, tmp_path / "b.h5")


# --- float64 ---------------------------------------------------------------------------------


def far_apart() -> tuple[Any, np.ndarray, np.ndarray]:
    """Return a network of float64 that float32 would not have, with data and its predictions.

    Its first layer subtracts two inputs that agree to ten digits, and magnifies the rest.
    """
    model: Any = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1)).double()
    with torch.no_grad():
        model[0].weight[:] = torch.tensor([[1.0, -1 - 1e-10]], dtype=torch.float64) * 1e10
        model[0].weight *= torch.tensor([[1.0], [2], [3], [4]], dtype=torch.float64)
    x = 1 + np.random.default_rng(0).standard_normal((50, 1)) * [[1.0, 1.0]]
    with torch.no_grad():
        return model, x, model(torch.from_numpy(x)).numpy()


IN_FLOAT64 = (
    "the weights are in float64, and float32 does not hold them: the network runs in float64;"
    " --dtype float32 rounds them"
)


@pytest.mark.parametrize("whole", [False, True])
def test_weights_of_float64_run_in_float64(tmp_path: Path, whole: bool) -> None:
    model, x, y = far_apart()
    torch.save(model if whole else model.state_dict(), tmp_path / "m.pt")
    factory = None if whole else lambda: nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))
    done = extract(tmp_path / "m.pt", (x, y), tmp_path / "a.h5", factory=factory)
    assert done.r2 == pytest.approx(1, abs=1e-9)
    assert IN_FLOAT64 in done.notes
    assert report(tmp_path / "a.h5").provenance["options"]["dtype"] == "float64"
    asked: Any = {"factory": factory, "dtype": "float32"}
    rounded = extract(tmp_path / "m.pt", (x, y), tmp_path / "b.h5", **asked)
    assert rounded.r2 is not None
    assert rounded.r2 < 0.9
    assert IN_FLOAT64 not in rounded.notes


def test_weights_that_float32_holds_run_in_it(tmp_path: Path) -> None:
    torch.save(mlp(5, 4, 2).double().state_dict(), tmp_path / "m.pt")
    done = extract(tmp_path / "m.pt", samples(20, 5, 2), tmp_path / "a.h5")
    assert IN_FLOAT64 not in done.notes
    assert report(tmp_path / "a.h5").provenance["options"]["dtype"] == "float32"


def test_weights_beyond_float32_are_not_called_infinite(tmp_path: Path) -> None:
    model: Any = mlp(5, 4, 2).double()
    with torch.no_grad():
        model[0].weight *= 1e100
        model[2].weight *= 1e-100
    torch.save(model.state_dict(), tmp_path / "m.pt")
    data = samples(20, 5, 2)
    assert IN_FLOAT64 in extract(tmp_path / "m.pt", data, tmp_path / "a.h5").notes
    with pytest.raises(UsageError, match=r"--dtype float32: weights of 0.weight are beyond its ra"):
        extract(tmp_path / "m.pt", data, tmp_path / "b.h5", dtype="float32")


@pytest.mark.usefixtures("workers_here")
def test_a_scan_has_every_checkpoint_in_its_own_precision(tmp_path: Path) -> None:
    model, x, y = far_apart()
    (tmp_path / "runs").mkdir()
    torch.save(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1)).state_dict(), tmp_path / "runs/1.pt")
    torch.save(model.state_dict(), tmp_path / "runs/2.pt")
    torch.save(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1)).state_dict(), tmp_path / "runs/3.pt")
    (tmp_path / "net_of_two.py").write_text(
        "from torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 1))\n"
    )
    factory = f"{tmp_path / 'net_of_two.py'}:build"
    found = scan(tmp_path / "runs", (x, y), tmp_path / "out", factory=factory, jobs=1)
    said = [
        report(tmp_path / "out" / str(row.statistics)).provenance["options"]["dtype"]
        for row in found.checkpoints
    ]
    assert said == ["float32", "float64", "float32"]


class Clock(nn.Module):
    """Subtracts an origin in float64, and goes on in float32."""

    origin: Tensor
    scale: Tensor

    def __init__(self, *, kept: bool = True) -> None:
        super().__init__()
        self.register_buffer("origin", torch.tensor([1.7e9 + 0.25], dtype=torch.float64))
        self.register_buffer("scale", torch.tensor([3.1]).double(), persistent=kept)
        self.register_buffer("count", torch.tensor(5))
        self.head = nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(((x - self.origin) / self.scale).float())


@pytest.mark.parametrize("kept", [False, True])
def test_constants_of_float64_stay_so(tmp_path: Path, kept: bool) -> None:
    found = load(tmp_path, Clock(kept=kept).state_dict(), lambda: Clock(kept=kept))
    assert found.origin.item() == 1.7e9 + 0.25
    assert found.scale.item() == torch.tensor(3.1).double().item()
    assert (found.head.weight.dtype, found.count.dtype) == (torch.float32, torch.int64)


def test_constants_of_a_network_that_was_cast_whole(tmp_path: Path) -> None:
    found = load(tmp_path, Clock().float().state_dict(), Clock)
    assert found.origin.dtype == torch.float32


# --- inputs ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [7, 50])
def test_inputs_that_float32_does_not_hold(tmp_path: Path, batch_size: int) -> None:
    x, y = samples(50, 5, 2)
    stamps = x.astype(np.float64)
    stamps[:, 3] = 1.7e9 + 100 * stamps[:, 3]
    done = extract(mlp(5, 4, 2), (stamps, y), tmp_path / "a.h5", batch_size=batch_size)
    column = stamps[:, 3]
    lost = np.sqrt(np.mean((column - column.astype(np.float32)) ** 2)) / column.std()
    assert lost > 0.1
    told = (
        f"float32 does not hold the inputs in column 3: it rounds them by {lost:.2g} of their"
        " standard deviation (values near 1.7e+09); --dtype float64 keeps them"
    )
    assert told in done.notes
    assert not any("--standardize" in note for note in done.notes)
    wide = extract(mlp(5, 4, 2), (stamps, y), tmp_path / "b.h5", dtype="float64")
    assert not any("does not hold" in note for note in wide.notes)


def test_inputs_that_float32_holds(tmp_path: Path) -> None:
    x, y = samples(50, 5, 2)
    for inputs in (x, x.astype(np.float64), 1000 + x.astype(np.float64)):
        done = extract(mlp(5, 4, 2), (inputs, y), tmp_path / "a.h5", force=True)
        assert not any("does not hold" in note for note in done.notes)


# --- narrow formats --------------------------------------------------------------------------


def test_what_narrow_formats_did_is_said(tmp_path: Path) -> None:
    state = mlp(5, 4, 2).state_dict()
    state["0.weight"][0, :3] = torch.tensor([1e-9, 3e-5, 1e-7])
    state["0.weight"][1, 0] = 65504
    torch.save({name: tensor.half() for name, tensor in state.items()}, tmp_path / "m.pt")
    (note,) = (
        n
        for n in extract(tmp_path / "m.pt", samples(9, 5, 2), tmp_path / "a").notes
        if "are stored in" in n
    )
    assert note == (
        "34 weights are stored in float16, each rounded by up to 0.049 %, and 1 are exactly 0, by"
        " design or because they were too small, 2 lie below 6.1e-05 and kept fewer digits, 1 are"
        " ±65504, the largest it has: singular values below 0.049 % of a layer's largest, and"
        " metrics as near 0, may be rounding"
    )
    torch.save({name: tensor.bfloat16() for name, tensor in state.items()}, tmp_path / "m.pt")
    told = extract(tmp_path / "m.pt", samples(9, 5, 2), tmp_path / "b").notes
    assert any("bfloat16, each rounded by up to 0.39 %: singular values" in n for n in told)


def test_what_a_narrow_precision_would_do_is_said(tmp_path: Path) -> None:
    model: Any = mlp(5, 4, 2)
    with torch.no_grad():
        model[0].weight[0, :3] = torch.tensor([1e-9, 3e-5, 1e-7])
    told = (
        "--dtype float16: of 34 weights 1 are too small for it and become 0, and 2 lie below"
        " 6.1e-05 and keep fewer digits; a wider --dtype keeps them"
    )
    torch.save(model.state_dict(), tmp_path / "m.pt")
    for place, given in enumerate((model, tmp_path / "m.pt")):
        out = tmp_path / f"{place}.h5"
        assert told in extract(given, samples(9, 5, 2), out, dtype="float16").notes
    with torch.no_grad():
        model[2].weight[0, 0] = 1e5
    with pytest.raises(UsageError, match=r"--dtype float16: weights of 2.weight are beyond its ra"):
        extract(model, samples(9, 5, 2), tmp_path / "c.h5", dtype="float16")
