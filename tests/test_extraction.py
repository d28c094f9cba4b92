from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
import tolerances
import torch
from conftest import mlp, samples
from torch import Tensor, nn

from nrcscan import InputError, UsageError, extract, report

pytestmark = pytest.mark.numerical


def statistics(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(path) as file:

        def take(name: str, item: Any) -> None:
            if isinstance(item, h5py.Dataset) and name not in ("provenance", "checksums"):
                found[name] = item[()]

        file.visititems(take)
    return found


def test_the_file_holds_what_the_network_saw(tmp_path: Path) -> None:
    model, (x, y) = mlp(5, 8, 6, 2), samples(300, 5, 2)
    done = extract(model, (x, y), tmp_path / "acts.h5", batch_size=64)
    found = statistics(done.path)
    with torch.no_grad():
        out = model(torch.from_numpy(x)).numpy().astype(np.float64)
        hidden = [x, *(model[:i](torch.from_numpy(x)).numpy() for i in (2, 4))]
    off = np.zeros_like(x)
    for position, h in enumerate(hidden):
        stored = found[f"positions/{position:04d}/activations"]
        assert (np.abs(stored - h) <= off).all()
        layer = model[2 * position]
        assert isinstance(layer, nn.Linear)
        weight, bias = (part.detach().double().numpy() for part in (layer.weight, layer.bias))
        off = 2 * tolerances.of_sums(weight, bias, h) + off @ np.abs(weight).T  # either may be off
        wide = h.astype(np.float64)
        covariance = np.cov(wide.T, bias=True)
        stored = found[f"positions/{position:04d}/covariance"]
        np.testing.assert_allclose(stored, covariance, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found["targets/values"], y.astype(np.float64))
    np.testing.assert_allclose(found["model/squared_error"], ((out - y) ** 2).mean(0), rtol=1e-6)
    np.testing.assert_array_equal(
        found["layers/0001/weight"], model.state_dict()["2.weight"].numpy()
    )
    assert done.r2 == pytest.approx(1 - ((out - y) ** 2).mean() / y.var(0).mean(), rel=1e-5)
    assert report(done.path).r2 == pytest.approx(done.r2, rel=1e-12)


@pytest.mark.parametrize("batch_size", [1, 7, 256, 10_000])
def test_batches_change_nothing_in_float64(tmp_path: Path, batch_size: int) -> None:
    model, data = mlp(5, 32, 16, 2), samples(1500, 5, 2)
    extract(model, data, tmp_path / "a.h5", dtype="float64", activations=False)
    extract(
        model, data, tmp_path / "b.h5", dtype="float64", activations=False, batch_size=batch_size
    )
    expected, found = statistics(tmp_path / "a.h5"), statistics(tmp_path / "b.h5")
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        assert np.linalg.norm(found[name] - values) <= 1e-10 * np.linalg.norm(values), name


MEMORY = """
import resource, sys
sys.path[:0] = [{tests!r}]
from conftest import mlp
import numpy as np, torch, nrcscan
torch.set_num_threads(1)
def rows(n):
    rng = np.random.default_rng(0)
    for _ in range(n // 1000):
        x = rng.standard_normal((1000, 64), dtype=np.float32)
        yield x, x[:, :2]
for n in (10_000, 210_000):
    nrcscan.extract(mlp(64, 64, 2), rows(n), f"acts{{n}}.h5", activations=False)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_samples(tmp_path: Path) -> None:
    code = MEMORY.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    few, many = map(int, done.stdout.split())
    # 200,000 samples more are 51 MB of inputs and as much of features; kilobytes are reported
    assert many - few < 20_000


def test_provenance_is_complete(tmp_path: Path, saved: tuple[Path, Path]) -> None:
    model, data = saved
    extract(model, data, tmp_path / "acts.h5", limit=50, exclude=["4"])
    found = report(tmp_path / "acts.h5").provenance
    json.dumps(found)
    assert found["checkpoint"]["path"] == str(model)
    assert len(found["checkpoint"]["sha256"]) == len(found["data"]["sha256"]) == 64
    assert found["options"]["limit"] == 50
    assert found["options"]["dtype"] == "float32"
    assert found["model"]["source"] == "inferred from the weights, with relu"
    assert found["versions"].keys() >= {"nrcscan", "torch", "numpy", "h5py", "python"}


def test_choosing_layers(tmp_path: Path) -> None:
    model, data = mlp(5, 8, 8, 2), samples(60, 5, 2)
    assert extract(model, data, tmp_path / "a.h5", layers=["[24]"]).layers == ("2", "4")
    assert extract(model, data, tmp_path / "b.h5", exclude=["0"]).layers == ("2", "4")
    with pytest.raises(UsageError, match="no layer matches --layers 'fc'; choose among 0, 2 and"):
        extract(model, data, tmp_path / "c.h5", layers=["fc"])
    assert not (tmp_path / "c.h5").exists()


def test_no_activations_keeps_the_rest(tmp_path: Path) -> None:
    model, data = mlp(5, 8, 2), samples(60, 5, 2)
    extract(model, data, tmp_path / "a.h5", activations=False)
    names = statistics(tmp_path / "a.h5")
    assert not [name for name in names if "activations" in name]
    assert "targets/values" in names


class Branches(nn.Module):
    """A shortcut that reads what the block reads, a layer that runs twice, and an idle one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.short = nn.Linear(5, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        self.head, self.idle = nn.Linear(8, 2), nn.Linear(3, 3)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        x = self.relu(self.block(x) + self.short(x))
        x = self.relu(self.block(x))
        return self.head(x)


def test_positions_calls_and_idle_layers(tmp_path: Path) -> None:
    done = extract(Branches(), samples(60, 5, 2), tmp_path / "a.h5")
    assert done.layers == ("stem", "block", "short", "block#2", "head")
    assert done.notes == ("not seen running with their own weight, so not measured: idle",)
    result = report(done.path)
    assert [layer.position for layer in result.layers] == [0, 1, 1, 2, 3]
    kept = [n for n in statistics(done.path) if n.endswith("covariance")]
    of_blocks = [n for n in kept if "blocks/" in n]
    assert len(kept) - len(of_blocks) == 2 * 4 + 1 + 1
    assert len(of_blocks) == 4 + 1  # with the targets, at every position, and their own
    block, short = result.layers[1:3]
    assert block.metrics.get("noise_component") == short.metrics.get("noise_component")
    assert block.metrics.get("alignment") != short.metrics.get("alignment")


class Sequences(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu()).mean(1)


def test_sequences(tmp_path: Path) -> None:
    x, y = samples(60, 20, 2)
    x = x.reshape(60, 4, 5)
    for pool, expected in [("mean", x.mean(1)), ("first", x[:, 0]), ("last", x[:, -1])]:
        extract(Sequences(), (x, y), tmp_path / f"{pool}.h5", pool=pool)  # type: ignore[arg-type]
        found = statistics(tmp_path / f"{pool}.h5")["positions/0000/activations"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    extract(Sequences(), (x, y), tmp_path / "flat.h5", pool="flatten")
    first, _ = report(tmp_path / "flat.h5").layers
    assert first.width == 20
    assert first.metrics.undefined["alignment"] == ("the weight does not act on flattened features")


class TimeFirst(Sequences):
    """The same network, on tensors that have the samples elsewhere."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        n = len(x)
        if self.how == "columns":
            return self.b(self.a(x.transpose(0, 1)).relu()).mean(0)
        if self.how == "flat rows":
            return self.b(self.a(x.reshape(-1, 5)).relu()).reshape(n, -1, 2).mean(1)
        flat = self.b(self.a(x.transpose(0, 1).reshape(-1, 5)).relu())
        return flat.reshape(-1, n, 2).mean(0)


@pytest.mark.parametrize("how", ["columns", "flat rows", "flat columns"])
@pytest.mark.parametrize("steps", [3, 4])  # 3 is also the number of samples of the probe
@pytest.mark.parametrize("pool", ["mean", "first", "last"])
def test_samples_are_found_wherever_they_are(
    tmp_path: Path, how: str, steps: int, pool: Any
) -> None:
    x, y = samples(50, 5 * steps, 2)
    data = (x.reshape(50, steps, 5), y)
    torch.manual_seed(0)
    extract(Sequences(), data, tmp_path / "a.h5", pool=pool, batch_size=17)
    torch.manual_seed(0)
    done = extract(TimeFirst(how), data, tmp_path / "b.h5", pool=pool, batch_size=17)
    assert done.layers == ("a", "b")
    for ours, theirs in zip(
        report(tmp_path / "b.h5").layers, report(tmp_path / "a.h5").layers, strict=True
    ):
        assert ours.metrics.values == pytest.approx(theirs.metrics.values, rel=1e-5, abs=1e-6)


def test_what_has_no_samples_is_left_out_and_said(tmp_path: Path) -> None:
    class Constant(Sequences):
        def forward(self, x: Tensor) -> Tensor:
            return self.b(x[:, 0] @ torch.ones(5, 8)) + 0 * self.a(self.reaches(x)).sum()

        def reaches(self, x: Tensor) -> Tensor:
            return x.mean((0, 1)).expand(7, 5)

    class Fed(Constant):
        def reaches(self, x: Tensor) -> Tensor:
            return torch.ones(7, 5)

    x, y = samples(60, 20, 2)
    done = extract(Constant(), (x.reshape(60, 4, 5), y), tmp_path / "a.h5")
    assert done.layers == ("b",)
    assert (
        "a is left out: what reaches it has shape (7, 5), and the 4 samples are on none"
        in (done.notes[0])
    )
    done = extract(Fed(), (x.reshape(60, 4, 5), y), tmp_path / "b.h5")
    assert done.layers == ("b",)
    assert done.notes[0] == "run on constants that no sample has a part in, so not measured: a"


class Attention(nn.Module):
    """An encoder as users build it: in- and out-projection, and two linear layers."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.embed = nn.Linear(5, 8)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        h = self.encoder(h) if self.batch_first else self.encoder(h.transpose(0, 1)).transpose(0, 1)
        return self.head(h.mean(1))


@pytest.mark.parametrize("batch_first", [True, False])
def test_a_transformer_encoder(tmp_path: Path, batch_first: bool) -> None:
    torch.manual_seed(0)
    model = Attention(batch_first).eval()
    x, y = samples(50, 20, 2)
    x = x.reshape(50, 4, 5)
    done = extract(model, (x, y), tmp_path / "a.h5", batch_size=16)
    inner = ["self_attn.in_proj_weight", "self_attn.out_proj", "linear1", "linear2"]
    expected = [f"encoder.layers.{i}.{name}" for i in (0, 1) for name in inner]
    assert done.layers == ("embed", *expected, "head")
    assert done.notes == ()
    assert torch.backends.mha.get_fastpath_enabled()
    # The out-projection's features, straight from the definition of attention.
    attention = model.encoder.layers[0].self_attn
    with torch.no_grad():
        h = model.embed(torch.from_numpy(x))
        q, k, v = (
            part.reshape(50, 4, 2, 4).transpose(1, 2)
            for part in (h @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, -1)
        )
        mixed = ((q @ k.transpose(2, 3)) / 2).softmax(-1) @ v
        features = mixed.transpose(1, 2).reshape(50, 4, 8).mean(1)
    found = statistics(tmp_path / "a.h5")["positions/0002/activations"]
    np.testing.assert_allclose(found, features.numpy(), rtol=1e-4, atol=1e-6)


def test_a_module_in_memory_stays_as_it_was(tmp_path: Path) -> None:
    model = mlp(5, 8, 2)
    model.train()
    extract(model, samples(60, 5, 2), tmp_path / "a.h5", dtype="float64")
    assert model.training
    assert model[0].weight.dtype == torch.float32


def test_a_wrong_inference_is_said(tmp_path: Path, saved: tuple[Path, Path]) -> None:
    done = extract(*saved, tmp_path / "a.h5", activation="tanh")
    inferred, doubt = done.notes
    assert inferred == (
        "network inferred from the weights: 5 → (16 → tanh) × 2 → 2; assumed: tanh, no skip"
        " connections, nothing after the last layer"
    )
    assert doubt.startswith("DOUBTFUL NETWORK: as inferred, it explains nothing (R² = -")
    assert "name the network's factory with --model, or the activation with" in doubt
    assert set(done.notes) <= set(report(done.path).notes)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_, np.float16, np.float64])
def test_inputs_of_other_dtypes(tmp_path: Path, dtype: Any) -> None:
    x, y = samples(60, 5, 2)
    x = (np.abs(x) * 3).astype(dtype)
    extract(mlp(5, 8, 2), (x, y), tmp_path / "a.h5")
    found = statistics(tmp_path / "a.h5")["positions/0000/activations"]
    np.testing.assert_array_equal(found, x.astype(np.float32))


def one_nan(x: Tensor) -> Tensor:
    return torch.where(x.abs() > 2, torch.full_like(x, float("nan")), x)


class Poison(nn.Module):
    """Makes NaN of large values, behind the first layer."""

    def __init__(self, at_output: bool) -> None:
        super().__init__()
        self.a, self.b, self.at_output = nn.Linear(1, 1, bias=False), nn.Linear(1, 1), at_output
        nn.init.ones_(self.a.weight)

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x)
        return one_nan(self.b(h)) if self.at_output else self.b(one_nan(h))


