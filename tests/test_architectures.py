"""Layers of every kind, inputs of every structure: the features are what the network reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import samples
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from nrcscan import InputError, UsageError, extract, merge, report
from nrcscan.network.capture import Capture
from nrcscan.network.evaluation_mode import evaluating
from nrcscan.network.find_layers import find_layers

pytestmark = pytest.mark.numerical

N, STEPS, WIDTH = 30, 5, 6
RNG = np.random.default_rng(0)
SEQUENCES = RNG.standard_normal((N, STEPS, WIDTH)).astype(np.float32)
TARGETS = RNG.standard_normal((N, 2))


def stored(path: Path) -> dict[str, tuple[NDArray[Any], NDArray[Any]]]:
    """Return (features, weight) by layer, as the file has them."""
    with h5py.File(path) as file:
        return {
            group.attrs["name"].decode(): (
                file[f"positions/{group.attrs['position']:04d}/activations"][()],
                group["weight"][()],
            )
            for group in file["layers"].values()
        }


class Recurrent(nn.Module):
    def __init__(self, cell: Any, **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = cell(WIDTH, 4, batch_first=True, **options)
        self.head = nn.Linear(4 * (1 + self.rnn.bidirectional), 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_weight_reads_the_state_before_each_step(tmp_path: Path, cell: Any) -> None:
    model = Recurrent(cell, num_layers=2).eval()
    extract(model, (SEQUENCES, TARGETS), tmp_path / "a.h5")
    found = stored(tmp_path / "a.h5")
    assert list(found) == [*(f"rnn.weight_{w}_l{k}" for k in (0, 1) for w in ("ih", "hh")), "head"]
    lower = cell(WIDTH, 4, batch_first=True)
    lower.load_state_dict({k: v for k, v in model.rnn.state_dict().items() if k.endswith("l0")})
    with torch.no_grad():
        states = lower(torch.from_numpy(SEQUENCES))[0].numpy()
    before = np.concatenate([np.zeros_like(states[:, :1]), states[:, :-1]], axis=1)
    for name, expected in [
        ("rnn.weight_ih_l0", SEQUENCES),
        ("rnn.weight_hh_l0", before),
        ("rnn.weight_ih_l1", states),
    ]:
        np.testing.assert_allclose(found[name][0], expected.mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(
        found["rnn.weight_hh_l0"][1], model.rnn.state_dict()["weight_hh_l0"].numpy()
    )


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
@pytest.mark.parametrize("options", [{}, {"num_layers": 3}, {"bidirectional": True}])
@pytest.mark.parametrize("batch_first", [True, False])
def test_watching_a_recurrent_network_changes_nothing(
    cell: Any, options: dict[str, Any], batch_first: bool
) -> None:
    torch.manual_seed(0)
    model = cell(WIDTH, 4, batch_first=batch_first, **options)
    x = torch.from_numpy(SEQUENCES)
    with torch.no_grad():
        expected = model(x)
    with evaluating(model), Capture(find_layers(model), lambda *_: None):
        found = model(x)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_cells_called_step_by_step(tmp_path: Path) -> None:
    class Stepwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.GRUCell(WIDTH, 4), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            state = x.new_zeros(len(x), 4) + x[:, :1, 0]
            for step in range(2):
                state = self.cell(x[:, step], state)
            return self.head(state)

    done = extract(Stepwise(), (SEQUENCES, TARGETS), tmp_path / "a.h5")
    own = [f"cell.weight_{w}" for w in ("ih", "hh")]
    assert done.layers == (*own, *(f"{name}#2" for name in own), "head")


class ByHand(nn.Module):
    """A weight kept as (in, out), used from either side, and by parts."""

    def __init__(self, form: str) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.w, self.form = nn.Parameter(torch.randn(WIDTH, WIDTH)), form
        self.b, self.head = nn.Parameter(torch.randn(WIDTH)), nn.Linear(WIDTH, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = {
            "product": lambda: x @ self.w,
            "turned": lambda: x @ self.w.T,
            "mm": lambda: torch.mm(x, self.w),
            "addmm": lambda: torch.addmm(self.b, x, self.w),
            "linear": lambda: nn.functional.linear(x, self.w.T),
            "rows": lambda: nn.functional.pad(nn.functional.linear(x, self.w[2:5]), (0, 3)),
        }[self.form]()
        return self.head(h.relu())


@pytest.mark.parametrize("form", ["product", "turned", "mm", "addmm", "linear", "rows"])
def test_a_weight_is_stored_as_it_acts(tmp_path: Path, form: str) -> None:
    model = ByHand(form)
    extract(model, (SEQUENCES[:, 0], TARGETS), tmp_path / "a.h5")
    found = stored(tmp_path / "a.h5")
    w = model.w.detach().numpy()
    acts = {"turned": w, "rows": w[2:5]}.get(form, w.T)
    name = "w[2:5]" if form == "rows" else "w"
    assert list(found) == [name, "head"]
    np.testing.assert_array_equal(found[name][1], acts)


def test_projections_of_attention_between_two_inputs(tmp_path: Path) -> None:
    class Cross(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
            self.head = nn.Linear(WIDTH, 2)

        def forward(self, query: Tensor, context: Tensor) -> Tensor:
            return self.head(self.attention(query, context, context)[0][:, 0])

    data = ({"query": SEQUENCES[:, :2], "context": SEQUENCES}, TARGETS)
    extract(Cross(), data, tmp_path / "a.h5")
    found = stored(tmp_path / "a.h5")
    names = list(found)
    assert names[0] == f"attention.in_proj_weight[0:{WIDTH}]"
    assert names[-2:] == ["attention.out_proj", "head"]
    np.testing.assert_allclose(found[names[0]][0], SEQUENCES[:, :2].mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(found[names[1]][0], SEQUENCES.mean(axis=1), atol=1e-6)


def test_the_linear_layers_of_gpt2(tmp_path: Path) -> None:
    # Their import takes seconds, which only who runs this test has to spend.
    from transformers import GPT2Config, GPT2ForSequenceClassification

    config = GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=11, num_labels=2, pad_token_id=0)
    model = GPT2ForSequenceClassification(config)
    tokens = RNG.integers(1, 11, (N, STEPS))
    done = extract(model, (tokens, TARGETS), tmp_path / "a.h5")
    own = [f"transformer.h.0.{n}" for n in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")]
    assert done.layers == (*own, "score")
    assert report(tmp_path / "a.h5").layers[0].width == 8
    weight = stored(tmp_path / "a.h5")["transformer.h.0.attn.c_attn"][1]
    assert weight.shape == (24, 8)  # (out, in), though the network keeps (in, out)


# --- sequences: which positions count ----------------------------------------------------------


class Pooled(nn.Module):
    """Two layers over every position, then a head on their masked mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.head = nn.Linear(WIDTH, 8), nn.Linear(8, 7), nn.Linear(7, 2)

    def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        h = self.b(self.a(x).relu()).relu()
        weights = attention_mask[..., None].to(h.dtype)
        return self.head((h * weights).sum(1) / weights.sum(1))


