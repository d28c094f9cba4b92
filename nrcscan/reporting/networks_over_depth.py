"""What is drawn of networks: a curve for each, and one with a band for those of one label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from nrcscan.drawing.shapes import Curve, Face, Key, Point, Span
from nrcscan.reporting.profile import (
    LONGEST_LABEL,
    MARK_WORDS,
    Places,
    Profile,
    depth_of,
    face_of,
)
from nrcscan.short_names import shortened
from nrcscan.verdict.in_document import brief
from nrcscan.verdict.state import State
from nrcscan.wording import counted

LONGEST_VERDICT = 90

BAND = "lowest to highest, about the median"

_ByPlace = Mapping[str, int]


@dataclass(frozen=True)
class Networks:
    """Networks along one axis.

    Attributes:
        profiles: of every network.
        depth: where their layers are.
        alike: the numbers of those that are one curve, for every curve.
    """

    profiles: Sequence[Profile]
    depth: Places
    alike: Sequence[Sequence[int]]

    @property
    def banded(self) -> bool:
        """Whether several networks are one curve."""
        return len(self.alike) < len(self.profiles)

    def curves(self, quantity: str, condition: str | None = None) -> Iterator[Curve]:
        """Yield the curves of a quantity, marked by the answers for a condition if one is given."""
        for look, numbers in enumerate(self.alike):
            drawn = [
                _points_of(self.profiles[i], self.depth.places[i], quantity, condition)
                for i in numbers
            ]
            if len(drawn) == 1:
                ((points, missing),) = drawn
                yield Curve(points, look, missing)
            else:
                yield _together(drawn, look)

    def spans(self) -> Iterator[Span]:
        """Yield the stretch of every curve in which all its networks are collapsed."""
        for look, numbers in enumerate(self.alike):
            own = [_stretch(self.profiles[i], self.depth.places[i]) for i in numbers]
            known = [stretch for stretch in own if stretch is not None]
            if len(known) == len(own):
                first, last = max(one for one, _ in known), min(one for _, one in known)
                if first <= last:
                    yield Span(first, last, look)

    def head(self) -> list[Key]:
        """Return the key of the curves, with the verdict on their networks in a few words."""
        if len(self.profiles) == 1 and not self.profiles[0].label:
            (one,) = self.profiles
            told = shortened(brief(one.verdict, one.layers), LONGEST_VERDICT)
            return [Key(told, span=True) if _collapsed(one) else Key(told)]
        return [self._line(look, numbers) for look, numbers in enumerate(self.alike)]

    def _line(self, look: int, numbers: Sequence[int]) -> Key:
        own = [self.profiles[i] for i in numbers]
        told = Counter(brief(one.verdict, one.layers) for one in own)
        counts = [f"{times} × {words}" if len(told) > 1 else words for words, times in told.items()]
        label = shortened(own[0].label, LONGEST_LABEL)
        many = f" ({counted(len(own), 'network')})" if len(own) > 1 else ""
        head = f"{label}{many}: " if label else ""
        return Key(head + shortened(", ".join(counts), LONGEST_VERDICT), look=look)

    def key(self, faces: set[Face]) -> list[Key]:
        """Return the key of the marks that are drawn, and of bands."""
        words = dict(MARK_WORDS)
        if self.banded:
            words[Face.HALF] += ", or not alike in all"
        lines = [Key(word, face=face) for face, word in words.items() if face in faces]
        return [*lines, Key(BAND, band=True)] if self.banded else lines


def networks(profiles: Sequence[Profile]) -> Networks:
    """Return networks along one axis, those of one label together."""
    alike: dict[str, list[int]] = {}
    for number, one in enumerate(profiles):
        alike.setdefault(one.label or f"\0{number}", []).append(number)
    return Networks(profiles, depth_of(profiles), [*alike.values()])


def _collapsed(one: Profile) -> bool:
    return bool(one.verdict["state"] == State.COLLAPSED.value)


def _stretch(one: Profile, places: _ByPlace) -> tuple[float, float] | None:
    """Return where a network has collapsed; None where that is not the verdict."""
    first, last = (places.get(one.verdict[name]) for name in ("onset", "last"))
    if not _collapsed(one) or first is None or last is None:
        return None
    return float(first), float(last)


def _points_of(
    one: Profile, places: _ByPlace, quantity: str, condition: str | None = None
) -> tuple[tuple[Point, ...], tuple[float, ...]]:
    """Return a quantity over depth, and the places where it is undefined.

    What the verdict leaves out, inputs and shortcuts, is not judged.
    """
    found: list[Point] = []
    missing: list[float] = []
    for layer in one.layers:
        place = places.get(layer["name"])
        if place is None:
            continue
        value = layer[quantity]
        if value is None:
            missing.append(place)
            continue
        face = Face.FULL if condition is None else face_of(layer, condition)
        error = (layer.get("standard_error") or {}).get(quantity)
        centre = (layer.get("corrected") or {}).get(quantity, value)
        bar = (centre - error, centre + error) if error else None
        found.append(Point(place, value, Face.CROSS if layer["step"] is None else face, bar))
    return tuple(found), tuple(missing)


def _together(drawn: Sequence[tuple[Sequence[Point], Sequence[float]]], look: int) -> Curve:
    """Return one curve of several: what is undefined in one of them has no median."""
    missing = {place for _, places in drawn for place in places}
    by_place: dict[float, list[Point]] = {}
    for points, _ in drawn:
        for point in points:
            if point.x not in missing:
                by_place.setdefault(point.x, []).append(point)
    shown: list[Point] = []
    band: list[tuple[float, float, float]] = []
    for x, own in sorted(by_place.items()):
        values, faces = [point.y for point in own], {point.face for point in own}
        shown.append(Point(x, median(values), faces.pop() if len(faces) == 1 else Face.HALF))
        band.append((x, min(values), max(values)))
    return Curve(tuple(shown), look, tuple(sorted(missing)), band=tuple(band))
