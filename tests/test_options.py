"""Options are declared once: whatever is declared works everywhere, however it is given."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
import typer
from conftest import FIXTURES, Run, mlp, samples
from torch.optim.swa_utils import AveragedModel
from typer.testing import CliRunner

import nrcscan
from nrcscan import Thresholds, UsageError
from nrcscan.acts_file.reading import open_acts
from nrcscan.cli.app import app
from nrcscan.cli.option_groups import takes
from nrcscan.extracting import extract as extracting
from nrcscan.extracting import provenance
from nrcscan.gating.requirements import gather_rules
from nrcscan.merging import check_parts
from nrcscan.metrics.layer_values import LayerMetrics
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.options.check import check, checked, several
from nrcscan.options.cut_options import CutOptions
from nrcscan.options.describe import described
from nrcscan.options.gate_options import GateOptions
from nrcscan.options.option import PANELS, Field, Option, declared, nested
from nrcscan.options.pass_options import CheckpointOptions, PassOptions
from nrcscan.options.plot_options import PlotOptions
from nrcscan.options.record import anywhere
from nrcscan.options.report_options import ReportOptions
from nrcscan.options.scan_options import ScanOptions
from nrcscan.scanning import fingerprint
from nrcscan.verdict.answers import Answer, answers, together
from nrcscan.verdict.onset import onset, runs

KINDS = (
    PassOptions,
    CheckpointOptions,
    ReportOptions,
    ScanOptions,
    PlotOptions,
    GateOptions,
    CutOptions,
    Thresholds,
)
FIELDS = [field for kind in KINDS for field in declared(kind).values()]

SAMPLES: dict[str, Any] = {
    "activation": "tanh",
    "state_key": "model",
    "ignore": "n_averaged",
    "factory": "net.py:build",
    "factory_args": {"width": np.int64(16), "name": "a"},
    "pythonpath": Path("lib"),
    "device": "cpu",
    "x_key": "a",
    "y_key": "b",
    "mask": "none",
    "targets": ["y0", "y1"],
    "n_targets": 2,
    "drop": ["id"],
    "images": "channels=grey height=1 width=5 scale=255 mean=0 std=1",
    "standardize": "x,y",
    "scales": "scales.npz",
    "split": "train=0.5,seed=1,part=train",
    "layers": "*",
    "exclude": ["nothing*"],
    "output_key": "0",
    "output_slice": ":2",
    "thresholds": Thresholds(0.3),
    "signal_dim": 1,
    "patterns": "*.pt",
    "timeout": np.float32(500),
    "cluster": "local:1",
    "memory": np.int64(10**9),
    "limit": 90,
    "within": 0.1,
    "batch_size": 30,
}
"""Values of options that cannot be made up from the declaration."""

DATA = {
    "targets": "data.csv",
    "n_targets": "data.csv",
    "drop": "more.csv",
    "images": ["images", "images.csv"],
}
"""Options that choose within another form of data than the others."""

ALONE = {"activation", "cluster", "cross", "predictions", *DATA}
"""Options of which each goes with some of the others only; they are tried by themselves."""


def sample(field: Field) -> Any:
    """Return a value of an option that is not its default."""
    if field.name in SAMPLES:
        return SAMPLES[field.name]
    if field.choices:
        return next(word for word in reversed(field.choices) if word != field.default)
    if field.kinds == (bool,):
        return not field.default
    if field.kinds == (int,):
        least = 1 if field.option.minimum is None else int(field.option.minimum)
        return np.int64(max(least, (field.default or 0) + 1))
    raise AssertionError(f"{field.name}: a new option; declare a value to try it with in SAMPLES")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Checkpoints, and data in every form that an option chooses from."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    torch.save({"model": AveragedModel(mlp(5, 16, 2)).state_dict()}, "runs/m.pt")
    x, y = samples(100, 5, 2)
    np.savez("data.npz", a=x, b=y)
    rows = np.hstack([x, y])
    np.savetxt("data.csv", rows, delimiter=",", header="a,b,c,d,e,y0,y1", comments="")
    lines = Path("data.csv").read_text().splitlines()
    names = ["id", *(f"run{number}" for number in range(len(lines) - 1))]
    more = [f"{name},{line}" for name, line in zip(names, lines, strict=True)]
    Path("more.csv").write_text("\n".join(more))
    np.savez("scales.npz", x_mean=0.1, x_std=2.0, y_mean=0.2, y_std=3.0)
    Path("net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Sequential):\n"
        "    def forward(self, x):\n"
        "        return super().forward(x.flatten(1)), x\n"
        "def build(width, name):\n"
        "    return Net(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, 2))\n"
    )
    Path("lib").mkdir()
    Path("lib/own.py").write_text("VALUE = 1\n")
    Path("images").mkdir()
    names = [f"{number:02d}.png" for number in range(20)]
    for name, row in zip(names, x, strict=False):
        Image.fromarray(np.uint8(row[None] * 20 + 100)).save(Path("images") / name)
    lines = [f"{name},{a},{b}" for name, (a, b) in zip(names, y, strict=False)]
    Path("images.csv").write_text("\n".join(["file,y0,y1", *lines]))
    return tmp_path


def together_with(name: str, fields: Mapping[str, Field]) -> dict[str, Any]:
    """Return an option that stands by itself, and those that it does not go without."""
    options = {name: sample(fields[name])}
    if (other := fields[name].option.goes_with) is not None:
        options[other] = sample(fields[other]) or True
    return options


def usable(name: str, options: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    """Return options and data that an option can be tried with, which is what `name` says."""
    data: Any = DATA.get(name, "data.npz")
    base: dict[str, Any] = {"x_key": "a", "y_key": "b"} if data == "data.npz" else {}
    if name in ("images", "drop"):
        base["targets"] = ["y0", "y1"]
    if name != "activation":  # which is for networks without a factory
        base |= {option: SAMPLES[option] for option in ("factory", "factory_args")}
    return base | options, data


@pytest.mark.parametrize("name", declared(PassOptions))
def test_every_option_goes_through_extract(folder: Path, name: str) -> None:
    fields = declared(PassOptions)
    options, data = usable(name, together_with(name, fields))
    nrcscan.extract("runs/m.pt", data, "a.h5", **options)
    with open_acts(Path("a.h5")) as acts:
        told = acts.provenance["options"]
    assert set(told) == {n for n, field in fields.items() if field.option.changes_numbers}
    if name in told and name not in ("device", "factory_args"):
        assert told[name] == json.loads(json.dumps(check(fields[name], sample(fields[name]))))


def groups() -> dict[str, list[str]]:
    """Return options of a scan that are tried at once: most of them, and some by themselves."""
    return {
        "most": [name for name in declared(ScanOptions) if name not in ALONE],
        **{name: [name] for name in sorted(ALONE - {"images"})},  # a scan takes no folders
    }


@pytest.mark.usefixtures("workers_here")
@pytest.mark.parametrize("group", groups())
def test_every_option_goes_through_scan_and_its_results_are_kept(folder: Path, group: str) -> None:
    fields = declared(ScanOptions, many=True)
    options, data = usable(group, {name: sample(fields[name]) for name in groups()[group]})
    if group == "cluster":
        pytest.importorskip("distributed")
    found = nrcscan.scan("runs", data, **options)
    assert [row.reason for row in found.checkpoints] == [None]
    told = json.loads(Path("scan/scan.json").read_text())["provenance"]
    assert set(told["options"]) - {"code"} == set(declared(PassOptions))
    assert set(told["report"]) == set(declared(ReportOptions))
    assert nrcscan.scan("runs", data, **options).n_known == 1


@pytest.mark.usefixtures("workers_here")
def test_every_flag_is_taken_by_the_command_line(cli: Run, folder: Path) -> None:
    fields = declared(ScanOptions, many=True)
    most = [name for name in groups()["most"] if fields[name].flags]
    options, data = usable("most", {name: sample(fields[name]) for name in most})
    words: list[str] = []
    for name, value in options.items():
        field = fields[name]
        if name == "thresholds":
            continue
        if isinstance(value, bool):
            assert value
            words.append(field.flag)
        elif isinstance(value, list) and field.option.separator is None:
            words += [word for one in value for word in (field.flag, one)]
        elif isinstance(value, dict):
            words += [field.flag, '{"width": 16, "name": "a"}']
        else:
            words += [field.flag, str(value)]
    judged = ("--gate", "all", "--require", "model.mse >= 0")
    done = cli("scan", "runs", data, "--noise-max", "0.3", *words, *judged)
    assert done.returncode == 0, done.stderr
    from_words = json.loads((folder / "scan" / "scan.json").read_text())
    nrcscan.scan("runs", data, "other", **options)
    assert from_words == json.loads((folder / "other" / "scan.json").read_text())


# --- one declaration -------------------------------------------------------------------------


class More(PassOptions, total=False):
    """The options of a pass, and a new one."""

    trial: Annotated[
        int | None,
        Option(help="Tries out so much.", minimum=1, metavar="N", group="Trial"),
    ]


def test_a_new_option_is_one_declaration(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (extracting, provenance, check_parts, fingerprint):
        monkeypatch.setattr(module, "PassOptions", More)
    for trial, output in ((2, "a.h5"), (3, "b.h5")):
        extracting.extract("runs/m.pt", "data.npz", output, x_key="a", y_key="b", trial=trial)  # type: ignore[call-arg]
    with pytest.raises(nrcscan.InputError, match=r"differs from a.h5 in trial \(3, not 2\)"):
        nrcscan.merge(["a.h5", "b.h5"], "c.h5")
    with pytest.raises(UsageError, match="--trial 0: give at least 1"):
        extracting.extract("runs/m.pt", "data.npz", trial=0)  # type: ignore[call-arg]
    assert fingerprint.of_settings(checked(More, {"trial": 4}, "f"))["trial"] == 4

    given: list[object] = []
    command = typer.Typer()

    @command.command()
    @takes(options=More)
    def try_it(*, options: More) -> None:
        given.append(options["trial"])

    runner = CliRunner()
    assert runner.invoke(command, ["--trial", "5"]).exit_code == 0
    assert given == [5]
    help_text = runner.invoke(command, ["--help"]).output
    assert re.search(r"─ Trial ─.*\n.*--trial +N \[x>=1\] +Tries out so much\.", help_text)

    @described(More)
    def function(**options: object) -> None:
        """Do.

        Args:
            options: whatever.
        """

    assert "            trial: Tries out so much." in str(function.__doc__)
    assert inspect.signature(function).parameters["trial"].default is None


@pytest.mark.parametrize("kind", KINDS)
def test_every_default_is_a_value_of_its_option(kind: type) -> None:
    for many in (False, True):
        for field in declared(kind, many=many).values():
            assert field.default is None or check(field, field.default) == field.default
            assert field.option.help or nested(field)


def test_the_functions_tell_every_option() -> None:
    for function, kind in (
        (nrcscan.extract, PassOptions),
        (nrcscan.inspect, CheckpointOptions),
        (nrcscan.report, ReportOptions),
        (nrcscan.compare, ReportOptions),
        (nrcscan.scan, ScanOptions),
        (nrcscan.plot, PlotOptions),
    ):
        for name in declared(kind):
            assert re.search(rf"^ {{8}}{name}: [A-Zk]", str(function.__doc__), re.MULTILINE), name
            assert name in inspect.signature(function).parameters
    assert inspect.signature(nrcscan.scan).parameters["activations"].default is False


def test_the_help_is_in_groups() -> None:
    found = CliRunner().invoke(app, ["extract", "--help"]).output
    titles = re.findall(r"^([A-Z][a-z]+)$", found, re.MULTILINE)
    assert titles == ["Arguments", "Network", "Data", "Layers", "Cost", "Output", "Examples"]
    assert {field.option.group for field in FIELDS if field.flags} - {None} <= set(PANELS)


def test_paths_are_found_from_another_folder(folder: Path) -> None:
    found = anywhere(
        PassOptions,
        checked(
            PassOptions,
            {"factory": "net.py:build", "pythonpath": "lib", "scales": Path("scales.npz"),
             "standardize": "x"},
            "scan",
        ),
    )  # fmt: skip
    assert found["factory"] == f"{folder / 'net.py'}:build"
    assert found["pythonpath"] == str(folder / "lib")
    assert found["scales"] == str(folder / "scales.npz")


# --- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_numbers_become_plain_python(field: Field) -> None:
    for kind, scalar in ((int, np.int32), (float, np.float32)):
        if not field.has(kind):
            assert not field.has(kind) or field.choices
            continue
        for given in (scalar(1), np.array(1, scalar), torch.tensor(1, dtype=torch.int32)):
            value = check(field, given)
            assert type(value) is kind
            assert value == 1
        for wrong in (True, np.True_, float("nan"), np.float64("nan"), float("inf"), "x", 1j):
            with pytest.raises(UsageError, match=re.escape(field.flag) + ".*: give "):
                check(field, wrong)
    if field.has(bool):
        assert check(field, np.True_) is True
        with pytest.raises(UsageError, match=r": 1 is a int: give True or False"):
            check(field, 1)


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_a_value_of_another_type_is_named_with_its_remedy(field: Field) -> None:
    with pytest.raises(UsageError, match=re.escape(field.flag) + r": <object .* is a object: "):
        check(field, object())
    if field.has(Sequence):
        for wrong in (b"a", {"a"}, {"a": 1}, [1], 3):
            with pytest.raises(UsageError, match="give a string or a list of strings"):
                check(field, wrong)
        assert check(field, np.array(["a", "b"])) == ("a", "b")
        assert check(field, "head") == ("head",)


def test_a_share_is_a_number_or_in_percent() -> None:
    field = declared(CutOptions)["within"]
    for given, value in (("5%", 0.05), (" 12.5 % ", 0.125), ("0.05", 0.05), (0.05, 0.05), (1, 1.0)):
        assert check(field, given) == value
    for wrong in ("5", "101%", "-1%", -0.1, 1.5):
        with pytest.raises(UsageError, match=r"--within .*: give a share from 0 to 1, such as 5%"):
            check(field, wrong)
    for wrong in ("", "%", "5%%", "5%0", "a bit", "nan", "inf%", "1e999"):
        with pytest.raises(UsageError, match=re.escape(f"--within {wrong}: give a share from 0")):
            check(field, wrong)


def test_an_unknown_option_is_a_type_error_with_the_closest_name(folder: Path) -> None:
    for function in (nrcscan.extract, nrcscan.scan):
        with pytest.raises(TypeError, match=r"\(\) takes no argument skecth; did you mean sketch"):
            function("m.pt", "data.npz", skecth=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"report\(\) takes no argument noise_max$"):
        nrcscan.report("a.h5", noise_max=1)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="--thresholds: 0.5 is a float: give a Thresholds"):
        nrcscan.report("a.h5", thresholds=0.5)  # type: ignore[arg-type]


def test_what_no_other_process_can_be_given_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="--model-args: cannot be handed to other processes"):
        nrcscan.scan("runs", "data.npz", factory="net.py:build", factory_args={"f": lambda: 0})


def test_thresholds_of_numpy_give_the_same_onsets(tmp_path: Path) -> None:
    data = FIXTURES / "swimmer"
    nrcscan.extract(data / "wd0" / "epoch_600.pt", data / "data.npz", tmp_path / "a.h5")
    for values in np.linspace([0.05, 0.4, 0.4, 1.01], [0.5, 0.99, 0.99, 3.0], 4):
        ours = nrcscan.report(tmp_path / "a.h5", thresholds=Thresholds(*values))
        plain = nrcscan.report(tmp_path / "a.h5", thresholds=Thresholds(*values.tolist()))
        assert json.dumps(ours.to_dict()) == json.dumps(plain.to_dict())
    with pytest.raises(UsageError, match=r"^noise_max nan: give a number from 0 to 1"):
        Thresholds(np.nan)
    with pytest.raises(UsageError, match="cka_min: True is a bool: give a number from 0 to 1"):
        Thresholds(cka_min=True)


def test_a_verdict_does_not_ask_which_object_says_no() -> None:
    values = {name: np.float64(0.9) for name in QUANTITIES}  # which compare to NumPy's truths
    found = answers(LayerMetrics({**values}), Thresholds(), learned=Answer.MET)
    assert list(found.values()) == [Answer.NOT_MET, Answer.MET, Answer.MET, Answer.MET]
    assert together(found.values()) is Answer.NOT_MET
    in_depth = [Answer.MET, together(found.values()), Answer.MET]
    assert onset(in_depth) == 2
    assert runs(in_depth) == [(0, 0), (2, 2)]


@pytest.mark.usefixtures("workers_here")
def test_a_string_is_one_item(folder: Path) -> None:
    keys: dict[str, Any] = {"x_key": "a", "y_key": "b", "force": True}
    with pytest.raises(UsageError, match=r"no layer matches --layers 'nothing\*'"):
        nrcscan.extract("runs/m.pt", "data.npz", "a.h5", layers="nothing*", **keys)
    found = nrcscan.extract("runs/m.pt", "data.npz", "a.h5", exclude="0", **keys)
    assert found.layers == ("2",)
    nrcscan.extract("runs/m.pt", "data.csv", "b.h5", targets="y0,y1")
    with pytest.raises(UsageError, match="a single run: give at least two"):
        nrcscan.compare("a.h5")
    assert nrcscan.merge("a.h5", "c.h5").n_parts == 1
    assert several(("a", Path("b"))) == [Path("a"), Path("b")]
    with pytest.raises(UsageError, match="3 is a int: give a path"):
        nrcscan.compare([3])
    torch.save({"model": mlp(5, 16, 2).state_dict()}, "runs/other.pt")
    scanned = nrcscan.scan("runs", "data.npz", patterns="*m.pt", x_key="a", y_key="b")
    assert [row.path for row in scanned.checkpoints] == ["m.pt"]
    assert len(gather_rules(require="model.r2 > 0").rules) == 1
