"""Hugging Face folders that want code of theirs to run: no question, no code, one message."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
import transformers
from conftest import mlp
from test_huggingface import IMAGES, TARGETS, saved, vit

from nrcscan import InputError, NrcscanError, UnsafeError, extract
from nrcscan.inputs.ask_nobody import AskedError, ask_nobody
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint
from nrcscan.inputs.forms import CheckpointForm

CODE = """
from pathlib import Path
import transformers
Path({marker!r}).write_text("ran")
class Own(transformers.ViTForImageClassification): pass
"""
AUTO_CLASSES = [name for name in dir(transformers) if name.startswith("Auto")]
MAP = dict.fromkeys(AUTO_CLASSES, "code.Own")
UNSAFE: dict[str, dict[str, Any]] = {
    "auto_map": {"auto_map": MAP},
    "a nested auto_map": {"vision_config": {"model_type": "vit", "auto_map": MAP}},
    "an auto_map in a list": {"parts": [{"auto_map": MAP}]},
    "trust_remote_code": {"trust_remote_code": True},
    "CVE-2026-5241": {"keypoint_detector_config": {"trust_remote_code": True}},
    "a word for trust": {"a": {"b": {"Trust_Remote_Code": "yes"}}},
    "CVE-2026-4372": {"_attn_implementation_internal": "evil/kernel"},
    "experts": {"_experts_implementation_internal": "evil/kernel"},
    "nested attention": {"text_config": {"_attn_implementation_internal": "evil/kernel"}},
    "attention in public": {"attn_implementation": "evil/kernel"},
    "attention of a part": {"attn_implementation": {"": "eager", "text": "evil/kernel:f"}},
    "attention of a library": {"_attn_implementation": "flash_attention_2"},
    "attention that is no word": {"attn_implementation": ["sdpa"]},
    "kernels": {"use_kernels": True},
    "a kernel's settings": {"kernel_config": {"Linear": "evil/kernel:Linear"}},
    "all kernels": {"allow_all_kernels": True},
    "custom_generate": {"custom_generate": "evil/generate"},
}
REFUSED: dict[str, dict[str, Any]] = {
    **{f"class {name}": {"architectures": [name]} for name in AUTO_CLASSES},
    **{
        f"class {name!r}": {"architectures": [name]}
        for name in (
            "pipeline",
            "PreTrainedModel",
            "__class__",
            "models",
            "a.b",
            "",
            "x" * 10_000,
            "TimmWrapperModel",
            "RagModel",
            "BertModel",
            "ViTConfig",
            "Trainer",
            "\x1b]52;c;\x07",
        )
    },
    **{
        f"architectures {value!r:.30}": {"architectures": value}
        for value in ([5], [None], [["ViTModel"]], ["A"] * 2, "A", 5, {"a": 1}, [], None)
    },
    "a backbone from elsewhere": {"backbone": "/etc"},
    "a nested backbone": {"part": {"backbone": "evil/backbone"}},
    "timm": {"use_timm_backbone": True},
    "quantised": {"quantization_config": {"quant_method": "fp8"}},
    "another type": {"model_type": "no_such_type"},
    "a size of text": {"hidden_size": "x"},
    "a negative size": {"hidden_size": -4},
    "layers of text": {"num_hidden_layers": "x"},
    "no size": {"hidden_size": None},
    "another size": {"hidden_size": 32},
    "labels of text": {"id2label": "x"},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    saved(vit, folder)
    return folder


@pytest.fixture
def hub(tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return what writes a folder with code, of a config with other entries; all say yes."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n" * 99))

    def write(**entries: Any) -> Path:
        folder = tmp_path / "hub"
        folder.mkdir()
        for path in whole.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        config = json.loads((whole / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **entries}))
        (folder / "code.py").write_text(CODE.format(marker=str(tmp_path / "marker")))
        return folder

    return write


def test_the_code_of_such_a_folder_would_run(
    hub: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = str(tmp_path / "cache")
    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", cache)
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = hub(auto_map={"AutoModelForImageClassification": "code.Own"})
    transformers.AutoModelForImageClassification.from_pretrained(folder, trust_remote_code=True)
    assert (tmp_path / "marker").read_text() == "ran"


@pytest.mark.parametrize("name", UNSAFE)
def test_code_is_refused(hub: Callable[..., Path], tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeError, match="names code to run; take it out"):
        open_checkpoint(hub(**UNSAFE[name]))
    assert not (tmp_path / "marker").exists()
    assert sys.stdin.read(1) == "y"  # nobody has read an answer


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_config_says_is_one_message(
    hub: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    with pytest.raises(NrcscanError) as caught:
        open_checkpoint(hub(**REFUSED[name]))
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "marker").exists()
    assert sys.stdin.read(1) == "y"


def test_what_is_harmless_is_read(hub: Callable[..., Path], tmp_path: Path) -> None:
    folder = hub(
        trust_remote_code=False, auto_map=None, attn_implementation="eager",
        _name_or_path="/etc", part={"_name_or_path": "evil/network"},
    )  # fmt: skip
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/etc"}')
    (folder / "generation_config.json").write_text("no JSON")
    assert extract(folder, (IMAGES, TARGETS), tmp_path / "a.h5").layers


@pytest.mark.parametrize("kind", ["name", "symbolic", "hard"])
def test_shards_are_in_the_folder_itself(
    hub: Callable[..., Path], tmp_path: Path, kind: str
) -> None:
    folder = hub()
    secret = (folder / "model.safetensors").rename(tmp_path / "secret.safetensors")
    with safetensors.safe_open(secret, "pt") as held:
        names = dict.fromkeys(held.keys(), "../secret.safetensors" if kind == "name" else "w")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    if kind == "symbolic":
        (folder / "w").symlink_to(secret)
    elif kind == "hard":
        (folder / "w").hardlink_to(secret)
    with pytest.raises(UnsafeError, match="outside its own folder|a link out of|a hard link"):
        open_checkpoint(folder)


def test_the_environment_does_not_unlock_a_pickle(hub: Callable[..., Path], tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.write_text, (tmp_path / "marker", "ran")

    folder = hub()
    (folder / "model.safetensors").unlink()
    torch.save({"w": torch.ones(2, 2), "bomb": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(InputError):
        open_checkpoint(folder)
    assert not (tmp_path / "marker").exists()
    with pytest.warns(UserWarning, match="TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"):
        torch.load(folder / "pytorch_model.bin")  # as the environment has it
    assert (tmp_path / "marker").exists()


def test_no_loader_can_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(mlp(6, 2), tmp_path / "m.pt")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    answers: list[str] = []

    def asks(*_: Any, **__: Any) -> Any:
        answers.append(sys.stdin.readline())
        answers.append(input("Run it? [y/N] "))

    monkeypatch.setattr(CheckpointForm, "read", asks)
    with pytest.raises(InputError, match=r"m\.pt: its loader has a question \(it asks 'Run it\?"):
        open_checkpoint(tmp_path / "m.pt")
    assert answers == [""]
    assert sys.stdin.readline() == "y\n"
    with ask_nobody(), pytest.raises(AskedError):
        input()
