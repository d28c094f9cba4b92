"""Cut networks as files: what is written errs as was predicted, or nothing is written."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FIXTURES, Run, mlp, samples
from tolerances import EXACT
from torch import Tensor, nn

from nrcscan import (
    Cuts,
    InputError,
    OutputError,
    UnsafeError,
    UsageError,
    WrittenCut,
    cut,
    extract,
    write_cut,
)
from nrcscan.cutting import agreement
from nrcscan.cutting.agreement import Agreement
from nrcscan.cutting.source_material import SourceMaterial

Arrays = tuple[np.ndarray, np.ndarray]
SWIMMER, PENDULUM = FIXTURES / "swimmer", FIXTURES / "pendulum"
BUILD = f"{PENDULUM / 'network.py'}:build"


def halves(folder: Path, model: Any, data: Any, first: int, **options: Any) -> Cuts:
    """Return the cuts of a network, fitted to the first samples and judged on the others."""
    files = folder / "train.h5", folder / "test.h5"
    for file, rows in zip(files, ({"limit": first}, {"offset": first}), strict=True):
        extract(model, data, file, **{"dtype": "float64"} | rows | options)
    return cut(*files)


def opened(written: WrittenCut) -> nn.Module:
    """Return the network of a state dict, made by the file beside it alone."""
    assert written.factory is not None
    spec = importlib.util.spec_from_file_location("cut_network", written.factory)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: nn.Module = module.build()
    network.load_state_dict(torch.load(written.path, weights_only=True))
    return network.eval()


def error(network: Callable[..., Tensor], x: Any, y: np.ndarray) -> float:
    """Return the mean squared error of a network, run by torch."""
    with torch.inference_mode():
        made = network(**x) if isinstance(x, dict) else network(x)
    return float(((made.double().numpy() - y) ** 2).mean())


def predicted(cuts: Cuts, layer: str) -> float:
    """Return the error on TEST that the statistics have for a cut."""
    found = next(one for one in cuts.cuts if one.layer == layer)
    assert found.held_out is not None
    return found.held_out.value


def entries(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- every fixture, in every form ------------------------------------------------------------


@pytest.fixture(scope="module")
def swimmer(tmp_path_factory: pytest.TempPathFactory) -> Cuts:
    model, data = SWIMMER / "wd0.01" / "epoch_600.pt", SWIMMER / "data.npz"
    return halves(tmp_path_factory.mktemp("cut"), model, data, 500)


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory: pytest.TempPathFactory) -> Cuts:
    model, data = PENDULUM / "model.safetensors", PENDULUM / "data.npz"
    return halves(tmp_path_factory.mktemp("cut"), model, data, 400, factory=BUILD)


def test_a_chain_is_written_as_modules_by_name(swimmer: Cuts, tmp_path: Path) -> None:
    written = write_cut(
        swimmer, SWIMMER / "wd0.01" / "epoch_600.pt", tmp_path / "cut.pt", before="layers.4"
    )
    assert entries(tmp_path) == {"cut.pt", "cut.py"}
    network, data = opened(written), np.load(SWIMMER / "data.npz")
    assert list(network.state_dict()) == [
        "layers.0.weight",
        "layers.2.weight",
        "head.weight",
        "head.bias",
    ]
    x, y = torch.tensor(data["X"][500:]).double(), data["y"][500:]
    assert error(network, x, y) == pytest.approx(predicted(swimmer, "layers.4"), rel=EXACT)
    assert [one.samples for one in written.agreements] == ["TRAIN", "TEST"]
    assert [one.n_samples for one in written.agreements] == [500, 300]
    for one in written.agreements:
        assert one.direct == pytest.approx(one.predicted, rel=EXACT)
    assert "cut before layers.4; run on the samples, its MSE is 0.0" in written.text
    assert os.fspath(written) == str(tmp_path / "cut.pt")


def test_the_factory_needs_torch_alone_and_is_laid_out(pendulum: Cuts, tmp_path: Path) -> None:
    written = write_cut(pendulum, PENDULUM / "model.safetensors", tmp_path / "cut.pt")
    assert written.layer == "hidden"
    assert written.factory is not None
    text = written.factory.read_text(encoding="utf-8")
    imports = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Import | ast.ImportFrom)]
    named = {getattr(n, "module", None) or n.names[0].name for n in imports}
    assert named <= {"torch", "collections"}
    for line in (
        "        self.conv2 = nn.Conv2d(32, 32, 3, padding=1, groups=2)",
        "        add = torch.add(conv2d_2, conv2d_3)",
    ):
        assert line in text.splitlines()
    assert max(map(len, text.splitlines())) <= 100
    assert "self.hidden" not in text
    assert not any(name.startswith("hidden") for name in torch.load(written.path))
    data = np.load(PENDULUM / "data.npz")
    x, y = torch.tensor(data["images"][400:]).double(), data["targets"][400:]
    assert error(opened(written), x, y) == pytest.approx(predicted(pendulum, "hidden"), rel=EXACT)


def test_what_is_written_is_a_checkpoint_like_any_other(pendulum: Cuts, tmp_path: Path) -> None:
    written = write_cut(pendulum, PENDULUM / "model.safetensors", tmp_path / "cut.pt", before="mix")
    again = tmp_path / "again.h5"
    extract(
        written.path,
        PENDULUM / "data.npz",
        again,
        factory=f"{written.factory}:build",
        offset=400,
    )
    found = cut(again)
    assert found.own_train is not None
    assert found.own_train.value == pytest.approx(predicted(pendulum, "mix"), rel=EXACT)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_as_torchscript_it_takes_any_number_of_samples(pendulum: Cuts, tmp_path: Path) -> None:
    model = PENDULUM / "model.safetensors"
    written = write_cut(pendulum, model, tmp_path / "cut.ts", before="mix")
    assert (written.factory, entries(tmp_path)) == (None, {"cut.ts"})
    data, program = np.load(PENDULUM / "data.npz"), torch.jit.load(str(written.path))
    x, y = torch.tensor(data["images"][400:]).double(), data["targets"][400:]
    assert error(program, x, y) == pytest.approx(predicted(pendulum, "mix"), rel=EXACT)
    assert len(program(x[:1])) == 1


def test_as_onnx_it_runs_without_torch(swimmer: Cuts, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    written = write_cut(
        swimmer, SWIMMER / "wd0.01" / "epoch_600.pt", tmp_path / "cut.onnx", before="layers.6"
    )
    session = onnxruntime.InferenceSession(written.path, providers=["CPUExecutionProvider"])
    data, (given,) = np.load(SWIMMER / "data.npz"), session.get_inputs()
    made = session.run(None, {given.name: data["X"][500:].astype(np.float64)})[0]
    direct = float(((made - data["y"][500:]) ** 2).mean())
    assert direct == pytest.approx(predicted(swimmer, "layers.6"), rel=EXACT)


@pytest.mark.parametrize(
    "model", ["reacher/wd0.002/epoch_600.pt", "swimmer/wd0/epoch_600.pt", "parity"]
)
def test_cuts_of_every_other_fixture_agree(model: str, tmp_path: Path) -> None:
    if model == "parity":
        path, data = (
            FIXTURES / "parity" / "swimmer_collapsed" / n for n in ("model.pth", "data.npz")
        )
    else:
        path, data = FIXTURES / model, FIXTURES / model.split("/")[0] / "data.npz"
    cuts = halves(tmp_path, path, data, 500)
    written = write_cut(cuts, path, tmp_path / "cut.pt", before=cuts.cuts[3].layer)
    for found in written.agreements:
        assert found.direct == pytest.approx(found.predicted, rel=EXACT)


def test_in_float32_it_agrees_as_far_as_float32_tells(tmp_path: Path) -> None:
    model, data = SWIMMER / "wd0.01" / "epoch_600.pt", SWIMMER / "data.npz"
    cuts = halves(tmp_path, model, data, 500, dtype="float32")
    written = write_cut(cuts, model, tmp_path / "cut.pt", before="layers.4")
    assert torch.load(written.path)["head.weight"].dtype == torch.float32
    for found in written.agreements:
        assert abs(found.direct - found.predicted) < found.tolerance < 0.02 * found.predicted


# --- networks of other kinds -----------------------------------------------------------------


class Sequences(nn.Module):
    """A recurrent network, then attention, then a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 8, batch_first=True)
        self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.mid = nn.Linear(8, 8)
        self.out = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.encoder(self.lstm(x)[0]).mean(dim=1)
        return self.out(torch.tanh(self.mid(torch.tanh(self.mid(h)))))


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cuts, Sequences, Arrays]:
    torch.manual_seed(0)
    x, y = samples(240, 20, 2)
    network, data = Sequences(), (x.reshape(240, 5, 4), y)
    return halves(tmp_path_factory.mktemp("cut"), network, data, 160), network, data


