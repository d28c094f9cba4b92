"""Reads what `nrcscan scan` found: the newest good checkpoint of every run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nrcscan.errors import InputError
from nrcscan.files import open_safely
from nrcscan.metrics.quantities import CONDITIONS, QUANTITIES
from nrcscan.wording import reason

SCAN_FILE = "scan.json"
SCHEMA = "nrcscan.scan/"
VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A good checkpoint of a scan; model, onset and layers are as in the JSON report."""

    path: str
    epoch: float | None
    n_samples: int | None
    signal_dim: int | None
    model: dict[str, Any]
    onset: dict[str, str | None]
    layers: list[dict[str, Any]]


def newest(folder: Path) -> tuple[dict[str, Checkpoint], list[str]]:
    """Return the newest good checkpoint of every run, and what was passed over for them.

    Raises:
        InputError: there is no scan, it is damaged or newer than this program, or it has no
            good checkpoint.
    """
    file = folder / SCAN_FILE
    if not file.exists():
        raise InputError(
            f"{folder}: holds no {SCAN_FILE}; give a folder that nrcscan scan wrote, or files"
        )
    open_safely.regular_file(file, "scan")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        _require_ours(content, file)
        entries = sorted(enumerate(content["checkpoints"]), key=lambda item: _age(*item))
        runs: dict[str, Checkpoint] = {}
        passed: dict[str, list[str]] = {}
        for _, entry in entries:
            name = str(entry["run"] or "")
            if entry["status"] == "ok":
                runs[name], passed[name] = _checkpoint(entry, content), []
            else:
                passed.setdefault(name, []).append(
                    f"{entry['path']} could not be used: {entry['reason']}"
                )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{file}: damaged or not of nrcscan scan ({reason(error)}); scan again"
        ) from error
    if not runs:
        raise InputError(f"{file}: no checkpoint of it could be used; see its reasons")
    return runs, [why for name in passed for why in passed[name]]


def _require_ours(content: Any, file: Path) -> None:
    schema = str(content["schema"])
    version = schema.removeprefix(SCHEMA)
    if version == schema or not version.isdecimal():
        raise ValueError(f"its schema is {schema}")
    if int(version) > VERSION:
        raise InputError(
            f"{file}: written by a newer nrcscan (schema {schema}, this one reads up to"
            f" {SCHEMA}{VERSION}); upgrade nrcscan"
        )


def _age(index: int, entry: Mapping[str, Any]) -> tuple[float, int]:
    """Order checkpoints by epoch, those without one as they are listed, before all others."""
    epoch = entry["epoch"]
    return (-1.0 if epoch is None else float(epoch)), index


def _checkpoint(entry: Mapping[str, Any], scan: Mapping[str, Any]) -> Checkpoint:
    """Return an entry once it has all that a comparison shows."""

    def whole(name: str) -> int | None:
        value = entry.get(name, scan.get(name))
        return None if value is None else int(value)

    layers = [_layer(layer) for layer in entry["layers"]]
    names = {layer["name"] for layer in layers}
    onset = {key: entry["onset"][key] for key in (*CONDITIONS, "all")}
    if not layers or len(names) < len(layers):
        raise ValueError(f"the layers of {entry['path']} are none, or two have one name")
    if not {name for name in onset.values() if name is not None} <= names:
        raise ValueError(f"an onset of {entry['path']} is at no layer")
    model = dict(entry["model"])
    return Checkpoint(
        path=str(entry["path"]),
        epoch=None if entry["epoch"] is None else float(entry["epoch"]),
        n_samples=whole("n_samples"),
        signal_dim=whole("signal_dim"),
        model={**model, "mse": _number(model["mse"]), "r2": _number(model["r2"])}
        | {"learned": bool(model["learned"])},
        onset=onset,
        layers=layers,
    )


def _layer(entry: Mapping[str, Any]) -> dict[str, Any]:
    met = {condition: entry["met"][condition] for condition in CONDITIONS}
    if any(held not in (True, False, None) for held in met.values()):
        raise ValueError(f"a condition at {entry['name']} is neither met, unmet nor undefined")
    return {
        **entry,
        "name": str(entry["name"]),
        "kind": str(entry["kind"]),
        "width": int(entry["width"]),
        "position": int(entry["position"]),
        **{quantity: _number(entry[quantity]) for quantity in QUANTITIES},
        "met": met,
        "undefined": {str(key): str(why) for key, why in dict(entry["undefined"]).items()},
    }


def _number(value: Any) -> float | None:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise ValueError(f"{value!r} is not a number")
