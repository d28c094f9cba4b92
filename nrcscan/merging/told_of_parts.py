"""What a merged file says of its parts: where they came from, and what cannot be told of them."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from nrcscan.acts_file.reading import Acts
from nrcscan.merging.check_parts import fingerprint, section, sources
from nrcscan.merging.merge_blocks import lacking
from nrcscan.merging.merge_cross import has_cross
from nrcscan.wording import some


def doubts(parts: Sequence[Acts]) -> Iterator[str]:
    """Yield what is left out of the merged file, or cannot be told, and why."""
    bare = [acts.path for acts in parts if not acts.has_activations]
    if 0 < len(bare) < len(parts):
        yield f"activations are left out: {some(bare)} hold{'s' * (len(bare) == 1)} none"
    if 0 < len(bare := [a.path for a in parts if a.last_units is None]) < len(parts):
        yield f"NRC of the last layer is left out: {some(bare)} without --measures all"
    if 0 < len(bare := [a.path for a in parts if not has_cross(a)]) < len(parts):
        yield f"cross-covariances are left out: {some(bare)} hold{'s' * (len(bare) == 1)} none"
    if len(parts) == 1:
        return
    unknown = [acts.path for acts in parts if not all(map(fingerprint, sources(acts)))]
    if unknown:
        yield (
            f"whether samples are counted twice cannot be told: {some(unknown)}"
            f" {'has' if len(unknown) == 1 else 'have'} no fingerprint of the data"
        )
    nameless = [
        acts.path for acts in parts if not section(acts.provenance, "checkpoint").get("sha256")
    ]
    if nameless:
        yield (
            "the weights agree; whether biases do cannot be told:"
            f" {some(nameless)} {'is' if len(nameless) == 1 else 'are'} of a network in memory"
        )


def provenance(parts: Sequence[Acts], notes: Sequence[str]) -> dict[str, Any]:
    """Return where the merged file came from: what all parts share, and each part."""
    told: dict[str, list[Path]] = {}
    for acts in parts:
        for note in acts.provenance.get("notes", ()):
            told.setdefault(note, []).append(acts.path)
    of_parts = [
        note if len(where) == len(parts) else f"{some(where)}: {note}"
        for note, where in told.items()
    ]
    shared = {name: _shared(parts, name) for name in ("checkpoint", "model", "data", "options")}
    shared["data"] = {"path": None, "sha256": None, **shared["data"]}
    shared["options"]["activations"] = all(acts.has_activations for acts in parts)
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **shared,
        "unmeasured": _unmeasured(parts),
        **_prefixes(parts),
        "blocks": {"lacking": lacking(parts)},
        "notes": [*of_parts, *notes],
        "versions": {
            "nrcscan": metadata.version("nrcscan"),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "h5py": metadata.version("h5py"),
        },
        "parts": [source for acts in parts for source in sources(acts)],
    }


def _unmeasured(parts: Sequence[Acts]) -> list[dict[str, Any]]:
    """Return every layer that any part says was not measured; files of before do not tell."""
    found = {one.name: one for acts in parts for one in acts.unmeasured}
    return [asdict(one) for one in sorted(found.values(), key=lambda one: one.position)]


def _prefixes(parts: Sequence[Acts]) -> dict[str, Any]:
    """Return what the network costs up to each position, if all parts say the same."""
    first, *others = [acts.provenance.get("prefixes") for acts in parts]
    return {} if first is None or any(other != first for other in others) else {"prefixes": first}


def _shared(parts: Sequence[Acts], name: str) -> dict[str, Any]:
    """Return what all parts say alike in a section of their provenance."""
    first, *others = [section(acts.provenance, name) for acts in parts]
    return {
        key: value
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    }