@pytest.mark.parametrize("before", ["encoder.self_attn.in_proj_weight", "mid#2"])
def test_sequences_attention_and_shared_layers(
    sequences: tuple[Cuts, Sequences, Arrays], before: str, tmp_path: Path
) -> None:
    cuts, network, data = sequences
    written = write_cut(cuts, network, tmp_path / "cut.pt", before=before, data=data)
    made, x = opened(written), torch.tensor(data[0][160:]).double()
    assert error(made, x, data[1][160:]) == pytest.approx(predicted(cuts, before), rel=EXACT)
    assert set(made.state_dict()) - {"head.weight", "head.bias"} <= set(network.state_dict())


def test_within_one_operation_there_is_no_tensor_to_end_at(
    sequences: tuple[Cuts, Sequences, Arrays], tmp_path: Path
) -> None:
    cuts, network, data = sequences
    with pytest.raises(InputError, match=r"made within one operation .*; cut before the first"):
        write_cut(cuts, network, tmp_path / "cut.pt", before="lstm.weight_hh_l0", data=data)
    assert entries(tmp_path) == set()


class Mixed(nn.Module):
    """Inputs by name, weights of its own, constants, and writing in place."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(6))
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(6, 8))
        self.names = nn.ModuleDict({"0": nn.Linear(8, 8), "mid": nn.BatchNorm1d(8)})
        self.out = nn.Linear(8, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        h = torch.cat([left, right], dim=1) * self.scale + torch.tensor([1.0, 2, 3, 4, 5, 6])
        h = self.normed(h)
        h.add_(1).clamp_(min=0)
        h = nn.functional.dropout(self.names["mid"](self.names["0"](h)), 0.5, self.training)
        return self.out(nn.functional.elu(h))


def test_inputs_by_name_constants_and_weights_that_are_no_layers(tmp_path: Path) -> None:
    torch.manual_seed(1)
    x, y = samples(200, 6, 2)
    data: Any = [
        ({"left": x[i : i + 50, :2], "right": x[i : i + 50, 2:]}, y[i : i + 50])
        for i in range(0, 200, 50)
    ]
    network = Mixed().double()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    extract(network, data, tmp_path / "train.h5")
    cuts = cut(tmp_path / "train.h5")
    written = write_cut(cuts, network, tmp_path / "cut.pt", before="out", data=data)
    (found,) = written.agreements
    assert found.direct == pytest.approx(found.predicted, rel=EXACT)
    given = {"left": torch.tensor(x[:, :2]).double(), "right": torch.tensor(x[:, 2:]).double()}
    assert error(opened(written), given, y) == pytest.approx(found.direct, rel=EXACT)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert {"scale", "names.mid.running_mean"} <= set(torch.load(written.path))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.out = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.out(torch.relu(h) if float(h.sum()) > -1e30 else h)


def test_a_network_whose_path_depends_on_data_is_refused(tmp_path: Path) -> None:
    network, data = Branching(), samples(60, 4, 2)
    extract(network, data, tmp_path / "train.h5")
    cuts = cut(tmp_path / "train.h5")
    with pytest.raises(InputError, match=r"torch\.export cannot follow it .*; write its forward"):
        write_cut(cuts, network, tmp_path / "cut.pt", before="out", data=data)
    assert entries(tmp_path) == {"train.h5"}


# --- which network, which samples ------------------------------------------------------------


@pytest.fixture
def small(saved: tuple[Path, Path], tmp_path: Path) -> Cuts:
    extract(*saved, tmp_path / "train.h5", dtype="float64", activation="relu")
    return cut(tmp_path / "train.h5")


def test_another_network_is_refused(small: Cuts, tmp_path: Path) -> None:
    other = tmp_path / "other.pt"
    torch.save(mlp(5, 16, 16, 2, seed=2).state_dict(), other)
    with pytest.raises(InputError, match=r"other\.pt: is not what .*train\.h5 was measured on"):
        write_cut(small, other, tmp_path / "cut.pt", before="2")
    with pytest.raises(InputError, match=r"layers or their weights differ; give that one"):
        write_cut(small, mlp(5, 16, 16, 2, seed=2), tmp_path / "cut.pt", before="2")
    assert "cut.pt" not in entries(tmp_path)


def test_other_samples_are_refused(small: Cuts, saved: tuple[Path, Path], tmp_path: Path) -> None:
    x, y = samples(100, 5, 2, seed=9)
    np.savez(tmp_path / "others.npz", X=x, y=y)
    with pytest.raises(InputError, match=r"others\.npz: are other data than .*; give those with"):
        write_cut(small, saved[0], tmp_path / "cut.pt", before="2", data=tmp_path / "others.npz")
    saved[1].rename(tmp_path / "moved.npz")
    with pytest.raises(InputError, match=r"samples are not where it says \(.*\); say with --data"):
        write_cut(small, saved[0], tmp_path / "cut.pt", before="2")
    write_cut(small, saved[0], tmp_path / "cut.pt", before="2", data=tmp_path / "moved.npz")


def test_trust_is_never_taken_from_a_file(saved: tuple[Path, Path], tmp_path: Path) -> None:
    path, any_number = tmp_path / "program.pt2", ({0: torch.export.Dim("n")},)
    example = (torch.zeros(3, 5),)
    program = torch.export.export(mlp(5, 8, 2), example, dynamic_shapes=any_number)
    torch.export.save(program, path)
    extract(path, saved[1], tmp_path / "train.h5", trust=True)
    cuts = cut(tmp_path / "train.h5")
    with pytest.raises(UnsafeError, match=r"not opened, because it is an exported program"):
        write_cut(cuts, path, tmp_path / "cut.pt", before="2")
    written = write_cut(cuts, path, tmp_path / "cut.pt", before="2", trust=True)
    assert list(opened(written).state_dict())[:2] == ["0.weight", "0.bias"]


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_torchscript_program_cannot_be_cut(saved: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "program.ts"
    torch.jit.script(mlp(5, 8, 2)).save(str(path))
    extract(path, saved[1], tmp_path / "train.h5", trust=True)
    cuts = cut(tmp_path / "train.h5")
    with pytest.raises(
        InputError, match=r"a TorchScript program, which cannot be cut; measure the network"
    ):
        write_cut(cuts, path, tmp_path / "cut.pt", before="2", trust=True)


def test_code_is_named_anew_where_it_has_moved(saved: tuple[Path, Path], tmp_path: Path) -> None:
    code = tmp_path / "net.py"
    code.write_text(
        "from torch import nn\n\n\ndef build():\n"
        "    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(),"
        " nn.Linear(16, 2))\n"
    )
    extract(*saved, tmp_path / "train.h5", factory=f"{code}:build")
    moved = code.rename(tmp_path / "elsewhere.py")
    cuts = cut(tmp_path / "train.h5")
    with pytest.raises(UsageError, match=r"no such file: .*net\.py"):
        write_cut(cuts, saved[0], tmp_path / "cut.pt", before="2")
    write_cut(cuts, f"{moved}:build", tmp_path / "cut.pt", before="2")


def test_standardised_data_is_told_of(saved: tuple[Path, Path], tmp_path: Path) -> None:
    extract(*saved, tmp_path / "train.h5", activation="relu", standardize="x,y")
    heard: list[str] = []
    cuts = cut(tmp_path / "train.h5")
    written = write_cut(cuts, saved[0], tmp_path / "cut.pt", before="4", on_note=heard.append)
    assert heard == list(written.notes)
    assert heard[0].startswith('the inputs and targets were standardised (standardize="x,y")') or (
        "--standardize x,y" in heard[0]
    )
    assert written.factory is not None
    assert "standardised" in (ast.get_docstring(ast.parse(written.factory.read_text())) or "")


# --- nothing is written, or all of it --------------------------------------------------------


def test_what_does_not_agree_is_not_written(
    small: Cuts, saved: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = entries(tmp_path)
    state = SourceMaterial.state

    def off(self: SourceMaterial) -> dict[str, Tensor]:
        found: dict[str, Tensor] = state.fget(self)  # type: ignore[attr-defined]
        return found | {"head.bias": found["head.bias"] + 0.01}

    monkeypatch.setattr(SourceMaterial, "state", property(off))
    with pytest.raises(InputError, match=r"MSE on the samples of TRAIN is .*: nothing was written"):
        write_cut(small, saved[0], tmp_path / "cut.pt", before="2")
    assert entries(tmp_path) == before


def test_what_is_there_is_kept_unless_it_is_to_be_replaced(
    small: Cuts, saved: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "cut.py").write_text("mine")
    with pytest.raises(UsageError, match=r"cut\.py: exists already"):
        write_cut(small, saved[0], tmp_path / "cut.pt", before="2")
    assert (tmp_path / "cut.py").read_text() == "mine"
    write_cut(small, saved[0], tmp_path / "cut.pt", before="2", force=True)
    assert "def build()" in (tmp_path / "cut.py").read_text()
    with pytest.raises(UsageError, match=r"is an input too"):
        write_cut(small, saved[0], saved[0], before="2", force=True)


def test_of_two_files_both_are_put_in_place_or_none(
    small: Cuts, saved: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cut(small, saved[0], tmp_path / "cut.pt", before="2")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    replace = Path.replace

    def full(path: Path, target: Path) -> Path:
        if path.name == target.name == "cut.py":
            raise OSError(28, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"cut\.pt: cannot be written: No space left"):
        write_cut(small, saved[0], tmp_path / "cut.pt", before="4", force=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_places_that_cannot_be_written(
    small: Cuts, saved: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(OutputError, match=r"there is no folder .*nowhere"):
        write_cut(small, saved[0], tmp_path / "nowhere" / "cut.pt", before="2")
    with pytest.raises(UsageError, match=r"written as \.pt .*, \.ts or \.torchscript .* or \.onnx"):
        write_cut(small, saved[0], tmp_path / "cut.bin", before="2")
    with pytest.raises(UsageError, match=r"--before 9: no such layer; choose among 0, 2 and 4"):
        write_cut(small, saved[0], tmp_path / "cut.pt", before="9")


def test_without_what_onnx_needs_it_says_what_to_install(
    small: Cuts, saved: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else found(name)
    )
    with pytest.raises(UsageError, match=r"needs onnxscript; pip install onnx onnxruntime onnxs"):
        write_cut(small, saved[0], tmp_path / "cut.onnx", before="2")


def test_rounding_explains_so_much_and_no_more() -> None:
    told = Agreement("TEST", 10, 0.5, 0.5 + 2e-9, 1e-9)
    assert not told.holds
    with pytest.raises(InputError, match=r"\(rounding explains 1e-09\)"):
        agreement.require_agreement(told, Path("test.h5"))
    agreement.require_agreement(Agreement("TEST", 10, 0.5, 0.5 + 5e-10, 1e-9), Path("test.h5"))


# --- the command -----------------------------------------------------------------------------


def test_the_command_writes_the_network_and_shows_the_table(
    cli: Run, saved: tuple[Path, Path], tmp_path: Path
) -> None:
    assert cli("extract", *saved, "--activation", "relu", "-o", "train.h5").returncode == 0
    done = cli(
        "cut", "train.h5", "--model", saved[0], "--before", "2", "-o", "cut.pt", "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cuts"][1]["layer"] == "2"
    assert "cut.pt, with cut.py:build: cut before 2; run on the samples" in done.stderr
    again = cli("extract", "cut.pt", saved[1], "--model", "cut.py:build", "-o", "again.h5")
    assert again.returncode == 0, again.stderr


def test_the_command_asks_for_what_belongs_together(cli: Run, saved: tuple[Path, Path]) -> None:
    for args, told in (
        (("--before", "2"), "--before has no effect without --model"),
        (("--trust",), "--trust has no effect without --model"),
        (("--data", "a.npz"), "--data has no effect without --model"),
        (("-o", "cut.pt"), "have the cut network written with --model"),
        (("--model", saved[0]), "the cut network is a file; name it with -o"),
    ):
        done = cli("cut", "train.h5", *args)
        assert (done.returncode, done.stdout) == (2, "")
        assert told in done.stderr
