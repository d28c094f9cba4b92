"""Which layers one linear map could replace: against networks in which one does."""

from __future__ import annotations

import importlib.util
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import FIXTURES, Run, edited
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from numpy.typing import NDArray
from safetensors.torch import load_file
from test_cli import failed, ok
from test_cut import halves, of_fixture, ridge_error
from tolerances import EXACT
from torch import Tensor, nn

from nrcscan import InputError, UsageError, between, cut, extract
from nrcscan.cutting.between_schema import between_schema
from nrcscan.cutting.cuts import Estimate
from nrcscan.cutting.linear_head import LinearHead
from nrcscan.cutting.linear_map import Squares, chained
from nrcscan.cutting.replaceable import Replacement, closest, longest
from nrcscan.cutting.replaceable_in_words import RESOLVED, concluded_of
from nrcscan.cutting.replaceable_table import render
from nrcscan.cutting.squares_left import SquaresLeft, within_both
from nrcscan.options.choices import Format
from nrcscan.statistics.blocks import Targets
from nrcscan.verdict.answers import Answer

Matrix = NDArray[np.float64]
U = 2.0**-52


def of_network(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """Return a fixture's network in float64, and the options that measure it."""
    path = FIXTURES / name
    if name.startswith("pendulum"):
        spec = importlib.util.spec_from_file_location(
            "pendulum_network", path.parent / "network.py"
        )
        assert spec is not None
        assert spec.loader is not None
        source = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(source)
        network = source.build()
        network.load_state_dict(load_file(path))
        options = {"factory": f"{path.parent / 'network.py'}:build", "activation": None}
        return network.double().eval(), options
    state = torch.load(path, weights_only=True)["model"]
    layers: list[nn.Module] = []
    for weight in state.values():
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
        linear.weight.data = weight
        layers += [linear, nn.ReLU()]
    return nn.ModuleDict({"layers": nn.Sequential(*layers[:-1])})["layers"].double(), {}


def hooked(network: nn.Module, x: Matrix) -> dict[str, Matrix]:
    """Return what reaches each layer of a network, pooled by the mean: layer → (n, d)."""
    seen: dict[str, Matrix] = {}

    def hook(name: str) -> Any:
        def see(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            reached = args[0].detach()
            seen[name] = reached.flatten(2).mean(2).numpy() if reached.ndim > 2 else reached.numpy()

        return see

    for name, module in network.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            module.register_forward_pre_hook(hook(name))
    with torch.no_grad():
        network(torch.from_numpy(x))
    return seen


SOME = {"exclude": ["layers.2", "layers.6", "layers.10"]}


@pytest.mark.numerical
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("swimmer/wd0.01/epoch_600.pt", SOME),
        ("swimmer/wd0/epoch_600.pt", SOME),
        ("reacher/wd0.002/epoch_600.pt", SOME),
        ("pendulum/model.safetensors", {}),
    ],
)
def test_what_is_predicted_is_what_a_network_with_the_map_does(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    network, own = of_network(name)
    files = halves(tmp_path, FIXTURES / name, of_fixture(name), cross=True, **own, **options)
    found = between(*files)
    heads = {one.layer: one.head for one in cut(*files).cuts}
    with np.load(of_fixture(name)) as arrays:
        keys = ("images", "targets") if "images" in arrays else ("X", "y")
        x, y = (arrays[key].astype(np.float64) for key in keys)
    reached = hooked(network, x)
    reached = {n if n in heads else f"layers.{n}": h for n, h in reached.items()}
    assert found.stretches
    judged = 0
    for one in found.stretches:
        h, later = reached[one.layers[0]], reached[one.reaches]
        if one.map is None:
            assert one.refused is not None
            continue
        judged += 1
        assert one.unexplained is not None
        for rows, share in ((slice(0, 500), one.seen), (slice(500, None), one.unexplained.value)):
            left = ((later[rows] - one.map.predictions(h[rows])) ** 2).sum(axis=1).mean()
            spread = later[rows].var(axis=0).sum()
            # √N u of the products that cancel: of the features, and of what the map makes of them.
            size = spread + (one.map.weight**2 @ h[rows].var(axis=0)).sum()
            rounding = 2 * U * np.sqrt(len(h[rows])) * size / spread
            assert share == pytest.approx(left / spread, rel=EXACT, abs=rounding)
        head = heads[one.reaches]
        assert head is not None
        test = slice(500, None)
        replaced = ((y[test] - head.predictions(one.map.predictions(h[test]))) ** 2).mean()
        before = ((y[test] - head.predictions(later[test])) ** 2).mean()
        assert one.replaced is not None
        assert one.own is not None
        assert one.own.value == pytest.approx(before, rel=EXACT)
        assert one.replaced.value == pytest.approx(replaced, rel=EXACT)
        assert one.change is not None
        assert one.change.value == pytest.approx(replaced / before - 1, rel=EXACT, abs=EXACT)
        # The map itself, by a solver on the rows.
        train = slice(0, 500)
        data = h[train], later[train], (h[test], later[test])
        direct = ridge_error(*data, one.map.ridge) * later.shape[1] / later[test].var(axis=0).sum()
        assert one.unexplained.value == pytest.approx(direct, rel=1e-4, abs=1e-12)
    assert judged > 3


# --- what is concluded --------------------------------------------------------------------------

N = 240
DRAW = np.random.default_rng(5)
X = DRAW.standard_normal((N, 6))
NOISE = DRAW.standard_normal((N, 2))


def measured(
    folder: Path, network: nn.Module, first: int = 0, stop: int = N, **options: Any
) -> Path:
    """Return the file of a network on some samples, its targets being its outputs and noise."""
    network = network.double()
    with torch.no_grad():
        made = network(torch.from_numpy(X)).numpy()
    y = made + 0.3 * (made.std(axis=0) + 1e-3) * NOISE
    path = folder / f"{first}.h5"
    data = X[first:stop], y[first:stop]
    extract(network, data, path, cross=True, force=True, on_note=lambda note: None, **options)
    return path


class Tail(nn.Module):
    """A ReLU network whose last layers are linear, the second of them beside a shortcut."""

    def __init__(self, *, shortcut: bool = False) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Linear(6, 12), nn.Linear(12, 12)
        self.third, self.fourth = nn.Linear(12, 10), nn.Linear(10, 2)
        self.past = nn.Linear(12, 10) if shortcut else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs (n, 2)."""
        x = self.first(x).relu()
        made = self.third(self.second(x))
        return self.fourth(made if self.past is None else made + self.past(x))


@pytest.fixture(scope="module")
def tail(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tail")
    return measured(folder, Tail(), stop=140), measured(folder, Tail(), first=140)


@pytest.mark.numerical
@pytest.mark.parametrize("held_out", [True, False])
def test_layers_without_an_activation_act_as_one_linear_map(
    tail: tuple[Path, Path], held_out: bool
) -> None:
    found = between(tail[0], tail[1] if held_out else None)
    assert found.n_test == (100 if held_out else 140)
    assert [(one.layers, one.reaches) for one in found.longest] == [(("second", "third"), "fourth")]
    best = found.longest[0]
    assert best.unexplained is not None
    assert best.change is not None
    assert best.unexplained.value < RESOLVED
    assert abs(best.change.value) < 1e-9
    assert (best.weights, best.map_weights) == (12 * 12 + 12 * 10, 12 * 10)
    worst = next(one for one in found.stretches if one.layers == ("first",))
    assert worst.unexplained is not None
    assert worst.unexplained.value > 0.05
    assert worst.answer is Answer.NOT_MET
    assert found.text.startswith(
        "2 LAYERS ARE REPLACEABLE: one linear map in place of second … third leaves <1e-07% of the"
        " variance of what reaches fourth, and a linear head there has MSE "
    )
    assert found.text.endswith(" It has 120 weights in place of 264.")
    assert len(found.stretches) == 6
    assert any("parts of TRAIN" in note for note in found.notes) is not held_out


def test_error_bars_are_of_blocks_and_named_where_there_are_none(
    tail: tuple[Path, Path], tmp_path: Path
) -> None:
    barred = between(*tail)
    bare = measured(tmp_path, Tail(), first=140, activations=False)
    found = between(tail[0], bare)
    for one, other in zip(found.stretches, barred.stretches, strict=True):
        for (name, value), (_, expected) in zip(one.estimates(), other.estimates(), strict=True):
            assert value is not None
            assert expected is not None
            assert value.standard_error is None
            assert expected.standard_error is not None
            assert value.value == pytest.approx(expected.value, rel=1e-9, abs=1e-12), name
    assert "the errors of cuts have no error bars: TEST keeps no features" in found.notes
    alone = between(bare)
    assert {one.answer for one in alone.stretches} == {Answer.NOT_JUDGED}
    assert all(one.seen is not None and one.unexplained is None for one in alone.stretches)
    assert alone.text.startswith("CANNOT BE JUDGED: what maps leave of samples that they have not")
    assert any(note.startswith("no stretch is judged: TRAIN keeps no") for note in alone.notes)
    render(alone, "table")


def test_inside_a_branch_nothing_is_replaced(tmp_path: Path) -> None:
    network = Tail(shortcut=True)
    files = measured(tmp_path, network, stop=140), measured(tmp_path, network, first=140)
    found = between(*files)
    refused = {(one.layers[0], one.reaches): one.refused for one in found.stretches if one.refused}
    assert list(refused) == [("first", "third"), ("second", "third"), ("third", "fourth")]
    assert str(refused["first", "third"]).startswith("it ends inside a branch: before third, ")
    assert str(refused["third", "fourth"]).startswith("it begins inside a branch: before third, ")
    best = found.longest[0]
    assert set(best.layers) == {"second", "third", "past"}
    assert best.weights == 12 * 12 + 12 * 10 + 12 * 10
    assert " — " in render(found, "table")


def test_features_that_do_not_vary(tmp_path: Path) -> None:
    name = "swimmer/wd0.05/epoch_100.pt"
    files = halves(tmp_path, FIXTURES / name, of_fixture(name), cross=True, exclude=["*.[2468]"])
    first = nn.Linear(6, 4)
    nn.init.constant_(first.bias, -1e3)
    dead = nn.Sequential(first, nn.ReLU(), nn.Linear(4, 2))
    found = between(measured(tmp_path, dead, predictions=False))
    assert found.text == "CANNOT BE JUDGED: of 0, before 2, the features do not vary."
    assert between(*files).text.startswith("LEARNED NOTHING: the network predicts no better than")


@pytest.mark.parametrize(
    ("within", "beginning"),
    [
        (0.05, "UNDECIDED whether layers are replaceable: within 5% none surely are. Most that"),
        (0.0, "NO LAYERS ARE REPLACEABLE within 0%. The closest: one linear map in place of b"),
    ],
)
def test_the_sentence_says_no_more_than_is_sure(within: float, beginning: str) -> None:
    one = stretch("a", "b", 0, 2, share=0.2, change=0.3, answer=Answer.NOT_MET)
    answer = Answer.UNDECIDED if within else Answer.NOT_MET
    other = stretch("b", "b", 1, 2, share=1e-4, change=0.04, answer=answer)
    assert concluded_of([one, other], within).startswith(beginning)
    assert closest([one, other]) is other


def stretch(
    first: str, last: str, start: int, end: int, *, share: float, change: float, answer: Answer
) -> Replacement:
    named = (first,) if first == last else (first, last)
    of = LinearHead(np.eye(2), np.zeros(2), np.zeros(2), 0.0)
    errors = Estimate(0.1, 0.01), Estimate(0.1 * (1 + change), 0.01), Estimate(change, 0.02)
    estimates = Estimate(share, 0.01), *errors
    return Replacement(named, start, end, "end", None, 40, of, 0.1, *estimates, answer)


def test_of_stretches_in_each_other_the_longest_counts() -> None:
    def of(start: int, end: int, answer: Answer = Answer.MET) -> Replacement:
        return stretch(f"{start}", f"{end}", start, end, share=0, change=0, answer=answer)

    every = [of(0, 1), of(1, 4), of(2, 3), of(2, 4), of(0, 4, Answer.UNDECIDED), of(3, 5)]
    assert longest(every) == (every[1], every[5], every[0])
    text = concluded_of(every, 0.05)
    assert text.startswith("3 LAYERS ARE REPLACEABLE: ")
    assert text.endswith(" So are, by a map of its own each, 3 … 5 and 0 … 1.")


@given(left=st.floats(0, 1), change=st.floats(-0.5, 1), bars=st.tuples(*[st.floats(0, 0.2)] * 2))
def test_both_have_to_be_surely_within(
    left: float, change: float, bars: tuple[float, float]
) -> None:
    answer = within_both(Estimate(left, bars[0]), Estimate(change, bars[1]), 0.05)
    reach = left + 3 * bars[0], change + 3 * bars[1]
    least = left - 3 * bars[0], change - 3 * bars[1]
    # Sums of numbers up to 1 round by 2**-53 each: at the very edge either answer is one.
    assume(min(abs(edge - 0.05) for edge in (*reach, *least)) > 2**-51)
    assert (answer is Answer.MET) == (max(reach) <= 0.05)
    assert (answer is Answer.NOT_MET) == (max(least) > 0.05)
    assert within_both(Estimate(left), None, 0.05) in (Answer.NOT_MET, Answer.NOT_JUDGED)


@settings(max_examples=20)
@given(seed=st.integers(0, 99), widths=st.tuples(*[st.integers(1, 5)] * 3))
def test_a_head_on_a_map_is_one_linear_head(seed: int, widths: tuple[int, int, int]) -> None:
    draw = np.random.default_rng(seed)
    one, head = (
        LinearHead(
            draw.standard_normal((out, into)),
            draw.standard_normal(into),
            draw.standard_normal(out),
            0.0,
        )
        for into, out in pairwise(widths)
    )
    x = draw.standard_normal((7, widths[0]))
    expected = head.predictions(one.predictions(x))
    np.testing.assert_allclose(chained(one, head).predictions(x), expected, rtol=1e-9, atol=1e-9)


def test_ratios_are_paired_block_by_block() -> None:
    own = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    blocks = Squares(own / 10, np.ones(5), own, 1.1 * own)
    targets = Targets(np.full(5, 10.0), np.zeros((5, 1)), np.zeros((5, 1, 1)), None)
    left = SquaresLeft.of(None, blocks, targets)
    change = left.change()
    assert change is not None
    assert change.value == pytest.approx(0.1)
    assert change.standard_error == pytest.approx(0, abs=1e-12)  # though both errors vary
    assert left.mean("own").standard_error == pytest.approx(np.std(own, ddof=1) / np.sqrt(5))
    nothing = SquaresLeft(Squares(*np.zeros((4, 1))[:, 0]), None, None)
    assert nothing.ratio("left", "spread") is None


# --- what is refused, and how it is shown -------------------------------------------------------


def test_files_that_do_not_do(tail: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is the file itself; give that of other samples"):
        between(tail[0], tail[0])
    bare, narrow = tmp_path / "bare.h5", tmp_path / "narrow.h5"
    extract(Tail().double(), (X, NOISE), bare)
    with pytest.raises(InputError, match=r"bare.h5: holds no cross-covariances .* with --cross"):
        between(tail[0], bare)
    extract(Tail().double(), (X, NOISE), narrow, layers=["fourth"], cross=True)
    with pytest.raises(InputError, match=r"narrow.h5: was measured at one depth.*measure more lay"):
        between(narrow)
    with pytest.raises(InputError, match="is of another network"):
        between(tail[0], narrow)


def test_names_from_files_steer_nothing(tmp_path: Path) -> None:
    path = measured(tmp_path, Tail())
    with edited(path) as file:
        for index, name in enumerate(["=a|b\x1b[2J", "<b>*x*", "@c\n", "-d"]):
            attributes = file[f"layers/{index:04d}"].attrs
            del attributes["name"]
            attributes["name"] = np.bytes_(name.encode())
    found = between(path)
    forms: tuple[Format, ...] = ("table", "md")
    for form in forms:
        shown = render(found, form)
        assert "\x1b" not in shown
        assert "<b>" not in shown or form == "table"
    rows = render(found, "csv").splitlines()
    assert rows[1].startswith("'=a|b\\x1b[2J,")
    Draft202012Validator(between_schema()).validate(json.loads(render(found, "json")))


def test_the_command(cli: Run, tail: tuple[Path, Path], tmp_path: Path) -> None:
    shown = ok(cli("cut", tail[0], "--against", tail[1], "--between"))
    assert shown.startswith("2 LAYERS ARE REPLACEABLE")
    table = [line for line in shown.splitlines()[2:] if not line.startswith(("repl", "-", "  re"))]
    assert max(map(len, table)) <= 80
    made = json.loads(ok(cli("cut", tail[0], "--between", "--format", "json", "--within", "1%")))
    Draft202012Validator(between_schema()).validate(made)
    assert made["within"] == 0.01
    assert len(made["stretches"]) == 6
    ok(cli("cut", tail[0], "--between", "--format", "csv", "-o", tmp_path / "b.csv"))
    assert (tmp_path / "b.csv").read_text().startswith("first,last,reaches,start,end,refused,")
    extract(Tail().double(), (X, NOISE), tmp_path / "bare.h5")
    message = "holds no cross-covariances of layers; extract it again with --cross"
    failed(cli("cut", tmp_path / "bare.h5", "--between"), 3, message)
