"""What was found anew against what is kept: which number moved by more than it may.

Training amplifies rounding: a processor that adds up in another order comes, after some hundred
epochs, to other weights. So no weight is compared, but what they amount to: how well a network
predicts, what is concluded from it, and the conditions' quantities, as means over its layers. On
the kernels that one processor can run (`ATEN_CPU_CAPABILITY` and `MKL_CBWR` for AVX2 and for
AVX-512) the reduced form moves R² by up to 0.001 and the means by up to 0.003. The tolerances leave
room for longer runs: another seed moves 58 of 65 of them by less.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nrcscan.verdict.state import State

Document = dict[str, Any]

AGREEMENT = 1e-9
"""How far the error that a cut foretells may be from the one it has, as a share of that."""

R2 = 0.05
"""How far R² of a network may move, on training samples and on others."""

THROUGH_DEPTH = {"noise_component": 0.05, "cka": 0.05, "alignment": 0.1}
"""Quantity → how far its mean over the layers that are judged may move."""

OPEN = (State.UNDECIDED.value, State.NOT_JUDGED.value)
"""Verdicts that stand against no other but that nothing was learned."""


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
        *_of_layers(old["train"], new["train"]),
        *_of_cuts(now),
    ]


def _of_fit(old: Document, new: Document) -> Iterable[str]:
    """Yield how R² moved."""
    for side in ("train", "test"):
        before, now = old[side]["r2"][0], new[side]["r2"][0]
        if not abs(now - before) <= R2:
            yield f"R² on {side} samples is {now:.3f}, kept is {before:.3f} ± {R2}"


def _of_verdict(old: Document, new: Document) -> Iterable[str]:
    """Yield how the verdict on the training samples moved."""
    before, now = (one["verdict"]["state"] for one in (old, new))
    open_ = State.LEARNED_NOTHING.value not in (before, now) and {before, now} & {*OPEN}
    if before != now and not open_:
        yield f"the verdict is “{now}”, kept is “{before}”"


def _of_layers(old: Document, new: Document) -> Iterable[str]:
    """Yield which quantities moved, as means over the layers that are judged."""
    for quantity, tolerance in THROUGH_DEPTH.items():
        before, now = (_mean(one, quantity) for one in (old, new))
        if before is None and now is None:
            continue
        if before is None or now is None or not abs(now - before) <= tolerance:
            told, kept = ("undefined" if one is None else f"{one:.3f}" for one in (now, before))
            yield f"{quantity}, through depth, is {told}, kept is {kept} ± {tolerance}"


def _mean(report: Document, quantity: str) -> float | None:
    """Return the mean of a quantity over the layers that are judged; None where it has none."""
    values = [
        layer["values"][quantity][0]
        for layer in report["layers"]
        if layer["place"] is not None and quantity in layer["values"]
    ]
    return sum(values) / len(values) if values else None


def _of_cuts(now: Document) -> Iterable[str]:
    """Yield how far what cuts foretell is from what they do."""
    if not now["agreement"] <= AGREEMENT:
        yield f"cuts foretell their error to {now['agreement']:.1e}, not to {AGREEMENT:g}"
