"""Reads the weight off a module that is affine in its input, by what it makes of unit vectors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_AT_ONCE = 256
"""Unit vectors that go through a module at once."""
_ROUNDINGS = 1e3
"""How many roundings of its largest value an affine module's output may be off."""
_CONVOLVE = {nn.Conv1d: F.conv1d, nn.Conv2d: F.conv2d, nn.Conv3d: F.conv3d}


class AffineModule:
    """A module that may be affine in its first argument.

    Args:
        module: in its evaluation mode.
        args: what it was called with.
        kwargs: likewise, by name.
        output: what it returned.
    """

    def __init__(
        self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor
    ) -> None:
        self._module, self._rest, self._kwargs = module, args[1:], kwargs
        self._x, self._y = args[0], output
        self._close = min(_ROUNDINGS * torch.finfo(output.dtype).eps, 0.05)

    def weight(self, like: Tensor, base: Any) -> Tensor | None:
        """Return the weight W with which the module gives W x + b; None if it does not.

        Args:
            like: a weight of the shape that is wanted: (out, in), or a convolution's kernel.
            base: the module of torch whose stride, padding and dilation hold.
        """
        try:
            found = self._matrix(like) if like.ndim == 2 else self._kernel(like, base)
        except Exception:  # the module's own code may raise anything on other shapes
            return None
        return found

    def _respond(self, x: Tensor) -> Tensor:
        return self._module(x, *self._rest, **self._kwargs)

    def _trials(self) -> list[tuple[Tensor, Tensor]]:
        """Return inputs and what the module makes of them: those seen, and some between."""
        x = self._x
        order = torch.Generator(device="cpu").manual_seed(0)
        size = float(x.abs().max()) or 1.0
        noise = torch.randn(x.shape, generator=order).to(x) * size
        return [(x, self._y), *((z, self._respond(z)) for z in (noise, -noise, x / 2))]

    def _holds(self, predicted: list[Tensor], trials: list[tuple[Tensor, Tensor]]) -> bool:
        return all(
            p.shape == y.shape and float((p - y).abs().max()) <= self._close * float(y.abs().max())
            for p, (_, y) in zip(predicted, trials, strict=True)
        )

    def _matrix(self, like: Tensor) -> Tensor | None:
        """Return W (out, in) of a module that acts on the last axis."""
        width = like.shape[1]
        between = [1] * (self._x.ndim - 2)
        zero = self._respond(self._x.new_zeros(1, *between, width)).reshape(1, -1)
        unit = torch.eye(width, dtype=self._x.dtype, device=self._x.device)
        columns = [
            self._respond(some.reshape(len(some), *between, width)).reshape(len(some), -1) - zero
            for some in unit.split(_AT_ONCE)
        ]
        weight = torch.cat(columns).T.contiguous()
        if weight.shape != like.shape:
            return None
        trials = self._trials()
        return (
            weight
            if self._holds([F.linear(x, weight, zero[0]) for x, _ in trials], trials)
            else None
        )

    def _kernel(self, like: Tensor, base: Any) -> Tensor | None:
        """Return the kernel (out, in, …) of a module that is a convolution like another."""
        convolve = next((f for kind, f in _CONVOLVE.items() if isinstance(base, kind)), None)
        if convolve is None or base.padding_mode != "zeros" or isinstance(base.padding, str):
            return None
        stride, padding, dilation = base.stride, base.padding, base.dilation
        # The first window that begins inside, and where; inputs just large enough to hold it.
        at = [-(-p // s) for p, s in zip(padding, stride, strict=True)]
        begin = [t * s - p for t, s, p in zip(at, stride, padding, strict=True)]
        size = like.shape[2:]
        lengths = [b + d * (k - 1) + 1 for b, d, k in zip(begin, dilation, size, strict=True)]
        channels = like.shape[1] * base.groups
        places = torch.cartesian_prod(
            torch.arange(channels),
            *(b + d * torch.arange(k) for b, d, k in zip(begin, dilation, size, strict=True)),
        ).reshape(-1, 1 + len(size))
        window = (slice(None), slice(None), *at)
        zero = self._respond(self._x.new_zeros(1, channels, *lengths))[window]
        found = []
        for some in places.split(_AT_ONCE):
            impulses = self._x.new_zeros(len(some), channels, *lengths)
            impulses[(torch.arange(len(some)), *some.T)] = 1
            found.append(self._respond(impulses)[window] - zero)
        kernel = torch.cat(found).T.reshape(-1, channels, *size).contiguous()
        trials = self._trials()
        constant = self._respond(torch.zeros_like(self._x[:1]))
        predicted = [
            convolve(x, kernel, None, stride, padding, dilation) + constant for x, _ in trials
        ]
        return kernel if self._holds(predicted, trials) else None
