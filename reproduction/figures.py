"""The paper's figures 1 to 5 from what was found, as `nrcscan plot` draws them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nrcscan.drawing.figure import figure, image
from nrcscan.drawing.shapes import Drawing
from nrcscan.files.write_atomically import put_in_place
from nrcscan.reporting.collapse_figure import collapse_figure
from nrcscan.reporting.profile import Profile
from nrcscan.reporting.rank_figure import rank_figure
from nrcscan.scanning.error_figure import Training, error_figure
from reproduction.collapse_findings import most_collapsed
from reproduction.loss_findings import ended_collapsed
from reproduction.onsets import DEFAULTS
from reproduction.rank_findings import low_rank
from reproduction.results import Document, Result, Results

DPI = 120

IMITATION = ("swimmer", "reacher", "hopper")
SWEPT = ("road, ResNet-18", "road, convolutional", "synthetic", "gemm")
"""Whose weight decays figure 4 shows, where there are several; of the road, the first of these."""


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        name: of its file, without the ending.
        title: above it on the page.
        shows: what it shows, in a sentence.
        drawing: it.
    """

    name: str
    title: str
    shows: str
    drawing: Drawing

    @property
    def digest(self) -> str:
        """What tells it from a figure of other numbers."""
        return hashlib.sha256(repr(self.drawing).encode()).hexdigest()[:12]

    def write(self, folder: Path) -> None:
        """Draw it as a PNG into a folder."""
        with put_in_place(folder / f"{self.name}.png", force=True) as partial:
            partial.write_bytes(image(figure(self.drawing, "page"), ".png", DPI))


def pictures(results: Results) -> list[Picture]:
    """Return the figures that there are results for."""
    return [*_in_images(results), *_in_mlps(results), *_of_low_rank(results), *_of_decay(results),
            *_of_errors(results)]  # fmt: skip


def _in_images(results: Results) -> Iterator[Picture]:
    """Yield figure 1: the four conditions in convolutional networks."""
    for group, own in results.groups.items():
        if own[0].run["network"] != "mlp":
            name = f"figure-1-{own[0].run['network']}"
            yield _collapse(name, "Figure 1", {group: own})


def _in_mlps(results: Results) -> Iterator[Picture]:
    """Yield figure 2: the four conditions in MLPs."""
    chosen = {group: own for group, own in results.groups.items() if group in IMITATION}
    if chosen:
        yield _collapse("figure-2", "Figure 2", chosen)


def _collapse(name: str, title: str, groups: dict[str, list[Result]]) -> Picture:
    labels = {group: _labelled(group, _chosen(own)) for group, own in groups.items()}
    profiles = [one for own in labels.values() for one in own]
    what = " and ".join(groups) if len(groups) < 3 else ", ".join(groups)
    return Picture(
        name,
        title,
        f"the four conditions over depth on {what}, at the weight decay at which most networks"
        " collapse",
        collapse_figure(profiles),
    )


def _of_low_rank(results: Results) -> Iterator[Picture]:
    """Yield figure 3: what is measured at the rank of targets that have few directions."""
    for group, own in results.groups.items():
        if low_rank(own[0]):
            yield Picture(
                f"figure-3-{own[0].run['data']}",
                "Figure 3",
                f"stable ranks, noise and both alignments at k and at the targets' rank on {group}",
                rank_figure(_labelled(group, _chosen(own))),
            )


def _of_decay(results: Results) -> Iterator[Picture]:
    """Yield figure 4: what weight decay does."""
    images = 0
    for group in SWEPT:
        own = results.groups.get(group, [])
        if len({one.weight_decay for one in own}) < 2 or (group.startswith("road") and images):
            continue
        images += group.startswith("road")
        profiles = [profile_of(one, f"λ = {one.weight_decay:g}") for one in own]
        name = f"figure-4-{own[0].run['data']}"
        told = f"at every weight decay on {group}"
        yield Picture(
            f"{name}", "Figure 4", f"the four conditions {told}", collapse_figure(profiles)
        )
        flat = [_without_rank(one) for one in profiles]
        yield Picture(f"{name}-rank", "Figure 4", f"stable ranks {told}", rank_figure(flat))


def _of_errors(results: Results) -> Iterator[Picture]:
    """Yield figure 5: errors over epochs, and when collapse comes."""
    runs = []
    for group, own in results.groups.items():
        chosen = [one for one in _chosen(own) if one.seed == min(o.seed for o in own)]
        for one in chosen:
            curves = {
                name: [(float(point[0]), point[side]) for point in one.document["curve"]]
                for side, name in ((1, "training"), (2, "held-out"))
            }
            at = next((float(late) for _, _, late in ended_collapsed([one])), None)
            runs.append(Training(f"{group}, λ = {one.weight_decay:g}", curves, at))
    if runs:
        yield Picture(
            "figure-5",
            "Figure 5",
            "errors over the epochs of one network of each data set, and its first checkpoint from"
            " which on every one has surely collapsed below the last layer",
            error_figure(runs, "epoch"),
        )


def _chosen(own: Sequence[Result]) -> list[Result]:
    """Return the networks at the weight decay at which most collapse; else those with the most."""
    decay = most_collapsed(own)
    if decay is None:
        decay = max(one.weight_decay for one in own)
    return [one for one in own if one.weight_decay == decay]


def _labelled(group: str, own: Sequence[Result]) -> list[Profile]:
    return [profile_of(one, f"{group}, λ = {one.weight_decay:g}") for one in own]


def profile_of(one: Result, label: str) -> Profile:
    """Return what figures show of a network."""
    measured = one.last
    layers = [_layer(layer) for layer in measured["layers"]]
    rank = measured["target_rank"]
    if one.at_rank is not None:
        rank = one.at_rank["signal_dim"]
        for layer, ranked in zip(layers, one.at_rank["layers"], strict=True):
            for quantity, pair in ranked["values"].items():
                layer.setdefault(f"{quantity}_r", pair[0])
    return Profile(
        label=label,
        layers=layers,
        verdict=measured["verdict"],
        thresholds=asdict(DEFAULTS),
        signal_dim=measured["signal_dim"],
        target_rank=rank,
        target_stable_rank=measured["target_stable_rank"],
    )


class _Fields(dict[str, Any]):
    """A layer as figures read it: a quantity that it has not is undefined."""

    def __missing__(self, name: str) -> None:
        return None


def _layer(layer: Document) -> _Fields:
    values = {name: pair[0] for name, pair in layer["values"].items()}
    errors = {name: pair[1] for name, pair in layer["values"].items() if pair[1] is not None}
    own = {name: layer[name] for name in ("name", "position", "answers")}
    place = {"step": layer["place"], "inputs": layer["reads_inputs"]}
    return _Fields({**values, **own, **place, "standard_error": errors})


def _without_rank(one: Profile) -> Profile:
    """Return a network of which stable ranks alone are shown."""
    return replace(one, target_rank=None)
