"""One run's checkpoints through nrcscan, as the JSON document that README.md describes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import nrcscan
from nrcscan.cutting.cuts import Cuts, Estimate
from nrcscan.metrics.quantities import QUANTITIES
from nrcscan.reporting.layer_result import LayerResult
from nrcscan.reporting.report_document import Report
from reproduction.plan import Run
from reproduction.sample_sets import DIRECTIONS, Samples
from reproduction.training import Values, error, loaded

Document = dict[str, Any]
Pair = tuple[Values, Values]

WITHIN = 0.05
"""How much worse than the network a cut may be."""


def measured(
    run: Run, data: Samples, folder: Path, on_checkpoint: Callable[[int], None] = lambda done: None
) -> Document:
    """Return what nrcscan finds in the checkpoints of a run.

    Leaves `train.h5` and `test.h5` of the last one in the folder.

    Args:
        run: what was trained.
        data: what it was trained on.
        folder: where its checkpoints are.
        on_checkpoint: called with how many are measured.
    """
    train, test = (data.x, data.y), (data.x_test, data.y_test)
    options = _options(run, data)
    checkpoints: list[Document] = []
    for epoch in run.checkpoints[:-1]:
        path = folder / f"epoch_{epoch}.pt"
        on_train = nrcscan.measure(path, train, on_note=_unheard, **options)
        checkpoints.append(
            {"epoch": epoch, "train": _short(on_train), "test": _fit(run, data, path)}
        )
        on_checkpoint(len(checkpoints))
    last = folder / f"epoch_{run.epochs}.pt"
    found = _last(last, train, test, options, DIRECTIONS.get(run.data))
    checkpoints.append(
        {"epoch": run.epochs, "train": found.pop("train"), "test": found.pop("test")}
    )
    with TemporaryDirectory(prefix="nrcscan-") as temporary:
        files = [Path(temporary, name) for name in ("train.h5", "test.h5")]
        for pair, file in zip((train, test), files, strict=True):
            nrcscan.extract(last, pair, file, compress=False, on_note=_unheard, **options)
        cuts = nrcscan.cut(*files, within=WITHIN)
    found |= {"cuts": _cuts(cuts), "agreement": rounded(_agreement(run, data, last, cuts), 3)}
    on_checkpoint(len(run.checkpoints))
    return {"checkpoints": checkpoints, **found}


def _last(
    last: Path, train: Pair, test: Pair, options: Document, directions: int | None
) -> Document:
    """Return everything that is kept of a run's last checkpoint but its cuts.

    Leaves the statistics beside the checkpoint, without the features.
    """
    files = [last.with_name(name) for name in ("train.h5", "test.h5")]
    for pair, file in zip((train, test), files, strict=True):
        nrcscan.extract(
            last, pair, file, activations=False, force=True, on_note=_unheard, **options
        )
    on_train, on_test = map(nrcscan.report, files)
    everything = nrcscan.measure(last, train, measures="all", on_note=_unheard, **options)
    ranked = on_train.target_rank < on_train.n_targets
    at_rank: Report | None = None
    if ranked or directions:
        at_rank = nrcscan.report(files[0], signal_dim=directions or "auto")
    return {
        "train": _with_intrinsic_dimensions(_short(on_train, full=True), everything),
        "test": _short(on_test),
        "at_rank": None if at_rank is None else _short(at_rank, more=("noise_alignment",)),
        "published": _short(nrcscan.report(files[0], convention="published")),
    }


def _options(run: Run, data: Samples) -> Document:
    """Return how nrcscan opens a checkpoint of a run, and in which precision the network runs."""
    shape = {"inputs": int(data.x[0].size), "outputs": data.y.shape[1]}
    return {
        "factory": "reproduction.networks:build",
        "factory_args": {
            "network": run.network,
            **shape,
            "depth": run.depth,
            "width": run.width,
        },
        "dtype": "float64",
    }


def _unheard(note: str) -> None:
    """Let a note pass: they are in the report."""


# --- reports, in short ------------------------------------------------------------------------

CORE = ("noise_component", "cka", "alignment", "error_ratio")
"""What is kept of every layer; all quantities are of the last checkpoint."""


def _short(
    report: Report, *, layers: bool = True, full: bool = False, more: Sequence[str] = ()
) -> Document:
    """Return what is kept of a report: of the trained network, more than on the way there.

    Args:
        report: it.
        layers: whether layers are kept.
        full: whether all quantities of them are.
        more: quantities that are kept beside `CORE`.
    """
    verdict = report.verdict
    text = {"text": verdict.text} if full else {}
    ranked = report.target_rank < report.n_targets
    return {
        "n_samples": report.n_samples,
        "signal_dim": report.signal_dim,
        "n_targets": report.n_targets,
        "target_rank": report.target_rank,
        "target_stable_rank": rounded(report.target_stable_rank),
        "mse": _estimate(report.mse, report.mse_error),
        "r2": _estimate(report.r2, report.r2_error),
        "verdict": {
            "state": verdict.state.value,
            "onset": verdict.onset,
            "last": verdict.last,
            **text,
        },
        "onset": report.onset,
        **({"layers": [_layer(one, ranked, full, more) for one in report]} if layers else {}),
    }


def _fit(run: Run, data: Samples, checkpoint: Path) -> Document:
    """Return how well a checkpoint predicts the held-out samples."""
    mse = error(loaded(run, data, checkpoint), data.x_test, data.y_test)
    variance = float(data.y_test.astype(np.float64).var(axis=0).mean())
    return {"mse": _estimate(mse, None), "r2": _estimate(1 - mse / variance, None)}


def _layer(layer: LayerResult, ranked: bool, full: bool, more: Sequence[str]) -> Document:
    """Return what is kept of a layer; `ranked`: the targets have fewer directions than t."""
    found = layer.metrics
    of_rank = [one for one in QUANTITIES if one.endswith("_r")]
    names = [*(QUANTITIES if full else (*CORE, *more)), *(of_rank if ranked else [])]
    wanted = [one for one in dict.fromkeys(names) if ranked or one not in of_rank]
    values = {one: _estimate(found.get(one), found.standard_errors.get(one)) for one in wanted}
    short = {
        "name": layer.name,
        "place": layer.step,
        "reads_inputs": layer.inputs,
        "values": {name: value for name, value in values.items() if value is not None},
        "answers": {condition: answer.value for condition, answer in layer.answers.items()},
    }
    if not full:
        return short
    return {
        **short,
        "kind": layer.kind,
        "width": layer.width,
        "position": layer.position,
        "shortcut": layer.shortcut,
        "chance": {one: rounded(found.chance[one].level, 4) for one in CORE if one in found.chance},
        "undefined": layer.undefined,
    }


def _with_intrinsic_dimensions(short: Document, everything: Report) -> Document:
    """Return what is kept of a report, with the dimensions of features and targets in it."""
    document = everything.to_dict()
    dimension = document["targets"]["measures"]["intrinsic_dimension"]
    for layer, measures in zip(short["layers"], document["layers"], strict=True):
        found = _estimate(measures["measures"]["intrinsic_dimension"], None)
        if found is not None:
            layer["values"]["intrinsic_dimension"] = found
    return {**short, "target_intrinsic_dimension": rounded(dimension)}


def _estimate(value: float | None, error: float | None) -> list[float | None] | None:
    """Return a value and its standard error, rounded; None where there is no value."""
    return None if value is None else [rounded(value), rounded(error, 2)]


def rounded(value: float | None, digits: int = 4) -> float | None:
    """Return a number at so many significant digits, and None for None."""
    return None if value is None else float(f"{value:.{digits}g}")


# --- cuts -------------------------------------------------------------------------------------


def _cuts(found: Cuts) -> Document:
    """Return what is kept of the cuts of a network."""
    return {
        "within": found.within,
        "own_train": _of(found.own_train),
        "own_held_out": _of(found.own_held_out),
        "weights": found.weights,
        "multiply_adds": found.multiply_adds,
        "smallest": None if found.smallest is None else found.smallest.layer,
        "text": found.text,
        "cuts": [
            {
                "layer": one.layer,
                "position": one.position,
                "inputs": one.inputs,
                "refused": one.refused,
                "weights": one.weights,
                "multiply_adds": one.multiply_adds,
                "ridge": None if one.head is None else rounded(one.head.ridge),
                "train": _of(one.train),
                "held_out": _of(one.held_out),
                "change": _of(one.change),
                "against_refitted": _of(one.against_refitted),
                "answer": one.answer.value,
            }
            for one in found.cuts
        ],
    }


def _of(estimate: Estimate | None) -> list[float | None] | None:
    return None if estimate is None else _estimate(estimate.value, estimate.standard_error)


def _agreement(run: Run, data: Samples, last: Path, found: Cuts) -> float:
    """Return the largest relative difference of an error foretold and the error there is.

    The network runs in float64 up to the cut, where its head takes over.
    """
    model = loaded(run, data, last)
    farthest = 0.0
    sides = ("train", data.x, data.y), ("held_out", data.x_test, data.y_test)
    for side, x, y in sides:
        features = features_at(model, x, {one.layer for one in found.cuts if one.head})
        for one in found.cuts:
            if one.head is not None:
                made = features[one.layer] @ one.head.weight.T + one.head.bias
                direct = float(((made - y) ** 2).mean())
                farthest = max(farthest, abs(getattr(one, side).value - direct) / direct)
    return farthest


def features_at(model: nn.Module, x: Values, names: set[str]) -> dict[str, NDArray[np.float64]]:
    """Return what reaches layers, averaged over the axes of an image.

    Args:
        model: in float64 and in eval mode; it is left as it was.
        x: inputs (N, …).
        names: of the layers.

    Returns:
        Name → features (N, d).
    """
    heard: dict[str, list[torch.Tensor]] = {name: [] for name in names}

    def hear(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
            features = given[0]
            axes = tuple(range(2, features.ndim))
            heard[name].append(features.mean(dim=axes) if axes else features)

        return hook

    hooks = [
        model.get_submodule(name).register_forward_pre_hook(hear(name)) for name in sorted(names)
    ]
    try:
        with torch.no_grad():
            for part in torch.from_numpy(x).double().split(500):
                model(part)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: torch.cat(parts).numpy() for name, parts in heard.items()}
