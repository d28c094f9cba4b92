"""What a newcomer meets: the demo, one step, help, defaults, what is written and what is said."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import FIXTURES, ROOT, Run
from hatchling.builders.wheel import WheelBuilder
from jsonschema import Draft202012Validator, ValidationError
from typer.main import get_command

import nrcscan
from nrcscan.cli.app import app
from nrcscan.cli.progress_bar import Pace
from nrcscan.demonstration.networks import NETWORKS
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.options.option import PANELS
from nrcscan.reporting.json_shapes import file_of

SWIMMER = FIXTURES / "swimmer"
SHIPPED = ROOT / "nrcscan" / "demonstration"
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]


def ok(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- the demo ---------------------------------------------------------------------------------


def test_the_demo_shows_one_network_that_has_collapsed_and_one_that_has_not(
    cli: Run, tmp_path: Path
) -> None:
    shown = ok(cli("demo"))
    assert len(re.findall("^COLLAPSED from ", shown, re.MULTILINE)) == 1
    assert len(re.findall("^NOT COLLAPSED: ", shown, re.MULTILINE)) == 1
    typed = re.findall(r"^\$ nrcscan (.+)$", shown, re.MULTILINE)
    assert [line.split()[0] for line in typed] == [*["extract", "report"] * 2, "compare", "report"]
    for line in typed:
        again = ["--force"] if line.startswith("extract") else []
        printed = ok(cli(*shlex.split(line), *again))
        if line != typed[-1] and not line.startswith("compare"):
            assert printed in shown  # what is shown is what a user gets
    kept = sorted(path.name for path in (tmp_path / "nrcscan-demo").iterdir())
    assert kept == [f"{name}.{kind}" for name in ("reacher", "swimmer") for kind in _KINDS]
    done = cli("demo")
    assert done.returncode == 2
    assert (
        "swimmer.pt: exists already; replace it with --force, or choose another name" in done.stderr
    )
    ok(cli("demo", "--force"))


_KINDS = ("h5", "npz", "pt")


def test_what_the_demo_measures_comes_along_small_and_is_as_the_fixtures_are() -> None:
    names = []
    for network in NETWORKS:
        for source, copy in zip(network.made_from, network.files, strict=True):
            assert (SHIPPED / copy).read_bytes() == (FIXTURES / source).read_bytes(), copy
            names.append(copy)
    assert sum((SHIPPED / name).stat().st_size for name in names) < 1e6
    held = {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}
    assert {f"nrcscan/demonstration/{name}" for name in names} <= held


# --- one step ---------------------------------------------------------------------------------


def test_measuring_in_one_step_shows_what_two_steps_show(cli: Run, tmp_path: Path) -> None:
    given = (SWIMMER / "wd0" / "epoch_600.pt", SWIMMER / "data.npz")
    options = ("--limit", "300", "--noise-max", "0.1", "--errors")
    ok(cli("extract", *given, *options[:2], "-o", "two.h5"))
    two = ok(cli("report", "two.h5", *options[2:]))
    (tmp_path / "two.h5").unlink()
    done = cli("measure", *given, *options)
    assert (ok(done), done.stderr) == (two, "")
    assert not [*tmp_path.iterdir()]
    done = cli("measure", *given, "--format", "json", "-o", "acts.h5")
    assert "note: wrote acts.h5; show it again with: nrcscan report acts.h5" in done.stderr
    assert ok(cli("report", "--format", "json")) == ok(done)
    assert cli("measure", *given, "-o", "acts.h5").returncode == 2
    (tmp_path / "acts.h5").unlink()
    with_all = json.loads(ok(cli("measure", *given, "--format", "json", "--measures", "all")))
    assert with_all["layers"][1]["measures"]["intrinsic_dimension"] is not None
    assert not [*tmp_path.iterdir()]
    done = cli("measure", *given, "--no-activations")
    assert done.returncode == 2
    assert "--activations has no effect without a file of statistics; leave" in done.stderr


def test_what_one_step_tries_is_told_to_whoever_asks(cli: Run) -> None:
    given = (SWIMMER / "wd0" / "epoch_600.pt", SWIMMER / "data.npz", "--limit", "300")
    lines = [
        [line for line in cli(*command, *given, "--verbose").stderr.splitlines() if "tried" in line]
        for command in (("measure",), ("measure", "-o", "a.h5"))
    ]
    assert lines[0] == lines[1]
    told = "note: R² of all that was tried on the first samples: leaky_relu 0.99"
    assert lines[0][0].startswith(told)


def test_a_report_is_of_the_usual_file_where_none_is_named(
    cli: Run, saved: tuple[Path, Path]
) -> None:
    done = cli("report")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ACTS is missing, and there is no acts.h5 here; ")
    assert "nrcscan extract MODEL DATA" in done.stderr
    ok(cli("extract", *saved))
    done = cli("report")
    assert ok(done) == cli("report", "acts.h5").stdout
    assert done.stderr == "note: no file is named: this is acts.h5\n"


# --- what is written --------------------------------------------------------------------------


@pytest.fixture
def measured(saved: tuple[Path, Path], tmp_path: Path) -> Path:
    """A folder with a network, data, a test set's statistics and two shards of them."""
    for name, part in {"a.h5": {}, "1.h5": {"limit": 50}, "2.h5": {"offset": 50}}.items():
        nrcscan.extract(*saved, tmp_path / name, activations=False, **part)  # type: ignore[arg-type]
    return tmp_path


