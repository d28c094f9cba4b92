"""Findings of the papers, judged on made-up results: by some that agree and some that do not."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nrcscan.metrics.quantities import CATALOGUE, JUDGED
from nrcscan.verdict.answers import sure_side
from reproduction.agreement import Agreement, Finding
from reproduction.collapse_findings import begin_together, below_the_last_layer
from reproduction.conventions import WHY, differences, other_verdicts
from reproduction.cuts_found import cuts_of, farthest
from reproduction.decay_findings import no_nrc3_without_decay, too_much_decay
from reproduction.error_findings import collapse_and_test_error, fewer_dimensions
from reproduction.figures import pictures
from reproduction.findings import found
from reproduction.loss_findings import after_the_loss, settles
from reproduction.onsets import CONDITION, DEFAULTS, USUAL, Reading, answer_at
from reproduction.page import KEPT, ROOT, anchor, page
from reproduction.rank_findings import intrinsic_rank, orthogonal_to_noise, stable_ranks
from reproduction.results import Result, Results, Step, read_results

Document = dict[str, Any]

AGREES, DISAGREES = Agreement.AGREES, Agreement.DISAGREES
UNDECIDED, NOT_TESTED = Agreement.UNDECIDED, Agreement.NOT_TESTED

COLLAPSED = {
    "noise_component": 0.01,
    "cka": 0.95,
    "alignment": 0.95,
    "error_ratio": 1.0,
    "noise_component_r": 0.02,
    "alignment_r": 0.95,
    "noise_alignment": 0.1,
    "noise_alignment_r": 0.1,
    "feature_stable_rank": 1.5,
    "weight_stable_rank": 2.0,
    "intrinsic_dimension": 2.0,
}
SPREAD = {
    "noise_component": 0.6,
    "cka": 0.3,
    "alignment": 0.3,
    "error_ratio": 9.0,
    "noise_component_r": 0.8,
    "alignment_r": 0.3,
    "noise_alignment": 0.9,
    "noise_alignment_r": 0.9,
    "feature_stable_rank": 9.0,
    "weight_stable_rank": 20.0,
    "intrinsic_dimension": 6.0,
}
ERROR = 0.01


def layer(place: int, values: dict[str, float], answers: dict[str, str] | None = None) -> Document:
    """Return a layer with answers by its values, or with these."""
    told = {
        c.name: sure_side(
            c.margin(values[c.quantity], DEFAULTS), ERROR * c.slope(values[c.quantity])
        ).value
        for c in JUDGED
        if c.quantity in values
    }
    return {
        "name": f"layers.{2 * place}",
        "position": place,
        "place": place or None,
        "reads_inputs": not place,
        "shortcut": False,
        "values": {name: [value, ERROR] for name, value in values.items()},
        "undefined": {},
        "answers": {**dict.fromkeys(CONDITION, "cannot be judged"), **told, **(answers or {})},
    }


def steps(collapsed: int, of: int = 5, **other: Sequence[float]) -> list[dict[str, float]]:
    """Return the values of steps of which so many, the last, have collapsed, with some others."""
    found = [dict(SPREAD if i < of - collapsed else COLLAPSED) for i in range(of)]
    for name, values in other.items():
        for one, value in zip(found, values, strict=True):
            one[name] = value
    return found


def measured(values: Sequence[dict[str, float]], mse: float, **told: Any) -> Document:
    layers = [layer(0, dict(SPREAD)), *(layer(i, one) for i, one in enumerate(values, 1))]
    collapsed = all(answer == "met" for answer in layers[-2]["answers"].values())
    state = "collapsed" if collapsed else "not collapsed"
    names = (layers[-2]["name"], layers[-1]["name"]) if collapsed else (None, None)
    return {
        "n_samples": 800,
        "signal_dim": 3,
        "n_targets": 3,
        "target_rank": 3,
        "target_stable_rank": 1.5,
        "target_intrinsic_dimension": 3.0,
        "mse": [mse, mse / 50],
        "r2": [1 - mse, 0.001],
        "verdict": {"state": state, "onset": names[0], "last": names[1], "text": "…"},
        "layers": layers,
        **told,
    }


CURVE = [[1, 1.0, 1.0], [10, 0.12, 0.14], [40, 0.11, 0.13], [100, 0.1, 0.12]]


def result(
    values: Sequence[dict[str, float]],
    *,
    data: str = "swimmer",
    decay: float = 1e-3,
    seed: int = 0,
    mse: float = 0.1,
    before: Sequence[tuple[int, Sequence[dict[str, float]]]] = (),
    curve: Sequence[Sequence[float]] = CURVE,
    **told: Any,
) -> Result:
    """Return what was found of a network that ends with these values at its steps."""
    checkpoints = [(epoch, measured(one, mse, **told)) for epoch, one in before]
    last = measured(values, mse, **told)
    cut = {"layer": "layers.4", "position": 2, "refused": None, "answer": "met"}
    more = {"weights": 30, "multiply_adds": 30, "train": [0.1, None], "held_out": [0.11, 0.01]}
    return Result(
        {
            "run": {
                "name": f"{data}-wd{decay:g}-seed{seed}",
                "data": data,
                "network": "mlp",
                "depth": len(values) + 1,
                "width": 64,
                "weight_decay": decay,
                "seed": seed,
                "rate": 0.1,
                "momentum": 0.9,
                "batch": 100,
                "epochs": curve[-1][0],
            },
            "curve": curve,
            "checkpoints": [
                {"epoch": epoch, "train": train, "test": train}
                for epoch, train in [*checkpoints, (curve[-1][0], last)]
            ],
            "at_rank": _at_rank(last) if last["target_rank"] < 3 else None,
            "published": copy.deepcopy(last),
            "cuts": {
                "within": 0.05,
                "own_train": [mse, 0.01],
                "own_held_out": [mse, 0.01],
                "weights": 100,
                "multiply_adds": 100,
                "smallest": "layers.4",
                "text": "…",
                "cuts": [{**cut, **more, "change": [-0.1 - 0.1 * seed, 0.02]}],
            },
            "agreement": 1e-12,
            "seconds": {"training": 30.0, "measuring": 30.0},
        }
    )


def _at_rank(last: Document) -> Document:
    """Return the measurement with the targets' rank for k, of two quantities alone."""
    layers = [
        {
            **one,
            "values": {
                name: one["values"][f"{name}_r"] for name in ("noise_component", "alignment")
            },
        }
        for one in last["layers"]
    ]
    return {**last, "signal_dim": last["target_rank"], "layers": layers}


