"""The user's own code is looked at before it runs, and what it may not touch is watched."""

from __future__ import annotations

from pathlib import Path

import pytest

from nrcscan.errors import UsageError
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