LENGTHS = RNG.integers(1, STEPS + 1, N)
MASK = (np.arange(STEPS) < LENGTHS[:, None]).astype(np.int64)
MASKED = ({"x": SEQUENCES, "attention_mask": MASK}, TARGETS)


@pytest.mark.parametrize("pool", ["mean", "first", "last", "tokens"])
def test_positions_that_a_mask_leaves_out_do_not_count(tmp_path: Path, pool: Any) -> None:
    extract(Pooled(), MASKED, tmp_path / "a.h5", pool=pool, batch_size=7)
    found = stored(tmp_path / "a.h5")["a"][0]
    expected = {
        "mean": np.stack([s[:n].mean(axis=0) for s, n in zip(SEQUENCES, LENGTHS, strict=True)]),
        "first": SEQUENCES[:, 0],
        "last": SEQUENCES[np.arange(N), LENGTHS - 1],
        "tokens": SEQUENCES[MASK.astype(bool)],
    }[pool]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_tokens_are_samples_with_the_targets_of_their_sequence(tmp_path: Path) -> None:
    extract(Pooled(), MASKED, tmp_path / "a.h5", pool="tokens", dtype="float64", batch_size=7)
    layer = report(tmp_path / "a.h5").layers[0]
    rows, targets = SEQUENCES[MASK.astype(bool)].astype(float), np.repeat(TARGETS, LENGTHS, axis=0)
    h, y = rows - rows.mean(axis=0), targets - targets.mean(axis=0)
    cka = np.sum((h.T @ y) ** 2) / np.linalg.norm(h.T @ h) / np.linalg.norm(y.T @ y)
    assert layer.metrics.values["cka_full"] == pytest.approx(cka, rel=1e-9)
    fitted = h @ np.linalg.lstsq(h, y, rcond=1e-3)[0]
    assert layer.metrics.values["linear_mse"] == pytest.approx(np.mean((fitted - y) ** 2), rel=1e-9)
    assert report(tmp_path / "a.h5").n_samples == N