def seeds(values: Sequence[dict[str, float]], many: int = 3, **told: Any) -> list[Result]:
    return [result(values, seed=seed, **told) for seed in range(many)]


def judged(look: Callable[[Results], Finding], results: Sequence[Result]) -> Agreement:
    return look(Results(results)).answer


# --- each finding, both ways -----------------------------------------------------------------


def test_collapse_below_the_last_layer() -> None:
    look = below_the_last_layer
    assert judged(look, seeds(steps(3))) is AGREES
    assert judged(look, seeds(steps(1))) is DISAGREES, "the last layer alone"
    assert judged(look, seeds(steps(0), decay=1e-3) + seeds(steps(3), decay=1e-2)) is AGREES
    assert judged(look, [*seeds(steps(3), 2), result(steps(0), seed=2)]) is UNDECIDED
    assert judged(look, seeds(steps(3), decay=0.0)) is NOT_TESTED, "without weight decay"
    assert judged(look, seeds(steps(3), mse=0.9)) is NOT_TESTED, "none fits"
    assert judged(look, []) is NOT_TESTED


def test_of_networks_that_do_not_fit_none_counts_for_collapse() -> None:
    own = [*seeds(steps(3), 2), result(steps(3), seed=2, mse=0.9)]
    (row,) = below_the_last_layer(Results(own)).rows
    assert row.answer is UNDECIDED, "not every seed fits"
    assert row.cells == ("0.001: 2/2/3", "0.001", "3 ± 0 of 5")


def test_the_four_conditions_begin_together() -> None:
    look = begin_together
    assert judged(look, seeds(steps(3))) is AGREES
    late = steps(4, alignment=[0.3, 0.3, 0.3, 0.95, 0.95])
    assert judged(look, seeds(late)) is DISAGREES, "NRC3 two steps later"
    one_later = steps(3, alignment=[0.3, 0.3, 0.3, 0.95, 0.95])
    assert judged(look, seeds(one_later)) is AGREES
    open_ = steps(4, alignment=[0.3, 0.3, 0.7, 0.95, 0.95])
    assert judged(look, seeds(open_)) is UNDECIDED, "one step later, or two"
    early = steps(2, cka=[0.95] * 5)
    (row,) = look(Results(seeds(early))).rows
    assert row.answer is AGREES
    assert row.cells == ("3", "-3 ± 0", "0 ± 0", "0 ± 0", "disagrees")
    assert judged(look, seeds(steps(1))) is NOT_TESTED


