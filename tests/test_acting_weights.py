"""The weight that acts, where it is computed from others or others stand beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import samples
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize, prune

from nrcscan import extract, report

pytestmark = [
    pytest.mark.numerical,
    pytest.mark.filterwarnings("ignore:.*torch.nn.utils.weight_norm.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
]

X, Y = samples(60, 6, 2)
ROUNDING = 1e-6
"""Of a weight of unit size that float32 operations compute, each off by 6e-8."""


def weights(path: Path) -> dict[str, np.ndarray]:
    """Return the weights in a file of statistics, by layer."""
    with h5py.File(path, "r") as file:
        return {str(la.attrs["name"].decode()): la["weight"][()] for la in file["layers"].values()}


def measured(model: nn.Module, path: Path, x: np.ndarray = X, **options: Any) -> tuple[Any, Any]:
    """Return the weights that were measured, and the notes."""
    done = extract(model, (x, Y), path / "a.h5", force=True, activations=False, **options)
    return weights(path / "a.h5"), done.notes


def alignment(x: np.ndarray, weight: np.ndarray, k: int = 2) -> float:
    """Return the mean cosine between the top directions of features and of a weight."""
    _, _, h = np.linalg.svd(x - x.mean(0), full_matrices=False)
    _, _, w = np.linalg.svd(weight, full_matrices=False)
    return float(np.linalg.svd(h[:k] @ w[:k].T, compute_uv=False).mean())


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 2))


class Scaled(nn.Linear):
    """Computes its weight in a function of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight / self.weight.norm(2, 1, True), self.bias)


class Noisy(nn.Module):
    """Holds what a weight is computed from under other names."""

    def __init__(self) -> None:
        super().__init__()
        self.mu, self.rho = nn.Parameter(torch.randn(12, 6)), nn.Parameter(torch.randn(12, 6))
        self.weight_scale = torch.tensor(0.5)

    @property
    def acts(self) -> Tensor:
        return self.mu + self.weight_scale * self.rho

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.acts.t()


class Hooked(nn.Linear):
    """Has a hook put its weight in place, as old code scales learning rates."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(width, out)
        self.weight_orig = nn.Parameter(self.weight.detach() / 3)
        del self.weight
        self.weight = self.weight_orig * 3
        self.register_forward_pre_hook(lambda m, x: setattr(m, "weight", m.weight_orig * 3))


def computed(kind: str) -> nn.Sequential:
    net = plain()
    layer: Any
    for layer in (net[0], net[2]):
        if kind == "weight norm of before":
            nn.utils.weight_norm(layer)
            layer.weight_g.data *= 1.7
        elif kind == "spectral norm of before":
            nn.utils.spectral_norm(layer)
        elif kind == "pruned":
            prune.l1_unstructured(layer, "weight", 0.5)
            layer.weight_orig.data += 0.1
        elif kind == "parametrised":
            parametrizations.weight_norm(layer)
            layer.parametrizations.weight.original0.data *= 1.7
        elif kind == "orthogonal":
            parametrizations.orthogonal(layer)
    if kind == "hooked":
        net[0] = Hooked(6, 12)
    elif kind == "in forward":
        net[0] = Scaled(6, 12)
    elif kind == "of other names":
        net[0] = Noisy()
    return net


def right(layer: Any) -> np.ndarray:
    """Return a layer's weight as defined, in float64."""
    held = {name: t.detach().double().numpy() for name, t in layer.state_dict().items()}
    if "weight_g" in held:
        v = held["weight_v"]
        return held["weight_g"] * v / np.linalg.norm(v, axis=1, keepdims=True)
    if "weight_mask" in held:
        return held["weight_orig"] * held["weight_mask"]
    if "weight_u" in held:
        return held["weight_orig"] / (held["weight_u"] @ held["weight_orig"] @ held["weight_v"])
    if "parametrizations.weight.original1" in held:
        v = held["parametrizations.weight.original1"]
        g = held["parametrizations.weight.original0"]
        return g * v / np.linalg.norm(v, axis=1, keepdims=True)
    if isinstance(layer, Hooked):
        return held["weight_orig"] * 3
    if isinstance(layer, Scaled):
        return held["weight"] / np.linalg.norm(held["weight"], axis=1, keepdims=True)
    if isinstance(layer, Noisy):
        return held["mu"] + 0.5 * held["rho"]
    return np.asarray(layer.weight.detach().double().numpy())


