"""The user's own code is looked at before it runs, and what it may not touch is watched."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import ROOT, Run, imported, mlp, samples

from nrcscan import InputError, UsageError, extract
from nrcscan.inputs.runs_on_import import OnImport
from nrcscan.inputs.user_code import require_definitions

DEFINES = """
'''A model.'''
from __future__ import annotations
import argparse, logging, os, platform, re, sys, warnings, random
from collections import namedtuple
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
import numpy as np
import torch
from torch import nn
if TYPE_CHECKING:
    from nowhere import Thing
try:
    import wandb
except ImportError:
    wandb = None
sys.path.insert(0, str(Path(__file__).parent))
warnings.filterwarnings("ignore")
logging.basicConfig(level=logging.INFO)
logger = logging.getLogger(__name__)
logger.setLevel("INFO")
__all__ = ["Net"]
__all__ += ["build"]
os.environ["OMP_NUM_THREADS"] = "1"
os.environ.setdefault("WANDB_MODE", "offline")
seed = int(os.environ.get("SEED", 0))
torch.manual_seed(seed); np.random.seed(seed); random.seed(seed)
torch.set_default_dtype(torch.float32)
torch.backends.cudnn.benchmark = True
T = TypeVar("T")
Point = namedtuple("Point", "x y")
HERE = Path(__file__).resolve().parent
NAME = re.compile(r"x+")
ACT = nn.ReLU()
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
WIDTHS = [2 ** i for i in range(4)]
scale = torch.tensor([1.0, 2.0]).mean()
parser = argparse.ArgumentParser()
parser.add_argument("--width", type=int, default=4)
args = parser.parse_args([])
torch.cuda.empty_cache()
table = read().rename(columns={"a": "b"})
table.head()
file = h5py.File("x.h5", "r")
text = "a,b".replace(",", " ").split()
with torch.no_grad():
    table = torch.zeros(3)
    table.fill_(2.0)
for name in ("a", "b"):
    text.append(name)
def seed_all(n):
    torch.manual_seed(n)
    return n
seed_all(3)
@dataclass
class Config:
    width: int = 4
    parts: list = field(default_factory=list)
class Net(nn.Module):
    act = nn.ReLU()
    def __init__(self, width=4):
        super().__init__()
        self.layer = nn.Linear(width, 2)
        nn.init.zeros_(self.layer.bias)
    def forward(self, x):
        return self.layer(x)
    def fit(self, data):
        self.loss(data).backward()
def build(width=4):
    parts = []
    parts.append(nn.Linear(width, 2))
    return nn.Sequential(*parts)
def train(net):
    for _ in range(3):
        net(torch.zeros(1)).sum().backward()
    torch.save(net, "model.pt")
net = Net()
net.eval()
net.train()
net.requires_grad_(False)
net(torch.zeros(1, 4))
nn.init.zeros_(net.layer.weight)
other = build(3)
data = np.load(HERE / "x.npy") if (HERE / "x.npy").exists() else None
is_mac = platform.system() == "Darwin"
lines = open(__file__).read().splitlines()
print("loaded")
assert seed >= 0
MODELS = {"net": Net, "small": lambda: train(Net())}
if __name__ == "__main__":
    train(net)
    args = parser.parse_args()
else:
    MODE = "import"
if __name__ == "__main__" and seed:
    train(net)
"""

DOES = [
    "args = parser.parse_args()",
    "args, rest = parser.parse_known_args()",
    "for epoch in range(3):\n    loss.backward()",
    "while loss > 1:\n    step()",
    "train()",
    "train(net)",
    "history = model.fit(x, y)",
    "losses = [train_once(net) for _ in range(3)]",
    "best = train_once(net)",
    "_ = main()",
    "main()",
    "torch.save(net.state_dict(), 'model.pt')",
    "np.savez('data.npz', X=x)",
    "np.save('x.npy', x)",
    "x.to_csv('x.csv')",
    "with open('log.txt', 'w') as log:\n    pass",
    "log = open('log.txt', mode='a')",
    "log = Path('log.txt').open('w')",
    "Path('log.txt').write_text('x')",
    "os.remove('model.pt')",
    "os.system('rm -rf runs')",
    "subprocess.run(['make'])",
    "out = subprocess.check_output(['make'])",
    "run = wandb.init(project='x')",
    "wandb.init()",
    "trainer.fit(net)",
    "Trainer(net).train(epochs=3)",
    "pl.Trainer(max_epochs=3).fit(net)",
    "model.learn(10_000)",
    "tune.run(train)",
    "fire.Fire(main)",
    "agent = Net().go(3)",
    "study.optimize(objective, n_trials=3)",
    "dist.init_process_group('nccl')",
    "exec(open('x.py').read())",
    "seed and train(net)",
    "if seed:\n    train(net)",
    "try:\n    train(net)\nfinally:\n    pass",
    "class Now:\n    net = train_once(None)",
    "if __name__ != '__main__':\n    train(net)",
    "with mlflow.start_run():\n    pass",
    "file = h5py.File('model.h5', 'w')",
    "x = np.memmap('x.dat', dtype='f4', mode='w+', shape=3)",
    "writer = SummaryWriter('runs')",
    "Net().fit(x)",
    "pickle.dump(net, log)",
    "sys.exit(0)",
]

FUNCTIONS = """
def train_once(net):
    for _ in range(3):
        net(1).backward()
    return net
