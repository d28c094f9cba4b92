"""Figures: what they show, and that they are the same, whole and inert wherever they are drawn."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import torch
from conftest import FIXTURES, ROOT, Run, samples
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import nn

import nrcscan
from nrcscan.drawing.figure import figure, image
from nrcscan.drawing.keys import mark
from nrcscan.drawing.look import COLOURS, LINES, MARKS
from nrcscan.drawing.shapes import DASHED, DOTTED, Face, Level
from nrcscan.errors import InputError, OutputError, UsageError
from nrcscan.metrics.quantities import CONDITIONS, JUDGED
from nrcscan.options.choices import Kind, Width
from nrcscan.reporting.collapse_figure import collapse_figure
from nrcscan.reporting.headings import heading
from nrcscan.reporting.profile import Profile, profile
from nrcscan.reporting.rank_figure import rank_figure
from nrcscan.reporting.report_document import Report
from nrcscan.reporting.spectrum_figure import spectrum_figure
from nrcscan.scanning.error_figure import error_figure, trainings_of
from nrcscan.scanning.heat_map_figure import heat_map_figure
from nrcscan.scanning.newest_profiles import newest_profiles
from nrcscan.verdict.answers import Answer

ALONE = {**os.environ, "PYTHONPATH": str(ROOT)}
"""For a process that finds this package."""

DATA = FIXTURES / "swimmer" / "data.npz"

HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "$\\frac{1}{0}$",
    "a\u202eb\x1b[2J",
    "層-->]]>",
    "=cmd()|\\input{/etc/passwd}",
    "](javascript:alert(1))",
    "x$y$$",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Statistics of the swimmer with weight decay, and without."""
    made = tmp_path_factory.mktemp("acts")
    for name in ("wd0", "wd0.01"):
        checkpoint = FIXTURES / "swimmer" / name / "epoch_600.pt"
        nrcscan.extract(checkpoint, DATA, made / f"{name}.h5", activations=False)
    return made


@pytest.fixture(scope="module")
def collapsed(folder: Path) -> Report:
    return nrcscan.report(folder / "wd0.01.h5")


