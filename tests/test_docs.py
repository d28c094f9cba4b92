"""Nothing documented is untested: commands, shown output, options, fields."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import h5py
import pytest
from conftest import FIXTURES, ROOT, Run
from typer.main import get_command

from nrcscan import extract, report, scan
from nrcscan.cli.app import app
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.network.infer_chain import ACTIVATIONS

README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "fixtures").symlink_to(FIXTURES)
    return tmp_path


def consoles(text: str) -> list[tuple[str, str]]:
    """Return (command, output shown) of every `$ nrcscan` line in a page's console blocks."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            if command.startswith("nrcscan"):
                found.append((command, shown))
    return found


def test_the_readme_is_what_a_user_sees(cli: Run, folder: Path) -> None:
    commands = consoles(README)
    assert len(commands) >= 5
    for command, shown in commands:
        done = cli(*shlex.split(command)[1:], cwd=folder)
        assert done.returncode == 0, done.stderr
        if shown:
            notes = [line for line in shown.splitlines() if line.startswith("note: ")]
            assert notes == [line for line in done.stderr.splitlines() if line in notes]
            assert done.stdout.splitlines() == [s for s in shown.splitlines() if s not in notes]


def test_the_python_of_the_pages_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    data = FIXTURES / "swimmer"
    extract(data / "wd0" / "epoch_600.pt", data / "data.npz", "acts.h5")
    blocks = [
        b
        for t in (README, *PAGES.values())
        for b in re.findall(r"```python\n(.*?)```", t, re.DOTALL)
    ]
    assert len(blocks) >= 2
    for block in blocks:
        exec(compile(block, "page", "exec"), {})


def test_every_command_is_in_the_readme_and_has_an_example() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    assert set(commands) == {"extract", "report", "scan", "merge", "compare", "inspect"}
    for name, command in commands.items():
        assert f"nrcscan {name}" in README
        assert f"Example: nrcscan {name}" in command.help


def test_the_help_names_every_activation() -> None:
    (option,) = [p for p in get_command(app).commands["extract"].params if p.name == "activation"]  # type: ignore[attr-defined]
    for name in ACTIVATIONS:
        assert re.search(rf"\b{name}\b", option.help)


def test_links_lead_somewhere() -> None:
    for name, text in {"README.md": README, **{f"docs/{n}": t for n, t in PAGES.items()}}.items():
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
        nested = isinstance(value, dict) and key in ("model", "targets")
        for name in [f"{key}.{inner}" for inner in value] if nested else [key]:
            assert f"`{name}`" in page, name
    for key in found["layers"][0]:
        assert f"`{key}`" in page or key in QUANTITIES, key


def test_every_field_of_a_scan_is_documented(folder: Path) -> None:
    (folder / "runs").mkdir()
    shutil.copy(FIXTURES / "swimmer" / "wd0" / "epoch_600.pt", folder / "runs")
    (folder / "runs" / "empty.pt").touch()
    found = scan(folder / "runs", FIXTURES / "swimmer" / "data.npz", folder / "scan")
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