def test_nan_names_layer_and_sample(tmp_path: Path) -> None:
    x = np.zeros((40, 1), np.float32)
    x[33] = 3.0
    y = np.linspace(0, 1, 40)[:, None]
    with pytest.raises(InputError, match="layer b: its features hold NaN, first in sample 33"):
        extract(Poison(at_output=False), (x, y), tmp_path / "a.h5", batch_size=8)
    x *= 1e10
    with pytest.raises(InputError, match="the network's predictions hold NaN, first in sample 33"):
        extract(Poison(at_output=True), (x, y), tmp_path / "a.h5", batch_size=8)
    assert list(tmp_path.iterdir()) == []


class Returns(nn.Module):
    def __init__(self, what: Any) -> None:
        super().__init__()
        self.a, self.what = nn.Linear(5, 2), what

    def forward(self, x: Tensor) -> Any:
        return self.what(self.a(x))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            mlp(6, 8, 2),
            r"samples of shape \(5,\): 5 features per sample, 0 takes 6; check that data and",
        ),
        (mlp(5, 8, 3), r"predicts shape \(3,\) per sample where the targets have \(2,\)"),
        (Returns(lambda out: {"y": [out]}), "returns a dict without a tensor in it; wrap it in a"),
        (
            Returns(lambda out: torch.complex(out, out)),
            "complex numbers where targets are real; wrap",
        ),
        (Returns(lambda out: sys.exit(7)), r"the network does not take samples .*: 7; check"),
        (Returns(lambda out: None), "returns a NoneType without a tensor in it"),
        (
            Returns(lambda out: out.sum()),
            r"predicts shape \(\) for 60 samples where the targets have \(60, 2\)",
        ),
        (nn.Sequential(nn.ReLU()), "the network has no weights to watch"),
        (Returns(lambda out: 1 / 0), "division by zero; check that data and network belong"),
    ],
)
def test_networks_that_do_not_fit(tmp_path: Path, model: nn.Module, message: str) -> None:
    with pytest.raises(InputError, match=message):
        extract(model, samples(60, 5, 2), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_calls_no_layer(tmp_path: Path) -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return x[:, :2]

    with pytest.raises(InputError, match="none of the network's weights, of a .Linear., was seen"):
        extract(Idle(), samples(60, 5, 2), tmp_path / "a.h5")


def test_a_network_that_changes_its_path(tmp_path: Path) -> None:
    class Fickle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(5, 5), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x) if x[0, 0] < 50 else x)

    x, y = samples(60, 5, 2)
    x[32:, 0] = 100
    with pytest.raises(InputError, match="called other layers from sample 32 on than at first"):
        extract(Fickle(), (x, y), tmp_path / "a.h5", batch_size=32)


