"""What the network costs up to each position, and which positions are no places to cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import edited, mlp, samples
from onnx import helper
from test_network_facts import FLAT, IMAGES, STEPS, Of, ResNet, Skip, normal, transformer, u_net
from test_onnx import export, graph
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nrcscan import InputError, extract, merge, report
from nrcscan.acts_file.prefixes import Prefix, Prefixes, prefixes_in
from nrcscan.acts_file.reading import open_acts
from nrcscan.network.lineage import Lineage

pytestmark = pytest.mark.numerical

IDENTITY = "a shortcut past it is not in what reaches it"


@dataclass
class Cuts:
    prefixes: Prefixes
    names: list[list[str]]
    """Position → the layers that read it."""

    def __getitem__(self, name: str) -> Prefix:
        return next(
            prefix
            for prefix, names in zip(self.prefixes.positions, self.names, strict=True)
            if name in names
        )

    @property
    def refused(self) -> dict[str, str]:
        return {
            names[0]: prefix.inside
            for names, prefix in zip(self.names, self.prefixes.positions, strict=True)
            if prefix.inside is not None
        }


def cuts_in(path: Path) -> Cuts:
    with open_acts(path) as acts:
        found = prefixes_in(acts.provenance)
        assert found is not None
        names: list[list[str]] = [[] for _ in found.positions]
        for layer in acts.layers:
            names[layer.position].append(layer.name)
    return Cuts(found, names)


def cuts(model: Any, x: Any, folder: Path, **options: Any) -> Cuts:
    n = len(next(iter(x.values())) if isinstance(x, dict) else x[0] if isinstance(x, tuple) else x)
    y = np.random.default_rng(0).normal(size=(n, 2))
    extract(model, (x, y), folder / "acts.h5", activations=False, force=True, **options)
    return cuts_in(folder / "acts.h5")


def counted(model: nn.Module, *x: Any) -> int:
    """Return the multiply-adds of one sample, as torch counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(*(torch.as_tensor(part[:1]) for part in x))
    return int(counter.get_total_flops()) // 2


def numbers(model: nn.Module) -> int:
    """Return the numbers in a network's matrices and kernels."""
    return sum(p.numel() for p in model.parameters() if p.ndim > 1)


# --- what runs -------------------------------------------------------------------------------


def head(m: Any, x: Tensor) -> Tensor:
    """Call the layers of a network one after another, the last on means over positions."""
    *before, last = m.children()
    for layer in before:
        x = torch.relu(layer(x))
    return last(x.mean((2, 3)))


def convolutions() -> nn.Module:
    return Of(
        head, a=nn.Conv2d(3, 8, 3, stride=2, padding=1), b=nn.Conv2d(8, 8, 3, padding=2, groups=4),
        c=nn.ConvTranspose2d(8, 6, 3, stride=2), d=nn.ConvTranspose2d(6, 4, 2, groups=2),
        e=nn.Conv2d(4, 4, 3, dilation=2, bias=False), last=nn.Linear(4, 2),
    )  # fmt: skip


def dense() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        x = torch.cat([m.one(x), x], 1)
        x = torch.cat([torch.relu(m.two(x)), x], 1)
        return m.last(torch.cat([torch.relu(m.four(m.three(x))), x], 1))

    return Of(
        run, one=nn.Linear(8, 4), two=nn.Linear(12, 4), three=nn.Linear(16, 6),
        four=nn.Linear(6, 4), last=nn.Linear(20, 2),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (mlp(8, 16, 16, 2), FLAT),
        (convolutions(), IMAGES),
        (ResNet(), IMAGES),
        (ResNet("bottleneck"), IMAGES),
        (Skip(), FLAT),
        (u_net(), IMAGES),
        (dense(), FLAT),
        (nn.Sequential(nn.Conv1d(5, 6, 3), nn.Flatten(), nn.Linear(36, 2)), STEPS),
    ],
)
def test_the_whole_network_costs_what_torch_counts(
    model: nn.Module, x: Any, tmp_path: Path
) -> None:
    found = cuts(model, x, tmp_path)
    assert found.prefixes.whole.weights == numbers(model)
    assert found.prefixes.whole.multiply_adds == counted(model, x)