WRITES = [
    "extract model.pt data.npz -o",
    "measure model.pt data.npz -o",
    "merge 1.h5 2.h5 -o",
    "report a.h5 -o",
    "report a.h5 --against 1.h5 -o",
    "compare a.h5 1.h5 -o",
    "cut 1.h5 --against 2.h5 -o",
    "scan . data.npz --junit",
]


@pytest.mark.usefixtures("workers_here")
@pytest.mark.parametrize("command", WRITES)
def test_one_rule_for_all_that_is_written(cli: Run, measured: Path, command: str) -> None:
    words, there = command.split(), measured / "there"
    there.write_text("<mine>")  # a form that is replaced in a folder of inputs too
    done = cli(*words, "there")
    assert done.returncode == 2
    assert "error: there: exists already; replace it with --force, or choose another" in done.stderr
    assert there.read_text() == "<mine>"
    for path in words[1:]:
        if path.endswith((".h5", ".npz", ".pt")):
            before = (measured / path).read_bytes()
            done = cli(*words, path, "--force")
            assert done.returncode == 2
            assert f"error: {path}: is an input too; choose another -o" in done.stderr
            assert (measured / path).read_bytes() == before
    done = cli(*words, "there", "--force")
    said = f"{done.stdout}\n{done.stderr}"
    assert re.search(r"^(note: wrote )?there\b", said, re.MULTILINE), said
    assert b"mine" not in there.read_bytes()


@pytest.mark.usefixtures("workers_here")
def test_what_is_in_a_folder_of_inputs_is_an_input_too(cli: Run, saved: tuple[Path, Path]) -> None:
    folder = saved[0].parent
    (folder / "runs").mkdir()
    saved[0].rename(folder / "runs" / "epoch_1.pt")
    ok(cli("scan", "runs", "data.npz", "-o", "runs/s", cwd=folder))
    (statistics,) = (folder / "runs" / "s" / "statistics").glob("*.h5")
    held = [folder / "runs" / "epoch_1.pt", folder / "runs" / "s" / "scan.json", statistics]
    before = [path.read_bytes() for path in held]
    for path in held:
        for words in (
            "scan runs data.npz -o runs/s --junit",
            "page runs/s -o",
            "page runs/s/scan.json -o",
            "report runs/s --format csv -o",
        ):
            if path.suffix == ".pt" and not words.startswith("scan"):
                continue
            done = cli(*words.split(), path, "--force", cwd=folder)
            assert done.returncode == 2, done.stderr
            assert ", an input too; choose another -o" in done.stderr
    assert [path.read_bytes() for path in held] == before
    for _ in range(2):  # what is no input is replaced there too
        ok(cli("page", "runs/s", "-o", "runs/s/page.html", "--force", cwd=folder))
        ok(
            cli(
                *["scan", "runs", "data.npz", "-o", "runs/s", "--junit", "runs/n.xml", "--force"],
                cwd=folder,
            )
        )


@pytest.mark.parametrize(
    "words",
    [
        "page a.h5",
        "extract model.pt data.npz",
        "measure model.pt data.npz",
        "demo",
        "merge 1.h5 2.h5",
    ],
)
def test_what_is_no_text_is_not_written_to_a_file_of_the_name_of_stdout(
    cli: Run, measured: Path, words: str
) -> None:
    done = cli(*words.split(), "-o", "-", "--force")
    assert done.returncode == 2
    assert re.fullmatch(
        "error: -: stdout takes no such output; give a (file|folder) with -o\n",
        done.stderr.splitlines(keepends=True)[-1],
    )
    assert not (measured / "-").exists()


def test_whatever_writes_takes_force_and_says_the_same_of_it() -> None:
    for name, command in COMMANDS.items():
        flags = {flag: param for param in command.params for flag in param.opts}
        if flags.keys() & {"--output", "--junit"}:
            assert flags["--force"].help == "Replace what is there already.", name


def test_a_hyphen_is_stdout(cli: Run, measured: Path) -> None:
    for words in ("report a.h5", "compare a.h5 1.h5", "schema report"):
        assert ok(cli(*words.split(), "-o", "-")) == ok(cli(*words.split()))
    assert not (measured / "-").exists()


