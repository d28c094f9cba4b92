"""Which positions of a sequence or an image count, as far as the inputs say so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from nrcscan.errors import InputError, UsageError
from nrcscan.wording import listed

Meaning = Literal["counts", "padding", "lengths"]
"""What an input says: 1 where a position counts, 1 where it is padding, or how many count."""

_NAMED: dict[str, Meaning] = {
    r"(.*_)?attention_mask|pixel_mask|(.*_)?valid_mask": "counts",
    r"(.*_)?key_padding_mask": "padding",
    r"(.*_)?(lengths|lens|seq_?len|length)": "lengths",
}
_AMBIGUOUS = re.compile(r"(?!.*head_mask).*(mask|padding).*")
"""Names whose polarity differs from library to library: `mask`, `padding_mask`."""


class MaskUse(NamedTuple):
    """How a mask (n, L) says which positions of a layer count.

    Attributes:
        name: of the input.
        front: positions that the layer has before those of the mask, all of which count.
        back: likewise behind them.
        each: positions of the layer to one of the mask: the pixels of a frame, say.
        zeros: whether the positions before and behind are zeros that a convolution is padded
            with, which do not count.
    """

    name: str
    front: int = 0
    back: int = 0
    each: int = 1
    zeros: bool = False

    def applied(self, keep: Tensor, positions: int) -> Tensor:
        """Return which of a layer's positions count (n, positions).

        Raises:
            RuntimeError: the layer has other positions than the mask is for.
        """
        last = (positions - self.front - self.back) // self.each
        if not bool(keep[:, last:].any()):  # it ends where the longest sample of a batch does
            keep = keep[:, :last]
        keep = torch.nn.functional.pad(keep, (self.front, self.back), value=not self.zeros)
        keep = keep.repeat_interleave(self.each, dim=1)
        if keep.shape[1] != positions:
            raise RuntimeError(f"{positions} positions beside a mask of {keep.shape[1]}")
        return keep


@dataclass
class MaskChoice:
    """Which inputs are masks, and what each says.

    Attributes:
        asked: by `--mask`: a name, ~NAME, none, or None for those that are known by name.
        learned: what inputs of other names were found to say.
    """

    asked: str | None = None
    learned: dict[str, Meaning] = field(default_factory=dict)

    def meaning(self, name: str) -> Meaning | None:
        """Return what an input of this name says; None if it is no mask, or not known."""
        if self.asked is not None:
            if self.asked == "none" or name != self.asked.removeprefix("~"):
                return None
            says = self._by_name(name)
            if says == "lengths":
                return says
            return "padding" if self.asked.startswith("~") else "counts"
        return self._by_name(name) or self.learned.get(name)

    @staticmethod
    def _by_name(name: str) -> Meaning | None:
        said = name.rpartition("/")[2]
        return next((says for form, says in _NAMED.items() if re.fullmatch(form, said)), None)

    def require_there(self, named: Mapping[str, Any]) -> None:
        """Refuse a mask that is asked for and that no input is.

        Raises:
            UsageError: --mask names no input that says which positions count.
        """
        wanted = None if self.asked in (None, "none") else str(self.asked).removeprefix("~")
        if wanted is None:
            return
        if wanted not in named:
            there = f"choose one of {listed(named)}" if len(named) > 1 else "leave --mask out"
            raise UsageError(f"--mask {self.asked}: no input is called {wanted}; {there}")
        if wanted not in self.of(named):
            shape = tuple(named[wanted].shape[1:])
            raise UsageError(
                f"--mask {self.asked}: of shape {shape} per sample, it does not say which positions"
                " count; name an input with a number for each position, or none"
            )

    def unused(self, named: Mapping[str, Any]) -> list[str]:
        """Return the inputs that are masks by their names, but not of positions by their shapes."""
        known = self.of(named)
        return [
            name
            for name, part in named.items()
            if self.asked is None
            and name not in known
            and (self._by_name(name) or self.called_mask(name))
            and not (self._by_name(name) == "lengths" and part.dtype.kind == "f")
        ]

    def of(self, named: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return which positions count (n, positions), by the name of the input that says so.

        Args:
            named: every input, by name.

        Raises:
            InputError: a mask holds other values than 0 and 1.
        """
        found = {}
        for name, part in named.items():
            says = self.meaning(name)
            if says == "lengths" or (says == "counts" and self.asked == name and part.ndim == 1):
                keep = _until(part, self._longest(named))
            else:
                keep = None if says is None else _flags(part, name)
            if keep is not None:
                found[name] = ~keep if says == "padding" else keep
        return found

    def unsure(self, named: Mapping[str, Any]) -> dict[str, Tensor]:
        """Return inputs that may be masks, by name, as flags (n, positions) of either meaning.

        They are called so, or hold a 0 or a 1 for every step of another input.
        """
        if self.asked is not None:
            return {}
        flags = {
            name: _flags(part)
            for name, part in named.items()
            if self.meaning(name) is None
            and (self.called_mask(name) or _beside_steps(name, part, named))
        }
        return {
            name: flag
            for name, flag in flags.items()
            if flag is not None and (self.called_mask(name) or bool(flag.any() != flag.all()))
        }

    @staticmethod
    def called_mask(name: str) -> bool:
        """Whether a name is one of masks, of either meaning."""
        return _AMBIGUOUS.fullmatch(name) is not None

    def content(self, named: Mapping[str, Any], mask: str, positions: int) -> list[str]:
        """Return the names of the inputs whose positions a mask is about.

        A mask whose name begins with another word than its like, as `decoder_attention_mask`
        does, is about the inputs that begin so too, if there are any.
        """
        masks = {n for n in named if self._by_name(n) or self.called_mask(n)} | {mask}
        about = [
            name
            for name, part in named.items()
            if name not in masks and _spread(part, positions) is not None
        ]
        begins = mask.partition("_")[0]
        akin = [name for name in about if name.partition("_")[0] == begins]
        others = {name.partition("_")[0] for name in masks} - {begins}
        return akin or [name for name in about if name.partition("_")[0] not in others]

    def _longest(self, named: Mapping[str, Any]) -> int:
        """Return the steps of the first input that has any."""
        steps = (p.shape[1] for n, p in named.items() if p.ndim > 1 and self.meaning(n) is None)
        return next(steps, 0)


