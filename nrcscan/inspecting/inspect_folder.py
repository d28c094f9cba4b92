"""What extract would take from a folder."""

from __future__ import annotations

from pathlib import Path

from nrcscan.files.open_safely import is_folder
from nrcscan.files.read_json import read_json
from nrcscan.inputs.catalogue import FORMATS
from nrcscan.inputs.checkpoints.recognise import recognise


def of_folder(folder: Path, taken: Path, *, refused: bool = False) -> tuple[str | None, str | None]:
    """Return what `extract` would take from a folder, and the network that it would build.

    Both in words; None where it is no folder, or where the weights tell the network.

    Args:
        folder: what is inspected.
        taken: the file in it that was read, or the folder itself.
        refused: whether `extract` refuses that file.
    """
    if not is_folder(folder):
        return None, None
    form = recognise(folder)
    if isinstance(form, str):
        does = "refuses" if refused else "takes"
        return f"extract {does} {taken.relative_to(folder)} from it", None
    if form.key != "huggingface":
        return f"extract takes it as a whole, as a {FORMATS[form.key]}", None
    config = read_json(folder / "config.json", "config.json", finite=False)
    names = config.get("architectures")
    if not isinstance(names, list) or not names:
        names = ["no architecture"]
    built = f"{names[0]} of transformers, as config.json says"
    if str(names[0]).endswith("Model"):
        built += "; an encoder without a head is measured without predictions"
    told = f"extract builds {names[0]} and loads {taken.name}"
    return f"{told}; with --model, the weights alone", built