@pytest.fixture(scope="module")
def undecided(folder: Path) -> Report:
    return nrcscan.report(folder / "wd0.h5")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Statistics of a network with names that nobody would give."""
    torch.manual_seed(0)
    network = nn.Sequential()
    for place, name in enumerate(HOSTILE):
        last = place == len(HOSTILE) - 1
        network.add_module(name, nn.Linear(8 if place else 5, 2 if last else 8))
        if not last:
            network.add_module(f"relu{place}", nn.ReLU())
    path = tmp_path_factory.mktemp("hostile") / "acts.h5"
    nrcscan.extract(network, samples(100, 5, 2), output=path, activations=False)
    return path


def made_up(names: list[str], **given: Any) -> Profile:
    """Return a network that goes through all answers over its depth."""
    rng = np.random.default_rng(0)
    answers = [Answer.MET, Answer.UNDECIDED, Answer.NOT_MET]
    layers = [
        {
            "name": name,
            "position": place,
            "step": place or None,
            "inputs": place == 0,
            **{c.quantity: float(rng.uniform(0.05, 1)) for c in JUDGED},
            **dict.fromkeys(("noise_component_r", "alignment_r", "noise_alignment_r"), 0.5),
            "noise_alignment": 0.25,
            **dict.fromkeys(("feature_stable_rank", "weight_stable_rank"), 1.5),
            "answers": dict.fromkeys(CONDITIONS, answers[place % 3].value),
            "standard_error": {c.quantity: 0.02 for c in JUDGED},
        }
        for place, name in enumerate(names)
    ]
    verdict = {"state": "not collapsed", "onset": None, "last": None}
    spectra = {name: [1.0, 0.5, 0.1, 0.01] for name in names}
    known = {"signal_dim": 2, "target_rank": 1, "target_stable_rank": 1.2, "spectra": spectra}
    thresholds = {"noise_max": 0.2, "cka_min": 0.65, "alignment_min": 0.7, "error_ratio_max": 2.0}
    return replace(Profile("", layers, verdict, thresholds, None), **{**known, **given})


DEEP = [f"transformer_encoder.layers.{i}.intermediate_dense_projection" for i in range(49)]
NETWORKS = {
    "50 layers": ["transformer_encoder.embedding_input_projection_of_tokens", *DEEP],
    "1 layer": ["head"],
    "30 short": [str(i) for i in range(30)],
    "120 layers": [f"blocks.{i}.attention.self.query_key_value" for i in range(120)],
    "hostile": list(HOSTILE),
}


def texts(drawn: Figure) -> Iterator[Text]:
    """Yield every text that is shown."""
    beyond = {id(label) for axes in drawn.axes for label in _beyond(axes)}
    for one in drawn.findobj(Text):
        assert isinstance(one, Text)
        if id(one) not in beyond and one.get_visible() and one.get_text().strip():
            yield one


def _beyond(axes: Axes) -> Iterator[Text]:
    """Yield the numbers of ticks outside a panel, which are not drawn."""
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not low <= tick.get_loc() <= high:
                yield from (tick.label1, tick.label2)


# --- what is shown ---------------------------------------------------------------------------


def test_the_four_panels_show_every_value_with_its_answer(collapsed: Report) -> None:
    drawing = collapse_figure([profile(collapsed, "")])
    titles = ["NRC1 noise ≤ 0.2", "NRC2 CKA ≥ 0.65", "NRC3 align ≥ 0.7", "NRC4 ratio 0.5 to 2"]
    assert [panel.title for panel in drawing.panels] == titles
    for panel, condition in zip(drawing.panels, JUDGED, strict=True):
        (curve,) = panel.curves
        for point, layer in zip(curve.points, collapsed.layers, strict=True):
            assert point.x == layer.index
            assert point.y == layer.metrics.values[condition.quantity]
            error = layer.metrics.standard_errors[condition.quantity]
            assert point.bar == pytest.approx((point.y - error, point.y + error))
            met = layer.answers[condition.name] is Answer.MET
            assert (point.face is Face.FULL) == (met and not layer.inputs)
            assert (point.face is Face.CROSS) == layer.inputs


def test_undecided_is_neither_met_nor_failing(undecided: Report) -> None:
    aligned = collapse_figure([profile(undecided, "")]).panels[2]
    faces = {point.face for point in aligned.curves[0].points}
    assert faces == {Face.CROSS, Face.HOLLOW, Face.HALF}


def test_thresholds_are_those_of_the_report(folder: Path) -> None:
    thresholds = nrcscan.Thresholds(noise_max=0.01, error_ratio_max=4)
    found = profile(nrcscan.report(folder / "wd0.h5", thresholds=thresholds), "")
    first, *_, last = collapse_figure([found]).panels
    assert first.levels == (Level(0.01, DOTTED),)
    assert first.title == "NRC1 noise ≤ 0.01"
    assert set(last.levels) == {Level(0.25, DOTTED), Level(4.0, DOTTED), Level(1.0, DASHED)}


def test_only_a_collapsed_stretch_is_shaded(collapsed: Report, undecided: Report) -> None:
    shaded = collapse_figure([profile(collapsed, "")]).panels
    assert collapsed.verdict.onset == "layers.6"
    assert [(span.first, span.last) for p in shaded for span in p.spans] == [(3, 7)] * 4
    assert not any(p.spans for p in collapse_figure([profile(undecided, "")]).panels)


def test_what_is_undefined_is_missing_and_named(collapsed: Report) -> None:
    one = profile(collapsed, "")
    layers = [{**layer, "cka": None} if layer["step"] == 2 else layer for layer in one.layers]
    drawing = collapse_figure([replace(one, layers=layers)])
    curve = drawing.panels[1].curves[0]
    assert list(curve.missing) == [2]
    assert 2 not in [point.x for point in curve.points]
    assert "undefined" in [line.label for line in drawing.key]
    axes = figure(drawing, "page").axes[1]
    assert [text.get_text() for text in axes.texts] == ["?"]
    lines: list[Any] = [line.get_xdata() for line in axes.lines if line.get_linestyle() == "-"]
    assert not any({1, 3} <= {*xs} for xs in lines), "joined across what is missing"


def test_zero_on_a_logarithmic_axis_is_said_not_drawn_elsewhere(collapsed: Report) -> None:
    one = profile(collapsed, "")
    layers = [{**layer, "noise_component": 0.0} if layer["step"] else layer for layer in one.layers]
    axes = figure(collapse_figure([replace(one, layers=layers)]), "page").axes[0]
    assert [text.get_text() for text in axes.texts] == ["0"] * 7


def test_error_bars_stand_about_the_corrected_value() -> None:
    one = made_up(["a", "b"])
    layers = [{**layer, "corrected": {"cka": 0.4}} for layer in one.layers]
    points = collapse_figure([replace(one, layers=layers)]).panels[1].curves[0].points
    assert [point.bar for point in points] == [pytest.approx((0.38, 0.42))] * 2
    assert points[0].y == one.layers[0]["cka"]


def test_networks_of_the_same_layers_share_their_names(
    collapsed: Report, undecided: Report
) -> None:
    both = [profile(undecided, "wd0"), profile(collapsed, "wd0.01")]
    drawing = collapse_figure(both)
    assert drawing.panels[0].x.names == ("0", "2", "4", "6", "8", "10", "12", "14")
    assert drawing.panels[0].x.label == "layer (layers.*)"
    told = ["wd0: undecided", "wd0.01: collapsed from layers.6 (3rd of 7)"]
    assert [line.label for line in drawing.head] == told
    assert [curve.look for curve in drawing.panels[0].curves] == [0, 1]


def test_networks_of_other_layers_stand_step_by_step(collapsed: Report) -> None:
    drawing = collapse_figure([profile(collapsed, "a"), made_up(["x", "y", "z"], label="b")])
    assert drawing.panels[0].x.names == ("in", "1", "2", "3", "4", "5", "6", "7")
    assert [point.x for point in drawing.panels[0].curves[1].points] == [0, 1, 2]


def test_thresholds_that_differ_are_not_drawn(collapsed: Report) -> None:
    other = made_up(["x", "y"], thresholds={"noise_max": 0.1}, label="b")
    first = collapse_figure([profile(collapsed, "a"), other]).panels[0]
    assert not first.levels
    assert first.title == "NRC1 noise"
    assert heading(JUDGED[0], {}) == "NRC1 noise"


def test_ranks_stand_beside_k_and_the_targets_rank(collapsed: Report) -> None:
    drawing = rank_figure([profile(collapsed, "")])
    assert [panel.title for panel in drawing.panels] == ["SR(H)", "SR(W)"]
    rank = collapsed.target_stable_rank
    assert rank is not None
    for panel, name in zip(drawing.panels, ("feature", "weight"), strict=True):
        assert set(panel.levels) == {Level(2, DASHED), Level(rank, DOTTED)}
        values = [layer.metrics.values[f"{name}_stable_rank"] for layer in collapsed.layers]
        assert [point.y for point in panel.curves[0].points] == values


def test_low_ranks_are_drawn_beside_k() -> None:
    titles = [panel.title for panel in rank_figure([made_up(["a", "b"])]).panels]
    beside = ("noise", "align", "noise align")
    at_k, at_r = [f"{one} at k = 2" for one in beside], [f"{one} at r = 1" for one in beside]
    assert titles == ["SR(H)", *at_k, "SR(W)", *at_r]


def with_values(one: Profile, quantity: str, values: Sequence[float | None]) -> Profile:
    """Return a network with other values of a quantity."""
    layers = [{**layer, quantity: value} for layer, value in zip(one.layers, values, strict=True)]
    return replace(one, layers=layers)


def test_networks_of_one_label_are_a_curve_with_a_band() -> None:
    seeds = [
        with_values(made_up(["a", "b", "c"], label="λ = 0"), "cka", values)
        for values in ([0.3, 0.5, 0.9], [0.1, 0.7, 0.8], [0.2, 0.6, None])
    ]
    other = made_up(["a", "b", "c"], label="λ = 1")
    drawing = collapse_figure([*seeds, other])
    together, alone = drawing.panels[1].curves
    assert [(p.x, p.y) for p in together.points] == [(0, 0.2), (1, 0.6)]
    assert list(together.band) == [(0, 0.1, 0.3), (1, 0.5, 0.7)]
    assert list(together.missing) == [2], "no median where one of them is undefined"
    assert not alone.band
    assert [curve.look for curve in (together, alone)] == [0, 1]
    told = ["λ = 0 (3 networks): not collapsed", "λ = 1: not collapsed"]
    assert [line.label for line in drawing.head] == told
    assert any(line.band for line in drawing.key)
    bands = figure(drawing, "page").axes[1].findobj(FillBetweenPolyCollection)
    assert len(bands) == 1


def test_a_band_says_where_its_networks_are_not_alike() -> None:
    one = made_up(["a", "b", "c"], label="x")
    answers = [{**layer, "answers": dict.fromkeys(CONDITIONS, "met")} for layer in one.layers]
    verdicts = [{"state": "collapsed", "onset": at, "last": "c"} for at in ("b", "c")]
    two = [replace(one, layers=answers, verdict=verdict) for verdict in verdicts]
    drawing = collapse_figure(two)
    (line,) = drawing.head
    told = "1 × collapsed from b (1st of 2), 1 × collapsed from c (2nd of 2)"
    assert line.label == f"x (2 networks): {told}"
    assert {(span.first, span.last) for p in drawing.panels for span in p.spans} == {(2, 2)}
    mixed = collapse_figure([two[0], replace(one, verdict=verdicts[0])]).panels[0].curves[0]
    assert [point.face for point in mixed.points] == [Face.CROSS, Face.HALF, Face.HALF]
    assert not any(p.spans for p in collapse_figure([two[0], one]).panels), "one has not collapsed"
    assert_whole(figure(rank_figure(two), "column"))


def test_spectra_are_shares_of_the_first(collapsed: Report) -> None:
    (panel,) = spectrum_figure([profile(collapsed, "")]).panels
    assert panel.levels == (Level(2, DASHED, upright=True),)
    assert len(panel.curves) == len(collapsed.layers)
    values = collapsed.layers[3].metrics.eigenvalues
    shares = values / values[0]
    drawn = panel.curves[3].points
    assert [point.x for point in drawn] == list(range(1, len(drawn) + 1))
    assert [point.y for point in drawn] == pytest.approx(shares[: len(drawn)])
    assert all(shares[len(drawn) :] <= 2.0**-52 * len(values)), "more than rounding is left out"


# --- scans -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scanned(folder: Path, collapsed: Report, undecided: Report) -> dict[str, Any]:
    """A scan of two runs, one with a checkpoint that could not be used."""

    def entry(run: str, epoch: int, report: Report | None) -> dict[str, Any]:
        row: dict[str, Any] = {"path": f"{run}/epoch_{epoch}.pt", "run": run, "epoch": epoch}
        row |= {"step": None, "status": "ok" if report else "error", "reason": None}
        if report is None:
            return {**row, "reason": "weights are NaN"}
        kept = ("n_samples", "signal_dim", "model", "verdict", "onset", "layers")
        return {**row, "data": None, **{name: report.to_dict()[name] for name in kept}}

    return {
        "schema": "nrcscan.scan/2",
        "provenance": {"report": {"thresholds": collapsed.to_dict()["thresholds"]}},
        "checkpoints": [
            entry("a", 20, undecided),
            entry("a", 100, collapsed),
            entry("b", 10, None),
            entry("b", 30, undecided),
        ],
    }


@pytest.fixture(scope="module")
def scan_folder(scanned: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("scan")
    (made / "scan.json").write_text(json.dumps(scanned))
    return made


def test_heat_maps_have_a_column_per_checkpoint(
    scanned: dict[str, Any], collapsed: Report, undecided: Report
) -> None:
    drawing = heat_map_figure(scanned)
    assert len(drawing.maps) == 8
    assert list(drawing.titles) == ["a", "b"]
    noise, *_, ratio = drawing.maps[:4]
    assert noise.columns == ("20", "100")
    assert noise.rows == ("0", "2", "4", "6", "8", "10", "12", "14")
    for row, before, after in zip(noise.values, undecided.layers, collapsed.layers, strict=True):
        expected = [one.metrics.values["noise_component"] for one in (before, after)]
        assert list(row) == expected
    assert noise.line == (3, 1), "where NRC1 is met from"
    assert noise.second == (None, 3), "collapsed at the second alone"
    assert ratio.faces[0] == (Face.CROSS, Face.CROSS), "inputs are not judged"
    assert {face for row in drawing.maps[4].faces for face in row[:1]} == {Face.UNKNOWN}


def test_scans_are_drawn_by_their_newest_checkpoints(scanned: dict[str, Any]) -> None:
    found = newest_profiles(scanned)
    assert {run: one.verdict["state"] for run, one in found.items()} == {
        "a": "collapsed",
        "b": "undecided",
    }


@pytest.mark.parametrize("kind", ["collapse", "rank", "heatmap", "error"])
def test_a_scan_is_drawn(scan_folder: Path, tmp_path: Path, kind: Kind) -> None:
    source = scan_folder / "scan.json" if kind == "rank" else scan_folder
    drawn = nrcscan.plot(source, tmp_path / "a.svg", kind=kind)
    assert len(drawn.axes) == {"collapse": 4, "rank": 2, "heatmap": 12, "error": 2}[kind]


def entries_of(states: Sequence[str], errors: Sequence[float | None]) -> list[dict[str, Any]]:
    """Return the checkpoints of a run, at epochs 1, 10, 100, …."""
    return [
        {
            "path": f"a/epoch_{10**i}.pt",
            "run": "a",
            "epoch": 10**i,
            "step": None,
            "status": "ok" if state else "error",
            "model": {"mse": mse},
            "verdict": {"state": state},
        }
        for i, (state, mse) in enumerate(zip(states, errors, strict=True))
    ]


def test_errors_over_epochs_say_from_when_on_a_network_has_collapsed() -> None:
    states = ["not collapsed", "collapsed", "partly", "collapsed", "", "collapsed"]
    train = {"checkpoints": entries_of(states, [1.0, 0.5, 0.3, 0.2, None, 0.1])}
    other = ["partly"] * 6
    test = {"checkpoints": entries_of(other, [1.1, 0.6, 0.4, 0.4, 0.3, 0.4])}
    drawing = error_figure(*trainings_of({"training": train, "held-out": test}))
    (panel,) = drawing.panels
    assert panel.levels == (Level(1e3, DASHED, upright=True),), "not at epoch 10: lost again"
    assert panel.x.log
    seen, held_out = panel.curves
    assert [point.y for point in seen.points] == [1.0, 0.5, 0.3, 0.2, 0.1]
    assert list(seen.missing) == [1e4]
    assert [point.y for point in held_out.points] == [1.1, 0.6, 0.4, 0.4, 0.3, 0.4]
    assert [line.label for line in drawing.head] == ["training", "held-out"]
    assert_whole(figure(drawing, "column"))


def test_a_network_that_does_not_end_collapsed_has_no_time_of_collapse() -> None:
    scan = {"checkpoints": entries_of(["collapsed", "partly"], [1.0, 0.5])}
    drawing = error_figure(*trainings_of({"": scan}))
    assert not drawing.panels[0].levels
    assert not drawing.key


@pytest.mark.parametrize("width", ["column", "page"])
def test_heat_maps_of_many_checkpoints_stay_whole(scanned: dict[str, Any], width: Width) -> None:
    one = json.loads(json.dumps(scanned["checkpoints"][1]))
    names = {layer["name"]: DEEP[i] for i, layer in enumerate(one["layers"])}
    one["layers"] = [{**layer, "name": names[layer["name"]]} for layer in one["layers"]]
    one["onset"] = {name: names[at] for name, at in one["onset"].items()}
    one["verdict"]["onset"] = names[one["verdict"]["onset"]]
    many = [{**one, "epoch": 100 * i, "path": f"a/{i}.pt"} for i in range(64)]
    drawn = figure(heat_map_figure({**scanned, "checkpoints": many}), width)
    assert_whole(drawn)
    assert not any("undecided" in one.get_text() for one in texts(drawn)), "cells have no marks"


# --- what is refused -------------------------------------------------------------------------


def test_what_cannot_be_drawn_is_refused(
    folder: Path, scan_folder: Path, tmp_path: Path, collapsed: Report
) -> None:
    acts = folder / "wd0.h5"
    with pytest.raises(UsageError, match=r"--kind heatmap: shows one scan .*; give its folder"):
        nrcscan.plot(acts, kind="heatmap")
    with pytest.raises(UsageError, match=r"keeps no eigenvalues; give files of its folder stat"):
        nrcscan.plot(scan_folder, kind="spectrum")
    with pytest.raises(UsageError, match="its numbers are made already"):
        nrcscan.plot(scan_folder, signal_dim=1)
    with pytest.raises(UsageError, match="its numbers are made already"):
        nrcscan.plot(scan_folder, kind="heatmap", convention="published")
    with pytest.raises(UsageError, match=r"--label: 1 for 2 networks; give one for each"):
        nrcscan.plot([acts, folder / "wd0.01.h5"], labels=["a"])
    with pytest.raises(UsageError, match=r"--kind error: shows scans .*; give their folders"):
        nrcscan.plot([scan_folder, acts], kind="error")
    with pytest.raises(UsageError, match=r"--label: two scans have the same; give each its own"):
        nrcscan.plot([scan_folder, scan_folder], kind="error", labels=["a", "a"])
    with pytest.raises(UsageError, match=r"--label: 1 for 2 scans; give one for each"):
        nrcscan.plot([scan_folder, scan_folder], kind="error", labels=["a"])
    untimed = [{**entries_of(["partly"], [1.0])[0], "epoch": None}]
    with pytest.raises(UsageError, match=r"tells its epoch or step; name them like epoch_10\.pt"):
        trainings_of({"": {"checkpoints": untimed}})
    with pytest.raises(UsageError, match="nothing to draw; give"):
        nrcscan.plot([])
    with pytest.raises(UsageError, match="3 is a int: give a path"):
        nrcscan.plot(3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"kind heatmap: is no figure of a report; choose coll"):
        collapsed.plot(kind="heatmap")
    with pytest.raises(UsageError, match="--width wide: choose one of column and page"):
        collapsed.plot(width="wide")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"a\.gif: is no name for a figure; end it with \.pdf"):
        collapsed.plot(tmp_path / "a.gif")
    with pytest.raises(OutputError, match="there is no folder"):
        collapsed.plot(tmp_path / "none" / "a.pdf")
    with pytest.raises(InputError, match="no such acts file; check the path"):
        nrcscan.plot(tmp_path / "none.h5")


def test_an_existing_figure_is_kept(cli: Run, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_text("mine")
    command = ("plot", folder / "wd0.h5", "-o", "a.pdf")
    refused = cli(*command)
    assert refused.returncode == 2
    assert refused.stderr == (
        "error: a.pdf: exists already; replace it with --force, or choose another name\n"
    )
    assert (tmp_path / "a.pdf").read_text() == "mine"
    done = cli(*command, "--force")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"a\.pdf: 6\.75 × \d\.\d\d in\n", done.stdout)
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF")


def test_the_figure_is_called_after_its_kind(cli: Run, folder: Path, tmp_path: Path) -> None:
    assert cli("plot", folder / "wd0.h5", "--kind", "rank").returncode == 0
    assert (tmp_path / "rank.pdf").is_file()


def test_without_matplotlib_one_line_says_what_to_install(
    cli: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    failed = cli("plot", folder / "wd0.h5")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert failed.stderr == "error: a figure needs matplotlib; pip install matplotlib\n"


# --- the same everywhere ---------------------------------------------------------------------


def test_figures_are_the_same_bytes_in_any_process(
    folder: Path, collapsed: Report, tmp_path: Path
) -> None:
    forms = ("pdf", "svg", "png")
    code = (
        f"import nrcscan; found = nrcscan.report({str(folder / 'wd0.01.h5')!r});"
        f"[found.plot(f'there.{{form}}') for form in {forms}]"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=tmp_path, env=ALONE)
    for form in forms:
        with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "svg.hashsalt": "other"}):
            collapsed.plot(tmp_path / f"here.{form}")
        here = (tmp_path / f"here.{form}").read_bytes()
        assert here == (tmp_path / f"there.{form}").read_bytes(), form
        assert not re.search(rb"20\d\d-\d\d-\d\d|D:20\d\d|CreationDate|dc:date", here), form


def test_neither_settings_nor_pyplot_are_touched(folder: Path) -> None:
    code = (
        "import sys, nrcscan, matplotlib; before = matplotlib.rcParams.copy();"
        f"found = nrcscan.report({str(folder / 'wd0.h5')!r});"
        "figure = found.plot(); figure._repr_png_();"
        "assert matplotlib.rcParams.copy() == before;"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        check=True,
        env=ALONE,
    )


def test_a_report_starts_without_matplotlib(folder: Path) -> None:
    code = (
        "import sys; from nrcscan.cli.app import app; import nrcscan;"
        f"nrcscan.report({str(folder / 'wd0.h5')!r}).to_dict();"
        "assert not {'matplotlib', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=ALONE)


def test_fonts_are_embedded_and_letters_are_outlines(collapsed: Report) -> None:
    drawn = collapsed.plot()
    pdf = image(drawn, ".pdf")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert b"/Subtype /Image" not in pdf
    svg = image(drawn, ".svg")
    assert b"<text" not in svg
    assert b"<image" not in svg


def test_a_notebook_shows_a_figure(collapsed: Report) -> None:
    shown: Any = collapsed.plot()
    assert shown._repr_png_().startswith(b"\x89PNG")


def test_looks_differ_without_colour() -> None:
    looks = {(MARKS[i % len(MARKS)], LINES[i % len(LINES)]) for i in range(40)}
    assert len(looks) == 40
    assert len(set(COLOURS)) == len(COLOURS)
    faces = [Face.FULL, Face.HALF, Face.HOLLOW, Face.CROSS]
    assert len({str(mark(0, face, "black", 4)) for face in faces}) == 4


# --- whole, and inert ------------------------------------------------------------------------


def assert_whole(drawn: Figure) -> None:
    """Require that no text is cut at the figure's edge, and no two names along an axis overlap."""
    drawn.draw_without_rendering()
    frame = drawn.bbox.padded(1)
    for one in texts(drawn):
        box = one.get_window_extent()
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1, one.get_text()
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1, one.get_text()
    shown = {id(one) for one in texts(drawn)}
    for axes in drawn.axes:
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            boxes = [one.get_window_extent() for one in labels if id(one) in shown]
            for box, following in pairwise(boxes):
                assert not box.padded(-0.5).overlaps(following.padded(-0.5)), labels