def test_covariances_larger_than_the_machine(tmp_path: Path) -> None:
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv1d(5, 5, 1), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).mean(2))

    x, y = samples(4, 5, 2)
    x = np.repeat(x[:, :, None], 200_000, axis=2)
    with pytest.raises(UsageError, match=r"GB: a has 1000000 features; choose another --pool"):
        extract(Wide(), (x, y), tmp_path / "a.h5", pool="flatten")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "--batch-size 0: give at least 1"),
        ({"limit": 0}, "--limit 0: give at least 1"),
        ({"pool": "max"}, "--pool max: choose one of mean, flatten, first, last and tokens"),
        ({"dtype": "int8"}, "--dtype int8: choose one of float32, float64, bfloat16 and"),
        ({"device": "toaster"}, "--device toaster: give cpu, cuda, cuda:1, mps or"),
        ({"factory": "a:b"}, "a network in memory needs neither factory nor state_key"),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        extract(mlp(5, 2), samples(60, 5, 2), tmp_path / "a.h5", **options)


def test_values_that_float32_cannot_hold(tmp_path: Path) -> None:
    x, y = samples(60, 5, 2)
    with pytest.raises(InputError, match="integers beyond 2\\^24 .* use a wider --dtype"):
        extract(mlp(5, 2), ((x * 1e9).astype(np.int64), y), tmp_path / "a.h5")
    with pytest.raises(InputError, match="exceed the range of float32"):
        extract(mlp(5, 2), (x.astype(np.float64) * 1e300, y), tmp_path / "a.h5")


