"""A result is taken over only if the user's code that ran for it would run now."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ROOT, imported, mlp, samples

import nrcscan
from nrcscan.errors import UsageError
from nrcscan.inputs.module_files import module_file
from nrcscan.scanning.source_code import SourceCode

ACTIVATION = "from torch import nn\nActivation = nn.ReLU\n"
USES = "def build():\n    return nn.Sequential(nn.Linear(5, 16), Activation(), nn.Linear(16, 2))\n"
DIRECT = {"net.py": f"from torch import nn\nfrom helper import Activation\n{USES}"}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    x, y = samples(60, 5, 2)
    np.savez(tmp_path / "data.npz", X=x, y=y)
    (tmp_path / "runs").mkdir()
    torch.save(mlp(5, 16, 2).state_dict(), tmp_path / "runs" / "1.pt")
    return tmp_path / "data.npz"


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def scan(tmp_path: Path, data: Any = None, **options: Any) -> nrcscan.Scan:
    options = {"factory": f"{tmp_path / 'net.py'}:build", **options}
    source = tmp_path / "data.npz" if data is None else data
    return nrcscan.scan(tmp_path / "runs", source, tmp_path / "out", jobs=1, **options)


def result(found: nrcscan.Scan) -> Any:
    (checkpoint,) = found.checkpoints
    assert checkpoint.reason is None
    return checkpoint.result


VALUE = "VALUE = 1.0\n"
NET = """import pathlib, sys
from torch import nn
sys.path.insert(0, str(pathlib.Path(__file__).parent / "more"))
import by_a_path_of_its_own, beside, first, in_the_library, of_a_package
import package.part.leaf, space.within.leaf

class Net(nn.Sequential):
    def forward(self, x):
        import as_it_is_called
        out = super().forward(x) * by_a_path_of_its_own.VALUE * beside.VALUE * first.VALUE
        out = out * in_the_library.VALUE * of_a_package.VALUE * package.part.leaf.VALUE
        return out * space.within.leaf.VALUE * as_it_is_called.VALUE * VALUE

def build():
    return Net(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2))
"""
IMPORTED = (
    "net.py",
    "beside.py",
    "lib/in_the_library.py",
    "lib/deeper.py",
    "lib/package/part/leaf.py",
    "lib/of_a_package/leaf.py",
    "lib/space/within/leaf.py",
    "lib/as_it_is_called.py",
    "more/by_a_path_of_its_own.py",
)
"""A file for every way that a factory's code can come from."""

FOLLOW = {
    "lib/first.py": "from deeper import VALUE\n",
    "lib/package/__init__.py": "",
    "lib/package/part/__init__.py": "",
    "lib/of_a_package/__init__.py": "from of_a_package.leaf import VALUE\n",
}


@pytest.mark.usefixtures("data", "forked")
def test_code_that_the_factory_imports(tmp_path: Path) -> None:
    write(tmp_path, {**dict.fromkeys(IMPORTED, VALUE), **FOLLOW, "net.py": VALUE + NET})
    options = {"pythonpath": str(tmp_path / "lib")}
    seen = [result(scan(tmp_path, **options))]
    write(tmp_path, {"unrelated.py": "1", "lib/unrelated.py": "1"})
    assert scan(tmp_path, **options).n_known == 1
    for changed in IMPORTED:
        text = (tmp_path / changed).read_text()
        write(tmp_path, {changed: text.replace("VALUE = 1.0", "VALUE = 2.0")})
        found = scan(tmp_path, **options)
        assert found.n_known == 0, changed
        assert result(found) not in seen, changed
        seen.append(result(found))
    for changed in IMPORTED:
        text = (tmp_path / changed).read_text()
        write(tmp_path, {changed: text.replace("VALUE = 2.0", "VALUE = 1.0")})
    assert result(scan(tmp_path, **options)) == seen[0]
    assert scan(tmp_path, **options).n_known == 1


@pytest.mark.usefixtures("data", "forked")
def test_a_file_that_comes_before_or_is_gone(tmp_path: Path) -> None:
    write(tmp_path, {**DIRECT, "helper.py": ACTIVATION})
    (tmp_path / "lib").mkdir()
    options = {"pythonpath": str(tmp_path / "lib")}
    first = scan(tmp_path, **options)
    assert scan(tmp_path, **options).n_known == 1
    write(tmp_path, {"lib/helper/__init__.py": ACTIVATION.replace("ReLU", "Tanh")})
    second = scan(tmp_path, **options)
    assert second.n_known == 0
    assert result(second) != result(first)
    (tmp_path / "lib" / "helper" / "__init__.py").unlink()
    (tmp_path / "helper.py").unlink()
    with pytest.raises(UsageError, match="importing .* failed"):
        scan(tmp_path, **options)