@pytest.mark.parametrize(
    "kind",
    [
        "weight norm of before", "spectral norm of before", "pruned", "parametrised",
        "orthogonal", "hooked", "in forward", "of other names",
    ],
)  # fmt: skip
def test_a_weight_that_is_computed_as_the_network_runs(tmp_path: Path, kind: str) -> None:
    net = computed(kind).eval()
    found, notes = measured(net, tmp_path)
    assert list(found) == ["0", "2"]
    assert not notes
    for name, weight in found.items():
        np.testing.assert_allclose(weight, right(net[int(name)]), atol=ROUNDING)
    first, second = report(tmp_path / "a.h5", signal_dim=2).layers
    with torch.no_grad():
        h = net[:2](torch.from_numpy(X).float()).double().numpy()
    for layer, rows, weight in ((first, X, right(net[0])), (second, h, right(net[2]))):
        if kind == "orthogonal" and layer is first:  # which has no top directions
            assert "of the weight are equally strong" in layer.metrics.undefined["alignment"]
            continue
        assert layer.metrics.values["alignment"] == pytest.approx(alignment(rows, weight), abs=1e-4)
        energy = np.linalg.norm(weight) ** 2 / np.linalg.norm(weight, 2) ** 2
        assert layer.metrics.values["weight_stable_rank"] == pytest.approx(energy, rel=1e-5)


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM, nn.RNN])
@pytest.mark.parametrize("part", ["weight_ih_l0", "weight_hh_l0"])
@pytest.mark.parametrize(
    ("norm", "names"),
    [
        (nn.utils.weight_norm, ("{}_g", "{}_v")),
        (parametrizations.weight_norm, tuple(f"parametrizations.{{}}.original{i}" for i in "01")),
    ],
)
def test_computed_weights_of_recurrent_layers(
    tmp_path: Path, kind: Any, part: str, norm: Any, names: tuple[str, str]
) -> None:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.r, self.head = kind(3, 5, batch_first=True), nn.Linear(5, 2)
            norm(self.r, part)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.r(x.reshape(-1, 2, 3))[0][:, -1])

    net = Steps().eval()
    found, _ = measured(net, tmp_path, batch_size=7)
    assert list(found) == ["r.weight_ih_l0", "r.weight_hh_l0", "head"]
    g, v = (net.r.get_parameter(n.format(part)).detach().double().numpy() for n in names)
    expected = g * v / np.linalg.norm(v, axis=1, keepdims=True)
    np.testing.assert_allclose(found[f"r.{part}"], expected, atol=ROUNDING)


def test_parametrised_weights_of_other_names(tmp_path: Path) -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Parameter(torch.randn(6, 6))
            self.a, self.head = nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 2)
            parametrizations.weight_norm(self, "mix")
            parametrizations.weight_norm(self.a, "in_proj_weight")

        def forward(self, x: Tensor) -> Tensor:
            x = x[:, None] @ self.mix.T
            return self.head(self.a(x, x, x)[0][:, 0])

    net = Attends().eval()
    found, notes = measured(net, tmp_path, batch_size=7)
    assert list(found) == ["mix", "a.in_proj_weight", "a.out_proj", "head"]
    assert not notes
    for name, weight in (("mix", net.mix), ("a.in_proj_weight", net.a.in_proj_weight)):
        np.testing.assert_allclose(found[name], weight.detach(), atol=ROUNDING)


def test_a_computed_weight_is_the_same_for_every_batch_size(tmp_path: Path) -> None:
    net = computed("pruned").eval()
    values = []
    for size in (7, 60):
        measured(net, tmp_path, batch_size=size)
        values.append([la.metrics.values["alignment"] for la in report(tmp_path / "a.h5").layers])
    assert values[0] == pytest.approx(values[1], abs=1e-6)


def test_a_product_of_constants_is_no_layer(tmp_path: Path) -> None:
    class Queries(nn.Module):
        """Attends with learned queries, which no sample reaches."""

        def __init__(self) -> None:
            super().__init__()
            self.query, self.project = nn.Parameter(torch.randn(3, 4)), nn.Linear(4, 6)
            self.head = nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x @ self.project(self.query).t())

    found, notes = measured(Queries(), tmp_path)
    assert list(found) == ["head"]
    assert notes[0] == "run on constants that no sample has a part in, so not measured: project"