def test_a_stream_that_ends_early(tmp_path: Path) -> None:
    class Short:
        def __len__(self) -> int:
            return 50

        def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
            if index >= 20:
                raise IndexError
            return torch.zeros(5), torch.zeros(2)

    class Broken:
        def __iter__(self) -> Iterator[Any]:
            yield np.ones((5, 5), np.float32), np.ones((5, 2))
            raise OSError("the disk went away")

    with pytest.raises(InputError, match="Broken: reading it failed: OSError: the disk went away"):
        extract(mlp(5, 2), Broken(), tmp_path / "a.h5")
    with pytest.raises(InputError, match="Short: reading it failed: IndexError"):
        extract(mlp(5, 2), Short(), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_shared_weights_are_told_apart_from_idle_ones(tmp_path: Path) -> None:
    model = mlp(5, 5, 5, 2)
    model[2].weight = model[0].weight
    done = extract(model, samples(60, 5, 2), tmp_path / "a.h5")
    assert done.layers == ("0", "0#2", "4")
    assert done.notes == ("2 shares its weight with 0 and is shown as its use",)


def test_not_even_a_network(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="model is a int: give a checkpoint's path or an nn.Mod"):
        extract(3, samples(60, 5, 2), tmp_path / "a.h5")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="layer 0 has no width yet; run the network once before"):
        extract(nn.Sequential(nn.LazyLinear(2)), samples(60, 5, 2), tmp_path / "a.h5")