@pytest.mark.usefixtures("data", "forked")
def test_another_report_is_not_made_from_statistics_of_other_code(tmp_path: Path) -> None:
    write(tmp_path, {**DIRECT, "helper.py": ACTIVATION})
    scan(tmp_path)
    write(tmp_path, {"helper.py": ACTIVATION.replace("ReLU", "Tanh")})
    found = result(scan(tmp_path, signal_dim=1))
    fresh = nrcscan.extract(
        tmp_path / "runs" / "1.pt", tmp_path / "data.npz", tmp_path / "a.h5", activation="tanh"
    )
    assert fresh is not None
    expected = nrcscan.report(tmp_path / "a.h5", signal_dim=1).to_dict()
    assert found["model"]["mse"] == pytest.approx(expected["model"]["mse"], rel=1e-6)


@pytest.mark.usefixtures("data", "forked")
def test_the_class_of_a_pickled_network(tmp_path: Path) -> None:
    text = (
        "from torch import nn\nclass Net(nn.Sequential):\n    def forward(self, x):\n"
        "        return super().forward(x) * 1.0\n"
    )
    write(tmp_path, {"code/my_own_nets.py": text})
    code = (
        "import sys, torch; from torch import nn; sys.path.append('code'); import my_own_nets\n"
        "net = my_own_nets.Net(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 2))\n"
        "torch.save(net, 'runs/1.pt')"
    )
    subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, check=True)
    options = {"factory": None, "trust": True, "pythonpath": str(tmp_path / "code")}
    first = scan(tmp_path, **options)
    assert scan(tmp_path, **options).n_known == 1
    write(tmp_path, {"code/my_own_nets.py": text.replace("1.0", "2.0")})
    second = scan(tmp_path, **options)
    assert second.n_known == 0
    assert result(second) != result(first)


@pytest.mark.usefixtures("data", "forked")
def test_the_code_of_data(tmp_path: Path) -> None:
    loader = "from numbers_of_mine import FACTOR\ndef load():\n    import numpy as np, pathlib\n"
    loader += "    d = np.load(pathlib.Path(__file__).parent / 'data.npz')\n"
    loader += "    return [(d['X'] * FACTOR, d['y'])]\n"
    write(tmp_path, {"loader.py": loader, "numbers_of_mine.py": "FACTOR = 1\n"})
    spec = f"{tmp_path / 'loader.py'}:load"
    first = scan(tmp_path, spec, factory=None)
    assert scan(tmp_path, spec, factory=None).n_known == 1
    write(tmp_path, {"numbers_of_mine.py": "FACTOR = 2\n"})
    second = scan(tmp_path, spec, factory=None)
    assert second.n_known == 0
    assert result(second) != result(first)


@pytest.mark.usefixtures("data", "forked")
def test_code_is_checked_without_running_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = f"open({str(tmp_path / 'ran')!r}, 'a').write('x')\n"
    write(tmp_path, {**DIRECT, "lib/helper.py": ran + ACTIVATION})
    options: dict[str, Any] = {
        "factory": f"{tmp_path / 'net.py'}:build",
        "pythonpath": str(tmp_path / "lib"),
    }
    with pytest.raises(UsageError, match=r"helper.py line 1 \(open\("):
        scan(tmp_path, **options)
    options["run_script"] = True
    scan(tmp_path, **options)
    (tmp_path / "ran").unlink()
    monkeypatch.undo()  # a Python that has imported nothing
    code = (
        "import sys, nrcscan; found = nrcscan.scan('runs', 'data.npz', 'out', jobs=1,"
        f" **{options!r}); print(found.n_known, *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    known, *modules = done.stdout.split()
    assert known == "1"
    assert not {"torch", "numpy", "helper"} & set(modules)
    assert not (tmp_path / "ran").exists()


def test_modules_are_found_as_python_finds_them(tmp_path: Path) -> None:
    files = ("a/m.py", "b/m/__init__.py", "b/m/x.py", "a/n/one.py", "b/n/two.py", "a/p/q/r.py")
    write(tmp_path, dict.fromkeys(files, ""))
    search = [str(tmp_path / "a"), str(tmp_path / "b")]

    def found(name: str) -> str | None:
        file = module_file(name, search)
        return None if file is None else file.relative_to(tmp_path).as_posix()

    names = ("m", "m.x", "n.one", "n.two", "p.q.r", "n", "none", "none.x")
    assert [found(name) for name in names] == [
        *("a/m.py", None, "a/n/one.py", "b/n/two.py", "a/p/q/r.py", None, None, None)
    ]


def test_packages_of_another_environment_are_no_code_of_the_user(tmp_path: Path) -> None:
    there, here = tmp_path / "venv" / "site-packages", tmp_path / "code"
    write(tmp_path, {"venv/site-packages/installed_there.py": "", "code/written_here.py": ""})
    with imported(there, "installed_there"), imported(here, "written_here"):
        sources = SourceCode(sys.path).in_use()
    assert "written_here" in sources
    assert not [source for source in sources if "installed_there" in source]