def main():
    train_once(None)
class Net:
    def fit(self, x):
        x.backward()
    def go(self, x):
        self.fit(x)
"""


def doings(folder: Path, text: str) -> list[tuple[str, int, str]]:
    (folder / "train.py").write_text(text)
    found = OnImport([str(folder)]).doings([folder / "train.py"])
    return [(doing.path.name, doing.line, doing.text) for doing in found]


def test_a_module_of_definitions(tmp_path: Path) -> None:
    assert doings(tmp_path, DEFINES) == []


@pytest.mark.parametrize("text", DOES)
def test_what_does_more_than_define(tmp_path: Path, text: str) -> None:
    last = FUNCTIONS.count("\n") + 1
    first = text.splitlines()[0]
    assert doings(tmp_path, f"{FUNCTIONS}{text}\n") == [("train.py", last, first)]
    guarded = "".join(f"    {line}\n" for line in text.splitlines())
    assert doings(tmp_path, f"{FUNCTIONS}if __name__ == '__main__':\n{guarded}") == []


def test_own_modules_are_looked_into_too(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("from .layers import Layer\n")
    (tmp_path / "parts" / "layers.py").write_text("import helper\nclass Layer: ...\nhelper.go()\n")
    (tmp_path / "helper.py").write_text("def go():\n    open('x', 'w')\ndef calm(): ...\ncalm()\n")
    (tmp_path / "late.py").write_text("go()\n")
    text = "import torch\nfrom parts import Layer\nfrom helper import go\ngo()\n"
    text += "def build():\n    import late\ndef other(): ...\n"
    assert doings(tmp_path, text) == [("train.py", 4, "go()"), ("layers.py", 3, "helper.go()")]
    look = OnImport([str(tmp_path)])
    called = look.doings([tmp_path / "train.py"], "build")
    assert [d.path.name for d in called] == ["train.py", "late.py", "layers.py"]


def refused(spec: str, *, within: Path | None = None, run_script: bool = False) -> str:
    with pytest.raises(UsageError) as caught:
        require_definitions(spec, "--model", run_script=run_script, within=within)
    return str(caught.value)


def test_what_is_said_of_it(tmp_path: Path) -> None:
    file = tmp_path / "train.py"
    file.write_text(
        "class Net: ...\nfor epoch in range(3):\n    train()\nprint()\n"
        "torch.save(net, 'a/very/long/path/that/goes/on/and/on/model.pt')\nmain()\nmain()\n"
    )
    assert refused(f"{file}:Net") == (
        f"--model {file}:Net: not imported, because this would run too: line 2 (for epoch in"
        " range(3):), line 5 (torch.save(net, 'a/very/long/path/that/goes/on/a…), line 6 (main())"
        ' and 1 more; put it under if __name__ == "__main__", or let it run with --run-script'
    )
    require_definitions(f"{file}:Net", "--model", run_script=True, within=None)


@pytest.mark.parametrize("run_script", [False, True])
def test_a_typo_is_told_before_anything_runs(tmp_path: Path, run_script: bool) -> None:
    file = tmp_path / "train.py"
    file.write_text("from torch import nn\nclass Net: ...\ndef build(): ...\nmain()\n")
    told = refused(f"{file}:Nte", run_script=run_script)
    assert told == (
        f"--model {file}:Nte: {file} has no 'Nte'; it has Net and build; did you mean Net?"
    )
    assert "; it has Net and build" in refused(f"{file}:xyz", run_script=run_script)


@pytest.mark.parametrize(
    "text",
    [
        "from other import *\n",
        "def __getattr__(name): ...\n",
        "globals()['made'] = 1\n",
        "def f():\n    global made\n    made = 1\n",
        "import made\n",
        "from x import y as made\n",
        "try:\n    made = 1\nexcept Exception:\n    pass\n",
        "a, (made, b) = 1, (2, 3)\n",
        "for made in []: ...\n",
        "with x as made: ...\n",
        "made: int = 3\n",
        "if (made := 3): ...\n",
    ],
)
def test_names_that_may_be_there_are_not_denied(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.py").write_text(text)
    require_definitions(f"{tmp_path / 'mine.py'}:made", "--model", run_script=True, within=None)


def test_no_python(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\n%matplotlib inline\n")
    told = f"{tmp_path / 'mine.py'} line 2 is no Python (invalid syntax); mend it first"
    assert told in refused(f"{tmp_path / 'mine.py'}:made")
    (tmp_path / "mine.py").write_bytes(b"x = '\xff\xfe'\n")
    assert "mine.py is no Python (invalid or missing encoding declaration" in refused(
        f"{tmp_path / 'mine.py'}:made"
    )
    (tmp_path / "mine.py").write_text(f"made = {'+'.join(['1'] * 400)}\n")
    require_definitions(f"{tmp_path / 'mine.py'}:made", "--model", run_script=False, within=None)
    assert "no such file" in refused(f"{tmp_path / 'no.py'}:made")


def test_a_dotted_name_is_looked_up_without_importing(tmp_path: Path) -> None:
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit\nmain()\n")
    (package / "net.py").write_text("class Net: ...\ntrain()\n")
    told = refused("my_package.net:Net", within=tmp_path)
    assert "__init__.py line 2 (main()) and line 2 (train())" in told
    assert "has no 'Nte'" in refused("my_package.net:Nte", within=tmp_path)
    require_definitions("torch.nn:Linear", "--model", run_script=False, within=None)
    require_definitions("nowhere.at_all:x", "--model", run_script=False, within=None)


# --- the whole way ---------------------------------------------------------------------------

SCRIPT = """
import sys
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 2)

    def forward(self, x):
        return self.layer(x)

    def train_on(self, x):
        pass

