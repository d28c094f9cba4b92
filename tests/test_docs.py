"""Nothing documented is untested: commands, shown output, options, fields."""

from __future__ import annotations

import doctest
import json
import os
import re
import shlex
import shutil
import signal
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import pytest
import torch
import yaml  # type: ignore[import-untyped]
from conftest import FIXTURES, ROOT
from hatchling.builders.sdist import SdistBuilder
from packaging.requirements import Requirement
from packaging.version import Version
from typer.main import get_command

import nrcscan
from nrcscan import extract, report, scan
from nrcscan.cli.app import app, main
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.network.chain import ACTIVATIONS

README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
ALL = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in [ROOT / "README.md", *sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))]
}
"""Every page by its path; README first, on whose files later ones go on."""


class Block(NamedTuple):
    """A block of code on a page, and why it is not run, if it is not."""

    language: str
    text: str
    reason: str | None


def blocks(page: str) -> list[Block]:
    found = re.findall(
        r"(?:^<!-- not run: ([^\n]+) -->\n)?^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    return [Block(language, text, reason or None) for reason, language, text in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fixtures").symlink_to(FIXTURES)
    return tmp_path


class _Evil:
    def __reduce__(self) -> Any:
        return os.system, ("true",)


@pytest.fixture
def pages_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the files that docs/errors.md speaks of, to run the pages in."""
    (folder / "empty").mkdir()
    (folder / "train.py").write_text(
        "import torch\nclass Net(torch.nn.Sequential): ...\n"
        'torch.save(Net().state_dict(), "model.pt")\n'
    )
    (folder / "notes.pt").write_text("Tried a larger width.")
    torch.save({"epoch": _Evil()}, folder / "evil.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that torch deprecates it
        torch.jit.save(torch.jit.script(torch.nn.Linear(8, 2)), folder / "script.pt")
    data = FIXTURES / "swimmer"
    extract(data / "wd0" / "epoch_20.pt", data / "data.npz", folder / "short.h5")
    os.truncate(folder / "short.h5", 5000)
    monkeypatch.chdir(folder)
    handlers = {
        number: signal.getsignal(number)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    yield folder
    for number, handler in handlers.items():
        signal.signal(number, handler)


def expect(shown: list[str], lines: list[str], where: str) -> None:
    """Compare what a page shows, in which `…` stands for anything, with what there is."""
    rest = bool(shown) and shown[-1] == "…"
    shown = shown[:-1] if rest else shown
    assert len(lines) >= len(shown) if rest else len(lines) == len(shown), (where, lines)
    for line, pattern in zip(lines, shown, strict=False):
        assert re.fullmatch(".*".join(map(re.escape, pattern.split("…"))), line), where


def run_console(text: str, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Run the `nrcscan` commands of a block, and compare what it shows of their output."""
    code, parts = 0, re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        line, _, output = part.partition("\n")
        shown, command = output.splitlines(), shlex.split(line)
        if line == "echo $?":
            assert shown == [str(code)], where
            continue
        assert command[0] == "nrcscan", f"{where}: {line}: neither run nor said why"
        sys.argv = command
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        code = stopped.value.code if isinstance(stopped.value.code, int) else 0
        printed, told = capsys.readouterr()
        aside = [s for s in shown if s.startswith(("note: ", "error: "))]
        result = [s for s in shown if s not in aside]
        assert code == 0 or following.startswith("echo $?"), f"{where}: {line}: {told}"
        if aside:
            expect(aside, [s for s in told.splitlines() if s[:5] == aside[0][:5]], where)
        if result:
            expect(result, printed.splitlines(), where)


def run_session(text: str, where: str, names: dict[str, Any]) -> None:
    """Run a session in Python, and compare what it shows; a page's sessions share their names."""
    options = doctest.ELLIPSIS
    session = doctest.DocTestParser().get_doctest(text, {}, where, where, 0)
    session.globs = names
    told: list[str] = []
    runner = doctest.DocTestRunner(optionflags=options)
    runner.run(session, out=told.append, clear_globs=False)
    assert not runner.failures, "".join(told)


@pytest.mark.usefixtures("workers_here")
def test_every_page_does_what_it_shows(
    pages_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [])
    run = 0
    for name, page in ALL.items():
        names: dict[str, Any] = {}
        for block in blocks(page):
            if block.reason is None and block.language == "console":
                run_console(block.text, name, capsys)
            elif block.reason is None and block.language == "pycon":
                run_session(block.text, name, names)
            elif block.reason is None:
                exec(compile(block.text, name, "exec"), {})
            run += block.reason is None
    assert run >= 25


def test_every_block_is_run_or_says_why_not() -> None:
    for name, page in ALL.items():
        found = blocks(page)
        assert 2 * len(found) == len(re.findall(r"^```", page, re.MULTILINE)), name
        for block in found:
            assert block.reason or block.language in ("console", "python", "pycon"), (
                name,
                block.text,
            )


def test_every_command_is_in_the_readme_and_has_examples() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    for name, command in commands.items():
        assert f"nrcscan {name}" in README
        _, _, examples = command.help.partition("Examples:\n")
        lines = [line.split() for line in examples.splitlines()]
        assert len(lines) >= 2, name
        assert all(line[:2] == ["nrcscan", name] for line in lines), name


