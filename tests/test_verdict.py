"""From answers to a verdict: every state, ties, several stretches, and what is not known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrcscan import Thresholds, UsageError
from nrcscan.acts_file.schema import LayerRecord, Unmeasured
from nrcscan.metrics.chance_level import Chance
from nrcscan.metrics.layer_values import LayerMetrics
from nrcscan.metrics.quantities import CONDITIONS, JUDGED
from nrcscan.verdict.answers import Answer, answers, at_position, together
from nrcscan.verdict.conclude import conclude
from nrcscan.verdict.depth import Step, steps
from nrcscan.verdict.onset import Shape, longest, onset, runs, shape, supposed_met
from nrcscan.verdict.state import State
from nrcscan.verdict.verdict import NetworkFit, Verdict

M, N, U, J = Answer.MET, Answer.NOT_MET, Answer.UNDECIDED, Answer.NOT_JUDGED
ANSWERS = st.lists(st.sampled_from(list(Answer)), max_size=12)

MET = {"noise_component": 0.01, "cka": 0.95, "alignment": 0.98, "error_ratio": 1.0}
ON_THE_SPOT = {"noise_component": 0.2, "cka": 0.65, "alignment": 0.7, "error_ratio": 2.0}
FITS = NetworkFit(800, 0.1, 0.9, 1.0)


# --- the rules in depth ----------------------------------------------------------------------


@given(ANSWERS)
def test_an_onset_begins_the_last_run_if_that_reaches_the_end(held: list[Answer]) -> None:
    start = onset(held)
    assert (start is not None) == (bool(held) and held[-1] is M)
    if start is not None:
        assert set(held[start:]) == {M}
        assert start == 0 or held[start - 1] is not M
        assert runs(held)[-1] == (start, len(held) - 1)


@given(ANSWERS)
def test_runs_cover_what_is_met_and_nothing_else(held: list[Answer]) -> None:
    covered = [i for a, b in runs(held) for i in range(a, b + 1)]
    assert covered == [i for i, answer in enumerate(held) if answer is M]


@given(ANSWERS)
def test_more_that_is_met_never_makes_less_of_it(held: list[Answer]) -> None:
    order = [Shape.NOWHERE, Shape.STRETCH, Shape.LAST_ALONE, Shape.TO_THE_OUTPUT]
    assert order.index(shape(held)) <= order.index(shape(supposed_met(held)))


@given(st.lists(st.sampled_from(list(Answer)), min_size=1, max_size=4))
def test_all_are_met_only_if_each_is(several: list[Answer]) -> None:
    found = together(several)
    assert (found is M) == (set(several) == {M})
    assert (found is N) == (N in several)
    assert (found is J) == (J in several and N not in several)


def test_of_equal_stretches_the_deepest_counts() -> None:
    assert longest([(0, 1), (3, 4), (6, 6)]) == (3, 4)


# --- answers at a layer ----------------------------------------------------------------------


def test_thresholds_are_met_on_the_spot() -> None:
    met = answers(LayerMetrics(ON_THE_SPOT), Thresholds(), learned=M)
    assert met == dict.fromkeys(CONDITIONS, M)
    strict = Thresholds(0.19, 0.66, 0.71, 1.9)
    assert answers(LayerMetrics(ON_THE_SPOT), strict, learned=M) == dict.fromkeys(CONDITIONS, N)


@pytest.mark.parametrize(
    ("condition", "quantity", "met", "missed"),
    [
        ("nrc1", "noise_component", 0.1999, 0.2001),
        ("nrc2", "cka", 0.6501, 0.6499),
        ("nrc3", "alignment", 0.7001, 0.6999),
        ("nrc4", "error_ratio", 1.999, 2.001),
        ("nrc4", "error_ratio", 0.5001, 0.4999),
        ("nrc4", "error_ratio", 0.51, 0.0),
    ],
)
def test_the_defaults(condition: str, quantity: str, met: float, missed: float) -> None:
    for value, answer in ((met, M), (missed, N)):
        found = answers(LayerMetrics({**MET, quantity: value}), Thresholds(), learned=M)
        assert found == {**dict.fromkeys(CONDITIONS, M), condition: answer}


@pytest.mark.parametrize(
    ("quantity", "value", "error", "answer"),
    [
        ("noise_component", 0.19, 0.005, U),
        ("noise_component", 0.18, 0.005, M),
        ("noise_component", 0.21, 0.005, U),
        ("noise_component", 0.22, 0.005, N),
        ("alignment", 0.75, 0.02, U),
        ("alignment", 0.77, 0.02, M),
        ("error_ratio", 1.8, 0.1, U),
        ("error_ratio", 1.8, 0.05, M),
        ("error_ratio", 0.46, 0.02, U),
        ("error_ratio", 0.40, 0.02, N),
    ],
)
def test_an_error_bar_across_a_threshold_leaves_it_undecided(
    quantity: str, value: float, error: float, answer: Answer
) -> None:
    metrics = LayerMetrics({**MET, quantity: value}, standard_errors={quantity: error})
    condition = next(c.name for c in JUDGED if c.quantity == quantity)
    assert answers(metrics, Thresholds(), learned=M)[condition] is answer


@pytest.mark.parametrize(
    ("ends", "answer"),
    [
        ((0.9, 1.1), M),
        ((0.9, 2.5), U),  # how many samples there are decides it
        ((2.1, 2.5), N),
        ((0.3, 1.0), U),
        ((0.3, 0.4), N),
        ((0.3, 3.0), U),
    ],
)
def test_a_ratio_that_samples_push_apart_lies_between(
    ends: tuple[float, float], answer: Answer
) -> None:
    metrics = LayerMetrics({**MET, "error_ratio": ends[1]}, between={"error_ratio": ends})
    assert answers(metrics, Thresholds(), learned=M)["nrc4"] is answer


def test_a_bound_is_added_to_an_error_bar() -> None:
    both = LayerMetrics(
        {**MET, "noise_component": 0.17},
        bounds={"noise_component": 0.02},
        standard_errors={"noise_component": 0.005},
    )
    assert answers(both, Thresholds(), learned=M)["nrc1"] is U
    assert answers(replace(both, bounds={}), Thresholds(), learned=M)["nrc1"] is M


def test_beyond_the_threshold_is_not_enough_within_chance() -> None:
    narrow = LayerMetrics({**MET, "alignment": 0.9}, chance={"alignment": Chance(0.87, 0.97)})
    assert answers(narrow, Thresholds(), learned=M)["nrc3"] is U
    narrow.values["alignment"] = 0.6
    assert answers(narrow, Thresholds(), learned=M)["nrc3"] is N
    narrow.values["alignment"] = 0.98
    assert answers(narrow, Thresholds(), learned=M)["nrc3"] is M


@pytest.mark.parametrize(("gap", "answer"), [(0.059, U), (0.061, M)])
def test_directions_that_trade_places_are_compared_with_no_weight(
    gap: float, answer: Answer
) -> None:
    metrics = LayerMetrics(MET, gap=gap, gap_error=0.01)
    assert answers(metrics, Thresholds(), learned=M) == {
        **dict.fromkeys(CONDITIONS, M),
        "nrc3": answer,
    }
    assert answers(replace(metrics, gap_error=None), Thresholds(), learned=M)["nrc3"] is M


def test_a_network_that_predicts_nothing_has_no_nrc4() -> None:
    found = answers(LayerMetrics(MET), Thresholds(), learned=N)
    assert found == {**dict.fromkeys(CONDITIONS, M), "nrc4": N}


@given(st.floats(0, 4))
def test_inside_is_where_the_margin_is_not_negative(value: float) -> None:
    for condition in JUDGED:
        inside = condition.inside(value, Thresholds())
        margin = condition.margin(value, Thresholds())
        assert inside == (margin >= 0) or abs(margin) < 1e-15
        assert condition.inside(np.array([value]), Thresholds()) == [inside]


def test_while_it_is_open_whether_anything_is_learned_so_is_nrc4() -> None:
    found = answers(LayerMetrics(MET), Thresholds(), learned=U)
    assert found == {**dict.fromkeys(CONDITIONS, M), "nrc4": U}


def test_undefined_cannot_be_judged() -> None:
    assert answers(LayerMetrics(), Thresholds(), learned=M) == dict.fromkeys(CONDITIONS, J)


def test_a_step_is_judged_by_the_mean_over_the_weights_that_read_it() -> None:
    first = LayerMetrics(
        {"cka": 0.9, "alignment": 0.2, "weight_rank": 3},
        {"excess": "why"},
        standard_errors={"cka": 0.1, "alignment": 0.01},
        without_block={"alignment": np.array([0.1, 0.3])},
    )
    second = LayerMetrics(
        {"cka": 0.1, "alignment": 0.6, "weight_rank": 4},
        standard_errors={"alignment": 0.03},
        without_block={"alignment": np.array([0.5, 0.7])},
    )
    found = at_position([first, second])
    assert found.values == {"cka": 0.9, "alignment": 0.4, "weight_rank": 3.5}
    assert found.standard_errors == {"cka": 0.1, "alignment": pytest.approx(0.02)}
    np.testing.assert_allclose(found.without_block["alignment"], [0.3, 0.5])
    assert found.undefined == first.undefined
    assert first.values["alignment"] == 0.2
    flat = LayerMetrics({"cka": 0.9})
    assert at_position([flat, second]).values["alignment"] == 0.6
    assert at_position([flat, flat]) == flat


# --- thresholds ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["noise_max", "cka_min", "alignment_min"])
def test_the_range_of_thresholds(name: str) -> None:
    for value in (0.0, 1.0):
        assert getattr(Thresholds(**{name: value}), name) == value
    for value in (-0.001, float("nan"), 1.001):
        with pytest.raises(UsageError, match=f"{name} {value}: give a number from 0"):
            Thresholds(**{name: value})


def test_an_error_ratio_is_at_least_one() -> None:
    assert Thresholds(error_ratio_max=50.0).error_ratio_max == 50
    for value in (0.99, float("nan")):
        with pytest.raises(UsageError, match=f"error_ratio_max {value}: give a number from 1"):
            Thresholds(error_ratio_max=value)


# --- the verdict -----------------------------------------------------------------------------

VALUE_FOR = {
    M: {},
    N: {"alignment": 0.5},
    U: {"alignment": 0.71},
    J: {},
}


def network(pattern: str) -> list[Step]:
    """Return steps by a letter each: Met, Not met, Undecided, not Judged, X for not measured."""
    found: list[Step] = []
    number = 0
    for place, letter in enumerate(pattern):
        name = f"layers.{place}"
        if letter == "X":
            left = Unmeasured(name, "left out by --exclude", place)
            found.append(Step((name,), 0, LayerMetrics(), dict.fromkeys(CONDITIONS, J), left))
            continue
        number += 1
        answer = {"M": M, "N": N, "U": U, "J": J}[letter]
        metrics = LayerMetrics({**MET, **VALUE_FOR[answer]})
        if answer is U:
            metrics.standard_errors["alignment"] = 0.05
        if answer is J:
            del metrics.values["alignment"]
            metrics.undefined["alignment"] = "the weight is zero"
        own = answers(metrics, Thresholds(), learned=M)
        assert own["nrc3"] is answer
        found.append(Step((name,), number, metrics, own))
    return found


def verdict(pattern: str, fit: NetworkFit = FITS) -> Verdict:
    return conclude(fit, network(pattern), Thresholds())


@pytest.mark.parametrize(
    ("pattern", "state", "first", "last", "says"),
    [
        # collapsed
        ("MM", State.COLLAPSED, 0, 1, "COLLAPSED from layers.0 (1st of 2) to the output."),
        ("NMM", State.COLLAPSED, 1, 2, "COLLAPSED from layers.1 (2nd of 3) to the output."),
        (
            "MNMM",
            State.COLLAPSED,
            2,
            3,
            "All four hold at layers.0 too, then layers.1 does not meet NRC3",
        ),
        ("MMNMM", State.COLLAPSED, 3, 4, "All four hold at layers.0 to layers.1 too, then"),
        ("UMM", State.COLLAPSED, 1, 2, "Perhaps already from layers.0: layers.0 is open: NRC3"),
        ("NUUMM", State.COLLAPSED, 3, 4, "Perhaps already from layers.1: layers.2 is open"),
        ("XMM", State.COLLAPSED, 1, 2, "Perhaps already from layers.0: layers.0 was not measured"),
        ("JMM", State.COLLAPSED, 1, 2, "NRC3 cannot be judged (the weight is zero)"),
        # the last layer
        ("M", State.LAST_LAYER_ONLY, 0, 0, "LAST LAYER ONLY: all four conditions hold at layers.0"),
        ("MNM", State.LAST_LAYER_ONLY, 2, 2, "not the deep kind; layers.1 does not meet NRC3"),
        # partly
        ("MMN", State.PARTLY, 0, 1, "hold from layers.0 (1st) to layers.1 (2nd of 3), but not to"),
        ("MN", State.PARTLY, 0, 0, "hold at layers.0 alone (1st of 2), but not to the output"),
        ("MNMN", State.PARTLY, 2, 2, "at layers.2 alone (3rd of 4), and in 1 shorter stretch, but"),
        ("MUN", State.PARTLY, 0, 0, "layers.2 (3rd of 3) does not meet NRC3"),
        ("MJN", State.PARTLY, 0, 0, "layers.2 (3rd of 3) does not meet NRC3"),
        # not collapsed
        (
            "N",
            State.NOT_COLLAPSED,
            None,
            None,
            "layers.0 (1st of 1) comes closest: it does not meet NRC3",
        ),
        ("NN", State.NOT_COLLAPSED, None, None, "NOT COLLAPSED: no layer meets all four"),
        # undecided
        (
            "MU",
            State.UNDECIDED,
            0,
            1,
            "may hold from layers.0 (1st of 2) to the output, but NRC3",
        ),
        ("UM", State.UNDECIDED, 0, 1, "NRC3 at layers.0 is undecided (alignment 0.71 ± 0.05"),
        ("MUM", State.UNDECIDED, 0, 2, "more samples narrow it"),
        ("UN", State.UNDECIDED, 0, 0, "may hold at layers.0 alone (1st of 2), but NRC3"),
        ("UJ", State.UNDECIDED, 0, 1, "NRC3 at layers.0 is undecided"),
        ("MJU", State.UNDECIDED, 0, 2, "NRC3 at layers.2 is undecided"),
        # cannot be judged
        ("MJ", State.NOT_JUDGED, 0, 1, "NRC3 at layers.1 cannot be judged (the weight is zero)"),
        ("MJM", State.NOT_JUDGED, 0, 2, "NRC3 at layers.1 cannot be judged"),
        ("JJ", State.NOT_JUDGED, 0, 1, "NRC3 at layers.0 and layers.1 cannot be judged"),
        ("MMX", State.NOT_JUDGED, 0, 1, "to layers.1, the last layer measured, but layers.2 was"),
        ("MX", State.NOT_JUDGED, 0, 0, "left out by --exclude): measure it too"),
        ("MXM", State.NOT_JUDGED, 0, 2, "layers.1 was not measured"),
        ("X", State.NOT_JUDGED, None, None, "every layer that is measured reads the network's"),
        ("", State.NOT_JUDGED, None, None, "every layer that is measured reads the network's"),
    ],
)
def test_the_exact_rules(
    pattern: str, state: State, first: int | None, last: int | None, says: str
) -> None:
    found = verdict(pattern)
    assert found.state is state, found.text
    assert found.onset == (None if first is None else f"layers.{first}")
    assert found.last == (None if last is None else f"layers.{last}")
    assert says in found.text
    assert ("to the output" in found.text and "not to the output" not in found.text) == (
        state in (State.COLLAPSED, State.UNDECIDED, State.NOT_JUDGED)
        and bool(pattern)
        and pattern[-1] not in "XN"
    )
    assert list(found.unmeasured) == [f"layers.{i}" for i, x in enumerate(pattern) if x == "X"]


@given(st.text("MNUJX", max_size=9))
def test_a_verdict_never_says_more_than_is_known(pattern: str) -> None:
    found = verdict(pattern)
    tail = len(pattern) - len(pattern.rstrip("M"))
    if found.state is State.COLLAPSED:
        assert tail >= 2
        assert found.onset == f"layers.{len(pattern) - tail}"
    if found.state is State.NOT_COLLAPSED:
        assert set(pattern) == {"N"}
    if found.state is State.LAST_LAYER_ONLY:
        assert tail == 1
    if found.state is State.PARTLY:
        assert pattern.endswith("N")
        assert "M" in pattern
    assert "\n" not in found.text


def test_a_hundred_layers_that_alternate_are_one_line() -> None:
    found = verdict("MN" * 50)
    assert found.state is State.PARTLY
    assert "at layers.98 alone (99th of 100), and in 49 shorter stretches, but" in found.text
    assert len(found.text) < 400


@pytest.mark.parametrize(
    ("fit", "state", "says"),
    [
        (NetworkFit(800, 0.95, 0.05, 1.0), State.LEARNED_NOTHING, "LEARNED NOTHING: R² = 0.050"),
        (NetworkFit(800, 0.7, 0.3, 1.0), State.COLLAPSED, "The network fits poorly: R² = 0.300"),
        (NetworkFit(800, 1e-5, 0.99999, 1.0), State.COLLAPSED, "R² = 0.99999 "),
        (NetworkFit(800, 0.89, 0.11, 1.0, r2_error=0.02), State.UNDECIDED, "has learned anything"),
        (NetworkFit(1, 0.0, None, 0.0), State.NOT_JUDGED, "single sample"),
        (NetworkFit(9, 0.0, None, 0.0), State.NOT_JUDGED, "the targets do not vary"),
        (NetworkFit(9, 0.1, 0.9, 1.0, doubtful=True), State.COLLAPSED, "THIS MAY BE ANOTHER"),
        (NetworkFit(9, 0.1, 0.9, 1.0, mse_error=0.02), State.COLLAPSED, "(MSE 0.1 ± 0.02)"),
    ],
)
def test_the_fit_is_told_with_the_state(fit: NetworkFit, state: State, says: str) -> None:
    found = verdict("MM", fit)
    assert found.state is state
    assert says in found.text


def test_without_predictions_nrc4_is_named_and_the_others_are_judged() -> None:
    def encoder(pattern: str) -> Verdict:
        found = []
        for step in network(pattern):
            metrics = replace(step.metrics, values=dict(step.metrics.values))
            metrics.values.pop("error_ratio", None)
            metrics.undefined["error_ratio"] = "the network makes no predictions"
            own = answers(metrics, Thresholds(), learned=J)
            found.append(replace(step, metrics=metrics, answers=own))
        return conclude(NetworkFit(800, None, None, 1.0), found, Thresholds())

    assert encoder("NMM").state is State.NOT_JUDGED
    assert "NRC1, NRC2 and NRC3 hold from layers.1 (2nd of 3) to the output." in encoder("NMM").text
    assert "do not all hold to the last layer" in encoder("MMN").text
    assert "NRC3 at layers.1 is undecided" in encoder("MU").text
    assert encoder("NN").state is State.NOT_COLLAPSED


def test_what_breaks_a_stretch_is_told_with_its_value() -> None:
    found = verdict("MMN")
    assert found.broken_by is not None
    assert found.broken_by.to_dict() == {"layer": "layers.2", "conditions": {"nrc3": 0.5}}
    assert (
        "layers.2 (3rd of 3) does not meet NRC3 (alignment 0.5, 0.7 at least) alone" in found.text
    )


def test_a_linear_probe_that_does_better_is_a_finding_of_its_own() -> None:
    layers = network("NMM")
    layers[0].metrics.values["error_ratio"] = 0.2
    found = conclude(FITS, layers, Thresholds())
    assert found.state is State.COLLAPSED
    assert found.findings == (
        "Not earlier: layers.0 does not meet NRC3 (alignment 0.5, 0.7 at least).",
        "A linear probe does better: from layers.0 (1st of 3) it predicts the targets with 0.2"
        " times the network's error. Layers after this lose information: see nrcscan cut.",
    )
    layers[0].metrics.standard_errors["error_ratio"] = 0.2  # not surely below a half
    assert len(conclude(FITS, layers, Thresholds()).findings) == 1


def test_why_collapse_begins_no_earlier_is_said_where_it_is_known() -> None:
    (why,) = verdict("MNMM").findings
    assert why == "Not earlier: layers.1 does not meet NRC3 (alignment 0.5, 0.7 at least)."
    for whole in ("MMM", "UMM", "JMM", "MMN", "NNN"):  # which the verdict itself says
        assert verdict(whole).findings == ()


# --- how sure --------------------------------------------------------------------------------


def with_blocks(values: float, spread: float, seed: int = 0) -> LayerMetrics:
    """Return metrics whose alignment has this value, and this standard error by blocks."""
    draw = np.random.default_rng(seed).standard_normal(20)
    draw = (draw - draw.mean()) / draw.std()
    without = values + draw * spread / np.sqrt(19)
    return LayerMetrics(
        {**MET, "alignment": values},
        standard_errors={"alignment": spread},
        without_block={"alignment": without},
    )


def test_the_share_of_draws_follows_the_error_bar() -> None:
    layers = [
        Step((f"layers.{i}",), i + 1, metrics, answers(metrics, Thresholds(), learned=M))
        for i, metrics in enumerate([with_blocks(0.72, 0.02), with_blocks(0.95, 0.01, 1)])
    ]
    found = conclude(FITS, layers, Thresholds())
    assert found.state is State.UNDECIDED  # 0.72 is one standard error above the threshold
    assert found.confidence is not None
    assert found.confidence.share == pytest.approx(0.84, abs=0.08)
    assert found.confidence.others == {"last layer only": pytest.approx(0.16, abs=0.08)}
    assert conclude(FITS, layers, Thresholds()) == found


def test_without_blocks_nothing_is_said_of_confidence() -> None:
    assert verdict("MM").confidence is None


# --- what is no step -------------------------------------------------------------------------


def test_inputs_and_shortcuts_are_no_steps_and_what_is_not_measured_is() -> None:
    records = [
        LayerRecord("stem", "Linear", 0, reads_inputs=True),
        LayerRecord("main", "Linear", 1, reads_inputs=False),
        LayerRecord("skip", "Linear", 1, shortcut=True, reads_inputs=False),
        LayerRecord("alone", "Linear", 2, shortcut=True, reads_inputs=False),
        LayerRecord("head", "Linear", 3, reads_inputs=False),
    ]
    low = LayerMetrics({**MET, "alignment": 0.1})
    metrics = [low, LayerMetrics(MET), low, low, LayerMetrics(MET)]
    left = [Unmeasured("gone", "left out by --exclude", 2)]
    found = steps(records, metrics, left, Thresholds(), learned=M)
    assert [(step.names, step.number) for step in found] == [
        (("main",), 1),
        (("gone",), 0),
        (("head",), 2),
    ]
    without = steps(records, metrics, [], Thresholds(), learned=M)
    assert conclude(FITS, without, Thresholds()).state is State.COLLAPSED


def test_files_of_before_have_their_first_position_for_inputs() -> None:
    records = [LayerRecord(f"layers.{i}", "Linear", i) for i in range(3)]
    found = steps(records, [LayerMetrics(MET)] * 3, [], Thresholds(), learned=M)
    assert [step.name for step in found] == ["layers.1", "layers.2"]
