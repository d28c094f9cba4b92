"""A network's forward pass: which layers it calls on what, and the features of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nrcscan.capture import Call, Capture
from nrcscan.errors import InputError, NrcscanError, listed, reason
from nrcscan.layers import Layer, Layout, arranged, find_layers, find_layout, pooled, select
from nrcscan.moments import Array
from nrcscan.options import Pool
from nrcscan.output import Output, to_numpy
from nrcscan.purity import kept
from nrcscan.store import LayerRecord

PROBE_ROWS = 3
"""Samples of the pass that finds out which layers run, in which order, on what."""


@dataclass
class Plan:
    """What the probe found: the calls of a pass in order, and which of them are watched."""

    calls: list[str] = field(default_factory=list)
    records: list[LayerRecord] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    readers: dict[str, int] = field(default_factory=dict)
    """Call whose features stand for a position → that position."""
    layouts: dict[str, Layout] = field(default_factory=dict)
    """Call → where the samples are in what reaches it."""
    widths: list[int] = field(default_factory=list)
    pure: bool = True
    """Whether a pass leaves nothing behind in the network, so that several can run at once."""


@dataclass
class Forward:
    """A network ready to run, and how its features are read."""

    module: nn.Module
    pool: Pool
    fixed_batch: int | None = None
    output: Output = field(default_factory=Output)

    def __post_init__(self) -> None:
        parameter = next((p for p in self.module.parameters() if p.is_floating_point()), None)
        self.dtype = torch.get_default_dtype() if parameter is None else parameter.dtype
        self.stored_dtype = np.dtype("f8" if self.dtype == torch.float64 else "f4")
        self.device = torch.device("cpu") if parameter is None else parameter.device
        self.indices = any(isinstance(module, nn.Embedding) for module in self.module.modules())
        """Whether integers among the inputs are indices, which stay integers."""

    def plan(
        self,
        x: NDArray[Any],
        include: Sequence[str],
        exclude: Sequence[str],
        note: Callable[[str], None],
    ) -> Plan:
        """Run a few samples to find out which layers run, in which order, on what."""
        self._layers = find_layers(self.module)
        if not self._layers:
            raise InputError(
                "the network has no weights to watch (a frozen program keeps none apart)"
            )
        inputs = self._inputs(x[:PROBE_ROWS], 0)
        order = [*range(1, len(inputs)), 0]
        seen, _ = self._probe(inputs)
        before = kept(self.module)
        reordered, wrote = self._probe(inputs[order])
        if [call.name for call, _ in seen] != [call.name for call, _ in reordered]:
            raise InputError(
                "the network calls other layers when its samples come in another order;"
                " statistics need the same path for every sample"
            )
        pure = not wrote and kept(self.module) == before
        plan = Plan(calls=[call.name for call, _ in seen], pure=pure)
        self._note_idle([call for call, _ in seen], note)
        chosen = set(select(plan.calls, include, exclude))
        if not chosen:
            owners = listed(dict.fromkeys(layer.owner for layer in self._layers))
            raise InputError(
                f"none of the network's weights, of {owners}, was seen running in a Linear or"
                " convolution layer; a network that casts or recomputes its weights, or is made"
                " of other layers, cannot be measured"
            )
        positions: dict[tuple[Any, ...], int] = {}
        for (call, features), (_, other) in zip(seen, reordered, strict=True):
            if call.name not in chosen:
                continue
            layout = find_layout(features, other, order)
            if layout is None:
                note(
                    f"{call.name} is left out: what reaches it has shape {tuple(features.shape)},"
                    f" and the {len(inputs)} samples are on none of its axes"
                )
                continue
            plan.layouts[call.name] = layout
            rows = self._rows(features, call, layout, len(inputs))
            source = (call.channel_axis, layout, *call.source)
            position = positions.setdefault(source, len(positions))
            if position == len(plan.widths):
                plan.readers[call.name] = position
                plan.widths.append(rows.shape[1])
            plan.layers.append(call.layer)
            plan.records.append(
                LayerRecord(
                    name=call.name,
                    kind=call.kind,
                    position=position,
                    groups=call.groups,
                    transposed=call.transposed,
                    flattened=self.pool == "flatten" and rows.shape[1] != _width(features, call),
                )
            )
        if not plan.records:
            raise InputError(
                "the samples are on no axis of what reaches any layer, so none can be measured"
            )
        return plan

    def forward(
        self,
        x: NDArray[Any],
        y: NDArray[np.float64],
        plan: Plan,
        *,
        first_sample: int,
        take: Callable[[int, NDArray[Any]], None],
    ) -> Array:
        """Hand the features of every position to `take`, and return the predictions of a batch.

        The network may still write to the features once `take` returns.
        """
        calls: list[str] = []

        def see(call: Call, tensor: Tensor) -> None:
            calls.append(call.name)
            position = plan.readers.get(call.name)
            if position is None:
                return
            try:
                rows = self._rows(tensor, call, plan.layouts[call.name], len(inputs))
            except RuntimeError as error:
                raise InputError(
                    f"what reaches layer {call.name} has shape {tuple(tensor.shape)} in a batch of"
                    f" {len(inputs)} samples, unlike at first; --exclude the layer"
                ) from error
            rows = rows[: len(x)]
            array = to_numpy(rows)
            if not _surely_finite(rows):
                _require_finite(array, f"layer {call.name}: its features", first_sample)
            take(position, array)

        inputs = self._inputs(x, first_sample)
        output = self._forward(inputs, Capture(self._layers, see))
        if calls != plan.calls:
            raise InputError(
                f"the network called other layers from sample {first_sample} on than at first;"
                " statistics need the same path for every sample"
            )
        predictions = self.output.predictions(output, len(x), y.shape)
        _require_finite(predictions, "the network's predictions", first_sample)
        return predictions

    def _probe(self, inputs: Tensor) -> tuple[list[tuple[Call, Tensor]], bool]:
        """Run a few samples, and return every call with a copy of what reached it.

        Also says whether the network wrote to its own buffers.
        """
        seen: list[tuple[Call, Tensor]] = []
        capture = Capture(
            self._layers,
            lambda call, features: seen.append((call, features.clone())),
            trace_sources=True,
        )
        self._forward(inputs, capture)
        return seen, capture.wrote_to(self.module.buffers())

    def _rows(self, tensor: Tensor, call: Call, layout: Layout, n: int) -> Tensor:
        """Return what reaches a layer as features (n, width)."""
        features = arranged(tensor, layout, n)
        channel_axis = call.channel_axis
        if channel_axis > 0 and layout.startswith("flat"):
            channel_axis += 1
        return pooled(features, channel_axis, self.pool)

    def _forward(self, inputs: Tensor, capture: Capture) -> Any:
        try:
            with capture:
                return self.module(inputs)
        except NrcscanError:
            raise
        except MemoryError as error:
            raise InputError(
                f"not enough memory for {len(inputs)} samples at once; use a smaller --batch-size"
            ) from error
        except (Exception, SystemExit) as error:  # the network's own code may raise anything
            where = ""
            if capture.last is not None:
                call, features = capture.last
                where = (
                    f" at {call.name}, whose weight has shape {tuple(call.layer.weight.shape)}"
                    f" and whose input {tuple(features.shape)}"
                )
            raise InputError(
                f"the network does not take inputs of shape {tuple(inputs.shape)}{where}:"
                f" {reason(error)}; check that data and network belong together"
            ) from error

    def _inputs(self, x: NDArray[Any], first_sample: int) -> Tensor:
        """Return a batch of inputs as the network takes them."""
        kind = x.dtype.kind
        if self.indices and kind in "iu":
            return torch.from_numpy(self._filled(x).astype(np.int64)).to(self.device)
        if self.dtype == torch.float32 and kind in "iu" and x.size and _largest(x) > 1 << 24:
            raise InputError(
                f"the inputs hold integers beyond 2^24 (from sample {first_sample} on), which"
                " float32 does not tell apart; use --dtype float64"
            )
        x = self._filled(x)
        wide = torch.from_numpy(np.array(x, dtype=np.float64 if kind != "f" else _native(x)))
        inputs = wide.to(self.device, self.dtype)
        rounded = wide.dtype != self.dtype or x.dtype.itemsize > 8
        if rounded and not bool(torch.isfinite(inputs).all()):
            raise InputError(
                f"the inputs from sample {first_sample} on exceed the range of"
                f" {str(self.dtype).removeprefix('torch.')}; use --dtype float64 or rescale them"
            )
        return inputs

    def _filled(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return a batch filled up to the size that the network takes, with its last sample."""
        lacking = (self.fixed_batch or 0) - len(x)
        return np.concatenate([x, np.repeat(x[-1:], lacking, axis=0)]) if lacking > 0 else x

    def _note_idle(self, calls: Iterable[Call], note: Callable[[str], None]) -> None:
        called = {call.layer.name: call.layer for call in calls}
        idle = []
        for layer in self._layers:
            twin = next((c for c in called.values() if c.weight is layer.weight), None)
            if twin is None and layer.expected:
                idle.append(layer.name)
            elif twin is not None and twin is not layer:
                note(f"{layer.name} shares its weight with {twin.name} and is shown as its use")
        if idle:
            note(f"not seen running with their own weight, so not measured: {listed(idle)}")
        others = [la.owner for la in self._layers if not la.known and la.name not in called]
        if others:
            owners = listed(dict.fromkeys(others))
            note(f"not Linear or convolution layers, so not measured: {owners}")


def _width(features: Tensor, call: Call) -> int:
    """Return the width of what reaches a layer: channels, whatever the positions."""
    return int(features.shape[call.channel_axis])


def _native(x: NDArray[Any]) -> np.dtype[Any]:
    """Return the float type that holds `x` and that torch knows."""
    return np.dtype(np.float32 if x.dtype.itemsize <= 4 else np.float64)


def _largest(x: NDArray[Any]) -> int:
    return max(abs(int(x.max())), abs(int(x.min())))


def _surely_finite(values: Tensor) -> bool:
    """Say whether values are finite, or False where their sum alone does not tell."""
    return math.isfinite(float(values.sum()))


def _require_finite(values: NDArray[Any], what: str, first_sample: int) -> None:
    if np.isfinite(values).all():
        return
    row, column = np.argwhere(~np.isfinite(values))[0]
    found = "NaN" if np.isnan(values[row, column]) else "an infinite value"
    raise InputError(
        f"{what} hold {found}, first in sample {first_sample + row};"
        " look at this sample and at the weights before that layer"
    )
