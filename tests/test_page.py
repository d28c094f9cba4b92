"""The page in a browser: alone and offline, with JavaScript and without, whatever it names."""

from __future__ import annotations

import json
import shutil
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from conftest import FIXTURES, Run, fitted, mlp, samples
from playwright.sync_api import Browser, Page, sync_playwright
from torch import nn

import nrcscan
from nrcscan import InputError, Thresholds, UsageError
from nrcscan.metrics.quantities import CONDITIONS

SWIMMER = FIXTURES / "swimmer"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<!--<script>",
    "\x1b[2Jgone",
    "\u202eredro\u2066",
    "=cmd()",
    "](javascript:alert(3))",
    "\"'&lt;`{{7*7}}",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One headless Chromium: that of the system, else the one `make` has installed."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=found)
        yield started
        started.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a real network and of one with hostile names, and their pages."""
    made = tmp_path_factory.mktemp("pages")
    nrcscan.extract(SWIMMER / "wd0" / "epoch_600.pt", SWIMMER / "data.npz", made / "swimmer.h5")
    nrcscan.page(made / "swimmer.h5", made / "swimmer.html")
    x, y = samples(60, 4, 2)
    widths = zip([4] * 8, (*[4] * 7, 2), strict=True)
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        (name, nn.Linear(*width)) for name, width in zip(HOSTILE, widths, strict=True)
    )
    for layer in layers.values():
        assert isinstance(layer, nn.Linear)
        nn.init.orthogonal_(layer.weight)
    nrcscan.extract(fitted(nn.Sequential(layers), x, y), (x, y), made / "hostile.h5")
    nrcscan.page(made / "hostile.h5", made / "hostile.html", title=HOSTILE[1])
    return made


@contextmanager
def opened(browser: Browser, path: Path, **context: Any) -> Iterator[Page]:
    """Open a page that may neither complain, nor ask for anything, nor raise a dialog."""
    told: list[str] = []
    tab = browser.new_context(**{"offline": True, **context}).new_page()
    tab.on("console", lambda message: told.append(message.text))
    tab.on("pageerror", lambda error: told.append(str(error)))
    tab.on("dialog", lambda dialog: told.append(dialog.message))
    tab.on("request", lambda request: told.append(request.url))
    tab.goto(path.as_uri())
    yield tab
    tab.context.close()
    assert told == [path.as_uri()]


def shown_answers(tab: Page, within: str) -> dict[str, str]:
    """Return layer and condition → the answer that marks in a part of the page tell."""
    found: dict[str, str] = tab.evaluate(
        """(within) => Object.fromEntries(
            [...document.querySelectorAll(`${within} [data-r]`)].map((one) => [
                one.dataset.r,
                one.querySelector("[role=img]")?.getAttribute("aria-label")
                ?? one.getAttribute("class").replace(/(point|cell) /, "").replaceAll("-", " ")
            ]))""",
        within,
    )
    return found


def answers(report: nrcscan.Report, checkpoint: int = 0) -> dict[str, str]:
    return {
        f"{checkpoint}.{layer.index}.{i}": layer.answers[condition].value
        for layer in report.layers
        if layer.step is not None
        for i, condition in enumerate(CONDITIONS)
    }


def column(tab: Page, number: int) -> list[str]:
    cells = tab.locator(f"table.layers tbody tr > :nth-child({number})").all_inner_texts()
    return [cell.split()[0] for cell in cells]


def test_a_heading_sorts_up_and_down_and_back(browser: Browser, folder: Path) -> None:
    with opened(browser, folder / "swimmer.html") as tab:
        before = column(tab, 5)
        head = tab.locator("table.layers th").nth(4)
        seen = []
        for state in ("ascending", "descending", "none"):
            head.get_by_role("button").press("Enter")
            assert head.get_attribute("aria-sort") == state
            seen.append(column(tab, 5))
        assert seen == [sorted(before, key=float), sorted(before, key=float)[::-1], before]


THRESHOLDS = (
    Thresholds(noise_max=0.05),
    Thresholds(cka_min=0.95, alignment_min=0.3),
    Thresholds(error_ratio_max=1.05, alignment_min=1),
    Thresholds(noise_max=1, cka_min=0, alignment_min=0, error_ratio_max=1000),
    Thresholds(),
)


def enter(tab: Page, thresholds: Thresholds) -> None:
    for condition, value in zip(CONDITIONS, vars(thresholds).values(), strict=True):
        tab.fill(f"#t-{condition}", str(value))


def test_other_thresholds_mark_layers_as_a_report_does(browser: Browser, folder: Path) -> None:
    with opened(browser, folder / "swimmer.html") as tab:
        sentence = tab.inner_text("h1")
        line = tab.locator("[data-threshold=nrc1]")
        places = set()
        for thresholds in THRESHOLDS:
            enter(tab, thresholds)
            judged = answers(nrcscan.report(folder / "swimmer.h5", thresholds=thresholds))
            for part in ("table.layers", ".panels", ".strip", "details.layer"):
                assert shown_answers(tab, part) == judged, (thresholds, part)
            places.add(line.get_attribute("transform"))
        assert len(places) == 3
        assert tab.inner_text("#remarked") == ""
        enter(tab, THRESHOLDS[0])
        assert "--noise-max 0.05" in tab.inner_text("#remarked")
        assert "sentences and the shading are those of the report" in tab.inner_text("#remarked")
        assert tab.inner_text("h1") == sentence
        tab.fill("#t-nrc2", "3")
        assert "out of range" in tab.inner_text("#remarked")
        tab.get_by_role("button", name="Reset").click()
        tab.wait_for_function("document.querySelector('#remarked').textContent === ''")


def test_what_is_hovered_or_linked_is_shown(browser: Browser, folder: Path) -> None:
    with opened(browser, folder / "swimmer.html") as tab:
        tab.locator(".point").nth(3).hover()
        assert tab.locator(".tip").inner_text().startswith("layers.6 (3): 0.169 ± 0.00")
        tab.locator("table.layers a").nth(2).click()
        tab.wait_for_selector("#layer-2[open]")
        assert tab.locator("#layer-2 .spectrum svg").is_visible()


def test_all_can_be_read_without_javascript(browser: Browser, folder: Path) -> None:
    report = nrcscan.report(folder / "swimmer.h5")
    with opened(browser, folder / "swimmer.html", java_script_enabled=False) as tab:
        assert tab.locator("h1").inner_text() == report.verdict.text
        assert not tab.locator("#thresholds").is_visible()
        assert tab.locator("table.layers button").count() == 0
        assert tab.locator("table.layers tbody tr").count() == len(report.layers)
        assert tab.locator("table.layers td.more").first.is_hidden()
        tab.get_by_label("all quantities").check()
        assert tab.locator("table.layers td.more").first.is_visible()
        tab.locator("#layer-3 summary").click()
        assert tab.get_by_role("row", name="noise alignment", exact=False).first.is_visible()
        assert "layers.6 (3): 0.169" in (tab.locator(".point title").nth(3).text_content() or "")


@pytest.mark.parametrize("script", [True, False])
def test_names_are_text_and_nothing_else(browser: Browser, folder: Path, script: bool) -> None:
    page = folder / "hostile.html"
    with opened(browser, page, java_script_enabled=script) as tab:
        for shown in ("<img src=x onerror=alert(1)>", r"\x1b[2Jgone", r"\u202eredro\u2066"):
            assert (
                tab.get_by_role("cell", name=shown)
                .or_(tab.get_by_role("rowheader", name=shown))
                .first.is_visible()
            )
        assert tab.locator("img").count() == 0
        assert tab.locator("script").count() == 2
        assert tab.title() == f"{HOSTILE[1]} · nrcscan"


class Parts(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs


@pytest.mark.parametrize("name", ["swimmer", "hostile"])
def test_a_page_is_one_file_that_leads_nowhere_else(folder: Path, name: str) -> None:
    text = (folder / f"{name}.html").read_text()
    parts = Parts(text)
    assert not {"img", "link", "iframe", "object", "base"} & set(parts.elements)
    assert not [key for key, _ in parts.attributes if key.startswith("on") or key == "style"]
    assert all((value or "").startswith("#") for key, value in parts.attributes if key == "href")
    assert any("default-src 'none'" in (value or "") for _, value in parts.attributes)
    ids = [value for key, value in parts.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    assert not {"\x1b", "\u202e", "\u2066"} & set(text)


def test_what_is_not_of_the_page_does_not_run(browser: Browser, folder: Path) -> None:
    tab = browser.new_page()
    tab.goto((folder / "swimmer.html").as_uri())
    tab.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "document.title = 'changed'";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<i onclick=document.title=2>x</i>");
            document.body.lastElementChild.click();
        }"""
    )
    assert tab.title() == "swimmer.h5 · nrcscan"
    tab.close()


