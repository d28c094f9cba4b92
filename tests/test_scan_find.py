from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import mlp

from nrcscan.errors import InputError, UsageError
from nrcscan.scanning.epoch_from_name import epoch_and_step
from nrcscan.scanning.find_checkpoints import find


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(mlp(3, 4, 2, seed=seed).state_dict(), path)
    return path


def paths(folder: Path, **options: object) -> list[str]:
    return [c.path for c in find(folder, **options).candidates]  # type: ignore[arg-type]


def test_natural_order_and_runs(tmp_path: Path) -> None:
    for name in ("10.pth", "2.pth", "run10/1.pth", "run2/b/1.pth", "run2/20.pth", "run2/3.pth"):
        save(tmp_path / name)
    found = find(tmp_path).candidates
    assert [(c.run, c.path) for c in found] == [
        ("", "2.pth"),
        ("", "10.pth"),
        ("run2", "run2/3.pth"),
        ("run2", "run2/20.pth"),
        ("run2/b", "run2/b/1.pth"),
        ("run10", "run10/1.pth"),
    ]


def test_a_folder_called_after_a_moment_is_a_checkpoint_of_its_run(tmp_path: Path) -> None:
    alone = ("final.pt", "a/x.pt", "epoch_2/model.pt", "epoch_10/model.pt", "seed_1/model.pt")
    for name in (*alone, "ep1/model.bin", "ep1/model_1.bin", "step-7/best.pt", "step-7/last.pt"):
        save(tmp_path / name)
    found = find(tmp_path).candidates
    assert [(c.run, c.path) for c in found] == [
        ("", "final.pt"),
        ("", "epoch_2/model.pt"),
        ("", "epoch_10/model.pt"),
        ("a", "a/x.pt"),
        ("ep1", "ep1/model.bin"),
        ("ep1", "ep1/model_1.bin"),
        ("seed_1", "seed_1/model.pt"),
        ("step-7", "step-7/best.pt"),
        ("step-7", "step-7/last.pt"),
    ]
    assert [c.path for c in found if c.is_further] == ["ep1/model_1.bin"]


def test_formats_are_told_by_content_where_the_name_does_not(tmp_path: Path) -> None:
    save(tmp_path / "weights")
    torch.save({"w": torch.ones(1, 1)}, tmp_path / "old", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file({"w": torch.ones(2, 2)}, tmp_path / "tensors.st")
    (tmp_path / "wrong.pth").write_text("called like a checkpoint")
    (tmp_path / "notes.txt").write_text("a note")
    (tmp_path / "table").write_bytes(b"PAR1....")
    (tmp_path / "empty").touch()
    np.savez(tmp_path / "data.npz", X=np.ones(2))
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04....")
    (tmp_path / "optimizer.pt").write_bytes(b"...")
    (tmp_path / ".git").mkdir()
    found = find(tmp_path, apart=[tmp_path / "table"])
    assert [c.path for c in found.candidates] == ["old", "tensors.st", "weights", "wrong.pth"]
    assert dict(found.skipped) == {
        ".git": "hidden",
        "broken.zip": "a damaged zip archive",
        "data.npz": "a NumPy archive (.npz)",
        "empty": "empty",
        "notes.txt": "a text file",
        "optimizer.pt": "by its name, a training state beside the weights",
        "table": "the data or the output of this scan",
    }


def test_a_folder_or_an_index_with_its_shards_is_one_checkpoint(tmp_path: Path) -> None:
    trained = tmp_path / "run" / "checkpoint-500"
    save(trained / "model.safetensors")
    (trained / "config.json").write_text('{"model_type": "bert"}')
    (trained / "optimizer.pt").write_bytes(b"...")
    save(tmp_path / "a-00001-of-00002.bin")
    save(tmp_path / "a-00002-of-00002.bin")
    shards = {"x": "a-00001-of-00002.bin", "y": "a-00002-of-00002.bin"}
    (tmp_path / "a.bin.index.json").write_text(json.dumps({"weight_map": shards}))
    (tmp_path / "other.index.json").write_text("[" * 10_000)
    found = find(tmp_path)
    assert [(c.path, len(c.files)) for c in found.candidates] == [
        ("a.bin.index.json", 3),
        ("run/checkpoint-500", 2),
    ]
    assert found.candidates[1].run == "run"
    assert found.skipped == [("other.index.json", "JSON, but no index of shards")]


def test_links(tmp_path: Path) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    save(folder / "1.pth")
    save(outside / "2.pth")
    (folder / "latest.pth").symlink_to("1.pth")
    (folder / "loop").symlink_to(folder)
    (folder / "more").symlink_to(outside)
    (folder / "away.pth").symlink_to(outside / "2.pth")
    (folder / "nowhere.pth").symlink_to("gone.pth")
    (folder / "itself.pth").symlink_to("itself.pth")
    (outside / "back").symlink_to(outside)
    found = find(folder)
    assert [c.path for c in found.candidates] == ["1.pth"]
    out = "a link out of the folder; --follow-links follows it"
    nowhere = "a link to nowhere, or to itself"
    assert dict(found.skipped) == {
        "away.pth": out,
        "itself.pth": nowhere,
        "latest.pth": "a link to 1.pth",
        "loop": "a link to .",
        "more": out,
        "nowhere.pth": nowhere,
    }
    found = find(folder, follow_links=True)
    assert [c.path for c in found.candidates] == ["away.pth", "1.pth", "more/2.pth"]
    assert dict(found.skipped)["more/back"] == "a link to a folder that is scanned already"


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "x.pth").mkdir()
    save(tmp_path / "x.pth" / "1.pth")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.pt"))
        found = find(tmp_path)
    assert dict(found.skipped) == {"pipe.pth": "not a regular file", "s.pt": "not a regular file"}
    (folder,) = found.candidates
    assert folder.path == "x.pth"
    assert folder.problem == "is a folder, and not one of a checkpoint; rename it to look inside"


def test_patterns(tmp_path: Path) -> None:
    for name in ("a/1.pth", "a/last.ckpt", "b/1.pth"):
        save(tmp_path / name)
    assert paths(tmp_path, patterns=["*.ckpt"]) == ["a/last.ckpt"]
    assert paths(tmp_path, patterns=["b/*", "last*"]) == ["a/last.ckpt", "b/1.pth"]
    assert dict(find(tmp_path, patterns=["none"]).skipped)["b/1.pth"] == "matches no --pattern"


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder; check the path"):
        find(tmp_path / "none")
    with pytest.raises(UsageError, match="is a file; measure a single"):
        find(save(tmp_path / "a.pt"))


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("epoch_600.pt", (600, None)),
        ("run2/model-ep007.pth", (7, None)),
        ("epoch=3-step=1200.ckpt", (3, 1200)),
        ("global_step500.pt", (None, 500)),
        ("iter-20.pt", (None, 20)),
        ("1000.pth", (1000, None)),
        ("model_12.pt", (12, None)),
        ("rl_model_1000_steps.zip", (None, 1000)),
        ("resnet18.pt", (None, None)),
        ("wd0.01.pt", (None, None)),
        ("deep2.pt", (None, None)),
        ("best.pth", (None, None)),
    ],
)
def test_names_tell_the_moment(name: str, moment: tuple[int | None, int | None]) -> None:
    assert epoch_and_step(name) == moment