@pytest.mark.parametrize("width", ["column", "page"])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_label_is_cut(name: str, width: Width) -> None:
    one = made_up(NETWORKS[name])
    kinds = (rank_figure, spectrum_figure) if name == "50 layers" else ()
    for kind in (collapse_figure, *kinds):
        assert_whole(figure(kind([one]), width))


@pytest.mark.parametrize("width", ["column", "page"])
def test_no_label_of_many_networks_is_cut(width: Width) -> None:
    names = NETWORKS["50 layers"]
    labels = ["a run with quite a long name, and more of it", "b", *"cde"]
    many = [made_up(names[i:], label=label) for i, label in enumerate(labels)]
    verdict = {"state": "collapsed", "onset": names[30], "last": names[-1]}
    many = [replace(one, verdict=verdict) for one in many]
    assert_whole(figure(collapse_figure(many), width))


@pytest.mark.parametrize("width", ["column", "page"])
def test_no_label_of_heat_maps_is_cut(width: Width, scanned: dict[str, Any]) -> None:
    drawn = figure(heat_map_figure(scanned, ["first " * 9, "b"]), width)
    assert_whole(drawn)


def test_marks_that_stand_close_are_smaller() -> None:
    sizes = {}
    for name in ("1 layer", "120 layers"):
        made = figure(collapse_figure([made_up(NETWORKS[name])]), "page")
        shown = [one for one in made.axes[0].lines if one.get_marker() not in ("None", "")]
        sizes[name] = shown[0].get_markersize()
    assert sizes["120 layers"] < sizes["1 layer"]