class Lora(nn.Module):
    """A layer and a low-rank path beside it, written by hand."""

    def __init__(self, width: int, out: int, *, scale: float = 2.0, bend: Any = None) -> None:
        super().__init__()
        self.base_layer = nn.Linear(width, out)
        self.lora_A = nn.Linear(width, 1, bias=False)
        self.lora_B = nn.Linear(1, out, bias=False)
        self.scale = scale
        self.bend: nn.Module = bend or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.scale * self.lora_B(self.bend(self.lora_A(x)))

    @property
    def acts(self) -> Tensor:
        return self.base_layer.weight + self.scale * self.lora_B.weight @ self.lora_A.weight


class Peft(nn.Module):
    """As the library of this name has it: adapters by name, dropout, scales, merging."""

    def __init__(self, base: Any, adapters: dict[str, float], **paths: Any) -> None:
        super().__init__()
        self.base_layer, self.scaling, self.merged = base, adapters, False
        out, width = base.weight.shape[:2]
        make = paths.get("make", lambda i, o: nn.Linear(i, o, bias=False))
        self.lora_dropout = nn.ModuleDict({name: nn.Dropout(0.3) for name in adapters})
        self.lora_A = nn.ModuleDict({name: make(width, 2) for name in adapters})
        point = paths.get("point", lambda i, o: nn.Linear(i, o, bias=False))
        self.lora_B = nn.ModuleDict({name: point(2, out) for name in adapters})

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        result = self.base_layer(x, *args, **kwargs)
        if not self.merged:
            for name, scale in self.scaling.items():
                low = self.lora_A[name](self.lora_dropout[name](x))
                result = result + self.lora_B[name](low) * scale
        return result

    @property
    def acts(self) -> Tensor:
        acts = self.base_layer.weight.clone()
        for name, scale in {} if self.merged else self.scaling.items():
            low: Any = self.lora_A[name]
            high: Any = self.lora_B[name]
            a, b = low.weight, high.weight.flatten(1)
            acts += scale * torch.einsum("or,r...->o...", b, a)
        return acts


class Linear(Peft):
    """Of the name of torch's layer, and offering the weight of the one in it."""

    @property
    def weight(self) -> Tensor:
        return self.base_layer.weight


