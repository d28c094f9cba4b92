"""Which positions of a layer a mask is for: by their number, or by what reaches them.

Where the numbers differ, or several masks fit, what lies in the padding is changed for a few
samples: the positions of a layer that this changes are padding, and none else may be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from nrcscan.errors import InputError, NrcscanError
from nrcscan.inputs.arrays import Inputs
from nrcscan.network.call import Call
from nrcscan.network.features_from_tensor import Layout, Placed, placed
from nrcscan.network.forward import Forward
from nrcscan.network.masks import MaskUse, at_positions
from nrcscan.network.trials import ProbeRun, Watched, alike, tried
from nrcscan.wording import listed

_What = Literal["padding", "all"]


class MaskNotPlacedError(Exception):
    """Which positions of a layer a mask is for cannot be told; how many there are is."""


class PaddingReach:
    """Says which mask each layer's positions have.

    Args:
        run: the network; its choice of masks learns what those of unknown names say.
        watched: its weights.
        inputs: a few samples, as the network takes them.
        first: its run on these.
        batch: the first batch of inputs.
        note: called with what the user should know.
    """

    def __init__(
        self,
        run: Forward,
        watched: Watched,
        inputs: Any,
        first: ProbeRun,
        batch: Inputs,
        note: Callable[[str], None],
    ) -> None:
        self._run, self._watched, self._inputs, self._first = run, watched, inputs, first
        self._named, self._batch, self._note = run.named(inputs), run.named(batch), note
        self._keeps = run.masks.of(self._named)
        self._whole = {name: bool(k.all()) for name, k in run.masks.of(self._batch).items()}
        self._unsure = run.masks.unsure(self._batch) if not self._keeps else {}
        self._trials: dict[tuple[str, str], ProbeRun | None] = {}
        self._bare = False
        self.required: dict[str, str] = {}
        """Mask that counted everything so far → a layer that it could not be applied to."""

    @property
    def keeps(self) -> dict[str, Tensor]:
        """What the masks say of the few samples."""
        return self._keeps

    def use(self, index: int, call: Call, layout: Layout) -> MaskUse | None:
        """Return what says which positions of a call's features count; None where all do.

        Args:
            index: of the call in the first run.
            call: the call.
            layout: where the samples are.

        Raises:
            MaskNotPlacedError: a mask leaves positions out, and it cannot be told which.
            InputError: an input may be a mask, and what it says cannot be told.
        """
        reached = self._placed(self._first, index, layout)
        if not reached.positions or self._run.pool == "flatten":
            return None
        self._learn(math.prod(reached.positions))
        if not self._keeps:
            self._bare = True
            return None
        fitting = [use for name in self._keeps for use in self._by_number(name, reached)]
        if len(self._keeps) == 1 and fitting:
            return fitting[0]
        if all(self._whole.values()):
            if len(fitting) == 1:
                return fitting[0]
            self.required.update(dict.fromkeys(self._keeps, call.name))
            return None
        told = [name for name in self._keeps if self._depends(name, index, layout)]
        if not told:
            return None
        fitting = [use for use in fitting if use.name in told]
        if len(fitting) == 1:
            return fitting[0]
        tested = [
            use
            for use in fitting or [u for name in told for u in self._guesses(name, reached)]
            if self._confirmed(use, index, layout)
        ]
        if tested and all(self._same(use, tested[0], reached) for use in tested[1:]):
            return self._without_zeros(tested[0], reached)
        positions = math.prod(reached.positions)
        there = listed(f"{name} has {self._keeps[name].shape[1]}" for name in told)
        raise MaskNotPlacedError(f"{positions} positions where {there}")

    def note_unused(self) -> None:
        """Say which inputs seem to be masks and are none, where all positions count."""
        for name in self._run.masks.unused(self._batch) if self._bare else ():
            shape = tuple(self._named[name].shape[1:])
            self._note(
                f"{name}, of shape {shape} per sample, does not say which positions of any layer"
                " count: all do"
            )

    def _by_number(self, name: str, reached: Placed) -> Iterator[MaskUse]:
        """Yield how a mask can be for a layer of as many positions, or with as many frames."""
        length, positions = self._keeps[name].shape[1], math.prod(reached.positions)
        if length == positions:
            yield MaskUse(name)
        elif length == reached.positions[0] > 1:
            yield MaskUse(name, each=positions // length)

    def _guesses(self, name: str, reached: Placed) -> Iterator[MaskUse]:
        """Yield how a mask could be for a layer of other positions, which is then tested."""
        over = math.prod(reached.positions) - self._keeps[name].shape[1]
        if over <= 0:
            yield MaskUse(name)
            return
        for front in dict.fromkeys((over, 0, over // 2)):
            yield MaskUse(name, front=front, back=over - front)

    def _without_zeros(self, use: MaskUse, reached: Placed) -> MaskUse:
        """Return a use where zeros at the ends, as a convolution is padded with, do not count."""
        rows = reached.features.movedim(reached.channel_axis, -1).flatten(1, -2)
        ends = (rows[:, : use.front], rows[:, rows.shape[1] - use.back :])
        zeros = use.front + use.back > 0 and not any(bool(end.any()) for end in ends)
        return use._replace(zeros=zeros)

    def _same(self, use: MaskUse, other: MaskUse, reached: Placed) -> bool:
        positions = math.prod(reached.positions)
        one, two = (u.applied(self._keeps[u.name], positions) for u in (use, other))
        return torch.equal(one, two)

    def _confirmed(self, use: MaskUse, index: int, layout: Layout) -> bool:
        """Whether just those positions are padding that a mask leaves out."""
        reached = self._placed(self._first, index, layout)
        try:
            keep = use.applied(self._keeps[use.name], math.prod(reached.positions))
        except RuntimeError:
            return False
        changed = self._changed(use.name, "padding", index, layout)
        if changed is not None and bool(changed.any()):
            return torch.equal(changed, ~keep)
        rows = reached.features.movedim(reached.channel_axis, -1).flatten(1, -2)
        padding, real = rows[~keep], rows[keep]
        # What a network sets to zero, and whatever comes of a zero, is alike everywhere.
        return (
            len(padding) > 1
            and alike(padding, padding[:1].expand_as(padding))
            and not bool((real == padding[:1]).all(dim=1).any())
        )

    def _depends(self, name: str, index: int, layout: Layout) -> bool:
        """Whether anything reaches a layer of what a mask is about."""
        changed = self._changed(name, "all", index, layout)
        return changed is None or bool(changed.any())

    def _changed(self, name: str, what: _What, index: int, layout: Layout) -> Tensor | None:
        """Return which positions change with the inputs (n, positions); None if not known."""
        if (name, what) not in self._trials:
            where = ~self._keeps[name] if what == "padding" else torch.ones_like(self._keeps[name])
            self._trials[name, what] = self._with_changed(name, where)
        trial = self._trials[name, what]
        if trial is None or trial.calls[index][1].shape != self._first.calls[index][1].shape:
            return None
        before, after = (self._placed(t, index, layout) for t in (self._first, trial))
        off = (before.features - after.features).abs().nan_to_num()
        off = off.movedim(before.channel_axis, -1).flatten(1, -2).amax(dim=-1)
        return off > 1e-5 * float(before.features.abs().nan_to_num().max())

    def _with_changed(self, name: str, where: Tensor) -> ProbeRun | None:
        """Return a run with other inputs where flags (n, positions) say so; None if it fails."""
        about = self._run.masks.content(self._named, name, where.shape[1])
        if not about:
            return None
        values = {
            key: _changed(part, at_positions(where, part)) if key in about else part
            for key, part in self._named.items()
        }
        inputs = tuple(values.values()) if isinstance(self._inputs, tuple) else values
        try:
            trial = tried(self._run, self._watched, inputs)
        except NrcscanError:
            return None
        return trial if trial.names == self._first.names else None

    def _placed(self, trial: ProbeRun, index: int, layout: Layout) -> Placed:
        call, features = trial.calls[index]
        n = len(next(iter(self._named.values())))
        return placed(features, call.channel_axis, layout, n)

    def _learn(self, positions: int) -> None:
        """Find out what inputs say whose names leave it open: the predictions tell.

        Raises:
            InputError: an input of zeros and ones is as long as a layer has positions, and is not
                called as masks are.
        """
        for name, flags in list(self._unsure.items()):
            says = self._said(name, flags)
            if says is None and flags.shape[1] != positions:
                continue  # what it is for, if anything, shows at another layer
            del self._unsure[name]
            if says is None and not self._run.masks.called_mask(name):
                continue
            if says is None:
                raise InputError(
                    f"the inputs {name} may be a mask, and whether 1 counts or is padding cannot be"
                    f" told; use --mask {name} if it counts, --mask '~{name}' if it is padding,"
                    " --mask none if it is neither"
                )
            self._run.masks.learned[name] = "padding" if says == 1 else "counts"
            of = "is padding" if says == 1 else "counts"
            why = f"the predictions do not depend on what lies where it is {says}"
            if bool(flags.all()) or not bool(flags.any()):
                why = f"it is {1 - says} everywhere at first"
            self._note(f"{name} is taken for a mask where 1 {of}: {why}")
        if self._run.masks.learned and not self._keeps:
            self._keeps = self._run.masks.of(self._named)
            self._whole = {n: bool(k.all()) for n, k in self._run.masks.of(self._batch).items()}

    def _said(self, name: str, flags: Tensor) -> int | None:
        """Return which of 0 and 1 marks padding by what the predictions depend on; None if neither.

        What never varies counts everywhere: no sample is all padding.
        """
        if bool(flags.all()) or not bool(flags.any()):
            return int(not flags.any())
        here = self._run.masks.unsure(self._named).get(name)
        if here is None:
            return None
        without = []
        for value in (0, 1):
            trial = self._with_changed(name, here == bool(value))
            if trial is None:
                return None
            before, after = (self._run.output.joined(t.output) for t in (self._first, trial))
            if before.shape != after.shape or not before.numel():
                return None
            if bool(((before - after).abs() <= 1e-5 * before.abs().max()).all()):
                without.append(value)
        return without[0] if len(without) == 1 else None


def _changed(part: Tensor, where: Tensor) -> Tensor:
    """Return an input with other numbers, such as it holds elsewhere, where flags say so."""
    if part.is_floating_point():
        noise = torch.randn(part.shape, generator=torch.Generator().manual_seed(0))
        spread = float(part.float().std()) or 1.0
        return torch.where(where, part + (spread * noise).to(part), part)
    seen, at = part.unique(return_inverse=True)
    return torch.where(where, seen[(at + 1) % len(seen)], part)
