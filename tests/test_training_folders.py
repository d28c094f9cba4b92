"""What training leaves in a folder: told from checkpoints by content, and said in a sentence."""

from __future__ import annotations

import argparse
import json
import pickle
import random
import re
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import Run, mlp, samples
from torch import nn

import nrcscan
from nrcscan.errors import InputError, NoNetworkError
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint
from nrcscan.inputs.checkpoints.training_state import why_not
from nrcscan.scanning.find_checkpoints import find

NETWORK = mlp(5, 16, 2)
BY_NAME = "by its name, a training state beside the weights"


class Arguments:
    """Named as the class that a trainer keeps."""


class SeedableRandomSampler:
    """Named as accelerate's."""


class VecNormalize:
    """Named as Stable-Baselines3's."""

    def __init__(self) -> None:
        self.mean = np.zeros(5)


class ReplayBuffer:
    """Named as Stable-Baselines3's."""

    def __init__(self) -> None:
        self.observations = np.zeros((9, 5))


class StandardScaler:
    """Named as scikit-learn's."""

    def __init__(self) -> None:
        self.components = np.zeros((5, 5))


VecNormalize.__module__ = "stable_baselines3.common.vec_env.vec_normalize"
ReplayBuffer.__module__ = "stable_baselines3.common.buffers"
StandardScaler.__module__ = "sklearn.preprocessing._data"
SeedableRandomSampler.__module__ = "accelerate.data_loader"
Arguments.__module__ = "transformers.training_args"


def stepped(network: nn.Module) -> torch.optim.Optimizer:
    """Return an optimizer whose state has matrices of the network's shapes."""
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return optimizer


def random_states() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "cpu": torch.random.get_rng_state(),
    }


def of_accelerate() -> dict[str, Any]:
    """Return what accelerate's save_state puts beside the weights."""
    scheduler = torch.optim.lr_scheduler.StepLR(stepped(mlp(5, 16, 2)), 3)
    return {
        "optimizer.bin": stepped(mlp(5, 16, 2)).state_dict(),
        "scheduler.bin": scheduler.state_dict(),
        "sampler.bin": SeedableRandomSampler(),
        "scaler.pt": {"scale": 65536.0, "growth_factor": 2.0, "backoff_factor": 0.5},
        "random_states_0.pkl": {"step": 1, "random_state": random.getstate()},
        "custom_checkpoint_0.pkl": {"best": 0.5, "history": [1.0, 0.7]},
    }


REASONS = {
    "optimizer.bin": "holds an optimizer's state, without a network",
    "scheduler.bin": "holds a scheduler's state, without a network",
    "sampler.bin": "holds a sampler's state, without a network",
    "scaler.pt": "holds a gradient scaler's state, without a network",
    "random_states_0.pkl": "holds the state of random numbers, without a network",
    "custom_checkpoint_0.pkl": "holds no weight matrix (keys: best and history)",
}


