"""A network's forward pass: a batch in, the features of every position and the predictions out."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nrcscan.errors import InputError, NrcscanError
from nrcscan.files import at_work
from nrcscan.inputs.arrays import Inputs, each, length
from nrcscan.network.call import Call
from nrcscan.network.call_plan import CallPlan, Features
from nrcscan.network.capture import Capture
from nrcscan.network.explain_failure import explained
from nrcscan.network.features_from_tensor import Placed, placed, pooled
from nrcscan.network.find_layers import kind_of
from nrcscan.network.masks import MaskChoice, MaskUse
from nrcscan.network.out_of_memory import no_room, ran_out
from nrcscan.network.predictions import PredictionChoice, to_numpy
from nrcscan.options.choices import Pool
from nrcscan.statistics.moments import Array
from nrcscan.wording import reason


@dataclass
class Forward:
    """A network ready to run, and how its features are read."""

    module: nn.Module
    pool: Pool
    fixed_batch: int | None = None
    output: PredictionChoice = field(default_factory=PredictionChoice)
    masks: MaskChoice = field(default_factory=MaskChoice)

    def __post_init__(self) -> None:
        numbers = [p for p in self.module.parameters() if p.is_floating_point() or p.is_complex()]
        parameter = next((p for p in numbers if not p.is_complex()), next(iter(numbers), None))
        self.dtype = torch.get_default_dtype() if parameter is None else parameter.dtype.to_real()
        self.stored_dtype = np.dtype("f8" if self.dtype == torch.float64 else "f4")
        self.device = torch.device("cpu") if parameter is None else parameter.device
        self.indices = any(_embeds(module) for module in self.module.modules())
        """Whether integers among the inputs are indices, which stay integers."""
        self._names = _parameter_names(self.module)

    def named(self, inputs: Any) -> dict[str, Any]:
        """Return every input by its name: in a tuple, that of the parameter it is passed as."""
        if isinstance(inputs, Mapping):
            return dict(inputs)
        if not isinstance(inputs, tuple):
            return {"": inputs}
        places = [str(place) for place in range(1, len(inputs) + 1)]
        named = list(self._names or ())
        return dict(zip(named if len(named) >= len(inputs) else places, inputs, strict=False))

    def inputs(self, x: Inputs, first_sample: int) -> Any:
        """Return a batch of inputs as the network takes them, on its device.

        Raises:
            InputError: the values of the inputs exceed what the precision can hold.
        """
        several = isinstance(x, dict | tuple)
        return each(x, lambda part: self._input(part, first_sample, several=several))

    def forward(
        self,
        inputs: Any,
        y: NDArray[np.float64],
        plan: CallPlan,
        *,
        first_sample: int,
        take: Callable[[int, Features], bool],
    ) -> Array | None:
        """Hand the features of every position to `take`, and return the predictions for `inputs`.

        None where the network makes none.

        The network may still write to the features once `take` returns, which says whether they
        are surely finite; if not, each number is looked at.

        Raises:
            InputError: a batch is not computed in the same way as the first samples were.
        """
        calls: list[str] = []
        n, keeps = length(inputs), self.masks.of(self.named(inputs))

        def see(call: Call, tensor: Tensor) -> None:
            calls.append(call.name)
            position = plan.readers.get(call.name)
            if position is None:
                return
            try:
                reached = placed(tensor, call.channel_axis, plan.layouts[call.name], n)
                rows, counts = self.rows(reached, plan.masks.get(call.name), keeps)
            except RuntimeError as error:
                if ran_out(error):
                    raise
                raise InputError(
                    f"what reaches layer {call.name} has shape {tuple(tensor.shape)} in a batch of"
                    f" {length(inputs)} samples, unlike at first;"
                    " leave the layer out with --exclude"
                ) from error
            if counts is not None:
                counts = counts[: len(y)]
            rows = rows[: len(y) if counts is None else int(counts.sum())]
            if not take(position, Features(rows, counts)):
                what = f"layer {call.name}: its features"
                _require_finite(to_numpy(rows), what, first_sample, counts)

        _require_positions(keeps, plan, first_sample)
        output = self.call(inputs, Capture(plan.layers, see, constants=plan.constants))
        if calls != plan.calls:
            raise InputError(
                f"the network called other layers from sample {first_sample} on than at first;"
                " have it take the same path for every sample"
            )
        predictions = self.output.predictions(output, len(y), y.shape)
        if predictions is not None:
            _require_finite(predictions, "the network's predictions", first_sample)
        return predictions

    def rows(
        self, reached: Placed, use: MaskUse | None, keeps: Mapping[str, Tensor]
    ) -> tuple[Tensor, NDArray[np.int64] | None]:
        """Return what reaches a layer as rows of features, and how many rows each sample has.

        Args:
            reached: the features.
            use: which mask says which positions count; None where all do.
            keeps: what the masks say of these samples.

        Raises:
            RuntimeError: there are other positions than the mask is for.
        """
        n, positions = len(reached.features), math.prod(reached.positions)
        mask = None if use is None else use.applied(keeps[use.name], positions)
        rows = pooled(reached.features, reached.channel_axis, self.pool, mask)
        if self.pool != "tokens" or reached.features.ndim == 2:
            return rows, None
        if mask is None:
            return rows, np.full(n, positions, dtype=np.int64)
        return rows, np.asarray(mask.sum(dim=1).cpu().numpy(), dtype=np.int64)

    def call(self, inputs: Any, capture: Capture) -> Any:
        """Return what the network returns for inputs, under the eyes of a capture.

        Raises:
            InputError: the network cannot compute with such inputs; the message names the layer at
                which it stopped.
        """
        try:
            with capture, at_work.doing("the network ran"):
                return self._run(inputs)
        except NrcscanError:
            raise
        except (Exception, SystemExit) as error:  # the network's own code may raise anything
            if ran_out(error):
                raise no_room(length(inputs)) from error
            if "not implemented for" in str(error):  # by torch, in this precision on this device
                raise InputError(
                    f"the network cannot run in {_name(self.dtype)} on {self.device.type}:"
                    f" {reason(error)}; use --dtype float32"
                ) from error
            raise InputError(explained(self.module, inputs, capture, error)) from error

    def _run(self, inputs: Any) -> Any:
        """Call the network: a dict by names, where it has parameters of these names."""
        if isinstance(inputs, tuple):
            return self.module(*inputs)
        if isinstance(inputs, dict) and (self._names is None or set(inputs) <= set(self._names)):
            return self.module(**inputs)
        return self.module(inputs)

    def _input(self, x: NDArray[Any], first_sample: int, *, several: bool) -> Tensor:
        kind = x.dtype.kind
        # Among several inputs there are masks, which stay what they are too.
        if (kind in "iu" and (self.indices or several)) or (kind == "b" and several):
            as_is = self._filled(x).astype(bool if kind == "b" else np.int64)
            return self._sent(torch.from_numpy(as_is))
        exact = round(2 / torch.finfo(self.dtype).eps)
        if kind in "iu" and x.size and _largest(x) > exact:
            raise InputError(
                f"the inputs hold integers beyond 2^{exact.bit_length() - 1} (from sample"
                f" {first_sample} on), which {_name(self.dtype)} does not tell apart; use a wider"
                " --dtype"
            )
        x = self._filled(x)
        wide = torch.from_numpy(np.array(x, dtype=np.float64 if kind != "f" else _native(x)))
        inputs = self._sent(wide.to(self.dtype))
        rounded = wide.dtype != self.dtype or x.dtype.itemsize > 8
        if rounded and not bool(torch.isfinite(inputs).all()):
            raise InputError(
                f"the inputs from sample {first_sample} on exceed the range of"
                f" {_name(self.dtype)}; use --dtype float64 or rescale them"
            )
        return inputs

    def _sent(self, host: Tensor) -> Tensor:
        """Return a tensor on the network's device; a GPU fetches it while the host goes on."""
        if self.device.type != "cuda":
            return host.to(self.device)
        return host.pin_memory().to(self.device, non_blocking=True)

    def _filled(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return a batch filled up to the size that the network takes, with its last sample."""
        lacking = (self.fixed_batch or 0) - len(x)
        return np.concatenate([x, np.repeat(x[-1:], lacking, axis=0)]) if lacking > 0 else x


def _embeds(module: nn.Module) -> bool:
    """Whether a module, or the module that a program was made from, looks up indices."""
    kind = kind_of(module)
    embeds = isinstance(module, nn.Embedding | nn.EmbeddingBag) or kind == "Embedding"
    return embeds or getattr(module, "takes_indices", False)


def _parameter_names(module: nn.Module) -> list[str] | None:
    """Return the names that a network can be called with, in order; None for any."""
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # a program may have no signature
        return []
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return [p.name for p in parameters]


def _require_positions(keeps: Mapping[str, Tensor], plan: CallPlan, first_sample: int) -> None:
    """Refuse samples that have no position, or some that count no longer as at first."""
    used = {use.name for use in plan.masks.values()}
    for name in (*used, *plan.whole):
        if name not in keeps:  # lengths that are none
            raise InputError(
                f"from sample {first_sample} on, the {name} of some sample is no whole number,"
                " below 0 or beyond the steps that there are, so that it does not say which"
                " positions count; mend it, or count every position with --mask none"
            )
    for name in used:
        if not bool(keeps[name].any(dim=1).all()):
            sample = first_sample + int(keeps[name].any(dim=1).int().argmin())
            raise InputError(
                f"the {name} of sample {sample} counts no position; leave out such samples"
            )
    for name, layer in plan.whole.items():
        if not bool(keeps[name].all()):
            sample = first_sample + int(keeps[name].all(dim=1).int().argmin())
            raise InputError(
                f"the {name} of sample {sample} leaves positions out, as no sample did at first,"
                f" and which of {layer}'s these are is not known; leave the layer out with"
                " --exclude, or count them all with --mask none"
            )


def _native(x: NDArray[Any]) -> np.dtype[Any]:
    """Return the float type that holds `x` and that torch knows."""
    return np.dtype(np.float32 if x.dtype.itemsize <= 4 else np.float64)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _largest(x: NDArray[Any]) -> int:
    return max(abs(int(x.max())), abs(int(x.min())))


def _require_finite(
    values: NDArray[Any],
    what: str,
    first_sample: int,
    counts: NDArray[np.int64] | None = None,
) -> None:
    """Refuse what is not a number.

    Raises:
        InputError: the computation overflows or divides by zero, in this network on this sample.
    """
    if np.isfinite(values).all():
        return
    row, column = np.argwhere(~np.isfinite(values))[0]
    found = "NaN" if np.isnan(values[row, column]) else "an infinite value"
    sample = row if counts is None else np.searchsorted(counts.cumsum(), row, side="right")
    raise InputError(
        f"{what} hold {found}, first in sample {first_sample + sample};"
        " look at this sample and at the weights before that layer"
    )