def test_values_whose_squares_overflow(tmp_path: Path) -> None:
    x, y = samples(60, 5, 2)
    with pytest.raises(InputError, match="values are too large: their squares exceed float64; re"):
        extract(mlp(5, 2), (x, y.astype(np.float64) * 1e200), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


@dataclass
class Prediction:
    loss: float
    mean: Tensor
    spread: Tensor


class Pair(NamedTuple):
    mean: Tensor
    spread: Tensor


@pytest.mark.parametrize(
    ("returns", "options"),
    [
        (lambda out: (out, 3 * out), {}),
        (lambda out: [3 * out, out], {"output_key": "1"}),
        (lambda out: {"loss": 0.5, "mean": out, "spread": 3 * out}, {}),
        (lambda out: {"spread": 3 * out, "mean": out}, {"output_key": "mean"}),
        (lambda out: Prediction(0.5, out, 3 * out), {}),
        (lambda out: Prediction(0.5, 3 * out, out), {"output_key": "spread"}),
        (lambda out: Pair(3 * out, out), {"output_key": "spread"}),
        (lambda out: {"b": out[:, 1], "a": out[:, :1]}, {"output_key": "a,b"}),
        (lambda out: (3 * out, out[:, :1], out[:, 1:]), {"output_key": "1, 2"}),
        (lambda out: {"a,b": out, "b": 3 * out}, {"output_key": "a,b"}),
        (lambda out: torch.cat([out, 3 * out], 1), {"output_slice": ":2"}),
        (lambda out: torch.cat([3 * out, out], 1), {"output_slice": "-2:"}),
        (lambda out: out[:, :, None, None], {}),
    ],
)
def test_predictions_in_structured_outputs(
    tmp_path: Path, returns: Any, options: dict[str, str]
) -> None:
    data = samples(60, 5, 2)
    torch.manual_seed(0)
    model = Returns(lambda out: out)
    expected = extract(model, data, tmp_path / "a.h5").r2
    model.what = returns
    assert extract(model, data, tmp_path / "b.h5", **options).r2 == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("returns", "options", "error", "message"),
    [
        (lambda o: {"a": o}, {"output_key": "b"}, InputError, "returns a dict with a"),
        (lambda o: {"a": o}, {"output_key": "a,b"}, InputError, "returns a dict with a"),
        (
            lambda o: {"a": o, "b": o[:7]},
            {"output_key": "a,b"},
            InputError,
            r"shape \(60, 2\) and \(7, 2\) for 60 samples where the targets have \(60, 2\)",
        ),
        (lambda o: o, {"output_key": "b"}, InputError, "the network returns a single tensor"),
        (lambda o: o, {"output_slice": "1"}, UsageError, "give from:to, such as :2"),
        (
            lambda o: o,
            {"output_slice": ":1"},
            InputError,
            r"\(2,\) per sample where the targets have \(2,\)",
        ),
    ],
)
def test_outputs_that_are_not_there(
    tmp_path: Path, returns: Any, options: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        extract(Returns(returns), samples(60, 5, 2), tmp_path / "a.h5", **options)  # type: ignore[arg-type]


def test_names_that_no_encoding_takes(tmp_path: Path) -> None:
    model = nn.Sequential()
    model._modules["a\ud800"] = nn.Linear(5, 2)
    done = extract(model, samples(60, 5, 2), tmp_path / "a.h5")
    assert report(done.path).layers[0].name == "a\\ud800"


@pytest.mark.parametrize(
    "kept",
    [
        lambda out: torch.quantize_per_tensor(out, 2**-20, 0, torch.qint32),
        lambda out: out.to_sparse(),
        lambda out: out > 0,
        lambda out: out.to(torch.float8_e4m3fn),
    ],
)
@pytest.mark.filterwarnings("ignore")  # torch's own, of how these are kept
def test_predictions_however_they_are_kept(tmp_path: Path, kept: Any) -> None:
    model, (x, y) = Returns(kept), samples(60, 5, 2)
    with torch.no_grad():
        out = kept(model.a(torch.from_numpy(x).float()))
    out = out.dequantize() if out.is_quantized else out
    rows = (out.to_dense() if out.is_sparse else out).double().numpy()
    r2 = 1 - ((rows - y) ** 2).sum() / ((y - y.mean(0)) ** 2).sum()
    assert extract(model, (x, y), tmp_path / "a.h5").r2 == pytest.approx(r2, rel=1e-4)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        (lambda out: out.to("meta"), r"predictions without numbers \(on meta\); have a factory"),
        (lambda out: torch.nested.as_nested_tensor(list(out)), "of unequal length; have a factory"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_predictions_that_are_no_numbers(tmp_path: Path, kept: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        extract(Returns(kept), samples(60, 5, 2), tmp_path / "a.h5")
