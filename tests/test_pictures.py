"""The pictures of the README are what the code makes."""

from __future__ import annotations

import html
import re
import runpy
from importlib.metadata import version
from pathlib import Path

import pytest
from conftest import ROOT

PICTURES = ROOT / "docs" / "pictures"
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    runpy.run_path(str(ROOT / "docs" / "pictures.py"))["make"](folder)
    return folder


def words(path: Path) -> str:
    """Return the text that an SVG shows."""
    shown = re.findall(r"<text[^>]*>([^<]*)</text>", path.read_text(encoding="utf-8"))
    return " ".join(html.unescape(" ".join(shown)).split())


def assert_alike(ours: str, kept: str, *, within: float, relative: float) -> None:
    """Compare texts whose numbers another processor may compute a little otherwise."""
    remedy = "not current: run make pictures"
    assert NUMBER.split(ours) == NUMBER.split(kept), remedy
    found, expected = (list(map(float, NUMBER.findall(text))) for text in (ours, kept))
    assert found == pytest.approx(expected, abs=within, rel=relative), remedy


def test_the_terminal_is_current(made: Path) -> None:
    ours, kept = words(made / "report.svg"), words(PICTURES / "report.svg")
    assert kept.startswith("nrcscan report COLLAPSED from layers.6 (3rd of 7) to the output.")
    assert_alike(ours, kept, within=0, relative=0.02)


def test_the_figure_is_current(made: Path) -> None:
    pins = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    if version("matplotlib") != pins["matplotlib"]:
        pytest.skip("another matplotlib draws other paths")
    ours, kept = (
        re.sub(r"\b[mpCh][0-9a-f_]{10,}\b", "ID", (folder / "collapse.svg").read_text("utf-8"))
        for folder in (made, PICTURES)
    )
    assert_alike(ours, kept, within=0.1, relative=0)  # a tenth of a point
