"""Networks of transformers, built from a config and saved with their own library."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from nrcscan import InputError, UsageError, extract, inspect, report

pytestmark = pytest.mark.numerical

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((40, 3, 32, 32)).astype(np.float32)
TOKENS = RNG.integers(1, 50, (40, 7))
TARGETS = RNG.standard_normal((40, 2))


def resnet18() -> Any:
    return ResNetForImageClassification(
        ResNetConfig(
            depths=[2, 2, 2, 2],
            hidden_sizes=[8, 16, 24, 32],
            embedding_size=8,
            layer_type="basic",
            num_labels=2,
        )
    )


def vit() -> Any:
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = ViTConfig(**size, intermediate_size=32, image_size=32, patch_size=8, num_labels=2)
    return ViTForImageClassification(config)


def bert() -> Any:
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return BertForSequenceClassification(
        BertConfig(**size, intermediate_size=32, vocab_size=50, num_labels=2)
    )


def saved(make: Any, folder: Path) -> Any:
    torch.manual_seed(0)
    model = make()
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("make", "x", "layers", "attention"),
    [(resnet18, IMAGES, 21, 0), (vit, IMAGES, 14, 8), (bert, TOKENS, 14, 8)],
)
def test_a_folder_measures_as_the_network_does(
    tmp_path: Path, make: Any, x: Any, layers: int, attention: int
) -> None:
    model = saved(make, tmp_path / "hub")
    extract(model, (x, TARGETS), tmp_path / "a.h5")
    done = extract(tmp_path / "hub", (x, TARGETS), tmp_path / "b.h5")
    assert len(done.layers) == layers
    assert len([name for name in done.layers if "attention" in name]) == attention
    expected, found = report(tmp_path / "a.h5"), report(tmp_path / "b.h5")
    assert found.provenance["checkpoint"]["format"] == "huggingface"
    for ours, theirs in zip(found.layers, expected.layers, strict=True):
        assert ours.metrics.values == pytest.approx(theirs.metrics.values, rel=1e-6, abs=1e-7)


def test_query_key_and_value_are_one_position(tmp_path: Path) -> None:
    saved(vit, tmp_path / "hub")
    extract(tmp_path / "hub", (IMAGES, TARGETS), tmp_path / "a.h5")
    found = [layer for layer in report(tmp_path / "a.h5").layers if "attention" in layer.name][:3]
    assert len({layer.position for layer in found}) == 1
    assert len({layer.metrics.values["alignment"] for layer in found}) == 3


def test_a_factory_takes_the_weights_alone(tmp_path: Path) -> None:
    model = saved(bert, tmp_path / "hub")
    done = extract(tmp_path / "hub", (TOKENS, TARGETS), tmp_path / "a.h5", factory=bert)
    expected = extract(model, (TOKENS, TARGETS), tmp_path / "b.h5")
    assert done.r2 == pytest.approx(expected.r2, rel=1e-6)


def test_weights_that_are_not_all_there(tmp_path: Path) -> None:
    model = vit()
    state = {k: v for k, v in model.state_dict().items() if "classifier" not in k}
    model.save_pretrained(tmp_path / "hub", state_dict=state)
    with pytest.raises(InputError, match=r"the weights lack or misshape classifier\.bias and cla"):
        extract(tmp_path / "hub", (IMAGES, TARGETS), tmp_path / "a.h5")


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder without weights; give the checkpoint file"):
        extract(tmp_path, (IMAGES, TARGETS), tmp_path / "a.h5")
    saved(vit, tmp_path / "hub")
    config = (tmp_path / "hub" / "config.json").read_text()
    edited = config.replace("ViTForImageClassification", "MyOwn")
    (tmp_path / "hub" / "config.json").write_text(edited)
    with pytest.raises(InputError, match="transformers has no architecture 'MyOwn'; name it with"):
        extract(tmp_path / "hub", (IMAGES, TARGETS), tmp_path / "a.h5")
    (tmp_path / "hub" / "config.json").write_text(config.replace('"vit"', '"no_such_type"'))
    with pytest.raises(InputError, match="transformers cannot load it"):
        extract(tmp_path / "hub", (IMAGES, TARGETS), tmp_path / "a.h5")


def test_inspect_lists_the_weights(tmp_path: Path) -> None:
    saved(vit, tmp_path / "hub")
    found = inspect(tmp_path / "hub")
    assert found.format == "safetensors"
    assert "classifier.weight" in {tensor.name for tensor in found.tensors}


def test_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(vit, tmp_path / "hub")
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("transformers"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UsageError, match=r"needs transformers; pip install 'nrcscan\[huggingface"):
        extract(tmp_path / "hub", (IMAGES, TARGETS), tmp_path / "a.h5")
