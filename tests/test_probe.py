"""What a few samples tell of a network: where samples are, whose predictions are, what runs."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import mlp, samples
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    Independent,
    Normal,
    TransformedDistribution,
)
from torch.distributions.transforms import TanhTransform
from torch.nn.functional import dropout, linear
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from nrcscan import InputError, extract, report
from nrcscan.network.features_from_tensor import LAYOUTS, Layout

pytestmark = pytest.mark.numerical

N = 40
X, Y = samples(N, 5, 2)


def stored(path: Path) -> dict[str, NDArray[Any]]:
    """Return the features of each layer."""
    with h5py.File(path) as file:
        return {
            group.attrs["name"].decode(): file[f"positions/{group.attrs['position']:04d}"][
                "activations"
            ][()]
            for group in file["layers"].values()
        }


# --- where the samples are ----------------------------------------------------------------------


class LaidOut(nn.Module):
    """A layer that reads sequences (N, T, d) laid out in some way."""

    def __init__(self, layout: Layout, width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layout, self.a, self.head = layout, nn.Linear(width, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        n = len(x)
        if self.layout in ("columns", "flat columns"):
            x = x.transpose(0, 1)
        if self.layout.startswith("flat"):
            x = x.reshape(-1, x.shape[-1])
        h = self.a(x).relu()
        if self.layout == "flat rows":
            h = h.unflatten(0, (n, -1))
        elif self.layout == "flat columns":
            h = h.unflatten(0, (-1, n))
        return self.head(h.mean(0 if "columns" in self.layout else 1))


@settings(max_examples=30)
@given(
    layout=st.sampled_from(LAYOUTS),
    steps=st.integers(1, 6),
    width=st.integers(1, 6),
    n=st.integers(2, 9),
    same=st.integers(0, 9),
    kind=st.sampled_from(["float", "zero", "ids"]),
)
def test_samples_are_found_or_the_layer_is_named(
    layout: Layout, steps: int, width: int, n: int, same: int, kind: str, tmp_path_factory: Any
) -> None:
    path = tmp_path_factory.mktemp("layouts") / "a.h5"
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, steps, width)).astype(np.float32)
    if kind == "ids":
        x = np.round(x).astype(np.int64)
    x[:same] = 0 if kind == "zero" else x[0]
    notes: list[str] = []
    with suppress(InputError):  # where every layer is left out
        data = x, rng.standard_normal((n, 2))
        extract(LaidOut(layout, width), data, path, on_note=notes.append)
    found = stored(path) if path.exists() else {}
    if "a" in found:
        np.testing.assert_allclose(found["a"], x.mean(axis=1), atol=1e-6)
    else:
        assert any(note.startswith("a is left out: what reaches it") for note in notes)
        assert (x == x[0]).all()  # nothing to tell samples by


@pytest.mark.parametrize("layout", LAYOUTS)
def test_samples_that_begin_alike(tmp_path: Path, layout: Layout) -> None:
    """The first batch is all zeros, as padded starts are; T is the number of probed samples."""
    x = np.random.default_rng(0).standard_normal((600, 4, 5)).astype(np.float32)
    x[:300] = 0
    y = x.sum(axis=(1, 2))[:, None]
    extract(LaidOut(layout, 5), (x, y @ np.ones((1, 2))), tmp_path / "a.h5", batch_size=256)
    np.testing.assert_allclose(stored(tmp_path / "a.h5")["a"], x.mean(axis=1), atol=1e-6)


def test_a_layer_that_no_sample_reaches_differently(tmp_path: Path) -> None:
    class Dead(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dead, self.live = nn.Linear(5, 2), nn.Linear(5, 2)

        def forward(self, x: Tensor) -> Tensor:
            steps = x[:, None].expand(-1, 3, -1).reshape(-1, 5) * 0
            return self.live(x) + self.dead(steps).reshape(len(x), 3, 2).mean(1)

    done = extract(Dead(), (X, Y), tmp_path / "a.h5")
    assert done.layers == ("live",)
    assert done.notes == (
        "dead is left out: what reaches it has shape (12, 5), the same for every sample, so that"
        " their axis cannot be told",
    )


# --- whose prediction it is ---------------------------------------------------------------------


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(5, 8), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Any:
        return self.b(self.between(self.a(x).relu()))

    def between(self, h: Tensor) -> Tensor:
        return h


class Drops(Head):
    def between(self, h: Tensor) -> Tensor:
        return dropout(h, 0.3, training=True)


class Samples(Head):
    def between(self, h: Tensor) -> Tensor:
        return h + np.random.standard_normal() * torch.randn_like(h) + random.random()


class OwnStatistics(Head):
    def between(self, h: Tensor) -> Tensor:
        return (h - h.mean(0)) / (h.std(0) + 1)


class OverTheBatch(Head):
    def between(self, h: Tensor) -> Tensor:
        return torch.softmax(h @ h.T, 1) @ h


class NormWithoutStatistics(Head):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(8, track_running_stats=False)

    def between(self, h: Tensor) -> Tensor:
        return self.norm(h)


class StepsFirst(Head):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(8, 8)

    def between(self, h: Tensor) -> Tensor:
        return self.rnn(h)[0]


class Keeps(Head):
    before: Tensor | float = 0.0

    def between(self, h: Tensor) -> Tensor:
        self.before = h + self.before
        return self.before


class SecondAxis(Head):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :1].expand(-1, len(x)).T.contiguous()


RANDOM = "the predictions are random: the same samples, run twice, give others; have dropout"
MIXES = "the network mixes samples: the prediction for one changes with the others in its batch"


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Drops, RANDOM),
        (Samples, RANDOM),
        (OwnStatistics, MIXES),
        (OverTheBatch, f"{MIXES}, first in what reaches b; normalise"),
        (NormWithoutStatistics, rf"{MIXES}, by whose statistics norm \(BatchNorm1d\) normalises;"),
        (StepsFirst, rf"{MIXES}: rnn \(LSTM\) takes samples for steps; have it take the samples"),
        (Keeps, "the network keeps something from one call to the next: the same samples, run"),
        (SecondAxis, r"the predictions, of shape \(4, 4\), have the samples on the second axis; "),
    ],
)
def test_a_prediction_that_is_not_the_samples_alone(
    tmp_path: Path, network: type[nn.Module], message: str
) -> None:
    model = network()
    seeds = torch.get_rng_state(), np.random.get_state(legacy=False), random.getstate()
    with pytest.raises(InputError, match=message):
        extract(model, (X, Y), tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []
    if network is OwnStatistics:  # which draws nothing itself
        assert torch.equal(torch.get_rng_state(), seeds[0])
        np.testing.assert_equal(np.random.get_state(legacy=False), seeds[1])
        assert random.getstate() == seeds[2]


class BesideTheWay(Head):
    """A branch that is random, or of the whole batch, and that predictions do not depend on."""

    def __init__(self, of: str) -> None:
        super().__init__()
        self.of, self.side = of, nn.Linear(8, 2)

    def between(self, h: Tensor) -> Tensor:
        self.side(torch.randn_like(h) if self.of == "noise" else h - h.mean(0))
        return h


@pytest.mark.parametrize(
    ("of", "why"),
    [
        ("noise", "is random: the same samples, run twice, give other features"),
        ("batch", "changes with the other samples in a batch: the network mixes samples"),
    ],
)
def test_features_that_are_not_the_samples_alone(tmp_path: Path, of: str, why: str) -> None:
    done = extract(BesideTheWay(of), (X, Y), tmp_path / "a.h5")
    assert done.layers == ("a", "b")
    assert done.notes == (f"side is left out: what reaches it {why}",)


# --- distributions ------------------------------------------------------------------------------


class Returns(Head):
    def __init__(self, what: Any) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Any:
        return self.what(super().forward(x))


@pytest.mark.parametrize(
    ("what", "note"),
    [
        (lambda h: Normal(h, 1.0), "the network returns a Normal distribution, whose mean is the"),
        (lambda h: Independent(Normal(h, 1.0), 1), "an Independent distribution, whose mean is"),
        (
            lambda h: {"value": h[:, 0], "pi": Normal(h, 1.0)},
            None,
        ),
        (
            lambda h: {"log_std": h * 0, "mean": h},
            "returns a dict with log_std and mean, of which mean is the prediction; --output-key",
        ),
        (lambda h: (h, h * 0), "returns a tuple with 0 and 1, of which 0 is the prediction; --ou"),
        (lambda h: (h, h.sum()), ""),
    ],
)
def test_a_distribution_predicts_its_mean(tmp_path: Path, what: Any, note: str | None) -> None:
    expected = extract(Head(), (X, Y), tmp_path / "a.h5").r2
    options: dict[str, Any] = {"output_key": "pi"} if note is None else {}
    done = extract(Returns(what), (X, Y), tmp_path / "b.h5", **options)
    assert done.r2 == expected
    assert (note in done.notes[0]) if note else done.notes == ()


@pytest.mark.parametrize(
    "what",
    [
        lambda h: TransformedDistribution(Normal(h, 1.0), [TanhTransform()]),
        lambda h: Categorical(logits=h),
    ],
)
def test_a_distribution_without_a_mean(tmp_path: Path, what: Any) -> None:
    with pytest.raises(InputError, match="distribution, which has no mean; wrap it in a factory"):
        extract(Returns(what), (X, Y), tmp_path / "a.h5")


# --- what is no layer, and what is one all the same ---------------------------------------------

LENGTHS = 1 + np.arange(N) % 4
SEQUENCES = np.random.default_rng(1).standard_normal((N, 4, 5)).astype(np.float32)


class Packed(nn.Module):
    def __init__(self, cell: Any, *, head: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.project = cell(6, 4, batch_first=True), nn.Linear(5, 6)
        self.head = nn.Linear(4, 2) if head else None

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        if self.head is not None:
            packed = PackedSequence(self.project(packed.data), *packed[1:])
        last = self.rnn(packed)[1]
        last = (last[0] if isinstance(last, tuple) else last)[-1]
        return last[:, :2] if self.head is None else self.head(last)


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("lengths", [LENGTHS, np.full(N, 3)])
def test_a_packed_sequence_is_named(tmp_path: Path, cell: Any, lengths: NDArray[Any]) -> None:
    data = ({"x": SEQUENCES, "lengths": lengths}, Y)
    done = extract(Packed(cell), data, tmp_path / "a.h5")
    assert done.layers == ("head",)
    assert done.notes == (
        f"rnn ({cell.__name__}) reads a packed sequence, which is not measured",
        "project reads a packed sequence, which is not measured",
    )
    model = Packed(cell, head=False)
    model.rnn = cell(5, 4, batch_first=True)
    del model.project
    with pytest.raises(InputError, match="no layer can be measured: rnn .* reads a packed seq"):
        extract(model, data, tmp_path / "b.h5")


class Products(nn.Module):
    """A weight (out, in) of its own that multiplies as someone wrote it."""

    def __init__(self, how: Any, *shape: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how, self.w, self.head = how, nn.Parameter(torch.randn(*shape)), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.how(x, self.w).relu())


@pytest.mark.parametrize(
    ("how", "shape"),
    [
        (lambda x, w: torch.einsum("bi,oi->bo", x, w), (8, 5)),
        (lambda x, w: torch.einsum("oi, bi -> bo", w, x), (8, 5)),
        (lambda x, w: torch.einsum("io,...i->...o", w, x), (5, 8)),
        (lambda x, w: torch.tensordot(x, w, dims=([1], [1])), (8, 5)),
        (lambda x, w: (w @ x.T).T, (8, 5)),
        (lambda x, w: x @ w, (5, 8)),
        (linear, (8, 5)),
        (lambda x, w: linear(x, w.view(8, 5)), (8, 5, 1)),
    ],
)
def test_a_weight_however_it_multiplies(tmp_path: Path, how: Any, shape: tuple[int, ...]) -> None:
    model = Products(how, *shape)
    done = extract(model, (X, Y), tmp_path / "a.h5")
    assert done.layers == ("w", "head")
    assert done.notes == ()
    plain = nn.Sequential(nn.Linear(5, 8, bias=False), nn.ReLU(), model.head)
    weight = model.w.detach()
    plain[0].weight.data = weight.T if shape == (5, 8) else weight.reshape(8, 5)
    extract(plain, (X, Y), tmp_path / "b.h5")
    for ours, theirs in zip(
        report(tmp_path / "a.h5").layers, report(tmp_path / "b.h5").layers, strict=True
    ):
        assert ours.metrics.values == pytest.approx(theirs.metrics.values, rel=1e-4, abs=1e-6)


def test_a_weight_that_sums_over_two_axes(tmp_path: Path) -> None:
    """As a layer of Chebyshev polynomials does: its features are those of every input."""

    def chebyshev(x: Tensor, w: Tensor) -> Tensor:
        polynomials = torch.stack([torch.ones_like(x), x, 2 * x**2 - 1], -1)
        return torch.einsum("bid,iod->bo", polynomials, w)

    extract(Products(chebyshev, 5, 8, 3), (X, Y), tmp_path / "a.h5")
    expected = np.stack([np.ones_like(X), X, 2 * X**2 - 1], -1).reshape(N, 15)
    np.testing.assert_allclose(stored(tmp_path / "a.h5")["w"], expected, rtol=1e-6)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["layers/0000/weight"].shape == (8, 15)


@pytest.mark.parametrize(
    ("how", "shape", "use"),
    [
        (lambda x, w: (x[:, None] * w).sum(-1), (8, 5), "mul"),
        (lambda x, w: torch.einsum("bi,hoi->bho", x, w).amax(1), (3, 8, 5), None),
        (
            lambda x, w: torch.einsum("bhi,hoi->bho", x[:, None].expand(-1, 3, -1), w).sum(1),
            (3, 8, 5),
            "einsum 'bhi,hoi->bho'",
        ),
        (lambda x, w: nn.functional.bilinear(x, x, w), (8, 5, 5), "bilinear"),
    ],
)
def test_a_weight_that_is_no_layers_is_named(
    tmp_path: Path, how: Any, shape: tuple[int, ...], use: str | None
) -> None:
    done = extract(Products(how, *shape), (X, Y), tmp_path / "a.h5")
    if use is None:  # three heads side by side are one matrix
        assert done.layers == ("w", "head")
        return
    assert done.layers == ("head",)
    assert done.notes == (
        "not Linear, convolution or recurrent layers, so not measured: w (Products, used in"
        f" {use})",
    )


# --- data that does not fit ---------------------------------------------------------------------


class Embeds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(30, 8), nn.Linear(8, 2)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embed(ids).mean(1))


class Rnn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.LSTM(6, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])


def trunk(width: int) -> nn.Module:
    return nn.Sequential(nn.ModuleDict({"trunk": mlp(width, 8, 2)})["trunk"])


IDS = np.random.default_rng(2).integers(0, 30, (N, 4))
IDS[7, 2] = 31
IMAGES = np.zeros((N, 6, 7, 3), np.float32)


@pytest.mark.parametrize(
    ("model", "x", "message"),
    [
        (
            trunk(17),
            np.ones((N, 18), np.float32),
            "(18,): 18 features per sample, 0.0 takes 17; ch",
        ),
        (
            mlp(5, 8, 2),
            np.ones((N, 4, 6), np.float32),
            "(4, 6): 6 features per position, 0 takes 5",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(80, 2)),
            IMAGES.transpose(0, 3, 1, 2)[:, :1],
            "(1, 6, 7): 1 channel, 0 takes 3; check that data",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(80, 2)),
            IMAGES,
            "(6, 7, 3): 6 channels, 0 takes 3: the channels come last, in samples of shape (6, 7,"
            " 3); put them first, (3, height, width), as np.moveaxis",
        ),
        (
            nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(80, 2)),
            IMAGES[..., 0],
            "(6, 7): a sample of shape (6, 7) reaches 0, which takes (1, height, width); give the",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 4, 7), nn.Flatten(), nn.Linear(80, 2)),
            IMAGES.transpose(0, 3, 1, 2),
            "(3, 6, 7): a sample of shape (3, 6, 7) is smaller than the kernel of 0, (7, 7); check",
        ),
        (
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(81, 2)),
            IMAGES.transpose(0, 3, 1, 2),
            "(3, 6, 7): 80 features per sample, 2 takes 81; check that data",
        ),
        (mlp(1, 8, 2), X[:, 0], "(): a single number per sample reaches 0, which takes 1 feature;"),
        (
            nn.Sequential(nn.BatchNorm1d(3), nn.Flatten(), nn.Linear(6, 2)),
            IMAGES[:, 0, :2],
            "(2, 3): 2 channels, 0 takes 3: the channels come last, in samples of shape (2, 3); put"
            " them first, (3, steps), as np.moveaxis",
        ),
        (
            nn.Sequential(nn.BatchNorm2d(5), nn.Linear(5, 2)),
            X,
            "(5,): a sample of shape (5,) reaches 0, which takes (5, height, width); give the data",
        ),
        (Rnn(), np.ones((N, 4, 5), np.float32), "(4, 5): 5 features per step, rnn takes 6; check"),
        (nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 2)), X, "(5,): 5 features per sample, 0 take"),
        (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 2)), X, "(5,): 5 features per sample, 0 ta"),
        (Embeds(), IDS, "(4,): token id 31 where embed has 30 rows, 0 to 29; take the tokeniser"),
        (
            Embeds(),
            IDS + 0.5,
            "(4,): embed takes token ids, which are whole numbers, and the inputs have a fraction",
        ),
        (Products(linear, 8, 6), X, "(5,): 5 features per sample, w takes 6; check that data and"),
        (Products(lambda x, w: x.view(3, 7), 8, 6), X, "(5,): shape '[3, 7]' is invalid for input"),
        (Rnn(), (X, X), "(5,): its forward takes x, the data gives 2 inputs; name its inputs with"),
        (
            Packed(nn.GRU),
            SEQUENCES,
            "(4, 5): its forward takes x and lengths, the data gives 1 inp",
        ),
    ],
)
def test_shapes_are_those_of_one_sample(
    tmp_path: Path, model: nn.Module, x: Any, message: str
) -> None:
    with pytest.raises(InputError) as error:
        extract(model, (x, Y), tmp_path / "a.h5")
    said = str(error.value)
    assert said.startswith("the network does not take samples of ")
    assert message in said.replace("samples of 1 (5,) and 2 (5,)", "(5,)")
    assert "\n" not in said
    assert list(tmp_path.iterdir()) == []