class Vectors(nn.Module):
    """Learns two vectors around random matrices, which are no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.base_layer = nn.Linear(6, 12)
        self.low, self.high = nn.Parameter(torch.rand(2)), nn.Parameter(torch.rand(12))
        self.down, self.up = torch.randn(2, 6), torch.randn(12, 2)

    def forward(self, x: Tensor) -> Tensor:
        path = self.low * F.linear(x, self.down)
        return self.base_layer(x) + self.high * F.linear(path, self.up)

    @property
    def acts(self) -> Tensor:
        return self.base_layer.weight + self.high[:, None] * (self.up * self.low) @ self.down


class Dora(Lora):
    """With the length of every row of the sum learned apart."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(width, out)
        self.magnitude = nn.Parameter(torch.rand(out) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        length = super().acts.norm(dim=1)
        path = super().forward(x) - self.base_layer.bias
        return path * (self.magnitude / length) + self.base_layer.bias

    @property
    def acts(self) -> Tensor:
        together = super().acts
        return together * (self.magnitude / together.norm(dim=1))[:, None]


class InLinear(nn.Linear):
    """A Linear layer that holds the low-rank path as parameters of its own."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(width, out)
        self.lora_A = nn.Parameter(torch.randn(2, width))
        self.lora_B = nn.Parameter(torch.randn(out, 2))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (x @ self.lora_A.T) @ self.lora_B.T * 0.25

    @property
    def acts(self) -> Tensor:
        return self.weight + 0.25 * self.lora_B @ self.lora_A


class Columns(nn.Module):
    """Adds a path to some of a layer's outputs, in place, and has no telling names."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(6, 12)
        self.down, self.up = nn.Linear(6, 2, bias=False), nn.Linear(2, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.qkv(x)
        y[..., :4] += self.up(self.down(x))
        return y

    @property
    def acts(self) -> Tensor:
        return self.qkv.weight + F.pad(self.up.weight @ self.down.weight, (0, 0, 0, 8))


class InSum(Lora):
    """Adds the weights before it multiplies."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.acts, self.base_layer.bias)


def merged() -> Peft:
    layer = Peft(nn.Linear(6, 12), {"default": 3.0})
    layer.base_layer.weight.data = layer.acts.detach()
    layer.merged = True
    return layer


@pytest.mark.parametrize(
    "make",
    [
        lambda: Lora(6, 12),
        lambda: Linear(nn.Linear(6, 12), {"default": 3.0}),
        Vectors,
        lambda: Peft(nn.Linear(6, 12), {"one": 3.0, "two": -0.5}),
        lambda: Peft(parametrizations.weight_norm(nn.Linear(6, 12)), {"default": 3.0}),
        lambda: Dora(6, 12),
        lambda: InLinear(6, 12),
        Columns,
        lambda: InSum(6, 12),
        merged,
    ],
    ids=[
        "by hand", "by name", "vectors", "two adapters", "on a weight norm", "with lengths",
        "in the layer",
        "some columns", "summed before", "merged",
    ],
)  # fmt: skip
def test_adapters_count_to_the_layer_beside_which_they_stand(
    tmp_path: Path, make: Callable[[], Any]
) -> None:
    layer = make().eval()
    net = nn.Sequential(layer, nn.ReLU(), nn.Linear(12, 2)).eval()
    found, notes = measured(net, tmp_path)
    assert list(found) == ["0", "2"]
    np.testing.assert_allclose(found["0"], layer.acts.detach().double(), atol=3 * ROUNDING)
    assert [layer.position for layer in report(tmp_path / "a.h5").layers] == [0, 1]
    told = "0: the weight that acts on the features is that of layer and adapters together"
    assert not notes or (len(notes) == 1 and notes[0].startswith(told))
    assert bool(notes) != isinstance(layer, InSum) or getattr(layer, "merged", False)
    first = report(tmp_path / "a.h5", signal_dim=2).layers[0].metrics.values["alignment"]
    acts = layer.acts.detach().double().numpy()
    assert first == pytest.approx(alignment(X, acts), abs=1e-4)


def test_adapters_over_time_and_of_a_whole_network(tmp_path: Path) -> None:
    x = np.repeat(X[:, None], 4, axis=1) * np.arange(1, 5)[:, None]

    class Last(Lora):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x)[:, -1]

    inner = Lora(6, 8)
    net = nn.Sequential(inner, nn.Tanh(), nn.Flatten(), nn.Linear(32, 2))
    found, _ = measured(net, tmp_path, x)
    np.testing.assert_allclose(found["0"], inner.acts.detach(), atol=3 * ROUNDING)
    alone = Lora(6, 2)
    found, _ = measured(alone, tmp_path)
    np.testing.assert_allclose(found["Lora"], alone.acts.detach(), atol=3 * ROUNDING)


class Turned(nn.Module):
    """Turns the inputs before its layer, whose weight acts on what is turned."""

    def __init__(self) -> None:
        super().__init__()
        self.base_layer, self.oft_R = nn.Linear(6, 12), nn.Parameter(torch.randn(6, 6))

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x @ self.oft_R)


def test_an_adapter_before_its_layer(tmp_path: Path) -> None:
    layer = Turned()
    net = nn.Sequential(layer, nn.ReLU(), nn.Linear(12, 2))
    found, _ = measured(net, tmp_path)
    np.testing.assert_array_equal(found["0.base_layer"], layer.base_layer.weight.detach())
    np.testing.assert_array_equal(found["0.oft_R"], layer.oft_R.detach().T)


@pytest.mark.parametrize(
    "options",
    [{"padding": 1}, {"stride": 2}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2}],
    ids=str,
)
def test_adapters_of_a_convolution(tmp_path: Path, options: dict[str, Any]) -> None:
    layer = Peft(
        nn.Conv2d(2, 5, 3, **options),
        {"default": 3.0},
        make=lambda i, o: nn.Conv2d(i, o, 3, bias=False, **options),
        point=lambda i, o: nn.Conv2d(i, o, 1, bias=False),
    )
    net = nn.Sequential(layer, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2))
    x = np.random.default_rng(0).normal(size=(60, 2, 7, 6))
    found, _ = measured(net.eval(), tmp_path, x)
    assert list(found) == ["0", "4"]
    np.testing.assert_allclose(found["0"], layer.acts.detach(), atol=3 * ROUNDING)


def test_an_adapter_that_is_no_linear_map(tmp_path: Path) -> None:
    net = nn.Sequential(Lora(6, 12, bend=nn.ReLU()), nn.ReLU(), nn.Linear(12, 2))
    found, notes = measured(net, tmp_path)
    assert list(found) == ["0", "2"]
    assert notes == (
        "0: adapters act on the features beside the weight, not as a linear map that can be read"
        " off, so the alignment is not judged",
    )
    first, second = report(tmp_path / "a.h5").layers
    why = "the weight does not act on the features alone: adapters stand beside it"
    assert first.metrics.undefined["alignment"] == why
    assert first.metrics.undefined["weight_stable_rank"] == why
    assert "noise_component" in first.metrics.values
    assert "alignment" in second.metrics.values


class Scattered(nn.Module):
    """Keeps the low-rank paths of its layers beside them, and adds the sums itself."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 12), nn.Linear(12, 2)
        self.lora_first_a, self.lora_first_b = nn.Linear(6, 2), nn.Linear(2, 12)
        self.explorator = nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x) + self.lora_first_b(self.lora_first_a(x)))
        return self.second(torch.relu(self.explorator(h)))