def test_the_help_names_every_activation() -> None:
    (option,) = [p for p in get_command(app).commands["extract"].params if p.name == "activation"]  # type: ignore[attr-defined]
    for name in ACTIVATIONS:
        assert re.search(rf"\b{name}\b", option.help)


def test_links_lead_somewhere() -> None:
    for name, text in ALL.items():
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert ((ROOT / name).parent / target).exists(), f"{name}: {target}"


def test_every_quantity_is_defined() -> None:
    for quantity in QUANTITIES:
        assert f"`{quantity}`" in PAGES["metrics.md"], quantity


def test_every_field_of_the_json_report_is_documented(folder: Path) -> None:
    data = FIXTURES / "swimmer"
    extract(data / "wd0" / "epoch_600.pt", data / "data.npz", folder / "a.h5")
    found = json.loads(json.dumps(report(folder / "a.h5").to_dict()))
    page = PAGES["report-json.md"]
    for key, value in found.items():
        nested = isinstance(value, dict) and key in ("model", "targets", "verdict")
        for name in [f"{key}.{inner}" for inner in value] if nested else [key]:
            assert f"`{name}`" in page, name
    for key in found["layers"][0]:
        assert f"`{key}`" in page or key in QUANTITIES, key


@pytest.mark.usefixtures("workers_here")
def test_every_field_of_a_scan_is_documented(folder: Path) -> None:
    (folder / "runs").mkdir()
    shutil.copy(FIXTURES / "swimmer" / "wd0" / "epoch_600.pt", folder / "runs")
    (folder / "runs" / "empty.pt").touch()
    found = scan(folder / "runs", FIXTURES / "swimmer" / "data.npz", folder / "scan", jobs=1)
    page, held = PAGES["scan.md"], json.loads((folder / "scan" / "scan.json").read_text())
    for key, value in held.items():
        names = [f"{key}.{inner}" for inner in value] if key == "provenance" else [key]
        for name in names:
            assert f"`{name}`" in page, name
    for checkpoint in held["checkpoints"]:
        for key in checkpoint:
            assert f"`{key}`" in page, key
    assert len(found.checkpoints) == 2
    columns = found.to_csv().partition("\n")[0].split(",")
    for column in columns:
        assert f"`{column}`" in page or column in (*QUANTITIES, "met_nrc2", "met_nrc3"), column


def test_every_object_of_the_file_is_documented(folder: Path) -> None:
    data = FIXTURES / "swimmer"
    extract(data / "wd0" / "epoch_600.pt", data / "data.npz", folder / "a.h5")
    page = PAGES["file-format.md"]
    with h5py.File(folder / "a.h5") as file:

        def check(name: str, item: object) -> None:
            name = re.sub(r"positions/\d{4}", "positions/PPPP", name)
            name = re.sub(r"layers/\d{4}", "layers/LLLL", name)
            if isinstance(item, h5py.Dataset):
                assert f"`/{name}`" in page, name
            for attribute in item.attrs:  # type: ignore[attr-defined]
                assert f"`{attribute}`" in page, attribute

        file.visititems(check)
        for attribute in file.attrs:
            assert f"`{attribute}`" in page, attribute


def test_the_reference_has_every_public_name() -> None:
    listed = set(re.findall(r"^- `nrcscan\.(\w+)`: ", PAGES["api.md"], re.MULTILINE))
    assert listed == set(nrcscan.__all__) - {"__version__"}


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_source_distribution_holds_what_its_tests_read() -> None:
    held = {file.distribution_path for file in SdistBuilder(str(ROOT)).recurse_included_files()}
    needed = [ROOT / name for name in ("pyproject.toml", "action.yml", "Makefile", *ALL)]
    for name in ("nrcscan", "tests", "fixtures", "docs"):
        needed += [
            p for p in (ROOT / name).rglob("*") if p.is_file() and "__pycache__" not in p.parts
        ]
    assert {path.relative_to(ROOT).as_posix() for path in needed} <= held
    assert not [name for name in held if "venv" in name or name.startswith("build/")]


def test_the_oldest_versions_are_the_floors() -> None:
    project, groups = PROJECT["project"], PROJECT["dependency-groups"]
    asked = [*project["dependencies"], *groups["test"]]
    asked += [r for extra in project["optional-dependencies"].values() for r in extra]
    floors = {}
    for requirement in map(Requirement, asked):
        if requirement.name != "nrcscan":
            (floor,) = requirement.specifier
            assert floor.operator == ">=", requirement
            floors[requirement.name.lower()] = Version(floor.version)
    lines = (ROOT / "constraints-oldest.txt").read_text().splitlines()
    pins = dict(line.lower().split("==") for line in lines if not line.startswith("#"))
    assert {name: Version(pin) for name, pin in pins.items()} == floors


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["project"]["version"]
    preferred = citation["preferred-citation"]
    assert preferred["title"] == "Deep Neural Regression Collapse"
    assert f"PMLR {preferred['volume']}:{preferred['start']}–{preferred['end']}" in README


def test_actions_are_pinned_to_commits() -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert len(workflows) >= 2
    for path in workflows:
        for used in re.findall(r"uses: (\S+)", path.read_text()):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", used), f"{path.name}: {used}"


def test_hooks_lint_as_make_does() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (rev,) = [repo["rev"] for repo in hooks["repos"] if "ruff" in repo["repo"]]
    assert f"ruff=={rev.removeprefix('v')}" in (ROOT / "constraints.txt").read_text().splitlines()
