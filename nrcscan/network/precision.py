"""Which precision a network runs in, how it gets there, and what that does to its weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nrcscan.errors import UsageError
from nrcscan.wording import some

USUAL = torch.float32
"""What a network runs in if nothing asks for more."""

_COMPLEX = {torch.float64: torch.complex128}
"""What is complex beside a precision; beside any other it is complex64, the least that computes."""

_PIECE = 1 << 22
"""Numbers that are looked at at a time."""


class _Lost(NamedTuple):
    """What a format did, or would do, to numbers.

    Attributes:
        n: how many there are.
        zeros: that are 0.
        subnormal: that are so small that the format keeps fewer digits of them.
        saturated: that are the largest it has, or beyond.
    """

    n: int
    zeros: int
    subnormal: int
    saturated: int


def stored_precision(state: Mapping[str, Tensor]) -> torch.dtype:
    """Return what most weights of a checkpoint are stored in, as a real format.

    Matrices and kernels decide, where there are any: a few constants beside them need not be in
    the precision that the network computes in.
    """
    numbers = [t for t in state.values() if t.is_floating_point() or t.is_complex()]
    weights = [t for t in numbers if t.ndim > 1] or numbers
    count: Counter[torch.dtype] = Counter()
    for tensor in weights:
        count[tensor.dtype.to_real() if tensor.is_complex() else tensor.dtype] += tensor.numel()
    return max(count, key=count.__getitem__) if count else USUAL


def precision_for(state: Mapping[str, Tensor], asked: torch.dtype | None) -> torch.dtype:
    """Return what the network of a checkpoint runs in.

    That is what is asked for; else float64 where the weights are in float64 and float32 does not
    hold them; else float32.
    """
    if asked is not None:
        return asked
    wide = stored_precision(state) == torch.float64
    return torch.float64 if wide and not all(map(_fits_usual, state.values())) else USUAL


def put_in(module: nn.Module, dtype: torch.dtype, state: Mapping[str, Tensor]) -> None:
    """Put a network into another precision, in place, and keep what it computes.

    Complex numbers stay complex. Where the network becomes no narrower than its weights are stored,
    a tensor that is kept in a wider format than those stays in its own.

    Args:
        module: the network.
        dtype: the precision of its real weights.
        state: the weights as they are stored, which may be the network's own.
    """
    own = module.state_dict(keep_vars=True)
    usual = stored_precision(own)
    widens = torch.finfo(dtype).bits >= torch.finfo(stored_precision(state)).bits
    told = {id(tensor): state[name] for name, tensor in own.items() if name in state}

    def cast(tensor: Tensor) -> Tensor:
        if tensor.is_complex():
            return tensor.to(_COMPLEX.get(dtype, torch.complex64))
        if not tensor.is_floating_point():
            return tensor
        if widens and tensor.itemsize > dtype.itemsize:
            known = told.get(id(tensor))
            if known is not None and known.dtype == tensor.dtype:
                return tensor
            if known is None and tensor.dtype != usual and not isinstance(tensor, nn.Parameter):
                return tensor
        return tensor.to(dtype)

    module._apply(cast)  # what `module.to` does, which would have complex numbers real


def notes_on_precision(
    state: Mapping[str, Tensor], dtype: torch.dtype, *, asked: bool
) -> list[str]:
    """Return what the user should know of the precision of a checkpoint's weights.

    Args:
        state: the weights as they are stored.
        dtype: what the network runs in.
        asked: whether the user has chosen that.

    Raises:
        UsageError: weights exceed the range of the precision that was chosen.
    """
    notes = list(_of_narrow_formats(state))
    if dtype == torch.float64 and not asked and stored_precision(state) == torch.float64:
        notes.append(
            "the weights are in float64, and float32 does not hold them: the network runs in"
            " float64; --dtype float32 rounds them"
        )
    return [*notes, *_of_rounding(state, dtype)] if asked else notes


def _of_narrow_formats(state: Mapping[str, Tensor]) -> Iterator[str]:
    """Yield what storing weights in a narrow format has left of them, as far as that shows."""
    numbers = list(_real_numbers(state).values())
    for dtype in dict.fromkeys(t.dtype for t in numbers):
        if dtype.itemsize > 2:
            continue
        lost = _counted([t for t in numbers if t.dtype == dtype], dtype)
        step = 100 * torch.finfo(dtype).eps / 2
        counts: list[str] = []
        if lost.zeros:
            counts.append(f"{lost.zeros:,} are exactly 0, by design or because they were too small")
        if lost.subnormal:
            least = torch.finfo(dtype).smallest_normal
            counts.append(f"{lost.subnormal:,} lie below {least:.2g} and kept fewer digits")
        if lost.saturated:
            counts.append(f"{lost.saturated:,} are ±{torch.finfo(dtype).max:g}, the largest it has")
        yield (
            f"{lost.n:,} weights are stored in {_name(dtype)}, each rounded by up to {step:.2g} %"
            f"{', and ' if counts else ''}{', '.join(counts)}: singular values below"
            f" {step:.2g} % of a layer's largest, and metrics as near 0, may be rounding"
        )


def _of_rounding(state: Mapping[str, Tensor], dtype: torch.dtype) -> Iterator[str]:
    """Yield what weights lose where the network runs in a narrower precision than they are stored.

    Raises:
        UsageError: weights of the file are larger than --dtype can hold.
    """
    range_of = torch.finfo(dtype)
    exact = _real_numbers(state)
    if dtype.itemsize <= 2:  # beside which complex numbers stay in complex64
        exact = {name: t for name, t in exact.items() if not state[name].is_complex()}
    wider = {name: t for name, t in exact.items() if t.dtype != dtype and not _inside(t, dtype)}
    beyond = [name for name, t in wider.items() if _counted([t], dtype).saturated]
    if beyond:
        raise UsageError(
            f"--dtype {_name(dtype)}: weights of {some(beyond)} are beyond its range"
            f" (±{range_of.max:.3g}); take a --dtype that holds them, such as float64"
        )
    flushed = small = n = 0
    for tensor in wider.values():
        before, after = _counted([tensor], tensor.dtype), _counted([tensor], dtype)
        n, flushed = n + before.n, flushed + after.zeros - before.zeros
        small += after.subnormal
    if flushed or small:
        yield (
            f"--dtype {_name(dtype)}: of {n:,} weights {flushed:,} are too small for it and become"
            f" 0, and {small:,} lie below {range_of.smallest_normal:.2g} and keep fewer digits;"
            " a wider --dtype keeps them"
        )


def _real_numbers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that are no whole numbers, real and imaginary parts side by side."""
    return {
        name: torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
        for name, tensor in state.items()
        if tensor.is_complex() or tensor.is_floating_point()
    }


