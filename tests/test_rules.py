from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nrcscan.gating.rules.evaluating import evaluate
from nrcscan.gating.rules.parsing import parse
from nrcscan.gating.rules.tokens import RuleError
from nrcscan.metrics.quantities import CONDITIONS, QUANTITIES

NAMES = ["layers.0", "layers.2", "encoder.0#2", "model.head", "a b/c-d"]


def checkpoint(**changes: Any) -> dict[str, Any]:
    """Return a checkpoint of five layers, layer i with every quantity i / 10; collapsed from 2."""
    layers = [
        {
            "index": i,
            "position": i,
            "name": name,
            "kind": "Linear",
            "width": 8,
            **dict.fromkeys(QUANTITIES, i / 10),
            "step": i + 1,
            "met": dict.fromkeys(CONDITIONS, i >= 2),
            "answers": dict.fromkeys(CONDITIONS, "met" if i >= 2 else "not met"),
            "undefined": {},
            "notes": [],
        }
        for i, name in enumerate(NAMES)
    ]
    found = {
        "path": "run/1.pt",
        "run": "run",
        "status": "ok",
        "model": {"mse": 0.1, "r2": 0.9, "learned": True, "undefined": {}},
        "verdict": {
            "state": "collapsed",
            "onset": "encoder.0#2",
            "last": NAMES[-1],
            "unmeasured": {},
            "broken_by": None,
            "confidence": None,
            "findings": [],
            "text": "COLLAPSED from encoder.0#2 (3rd of 5) to the output.",
        },
        "onset": dict.fromkeys((*CONDITIONS, "all"), "encoder.0#2"),
        "layers": layers,
    }
    return found | changes


def answered(found: dict[str, Any], answer: str, *conditions: str) -> None:
    """Give every layer of a checkpoint one answer to conditions."""
    for layer in found["layers"]:
        layer["answers"] |= dict.fromkeys(conditions, answer)
        layer["met"] |= dict.fromkeys(conditions, {"met": True, "not met": False}.get(answer))


def outcome(text: str, **changes: Any) -> bool | None:
    return evaluate(parse(text), checkpoint(**changes)).holds


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("model.r2 >= 0.9", True),
        ("model.r2 > 9e-1", False),
        ("model.r2 == .9", True),
        ("model.r2 != 0.9", False),
        ("model.learned", True),
        ("not model.learned", False),
        ("layers[-1].cka == 0.4", True),
        ("layers[0].cka == 0", True),
        ('layers["encoder.0#2"].cka < 0.3', True),
        ("layers['a b/c-d'].cka < 0.3", False),
        ("layers[layers.2].cka == 0.1", True),
        ("layers[3].width == 8", True),
        ("layers[1].met.nrc3", False),
        ("max(layers[-2:].cka) == 0.4", True),
        ("min(layers[-2:].cka) == 0.3", True),
        ("mean(layers[:].cka) == 0.2", True),
        ("max(layers[1:-2].cka) == 0.2", True),
        ("2 + 3 * 4 == 14", True),
        ("(2 + 3) * 4 == 20", True),
        ("2 - 3 - 4 == -5", True),
        ("8 / 4 / 2 == 1", True),
        ("-model.r2 < -0.8", True),
        ("2 - -1 == 3", True),
        ("1 == 2 or 1 == 1 and 2 == 2", True),
        ("(1 == 2 or 1 == 1) and 1 == 2", False),
        ("not 1 == 2 and 1 == 1", True),
        ("onset.all <= encoder.0#2", True),
        ("onset.all < encoder.0#2", False),
        ("onset.all <= model.head", True),
        ("onset.all <= layers.2", False),
        ("layers.2 < onset.all", True),
        ("onset.nrc1 == onset.nrc2", True),
        ("onset.all <= 'a b/c-d'", True),
        ("onset.all == layers[2]", True),
        ("onset.all <= layers[-4]", False),
    ],
)
def test_what_rules_say(text: str, holds: bool) -> None:
    assert outcome(text) is holds


def test_a_name_is_a_layer_even_beside_the_list_of_layers() -> None:
    """`layers.2` is the second of the list here, and `layers[2]` the third."""
    assert outcome("onset.all == layers[2]") is True
    assert outcome("onset.all == layers.2") is False