@pytest.fixture
def by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the classes found where their names say, as pickling wants it."""
    import sys
    import types

    for kind in (Arguments, SeedableRandomSampler, VecNormalize, ReplayBuffer, StandardScaler):
        for part in (kind.__module__.partition(".")[0], kind.__module__):
            monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
        monkeypatch.setattr(sys.modules[kind.__module__], kind.__name__, kind, raising=False)


def save(content: Any, path: Path, **how: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **how)


@pytest.mark.usefixtures("by_name")
@pytest.mark.parametrize("how", [{}, {"_use_new_zipfile_serialization": False}])
def test_what_accelerate_saves_is_told_from_the_weights(
    tmp_path: Path, how: dict[str, Any]
) -> None:
    for name, content in of_accelerate().items():
        save(content, tmp_path / "epoch_0" / name, **how)
    save(NETWORK.state_dict(), tmp_path / "epoch_0" / "pytorch_model.bin", **how)
    found = find(tmp_path)
    assert [c.path for c in found.candidates] == ["epoch_0/pytorch_model.bin"]
    assert {path.partition("/")[2]: why for path, why in found.skipped} == REASONS
    opened = open_checkpoint(tmp_path / "epoch_0")
    assert opened.path.name == "pytorch_model.bin"
    with pytest.raises(NoNetworkError, match=r"sampler\.bin: holds a sampler's state, without a"):
        open_checkpoint(tmp_path / "epoch_0" / "sampler.bin")


@pytest.mark.usefixtures("by_name", "workers_here")
def test_a_good_folder_scans_without_an_error(cli: Run, tmp_path: Path) -> None:
    x, y = samples(60, 5, 2)
    np.savez(tmp_path / "data.npz", X=x, y=y)
    for epoch in (0, 1):
        folder = tmp_path / "runs" / f"epoch_{epoch}"
        for name, content in of_accelerate().items():
            save(content, folder / name)
        save(mlp(5, 16, 2, seed=epoch).state_dict(), folder / "pytorch_model.bin")
        save(Arguments(), folder / "training_args.bin")
        save(argparse.Namespace(lr=0.1), folder / "arguments.pt")
        (folder / "trainer_state.json").write_text('{"global_step": 3}')
        (folder / "pytorch_model.bin.sha256").write_text("00  pytorch_model.bin\n")
        (folder / "hparams.yaml").write_text("lr: 0.1\nwidth: 16\n")
        (folder / "events.out.tfevents.1700.host").write_bytes(b"\x18" + bytes(7) + b"\xa3\x7f")
        (folder / "tokens.bin").write_bytes(np.arange(9, dtype="u2").tobytes())
        np.savez(folder / "evaluations.npz", results=np.ones(3))
    result = cli("scan", tmp_path / "runs", tmp_path / "data.npz", "-o", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "out" / "scan.json").read_text())
    assert [row["status"] for row in content["checkpoints"]] == ["ok", "ok"]
    told = {entry["path"]: entry["reason"] for entry in content["skipped"]}
    assert told["epoch_0/arguments.pt"] == "holds training arguments, without a network"
    assert told["epoch_1/hparams.yaml"] == "YAML text"
    assert told["epoch_1/tokens.bin"] == "of an unknown format"
    assert len(told) == 2 * (len(REASONS) + 8)
    assert "epoch_0/sampler.bin and epoch_1/sampler.bin: holds a sampler's state" in result.stdout


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("optimal.pt", NETWORK.state_dict()),
        ("optimizer_best.pt", NETWORK.state_dict()),
        ("scheduled.pt", {"model": NETWORK.state_dict(), "epoch": 1}),
        ("last.ckpt", {"state_dict": NETWORK.state_dict(), "optimizer_states": [{}]}),
        ("custom_checkpoint_0.pkl", NETWORK.state_dict()),
        ("whole.pt", NETWORK),
        ("list.pt", [NETWORK.state_dict()]),
        ("conv.pt", {"weight": torch.ones(2, 3, 1, 1)}),
        ("flat.pt", {"_fsdp_wrapped_module._flat_param": torch.ones(9)}),
    ],
)
def test_weights_are_a_checkpoint_whatever_they_are_called(
    tmp_path: Path, name: str, content: Any
) -> None:
    save(content, tmp_path / name)
    assert why_not(tmp_path / name) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"optimizer": stepped(mlp(3, 2)).state_dict(), "epoch": 2}, "an optimizer's state, with"),
        ({"epoch": 3, "loss": [0.1]}, r"no weight matrix \(keys: epoch and loss\)"),
        (torch.ones(5, 2), "a single tensor, without a network"),
        (torch.utils.data.TensorDataset(torch.ones(5, 2)), "a dataset, without a network"),
        ({"X": torch.ones(9, 4), "y": torch.ones(9)}, r"data \(X and y\), without a network"),
        (random_states(), "the state of random numbers, without a network"),
        ({}, r"no weight matrix \(an empty dict\)"),
        ([torch.ones(3), torch.ones(3)], r"no weight matrix \(a list\)"),
        (OrderedDict(last_epoch=3), "a scheduler's state, without a network"),
    ],
)
def test_what_holds_no_network_says_what_it_holds(tmp_path: Path, content: Any, why: str) -> None:
    save(content, tmp_path / "m.pt")
    found = find(tmp_path)
    assert found.candidates == []
    assert [path for path, _ in found.skipped] == ["m.pt"]
    assert re.match(f"holds {why}", found.skipped[0][1])
    if why.startswith("data"):
        with pytest.raises(NoNetworkError, match=rf"holds {why}; give MODEL before DATA"):
            open_checkpoint(tmp_path / "m.pt")


@pytest.mark.usefixtures("by_name")
@pytest.mark.parametrize(
    ("content", "why"),
    [
        (VecNormalize, "statistics that inputs are scaled by"),
        (ReplayBuffer, "what an agent has seen"),
        (StandardScaler, "an object of scikit-learn"),
    ],
)
def test_what_agents_and_preprocessing_keep(tmp_path: Path, content: Any, why: str) -> None:
    (tmp_path / "vecnormalize.pkl").write_bytes(pickle.dumps(content()))
    save(content(), tmp_path / "m.pt")
    told = f"holds {why}, without a network"
    assert dict(find(tmp_path).skipped) == {"m.pt": told, "vecnormalize.pkl": told}


def test_lists_of_tensors_that_accelerate_keeps_are_no_checkpoint(tmp_path: Path) -> None:
    save({"shadow_params": list(NETWORK.parameters())}, tmp_path / "custom_checkpoint_1.pkl")
    (tmp_path / "scheduler_config.json").write_text("{}")
    assert dict(find(tmp_path).skipped) == {
        "custom_checkpoint_1.pkl": "holds no weights by name (a list of tensors)",
        "scheduler_config.json": "JSON text",
    }


def test_what_is_damaged_or_asks_for_unknown_code_stays_a_checkpoint(tmp_path: Path) -> None:
    save(NETWORK.state_dict(), tmp_path / "cut.pt")
    whole = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "pointer.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "zeros.pth").write_bytes(bytes(999))

    with (tmp_path / "raw.pt").open("wb") as file:
        pickle.dump({"a": exec}, file)
    save({"a": exec}, tmp_path / "unknown.pt")
    names = ["cut.pt", "pointer.bin", "raw.pt", "unknown.pt", "zeros.pth"]
    assert [c.path for c in find(tmp_path).candidates] == names


# --- DeepSpeed, PEFT, Trainer -----------------------------------------------------------------


def of_deepspeed(folder: Path, module: dict[str, torch.Tensor]) -> None:
    """Write a folder as DeepSpeed's save_checkpoint does."""
    step = folder / "global_step20"
    save({"module": module, "optimizer": None, "ds_version": "0.16"},
         step / "mp_rank_00_model_states.pt")  # fmt: skip
    flat = {"fp32_flat_groups": [torch.ones(99)]}
    for rank in (0, 1):
        name = f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        save({"optimizer_state_dict": flat, "ds_version": "0.16"}, step / name)
    (folder / "latest").write_text("global_step20")
    (folder / "zero_to_fp32.py").write_text("#!/usr/bin/env python\n")