@pytest.mark.parametrize("model", [mlp(8, 16, 16, 2), mlp(8, 12, 2)])
def test_a_prefix_of_a_chain_costs_what_torch_counts_of_it(
    model: nn.Sequential, tmp_path: Path
) -> None:
    found = cuts(model, FLAT, tmp_path)
    for number, (name,) in enumerate(found.names):
        part = model[: int(name)]
        expected = Prefix(numbers(part), counted(part, FLAT), None)
        assert found.prefixes.positions[number] == expected


def test_a_prefix_of_convolutions_costs_what_torch_counts_of_it(tmp_path: Path) -> None:
    model = convolutions()
    found = cuts(model, IMAGES, tmp_path)
    names = [name for name, _ in model.named_children()]
    assert found.names == [[name] for name in names]
    for number, prefix in enumerate(found.prefixes.positions):
        layers = list(model.children())[:number]
        part = nn.Sequential(*(layer for pair in layers for layer in (pair, nn.ReLU())))
        assert prefix == Prefix(numbers(part), counted(part, IMAGES), None)


def test_layers_that_are_not_measured_cost_as_much(tmp_path: Path) -> None:
    every = cuts(mlp(8, 16, 16, 2), FLAT, tmp_path)
    some = cuts(mlp(8, 16, 16, 2), FLAT, tmp_path, layers=["4"])
    assert some.prefixes.whole == every.prefixes.whole
    assert some["4"] == every["4"]


def test_a_shared_weight_counts_once_and_each_product_with_it(tmp_path: Path) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.last(m.same(torch.relu(m.same(x))))

    found = cuts(Of(run, same=nn.Linear(8, 8), last=nn.Linear(8, 2)), FLAT, tmp_path)
    assert [p.weights for p in found.prefixes.positions] == [0, 64, 64]
    assert [p.multiply_adds for p in found.prefixes.positions] == [0, 64, 128]


def test_a_tied_embedding_counts_once_and_multiplies_nothing(tmp_path: Path) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        h = torch.relu(m.hidden(m.embed(x).mean(1)))
        return m.last(nn.functional.linear(h, m.embed.weight))

    parts = {"embed": nn.Embedding(9, 8), "hidden": nn.Linear(8, 8), "last": nn.Linear(9, 2)}
    found = cuts(Of(run, **parts), np.arange(160).reshape(40, 4) % 9, tmp_path)
    assert (found["hidden"].weights, found["hidden"].multiply_adds) == (72, 0)
    assert (found["last"].weights, found["last"].multiply_adds) == (72 + 64, 64 + 72)
    assert not found.refused


def test_steps_of_a_recurrent_layer_count(tmp_path: Path) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.last(m.lstm(x)[0][:, -1])

    model = Of(run, lstm=nn.LSTM(8, 6, 2, batch_first=True), last=nn.Linear(6, 2))
    found = cuts(model, STEPS, tmp_path)
    first, second, steps = 24 * (8 + 6), 24 * (6 + 6), STEPS.shape[1]
    assert not found.refused
    assert [p.weights for p in found.prefixes.positions] == [
        0, first, first, first + second, first + second
    ]  # fmt: skip
    assert [p.multiply_adds for p in found.prefixes.positions] == [
        steps * p.weights for p in found.prefixes.positions if p.weights is not None
    ]