def test_layers_compare_by_depth_and_not_by_order() -> None:
    found = checkpoint()
    found["layers"][3]["position"] = 2  # a shortcut beside the block's first layer
    assert evaluate(parse("onset.all == model.head"), found).holds is True


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("onset.all <= 'a b/c-d'", False),
        ("onset.all > 'a b/c-d'", True),
        ("not onset.all <= layers[-1]", True),
        ("onset.all == layers[-1]", False),
        ("onset.nrc1 < onset.all", True),
    ],
)
def test_an_onset_that_never_comes_lies_behind_every_layer(text: str, holds: bool) -> None:
    found = checkpoint(onset=dict.fromkeys(CONDITIONS, "encoder.0#2") | {"all": None})
    found["verdict"]["state"] = "partly"
    assert evaluate(parse(text), found).holds is holds


def test_two_onsets_that_never_come_cannot_be_compared() -> None:
    never = checkpoint(onset=dict.fromkeys((*CONDITIONS, "all")))
    never["verdict"]["state"] = "not collapsed"
    answered(never, "not met", *CONDITIONS)
    found = evaluate(parse("onset.nrc1 <= onset.all"), never)
    assert found.holds is None
    assert found.because == ("neither onset.nrc1 nor onset.all ever comes",)


@pytest.mark.parametrize("state", ["undecided", "cannot be judged"])
def test_a_collapse_that_is_not_known_decides_nothing_and_says_which_it_is(state: str) -> None:
    found = checkpoint(onset=dict.fromkeys((*CONDITIONS, "all")))
    found["model"]["learned"] = None
    found["verdict"] |= {"state": state, "text": f"{state.upper()}: so and so."}
    answered(found, state, "nrc4")
    for text in ("onset.all <= layers.2", "not onset.all <= layers.2", "onset.all > layers.2"):
        judged = evaluate(parse(text), found)
        assert judged.holds is None
        assert judged.because == (f"onset.all is not known: {state.upper()}: so and so.",)


@pytest.mark.parametrize(
    ("answer", "said"), [("undecided", "is undecided"), ("cannot be judged", "cannot be judged")]
)
def test_an_onset_that_is_not_known_is_undefined_and_not_late(answer: str, said: str) -> None:
    found = checkpoint(onset={**dict.fromkeys(CONDITIONS), "all": None})
    answered(found, answer, "nrc2")
    for text in ("onset.nrc2 <= layers.2", "not onset.nrc2 <= layers.2"):
        judged = evaluate(parse(text), found)
        assert judged.holds is None
        assert judged.because == (f"onset.nrc2 is not known: NRC2 {said} at the last layer",)


def test_an_onset_behind_what_was_not_measured_cannot_be_judged() -> None:
    found = checkpoint(onset={**dict.fromkeys(CONDITIONS), "all": None})
    found["verdict"]["unmeasured"] = {"head": "left out by --exclude"}
    judged = evaluate(parse("onset.nrc1 <= layers.2"), found)
    assert judged.holds is None
    assert judged.because == ("onset.nrc1 cannot be judged: head not measured",)


def test_an_onset_that_may_lie_earlier_decides_only_what_both_places_decide() -> None:
    found = checkpoint()
    found["layers"][1]["answers"]["nrc1"] = "undecided"
    found["layers"][1]["met"]["nrc1"] = None
    found["layers"][0]["answers"]["nrc1"] = "met"
    here = "onset.nrc1 is encoder.0#2 (3rd) or already layers.0 (1st): layers.2 (2nd) is undecided"
    for text, holds in {
        "onset.nrc1 <= encoder.0#2": True,
        "onset.nrc1 > model.head": False,
        "onset.nrc1 <= layers.2": None,
        "not onset.nrc1 <= layers.2": None,
        "onset.nrc1 != layers.2": None,
        "onset.nrc1 < onset.nrc3": None,
        "onset.nrc3 < onset.nrc1": False,
        "onset.all == encoder.0#2": True,  # layers.2 surely fails another
    }.items():
        judged = evaluate(parse(text), found)
        assert judged.holds is holds, text
        if holds is None:
            assert judged.because == (here,)


def test_an_onset_may_lie_before_a_layer_that_was_not_measured() -> None:
    found = checkpoint()
    answered(found, "met", "nrc1")
    found["onset"]["nrc1"] = "encoder.0#2"  # and what runs before it was left out
    found["verdict"]["unmeasured"] = {"hidden": "left out by --exclude"}
    result = evaluate(parse("onset.nrc1 <= layers.2"), found)
    assert result.holds is None
    assert result.because == (
        "onset.nrc1 is encoder.0#2 (3rd) or already layers.0 (1st): hidden was not measured",
    )


def test_layers_are_counted_as_the_verdict_counts_them() -> None:
    found = checkpoint()
    for layer, step in zip(found["layers"], (None, 1, 2, 3, 4), strict=True):
        layer["step"] = step  # the first reads the inputs
    judged = evaluate(parse("onset.all <= layers.0"), found)
    assert judged.because == ("onset.all = encoder.0#2 (2nd), not <= layers.0",)