@pytest.mark.usefixtures("workers_here")
@pytest.mark.parametrize("name", ["scan.json", "scan.csv"])
def test_a_scan_replaces_its_own_files_alone(cli: Run, measured: Path, name: str) -> None:
    (measured / "scan").mkdir()
    (measured / "scan" / name).write_text('{"mine": 1}')
    done = cli("scan", ".", "data.npz")
    assert done.returncode == 2
    assert f"scan/{name}: is there already, and of no scan; choose another -o" in done.stderr
    assert (measured / "scan" / name).read_text() == '{"mine": 1}'
    (measured / "scan" / name).unlink()
    ok(cli("scan", ".", "data.npz", "--pattern", "model.pt"))
    ok(cli("scan", ".", "data.npz", "--pattern", "model.pt", "--noise-max", "0.1"))


# --- help -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_is_whole_at_80_columns(cli: Run, name: str) -> None:
    shown = ok(cli(name, "-h", env={"COLUMNS": "80"}))
    assert shown == ok(cli(name, "--help", env={"COLUMNS": "80"}))
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" not in shown
    assert not re.search(r"<\w+>|\bTEXT\b|required\]", shown)  # no types
    titles = re.findall(r"^([A-Z][a-z]+)$", shown, re.MULTILINE)
    assert [title for title in PANELS if title in titles] == [t for t in titles if t in PANELS]
    assert titles[-1] == "Examples"
    told = re.sub(r"\s+", " ", shown)
    for param in COMMANDS[name].params:
        assert re.sub(r"\s+", " ", param.help) in told, param.name
        for flag in [*param.opts, *param.secondary_opts] if param.opts[0][0] == "-" else ():
            assert re.search(rf"(?<![\w-]){flag}(?![\w-])", shown), flag


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_of_the_help_takes_options_that_there_are(name: str) -> None:
    command = COMMANDS[name]
    known = {flag for param in command.params for flag in [*param.opts, *param.secondary_opts]}
    for line in command.help.partition("Examples:\n")[2].splitlines():
        words = shlex.split(line.partition(">")[0] if " > " in line else line)
        assert {word for word in words if word.startswith("-")} <= known, line


@pytest.mark.parametrize(
    ("words", "missing"),
    [
        ("extract", "MODEL"),
        ("measure", "MODEL"),
        ("measure model.pt", "DATA"),
        ("scan", "FOLDER"),
        ("scan .", "DATA"),
        ("compare", "ACTS"),
        ("merge", "PART"),
        ("inspect", "MODEL"),
    ],
)
def test_what_is_missing_is_named(cli: Run, words: str, missing: str) -> None:
    done = cli(*words.split())
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {missing} is missing; ")
    assert line.endswith(f"nrcscan {words.split()[0]} --help")


def test_nrcscan_alone_says_how_to_begin(cli: Run) -> None:
    done = cli()
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) <= 12
    named = re.findall(r"^  nrcscan (\w+)", done.stdout, re.MULTILINE)
    assert named[0] == "demo"
    assert set(named) <= set(COMMANDS)


# --- how much is said -------------------------------------------------------------------------


def test_quiet_leaves_results_and_errors(cli: Run, saved: tuple[Path, Path]) -> None:
    done = cli("extract", *saved, "-q")
    assert (ok(done).count("\n"), done.stderr) == (1, "")
    loud, done = cli("report"), cli("report", "--quiet")
    assert (ok(done), done.stderr) == (loud.stdout, "")
    assert cli("report", "no.h5", "--quiet").stderr.startswith("error: no.h5: no such")
    assert cli("report").stderr == loud.stderr  # the next command speaks as ever


def test_verbose_says_what_was_tried_and_how_long_it_took(
    cli: Run, saved: tuple[Path, Path]
) -> None:
    said = cli("extract", *saved, "--verbose").stderr
    assert re.search(
        r"^note: R² of all that was tried on the first samples: .*relu -?\d", said, re.M
    )
    assert re.search(r"^note: took \d+\.\d\d s$", said, re.MULTILINE)
    assert "took" not in cli("report").stderr


def test_a_time_left_is_told_where_it_is_known() -> None:
    pace = Pace()
    assert pace.told(100.0, 90, 190) == "90 of 190"  # which an earlier scan had found
    assert pace.told(101.0, 100, 190) == "100 of 190"  # too early to say
    assert pace.told(110.0, 140, 190) == "140 of 190 (5/s), about 10 s left"
    assert Pace().told(1.0, 5000, None) == "5,000, of how many is not known"


