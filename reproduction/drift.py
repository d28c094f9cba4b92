"""What was found anew against what is kept: which number moved by more than it may.

Training amplifies rounding: another processor adds up in another order, and after some hundred
epochs the weights are others. So what is compared is what training leaves alone, within the
tolerances of `TOLERANCES`, which were read off the spread between kernels of the same machine
(`OPENBLAS_CORETYPE`, `MKL_CBWR`, `ONEDNN_MAX_CPU_ISA`, `ATEN_CPU_CAPABILITY` as in the Makefile).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Document = dict[str, Any]

AGREEMENT = 1e-9
"""How far the error that a cut foretells may be from the one it has, as a share of that."""

R2 = 0.03
"""How far R² of a network may move, on training samples and on others."""

ONSET = 1
"""By how many steps in depth collapse may begin elsewhere."""


def drift(found: dict[str, Document], kept: Path) -> list[str]:
    """Return in words every number that moved too far from what is kept.

    Args:
        found: run → its result.
        kept: folder of the results that are kept.
    """
    moved = []
    for name, result in found.items():
        path = kept / f"{name}.json"
        if not path.is_file():
            moved.append(f"{name}: no result is kept; make it one with --keep")
            continue
        before: Document = json.loads(path.read_text(encoding="utf-8"))
        moved += [f"{name}: {one}" for one in differences(before, result)]
    planned = {f"{name}.json" for name in found}
    return moved + [
        f"{path.stem}: is kept, and planned no longer; replace what is kept with --keep"
        for path in sorted(kept.glob("*.json"))
        if path.name not in planned
    ]


def differences(before: Document, now: Document) -> list[str]:
    """Return in words how a result differs from the one that is kept, beyond tolerances."""
    if before["run"] != now["run"]:
        return ["is planned otherwise than what is kept; replace that with --keep"]
    old, new = (result["checkpoints"][-1] for result in (before, now))
    return [
        *_of_fit(old, new),
        *_of_verdict(old["train"], new["train"]),
        *(
            [f"cuts foretell their error to {now['agreement']:.1e}, not to {AGREEMENT:g}"]
            if not now["agreement"] <= AGREEMENT
            else []
        ),
    ]


def _of_fit(old: Document, new: Document) -> Iterable[str]:
    """Yield how R² moved."""
    for side in ("train", "test"):
        before, now = old[side]["r2"][0], new[side]["r2"][0]
        if not abs(now - before) <= R2:
            yield f"R² on {side} samples is {now:.3f}, kept is {before:.3f} ± {R2}"


def _of_verdict(old: Document, new: Document) -> Iterable[str]:
    """Yield how the verdict on the training samples moved."""
    states = old["verdict"]["state"], new["verdict"]["state"]
    if states[0] != states[1]:
        yield f"the verdict is “{states[1]}”, kept is “{states[0]}”"
        return
    before, now = (_place(one, one["verdict"]["onset"]) for one in (old, new))
    if (before is None) != (now is None) or abs((now or 0) - (before or 0)) > ONSET:
        yield f"collapse begins at step {now}, kept is {before} ± {ONSET}"


def _place(report: Document, layer: str | None) -> int | None:
    """Return the step in depth of a layer; None for none."""
    places = {one["name"]: one["place"] for one in report["layers"]}
    return None if layer is None else places[layer]