def test_networks_that_meet_nrc1_without_collapse_are_told_of_apart() -> None:
    finding = begin_together(Results(seeds(steps(3, cka=[0.3] * 5))))
    assert finding.answer is NOT_TESTED
    assert finding.sensitivity[0].answers == {
        "that collapse": [NOT_TESTED],
        "that meet NRC1": [DISAGREES],
    }


LOW: Document = {"data": "gemm", "target_rank": 1}
"""Targets of one direction: what is measured at it has names of its own, `_r`."""


def test_collapsed_layers_learn_the_intrinsic_rank() -> None:
    look = intrinsic_rank
    assert judged(look, seeds(steps(3), **LOW)) is AGREES
    wide = steps(3, noise_component_r=[0.8] * 5)
    assert judged(look, seeds(wide, **LOW)) is DISAGREES
    late = steps(4, noise_component_r=[0.8, 0.8, 0.8, 0.1, 0.1])
    (row,) = look(Results(seeds(late, **LOW))).rows
    assert (row.answer, row.cells[2]) == (AGREES, "2 ± 0 (in 3)")
    assert judged(look, seeds(steps(3))) is NOT_TESTED, "of full rank"
    (full,) = look(Results(seeds(steps(3), data="gemm"))).rows
    assert (full.answer, full.cells[0]) == (NOT_TESTED, "full, as nrcscan finds it")


def test_stable_ranks_match() -> None:
    look = stable_ranks
    assert judged(look, seeds(steps(3), **LOW)) is AGREES
    for rank in (3.0, 1.0):
        other = steps(3, feature_stable_rank=[9.0, 9.0, 1.5, rank, 1.5])
        assert judged(look, seeds(other, **LOW)) is DISAGREES
    beyond = look(Results(seeds(steps(3, feature_stable_rank=[9.0] * 5))))
    assert beyond.rows[0].answer is DISAGREES, "at full rank r is k"
    assert beyond.answer is NOT_TESTED, "the paper says nothing of such data"


def test_the_weight_is_orthogonal_to_the_noise() -> None:
    look = orthogonal_to_noise
    assert judged(look, seeds(steps(3), **LOW)) is AGREES
    noisy = steps(3, noise_alignment_r=[0.9, 0.9, 0.1, 0.8, 0.1])
    assert judged(look, seeds(noisy, **LOW)) is DISAGREES
    open_ = steps(3, noise_alignment_r=[0.9, 0.9, 0.1, 0.5, 0.1])
    assert judged(look, seeds(open_, **LOW)) is UNDECIDED


def test_no_nrc3_without_weight_decay() -> None:
    look, decayed = no_nrc3_without_decay, seeds(steps(3))
    without = steps(3, alignment=[0.3, 0.3, 0.4, 0.4, 0.95])
    assert judged(look, decayed + seeds(without, decay=0.0)) is AGREES, "at the last layer alone"
    assert judged(look, decayed + seeds(steps(3), decay=0.0)) is DISAGREES
    assert judged(look, seeds(without) + seeds(without, decay=0.0)) is UNDECIDED, "nothing beside"
    assert judged(look, decayed) is NOT_TESTED


def jittered(values: Sequence[dict[str, float]], mse: float, decay: float) -> list[Result]:
    return [
        result(values, decay=decay, mse=mse * (1 + 0.02 * seed), seed=seed) for seed in range(3)
    ]


def test_too_much_weight_decay() -> None:
    look, best = too_much_decay, jittered(steps(3), 0.05, 1e-3)
    assert judged(look, best + jittered(steps(4), 0.3, 1e-1)) is AGREES
    assert judged(look, best + jittered(steps(0), 0.3, 1e-1)) is DISAGREES, "not collapsed"
    assert judged(look, best + jittered(steps(4), 0.0505, 1e-1)) is UNDECIDED, "hardly worse"
    dead = look(Results(best + jittered(steps(4), 1.0, 1e-1)))
    assert dead.answer is NOT_TESTED
    assert dead.rows[0].cells[-1] == "0.1", "said to predict nothing"