def test_a_recurrent_layer_of_two_ways_is_two_branches(tmp_path: Path) -> None:
    def run(m: Any, x: Tensor) -> Tensor:
        return m.last(m.gru(x)[0].mean(1))

    gru = nn.GRU(8, 6, 2, batch_first=True, bidirectional=True)
    found = cuts(Of(run, gru=gru, last=nn.Linear(12, 2)), STEPS, tmp_path)
    one, other = "gru.weight_ih_l0_reverse", "gru.weight_hh_l0_reverse"
    assert found["gru.weight_hh_l0"].inside == (
        f"another branch, {one} and {other}, joined after it, is left out of it"
    )
    assert list(found.refused) == [n for own in found.names for n in own if "_hh_" in n]
    both = 2 * 18 * (8 + 6)
    assert found["gru.weight_hh_l0"].weights == both // 2
    assert found["gru.weight_ih_l1_reverse"].weights == both
    assert found["last"].weights == both + 2 * 18 * (12 + 6)


def test_a_product_that_is_no_layer_s_counts(tmp_path: Path) -> None:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts, self.last = nn.Parameter(torch.randn(4, 8, 6)), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            several = x.expand(4, *x.shape)
            return self.last(torch.relu(torch.bmm(several, self.experts)).mean(0))

    found = cuts(Experts(), FLAT, tmp_path)
    assert found["last"] == Prefix(4 * 8 * 6, counted(Experts(), FLAT) - 12, None)


# --- where ----------------------------------------------------------------------------------


def attention() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        x = m.embed(x)
        q, k, v = m.q(x), m.k(x), m.v(x)
        x = x + m.out(torch.softmax(q @ k.transpose(1, 2), -1) @ v)
        return m.head((x + m.down(torch.relu(m.up(x)))).mean(1))

    names = ("embed", "q", "k", "v", "out", "up", "down")
    return Of(run, **{name: nn.Linear(8, 8) for name in names}, head=nn.Linear(8, 2))


def squeeze() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        h = torch.relu(m.conv(x))
        return m.head(
            (h * torch.sigmoid(m.up(m.down(h.mean((2, 3)))))[..., None, None]).mean((2, 3))
        )

    conv, down, up = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), nn.Linear(2, 4)
    return Of(run, conv=conv, down=down, up=up, head=nn.Linear(4, 2))


def inception() -> nn.Module:
    def run(m: Any, x: Tensor) -> Tensor:
        x = torch.relu(m.stem(x))
        return m.last(torch.cat([m.a(x), m.c(torch.relu(m.b(x))), m.d(x)], 1).relu())

    three = {name: nn.Linear(8, 8) for name in "abcd"}
    return Of(run, stem=nn.Linear(8, 8), **three, last=nn.Linear(24, 2))


def scales() -> nn.Module:
    """Return a network whose head reads what every layer has made."""

    def run(m: Any, x: Tensor) -> Tensor:
        a = torch.relu(m.a(x))
        b = torch.relu(m.b(a))
        return m.last(torch.cat([a, b, torch.relu(m.d(torch.relu(m.c(b))))], 1))

    return Of(run, **{name: nn.Linear(8, 8) for name in "abcd"}, last=nn.Linear(24, 2))


def heads() -> nn.Module:
    """Return a network of two outputs from one trunk, of which the first predicts."""

    class Heads(Of):
        def forward(self: Any, x: Tensor) -> Any:  # type: ignore[override]
            h = torch.relu(self.trunk(x))
            return self.policy(h), self.value(h)

    parts = {"trunk": nn.Linear(8, 8), "policy": mlp(8, 8, 2), "value": mlp(8, 8, 1)}
    return Heads(lambda m, x: x, **parts)


