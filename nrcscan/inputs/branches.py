"""Which layers lead past others: told from what every value depends on, wherever a network runs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class LeftOut:
    """What is joined after a tensor, and did not pass it.

    Attributes:
        calls: of layers of another branch, by number; none where it has none.
        apart: whether it begins elsewhere, such as at another input.
    """

    calls: tuple[int, ...]
    apart: bool


@dataclass(frozen=True)
class Reached:
    """What it takes for a tensor to be there.

    Attributes:
        calls: of layers that have to run, by number.
        others: what else acts by a weight and has to run, by number.
        left_out: by what a branch goes on that this tensor lies in; None where it lies in none.
    """

    calls: tuple[int, ...]
    others: tuple[int, ...]
    left_out: LeftOut | None


@dataclass(frozen=True)
class Surroundings:
    """Where a call of a layer stands among the others of a pass.

    Attributes:
        shortcut: whether it leads past the main branch of its block.
        on_inputs: whether no layer made what it reads; in the end, whether that is the network's
            inputs, just as they are given.
        beside: how large what its outputs are added to is, a root mean square for each, shape
            (out,): its bias, another branch, or both. None where nothing is known to be added.
        reached: what it takes for the tensor that it reads to be there; None where not known.
    """

    shortcut: bool = False
    on_inputs: bool = True
    beside: Tensor | None = None
    reached: Reached | None = None


class Value(NamedTuple):
    """What a value depends on, as bits.

    Attributes:
        on: all that had a part in it.
        parts: what it is made of directly: sources and what calls have made, past no other call.
    """

    on: int
    parts: int


class OtherUse(NamedTuple):
    """An operation that acts by weights and is no layer that is measured.

    Attributes:
        weights: (what tells it from others, its numbers) of each.
        multiply_adds: of all samples; None where not known.
    """

    weights: tuple[tuple[Hashable, int], ...]
    multiply_adds: int | None


class Branches:
    """Follows which layers' calls values depend on: what leads past others, what is joined.

    What a value depends on is a set of bits, an int: one for each source and each call. Where two
    values are added, each is the end of a branch of the calls that only it depends on. A branch of
    one call is a shortcut if the other has calls that follow one another, of which one begins from
    the same values as the shortcut. So branches as long as each other are none, nor is what is put
    side by side or multiplied, nor what begins elsewhere, such as at another input.

    Beside it, a value has what it is made of directly, its parts: sources and calls' outputs that
    have come to it past all other calls. Where values are joined, in whatever way, a call in some
    of their branches lies inside these unless all their parts can be made from those of what it
    reads: cut there, the others are left out. So a branch's first call does not, if the others
    begin where it does.
    """

    def __init__(self) -> None:
        self._read: dict[int, int] = {}
        self._needs: dict[int, int] = {}
        self._others: dict[int, int] = {}
        """What else acts by weights → its number."""
        self._bits = 0
        self._calls = 0
        self._counted = 0
        self._parts: dict[int, int] = {}
        """Call, or what else acts by weights → the parts of what it reads."""
        self._can_make: dict[int, int] = {}
        """Call that lies in no branch so far → all that can be made from what it reads."""
        self._shortcuts = 0
        self._left_out: dict[int, LeftOut] = {}

    def source(self, *, chooses: bool = False) -> int:
        """Return what an input of the network depends on: itself.

        Args:
            chooses: whether it is a mask, which says what counts; cut off, nothing is left out.
        """
        return self._next(counted=not chooses)

    def call(self, read: int, reached: Value | None = None, *, itself: bool = False) -> int:
        """Return the bit of one more call of a layer.

        Args:
            read: what its operation reads depends on these.
            reached: what reaches this layer of it; None for all, as one part.
            itself: whether it reads what it makes, as a recurrence does.
        """
        needs, parts = reached or Value(read, read)
        bit = self._next()
        own = bit if itself else 0
        self._read[bit] = read
        self._calls |= bit
        self._act(bit, Value(needs | own, parts))
        made = parts & self._counted
        for before, read_parts in self._parts.items():  # itself among them, and those beside it
            if not read_parts & ~made:
                made |= before
        self._can_make[bit] = made
        return bit

    def other(self, reached: Value, number: int | None = None) -> int:
        """Return the bit of an operation with a weight that is no layer's: one more, or that."""
        bit = self._next()
        self._others[bit] = len(self._others) if number is None else number
        self._act(bit, reached)
        return bit

    def _act(self, bit: int, reached: Value) -> None:
        parts = reached.parts & self._counted
        self._needs[bit], self._parts[bit] = reached.on, parts
        for call, made in self._can_make.items():
            if not parts & ~made:
                self._can_make[call] = made | bit

    def add(self, one: int, other: int) -> None:
        """Take note of an addition of what depends on these."""
        for past, main in ((one & ~other, other & ~one), (other & ~one, one & ~other)):
            alone, longer = past & self._calls, main & self._calls
            if alone.bit_count() == 1 and self._leads_past(self._read[alone], longer):
                self._shortcuts |= alone

    def join(self, values: Sequence[Value]) -> None:
        """Take note of any operation on several values."""
        some, everywhere, parts = 0, self._calls, 0
        for one in values:
            some, everywhere, parts = some | one.on, everywhere & one.on, parts | one.parts
        for bit in _each(some & ~everywhere & self._calls):
            made = self._can_make.get(bit)
            if made is not None and (lacking := parts & self._counted & ~made):
                self._left_out[bit] = self._lacking(bit, lacking, made)
                del self._can_make[bit]

    def _lacking(self, call: int, lacking: int, made: int) -> LeftOut:
        """Return what cannot be made from what a call reads."""
        needs = self._needs[call] & self._counted
        past, begun, open_ = 0, lacking, lacking & ~needs
        for part in _each(lacking):
            begun |= self._needs.get(part, 0)
        while open_:
            past |= open_
            further = 0
            for part in _each(open_):
                further |= self._parts.get(part, 0)
            open_ = further & ~made & ~needs & ~past
        return LeftOut(self._numbers(past & self._calls), not begun & needs)

    def around(self, call: int, beside: Tensor | None) -> Surroundings:
        """Return where a call stands, once all have been seen."""
        shortcut = bool(call & self._shortcuts)
        return Surroundings(shortcut, not self._read[call] & self._calls, beside, self._to(call))

    def _to(self, call: int) -> Reached:
        needs = self._needs[call]
        others = (number for bit, number in self._others.items() if bit & needs)
        calls = self._numbers(needs & self._calls)
        return Reached(calls, tuple(others), self._left_out.get(call))

    def _numbers(self, calls: int) -> tuple[int, ...]:
        return tuple(number for number, bit in enumerate(self._read) if bit & calls)

    def _next(self, *, counted: bool = True) -> int:
        self._bits += 1
        bit = 1 << self._bits
        self._counted |= bit if counted else 0
        return bit

    def _leads_past(self, begin: int, longer: int) -> bool:
        """Say whether a branch from this beginning leads past calls that follow one another."""
        reads = [self._read[bit] for bit in _each(longer)]
        return begin in reads and any(read & longer for read in reads)


def _each(bits: int) -> list[int]:
    """Return the bits of a set, one by one.

    >>> _each(0b1010)
    [2, 8]
    """
    found = []
    while bits:
        found.append(bits & -bits)
        bits &= bits - 1
    return found
