"""Folders of torch.distributed.checkpoint, written by torch itself."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Run, mlp
from test_programs import DATA, expect_same, measured
from torch.distributed import checkpoint

from nrcscan import InputError, UnsafeError, UsageError, inspect
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint

MODEL = mlp(6, 8, 2)


def saved(content: dict[str, Any], folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is one process
        checkpoint.state_dict_saver.save(content, checkpoint_id=folder)
    return folder


def training() -> dict[str, Any]:
    optimizer = torch.optim.Adam(MODEL.parameters())
    MODEL(torch.zeros(3, 6)).sum().backward()
    optimizer.step()
    return {"model": MODEL.state_dict(), "optim": optimizer.state_dict(), "epoch": 3}


@pytest.mark.parametrize("whole", [True, False])
def test_it_measures_as_its_state_dict_does(tmp_path: Path, whole: bool) -> None:
    folder = saved(training() if whole else MODEL.state_dict(), tmp_path / "step_10")
    torch.save(MODEL.state_dict(), tmp_path / "m.pt")
    expected = measured(tmp_path / "m.pt", DATA)
    expect_same(measured(folder, DATA, trust=True), expected)
    assert sorted(p.name for p in folder.iterdir()) == [".metadata", "__0_0.distcp"]


def test_several_networks(tmp_path: Path) -> None:
    content = {"actor": MODEL.state_dict(), "critic": mlp(6, 8, 2, seed=1).state_dict()}
    folder = saved(content, tmp_path / "d")
    with pytest.raises(UsageError, match="choose with --state-key actor or --state-key critic"):
        open_checkpoint(folder, trust=True)
    state = open_checkpoint(folder, trust=True, state_key="critic").state
    assert torch.equal(state["0.weight"], content["critic"]["0.weight"])


def test_networks_and_tensors_in_lists(tmp_path: Path) -> None:
    members = [mlp(6, 8, 2, seed=seed) for seed in range(2)]
    optimizer = torch.optim.SGD(MODEL.parameters(), 0.1, momentum=0.9)
    MODEL(torch.zeros(1, 6)).sum().backward()
    optimizer.step()
    average = [torch.full((2, 2), float(place)) for place in range(12)]
    states = [member.state_dict() for member in members]
    content = {
        "members": states,
        "optimizer": optimizer.state_dict(),
        "ema": {"shadow_params": average},
    }
    folder = saved(content, tmp_path / "d")
    message = "with --state-key members.0, --state-key members.1 or --state-key ema.shadow_params$"
    with pytest.raises(UsageError, match=message):
        open_checkpoint(folder, trust=True)
    state = open_checkpoint(folder, trust=True, state_key="members.1").state
    assert torch.equal(state["0.weight"], states[1]["0.weight"])
    found = open_checkpoint(folder, trust=True, state_key="ema").in_order
    assert found is not None
    assert all(map(torch.equal, found.tensors, average))


def test_it_needs_trust(tmp_path: Path, cli: Run) -> None:
    folder = saved(training(), tmp_path / "d")
    message = (
        r"\.metadata is a pickle that asks for .*torch\.distributed\.checkpoint.* and \d+ more, and"
    )
    with pytest.raises(UnsafeError, match=message):
        open_checkpoint(folder)
    with pytest.raises(UnsafeError, match=message):
        inspect(folder)
    found = inspect(folder, trust=True)
    assert (found.format, found.state_key, found.network) == (
        "distributed", "model", "6 → 8 → activation → 2",
    )  # fmt: skip
    assert found.size > 1000
    assert "distributed checkpoint" in cli("inspect", folder, "--trust").stdout


def test_a_missing_or_damaged_file(tmp_path: Path) -> None:
    folder = saved(MODEL.state_dict(), tmp_path / "d")
    data = folder / "__0_0.distcp"
    content = data.read_bytes()
    data.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged or cut short"):
        open_checkpoint(folder, trust=True)
    data.unlink()
    with pytest.raises(InputError, match=r"__0_0\.distcp is missing; copy it beside \.metadata"):
        open_checkpoint(folder, trust=True)
    (folder / ".metadata").write_bytes(b"\x80\x02nonsense")
    with pytest.raises(InputError, match="damaged or cut short"):
        open_checkpoint(folder, trust=True)


def test_without_tensors(tmp_path: Path) -> None:
    folder = saved({"epoch": 3}, tmp_path / "d")
    with pytest.raises(InputError, match="holds no tensors"):
        open_checkpoint(folder, trust=True)