@pytest.mark.parametrize(
    ("model", "x", "refused"),
    [
        (mlp(8, 16, 16, 2), FLAT, {}),
        (
            ResNet(),
            IMAGES,
            {
                "blocks.0.conv2": IDENTITY,
                "blocks.1.conv2": (
                    "the shortcut past it, blocks.1.downsample, is not in what reaches it"
                ),
                "blocks.2.conv2": IDENTITY,
            },
        ),
        (dense(), FLAT, {"four": IDENTITY}),
        (attention(), STEPS, {"out": IDENTITY, "down": IDENTITY}),
        (
            transformer(),
            STEPS,
            {
                f"encoder.layers.{number}.{name}": IDENTITY
                for number in range(2)
                for name in ("self_attn.out_proj", "linear2")
            },
        ),
        (squeeze(), IMAGES, {"up": IDENTITY}),
        (scales(), FLAT, {"c": IDENTITY, "d": IDENTITY}),
        (heads(), FLAT, {}),
        (u_net(), IMAGES, {"up": IDENTITY}),
        (
            inception(),
            FLAT,
            {"c": "another branch, a and d, joined after it, is left out of it"},
        ),
    ],
)
def test_a_branch_is_no_place_to_cut(
    model: nn.Module, x: Any, refused: dict[str, str], tmp_path: Path
) -> None:
    assert cuts(model, x, tmp_path).refused == refused


def two_towers() -> nn.Module:
    def run(m: Any, state: Tensor, goal: Tensor) -> Tensor:
        both = torch.cat([m.b(torch.relu(m.a(state))), m.c(goal)], 1)
        return m.last(torch.relu(m.d(both)))

    parts = {name: nn.Linear(8, 8) for name in "abc"}
    return Of(run, **parts, d=nn.Linear(16, 8), last=nn.Linear(8, 2))


def late_action() -> nn.Module:
    run = lambda m, state, action: m.last(torch.cat([m.a(state), action], 1))  # noqa: E731
    return Of(run, a=nn.Linear(8, 8), last=nn.Linear(16, 2))


def test_a_tower_of_one_input_is_no_place_to_cut(tmp_path: Path) -> None:
    x = (FLAT, FLAT[::-1].copy())
    towers = cuts(two_towers(), x, tmp_path)
    left = "another branch, {}, joined after it, is left out of it"
    assert towers.refused == {
        "a": left.format("c"), "b": left.format("c"), "c": left.format("a and b")
    }  # fmt: skip
    assert (towers["d"].weights, towers["last"].weights) == (192, 192 + 128)
    assert cuts(late_action(), x, tmp_path).refused == {
        "a": "another input, joined after it, is left out of it"
    }


