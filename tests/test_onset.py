from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrcscan import Thresholds, UsageError
from nrcscan.metrics.layer_metrics import LayerMetrics
from nrcscan.verdict.conditions import Answer, conditions
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


VALUES = {"noise_component": 0.2, "cka": 0.65, "excess": 0.05}


def test_thresholds_are_met_on_the_spot() -> None:
    met = conditions(LayerMetrics(VALUES), Thresholds(), learned=True, alignment=0.7)
    assert met == dict.fromkeys(("nrc1", "nrc2", "nrc3", "nrc4"), True)
    strict = Thresholds(0.19, 0.66, 0.71, 0.04)
    met = conditions(LayerMetrics(VALUES), strict, learned=True, alignment=0.7)
    assert met == dict.fromkeys(("nrc1", "nrc2", "nrc3", "nrc4"), False)


def test_a_network_that_predicts_nothing_has_no_nrc4() -> None:
    met = conditions(LayerMetrics(VALUES), Thresholds(), learned=False, alignment=0.7)
    assert met["nrc4"] is False
    assert met["nrc1"] is True


def test_nothing_holds_where_nothing_varies() -> None:
    met = conditions(LayerMetrics(varies=False), Thresholds(), learned=True, alignment=None)
    assert set(met.values()) == {False}


def test_undefined_cannot_be_judged() -> None:
    met = conditions(LayerMetrics(), Thresholds(), learned=True, alignment=None)
    assert set(met.values()) == {None}


@pytest.mark.parametrize("wrong", [{"noise_max": 1.5}, {"cka_min": -0.1}, {"excess_max": -1.0}])
def test_thresholds_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Thresholds(**wrong)
