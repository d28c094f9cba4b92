"""One network on two sets of samples: whether it is one, and whether they are two."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nrcscan.errors import InputError, UsageError
from nrcscan.merging.check_parts import fingerprint, rows, section, sources_of
from nrcscan.wording import printable, some

Sizes = Sequence[tuple[str, int]]
"""Layers by name, each with the width of what reaches it; the targets' number is one of them."""

TARGETS = "the targets"


def require_two_files(first: Path, second: Path) -> None:
    """Refuse the same file twice.

    Raises:
        UsageError: both are one file.
    """
    if first.exists() and second.exists() and first.samefile(second):
        raise UsageError(f"{second}: is the file itself; give that of other samples to --against")


def require_one_network(ours: Sizes, theirs: Sizes, path: Path) -> None:
    """Refuse two networks.

    Raises:
        InputError: the layers or the number of targets differ.
    """
    if list(ours) != list(theirs):
        unlike = dict.fromkeys(name for name, _ in [*ours, *theirs])
        differ = [n for n in unlike if dict(ours).get(n) != dict(theirs).get(n)] or [TARGETS]
        raise InputError(
            f"{path}: is of another network ({some([printable(n) for n in sorted(differ)])}"
            " differ); measure the same one on both sets of samples, or put two networks side by"
            " side with nrcscan compare"
        )


def doubts(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Yield what keeps numbers on two sets of samples from being compared.

    Args:
        ours: the provenance of the first.
        theirs: of the second.
    """
    one, two = (section(p, "checkpoint").get("sha256") for p in (ours, theirs))
    if one and two and one != two:
        yield "the two files are of different checkpoints (by their SHA-256)"
    shared = {
        fingerprint(a)
        for a in sources_of(ours)
        for b in sources_of(theirs)
        if fingerprint(a) is not None and fingerprint(a) == fingerprint(b) and _meet(a, b)
    }
    if shared:
        yield "the two files share samples: the gap is smaller than that to new samples"
    if all(_scaled_by_itself(one) for one in (ours, theirs)):
        yield (
            "each file's data was standardised by its own samples, so that their scales differ;"
            " give those of training with --scales"
        )


def _scaled_by_itself(provenance: Mapping[str, Any]) -> bool:
    standardized = section(section(provenance, "data"), "standardized")
    return standardized.get("statistics") == "the data"


def _meet(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    (a, b), (c, d) = rows(one), rows(two)
    return a < d and c < b