def test_a_page_is_the_same_every_time(folder: Path) -> None:
    again = nrcscan.page(folder / "swimmer.h5", folder / "again.html")
    assert again.read_bytes() == (folder / "swimmer.html").read_bytes()


def test_no_phone_is_too_narrow(browser: Browser, folder: Path) -> None:
    for name in ("swimmer", "hostile"):
        with opened(
            browser, folder / f"{name}.html", viewport={"width": 360, "height": 700}
        ) as tab:
            tab.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")
            assert tab.evaluate("document.documentElement.scrollWidth") <= 360


# --- a scan ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("workers_here")
def test_a_scan_is_sorted_filtered_marked_and_opened(browser: Browser, tmp_path: Path) -> None:
    for name in ("wd0/epoch_20.pt", "wd0/epoch_600.pt", "wd0.01/epoch_600.pt"):
        (tmp_path / "runs" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SWIMMER / name, tmp_path / "runs" / name)
    found = nrcscan.scan(tmp_path / "runs", SWIMMER / "data.npz", tmp_path / "out", jobs=1)
    page = nrcscan.page(tmp_path / "out", tmp_path / "scan.html")
    sentences = [c.result["verdict"]["text"] for c in found.checkpoints if c.result]
    with opened(browser, page) as tab:
        rows = tab.locator("#checkpoints tbody tr")
        tab.get_by_label("Verdict").select_option("undecided")
        assert [row.is_visible() for row in rows.all()] == [False, True, False]
        tab.get_by_label("Verdict").select_option("")
        tab.get_by_label("Find").fill("wd0.01")
        assert [row.is_visible() for row in rows.all()] == [False, False, True]
        tab.get_by_label("Find").fill("")
        tab.locator("#checkpoints").get_by_role("button", name="R²").click()
        assert rows.first.inner_text().split()[0] == "wd0"
        assert rows.nth(1).inner_text().split()[0] == "wd0.01"

        judged: dict[str, str] = {}
        enter(tab, THRESHOLDS[1])
        for number, checkpoint in enumerate(found.checkpoints):
            statistics = tmp_path / "out" / str(checkpoint.statistics)
            judged |= answers(nrcscan.report(statistics, thresholds=THRESHOLDS[1]), number)
        assert shown_answers(tab, "details") == judged
        assert shown_answers(tab, ".heats") == judged

        assert tab.locator("#checkpoint-1 table").count() == 1
        rows.locator("a").nth(0).click()
        tab.wait_for_selector("#checkpoint-0[open] table.sortable tbody tr")
        assert "±" in tab.locator("#checkpoint-0 table.sortable").inner_text()
    with opened(browser, page, java_script_enabled=False) as tab:
        assert all(sentence in (tab.text_content("main") or "") for sentence in sentences)
        tab.locator("#checkpoint-2 summary").click()
        assert tab.locator("#checkpoint-2 tbody tr").first.is_visible()
        assert not tab.locator("#filter").is_visible()


