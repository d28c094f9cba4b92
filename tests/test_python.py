"""From Python: one call to a report, results to look into, and messages in the words of Python."""

from __future__ import annotations

import copy
import inspect
import logging
import os
import pickle
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import FIXTURES, ROOT, Run, fitted, mlp, samples
from torch import nn

import nrcscan
from nrcscan import InputError, Moments, NrcscanError, Report, Thresholds, UsageError
from nrcscan.metrics.quantities import CATALOGUE, CONDITIONS, QUANTITIES
from nrcscan.options.faces import in_keywords
from nrcscan.training import Monitor

SWIMMER = FIXTURES / "swimmer"
NETWORK, DATA = SWIMMER / "wd0.01" / "epoch_600.pt", SWIMMER / "data.npz"
HOSTILE = '<img src=x onerror=alert(1)>"&\x1b[2J\u202egnp'


@pytest.fixture(autouse=True)
def as_written() -> None:
    """Have messages as Python has them."""


@pytest.fixture(scope="module")
def whole() -> Report:
    return nrcscan.measure(NETWORK, DATA, on_note=lambda note: None)


def _named(name: str) -> Report:
    """Return a report whose first layer has a name that a file may hold."""
    x, y = samples(60, 3, 1)
    module = nn.Sequential()
    module._modules[name.replace(".", "")] = nn.Linear(3, 4)
    module._modules["head"] = nn.Linear(4, 1)
    return nrcscan.measure(module, (x, y))


# --- one call -----------------------------------------------------------------------------------


def test_measuring_writes_nothing_and_says_what_a_file_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options: dict[str, Any] = {"limit": 300, "precision": "float32"}
    found = nrcscan.measure(NETWORK, DATA, signal_dim=1, convention="published", **options)
    assert not list(tmp_path.iterdir())
    made = nrcscan.extract(NETWORK, DATA, activations=False, **options)
    kept = nrcscan.report(made, signal_dim=1, convention="published")
    documents = [found.to_dict(), kept.to_dict()]
    for document in documents:
        del document["provenance"]["created"]
    assert documents[0] == documents[1]


@pytest.mark.parametrize("options", [{"sketch": 8, "sketch_passes": 2}, {"memory": 10**6}, {}])
def test_every_way_through_the_data_can_do_without_a_file(options: dict[str, Any]) -> None:
    x, y = samples(200, 5, 2)
    model = fitted(mlp(5, 64, 64, 2), x, y)
    found = nrcscan.measure(model, (x, y), **options)
    assert [layer.name for layer in found.layers] == ["0", "2", "4"]
    assert found.r2 is not None


def test_measures_that_look_at_the_features_can_do_without_a_file_of_yours(tmp_path: Path) -> None:
    x, y = samples(200, 5, 2)
    model = fitted(mlp(5, 16, 2), x, y)
    told: list[str] = []
    found = nrcscan.measure(model, (x, y), measures="all", on_note=told.append)
    nrcscan.extract(model, (x, y), tmp_path / "a.h5", measures="all")
    kept = nrcscan.report(tmp_path / "a.h5", measures="all")
    assert found.to_dict()["layers"] == kept.to_dict()["layers"]
    assert found.measures is not None
    assert found.measures.layers[-1].values["intrinsic_dimension"] > 0
    assert not told


def test_measuring_leaves_the_network_as_it_was() -> None:
    x, y = samples(50, 5, 2)
    model = mlp(5, 16, 2).train()
    before = copy.deepcopy(model.state_dict())
    nrcscan.measure(model, (x, y))
    assert model.training
    assert all(torch.equal(before[name], now) for name, now in model.state_dict().items())


def test_a_doubtful_guess_is_told_once() -> None:
    told: list[str] = []
    found = nrcscan.measure(SWIMMER / "wd0" / "epoch_20.pt", DATA, on_note=told.append)
    assert found.doubts
    assert sum(note.startswith("DOUBTFUL NETWORK") for note in told) == 1


def test_what_only_a_file_can_do_is_no_option() -> None:
    for name in ("output", "force", "activations", "compress"):
        with pytest.raises(TypeError, match=rf"measure\(\) takes no argument {name}"):
            nrcscan.measure(NETWORK, DATA, **{name: True})  # type: ignore[arg-type]
    assert {"layers", "signal_dim", "thresholds"} <= set(
        inspect.signature(nrcscan.measure).parameters
    )