def test_of_layers_that_share_the_last_step_any_may_break_it() -> None:
    """The mean of the last two fails where the first of them alone would not."""
    found = checkpoint(onset=dict.fromkeys((*CONDITIONS, "all")))
    found["verdict"]["state"] = "not collapsed"
    found["layers"][-1]["step"] = found["layers"][-2]["step"]
    found["layers"][-1]["answers"]["nrc3"] = "not met"
    judged = evaluate(parse("onset.nrc3 <= layers.2"), found)
    assert judged.because == ("onset.nrc3 = never, not <= layers.2 (2nd)",)


@pytest.mark.parametrize(
    "text",
    [
        "layers[-1].cka > 0.5",
        "layers[-1].cka <= 0.5",
        "not layers[-1].cka > 0.5",
        "layers[-1].cka != 0.5",
        "layers[-1].cka == layers[-1].cka",
        "layers[-1].met.nrc2",
        "not layers[-1].met.nrc2",
        "max(layers[-3:].cka) > 0",
        "-layers[-1].cka + 1 > 0 and 1 == 1",
        "layers[-1].cka > 0 or 1 == 2",
    ],
)
def test_what_is_undefined_never_passes_and_says_why(text: str) -> None:
    found = checkpoint()
    found["layers"][-1] |= {"cka": None, "undefined": {"cka": "the features do not vary"}}
    found["layers"][-1]["met"]["nrc2"] = None
    found["layers"][-1]["answers"]["nrc2"] = "cannot be judged"
    judged = evaluate(parse(text), found)
    assert judged.holds is None
    assert "is undefined: the features do not vary" in judged.because[0]


@pytest.mark.parametrize("text", ["layers[-1].met.nrc2", "not layers[-1].met.nrc2"])
def test_what_is_undecided_never_passes_and_says_so(text: str) -> None:
    found = checkpoint()
    found["layers"][-1]["met"]["nrc2"] = None
    found["layers"][-1]["answers"]["nrc2"] = "undecided"
    judged = evaluate(parse(text), found)
    assert judged.holds is None
    assert judged.because == (
        "layers[-1].met.nrc2 is undecided: cka is too close to its threshold or to chance",
    )


def test_numbers_that_arithmetic_cannot_give_are_undefined() -> None:
    zero = evaluate(parse("1 / layers[0].cka > 0 or 1 == 2"), checkpoint())
    assert (zero.holds, zero.because) == (
        None,
        ("layers[0].cka is 0, and divides", *zero.because[1:]),
    )
    huge = evaluate(parse("1e308 * 10 > 0"), checkpoint())
    assert (huge.holds, huge.because) == (None, ("1e308 * 10 is out of a number's range",))
    assert evaluate(parse("max(layers[4:2].cka) > 0"), checkpoint()).because == (
        "layers[4:2].cka: none of 5 layers",
    )


@pytest.mark.parametrize("joined", ["{}", "not {}", "{} or model.learned", "model.learned or {}"])
def test_a_layer_that_is_not_there_fails_the_rule_wherever_it_is_named(joined: str) -> None:
    unknown = evaluate(parse(joined.format("onset.all <= nope")), checkpoint())
    assert unknown.holds is None
    assert unknown.because == (
        "no layer is called nope; there are layers.0, layers.2, encoder.0#2, model.head and"
        " a b/c-d",
    )
    beyond = evaluate(parse(joined.format("layers[-6].cka > 0")), checkpoint())
    assert (beyond.holds, beyond.because) == (
        None,
        ("layers[-6].cka: there are 5 layers, 0 to 4",),
    )