def _beside_steps(name: str, part: Any, named: Mapping[str, Any]) -> bool:
    """Whether an input (n, steps) has a number for every step of another one."""
    steps = tuple(part.shape[1:])
    others = (other for key, other in named.items() if key != name)
    return len(steps) == 1 < steps[0] and any(tuple(o.shape[1:2]) == steps for o in others)


def at_positions(flags: Tensor, part: Tensor) -> Tensor:
    """Return flags (n, positions) spread over an input that has these positions."""
    shape = _spread(part, flags.shape[1])
    if shape is None:
        raise ValueError(f"no {flags.shape[1]} positions in a shape of {tuple(part.shape)}")
    return flags.reshape(shape).expand(part.shape)


def _spread(part: Any, positions: int) -> tuple[int, ...] | None:
    """Return the shape in which flags (n, positions) are spread over an input; None for none."""
    n, *axes = part.shape
    if axes and axes[0] == positions:
        return (n, positions, *[1] * (len(axes) - 1))
    if len(axes) > 2 and axes[-1] * axes[-2] == positions:  # pixels, channels first
        return (n, *[1] * (len(axes) - 2), *axes[-2:])
    return None


def _tensor(part: Any) -> Tensor:
    """Return an input as a tensor, an array of any width of integers among them."""
    if isinstance(part, Tensor):
        return part
    kinds = {"b": np.bool_, "i": np.int64, "u": np.int64}
    return torch.from_numpy(np.array(part, dtype=kinds.get(part.dtype.kind, np.float64)))


def _until(lengths: Any, steps: int) -> Tensor | None:
    """Return which steps count (n, steps), if these are lengths."""
    given = _tensor(lengths)
    if given.is_complex() or given.numel() != len(given):
        return None
    if given.is_floating_point() and not bool((given == given.round()).all()):
        return None
    given = given.reshape(-1, 1)
    if not steps or int(given.min()) < 0 or int(given.max()) > steps:
        return None
    return torch.arange(steps, device=given.device) < given


def _flags(part: Any, name: str | None = None) -> Tensor | None:
    """Return an input as flags (n, positions); None if it is no mask of positions.

    Raises:
        InputError: an input that is called as masks are holds other values than a mask.
    """
    given = _tensor(part)
    axes = [size for size in given.shape[1:] if size != 1]
    pixels = name is None or "attention" not in name  # (L, L) says who attends to whom
    if len(axes) > (2 if pixels else 1) or given.ndim < 2:
        return None
    given = given.flatten(1)
    if given.dtype == torch.bool:
        return given
    whole = not given.is_floating_point() or bool((given == given.round()).all())
    if whole and bool((given >= 0).all()) and (name is not None or bool((given <= 1).all())):
        return given != 0
    if name is None:
        return None
    raise InputError(
        f"the inputs {name} hold other values than 0 and 1, so that they do not say which positions"
        " count; name another input with --mask, or none"
    )
