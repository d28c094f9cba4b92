"""Under which conditions a scan's numbers were made: what has to be alike to compare two scans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nrcscan.options.option import declared
from nrcscan.options.pass_options import PassOptions
from nrcscan.scanning.scan_file import ScanDocument
from nrcscan.wording import listed

SAMPLES = frozenset(
    name
    for name, field in declared(PassOptions).items()
    if field.option.group == "Data" and name != "limit"
)
"""Options that decide what is read from data; a limit shows in the number of samples."""


@dataclass(frozen=True)
class ScanConditions:
    """What a scan says of how its numbers came about; what it does not say is left out.

    Attributes:
        data: SHA-256 of its data, and the options that decide what is read from it.
        n_samples: N of its checkpoints.
        signal_dim: k of its checkpoints.
        convention: of its reports.
        thresholds: of its reports, by name.
    """

    data: Mapping[str, Any]
    n_samples: tuple[int, ...]
    signal_dim: tuple[int, ...]
    convention: str | None
    thresholds: Mapping[str, float]

    @property
    def judgement(self) -> dict[str, Any]:
        """The options of its reports that say what is met, by name."""
        told = {} if self.convention is None else {"convention": self.convention}
        return {**told, **self.thresholds}


def conditions_of(scan: ScanDocument) -> ScanConditions:
    """Return under which conditions a scan's numbers were made."""
    provenance = _section(scan, "provenance")
    judged, options = _section(provenance, "report"), _section(provenance, "options")
    digest = _section(provenance, "data").get("sha256")
    data = {} if digest is None else {"sha256": digest}
    usable = [entry for entry in scan["checkpoints"] if entry["status"] == "ok"]
    return ScanConditions(
        data={**data, **{name: options[name] for name in SAMPLES if name in options}},
        n_samples=_values(usable, "n_samples"),
        signal_dim=_values(usable, "signal_dim"),
        convention=judged.get("convention"),
        thresholds=_section(judged, "thresholds"),
    )


def incomparable(now: ScanConditions, before: ScanConditions) -> Iterator[str]:
    """Yield in what two scans differ so that their numbers mean different things."""
    shared = now.data.keys() & before.data.keys()
    unlike = sorted(name for name in shared if _plain(now.data[name]) != _plain(before.data[name]))
    if "sha256" in unlike:
        yield "the data differs (by its SHA-256)"
    elif unlike:
        yield f"what is read from the data differs ({listed(unlike)})"
    for name, ours, theirs in (
        ("the number of samples", now.n_samples, before.n_samples),
        ("k", now.signal_dim, before.signal_dim),
    ):
        if ours and theirs and ours != theirs:
            yield f"{name} differs ({listed(ours)}, and {listed(theirs)} there)"
    if None not in (now.convention, before.convention) and now.convention != before.convention:
        yield f"the convention differs ({now.convention}, and {before.convention} there)"


def other_thresholds(now: ScanConditions, before: ScanConditions) -> Iterator[str]:
    """Yield every threshold that two scans do not share, or that one of them does not have."""
    if not (now.thresholds and before.thresholds):
        return
    for name in sorted(now.thresholds.keys() | before.thresholds.keys()):
        ours, theirs = now.thresholds.get(name), before.thresholds.get(name)
        if ours != theirs:
            yield f"{name} ({_told(ours)}, and {_told(theirs)} there)"


def _told(threshold: float | None) -> str:
    return "none" if threshold is None else f"{threshold:g}"


def _section(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = of.get(name)
    return found if isinstance(found, Mapping) else {}


def _values(entries: list[Mapping[str, Any]], name: str) -> tuple[int, ...]:
    return tuple(sorted({entry[name] for entry in entries if entry.get(name) is not None}))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