def _inside(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Whether a format has all numbers of a tensor's: its digits, and its range."""
    ours, theirs = torch.finfo(tensor.dtype), torch.finfo(dtype)
    return ours.eps >= theirs.eps and ours.max <= theirs.max and ours.tiny >= theirs.tiny


def _counted(tensors: list[Tensor], dtype: torch.dtype) -> _Lost:
    """Return what a format keeps of numbers, which may be stored in a wider one."""
    limits = torch.finfo(dtype)
    n = zeros = subnormal = saturated = 0
    for tensor in tensors:
        for piece in tensor.detach().reshape(-1).split(_PIECE):
            kept = piece.to(dtype).double().abs()
            n += kept.numel()
            zeros += int((kept == 0).sum())
            subnormal += int(((kept > 0) & (kept < limits.smallest_normal)).sum())
            at_end = kept >= limits.max if piece.dtype == dtype else ~kept.isfinite()
            saturated += int(at_end.sum())
    return _Lost(n, zeros, subnormal, saturated)


def _fits_usual(tensor: Tensor) -> bool:
    """Whether the usual precision holds every number of a tensor exactly."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    if tensor.dtype != torch.float64:
        return True
    pieces = tensor.detach().reshape(-1).split(_PIECE)
    return all(bool((piece.to(USUAL).double() == piece).all()) for piece in pieces)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