def test_better_training_error_at_more_weight_decay_disagrees() -> None:
    best, more = jittered(steps(3), 0.05, 1e-3), jittered(steps(4), 0.3, 1e-1)
    for one in more:
        one.document["checkpoints"][-1]["train"] = measured(steps(4), 0.01)
    for one in best + more:
        test = 0.06 if one.weight_decay < 1e-2 else 0.2
        one.document["checkpoints"][-1]["test"] = measured(steps(4), test + 0.001 * one.seed)
    assert judged(too_much_decay, best + more) is DISAGREES


def test_collapse_after_the_loss() -> None:
    look = after_the_loss
    assert settles(result(steps(3)), 0.95, 1) == 10
    late = [(10, steps(0)), (40, steps(0))]
    assert judged(look, seeds(steps(3), before=late)) is AGREES
    early = [(2, steps(0)), (5, steps(3)), (10, steps(3))]
    assert judged(look, seeds(steps(3), before=early)) is DISAGREES
    between = [(5, steps(0)), (40, steps(3))]
    assert judged(look, seeds(steps(3), before=between)) is UNDECIDED
    assert judged(look, seeds(steps(0), before=late)) is NOT_TESTED, "none ends collapsed"
    lost = [(5, steps(3)), (40, steps(0))]
    assert judged(look, seeds(steps(3), before=lost)) is AGREES, "the last time counts"


def test_collapse_and_test_error() -> None:
    def sweep(errors: Sequence[float]) -> list[Result]:
        noises = [0.3 * 0.5**i for i in range(len(errors))]
        return [
            result(steps(3, noise_component=[0.6] * 4 + [noise]), seed=i, mse=error)
            for i, (noise, error) in enumerate(zip(noises, errors, strict=True))
        ]

    rising = [0.1 + 0.02 * i for i in range(12)]
    assert judged(collapse_and_test_error, sweep(rising)) is AGREES
    assert judged(collapse_and_test_error, sweep(rising[::-1])) is DISAGREES
    assert judged(collapse_and_test_error, sweep(rising[::2] + rising[1::2][::-1])) is UNDECIDED
    assert judged(collapse_and_test_error, sweep(rising[:5])) is NOT_TESTED


def test_fewer_dimensions_than_the_targets() -> None:
    assert judged(fewer_dimensions, seeds(steps(3))) is AGREES
    many = steps(3, intrinsic_dimension=[6.0] * 5)
    assert judged(fewer_dimensions, seeds(many)) is DISAGREES
    assert judged(fewer_dimensions, seeds(steps(0))) is NOT_TESTED, "none has collapsed"


def test_one_data_set_is_enough_to_disagree() -> None:
    both = seeds(steps(3)) + seeds(steps(0), data="hopper")
    finding = below_the_last_layer(Results(both))
    assert finding.answer is DISAGREES
    assert finding.by_answer == "agrees: swimmer · disagrees: hopper"


# --- thresholds ------------------------------------------------------------------------------


def test_answers_change_with_the_thresholds() -> None:
    weak = steps(3, alignment=[0.3, 0.3, 0.75, 0.75, 0.75])
    by_option = {
        one.threshold: one for one in below_the_last_layer(Results(seeds(weak))).sensitivity
    }
    assert by_option["`alignment_min`"].answers == {
        0.6: [AGREES],
        0.7: [AGREES],
        0.8: [DISAGREES],
        0.9: [DISAGREES],
    }
    assert by_option["`alignment_min`"].default == 0.7


@pytest.mark.parametrize(
    ("kept", "at_other"), [("undecided", "undecided"), ("cannot be judged", "cannot be judged")]
)
def test_what_nrcscan_leaves_open_stays_open_at_other_thresholds(kept: str, at_other: str) -> None:
    step = Step(1, [layer(1, dict(COLLAPSED), {"nrc3": kept})])
    condition = CONDITION["nrc3"]
    weaker = Reading(replace(DEFAULTS, alignment_min=0.6))
    assert answer_at(step, condition, USUAL).value == kept
    assert answer_at(step, condition, weaker).value == at_other


