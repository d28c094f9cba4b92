"""What a network loses when it ends early: against networks that really end there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import FIXTURES
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tolerances import EXACT, features
from torch import nn

from nrcscan import Cuts, InputError, UsageError, cut, extract
from nrcscan.cutting.conclusion import Effect, effect
from nrcscan.cutting.cuts import Cut, Estimate
from nrcscan.cutting.linear_head import LinearHead
from nrcscan.cutting.ridge_by_blocks import block_errors, by_blocks, chosen_ridge, ridges
from nrcscan.metrics.directions import spectrum
from nrcscan.statistics.moments import Moments
from nrcscan.verdict.answers import Answer

Matrix = NDArray[np.float64]
SWIMMER, REACHER, PENDULUM = (FIXTURES / name for name in ("swimmer", "reacher", "pendulum"))
PRECISE = 2.0**-52, 2.0**-52
TRAINED = [f"swimmer/{decay}/epoch_600.pt" for decay in ("wd0", "wd0.01")] + [
    f"reacher/{decay}/epoch_600.pt" for decay in ("wd0", "wd0.002")
]

REFERENCES = ["parity/swimmer_collapsed", "parity/swimmer_uncollapsed"]


def halves(folder: Path, model: Path, data: Path, **options: Any) -> tuple[Path, Path]:
    """Return the files of the first 500 samples and of the others, in float64."""
    files = folder / "train.h5", folder / "test.h5"
    for file, rows in zip(files, ({"limit": 500}, {"offset": 500}), strict=True):
        extract(model, data, file, dtype="float64", **{"activation": "relu"} | rows | options)
    return files


def of_fixture(name: str) -> Path:
    return FIXTURES / name.split("/")[0] / "data.npz"


@pytest.fixture(scope="module")
def swimmer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    model = "swimmer/wd0.01/epoch_600.pt"
    return halves(tmp_path_factory.mktemp("cut"), FIXTURES / model, of_fixture(model))


@pytest.fixture(scope="module")
def found(swimmer: tuple[Path, Path]) -> Cuts:
    return cut(*swimmer)


def ridge_error(h: Matrix, y: Matrix, others: tuple[Matrix, Matrix], ridge: float) -> float:
    """Return the error on others of a ridge regression, by a least-squares solver on rows."""
    at, y_at = h.mean(axis=0), y.mean(axis=0)
    centred = h - at
    raised = np.sqrt(ridge * len(h)) * np.linalg.norm(centred, 2) / np.sqrt(len(h))
    rows = np.vstack([centred, raised * np.eye(h.shape[1])])
    right = np.vstack([y - y_at, np.zeros((h.shape[1], y.shape[1]))])
    slopes = np.linalg.lstsq(rows, right, rcond=1e-3 if ridge == 0 else None)[0]
    return float(((others[1] - y_at - (others[0] - at) @ slopes) ** 2).mean())


@pytest.mark.numerical
@pytest.mark.parametrize(
    "name", [*TRAINED, "parity/swimmer_collapsed", "parity/swimmer_uncollapsed"]
)
def test_what_is_predicted_is_what_a_network_that_ends_there_does(
    name: str, tmp_path: Path
) -> None:
    parity = name.startswith("parity")
    model = FIXTURES / name / "model.pth" if parity else FIXTURES / name
    data = FIXTURES / name / "data.npz" if parity else of_fixture(name)
    state = torch.load(model, weights_only=True)["model"]
    weights = [state[f"layers.{2 * i}.weight"].double().numpy() for i in range(8)]
    with np.load(data) as arrays:
        x, y = arrays["X"].astype(np.float64), arrays["y"].astype(np.float64)
    *reached, output = features(weights, x, None)
    cuts = cut(*halves(tmp_path, model, data))
    for one, h in zip(cuts.cuts, reached, strict=True):
        assert one.head is not None
        for rows, predicted in ((slice(0, 500), one.train), (slice(500, None), one.held_out)):
            assert predicted is not None
            own = ((y[rows] - one.head.predictions(h[rows])) ** 2).mean()
            assert predicted.value == pytest.approx(own, rel=EXACT)
        direct = ridge_error(h[:500], y[:500], (h[500:], y[500:]), one.head.ridge)
        assert one.held_out is not None
        assert one.held_out.value == pytest.approx(direct, rel=1e-6)
    own = ((y[500:] - output[500:]) ** 2).mean()
    assert cuts.own_held_out is not None
    assert cuts.own_held_out.value == pytest.approx(own, rel=EXACT)


def test_convolutions_are_cut_by_their_pooling(tmp_path: Path) -> None:
    factory = {"factory": f"{PENDULUM / 'network.py'}:build", "activation": None}
    files = halves(tmp_path, PENDULUM / "model.safetensors", PENDULUM / "data.npz", **factory)
    cuts = cut(*files)
    whole = [one for one in cuts.cuts if one.refused is None]
    assert len(whole) > 2
    with h5py.File(files[1]) as file:
        y = file["targets/values"][:].astype(np.float64)
        for one in whole:
            h = file[f"positions/{one.position:04d}/activations"][:].astype(np.float64)
            assert one.head is not None
            assert one.held_out is not None
            own = ((y - one.head.predictions(h)) ** 2).mean()
            assert one.held_out.value == pytest.approx(own, rel=EXACT)


# --- the ridge ------------------------------------------------------------------------------


def test_held_out_samples_choose_nothing(swimmer: tuple[Path, Path], tmp_path: Path) -> None:
    model = SWIMMER / "wd0.01/epoch_600.pt"
    with np.load(SWIMMER / "data.npz") as arrays:
        x, y = arrays["X"][500:], arrays["y"][500:]
    other = tmp_path / "shuffled.h5"
    extract(model, (x, y[::-1].copy()), other, dtype="float64", activation="relu")
    pairs = zip(cut(*swimmer).cuts, cut(swimmer[0], other).cuts, strict=True)
    for ours, theirs in pairs:
        assert ours.head is not None
        assert theirs.head is not None
        assert ours.head.ridge == theirs.head.ridge
        assert (ours.head.weight == theirs.head.weight).all()
        assert ours.train == theirs.train
        assert ours.held_out != theirs.held_out


def samples(seed: int, n: int, d: int, noise: float, offset: float = 0.0) -> tuple[Matrix, Matrix]:
    rng = np.random.default_rng(seed)
    h = rng.standard_normal((n, d)) * np.logspace(0, -3, d) + offset
    y = h @ (rng.standard_normal((d, 2)) / np.logspace(0, -3, d)[:, None])
    return h, y / y.std(axis=0) + noise * rng.standard_normal((n, 2))


def piecewise(rows: Matrix, size: int) -> Iterator[Matrix]:
    return iter([rows[start : start + size] for start in range(0, len(rows), size)])


@pytest.mark.parametrize("noise", [0.05, 1.0, 30.0])
def test_the_ridge_is_the_best_on_folds_it_has_not_seen(noise: float) -> None:
    h, y = samples(0, 120, 30, noise)
    blocks = np.full(10, 12.0)
    top = float(np.linalg.eigvalsh(np.cov(h.T, bias=True))[-1])
    ridge = chosen_ridge(lambda: piecewise(h, 50), lambda: piecewise(y, 32), blocks, top, PRECISE)
    tried = {}
    for share in ridges(1e-16).tolist():
        folds = []
        for fold in range(5):
            inside = np.zeros(120, bool)
            inside[24 * fold : 24 * (fold + 1)] = True
            raised = share * top
            x, z = h[~inside], y[~inside]
            own = float(np.linalg.eigvalsh(np.cov(x.T, bias=True))[-1])
            folds.append(ridge_error(x, z, (h[inside], y[inside]), raised / own))
        tried[share] = float(np.mean(folds))
    assert ridge.squared_error.shape == (10, 2)
    assert ridge.squared_error.mean() == pytest.approx(tried[ridge.share], rel=1e-6)
    assert tried[ridge.share] <= min(tried.values()) * (1 + 1e-6)


def test_noise_asks_for_more_ridge() -> None:
    shares = []
    for noise in (0.01, 1.0, 30.0):
        h, y = samples(1, 120, 30, noise)
        top = float(np.linalg.eigvalsh(np.cov(h.T, bias=True))[-1])
        blocks = np.full(10, 12.0)
        shares.append(chosen_ridge(lambda h=h: [h], lambda y=y: [y], blocks, top, PRECISE).share)  # type: ignore[misc]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1]


def test_no_ridge_is_tried_below_the_rounding_of_the_features() -> None:
    assert ridges(2.0**-52)[1] == pytest.approx(1e-10)
    assert ridges(2.0**-8)[1] >= (8 * 2.0**-8) ** 2
    assert ridges(2.0**-8)[0] == 0


@settings(max_examples=30)
@given(
    st.lists(st.integers(1, 9), min_size=5, max_size=12),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_blocks_are_the_same_however_rows_come(sizes: list[int], one: int, other: int) -> None:
    n = sum(sizes)
    h = np.arange(2.0 * n).reshape(n, 2)
    y = h[:, :1] + 0.5
    parts: dict[int, list[Matrix]] = {}
    for block, x, z in by_blocks(piecewise(h, one), piecewise(y, other), np.array(sizes, float)):
        assert (z == x[:, :1] + 0.5).all()
        parts.setdefault(block, []).append(x)
    expected = np.split(h, np.cumsum(sizes)[:-1])
    assert [np.vstack(parts[block]).tolist() for block in range(len(sizes))] == [
        block.tolist() for block in expected
    ]


@pytest.mark.numerical
@settings(max_examples=40)
@given(
    st.integers(0, 1000),
    st.sampled_from([0.0, 1e-8, 1e-4, 1e-1]),
    st.sampled_from([0.0, 1e3, 1e6]),
)
def test_an_error_follows_from_statistics_alone(seed: int, ridge: float, offset: float) -> None:
    h, y = samples(seed, 60, 6, 0.3, offset)
    both = []
    for rows in (slice(0, 40), slice(40, None)):
        moments = Moments(6, 2)
        moments.update(h[rows], y[rows])
        both.append(moments.statistics())
    head = LinearHead.fitted(both[0], spectrum(both[0].feature_covariance), ridge)
    direct = ((y[40:] - head.predictions(h[40:])) ** 2).mean(axis=0)
    # Means themselves are rounded, which moves predictions by δ and errors by 2 δ √MSE + δ².
    moved = 4 * 2.0**-53 * (offset * np.abs(head.weight).sum() + np.abs(y.mean(axis=0)).max())
    off = 2 * moved * np.sqrt(direct.max()) + moved**2
    assert head.squared_error(both[1]) == pytest.approx(direct, rel=EXACT, abs=off)
    by_block = block_errors(head, [h[40:]], [y[40:]], np.array([10.0, 10.0]))
    assert by_block.mean(axis=0) == pytest.approx(direct, rel=1e-12)
    whole = head.bias + h[0] @ head.weight.T
    assert whole == pytest.approx(head.predictions(h[:1])[0], rel=EXACT, abs=EXACT + moved)


def test_what_float64_holds_in_few_digits_predicts_nothing() -> None:
    h, y = samples(5, 60, 4, 0.1)
    moments = Moments(4, 2)
    moments.update(1e-160 * h, y)
    statistics = moments.statistics()
    head = LinearHead.fitted(statistics, spectrum(statistics.feature_covariance), 1e-6)
    assert not head.weight.any()
    assert head.squared_error(statistics) == pytest.approx(y.var(axis=0), rel=EXACT)


# --- what is said ----------------------------------------------------------------------------


def test_a_cut_that_does_better_is_named_with_what_it_is_compared_with(found: Cuts) -> None:
    best = next(one for one in found.cuts if one.layer == "layers.4")
    assert found.own_held_out is not None
    assert best.held_out is not None
    assert best.held_out.value < 0.25 * found.own_held_out.value
    assert found.text.startswith("THE LAST 6 LAYERS COST ACCURACY: a linear head on what reaches")
    assert "Of them, the last 5 have collapsed, from layers.6 on." in found.text
    assert all(one.held_out is not None and one.held_out.standard_error for one in found.cuts)


def test_a_network_that_has_not_collapsed_needs_its_layers(tmp_path: Path) -> None:
    model = "swimmer/wd0/epoch_600.pt"
    files = halves(tmp_path, FIXTURES / model, of_fixture(model))
    found, loose = cut(*files), cut(*files, within=1.0)
    assert found.cuts[0].answer is Answer.NOT_MET
    met = [{one.layer for one in c.cuts if one.answer is Answer.MET} for c in (found, loose)]
    assert met[0] < met[1]
    assert (found.within, loose.within) == (0.05, 1.0)
    with pytest.raises(UsageError, match=r"within.*-0\.1"):
        cut(*files, within=-0.1)
    assert "collapsed" not in found.text
    assert all(one.change is not None and one.change.value > 0 for one in found.cuts[:3])


def test_a_better_fit_of_the_last_layer_is_no_fault_of_those_before(tmp_path: Path) -> None:
    factory = {"factory": f"{PENDULUM / 'network.py'}:build", "activation": None}
    data = PENDULUM / "data.npz"
    found = cut(*halves(tmp_path, PENDULUM / "model.safetensors", data, **factory))
    hidden, last = found.cuts[-2:]
    assert last.against_refitted is None
    assert hidden.change is not None
    assert hidden.against_refitted is not None
    assert hidden.held_out is not None
    assert last.held_out is not None
    assert hidden.change.value < -0.2
    assert hidden.against_refitted.value == hidden.held_out.value / last.held_out.value - 1 > 0.05
    assert found.text.startswith("THE LAST 2 LAYERS HELP: a linear head on what reaches hidden")


def test_from_one_file_each_block_is_judged_by_a_fit_without_it(swimmer: tuple[Path, Path]) -> None:
    alone = cut(swimmer[0])
    assert alone.test is None
    assert alone.n_test == alone.n_train == 500
    for one in alone.cuts:
        assert one.held_out == one.cross_validated
        assert one.held_out is not None
        assert one.train is not None
        assert one.held_out.value > one.train.value
    assert any("may have been trained on" in note for note in alone.notes)


def test_without_features_heads_are_least_squares(tmp_path: Path) -> None:
    model = "swimmer/wd0.01/epoch_600.pt"
    files = halves(tmp_path, FIXTURES / model, of_fixture(model), activations=False)
    found = cut(*files)
    assert {one.head.ridge for one in found.cuts if one.head is not None} == {0.0}
    assert [note.split(":")[0] for note in found.notes] == [
        "heads are fitted by least squares",
        "the errors of cuts have no error bars",
    ]
    alone = cut(files[0])
    assert all(one.held_out is not None and one.held_out.standard_error for one in alone.cuts)


@pytest.mark.parametrize(
    ("change", "error", "expected"),
    [
        (-0.5, 0.1, Effect.COST),
        (-0.5, 0.3, Effect.UNDECIDED),
        (0.5, 0.1, Effect.HELP),
        (0.01, 0.01, Effect.NEITHER),
        (0.01, 0.02, Effect.UNDECIDED),
        (0.04, None, Effect.NEITHER),
    ],
)
def test_no_more_is_concluded_than_is_sure(
    change: float, error: float | None, expected: Effect
) -> None:
    assert effect(Estimate(change, error), 0.05) is expected


# --- what is refused -------------------------------------------------------------------------


def cuts_of_network(
    folder: Path, network: nn.Module, x: Matrix, y: Matrix, **options: Any
) -> dict[str, Cut]:
    extract(network, (x.astype(np.float32), y), folder / "acts.h5", **options)
    return {one.layer: one for one in cut(folder / "acts.h5").cuts}


def test_what_cannot_be_cut_says_why(tmp_path: Path) -> None:
    x, y = samples(3, 80, 6, 0.1)
    network = nn.Sequential(nn.Linear(6, 40), nn.ReLU(), nn.Linear(40, 2))
    sketched = cuts_of_network(tmp_path, network, x, y, sketch=8)
    assert {one.refused for one in sketched.values()} == {
        "only a sketch of its features' covariance is kept; measure without --sketch"
    }
    assert all(one.head is None and one.answer is Answer.NOT_JUDGED for one in sketched.values())


def test_tokens_are_no_samples_to_cut_by(tmp_path: Path) -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.out = nn.Linear(4, 12), nn.Linear(12, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.inner(x).relu()).mean(dim=1)

    x = np.random.default_rng(0).standard_normal((80, 5, 4))
    y = x.mean(axis=1)[:, :2]
    every = cuts_of_network(tmp_path, Tokens(), x, y, pool="tokens", force=True)
    assert {one.refused for one in every.values()} == {
        "every token counts as a sample here; measure with another --pool"
    }
    mean = cuts_of_network(tmp_path, Tokens(), x, y, pool="mean", force=True)
    assert all(one.refused is None for one in mean.values())


def test_two_networks_are_no_two_sets_of_samples(
    swimmer: tuple[Path, Path], tmp_path: Path
) -> None:
    model = "reacher/wd0/epoch_600.pt"
    _, other = halves(tmp_path, FIXTURES / model, of_fixture(model))
    with pytest.raises(InputError, match=r"test\.h5: is of another network \(layers\.0 differ\);"):
        cut(swimmer[0], other)
    with pytest.raises(UsageError, match="is the file itself; give that of other samples"):
        cut(swimmer[0], swimmer[0])


def test_samples_that_both_have_are_no_held_out_ones(
    swimmer: tuple[Path, Path], tmp_path: Path
) -> None:
    model = "swimmer/wd0.01/epoch_600.pt"
    extract(FIXTURES / model, of_fixture(model), tmp_path / "all.h5", dtype="float64")
    (note,) = cut(swimmer[0], tmp_path / "all.h5").notes
    assert note.startswith("the two files share samples")


def test_a_network_without_predictions_has_nothing_to_compare_with(tmp_path: Path) -> None:
    model = "swimmer/wd0.01/epoch_600.pt"
    files = halves(tmp_path, FIXTURES / model, of_fixture(model), predictions=False)
    found = cut(*files)
    assert found.text.startswith("CANNOT BE JUDGED: the network makes no predictions")
    assert all(one.held_out is not None and one.change is None for one in found.cuts)


def test_a_network_that_learned_nothing_is_not_kept(tmp_path: Path) -> None:
    model = "swimmer/wd0.05/epoch_100.pt"
    found = cut(*halves(tmp_path, FIXTURES / model, of_fixture(model)))
    assert "As inferred: LEARNED NOTHING" in found.text