def test_every_pass_is_counted(saved: tuple[Path, Path], tmp_path: Path) -> None:
    heard: list[tuple[int, int | None]] = []
    nrcscan.extract(
        *saved,
        tmp_path / "a.h5",
        sketch=4,
        sketch_passes=2,
        batch_size=25,
        n_workers=1,
        on_progress=lambda *told: heard.append(told),
    )
    done = [now for now, _ in heard]
    assert done == sorted(done)
    assert {total for _, total in heard} == {200}
    assert done[-1] == 200
    of_layers: list[tuple[int, int]] = []
    nrcscan.report(tmp_path / "a.h5", on_progress=lambda *told: of_layers.append(told))
    assert of_layers[-1] == (3, 3)


@pytest.mark.usefixtures("forked")
def test_a_terminal_that_is_to_be_quiet_sees_no_bar(measured: Path) -> None:
    leader, follower = pty.openpty()
    (measured / "slow.py").write_text(SLOW)
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "nrcscan", "extract", "model.pt", "data.npz", "--quiet"),
            *("--model", "slow.py:build", "--batch-size", "50"),
        ],
        cwd=measured,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color"},
        stdout=subprocess.PIPE,
        stderr=follower,
        text=True,
    )
    os.close(follower)
    running.communicate(timeout=60)
    assert running.returncode == 0
    try:
        seen = os.read(leader, 65536)
    except OSError:  # nothing was written
        seen = b""
    os.close(leader)
    assert seen == b""


SLOW = """
import time
from torch import nn
class Slow(nn.Sequential):
    def forward(self, x):
        time.sleep(0.3)
        return super().forward(x)
def build():
    return Slow(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))
"""


# --- JSON Schemas -----------------------------------------------------------------------------

DOCUMENTS = ("report", "scan", "compare", "against", "cut")


def schema(cli: Run, name: str) -> Draft202012Validator:
    found = json.loads(ok(cli("schema", name)))
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schemas_of_the_docs_are_current(cli: Run, name: str) -> None:
    printed = ok(cli("schema", name))
    kept = ROOT / "docs" / "schemas" / file_of(json.loads(printed)["properties"]["schema"]["const"])
    again = f"run nrcscan schema {name} --force -o {kept.relative_to(ROOT)}"
    assert kept.read_text(encoding="utf-8") == printed, again


@pytest.mark.parametrize("checkpoint", ["wd0.01/epoch_600", "wd0.05/epoch_100", "wd0/epoch_20"])
def test_reports_are_as_their_schema_says(cli: Run, tmp_path: Path, checkpoint: str) -> None:
    strict = schema(cli, "report")
    given = (SWIMMER / f"{checkpoint}.pt", SWIMMER / "data.npz")
    nrcscan.extract(*given, tmp_path / "a.h5", measures="all")
    nrcscan.extract(*given, tmp_path / "b.h5", predictions=False, blocks=0, limit=100)
    for words in ("a.h5", "a.h5 --measures all", "b.h5 --signal-dim 200"):
        strict.validate(json.loads(ok(cli("report", *words.split(), "--format", "json"))))


@pytest.mark.usefixtures("workers_here")
def test_scans_and_comparisons_are_as_their_schemas_say(cli: Run, measured: Path) -> None:
    (measured / "epoch_3.pt").touch()
    cli("scan", ".", "data.npz", "--pattern", "*.pt")
    scan = json.loads((measured / "scan" / "scan.json").read_text())
    assert {one["status"] for one in scan["checkpoints"]} == {"ok", "error"}
    schema(cli, "scan").validate(scan)
    compared = json.loads(ok(cli("compare", "a.h5", "1.h5", "scan", "--format", "json")))
    schema(cli, "compare").validate(compared)
    sides = json.loads(ok(cli("report", "1.h5", "--against", "2.h5", "--format", "json")))
    schema(cli, "against").validate(sides)
    for words in ("1.h5 --against 2.h5", "1.h5"):
        cuts = json.loads(ok(cli("cut", *words.split(), "--format", "json")))
        schema(cli, "cut").validate(cuts)


def test_a_field_too_many_or_too_few_is_refused(cli: Run, measured: Path) -> None:
    strict = schema(cli, "report")
    for spoil in (
        lambda found: found.update(colour="red"),
        lambda found: found.pop("verdict"),
        lambda found: found["layers"][0].pop(QUANTITIES[0]),
        lambda found: found["layers"][0]["met"].update(nrc5=True),
        lambda found: found["layers"][0]["standard_error"].update(beauty=0.1),
        lambda found: found["verdict"].update(state="splendid"),
        lambda found: found.update(n_samples="many"),
    ):
        found = json.loads(ok(cli("report", "a.h5", "--format", "json")))
        strict.validate(found)
        spoil(found)
        with pytest.raises(ValidationError):
            strict.validate(found)