def test_a_step_of_several_layers_has_their_mean_and_the_worst_answer() -> None:
    layers = [layer(1, dict(COLLAPSED)), layer(1, {**COLLAPSED, "alignment": 0.25})]
    step = Step(1, layers)
    value = step.get("alignment")
    assert value is not None
    assert value.value == pytest.approx(0.6)
    assert step.answer("nrc3").value == "not met"


# --- conventions, cuts, figures, page --------------------------------------------------------


def test_conventions_are_compared_value_by_value() -> None:
    one = result(steps(3))
    last = one.document["published"]["layers"][-1]
    last["values"]["cka"] = [0.45, None]
    del one.document["checkpoints"][-1]["train"]["layers"][2]["values"]["alignment"]
    one.document["published"]["verdict"] = {"state": "partly", "onset": "layers.6"}
    by_name = {each.quantity: each for each in differences(Results([one]))}
    assert set(by_name) == set(COLLAPSED) - {"intrinsic_dimension"}, "what is kept in both"
    cka = by_name["cka"]
    assert (cka.layers, cka.differ, cka.ours, cka.theirs) == (6, 1, 0.95, 0.45)
    assert cka.where == f"{one.name}, {last['name']}"
    assert by_name["alignment"].only_theirs == 1
    assert by_name["noise_component"].differ == 0
    assert other_verdicts(Results([one])) == [one.name]
    assert set(WHY) <= {quantity.name for quantity in CATALOGUE}


def test_cuts_are_told_by_weight_decay() -> None:
    results = Results(seeds(steps(3), 2))
    (one,) = cuts_of(results)
    assert (one.networks, one.cut) == (2, 2)
    assert one.kept is not None
    assert one.change is not None
    assert one.kept.value == 0.3
    assert one.change.value == pytest.approx(-0.15)
    results[1].document["agreement"] = 1e-3
    assert farthest(results) == (1e-3, results[1].name)
    assert "NOT MET" in page(results, [], "reproduction")


def test_figures_are_told_apart_by_their_numbers() -> None:
    results = Results(
        [
            *seeds(steps(3), 2),
            *seeds(steps(3), 2, **LOW),
            *seeds(steps(0), 2, decay=0.0, **LOW),
        ]
    )
    drawn = {one.name: one for one in pictures(results)}
    assert set(drawn) == {
        "figure-2",
        "figure-3-gemm",
        "figure-4-gemm",
        "figure-4-gemm-rank",
        "figure-5",
    }
    again = {one.name: one.digest for one in pictures(results)}
    assert again == {name: one.digest for name, one in drawn.items()}
    results[-1].document["checkpoints"][-1]["train"]["layers"][-1]["values"]["cka"][0] = 0.96
    other = {one.name: one.digest for one in pictures(results)}
    assert other["figure-4-gemm"] != again["figure-4-gemm"]
    assert other["figure-2"] == again["figure-2"]


def test_the_page_says_of_every_finding_what_was_found() -> None:
    results = Results(seeds(steps(3)) + seeds(steps(0), data="hopper"))
    text = page(results, [], "reproduction")
    findings = found(results)
    first_table = text[: text.index("## What was trained")]
    for number, finding in enumerate(findings, 1):
        assert f"[{finding.title}](#{anchor(number, finding)})" in first_table
        assert f"\n### {number}. {finding.title}\n" in text
        assert finding.rule in text
    assert "| **disagrees** | agrees: swimmer · disagrees: hopper |" in first_table
    assert first_table.count("not tested") >= 3
    assert "None" not in text
    assert "nan" not in re.findall(r"\w+", text)


def test_a_page_of_no_results_tests_nothing() -> None:
    text = page(Results([]), [], "reproduction")
    assert text.count("| not tested |") == len(found(Results([])))


def test_the_page_is_what_the_kept_results_say() -> None:
    kept = ROOT / "docs" / "reproduction.md"
    results = read_results(KEPT)
    again = page(results, pictures(results), "reproduction")
    assert kept.read_text(encoding="utf-8") == again, (
        "make it anew: python -m reproduction.page docs/reproduction.md"
    )
    for name in re.findall(r"\]\((reproduction/[\w.-]+\.png)\)", again):
        assert (kept.parent / Path(name)).is_file()