def test_processes_of_torchrun_have_no_report_to_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match=r"several processes of torchrun .* nrcscan\.extract"):
        nrcscan.measure(NETWORK, DATA)


def test_one_item_stands_for_a_list_of_one() -> None:
    x, y = samples(60, 5, 2)
    found = nrcscan.measure(mlp(5, 16, 16, 2), (x, y), layers="4", ignore=(), exclude="0")
    assert [layer.name for layer in found.layers] == ["4"]


# --- results as arguments -----------------------------------------------------------------------


def test_what_a_call_returns_is_taken_by_the_next(tmp_path: Path) -> None:
    x, y = samples(120, 5, 2)
    model = fitted(mlp(5, 16, 2), x, y)
    one = nrcscan.extract(model, (x[:60], y[:60]), tmp_path / "one.h5")
    two = nrcscan.extract(model, (x[60:], y[60:]), tmp_path / "two.h5")
    assert os.fspath(one) == str(tmp_path / "one.h5")
    both = nrcscan.merge([one, two], tmp_path / "both.h5")
    assert nrcscan.report(both).n_samples == 120
    assert nrcscan.against(one, two).test.n_samples == 60
    side = nrcscan.compare(one, two)
    assert [run.label for run in side.runs] == ["one", "two"]
    assert nrcscan.compare([one, str(two.path)]).to_dict() == side.to_dict()


def test_reports_are_compared_beside_files(tmp_path: Path, whole: Report) -> None:
    made = nrcscan.extract(SWIMMER / "wd0" / "epoch_600.pt", DATA, tmp_path / "wd0.h5")
    found = nrcscan.compare(made, whole)
    assert [run.label for run in found.runs] == ["wd0", "report 2"]
    assert found.runs[1].verdict["state"] == whole.verdict.state.value
    assert len(nrcscan.compare(whole, whole).runs) == 2
    with pytest.raises(UsageError, match="a report's numbers are made already"):
        nrcscan.compare(made, whole, signal_dim=1)
    with pytest.raises(UsageError, match="a single run"):
        nrcscan.compare(whole)


@pytest.mark.parametrize("given", [3, None, [3], [None, "a.h5"]])
def test_what_is_no_path_is_told(given: Any) -> None:
    with pytest.raises(UsageError, match="give a path"):
        nrcscan.compare(given)
    if not isinstance(given, list):
        with pytest.raises(UsageError, match="give a path"):
            nrcscan.report(given)


@pytest.mark.usefixtures("workers_here")
def test_a_scan_is_compared_as_its_folder(tmp_path: Path) -> None:
    found = nrcscan.scan(SWIMMER, DATA, tmp_path / "scan", patterns="*_600.pt", jobs=1)
    assert repr(found) == f"<Scan {tmp_path / 'scan'}: 2 checkpoints of 2 runs>"
    assert [run.label for run in nrcscan.compare(found).runs] == ["wd0", "wd0.01"]
    table = found.to_frame()
    assert table.index.names == ["path", "name"]
    assert len(table) == sum(len(c.result["layers"]) for c in found.checkpoints if c.result)
    assert set(table["epoch"]) == {600}
    assert table["training_step"].isna().all()
    page = found._repr_html_()
    assert "wd0.01/epoch_600.pt: COLLAPSED from layers.6" in page
    assert "epoch_600.pt: COLLAPSED" in repr(found.checkpoints[-1])


# --- quantities by name -------------------------------------------------------------------------


def test_a_layer_is_found_by_name_and_by_index(whole: Report) -> None:
    assert whole["layers.6"] is whole.layers[3] is whole[3]
    assert whole[-1].name == "layers.14"
    assert [layer.name for layer in whole][:2] == ["layers.0", "layers.2"]
    assert "layers.6" in whole
    assert "layers.5" not in whole
    with pytest.raises(KeyError, match=r"no layer 'layers.66'; did you mean layers.6\?"):
        whole["layers.66"]
    with pytest.raises(IndexError):
        whole[99]


def test_a_quantity_is_an_attribute_and_an_item(whole: Report) -> None:
    layer = whole["layers.6"]
    for name in QUANTITIES:
        assert getattr(layer, name) == layer[name] == layer.metrics[name] == layer.metrics.get(name)
        assert name in dir(layer)
    assert layer.noise_component == pytest.approx(4.0e-4, rel=0.01)
    assert layer.answers["nrc1"].value == "met"
    with pytest.raises(KeyError, match=r"no quantity 'ckaa'; did you mean cka\?"):
        layer["ckaa"]
    with pytest.raises(AttributeError, match=r"'LayerResult' has no attribute 'ckaa'"):
        layer.ckaa  # noqa: B018


