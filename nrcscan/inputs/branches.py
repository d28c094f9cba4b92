"""Which layers lead past others: told from what every value depends on, wherever a network runs."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Surroundings:
    """Where a call of a layer stands among the others of a pass.

    Attributes:
        shortcut: whether it leads past the main branch of its block.
        on_inputs: whether no layer made what it reads; in the end, whether that is the network's
            inputs, just as they are given.
        beside: how large what its outputs are added to is, a root mean square for each, shape
            (out,): its bias, another branch, or both. None where nothing is known to be added.
    """

    shortcut: bool = False
    on_inputs: bool = True
    beside: Tensor | None = None


class Branches:
    """Follows which layers' calls values depend on, and finds the shortcuts among these calls.

    What a value depends on is a set of bits, an int: one for each source and each call. Where two
    values are added, each is the end of a branch of the calls that only it depends on. A branch of
    one call is a shortcut if the other has calls that follow one another, of which one begins from
    the same values as the shortcut. So branches as long as each other are none, nor is what is put
    side by side or multiplied, nor what begins elsewhere, such as at another input.
    """

    def __init__(self) -> None:
        self._read: dict[int, int] = {}
        self._bits = 0
        self._calls = 0
        self._shortcuts = 0

    def source(self) -> int:
        """Return what an input of the network depends on: itself."""
        self._bits += 1
        return 1 << self._bits

    def call(self, read: int) -> int:
        """Return the bit of one more call of a layer, which reads what depends on these."""
        bit = self.source()
        self._read[bit] = read
        self._calls |= bit
        return bit

    def add(self, one: int, other: int) -> None:
        """Take note of an addition of what depends on these."""
        for past, main in ((one & ~other, other & ~one), (other & ~one, one & ~other)):
            alone, longer = past & self._calls, main & self._calls
            if alone.bit_count() == 1 and self._leads_past(self._read[alone], longer):
                self._shortcuts |= alone

    def around(self, call: int, beside: Tensor | None) -> Surroundings:
        """Return where a call stands, once all have been seen."""
        shortcut = bool(call & self._shortcuts)
        return Surroundings(shortcut, not self._read[call] & self._calls, beside)

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