net = Net()
for epoch in range(2):
    with torch.no_grad():
        net.layer.weight.fill_(float(epoch))
torch.save(net.state_dict(), PATH)
torch.save(net, WHOLE)
"""
"""Trains, after a fashion, and writes its checkpoints, whoever imports it."""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """A script without a main guard, after it has run, and data."""
    paths = {"PATH": tmp_path / "model.pt", "WHOLE": tmp_path / "whole.pt"}
    text = SCRIPT
    for name, path in paths.items():
        text = text.replace(name, repr(str(path)))
    (tmp_path / "train.py").write_text(text)
    runpy.run_path(str(tmp_path / "train.py"), run_name="__main__")
    state = torch.load(tmp_path / "model.pt")
    state["layer.weight"].fill_(0.5)  # what a second run would not give
    torch.save(state, tmp_path / "model.pt")
    x, y = samples(20, 5, 2)
    np.savez(tmp_path / "data.npz", X=x, y=y)
    return tmp_path / "train.py"


def test_a_script_does_not_train_again(cli: Run, tmp_path: Path, script: Path) -> None:
    before = (tmp_path / "model.pt").read_bytes()
    done = cli("extract", "model.pt", "data.npz", "--model", "train.py:Net")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "error: --model train.py:Net: not imported, because this would run too: line 21"
    )
    assert "let it run with --run-script" in done.stderr
    assert (tmp_path / "model.pt").read_bytes() == before
    assert not (tmp_path / "acts.h5").exists()


def test_a_checkpoint_that_is_written_to_is_refused(cli: Run, tmp_path: Path, script: Path) -> None:
    done = cli("extract", "model.pt", "data.npz", "--model", "train.py:Net", "--run-script")
    assert (done.returncode, done.stdout) == (3, "")
    assert (
        "error: model.pt: was written to while your code ran, so nothing is measured; restore"
        in (done.stderr)
    )
    assert not (tmp_path / "acts.h5").exists()


@pytest.mark.parametrize("when", ["as it is imported", "as it is called", "in the pass"])
def test_files_are_watched_to_the_end(tmp_path: Path, when: str) -> None:
    torch.save(mlp(5, 2).state_dict(), tmp_path / "m.pt")
    x, y = samples(20, 5, 2)
    np.savez(tmp_path / "d.npz", X=x, y=y)
    write = f"pathlib.Path({str(tmp_path / 'd.npz')!r}).write_bytes(b'x')"
    (tmp_path / "sly.py").write_text(
        "import pathlib\nfrom torch import nn\n"
        f"def touch():\n    {write}\n"
        + ("touch()\n" if when == "as it is imported" else "")
        + "class Net(nn.Sequential):\n    def forward(self, x):\n"
        + ("        touch()\n" if when == "in the pass" else "")
        + "        return super().forward(x)\n"
        "def build():\n"
        + ("    touch()\n" if when == "as it is called" else "")
        + "    return Net(nn.Linear(5, 2))\n"
    )
    options: Any = {"factory": f"{tmp_path / 'sly.py'}:build", "run_script": True}
    with pytest.raises(InputError, match=r"d.npz: was written to while your code ran, so nothing"):
        extract(tmp_path / "m.pt", tmp_path / "d.npz", tmp_path / "a.h5", **options)
    assert not (tmp_path / "a.h5").exists()


def test_the_code_of_data_is_looked_at_too(cli: Run, tmp_path: Path, script: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\nimport train\nnet = nn.Linear(5, 2)\n"
        "def batches():\n    yield torch.zeros(3, 5), torch.zeros(3, 2)\n"
    )
    done = cli("extract", "model.pt", "--data", "mine.py:batches")
    assert done.returncode == 2
    assert "--data mine.py:batches: not imported" in done.stderr
    assert "train.py line" in done.stderr
    text = (tmp_path / "mine.py").read_text().replace("import train\n", "")
    (tmp_path / "mine.py").write_text(text)
    assert "has no 'batch'; it has batches; did you mean batches?" in (
        cli("extract", "model.pt", "--data", "mine.py:batch").stderr
    )
    good = cli("extract", "model.pt", "--data", "mine.py:batches", "--model", "mine.py:net")
    assert "missing weight and bias" in good.stderr  # a network that stands ready is taken


@pytest.mark.usefixtures("workers_here")
def test_a_scan_looks_first_too(cli: Run, tmp_path: Path, script: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "model.pt").rename(tmp_path / "runs" / "1.pt")
    done = cli("scan", "runs", "data.npz", "--model", "train.py:Net")
    assert (done.returncode, done.stdout) == (2, "")
    assert "let it run with --run-script" in done.stderr
    assert not (tmp_path / "scan").exists()


@pytest.mark.usefixtures("workers_here")
@pytest.mark.parametrize("how", ["factory", "data"])
def test_a_scan_refuses_what_its_code_writes_to(cli: Run, tmp_path: Path, how: str) -> None:
    (tmp_path / "runs").mkdir()
    torch.save(mlp(5, 2).state_dict(), tmp_path / "runs" / "1.pt")
    x, y = samples(20, 5, 2)
    np.savez(tmp_path / "data.npz", X=x, y=y)
    target = tmp_path / ("data.npz" if how == "factory" else "runs/1.pt")
    (tmp_path / "writes.py").write_text(
        "import pathlib, torch\nfrom torch import nn\n"
        f"with pathlib.Path({str(target)!r}).open('ab') as file:\n    file.write(b'x')\n"
        "def build():\n    return nn.Sequential(nn.Linear(5, 2))\n"
        "def arrays():\n    return torch.ones(4, 5), torch.ones(4, 2)\n"
    )
    given = ["data.npz", "--model", "writes.py:build"]
    given = given if how == "factory" else ["--data", "writes.py:arrays"]
    refused_first = cli("scan", "runs", *given)
    assert "let it run with --run-script" in refused_first.stderr
    done = cli("scan", "runs", *given, "--run-script")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"{target.name}: was written to while your code ran, so nothing is measured" in (
        done.stderr
    )
    assert not (tmp_path / "scan").exists()


def test_a_class_of_main_is_found_in_the_script(cli: Run, tmp_path: Path, script: Path) -> None:
    text = script.read_text()
    start = text.index("net = Net()")
    script.write_text(
        text[:start]
        + 'if __name__ == "__main__":\n'
        + "".join(f"    {line}\n" for line in text[start:].splitlines())
    )
    model = torch.load(tmp_path / "model.pt")
    for command in (["extract", "whole.pt", "data.npz"], ["scan", "runs", "data.npz"]):
        if command[0] == "scan":
            (tmp_path / "runs").mkdir()
            (tmp_path / "whole.pt").rename(tmp_path / "runs" / "1.pt")
        told = cli(*command, "--model", "train.py")
        assert told.returncode == 2
        assert "--model train.py: names nothing in it; write train.py:NAME for what" in told.stderr
    shutil.copy(tmp_path / "runs" / "1.pt", tmp_path / "whole.pt")
    main = sys.modules["__main__"]
    done = cli("extract", "whole.pt", "data.npz", "--model", "train.py", "--trust")
    assert sys.modules["__main__"] is main
    assert (done.returncode, done.stderr.count("error")) == (0, 0)
    data = np.load(tmp_path / "data.npz")
    predictions = data["X"] @ np.ones((5, 2)) + model["layer.bias"].numpy()
    r2 = 1 - ((predictions - data["y"]) ** 2).mean() / data["y"].var(axis=0).mean()
    assert f"R² = {r2:.3f}" in done.stdout


def test_a_script_is_looked_at_before_a_class_is_taken_from_it(
    cli: Run, tmp_path: Path, script: Path
) -> None:
    done = cli("extract", "whole.pt", "data.npz", "--model", "train.py", "--trust")
    assert done.returncode == 2
    assert "--model train.py: not imported, because this would run too" in done.stderr


def test_modules_that_a_trusted_file_imports(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "nets_that_train.py").write_text("from torch import nn\nNet = nn.Linear\n")
    with imported(tmp_path / "lib", "nets_that_train") as code:

        class Net(torch.nn.Linear):
            __module__ = "nets_that_train"
            __qualname__ = "Net"

        code.Net = Net
        torch.save(Net(5, 2), tmp_path / "m.pt")
    with (tmp_path / "lib" / "nets_that_train.py").open("a") as file:
        file.write("Net(5, 2).fit(3)\n")
    with pytest.raises(
        UsageError, match=r"--trust .*m.pt: not imported, .* line 3 \(Net\(5, 2\).f"
    ):
        extract(
            tmp_path / "m.pt",
            samples(9, 5, 2),
            tmp_path / "a",
            trust=True,
            pythonpath=tmp_path / "lib",
        )


# --- before torch ----------------------------------------------------------------------------


def test_what_is_wrong_is_told_without_torch_and_before_what_exists(tmp_path: Path) -> None:
    x, y = samples(9, 5, 2)
    np.savez(tmp_path / "data.npz", X=x, y=y)
    np.savetxt(
        tmp_path / "data.csv", np.hstack([x, y]), delimiter=",", header="a,b,c,d,e,f,g", comments=""
    )
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["obs"], file["act"] = x, y
    for name in ("m.pt", "acts.h5"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "mine.py").write_text("def build(): ...\n")
    calls: list[tuple[str, list[str], dict[str, str]]] = [
        ("no such checkpoint file", ["no.pt", "data.npz"], {}),
        ("no such data file", ["m.pt", "no.npz"], {}),
        (
            "has no array 'Z'; choose x_key= from X (9, 5) and y (9, 2)",
            ["m.pt", "data.npz"],
            {"x_key": "Z"},
        ),
        (
            "has no array 'Z'; choose y_key= from",
            ["m.pt", "data.h5"],
            {"x_key": "obs", "y_key": "Z"},
        ),
        ("'Z'", ["m.pt", "data.csv"], {"targets": "Z"}),
        ("no such statistics file", ["m.pt", "data.npz"], {"standardize": "x", "scales": "no.npz"}),
        ('pythonpath="no": no such folder', ["m.pt", "data.npz"], {"pythonpath": "no"}),
        ("no such file: no.py", ["m.pt", "data.npz"], {"factory": "no.py:build"}),
        ("did you mean build?", ["m.pt", "data.npz"], {"factory": "mine.py:biuld"}),
        ("output_slice=3: give from:to", ["m.pt", "data.npz"], {"output_slice": "3"}),
        ('device="gpu": give cpu, cuda', ["m.pt", "data.npz"], {"device": "gpu"}),
        ('standardize="z": give x, y or x,y', ["m.pt", "data.npz"], {"standardize": "z"}),
        ("exists already", ["m.pt", "data.npz"], {}),
    ]
    program = (
        "import json, sys, nrcscan\n"
        "for _, args, options in json.load(sys.stdin):\n"
        "    try:\n        nrcscan.extract(*args, **options)\n"
        "    except nrcscan.NrcscanError as error:\n        print(error)\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(calls),
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    *said, torch_there = done.stdout.splitlines()
    assert len(said) == len(calls)
    for (message, _, _), line in zip(calls, said, strict=True):
        assert message in line
    assert torch_there == "False"