def masked(of_ids: Callable[[Tensor], Tensor] | None) -> nn.Module:
    """Return a network of sequences that a mask counts steps of, given or made of the inputs."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    parts = {
        "encoder": nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        "head": nn.Linear(8, 2),
    }

    def run(m: Any, x: Tensor, keep: Tensor) -> Tensor:
        h = m.encoder(m.embed(x), src_key_padding_mask=keep == 0)
        keep = keep.to(h.dtype)[..., None]
        return m.head((h * keep).sum(1) / keep.sum(1))

    class Masked(Of):
        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:  # type: ignore[override]
            return run(self, x, attention_mask)

    if of_ids is not None:
        return Of(lambda m, x: run(m, x, of_ids(x)), embed=nn.Embedding(9, 8), **parts)
    return Masked(run, embed=nn.Linear(8, 8), **parts)


def test_a_mask_is_no_branch(tmp_path: Path) -> None:
    inside = [f"encoder.layers.{i}.{n}" for i in (0, 1) for n in ("self_attn.out_proj", "linear2")]
    keep = np.ones((40, 5), dtype=np.int64)
    keep[::3, 3:] = 0
    given = cuts(masked(None), {"x": STEPS, "attention_mask": keep}, tmp_path)
    assert list(given.refused) == inside
    ids = np.random.default_rng(0).integers(1, 9, (40, 5)) * keep
    made = cuts(masked(lambda x: (x != 0).long()), ids, tmp_path)
    assert list(made.refused) == inside


def test_what_cannot_be_followed_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(Lineage, "_made", fail)
    found = cuts(mlp(8, 16, 2), FLAT, tmp_path).prefixes
    assert found.positions[1] == Prefix(None, None, "whether a branch leads past it is not known")
    assert found.whole.weights == 160


# --- graphs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [convolutions(), ResNet()])
def test_a_graph_costs_what_its_network_does(model: nn.Module, tmp_path: Path) -> None:
    path = export(model, torch.from_numpy(IMAGES[:2]), tmp_path / "net.onnx", dynamo=False)
    assert cuts(path, IMAGES, tmp_path).prefixes == cuts(model, IMAGES, tmp_path).prefixes


@pytest.mark.parametrize(
    "options",
    [
        {"auto_pad": "SAME_UPPER", "strides": [2, 3]},
        {"auto_pad": "VALID", "dilations": [2, 1]},
        {"pads": [0, 1, 2, 0], "strides": [2, 1]},
    ],
)
def test_positions_of_a_graph_s_convolution_are_those_it_gives(
    options: dict[str, Any], tmp_path: Path
) -> None:
    kernel = np.random.default_rng(0).normal(size=(4, 3, 3, 2)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "k.weight"], ["c"], **options),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    weights = {"k.weight": kernel, "w": np.ones((4, 2), np.float32)}
    path = graph(tmp_path / "a.onnx", nodes, weights, shape=("n", 3, 9, 8))
    model = onnx.load(path)
    model.graph.output.append(onnx.ValueInfoProto(name="c"))
    import onnxruntime

    x = normal(40, 3, 9, 8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    made = session.run(["c"], {"x": x[:1]})[0].size // 4
    found = cuts(path, x, tmp_path).prefixes
    assert [p.multiply_adds for p in found.positions] == [0, made * kernel.size]


def test_what_a_graph_s_other_nodes_multiply_is_not_known(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.lstm = nn.Linear(8, 8), nn.LSTM(8, 6, batch_first=True)
            self.last = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.lstm(self.a(x))[0][:, -1])

    path = export(Net(), torch.from_numpy(STEPS[:2]), tmp_path / "a.onnx", dynamo=False)
    first, last = cuts(path, STEPS, tmp_path).prefixes.positions
    assert first == Prefix(0, 0, None)
    assert last == Prefix(64 + 24 * (8 + 6), None, None)


# --- files ----------------------------------------------------------------------------------


def test_merged_parts_keep_what_all_say(tmp_path: Path) -> None:
    model, (x, y) = mlp(8, 16, 2), samples(80, 8, 2)
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path, part in zip(paths, (slice(0, 40), slice(40, 80)), strict=True):
        extract(model, (x[part], y[part]), path)
    merged = merge(paths, tmp_path / "all.h5").path
    assert cuts_in(merged) == cuts_in(paths[0])
    rewrite(paths[1], lambda told: told.pop("prefixes"))
    merged = merge(paths, tmp_path / "some.h5").path
    assert "prefixes" not in report(merged).provenance


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    with edited(path) as file:
        told = json.loads(bytes(file["provenance"][:]))
        change(told)
        del file["provenance"]
        file["provenance"] = np.frombuffer(json.dumps(told).encode(), dtype=np.uint8)


GOOD = {"weights": 1, "multiply_adds": 1}


@pytest.mark.parametrize(
    "told",
    [
        3,
        {"whole": GOOD},
        {"whole": GOOD, "positions": [{**GOOD, "inside": None}]},
        {"whole": GOOD, "positions": [{**GOOD, "inside": 3}, {**GOOD, "inside": None}]},
        {"whole": GOOD, "positions": [GOOD, GOOD]},
        {"whole": {"weights": -1, "multiply_adds": 1}, "positions": []},
        {"whole": {"weights": True, "multiply_adds": 1}, "positions": []},
        {"whole": {"weights": 1}, "positions": []},
    ],
)
def test_damaged_prefixes_are_one_message(told: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    extract(mlp(8, 16, 2), samples(40, 8, 2), path)
    rewrite(path, lambda whole: whole.update(prefixes=told))
    with pytest.raises(InputError, match="damaged or cut short"):
        report(path)