@pytest.mark.usefixtures("workers_here")
def test_a_folder_of_deepspeed(tmp_path: Path) -> None:
    x, y = samples(60, 5, 2)
    state = NETWORK.state_dict()
    of_deepspeed(tmp_path / "run.ckpt", state)
    opened = open_checkpoint(tmp_path / "run.ckpt")
    assert opened.path.name == "mp_rank_00_model_states.pt"
    assert all(torch.equal(opened.state[name], state[name]) for name in state)
    found = nrcscan.scan(tmp_path, (x, y), tmp_path / "out", activation="relu")
    assert [(c.step, c.reason) for c in found.checkpoints] == [(20, None)]
    expected = nrcscan.extract(NETWORK, (x, y), tmp_path / "a.h5").r2
    assert found.checkpoints[0].result is not None
    assert found.checkpoints[0].result["model"]["r2"] == pytest.approx(expected, rel=1e-6)


def test_a_shard_of_zero_3_says_how_to_join_them(tmp_path: Path) -> None:
    empty = {name: torch.empty(0) for name in NETWORK.state_dict()}
    empty["position_ids"] = torch.arange(4)[None]  # a buffer, which is whole
    of_deepspeed(tmp_path, empty)
    message = r"holds empty tensors, as DeepSpeed ZeRO-3 leaves .*; join its shards with .*zero_to"
    step = tmp_path / "global_step20"
    for path in (tmp_path, step, step / "mp_rank_00_model_states.pt"):
        with pytest.raises(NoNetworkError, match=message):
            open_checkpoint(path)
    skipped = dict(find(tmp_path).skipped)
    assert re.match(message, skipped["global_step20/mp_rank_00_model_states.pt"])