def test_of_many_layers_the_first_are_listed() -> None:
    found = checkpoint()
    found["layers"] = [found["layers"][0] | {"name": f"l{i}"} for i in range(50)]
    (why,) = evaluate(parse("layers['x'].cka > 0"), found).because
    assert why.endswith("the first of 50 are " + ", ".join(f"l{i}" for i in range(12)))


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("layers[-1].cka < 0.05", "layers[-1].cka = 0.4, not < 0.05"),
        ("model.r2 >= 0.9", "model.r2 = 0.9 >= 0.9"),
        ("model.r2 > 0.89999999", "model.r2 = 0.9 > 0.89999999"),
        ("model.mse * 3 < 0.3", "model.mse * 3 = 0.3, not < 0.3"),
        ("model.mse * 3 <= 0.3", "model.mse * 3 = 0.30000000000000004, not <= 0.3"),
        ("(model.mse+1)*2 > -1e-3", "(model.mse+1)*2 = 2.2 > -1e-3"),
        ("onset.all <= layers.2", "onset.all = encoder.0#2 (3rd), not <= layers.2 (2nd)"),
        ("onset.all <= layers[3]", "onset.all = encoder.0#2 (3rd) <= layers[3] = model.head (4th)"),
        ("model.learned", "model.learned is true"),
        ("not model.learned", "model.learned is true"),
        ("layers[3].width == 8", "layers[3].width = 8 == 8"),
        ("1 == 2 and model.learned", "1, not == 2"),
        ("1 == 2 or model.learned", "model.learned is true"),
    ],
)
def test_what_decided_a_rule_is_told_with_its_values(text: str, because: str) -> None:
    assert evaluate(parse(text), checkpoint()).because == (because,)


def test_values_are_those_that_decided() -> None:
    text = "model.r2 > 0.99 or model.mse < 1 and onset.all < layers[-1]"
    assert evaluate(parse(text), checkpoint()).values == {
        "model.mse": 0.1,
        "onset.all": "encoder.0#2",
    }
    found = checkpoint(model={"mse": 1.0, "r2": None, "learned": False, "undefined": {}})
    assert evaluate(parse("model.r2 > 0"), found).values == {"model.r2": None}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty rule at the end; write a rule such as"),
        ("onset.al <= x", "character 1, 'onset.al'; choose a field of onset: nrc1, nrc2, nrc3"),
        ("model.r3 >= 1", "character 1, 'model.r3'; choose a field of model: mse, r2 and learned"),
        ("r2 > 1", "unknown field at character 1, 'r2'; choose among model.mse, .*onset.all and"),
        ("1 < layers[-1].cak", "character 16, 'cak'; choose a field of a layer: noise_.*met.nrc4"),
        ("layers.10.cka > 1", 'where a number is wanted .*; write layers\\["layers.10"\\].cka'),
        ("model.r2", "a number where yes or no is wanted at character 1, 'model.r2'; compare it"),
        ("1 == 1 and model.r2", "yes or no is wanted at character 12"),
        ("onset.all", "an onset alone at character 1"),
        ("0 < model.r2 < 2", "unexpected at character 14, '<'; compare two things at a time"),
        ("model.r2 = 3", "character 10, '='; write == to compare"),
        ("model.r2 ≥ 3", "character 10, '≥'; write >="),
        ("model.r2 > 3 && 1 == 1", "character 14, '&'; write and"),
        ("max(layers[-1].cka) > 1", r"one value where several .*; write max\(layers\[-3:\].cka\)"),
        ("layers[-3:].cka > 1", "several values at character 1, .*; take min, max or mean of them"),
        ("layers[-3:] > 1", "several layers at character 1"),
        ("min(layers[:].met.nrc1) > 1", "a condition of several layers at character 15"),
        ("(model.r2 > 1", "the rule stops at the end; close the parenthesis"),
        ("layers[1", "the rule stops at the end; close the bracket"),
        ("layers[]", "unexpected at character 8"),
        ("layers[1.5].cka > 1", "unexpected at character 8, '1.5'"),
        ("layers.3 <= layers.4", "two layers compared at character 1, .*onset has nrc1"),
        ("onset.all < 3", "something other than a layer at character 13, '3'"),
        ("onset.all + 1 < x", "a layer where a number is wanted at character 1"),
        ("model.learned == 1", "a condition where a number is wanted at character 1"),
        ("open('x') > 1", "unknown function at character 1, 'open'; choose among min, max"),
        ("model[0] > 1", "an index on what is no list at character 1, 'model'"),
        ("1e999 > 2", "a number out of range at character 1"),
        ("model.r2 > 'a", "character 12, \"'\"; close the quotation mark"),
        ("model.r2 > 1 model.mse > 1", "at character 14, 'model.mse'; join rules with and"),
        ("model.r2 > __import__('os').system('id')", "unknown function at character 12"),
        ("model.r2.__class__ > 1", "unknown field at character 1, 'model.r2.__class__'"),
        ("x" * 2000, "a rule of 2000 characters, more than 1000, "),
        ("(" * 500, "more than 30 levels at character 32"),
        ("not " * 200, "more than 30 levels"),
        ("-" * 900, "more than 30 levels"),
    ],
)  # fmt: skip
def test_a_mistake_is_pointed_at(text: str, message: str) -> None:
    with pytest.raises(RuleError, match=message) as raised:
        parse(text)
    assert str(raised.value).startswith("--require ")
    assert raised.value.exit_code == 2


