"""Which layers read the inputs, which are shortcuts, what runs unmeasured, which branch is dead."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import torch
from conftest import FIXTURES, edited, mlp, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nrcscan import InputError, extract, merge, report
from nrcscan.acts_file.kept_in_memory import KeptInMemory
from nrcscan.acts_file.reading import open_acts
from nrcscan.acts_file.schema import LayerRecord, Unmeasured
from nrcscan.inputs.branches import Branches
from nrcscan.network.lineage import Lineage


class Of(nn.Module):
    """A network of some parts, which runs as it is told."""

    def __init__(self, run: Callable[..., Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self._run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *x: Tensor) -> Tensor:
        return self._run(self, *x)


class Facts(NamedTuple):
    layers: list[LayerRecord]
    unmeasured: list[Unmeasured]
    beside: dict[str, Any]

    @property
    def shortcuts(self) -> list[str]:
        return [layer.name for layer in self.layers if layer.shortcut]

    @property
    def on_inputs(self) -> list[str]:
        return [layer.name for layer in self.layers if layer.reads_inputs]


def facts_in(path: Path) -> Facts:
    with open_acts(path) as acts:
        beside = {layer.name: acts.beside(i) for i, layer in enumerate(acts.layers)}
        return Facts(acts.layers, acts.unmeasured, beside)


def facts(model: Any, x: Any, folder: Path, **options: Any) -> Facts:
    n = len(x[0] if isinstance(x, tuple) else x)
    y = np.random.default_rng(0).normal(size=(n, 2))
    extract(model, (x, y), folder / "acts.h5", activations=False, force=True, **options)
    return facts_in(folder / "acts.h5")


def normal(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


FLAT, IMAGES, STEPS = normal(40, 8), normal(40, 3, 6, 6), normal(40, 5, 8)


# --- networks --------------------------------------------------------------------------------


class Block(nn.Module):
    """A residual block, with a projection where the width changes."""

    def __init__(self, before: int, after: int, kind: str = "basic") -> None:
        super().__init__()
        self.first = kind == "before"  # normalises and activates before each convolution
        inner = after // 2 if kind == "bottleneck" else after
        self.norm = nn.BatchNorm2d(before if self.first else inner)
        self.conv1 = nn.Conv2d(before, inner, 1 if kind == "bottleneck" else 3, padding="same")
        self.conv2 = nn.Conv2d(inner, after, 3, padding=1)
        self.downsample = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.first:
            h = torch.relu(self.norm(x))
            return self.conv2(torch.relu(self.conv1(h))) + self.downsample(h)
        h = self.conv2(torch.relu_(self.norm(self.conv1(x))))
        h += self.downsample(x)
        return torch.relu_(h)


class ResNet(nn.Module):
    def __init__(self, kind: str = "basic") -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.blocks = nn.Sequential(Block(4, 4, kind), Block(4, 8, kind), Block(8, 8, kind))
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Skip(nn.Module):
    """Three layers, and one past them all."""

    def __init__(self) -> None:
        super().__init__()
        self.deep, self.wide = mlp(8, 16, 16, 2), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.deep(x) + self.wide(x)


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
    run = lambda m, x: m.head(m.encoder(m.embed(x)).mean(1))  # noqa: E731
    return Of(run, embed=nn.Linear(8, 8), encoder=encoder, head=nn.Linear(8, 2))


def u_net() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        a = torch.relu(m.a(x))
        up = m.up(torch.relu(m.b(a)))
        return m.head(torch.relu(m.c(torch.cat([a, up], 1))).mean((2, 3)))

    up, head = nn.ConvTranspose2d(8, 4, 2, 2), nn.Linear(4, 2)
    a, b, c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 2, 2), nn.Conv2d(8, 4, 1)
    return Of(run, a=a, b=b, up=up, c=c, head=head)


def squeeze() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        h = torch.relu(m.conv(x))
        gate = torch.sigmoid(m.up(torch.relu(m.down(h.mean((2, 3))))))
        return m.head((h * gate[:, :, None, None]).mean((2, 3)))

    down, up, head = nn.Linear(4, 2), nn.Linear(2, 4), nn.Linear(4, 2)
    return Of(run, conv=nn.Conv2d(3, 4, 1), down=down, up=up, head=head)


def branches(*depths: int) -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        h = torch.relu(m.stem(x))
        return m.head(torch.relu(sum(branch(h) for branch in m.parts)))

    parts = nn.ModuleList(mlp(*[8] * (depth + 1)) for depth in depths)
    return Of(run, stem=nn.Linear(8, 8), parts=parts, head=nn.Linear(8, 2))


def recurrent() -> nn.Module:
    """Steps of a recurrent network, written in Python."""

    def run(m: Any, x: Tensor) -> Tensor:
        h = torch.zeros(len(x), 8)
        for step in range(x.shape[1]):
            h = torch.tanh(m.w(x[:, step]) + m.u(h))
        return m.head(h)

    return Of(run, w=nn.Linear(8, 8), u=nn.Linear(8, 8), head=nn.Linear(8, 2))


def two_inputs() -> nn.Module:
    run = lambda m, a, b: m.wide(a) + m.deep(b)  # noqa: E731
    return Of(run, wide=nn.Linear(8, 2), deep=mlp(8, 8, 2))


def beside_lstm() -> nn.Module:
    run = lambda m, x: m.head((m.lstm(x)[0] + m.skip(x))[:, -1])  # noqa: E731
    lstm = nn.LSTM(8, 8, batch_first=True)
    return Of(run, lstm=lstm, skip=nn.Linear(8, 8), head=nn.Linear(8, 2))


def widened() -> nn.Module:
    """A sum in which one side is repeated along an axis."""

    def run(m: Any, x: Tensor) -> Tensor:
        return m.head(torch.relu(m.whole(x.mean(1))[:, None] + m.each(x)).mean(1))

    return Of(run, whole=nn.Linear(8, 8), each=nn.Linear(8, 8), head=nn.Linear(8, 2))


def diffusion() -> nn.Module:
    """Blocks to which a projection of another input is added."""

    def run(m: Any, x: Tensor, t: Tensor) -> Tensor:
        t = torch.relu(m.time(t))
        for block, shift in zip(m.blocks, m.shifts, strict=True):
            x = x + block(x) + shift(t)
        return m.head(x)

    blocks = nn.ModuleList(mlp(8, 8, 8) for _ in range(2))
    shifts = nn.ModuleList(nn.Linear(8, 8) for _ in range(2))
    return Of(run, time=nn.Linear(8, 8), blocks=blocks, shifts=shifts, head=nn.Linear(8, 2))


# --- shortcuts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "x", "shortcuts"),
    [
        (ResNet(), IMAGES, ["blocks.1.downsample"]),
        (ResNet("bottleneck"), IMAGES, ["blocks.1.downsample"]),
        (ResNet("before"), IMAGES, ["blocks.1.downsample"]),
        (Skip(), FLAT, ["wide"]),
        (branches(1, 2), FLAT, ["parts.0.0"]),
        (branches(3, 1, 2), FLAT, ["parts.1.0"]),
        (branches(2, 2), FLAT, []),
        (branches(1, 1, 1), FLAT, []),
        (transformer(), STEPS, []),
        (u_net(), IMAGES, []),
        (squeeze(), IMAGES, []),
        (recurrent(), STEPS, []),
        (two_inputs(), (FLAT, FLAT[::-1].copy()), []),
        (widened(), STEPS, []),
        (beside_lstm(), STEPS, ["skip"]),
        (diffusion(), (FLAT, FLAT[::-1].copy()), ["shifts.1"]),  # past the first block's
        (nn.Sequential(mlp(8, 8), nn.Linear(8, 2)), FLAT, []),
    ],
)
def test_shortcuts(model: nn.Module, x: Any, shortcuts: list[str], tmp_path: Path) -> None:
    assert facts(model, x, tmp_path).shortcuts == shortcuts


def test_the_pendulum_s_shortcut(tmp_path: Path) -> None:
    folder = FIXTURES / "pendulum"
    data, path = folder / "data.npz", tmp_path / "a.h5"
    extract(folder / "model.safetensors", data, path, factory=f"{folder / 'network.py'}:build")
    found = facts_in(path)
    assert (found.shortcuts, found.on_inputs) == (["shortcut"], ["stem"])
    assert not found.unmeasured


def test_low_rank_adapters_are_no_main_branch(tmp_path: Path) -> None:
    class LoraLinear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = nn.Linear(8, 8)
            self.lora_a, self.lora_b = nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + self.lora_b(self.lora_a(x))

    found = facts(nn.Sequential(LoraLinear(), nn.ReLU(), nn.Linear(8, 2)), FLAT, tmp_path)
    assert [layer.name for layer in found.layers] == ["0", "2"]
    assert not found.shortcuts
    assert not found.unmeasured


def scripted(model: nn.Module, x: Tensor, path: Path) -> Path:
    torch.jit.script(model.eval()).save(path)
    return path


def exported(model: nn.Module, x: Tensor, path: Path) -> Path:
    dynamic = ({0: torch.export.Dim("batch", min=2, max=4096)},)
    torch.export.save(torch.export.export(model.eval(), (x,), dynamic_shapes=dynamic), path)
    return path


def graph(model: nn.Module, x: Tensor, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter about itself
        torch.onnx.export(
            model.eval(), (x,), path, dynamo=False, input_names=["x"],
            dynamic_axes={"x": {0: "batch"}},
        )  # fmt: skip
    return path


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("save", "name"), [(scripted, "m.pt"), (exported, "m.pt2"), (graph, "m.onnx")]
)
@pytest.mark.parametrize("kind", ["basic", "before", "skip"])
def test_programs_tell_the_same(
    save: Callable[..., Path], name: str, kind: str, tmp_path: Path
) -> None:
    model, x = (Skip(), FLAT) if kind == "skip" else (ResNet(kind), IMAGES)
    path = save(model, torch.from_numpy(x), tmp_path / name)
    np.savez(tmp_path / "data.npz", x=x, y=normal(40, 2))
    extract(path, tmp_path / "data.npz", tmp_path / "a.h5", trust=name != "m.onnx")
    found, own = facts_in(tmp_path / "a.h5"), facts(model, x, tmp_path)
    assert [(la.position, la.shortcut, la.reads_inputs) for la in found.layers] == [
        (la.position, la.shortcut, la.reads_inputs) for la in own.layers
    ]


def test_a_sum_of_several_at_once() -> None:
    told = Branches()
    source = told.source()
    alone, first = told.call(source), told.call(source)
    second = told.call(source | first)
    told.add(source | first | second, source | alone)
    assert told.around(alone, None).shortcut
    assert not any(told.around(one, None).shortcut for one in (first, second))
    assert told.around(first, None).on_inputs
    assert not told.around(second, None).on_inputs


def test_a_pass_goes_on_where_nothing_can_be_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise NotImplementedError

    before = facts(Skip(), FLAT, tmp_path)
    monkeypatch.setattr(Lineage, "_made", fail)
    after = facts(Skip(), FLAT, tmp_path)
    assert [layer.name for layer in after.layers] == [layer.name for layer in before.layers]
    assert not after.shortcuts
    assert after.on_inputs == before.on_inputs  # by the numbers alone


# --- inputs ----------------------------------------------------------------------------------


def embedding() -> nn.Module:
    run = lambda m, x: m.head(torch.relu(m.hidden(m.embed(x).mean(1))))  # noqa: E731
    return Of(run, embed=nn.Embedding(9, 8), hidden=nn.Linear(8, 8), head=nn.Linear(8, 2))


def reading(arrange: Callable[[Tensor], Tensor], width: int = 8) -> nn.Module:
    run = lambda m, x: m.head(torch.relu(m.first(arrange(x))))  # noqa: E731
    return Of(run, first=nn.Linear(width, 8), head=nn.Linear(8, 2))


SHIFT = torch.ones(8)


@pytest.mark.parametrize(
    ("model", "x", "on_inputs"),
    [
        (mlp(8, 8, 2), FLAT, ["0"]),
        (mlp(8, 8, 2), FLAT.astype(np.float64), ["0"]),
        (ResNet(), IMAGES, ["stem"]),
        (Skip(), FLAT, ["deep.0", "wide"]),
        (two_inputs(), (FLAT, FLAT[::-1].copy()), ["wide", "deep.0"]),
        (transformer(), STEPS, ["embed"]),
        (recurrent(), STEPS, ["w", *(f"w#{step}" for step in range(2, 6))]),
        (reading(lambda x: x.permute(0, 2, 1).flatten(1), 40), STEPS, ["first"]),
        (reading(lambda x: torch.cat([x[:, 4:], x[:, :4]], 1)), FLAT, ["first"]),
        (reading(lambda x: nn.functional.pad(x, (0, 2)), 10), FLAT, ["first"]),
        (reading(lambda x: x.clone()), FLAT, ["first"]),
        (reading(lambda x: x - SHIFT), FLAT, []),
        (reading(lambda x: x.clone().sub_(SHIFT)), FLAT, []),
        (reading(torch.relu), np.abs(FLAT), ["first"]),
        (reading(lambda x: 0 * x), FLAT, []),
        (nn.Sequential(nn.LayerNorm(8), *mlp(8, 8, 2)), FLAT, []),
        (nn.Sequential(nn.BatchNorm1d(8), *mlp(8, 8, 2)), FLAT, []),
        (embedding(), np.arange(120).reshape(40, 3) % 9, []),
    ],
)
def test_layers_that_read_the_inputs(
    model: nn.Module, x: Any, on_inputs: list[str], tmp_path: Path
) -> None:
    assert facts(model, x, tmp_path).on_inputs == on_inputs


def test_hidden_units_of_the_inputs_values_are_no_inputs(tmp_path: Path) -> None:
    model: Any = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 2))
    nn.init.eye_(model[0].weight)
    assert facts(model, FLAT, tmp_path).on_inputs == ["0"]


def test_an_inferred_chain(tmp_path: Path) -> None:
    data, path = FIXTURES / "swimmer" / "data.npz", tmp_path / "a.h5"
    checkpoint = FIXTURES / "swimmer" / "wd0" / "epoch_20.pt"
    extract(checkpoint, data, path, exclude=["layers.4"])
    found = facts_in(path)
    assert (found.on_inputs, found.shortcuts) == (["layers.0"], [])
    assert found.unmeasured == [Unmeasured("layers.4", "left out by --exclude", 2)]


# --- what runs unmeasured ----------------------------------------------------------------------


def left_out(name: str, position: int, *, shortcut: bool = False, inputs: bool = False) -> Any:
    return Unmeasured(name, "left out by --exclude", position, shortcut, inputs)


@pytest.mark.parametrize(
    ("model", "x", "options", "unmeasured"),
    [
        (mlp(8, 8, 8, 2), FLAT, {}, []),
        (mlp(8, 8, 8, 2), FLAT, {"exclude": ["2"]}, [left_out("2", 1)]),
        (mlp(8, 8, 8, 2), FLAT, {"exclude": ["4"]}, [left_out("4", 2)]),
        (mlp(8, 8, 8, 2), FLAT, {"exclude": ["0"]}, [left_out("0", 0, inputs=True)]),
        (
            mlp(8, 8, 8, 2),
            FLAT,
            {"layers": ["0", "2"], "exclude": ["2"]},
            [left_out("2", 1), Unmeasured("4", "not among --layers", 1)],
        ),
        (
            ResNet(),
            IMAGES,
            {"exclude": ["*downsample"]},
            [left_out("blocks.1.downsample", 5, shortcut=True)],
        ),
    ],
)
def test_layers_that_are_left_out(
    model: nn.Module, x: Any, options: Any, unmeasured: list[Unmeasured], tmp_path: Path
) -> None:
    assert facts(model, x, tmp_path, **options).unmeasured == unmeasured


def test_a_layer_that_never_runs_is_not_among_them(tmp_path: Path) -> None:
    run = lambda m, x: m.used(x)  # noqa: E731
    assert not facts(Of(run, used=mlp(8, 8, 2), idle=nn.Linear(8, 2)), FLAT, tmp_path).unmeasured


def test_what_only_shifts_and_scales_is_not_among_them(tmp_path: Path) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        h = m.norm(m.first(x)) + m.places(torch.arange(5)) + m.shift
        return m.head(h.mean(1))

    parts = {"first": nn.Linear(8, 8), "norm": nn.LayerNorm((5, 8)), "places": nn.Embedding(5, 8)}
    model = Of(run, **parts, head=nn.Linear(8, 2))
    model.shift = nn.Parameter(torch.ones(5, 8))
    assert not facts(model, STEPS, tmp_path).unmeasured


def packed() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        lengths = torch.full((len(x),), x.shape[1])
        steps = nn.utils.rnn.pack_padded_sequence(m.first(x), lengths, batch_first=True)
        return m.head(m.lstm(steps)[1][0][-1])

    lstm = nn.LSTM(8, 8, batch_first=True)
    return Of(run, first=nn.Linear(8, 8), lstm=lstm, head=nn.Linear(8, 2))


def between(part: nn.Module, run: Callable[[Any, Tensor], Tensor]) -> nn.Module:
    def whole(m: Any, x: Tensor) -> Tensor:
        return m.head(run(m.part, torch.relu(m.first(x))))

    return Of(whole, first=nn.Linear(8, 8), part=part, head=nn.Linear(8, 2))


class Experts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.Parameter(torch.randn(3, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x.expand(3, *x.shape), self.kernels).sum(0)


@pytest.mark.parametrize(
    ("model", "x", "name", "reason"),
    [
        (packed(), STEPS, "lstm", "it reads a packed sequence, which is not measured"),
        (
            between(nn.Bilinear(8, 8, 8), lambda part, x: part(x, x)),
            FLAT,
            "part",
            "its weight acts in bilinear, which is not measured",
        ),
        (
            between(Experts(), lambda part, x: part(x)),
            FLAT,
            "part.kernels",
            "its weight acts in bmm, which is not measured",
        ),
        (
            between(nn.LSTM(8, 8, proj_size=4), lambda part, x: part(x[None])[0][0].repeat(1, 2)),
            FLAT,
            "part",
            "its weight acts in lstm, which is not measured",
        ),
    ],
)
def test_layers_that_cannot_be_measured(
    model: nn.Module, x: Any, name: str, reason: str, tmp_path: Path
) -> None:
    found = facts(model, x, tmp_path)
    assert [layer.name for layer in found.layers] == ["first", "head"]
    assert found.unmeasured == [Unmeasured(name, reason, 1)]


def test_a_graph_s_layers_of_other_kinds(tmp_path: Path) -> None:
    run = lambda m, x: m.head(m.lstm(m.first(x))[0][:, -1])  # noqa: E731
    lstm = nn.LSTM(8, 8, batch_first=True)
    model = Of(run, first=nn.Linear(8, 8), lstm=lstm, head=nn.Linear(8, 2))
    path = graph(model, torch.from_numpy(STEPS), tmp_path / "m.onnx")
    np.savez(tmp_path / "data.npz", x=STEPS, y=normal(40, 2))
    extract(path, tmp_path / "data.npz", tmp_path / "a.h5")
    found = facts_in(tmp_path / "a.h5")
    assert found.unmeasured == [Unmeasured("/lstm/LSTM", "LSTM is not measured", 1)]


def test_what_is_kept_in_memory_tells_the_same(tmp_path: Path) -> None:
    path, kept = tmp_path / "acts.h5", KeptInMemory(tmp_path / "acts.h5")
    kept.add_layer(LayerRecord("a", "Linear", 0), np.ones((2, 3)), np.ones(2))
    assert np.array_equal(kept.beside(0), np.ones(2))  # type: ignore[arg-type]
    with h5py.File(path, "w") as file:
        file["nothing"] = 0
    with pytest.raises(InputError), open_acts(path):
        pass


# --- files of before, and parts ----------------------------------------------------------------


def as_before(path: Path) -> Path:
    """Make a file what one of before would be."""
    with edited(path) as file:
        for layer in file["layers"].values():
            del layer.attrs["role"]
            if "beside" in layer:
                del layer["beside"]
        told = bytes(file["provenance"][:]).replace(b'"unmeasured"', b'"an older one"')
        del file["provenance"]
        file["provenance"] = np.frombuffer(told, dtype=np.uint8)
    return path


def parts(folder: Path) -> list[Path]:
    model, (x, y) = Skip(), samples(80, 8, 2)
    paths = [folder / "a.h5", folder / "b.h5"]
    for path, some in zip(paths, (slice(0, 40), slice(40, 80)), strict=True):
        extract(model, (x[some], y[some]), path, exclude=["deep.2"])
    return paths


@pytest.mark.parametrize("older", [[], [0], [1], [0, 1]])
def test_merged_parts_keep_what_any_of_them_knows(older: list[int], tmp_path: Path) -> None:
    paths = parts(tmp_path)
    known = facts_in(paths[0])
    for number in older:
        as_before(paths[number])
    merge(paths, tmp_path / "m.h5")
    found = facts_in(tmp_path / "m.h5")
    if len(older) == 2:
        assert {layer.reads_inputs for layer in found.layers} == {None}
        assert not found.shortcuts
        assert not found.unmeasured
        assert set(found.beside.values()) == {None}
    else:
        assert found.layers == known.layers
        assert found.unmeasured == known.unmeasured == [left_out("deep.2", 1)]
        assert all(one is not None for one in found.beside.values())
    report(tmp_path / "m.h5")


def test_damaged_facts_are_one_message(tmp_path: Path) -> None:
    path, other = parts(tmp_path)
    with edited(other) as file:
        name = file["layers/0001/weight"].name.replace("weight", "beside")
        del file[name]
        file[name] = np.ones(5)
    with pytest.raises(InputError, match="damaged or cut short"):
        report(other)
    with edited(path) as file:
        told = bytes(file["provenance"][:]).replace(b'"position": 1', b'"position": []')
        del file["provenance"]
        file["provenance"] = np.frombuffer(told, dtype=np.uint8)
    with pytest.raises(InputError, match="damaged or cut short"):
        report(path)


# --- dead branches -----------------------------------------------------------------------------


def test_a_sum_that_repeats_one_side_is_followed(tmp_path: Path) -> None:
    found = facts(widened(), STEPS, tmp_path)
    assert all(one is not None for one in found.beside.values())


def test_what_stands_beside_an_output(tmp_path: Path) -> None:
    model: Any = Skip()
    found = facts(model, FLAT, tmp_path, dtype="float64")
    bias = model.deep[0].bias.detach().abs().numpy()
    assert found.beside["deep.0"] == pytest.approx(bias)
    wide = model.wide.bias.detach().numpy()
    assert (found.beside["wide"] > np.abs(wide)).all()  # with the other branch


def dead(model: nn.Module, folder: Path, x: Any = FLAT, **options: Any) -> list[str]:
    y = np.random.default_rng(0).normal(size=(len(x), 2)) * 0.1
    options = {"dtype": "float32", **options}
    extract(model, (x, y), folder / "a.h5", activations=False, force=True, **options)
    return [layer.name for layer in report(folder / "a.h5").layers if not layer.metrics.varies]


def test_a_branch_that_rounding_swallows_is_dead(tmp_path: Path) -> None:
    model: Any = mlp(8, 16, 16, 2)
    assert dead(model, tmp_path) == []
    with torch.no_grad():
        model[2].weight.mul_(1e-8)
        model[2].bias.fill_(1.0)
    assert dead(model, tmp_path)[0] == "2"


def test_a_residual_branch_that_rounding_swallows_is_dead(tmp_path: Path) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        h = m.stem(x)
        return m.head(h + m.branch(h))

    branch: Any = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8, bias=False))
    model = Of(run, stem=nn.Linear(8, 8), branch=branch, head=nn.Linear(8, 2))
    assert dead(model, tmp_path) == []
    with torch.no_grad():
        branch[2].weight.mul_(1e-9)
    assert dead(model, tmp_path) == ["branch.2"]


def test_a_network_that_shrinks_to_a_constant_is_dead_but_for_its_inputs(tmp_path: Path) -> None:
    model: Any = mlp(8, 16, 16, 2)
    with torch.no_grad():
        model[4].weight.mul_(1e-12)
    assert dead(model, tmp_path) == ["2", "4"]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    powers=st.lists(st.sampled_from([-60, -22, -1, 0, 3, 40]), min_size=16, max_size=16),
    shrink=st.sampled_from([1.0, 1e-4, 1e-9, 1e-12]),
)
def test_a_rescaled_relu_network_is_judged_as_before(
    powers: list[int], shrink: float, tmp_path: Path
) -> None:
    """The same function, by the same roundings: each hidden unit scaled, and what reads it."""
    torch.manual_seed(0)
    model: Any = mlp(8, 16, 16, 2)
    with torch.no_grad():
        model[2].weight.mul_(shrink)
        before = dead(model, tmp_path, dtype="float64")
        scales = 2.0 ** torch.tensor(powers)
        model[0].weight.mul_(scales[:, None])
        model[0].bias.mul_(scales)
        model[2].weight.div_(scales)
    assert dead(model, tmp_path, dtype="float64") == before


@pytest.mark.parametrize("power", [-60, -22, 22, 60])
def test_a_rescaled_network_reads_as_before(power: int, tmp_path: Path) -> None:
    model: Any = mlp(8, 16, 16, 2)
    x, y = samples(200, 8, 2)

    def measured() -> list[dict[str, float]]:
        extract(model, (x, y), tmp_path / "a.h5", activations=False, force=True)
        return [layer.metrics.values for layer in report(tmp_path / "a.h5").layers]

    before = measured()
    with torch.no_grad():
        model[0].weight.mul_(2.0**power)
        model[0].bias.mul_(2.0**power)
        model[2].weight.div_(2.0**power)
    for one, other in zip(before, measured(), strict=True):
        assert one == pytest.approx(other)