def test_what_is_undefined_is_none_either_way_and_says_why() -> None:
    x, y = samples(3, 5, 2)
    layer = nrcscan.measure(mlp(5, 16, 2), (x, y))[1]
    assert layer.noise_component is None
    assert layer["noise_component"] is None
    assert "samples" in layer.undefined["noise_component"]
    row = nrcscan.measure(mlp(5, 16, 2), (x, y)).to_frame().loc["2"]
    assert np.isnan(row["noise_component"])
    assert row["nrc1"] == "cannot be judged"


def test_results_are_copied_and_pickled(whole: Report) -> None:
    for again in (copy.deepcopy(whole), pickle.loads(pickle.dumps(whole))):
        assert again.to_dict() == whole.to_dict()
        assert again[0].cka == whole[0].cka


# --- looking at results -------------------------------------------------------------------------


def test_a_report_is_told_in_two_lines(whole: Report, tmp_path: Path) -> None:
    assert repr(whole) == (
        f"<Report: {whole.verdict.text}\n8 layers, 800 samples, 2 targets, k = 2>"
    )
    assert repr(whole["layers.6"]).startswith(
        "<LayerResult layers.6: Linear, width 128; NRC1 met, NRC2 met, NRC3 met, NRC4 met; noise_"
    )
    compared = nrcscan.compare(whole, whole)
    assert len(repr(compared).splitlines()) == 3
    for one in (whole[0], whole[0].metrics, compared.runs[0]):
        assert len(repr(one)) < 500
        assert "\n" not in repr(one)
    x, y = samples(40, 3, 1)
    made = nrcscan.extract(mlp(3, 8, 1), (x, y), tmp_path / "a.h5")
    assert re.fullmatch(rf"<Extraction {made.path}: 2 layers, 40 samples, R² = \S+>", repr(made))
    merged = nrcscan.merge(made, tmp_path / "b.h5")
    assert "2 layers, 40 samples of 1 part" in repr(merged)


def test_a_frame_has_a_row_per_layer_and_a_column_per_number(whole: Report) -> None:
    table = whole.to_frame()
    assert table.index.name == "name"
    assert list(table.index) == [layer.name for layer in whole]
    sampled = [quantity.name for quantity in CATALOGUE if quantity.sampled]
    assert list(table.columns) == [
        "kind",
        "width",
        "step",
        *QUANTITIES,
        *(f"{name}_se" for name in sampled),
        *CONDITIONS,
    ]
    assert all(pd.api.types.is_float_dtype(table[name]) for name in QUANTITIES)
    assert table["step"].isna().tolist() == [True, *[False] * 7]
    for layer in whole:
        row = table.loc[layer.name]
        assert row["cka"] == layer.cka
        assert row["cka_se"] == layer.metrics.standard_errors["cka"]
        assert row["nrc3"] == layer.answers["nrc3"].value
    assert (table.query("nrc1 == 'met'")["noise_component"] <= 0.2).all()


def test_a_comparison_has_a_row_per_run_and_layer(whole: Report) -> None:
    other = nrcscan.measure(SWIMMER / "wd0" / "epoch_600.pt", DATA)
    found = nrcscan.compare(whole, other)
    table = found.to_frame()
    assert table.index.names == ["run", "name"]
    assert len(table) == 16
    wide = table["noise_component"].unstack("run")
    assert wide.shape == (8, 2)
    assert list(found.runs[0].layers) == list(whole.to_frame().index)


def test_without_pandas_the_way_out_is_told(whole: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="a DataFrame needs pandas; pip install pandas"):
        whole.to_frame()