def test_scans_of_before_are_shown_without_what_they_do_not_tell(
    browser: Browser, tmp_path: Path
) -> None:
    old = FIXTURES / "released" / "0.1.0" / "scan.json"
    page = nrcscan.page(old, tmp_path / "old.html")
    with opened(browser, page) as tab:
        assert tab.locator("#checkpoints tbody tr").count() >= 1
        assert tab.locator("#thresholds").count() == 0


def test_large_pages_are_small_files(tmp_path: Path) -> None:
    x, y = samples(150, 8, 2)
    model = fitted(mlp(8, *[40] * 19, 2), x, y)
    nrcscan.extract(model, (x, y), tmp_path / "deep.h5")
    page = nrcscan.page(tmp_path / "deep.h5", tmp_path / "deep.html")
    assert page.stat().st_size < 1e6
    report = nrcscan.report(tmp_path / "deep.h5").to_dict()
    kept = ("n_samples", "signal_dim", "model", "verdict", "onset", "layers")
    entry = {"run": "r", "step": None, "status": "ok", "reason": None, "data": None}
    entry |= {name: report[name] for name in kept}
    scan = {
        "schema": "nrcscan.scan/2",
        "provenance": {"report": {"thresholds": report["thresholds"]}},
        "checkpoints": [{**entry, "path": f"r/{n}.pt", "epoch": n} for n in range(64)],
    }
    (tmp_path / "scan.json").write_text(json.dumps(scan))
    assert nrcscan.page(tmp_path / "scan.json", tmp_path / "s.html").stat().st_size < 3e6