def test_the_excess_over_tokens_weighs_both_errors_alike(tmp_path: Path) -> None:
    """Tokens of a sequence are equal here, so that its own head is a prediction per token."""
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((N, 1, WIDTH)).astype(np.float32)
    x = np.repeat(rows, STEPS, axis=1)
    y = rows[:, 0] @ rng.standard_normal((WIDTH, 2)) * LENGTHS[:, None]
    h, targets = np.repeat(rows[:, 0], LENGTHS, axis=0), np.repeat(y, LENGTHS, axis=0)
    h = np.hstack([h, np.ones((len(h), 1))]).astype(float)
    best = np.linalg.lstsq(h, targets, rcond=None)[0]

    class Best(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(WIDTH, 2)
            self.head.weight.data = torch.from_numpy(best[:-1].T)
            self.head.bias.data = torch.from_numpy(best[-1])

        def forward(self, x: Tensor, attention_mask: Tensor) -> Tensor:
            weights = attention_mask[..., None].to(x.dtype)
            return (self.head(x) * weights).sum(1) / weights.sum(1)

    options: dict[str, Any] = {"pool": "tokens", "dtype": "float64"}
    data = {"x": x, "attention_mask": MASK}
    extract(Best(), (data, y), tmp_path / "a.h5", batch_size=7, **options)
    exact = np.mean((h @ best - targets) ** 2)
    for number, part in enumerate(({"limit": 15}, {"offset": 15})):
        extract(Best(), (data, y), tmp_path / f"part{number}.h5", **options, **part)  # type: ignore[arg-type]
    merge([tmp_path / "part0.h5", tmp_path / "part1.h5"], tmp_path / "merged.h5")
    for path in (tmp_path / "a.h5", tmp_path / "merged.h5"):
        found = report(path).layers[0].metrics.values
        assert found["linear_mse"] == pytest.approx(exact, rel=1e-9)
        assert found["excess"] == pytest.approx(0, abs=1e-12)
    by_sample = np.mean((h[np.cumsum(LENGTHS) - 1] @ best - y) ** 2)
    assert report(tmp_path / "a.h5").mse == pytest.approx(by_sample, rel=1e-9)
    assert abs(by_sample - exact) > 0.05 * targets.var(axis=0).mean()  # far more than NRC4 allows


def test_a_sample_without_positions(tmp_path: Path) -> None:
    mask = MASK.copy()
    mask[17] = 0
    data = ({"x": SEQUENCES, "attention_mask": mask}, TARGETS)
    with pytest.raises(InputError, match="the attention_mask of sample 17 counts no position"):
        extract(Pooled(), data, tmp_path / "a.h5", batch_size=4)


# --- several inputs -----------------------------------------------------------------------------


class Sum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right, self.head = nn.Linear(4, 8), nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return self.head((self.left(left) + self.right(right)).relu())


class TakesDict(Sum):
    def forward(self, batch: dict[str, Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(batch["left"], batch["right"])


X, Y = samples(50, 8, 2)
PARTS = {"left": X[:, :4], "right": X[:, 4:]}


class Samples(Dataset[Any]):
    def __init__(self, held: list[Any]) -> None:
        self.held = held

    def __len__(self) -> int:
        return len(self.held)

    def __getitem__(self, index: int) -> Any:
        return self.held[index]


def loaded(kind: str) -> Any:
    """Return data with two inputs, in one of the forms that people have it in."""
    left, right, y = (torch.from_numpy(a) for a in (*PARTS.values(), Y))
    rows = list(zip(left, right, y, strict=True))
    forms: dict[str, Any] = {
        "dict": (PARTS, Y),
        "tuple": (tuple(PARTS.values()), Y),
        "swapped": (dict(reversed(PARTS.items())), Y),
        "collated": DataLoader([((a, b), c) for a, b, c in rows], batch_size=9),  # type: ignore[arg-type]
        "labelled": DataLoader(
            [{"left": a, "right": b, "labels": c} for a, b, c in rows],  # type: ignore[arg-type]
            batch_size=9,
        ),
        "dataset": Samples([({"left": a, "right": b}, c) for a, b, c in rows]),
    }
    return forms[kind]


@pytest.mark.parametrize(
    "kind", ["dict", "tuple", "swapped", "collated", "labelled", "dataset", "a dict for the model"]
)
def test_two_inputs(tmp_path: Path, kind: str) -> None:
    model = TakesDict() if kind == "a dict for the model" else Sum()
    data = loaded("dict" if kind == "a dict for the model" else kind)
    extract(model, data, tmp_path / "a.h5")
    found = stored(tmp_path / "a.h5")
    assert list(found) == ["left", "right", "head"]
    np.testing.assert_array_equal(found["left"][0], PARTS["left"])
    np.testing.assert_array_equal(found["right"][0], PARTS["right"])


def test_two_inputs_in_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", left=X[:, :4], right=X[:, 4:], y=Y)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        for name, array in PARTS.items():
            file[f"train/{name}"] = array
        file["train/y"] = Y
    extract(Sum(), tmp_path / "d.npz", tmp_path / "a.h5", x_key="left,right")
    keys = {"x_key": "train/left,train/right", "y_key": "train/y"}
    extract(Sum(), tmp_path / "d.h5", tmp_path / "b.h5", **keys)  # type: ignore[arg-type]
    for path in (tmp_path / "a.h5", tmp_path / "b.h5"):
        np.testing.assert_array_equal(stored(path)["right"][0], PARTS["right"])
    with pytest.raises(
        UsageError, match=r"no array 'rihgt'; choose --x-key from left \(50, 4\), ri"
    ):
        extract(Sum(), tmp_path / "d.npz", tmp_path / "c.h5", x_key="left,rihgt")


def test_what_several_inputs_cannot_be(tmp_path: Path) -> None:
    short = {"left": X[:, :4], "right": X[:40, 4:]}
    with pytest.raises(InputError, match="40 inputs but 50 targets"):
        extract(Sum(), (short, Y), tmp_path / "a.h5")
    with pytest.raises(UsageError, match="--standardize x: .* has several inputs; put them on"):
        extract(Sum(), (PARTS, Y), tmp_path / "a.h5", standardize=["x"])
    broken = {"left": X[:, :4], "right": np.where(X[:, 4:] > 2, np.nan, X[:, 4:])}
    with pytest.raises(InputError, match="the inputs right hold NaN, first in sample"):
        extract(Sum(), (broken, Y), tmp_path / "a.h5")
    with pytest.raises(
        InputError,
        match="samples of left .4,. and right .3,.: 3 features per sample, right takes 4; check",
    ):
        extract(Sum(), ({"left": X[:, :4], "right": X[:, :3]}, Y), tmp_path / "a.h5")
    with pytest.raises(InputError, match="a batch is a dict of left and right; give a pair of in"):
        extract(Sum(), [PARTS], tmp_path / "a.h5")
    single = torch.tensor(1.0)
    for batch, what in [
        ((tuple(torch.from_numpy(p) for p in PARTS.values()), single), "the targets"),
        (({"left": single, "right": torch.ones(3, 4)}, torch.ones(3, 2)), "the inputs left"),
    ]:
        with pytest.raises(InputError, match=f"{what} of a batch are a single number; give an"):
            extract(Sum(), [batch], tmp_path / "a.h5")
    with pytest.raises(InputError, match="a sample has no inputs"):
        extract(Sum(), ({}, Y), tmp_path / "a.h5")


def test_standardising_the_targets_leaves_several_inputs_alone(tmp_path: Path) -> None:
    data = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    model = nn.Linear(8, 2)
    extract(model, data, tmp_path / "a.h5", standardize=["y"])
    extract(Sum(), (PARTS, Y), tmp_path / "b.h5", standardize=["y"])
    with h5py.File(tmp_path / "a.h5") as a, h5py.File(tmp_path / "b.h5") as b:
        np.testing.assert_allclose(a["targets/covariance"], b["targets/covariance"], rtol=1e-12)