def test_adapters_whose_layer_is_known_by_what_it_reads_alone(tmp_path: Path) -> None:
    found, notes = measured(Scattered(), tmp_path)
    assert list(found) == ["first", "explorator", "second"]
    assert [note.partition(":")[0] for note in notes] == ["first"]
    first, *others = report(tmp_path / "a.h5").layers
    assert "alignment" in first.metrics.undefined
    assert all("alignment" in layer.metrics.values for layer in others)


class Sum(nn.Module):
    """A low-rank path as a parametrisation."""

    def __init__(self, out: int, width: int) -> None:
        super().__init__()
        self.lora_A, self.lora_B = (
            nn.Parameter(torch.randn(2, width)),
            nn.Parameter(torch.randn(out, 2)),
        )

    def forward(self, weight: Tensor) -> Tensor:
        return weight + 0.5 * self.lora_B @ self.lora_A


def test_adapters_as_a_parametrisation(tmp_path: Path) -> None:
    net = plain()
    parametrize.register_parametrization(net[0], "weight", Sum(12, 6))
    layer: Any = net[0]
    found, notes = measured(net, tmp_path)
    assert list(found) == ["0", "2"]
    assert not notes
    np.testing.assert_allclose(found["0"], layer.weight.detach(), atol=ROUNDING)


@pytest.mark.parametrize("how", ["trace", "script", "export"])
def test_a_program_that_computes_its_weights(tmp_path: Path, how: str) -> None:
    net, x = computed("pruned" if how == "trace" else "parametrised").eval(), torch.from_numpy(X)
    if how == "script":
        net = computed("plain").eval()
        net[0] = Scaled(6, 12)
    program: Any
    if how == "export":
        rows = ({0: torch.export.Dim("rows")},)
        program = torch.export.export(net, (x.float(),), dynamic_shapes=rows).module()
    else:
        program = torch.jit.trace(net, x.float()) if how == "trace" else torch.jit.script(net)
    found, _ = measured(program, tmp_path)
    assert list(found) == ["0", "2"]
    for name, weight in found.items():
        np.testing.assert_allclose(weight, right(net[int(name)]), atol=ROUNDING)


def test_a_program_with_adapters_is_not_judged_there(tmp_path: Path) -> None:
    net = nn.Sequential(Lora(6, 12), nn.ReLU(), nn.Linear(12, 2))
    found, notes = measured(torch.jit.script(net), tmp_path)
    assert list(found) == ["0", "2"]
    assert "the alignment is not judged" in notes[0]


def test_layers_in_line_are_no_adapters(tmp_path: Path) -> None:
    """A bottleneck behind a layer, a skip with a nonlinear branch, and layers in a row."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.skip, self.down, self.up = nn.Linear(6, 12), nn.Linear(6, 2), nn.Linear(2, 12)

        def forward(self, x: Tensor) -> Tensor:
            return self.skip(x) + self.up(torch.relu(self.down(x)))

    row = nn.Sequential(nn.Linear(12, 12), nn.Linear(12, 2), nn.Linear(2, 12))
    adapter = nn.Sequential()
    adapter.add_module("layer", nn.Linear(12, 12))
    adapter.add_module("adapter", nn.Sequential(nn.Linear(12, 2), nn.ReLU(), nn.Linear(2, 12)))
    net = nn.Sequential(Block(), row, adapter, nn.Linear(12, 2))
    found, notes = measured(net, tmp_path)
    assert not notes
    assert list(found) == [
        "0.skip", "0.down", "0.up", "1.0", "1.1", "1.2", "2.layer", "2.adapter.0", "2.adapter.2",
        "3",
    ]  # fmt: skip
    for name, weight in found.items():
        layer: Any = net.get_submodule(name)
        np.testing.assert_array_equal(weight, layer.weight.detach())