# --- the command -----------------------------------------------------------------------------


def test_the_command_replaces_nothing_unasked(cli: Run, folder: Path, tmp_path: Path) -> None:
    said = cli("page", folder / "swimmer.h5", "--title", "A swimmer")
    assert said.returncode == 0
    assert said.stdout.startswith("page.html: 0.")
    assert "<title>A swimmer · nrcscan</title>" in (tmp_path / "page.html").read_text()
    again = cli("page", folder / "swimmer.h5")
    assert again.returncode == 2
    assert "page.html: exists already; replace it with --force" in again.stderr
    assert cli("page", folder / "swimmer.h5", "--force").returncode == 0


def test_what_has_no_effect_on_a_scan_is_refused(tmp_path: Path) -> None:
    old = FIXTURES / "released" / "0.1.0"
    told = "its numbers are made already, with options of their own; scan"
    with pytest.raises(UsageError, match=told):
        nrcscan.page(old, tmp_path / "a.html", thresholds=Thresholds(noise_max=0.1))
    with pytest.raises(InputError, match="no such"):
        nrcscan.page(tmp_path / "none.h5", tmp_path / "a.html")
    with pytest.raises(UsageError, match="3 is a int: give a path"):
        nrcscan.page(3, tmp_path / "a.html")  # type: ignore[arg-type]
    assert not (tmp_path / "a.html").exists()


def test_damaged_scans_are_refused(tmp_path: Path) -> None:
    whole = json.loads((FIXTURES / "released" / "0.1.0" / "scan.json").read_text())
    for damage in (
        lambda scan: scan["checkpoints"][0]["layers"][1].update(reach={"nrc1": {}}),
        lambda scan: scan["checkpoints"][0]["layers"][1].update(standard_error={"cka": "<b>"}),
        lambda scan: scan["provenance"]["report"]["thresholds"].update(error_ratio_max=0),
        lambda scan: scan.update(notes=[{"note": 1}]),
        lambda scan: scan.update(skipped=["data.npz"]),
    ):
        scan = json.loads(json.dumps(whole))
        damage(scan)
        (tmp_path / "scan.json").write_text(json.dumps(scan))
        with pytest.raises(InputError, match="damaged"):
            nrcscan.page(tmp_path, tmp_path / "page.html")


def test_neighbouring_measures_are_shown_where_they_are_asked_for(tmp_path: Path) -> None:
    x, y = samples(80, 4, 2)
    nrcscan.extract(fitted(mlp(4, 8, 2), x, y), (x, y), tmp_path / "a.h5", measures="all")
    page = nrcscan.page(tmp_path / "a.h5", tmp_path / "a.html", measures="all")
    assert "participation ratio" in page.read_text()