def test_hostile_names_are_inert(hostile: Path, tmp_path: Path) -> None:
    kinds: tuple[Kind, ...] = ("collapse", "rank", "spectrum")
    for kind in kinds:
        drawn = nrcscan.plot(hostile, tmp_path / f"{kind}.svg", kind=kind, labels=["$x^$"])
        assert not any(one.get_parse_math() for one in texts(drawn) if "$" in one.get_text())
        root = ElementTree.parse(tmp_path / f"{kind}.svg").getroot()
        for element in root.iter():
            assert element.tag.rpartition("}")[2] not in ("script", "img", "foreignObject", "a")
            for name, value in element.attrib.items():
                assert not name.rpartition("}")[2].startswith("on")
                assert "javascript" not in value
                assert name.rpartition("}")[2] != "href" or value.startswith("#")
    pdf = image(nrcscan.plot(hostile), ".pdf")
    assert not re.search(rb"/(JavaScript|JS|URI|Launch|OpenAction)\b", pdf)


def test_names_are_drawn_as_they_are(hostile: Path) -> None:
    shown = {one.get_text() for one in texts(nrcscan.plot(hostile))}
    assert {"$\\frac{1}{0}$", "x$y$$", "a\\u202eb\\x1b[2J", "\\u5c64-->]]>"} <= shown


def test_several_reports_in_memory_are_told_apart(collapsed: Report, undecided: Report) -> None:
    drawn = nrcscan.plot([collapsed, undecided])
    words = [one.get_text() for one in texts(drawn)]
    assert "1: collapsed from layers.6 (3rd of 7)" in words
    assert "2: undecided" in words


def test_nothing_to_see_is_still_a_figure() -> None:
    one = made_up(["a", "b"])
    layers = [{**layer, **{c.quantity: None for c in JUDGED}} for layer in one.layers]
    drawing = collapse_figure([replace(one, layers=layers)])
    assert not any(curve.points for panel in drawing.panels for curve in panel.curves)
    assert_whole(figure(drawing, "column"))
