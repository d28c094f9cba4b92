"""Weights and arithmetic of low precision, weights saved on a GPU, and quantised networks."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import mlp
from test_programs import DATA, IMAGES, Conv, expect_same, measured
from torch import Tensor, nn

from nrcscan import InputError, extract, report
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint

LOW = ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"]

pytestmark = [
    pytest.mark.numerical,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:torch.quantize_per_tensor"
    ),
]


@pytest.mark.parametrize("dtype", LOW)
@pytest.mark.parametrize("save", [torch.save, safetensors.torch.save_file])
def test_low_precision_weights_run_in_float32(
    tmp_path: Path, dtype: str, save: Callable[..., None]
) -> None:
    state = {k: v.to(getattr(torch, dtype)) for k, v in mlp(6, 8, 8, 2).state_dict().items()}
    save(state, tmp_path / "low.pt")
    torch.save({name: tensor.float() for name, tensor in state.items()}, tmp_path / "wide.pt")
    expect_same(measured(tmp_path / "low.pt", DATA), measured(tmp_path / "wide.pt", DATA))
    extract(tmp_path / "low.pt", DATA, tmp_path / "a.h5")
    assert report(tmp_path / "a.h5").provenance["options"]["dtype"] == "float32"


def test_a_whole_network_of_low_precision(tmp_path: Path) -> None:
    torch.save(mlp(6, 8, 2).bfloat16(), tmp_path / "m.pt")
    torch.save(mlp(6, 8, 2).bfloat16().float(), tmp_path / "wide.pt")
    expect_same(measured(tmp_path / "m.pt", DATA), measured(tmp_path / "wide.pt", DATA))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_running_in_low_precision(tmp_path: Path, dtype: Any) -> None:
    model, low = mlp(6, 32, 2), getattr(torch, dtype)
    torch.save(model.state_dict(), tmp_path / "m.pt")
    extract(tmp_path / "m.pt", DATA, tmp_path / "a.h5", dtype=dtype)
    with torch.inference_mode():
        features = model.to(low)[:2](torch.from_numpy(DATA[0]).to(low))
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["epsilon"] == torch.finfo(low).eps
        kept = file["positions/0001/activations"][()]
        np.testing.assert_allclose(kept, features.float().numpy(), rtol=4 * torch.finfo(low).eps)
        # The moments are those of the features as they were, in float64.
        expected = np.cov(kept.T.astype(np.float64), bias=True)
        np.testing.assert_allclose(file["positions/0001/covariance"][()], expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_convolutions_in_low_precision(tmp_path: Path, dtype: Any) -> None:
    model = Conv().eval()
    torch.save(model.state_dict(), tmp_path / "m.pt")
    low, wide = (
        measured(tmp_path / "m.pt", IMAGES, factory=Conv, dtype=d) for d in (dtype, "float32")
    )
    assert [la[0] for la in low] == [la[0] for la in wide] == ["stem", "group", "up", "head"]
    for (*_, ours), (*_, theirs) in zip(low, wide, strict=True):
        assert ours["linear_mse"] == pytest.approx(theirs["linear_mse"], rel=0.05)


def test_inputs_that_low_precision_cannot_hold(tmp_path: Path) -> None:
    torch.save(mlp(6, 2).state_dict(), tmp_path / "m.pt")
    many = (np.arange(300).reshape(50, 6), DATA[1])
    message = r"beyond 2\^8 \(from sample 0 on\), which bfloat16 does not tell apart; use a wider"
    with pytest.raises(InputError, match=message):
        extract(tmp_path / "m.pt", many, tmp_path / "a.h5", dtype="bfloat16")
    with pytest.raises(InputError, match="exceed the range of float16; use --dtype float64"):
        extract(
            tmp_path / "m.pt", (DATA[0] * 1e5, DATA[1]), tmp_path / "a.h5", dtype="float16"
        )  # fmt: skip


class Solving(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.linalg.qr(x)[0] if len(x) else x)


def test_an_operation_that_low_precision_lacks(tmp_path: Path) -> None:
    torch.save(mlp(6, 2).state_dict(), tmp_path / "m.pt")

    def factory() -> nn.Module:
        return Solving(nn.Linear(6, 2))

    with pytest.raises(InputError, match="cannot run in float16 on cpu: .*; use --dtype float32"):
        extract(tmp_path / "m.pt", DATA, tmp_path / "a.h5", factory=factory, dtype="float16")


# --- saved on a GPU ---------------------------------------------------------------------------


def as_if_on_cuda(path: Path) -> None:
    """Change what a file of torch.save says about where its tensors were."""

    def moved(content: bytes) -> bytes:
        at_home, away = b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0"
        assert at_home in content
        return content.replace(at_home, away)

    if not zipfile.is_zipfile(path):
        path.write_bytes(moved(path.read_bytes()))
        return
    with zipfile.ZipFile(path) as archive:
        members = {info: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for info, content in members.items():
            pickled = info.filename.endswith("data.pkl")
            archive.writestr(info.filename, moved(content) if pickled else content)


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_tensors_saved_on_a_gpu(tmp_path: Path, new: bool, whole: bool) -> None:
    path, model = tmp_path / "m.pt", mlp(6, 8, 2)
    saved = model if whole else model.state_dict()
    torch.save(saved, path, _use_new_zipfile_serialization=new)
    as_if_on_cuda(path)
    places = set()

    def here(storage: Any, location: str) -> Any:
        places.add(location)
        return storage

    torch.load(path, map_location=here, weights_only=False)
    assert places == {"cuda:0"}
    for trust in (True,) if whole and not new else (False, True):
        state = open_checkpoint(path, trust=trust).state
        assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


# --- quantised --------------------------------------------------------------------------------


def quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(mlp(6, 8, 2), {nn.Linear}, dtype=torch.qint8)


def test_a_quantised_network(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    message = "is quantised: packed integers are all there is of 0 and 2, .* before quantisation"
    torch.save(quantised().state_dict(), path)
    with pytest.raises(InputError, match=message):
        open_checkpoint(path)
    torch.save({"model": quantised()}, path)
    with pytest.raises(InputError, match=message):
        open_checkpoint(path, trust=True)
    torch.jit.save(torch.jit.script(quantised()), path)
    with pytest.raises(InputError, match="no weights to watch .*nor does a quantised one"):
        extract(path, DATA, tmp_path / "a.h5", trust=True)


def test_quantised_tensors(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    weight = torch.quantize_per_tensor(torch.randn(2, 6), 0.1, 0, torch.qint8)
    torch.save({"weight": weight}, path)
    with pytest.raises(InputError, match="'weight' is a quantised tensor; save it dense, in float"):
        open_checkpoint(path)
    torch.save({"weight": weight.int_repr(), "bias": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="weight holds int8 where the network wants numbers in fl"):
        extract(path, DATA, tmp_path / "a.h5")