class _Tags(HTMLParser):
    """Collects the tags and the texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


SHOWN = {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
SHOWN |= {"details", "summary", "ul", "li"}


def test_a_notebook_shows_the_verdict_first_and_names_do_nothing(whole: Report) -> None:
    found = _named(HOSTILE)
    assert found.layers[0].name.startswith("<img")
    for result in (whole, found, nrcscan.compare(found, found)):
        page = _Tags(result._repr_html_())
        assert {tag for tag, _ in page.tags} <= SHOWN
        assert {name for _, given in page.tags for name in given} <= {"style"}
        assert "\x1b" not in "".join(page.texts)
        assert "\u202e" not in "".join(page.texts)
        assert "color" not in "".join(str(g) for _, g in page.tags).replace("currentColor", "")
    texts = _Tags(whole._repr_html_()).texts
    assert texts[0] == whole.verdict.text
    assert "layers.6" in texts
    assert any(re.fullmatch(r"0\.970 \S", text) for text in texts)
    assert any(text.startswith("network inferred") for text in texts)


# --- notes --------------------------------------------------------------------------------------


def test_notes_are_seen_unasked_and_can_be_silenced(caplog: pytest.LogCaptureFixture) -> None:
    nrcscan.measure(NETWORK, DATA, limit=50)
    assert any("network inferred" in record.getMessage() for record in caplog.records)
    assert {record.name for record in caplog.records} == {"nrcscan"}
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
    caplog.clear()
    caplog.set_level(logging.ERROR, "nrcscan")
    nrcscan.measure(NETWORK, DATA, limit=50)
    assert not caplog.records


def test_a_program_that_sets_nothing_up_shows_notes_on_stderr(tmp_path: Path) -> None:
    script = f"import nrcscan; nrcscan.measure({str(NETWORK)!r}, {str(DATA)!r}, limit=50)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr.startswith("note: network inferred from the weights: 8 → ")
    assert done.stdout == ""


def test_importing_nrcscan_imports_nothing_heavy() -> None:
    script = (
        "import sys, nrcscan; nrcscan.measure, nrcscan.metrics, nrcscan.report, nrcscan.compare;"
        "assert not {'torch', 'pandas', 'matplotlib'} & set(sys.modules), 'heavy'"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", script], env=environment, timeout=60, check=True)


# --- messages -----------------------------------------------------------------------------------


def test_what_is_raised_names_the_keyword(tmp_path: Path) -> None:
    x, y = samples(60, 5, 2)
    model = mlp(5, 16, 2)
    made = nrcscan.extract(model, (x, y), tmp_path / "a.h5")
    for call, message in (
        (lambda: nrcscan.measure(NETWORK, DATA, standardize="z"), 'standardize="z": give x, y'),
        (lambda: nrcscan.measure(model, (x, y), limit=0), "limit=0: give at least 1"),
        (lambda: nrcscan.measure(model, (x, y), limit=[1]), "limit: [1] is a list: give"),  # type: ignore[arg-type]
        (lambda: nrcscan.measure(model, (x, y), layers="none*"), "layers='none*'"),
        (
            lambda: nrcscan.measure(model, (x, y), scales="a.npz"),
            "scales= has no effect without standardize=",
        ),
        (
            lambda: nrcscan.measure(model, (x, y[:, :1])),
            "choose with output_key= and output_slice=, or measure a network without a head with"
            " predictions=False",
        ),
        (
            lambda: nrcscan.measure(FIXTURES / "pendulum" / "model.safetensors", DATA),
            "name the network's factory with factory=, choose the part that is the network with"
            " state_key=PREFIX, or leave tensors aside with ignore=GLOB",
        ),
        (
            lambda: nrcscan.extract(model, (x, y), made.path),
            "exists already; replace it with force=True, or choose another name",
        ),
        (
            lambda: nrcscan.report(made, signal_dim=0),
            "signal_dim=0: give t, auto or a number from 1 up",
        ),
        (lambda: nrcscan.against(made, made), "give that of other samples to test="),
        (
            lambda: nrcscan.merge([made, made], made.path),
            "is an input too; choose another output=",
        ),
        (lambda: nrcscan.plot(made, kind="heatmap"), 'kind="heatmap": shows one scan'),
        (lambda: nrcscan.plot([made, made], labels=["a"]), "labels: 1 for 2 networks"),
        (
            lambda: nrcscan.report(made).plot(width="x"),  # type: ignore[arg-type]
            'width="x": choose one of column and page',
        ),
        (lambda: nrcscan.plot(made, made.path), "is no name for a figure; end it with .pdf"),
        (lambda: Monitor((x, y), None, limit=0), "limit=0: give at least 1"),
        (
            lambda: Monitor((x, y), None, scales="a.npz"),
            "scales= has no effect without standardize=",
        ),
        (lambda: Thresholds(cka_min=2), "cka_min 2: give a number from 0 to 1"),
    ):
        with pytest.raises(NrcscanError) as raised:
            call()
        assert message in str(raised.value)
        assert not re.search(r"(^|\s)--?[a-z]", str(raised.value))


def test_a_command_names_its_flags(cli: Run, tmp_path: Path) -> None:
    found = cli("extract", NETWORK, DATA, "--standardize", "z")
    assert found.stderr.startswith("error: --standardize z: give x, y or x,y")
    found = cli("extract", SWIMMER / "wd0" / "epoch_20.pt", DATA, "-o", tmp_path / "a.h5")
    assert "or the activation with --activation" in found.stderr
    assert "activation=" not in found.stderr
    with pytest.raises(InputError, match="factory="):  # and Python its keywords, afterwards
        nrcscan.measure(FIXTURES / "pendulum" / "model.safetensors", DATA)


def test_notes_name_the_keyword_and_files_the_flag() -> None:
    told: list[str] = []
    found = nrcscan.measure(SWIMMER / "wd0" / "epoch_20.pt", DATA, on_note=told.append)
    assert any("with activation=" in note for note in told)
    assert not any("--" in note for note in told)
    assert any("--activation" in note for note in found.notes)
    assert "--activation" not in found._repr_html_()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("use --mask 'a', --mask '~a' if it is", "use mask='a', mask='~a' if it is"),
        ("a file a--trust.pt, x=--limit", "a file a--trust.pt, x=--limit"),
        ("--no-such-flag stays", "--no-such-flag stays"),
        ("--offset 5: has 3 samples", "offset=5: has 3 samples"),
        ("choose another -o", "choose another output="),
        (
            "--scales goes with --standardize x|y|x,y",
            "scales= goes with standardize=x|y|x,y",
        ),
        (
            "with --ignore 'a' --ignore 'b*' or --ignore 'c'",
            "with ignore=['a', 'b*'] or ignore='c'",
        ),
        ("--state-key ema.model: took a", 'state_key="ema.model": took a'),
        ("choose --state-key from a", "choose state_key= from a"),
    ],
)
def test_flags_become_keywords(text: str, shown: str) -> None:
    assert in_keywords(text) == shown


# --- statistics on their own --------------------------------------------------------------------


def test_moments_lead_to_the_metrics_of_a_report() -> None:
    x, y = samples(200, 5, 2)
    model = fitted(mlp(5, 16, 2), x, y)
    whole = nrcscan.measure(model, (x, y), precision="float64", blocks=0)
    head = model[2]
    assert isinstance(head, nn.Linear)
    moments = Moments(16, 2)
    with torch.no_grad():
        moments.update(model[:2].eval()(torch.tensor(x)), y)
    found = nrcscan.metrics(moments.statistics(), head.weight, k=2, model_mse=whole.mse)
    for name in QUANTITIES:
        ours, theirs = found[name], whole["2"][name]
        assert (ours is None) == (theirs is None), name
        if name != "linear_mse_held_out" and ours is not None:
            assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9), name
    assert found.noise_component == found["noise_component"] == found.values["noise_component"]


def test_what_is_not_given_to_metrics_is_undefined() -> None:
    x, y = samples(200, 5, 2)
    moments = Moments(5, 2)
    moments.update(x, y)
    found = nrcscan.metrics(moments.statistics(), k="auto")
    assert found.alignment is None
    assert found.undefined["alignment"] == "no weight was given"
    assert found.undefined["error_ratio"] == "no model_mse was given"
    assert found.cka is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"weight": np.ones((2, 3))}, r"shape \(2, 3\): give \(out, 5\)"),
        ({"weight": [[np.nan] * 5]}, "no finite number"),
        ({"k": 0}, "k=0: give"),
        ({"k": True}, "k=True: give"),
        ({"k": "many"}, "k='many': give"),
        ({"statistics": 3}, "statistics are a int"),
    ],
)
def test_what_metrics_cannot_use_is_told(given: dict[str, Any], message: str) -> None:
    x, y = samples(50, 5, 2)
    moments = Moments(5, 2)
    moments.update(x, y)
    with pytest.raises(UsageError, match=message):
        nrcscan.metrics(**{"statistics": moments.statistics(), **given})


def test_the_room_of_metrics_is_the_function_too() -> None:
    import nrcscan.metrics.quantities as inside

    assert inside.CONDITIONS == CONDITIONS
    assert callable(nrcscan.metrics)
    assert list(inspect.signature(nrcscan.metrics).parameters)[:3] == ["statistics", "weight", "k"]