def test_an_adapter_without_its_base(tmp_path: Path) -> None:
    names = [f"base_model.model.l.lora_{part}.weight" for part in "AB"]
    state = {name: torch.ones(2, 2) for name in names}
    safetensors.torch.save_file(state, tmp_path / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "base_model_name_or_path": "bert-base-uncased"}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    message = r"is a PEFT adapter, without the weights of bert-base-uncased; .*merge_and_unload"
    for path in (tmp_path, tmp_path / "adapter_model.safetensors"):
        with pytest.raises(InputError, match=message):
            open_checkpoint(path)
    found = nrcscan.inspect(tmp_path)
    assert [tensor.name for tensor in found.tensors] == names
    assert found.folder == "extract refuses adapter_model.safetensors from it"
    assert re.search(message, str(found.problem))
    safetensors.torch.save_file(NETWORK.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(
        InputError, match=r"holds a PEFT adapter beside .*; name model\.safetensors"
    ):
        open_checkpoint(tmp_path)


def _steps(folder: Path) -> None:
    for step in (2, 10):
        save(NETWORK.state_dict(), folder / f"checkpoint-{step}" / "pytorch_model.bin")


def _deep(folder: Path) -> None:
    for version in (0, 1):
        save(NETWORK.state_dict(), folder / "logs" / f"version_{version}" / "last.ckpt")


def _plain(folder: Path) -> None:
    for name in ("a.pt", "b.pt"):
        save(NETWORK.state_dict(), folder / name)
    save(stepped(mlp(3, 2)).state_dict(), folder / "c.pt")


def _pipeline(folder: Path) -> None:
    save(NETWORK.state_dict(), folder / "unet" / "diffusion_pytorch_model.bin")
    (folder / "scheduler").mkdir()
    (folder / "model_index.json").write_text('{"_class_name": "DDPMPipeline"}')


def _several_of_accelerate(folder: Path) -> None:
    for name in ("model.safetensors", "model_1.safetensors"):
        safetensors.torch.save_file(NETWORK.state_dict(), folder / name)


def _flax(folder: Path) -> None:
    (folder / "flax_model.msgpack").write_bytes(b"\x81\xa6params\x81\xa6kernel\x01")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (_steps, "holds checkpoints checkpoint-2, checkpoint-10; name one, or use scan"),
        (_deep, "holds checkpoints logs/version_0, logs/version_1; name one, or use scan"),
        (_plain, "holds checkpoints a.pt, b.pt; name one, or use scan"),
        (_pipeline, "is a pipeline of diffusers, whose networks are in unet; name one"),
        (
            _several_of_accelerate,
            "holds checkpoints model.safetensors, model_1.safetensors; name one, or use scan",
        ),
        (
            _flax,
            "a folder without weights of PyTorch: flax_model.msgpack is MessagePack, as Flax saves"
            " (.msgpack); convert it to ONNX or safetensors",
        ),
        (lambda folder: None, "a folder without weights; give the checkpoint file itself"),
    ],
)
def test_a_folder_that_is_not_one_checkpoint_says_what_it_holds(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    write(tmp_path)
    for look in (open_checkpoint, nrcscan.inspect):
        with pytest.raises(InputError) as caught:
            look(tmp_path)
        assert str(caught.value) == f"{tmp_path}: {message}"


@pytest.mark.parametrize(
    ("index", "then"),
    [(False, ", and there is no index of them; copy the others"), (True, "; give the folder with")],
)
def test_one_of_several_shards_is_no_network(tmp_path: Path, index: bool, then: str) -> None:
    shards = [tmp_path / f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for shard in shards:
        safetensors.torch.save_file(NETWORK.state_dict(), shard)
    if index:
        content = {"weight_map": {"0.weight": shards[0].name, "2.weight": shards[1].name}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(content))
    message = re.escape(f"{shards[0]}: is one of 2 shards{then}")
    with pytest.raises(InputError, match=message):
        open_checkpoint(shards[0])
    assert re.match(message, str(nrcscan.inspect(shards[0]).problem))
    if not index:
        with pytest.raises(InputError, match=message):
            open_checkpoint(tmp_path)


def test_inspect_says_what_extract_takes_from_a_folder(cli: Run, tmp_path: Path) -> None:
    save(NETWORK.state_dict(), tmp_path / "m.pt")
    save(stepped(mlp(3, 2)).state_dict(), tmp_path / "optimizer.bin")
    found = nrcscan.inspect(tmp_path)
    assert found.folder == "extract takes m.pt from it"
    assert found.network == "5 → 16 → activation → 2"
    assert nrcscan.inspect(tmp_path / "m.pt").folder is None
    shown = cli("inspect", tmp_path).stdout
    assert "folder" in shown
    assert "extract takes m.pt from it" in shown
