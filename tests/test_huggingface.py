"""Networks of transformers, built from a config and saved with their own library."""

from __future__ import annotations

import builtins
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from conftest import Run, mlp, samples
from torch import nn

from nrcscan import InputError, UsageError, extract, inspect, merge, report
from nrcscan.verdict.answers import Answer

pytestmark = pytest.mark.numerical

transformers.utils.logging.disable_progress_bar()
transformers.utils.logging.set_verbosity_error()

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((40, 3, 32, 32)).astype(np.float32)
TOKENS = RNG.integers(1, 50, (40, 7))
TARGETS = RNG.standard_normal((40, 2))


def resnet18() -> Any:
    return transformers.ResNetForImageClassification(
        transformers.ResNetConfig(
            depths=[2, 2, 2, 2],
            hidden_sizes=[8, 16, 24, 32],
            embedding_size=8,
            layer_type="basic",
            num_labels=2,
        )
    )


def vit() -> Any:
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.ViTConfig(
        **size, intermediate_size=32, image_size=32, patch_size=8, num_labels=2
    )
    return transformers.ViTForImageClassification(config)


def bert() -> Any:
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(**size, intermediate_size=32, vocab_size=50, num_labels=2)
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
    with pytest.raises(
        InputError, match="is of type .no_such_type., and ViTForImageClassification is of .vit."
    ):
        extract(tmp_path / "hub", (IMAGES, TARGETS), tmp_path / "a.h5")


def test_a_folder_cloned_without_its_large_files(tmp_path: Path) -> None:
    saved(vit, tmp_path / "hub")
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    (tmp_path / "hub" / "model.safetensors").write_text(pointer)
    with pytest.raises(InputError, match=r"model\.safetensors: is a Git LFS pointer.*git lfs pull"):
        extract(tmp_path / "hub", (IMAGES, TARGETS), tmp_path / "a.h5")
    saved(vit, tmp_path / "hub")
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    del config["architectures"]
    (tmp_path / "hub" / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="names no architectures; name the network with --model"):
        extract(tmp_path / "hub", (IMAGES, TARGETS), tmp_path / "a.h5")


def test_inspect_lists_the_weights(tmp_path: Path) -> None:
    saved(vit, tmp_path / "hub")
    found = inspect(tmp_path / "hub")
    assert found.format == "safetensors"
    assert "classifier.weight" in {tensor.name for tensor in found.tensors}
    assert found.network == "ViTForImageClassification of transformers, as config.json says"
    assert found.problem is None
    assert str(found.folder).startswith("extract builds ViTForImageClassification and loads model")
    encoder(tmp_path / "encoder")
    assert "measured without predictions" in str(inspect(tmp_path / "encoder").network)
    path = tmp_path / "hub" / "config.json"
    for names in ({"a": 1}, 5, "ViT"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "architectures": names}))
        assert str(inspect(tmp_path / "hub").folder).startswith("extract builds no architecture")


def encoder(folder: Path) -> Any:
    """Save and return a BERT without a head."""
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.BertConfig(**size, intermediate_size=32, vocab_size=50)
    return saved(lambda: transformers.BertModel(config), folder)


def centred(values: Any) -> Any:
    return values - values.mean(axis=0)


def test_an_encoder_without_a_head_is_measured_without_predictions(
    cli: Run, tmp_path: Path
) -> None:
    model = encoder(tmp_path / "hub").eval().double()
    x = {"input_ids": TOKENS, "attention_mask": np.ones_like(TOKENS)}
    notes: list[str] = []
    done = extract(
        tmp_path / "hub", (x, TARGETS), tmp_path / "a.h5", dtype="float64", on_note=notes.append
    )
    assert done.r2 is None
    assert any("measured without predictions: R² and NRC4 are not judged" in n for n in notes)
    found = report(tmp_path / "a.h5")
    layer = next(la for la in found.layers if la.name == "encoder.layer.1.output.dense")
    reached: list[Any] = []
    dense = model.encoder.layer[1].output.dense
    hook = dense.register_forward_pre_hook(lambda _, inputs: reached.append(inputs[0]))
    with torch.no_grad():
        model(**{name: torch.from_numpy(part) for name, part in x.items()})
    hook.remove()
    h, y = centred(reached[0].mean(dim=1).numpy()), centred(TARGETS)
    u, s, vt = np.linalg.svd(h, full_matrices=False)
    top, weight = vt[:2].T, np.linalg.svd(dense.weight.detach().numpy())[2][:2].T
    cross, of_targets = h.T @ y, np.linalg.norm(y.T @ y)
    kept = u[:, s > 1e-3 * s[0]]
    right = {
        "noise_component": (s[2:] ** 2).sum() / (s**2).sum(),
        "cka": ((top.T @ cross) ** 2).sum() / (np.linalg.norm(s[:2] ** 2) * of_targets),
        "alignment": np.linalg.svd(top.T @ weight)[1].mean(),
        "linear_mse": ((y - kept @ (kept.T @ y)) ** 2).mean(),
    }
    for name, value in right.items():
        assert layer.metrics.values[name] == pytest.approx(value, rel=1e-9), name
    for name in ("excess", "error_ratio"):
        assert layer.metrics.undefined[name] == "the network makes no predictions"
    assert layer.met["nrc4"] is None
    assert layer.answers["nrc4"] is Answer.NOT_JUDGED
    assert (found.mse, found.r2, found.learned) == (None, None, None)
    assert set(found.model["undefined"]) == {"mse", "r2", "learned"}
    assert found.onset["all"] is None
    shown = cli("report", tmp_path / "a.h5").stdout
    assert shown.startswith("NOT COLLAPSED: ")  # whatever NRC4 would be: others fail everywhere
    assert "NRC4 ratio ? ? " in shown
    lax = ["--noise-max", 1, "--cka-min", 0, "--alignment-min", 0]
    shown = cli("report", tmp_path / "a.h5", *lax).stdout
    assert shown.startswith(
        "CANNOT BE JUDGED: no predictions are made, so that NRC4 is not judged, and NRC2 at "
    )  # of 40 samples, CKAs of untrained layers are within chance
    assert "▼" not in shown
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes())
    shown = cli("compare", tmp_path / "a.h5", tmp_path / "b.h5", *lax).stdout
    assert shown.count(": CANNOT BE JUDGED: no predictions are made") == 2
    assert shown.count("▼") == 1  # in the legend alone