def test_the_caret_stands_below_the_character() -> None:
    with pytest.raises(RuleError) as raised:
        parse("model.r2 > 1\tand layers[-1].foo < 2")
    rule, caret = raised.value.caret.splitlines()
    assert rule[caret.index("^") :] == "foo < 2"


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_an_error_in_one_line(text: str) -> None:
    try:
        rule = parse(text)
    except RuleError as error:
        assert str(error).isprintable()  # noqa: PT017
        assert len(error.caret.splitlines()) == 2  # noqa: PT017
    else:
        assert evaluate(rule, checkpoint()).holds in (True, False, None)


PIECES = [
    *("model.r2", "model.mse", "model.learned", "onset.all", "onset.nrc1", "layers.2", "nope"),
    *("layers[-1]", ".cka", ".met.nrc1", "layers[", "]", ":", "'a b/c-d'", '"', "max(", "(", ")"),
    *(" and ", " or ", " not ", " < ", " <= ", " == ", "+", "-", "*", "/", "0", "1e3", "2", "."),
]


@given(st.lists(st.sampled_from(PIECES), max_size=300).map("".join))
def test_any_words_are_a_rule_or_an_error_in_one_line(text: str) -> None:
    try:
        rule = parse(text)
    except RuleError as error:
        assert str(error).isprintable()  # noqa: PT017
    else:
        assert evaluate(rule, checkpoint()).holds in (True, False, None)


def test_a_long_rule_is_no_deep_one() -> None:
    assert outcome(f"{' + '.join(['1'] * 240)} == 240") is True
    assert outcome(" and ".join(["1==1"] * 110)) is True
    assert outcome(" or ".join(["1==2"] * 120)) is False


# Logic over three comparisons, each of which may hold, fail, or be undefined.
ATOMS = ("layers[0].cka > 0.5", "layers[1].cka > 0.5", "layers[2].cka > 0.5")
RULES = st.recursive(
    st.sampled_from(ATOMS),
    lambda inner: st.one_of(
        inner.map("not ({})".format),
        st.tuples(inner, inner).map("({0[0]}) and ({0[1]})".format),
        st.tuples(inner, inner).map("({0[0]}) or ({0[1]})".format),
    ),
    max_leaves=5,
)
NUMBERS = st.sampled_from([0.2, 0.8])
VALUES = st.lists(st.none() | NUMBERS, min_size=3, max_size=3)


def with_cka(values: list[float | None]) -> dict[str, Any]:
    found = checkpoint()
    for layer, value in zip(found["layers"], values, strict=False):
        layer["cka"] = value
    return found


def holds(text: str, values: list[float | None]) -> bool | None:
    return evaluate(parse(text), with_cka(values)).holds


@given(RULES, VALUES, st.lists(NUMBERS, min_size=3, max_size=3))
def test_a_verdict_is_the_same_whatever_an_undefined_value_had_been(
    text: str, values: list[float | None], instead: list[float]
) -> None:
    verdict = holds(text, values)
    filled: list[float | None] = [
        i if v is None else v for v, i in zip(values, instead, strict=True)
    ]
    if verdict is not None:
        assert holds(text, filled) is verdict
    if None not in values:
        assert verdict is not None


@given(RULES, RULES, VALUES)
def test_the_laws_of_logic_hold(a: str, b: str, values: list[float | None]) -> None:
    def says(text: str) -> bool | None:
        return holds(text, values)

    assert says(f"not (not ({a}))") is says(a)
    assert says(f"({a}) and ({b})") is says(f"({b}) and ({a})")
    assert says(f"({a}) or ({b})") is says(f"({b}) or ({a})")
    assert says(f"not (({a}) and ({b}))") is says(f"not ({a}) or not ({b})")
    if says(a) is None:
        assert says(f"not ({a})") is None
        assert says(f"({a}) or ({a})") is None


@given(st.floats(-1e6, 1e6), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
def test_what_is_shown_compares_as_the_values_do(threshold: float, sign: str) -> None:
    """Rounding for display never shows a comparison that contradicts the verdict."""
    value = threshold * (1 + 1e-7)
    found = checkpoint(model={"mse": value, "r2": 0.9, "learned": True, "undefined": {}})
    judged = evaluate(parse(f"model.mse {sign} {threshold!r}"), found)
    shown = judged.because[0].removeprefix("model.mse = ").split(",")[0].split(" ")[0]
    compare = parse(f"{shown} {sign} {threshold!r}")
    assert evaluate(compare, found).holds is judged.holds
    assert math.isclose(float(shown), value, rel_tol=5e-3)
