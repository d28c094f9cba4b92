from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import mlp, samples
from hypothesis import given
from hypothesis import strategies as st

from nrcscan import Thresholds, UsageError, extract, report
from nrcscan.metrics.layer_values import LayerMetrics
from nrcscan.verdict.conditions import Answer, at_position, conditions
from nrcscan.verdict.onset import onset, runs, together

HELD = st.lists(st.sampled_from([True, False, None]), max_size=12)


@given(HELD)
def test_onset_is_the_start_of_a_run_that_reaches_the_output(held: list[Answer]) -> None:
    start = onset(held)
    if start is None:
        assert all(h is not True for h in held[_after_last_false(held) :])
    else:
        assert held[start] is True
        assert False not in held[start:]
        assert all(h is not True for h in held[_after_last_false(held) : start])
        assert runs(held)[-1][0] == start


@given(HELD)
def test_runs_cover_what_holds_and_nothing_that_fails(held: list[Answer]) -> None:
    covered = {i for a, b in runs(held) for i in range(a, b + 1)}
    assert {i for i, h in enumerate(held) if h} <= covered
    assert not {i for i, h in enumerate(held) if h is False} & covered
    for a, b in runs(held):
        assert held[a] is held[b] is True


def _after_last_false(held: list[Answer]) -> int:
    return max((i + 1 for i, h in enumerate(held) if h is False), default=0)


def test_what_cannot_be_judged_neither_begins_nor_breaks() -> None:
    assert onset([None, True, None, True, None]) == 1
    assert onset([None, None]) is None
    assert onset([]) is None
    assert runs([None, True, None]) == [(1, 1)]


def test_together() -> None:
    assert together([True, True]) is True
    assert together([True, None]) is None
    assert together([None, False]) is False


VALUES = {"noise_component": 0.2, "cka": 0.65, "alignment": 0.7, "excess": 0.05}


def test_thresholds_are_met_on_the_spot() -> None:
    met = conditions(LayerMetrics(VALUES), Thresholds(), learned=True)
    assert met == dict.fromkeys(("nrc1", "nrc2", "nrc3", "nrc4"), True)
    strict = Thresholds(0.19, 0.66, 0.71, 0.04)
    met = conditions(LayerMetrics(VALUES), strict, learned=True)
    assert met == dict.fromkeys(("nrc1", "nrc2", "nrc3", "nrc4"), False)


def test_a_network_that_predicts_nothing_has_no_nrc4() -> None:
    met = conditions(LayerMetrics(VALUES), Thresholds(), learned=False)
    assert met["nrc4"] is False
    assert met["nrc1"] is True


def test_nothing_holds_where_nothing_varies() -> None:
    met = conditions(LayerMetrics(varies=False), Thresholds(), learned=True)
    assert set(met.values()) == {False}


def test_a_position_is_judged_by_the_mean_over_the_weights_that_read_it() -> None:
    first = LayerMetrics({"cka": 0.9, "alignment": 0.2, "weight_rank": 3}, {"excess": "why"})
    second = LayerMetrics({"cka": 0.1, "alignment": 0.6, "weight_rank": 4})
    found = at_position([first, second])
    assert found.values == {"cka": 0.9, "alignment": 0.4, "weight_rank": 3.5}
    assert found.undefined == first.undefined
    assert first.values["alignment"] == 0.2
    flat = LayerMetrics({"cka": 0.9})
    assert at_position([flat, second]).values["alignment"] == 0.6
    assert at_position([flat, flat]) == flat
    dead = LayerMetrics(varies=False)
    assert not at_position([dead, dead]).varies


def test_undefined_cannot_be_judged() -> None:
    met = conditions(LayerMetrics(), Thresholds(), learned=True)
    assert set(met.values()) == {None}


@pytest.mark.parametrize("wrong", [{"noise_max": 1.5}, {"cka_min": -0.1}, {"excess_max": -1.0}])
def test_thresholds_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Thresholds(**wrong)


@pytest.mark.parametrize(
    ("condition", "quantity", "met", "missed"),
    [
        ("nrc1", "noise_component", 0.1999, 0.2001),
        ("nrc2", "cka", 0.6501, 0.6499),
        ("nrc3", "alignment", 0.7001, 0.6999),
        ("nrc4", "excess", 0.0499, 0.0501),
    ],
)
def test_the_thresholds_of_the_paper(
    condition: str, quantity: str, met: float, missed: float
) -> None:
    for value, holds in ((met, True), (missed, False)):
        values = {**VALUES, quantity: value}
        found = conditions(LayerMetrics(values), Thresholds(), learned=True)
        assert found == {**dict.fromkeys(("nrc1", "nrc2", "nrc3", "nrc4"), True), condition: holds}


@pytest.mark.parametrize("name", ["noise_max", "cka_min", "alignment_min", "excess_max"])
def test_the_range_of_thresholds(name: str) -> None:
    for value in (0.0, 1.0):
        assert getattr(Thresholds(**{name: value}), name) == value
    wrong = [-0.001, float("nan"), *([1.001] if name != "excess_max" else [])]
    for value in wrong:
        with pytest.raises(UsageError, match=f"{name} {value}: give a number from 0"):
            Thresholds(**{name: value})
    assert Thresholds(excess_max=50.0).excess_max == 50


def test_a_network_has_learned_from_an_r2_of_a_tenth_on(tmp_path: Path) -> None:
    path = tmp_path / "acts.h5"
    extract(mlp(5, 8, 2), samples(60, 5, 2), path, activations=False)
    for r2, learned in ((0.099, False), (0.101, True)):
        with h5py.File(path, "r+") as file:
            variance = np.diagonal(file["targets/covariance"][()])
            del file["model/squared_error"]
            file["model/squared_error"] = (1 - r2) * variance
        found = report(path)
        assert found.r2 == pytest.approx(r2)
        assert found.learned == found.model["learned"] == learned
        assert found.layers[0].met["nrc4"] is learned