@pytest.mark.usefixtures("workers_here")
def test_an_encoder_is_scanned_merged_and_gated_without_predictions(
    cli: Run, tmp_path: Path
) -> None:
    np.savez(tmp_path / "data.npz", ids=TOKENS, y=TARGETS)
    encoder(tmp_path / "runs" / "checkpoint-5")
    keys = ["--x-key", "ids", "--y-key", "y"]
    ran = cli("scan", tmp_path / "runs", tmp_path / "data.npz", *keys, "-o", tmp_path / "s")
    assert ran.returncode == 0, ran.stderr
    row = next(line for line in ran.stdout.splitlines() if "checkpoint-5  " in line)
    assert re.search(r" 5 +— .* \? +not collapsed ", row)
    judged = cli(
        "scan", tmp_path / "runs", tmp_path / "data.npz", *keys, "-o", tmp_path / "s",
        "--require", "model.r2 >= 0.5", "--require", "onset.nrc4 <= layers[-1]",
    )  # fmt: skip
    assert judged.returncode == 1
    assert "model.r2 is undefined: the network makes no predictions" in judged.stdout
    assert "onset.nrc4 is not known: NRC4 cannot be judged at the last layer" in judged.stdout
    whole = report(extract_rows(tmp_path, "whole.h5", 0, 40))
    halves = [extract_rows(tmp_path, f"{a}.h5", a, 20) for a in (0, 20)]
    merge(halves, tmp_path / "merged.h5")
    merged = report(tmp_path / "merged.h5")
    assert merged.mse is None
    for ours, theirs in zip(merged.layers, whole.layers, strict=True):
        found, wanted = dict(ours.metrics.values), dict(theirs.metrics.values)
        if (name := "linear_mse_held_out") in found:  # a part's fits have seen that part alone
            assert found.pop(name) == pytest.approx(wanted.pop(name), rel=0.2)
        assert found == pytest.approx(wanted, rel=1e-6, abs=1e-9)


def extract_rows(folder: Path, name: str, first: int, count: int) -> Path:
    """Measure an encoder on some of the samples."""
    hub, data = folder / "runs" / "checkpoint-5", folder / "data.npz"
    extract(hub, data, folder / name, x_key="ids", y_key="y", offset=first, limit=count)
    return folder / name


def test_predictions_are_asked_for_or_left_out(tmp_path: Path) -> None:
    x, y = samples(50, 6, 2)
    body = mlp(6, 8, 5)
    with pytest.raises(
        InputError, match=r"predicts shape \(5,\) per sample.*with --no-predictions"
    ):
        extract(body, (x, y), tmp_path / "a.h5")
    done = extract(body, (x, y), tmp_path / "a.h5", predictions=False)
    assert done.r2 is None
    assert report(tmp_path / "a.h5").layers[0].metrics.undefined.keys() == {
        "excess",
        "error_ratio",
    }
    with pytest.raises(UsageError, match="--no-predictions goes with neither --output-key nor"):
        extract(body, (x, y), tmp_path / "b.h5", predictions=False, output_slice=":2")
    encoder(tmp_path / "hub")
    with pytest.raises(
        InputError, match=r"predicts shape \(7, 16\) per sample where the targets have"
    ):
        extract(
            tmp_path / "hub",
            (TOKENS, TARGETS),
            tmp_path / "c.h5",
            output_key="last_hidden_state",
        )


@pytest.mark.parametrize("kind", ["int64", "float32"])
def test_tokens_are_not_to_be_standardised(tmp_path: Path, kind: str) -> None:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(50, 8), nn.Linear(8, 2)

        def forward(self, ids: torch.Tensor) -> Any:
            return self.head(self.embedding(ids.long()).mean(dim=1))

    done = extract(Bag(), (TOKENS.astype(kind), TARGETS), tmp_path / "a.h5")
    assert not [note for note in done.notes if "standardi" in note]
    done = extract(mlp(7, 2), (TOKENS.astype(kind), TARGETS), tmp_path / "b.h5")
    assert [note for note in done.notes if "standardised data" in note]


def test_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(vit, tmp_path / "hub")
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("transformers"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UsageError, match=r"needs transformers; pip install transformers, or"):
        extract(tmp_path / "hub", (IMAGES, TARGETS), tmp_path / "a.h5")
