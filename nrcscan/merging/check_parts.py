"""Whether files are shards of one pass: the same network and options, other samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from nrcscan.acts_file.reading import Acts
from nrcscan.acts_file.schema import LayerRecord
from nrcscan.options.option import declared
from nrcscan.options.pass_options import PassOptions
from nrcscan.options.record import as_json
from nrcscan.statistics.moments import Array
from nrcscan.wording import listed, some


def section(provenance: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a section of a file's provenance, empty if it has none."""
    found = provenance.get(name)
    return found if isinstance(found, dict) else {}


def sources(acts: Acts) -> list[dict[str, Any]]:
    """Return the passes that a file's statistics are from: its own one, or those of its parts."""
    own = {"path": str(acts.path.resolve()), "n_samples": acts.n_samples}
    return sources_of(acts.provenance, own)


def sources_of(
    provenance: Mapping[str, Any], own: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Return the passes that a provenance tells of; `own` is told of a single one beside it."""
    parts = provenance.get("parts")
    if isinstance(parts, list) and parts and all(isinstance(part, dict) for part in parts):
        return parts
    told = {key: provenance.get(key) for key in ("created", "data", "options", "versions")}
    return [{**(own or {}), **told}]


def fingerprint(source: Mapping[str, Any]) -> tuple[str, object] | None:
    """Return what tells the inputs of a pass from others, or None if nothing does."""
    data = section(source, "data")
    digest = data.get("sha256")
    if isinstance(digest, list) and digest:  # of a file of inputs and one of targets
        digest = digest[0]
    return (digest, data.get("x_key")) if isinstance(digest, str) else None


def rows(source: Mapping[str, Any]) -> tuple[int, int]:
    """Return the first sample of a pass and the one after its last, in their data."""
    match section(source, "data").get("rows"):
        case [int(first), int(stop)]:
            return first, stop
    return 0, int(source.get("n_samples") or 0)  # before there was --offset


def problems(parts: Sequence[Acts]) -> list[str]:
    """Return why files are no shards of one pass: every difference, every overlap."""
    first, *others = parts
    found = []
    for other in others:
        if differences := list(_differences(first, other)):
            found.append(f"{other.path} differs from {first.path} in {listed(differences)}")
    own = [acts.path for acts in parts if _standardized(acts).get("statistics") == "the data"]
    if own and others:
        found.append(
            f"{listed(own)} {'was' if len(own) == 1 else 'were'} standardised by"
            " statistics of the shard alone (give those of all data with --scales)"
        )
    return found + list(_overlaps(parts))


# --- the same network and options ------------------------------------------------------------


def _differences(first: Acts, other: Acts) -> Iterator[str]:
    """Yield in what one file was made unlike the first."""
    if len(first.target_mean) != len(other.target_mean):
        yield f"the number of targets ({len(other.target_mean)}, not {len(first.target_mean)})"
    if _as_before(first.layers) != _as_before(other.layers):
        yield from _layer_differences(first, other)
    else:
        yield from _value_differences(first, other)
    ours, theirs = (section(acts.provenance, "checkpoint").get("sha256") for acts in (first, other))
    if ours and theirs and ours != theirs:
        yield "the checkpoint (by its SHA-256)"
    choices, changed = _choices(first), _choices(other)
    yield from _changes(choices, changed)
    if first.epsilon != other.epsilon and choices.get("dtype") == changed.get("dtype"):
        yield f"precision (epsilon {other.epsilon:.1e}, not {first.epsilon:.1e})"


def told_by_any(parts: Sequence[Acts]) -> list[LayerRecord]:
    """Return the layers of some parts, each as the first part tells it that knows most of it."""
    return [
        next((record for record in records if record.reads_inputs is not None), records[0])
        for records in zip(*(acts.layers for acts in parts), strict=True)
    ]


def _as_before(layers: Sequence[LayerRecord]) -> list[LayerRecord]:
    """Return layers without what files of before do not tell, and first samples may differ in."""
    return [replace(layer, shortcut=False, reads_inputs=None) for layer in layers]


def _layer_differences(first: Acts, other: Acts) -> Iterator[str]:
    ours, theirs = ([layer.name for layer in acts.layers] for acts in (first, other))
    if ours == theirs:
        pairs = zip(_as_before(first.layers), _as_before(other.layers), strict=True)
        changed = [a.name for a, b in pairs if a != b]
        yield f"how {some(changed)} {'is' if len(changed) == 1 else 'are'} used"
        return
    lacking = [name for name in ours if name not in theirs]
    added = [name for name in theirs if name not in ours]
    if lacking:
        yield f"lacking {some(lacking)}"
    if added:
        yield f"having {some(added)}"
    if not lacking and not added:
        yield "the order of its layers"


def _value_differences(first: Acts, other: Acts) -> Iterator[str]:
    """Yield differences of weights and widths; the layers are the same."""
    changed = []
    for index, layer in enumerate(first.layers):
        ours, theirs = first.stored_weight(index), other.stored_weight(index)
        if not np.array_equal(ours, theirs):
            changed.append(layer.name)
    if changed:
        yield f"the weight{'s' * (len(changed) > 1)} of {some(changed)}"
    every = range(first.n_positions)
    wider = {p for p in every if _width(first, p) != _width(other, p)}
    if wider:
        yield f"the width of {some([r.name for r in first.layers if r.position in wider])}"
    elif not all(_alike(first.test_matrix(p), other.test_matrix(p)) for p in every):
        yield "the directions of its sketches (a second pass chooses them by the samples: take one)"


def _alike(ours: Array, theirs: Array) -> bool:
    """Whether two sketches look in the same directions, or their number tells them apart."""
    return ours.shape != theirs.shape or np.array_equal(ours, theirs)


def _width(acts: Acts, position: int) -> int:
    return len(acts.feature_mean(position))


def _choices(acts: Acts) -> dict[str, Any]:
    """Return all that was chosen for a pass and that its results depend on."""
    model, data = section(acts.provenance, "model"), section(acts.provenance, "data")
    options = section(acts.provenance, "options")
    scale = _standardized(acts)
    return {
        "network": model.get("layout"),
        "factory": PurePath(str(model.get("source"))).name,  # a folder may be elsewhere now
        "factory arguments": model.get("factory_args"),
        "target columns": data.get("targets"),
        "standardize": scale.get("parts"),
        "scales": scale.get("sha256") or scale.get("statistics"),
        **{
            name: options.get(name, as_json(field.default))  # a file may be older than the option
            for name, field in declared(PassOptions).items()
            if field.option.changes_numbers and not field.option.shards_may_differ
        },
    }


def _changes(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    for key in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(key), theirs.get(key)
        if a != b:
            yield f"{key.replace('_', '-')} ({_worded(b)}, not {_worded(a)})"


def _worded(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)


def _standardized(acts: Acts) -> dict[str, Any]:
    return section(section(acts.provenance, "data"), "standardized")


# --- other samples ---------------------------------------------------------------------------


def _overlaps(parts: Sequence[Acts]) -> Iterator[str]:
    """Yield which parts hold the same samples.

    That is certain for the same rows of the same data. Data that was copied into another
    format, or has no fingerprint, is told by statistics that agree to the last bit; that such
    parts overlap by a few samples cannot be told.
    """
    certain = set()
    for one, two in _sharing(
        [
            _Slice(index, acts.path, fingerprint(source), *rows(source), source)
            for index, acts in enumerate(parts)
            for source in sources(acts)
        ]
    ):
        certain.add(frozenset((one.part, two.part)))
        where = section(two.source, "data").get("path") or "the same data"
        where = where[0] if isinstance(where, list) else where
        yield (
            f"{_both(one.path, two.path)} samples {two.first} to"
            f" {min(one.stop, two.stop) - 1} (from 0) of {where}"
        )
    seen = [_signature(acts) for acts in parts]
    for i, j in combinations(range(len(parts)), 2):
        alike = seen[i] == seen[j] and _same_features(parts[i], parts[j])
        if alike and frozenset((i, j)) not in certain:
            yield f"{_both(parts[i].path, parts[j].path)} the very same samples"


@dataclass(frozen=True)
class _Slice:
    """Samples [first, stop) of some data, in a part."""

    part: int
    path: Path
    data: tuple[str, object] | None
    first: int
    stop: int
    source: Mapping[str, Any]


def _sharing(slices: Sequence[_Slice]) -> Iterator[tuple[_Slice, _Slice]]:
    """Yield pairs of slices that share samples, every such slice in at least one."""
    furthest: dict[object, _Slice] = {}
    for new in sorted(slices, key=lambda one: (one.first, one.stop)):
        if new.data is None:
            continue
        last = furthest.get(new.data)
        if last and new.first < last.stop:
            yield last, new
        if last is None or new.stop > last.stop:
            furthest[new.data] = new


def _signature(acts: Acts) -> tuple[bytes, ...]:
    """Return what two sets of samples agree in by chance only if they are the same."""
    arrays = (acts.target_mean, acts.target_covariance)
    return (str(acts.n_samples).encode(), *(array.tobytes() for array in arrays))


def _same_features(one: Acts, two: Acts) -> bool:
    """Say whether the first features have the same mean, in whatever blocks it was added up."""
    spread = np.sqrt(one.variances(0))
    ours, theirs = one.feature_mean(0), two.feature_mean(0)
    return bool((np.abs(ours - theirs) <= 1e-12 * (spread + np.abs(ours))).all())


def _both(one: Path, two: Path) -> str:
    return f"{one} holds twice" if one == two else f"{one} and {two} both hold"
