"""A pickle machine of our own: it makes data, and placeholders of all else.

Python's own machine imports what a pickle names and calls what it imports. Keeping it from that
leaves other ways in: attributes of what is allowed, registered extensions, methods of types. This
one has no import, no look-up of attributes, and no call but of the functions in `known`, each of
which checks its own arguments. An operation that no file of data needs is refused.
"""

from __future__ import annotations

import mmap
import pickletools
import struct
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

from nrcscan.inputs.pickles.pickle_stack import PickleStack
from nrcscan.inputs.pickles.placeholder import Known, PickleDamaged, PickleRefused, Placeholder
from nrcscan.wording import reason

NEWEST_PROTOCOL = 5
_STOP = ord(".")
_EVERY_OPCODE = {ord(opcode.code) for opcode in pickletools.opcodes}
_LONGEST_NAME = 500

Pair = tuple[str, str]
"""A module and a name in it."""


class PickleMachine(PickleStack):
    """Reads the pickles in a buffer, one after another.

    Attributes:
        asked: every class and function asked for that is not known, "module.name".
        attributes: containers that the pickle gives attributes to, with these.
    """

    def __init__(
        self,
        buffer: bytes | mmap.mmap,
        known: Mapping[Pair, Any],
        persistent: Callable[[Any], Any] | None = None,
        position: int = 0,
        setters: Mapping[type, Callable[[Any, Any], None]] | None = None,
    ) -> None:
        """Set up a machine.

        Args:
            buffer: with the pickles.
            known: what names stand for: a `Known`, or a value that cannot be changed.
            persistent: gives what a persistent id stands for.
            position: of the first pickle.
            setters: give objects of known classes their state.
        """
        super().__init__(buffer, position)
        self.asked: set[str] = set()
        self.attributes: list[tuple[Any, Any]] = []
        self._known = known
        self._persistent = persistent
        self._setters = setters or {}
        self._protocol = 0

    def load(self) -> Any:
        """Return what the next pickle holds.

        Raises:
            PickleRefused: it does what no file of data does, or ends too early.
        """
        self._memo, self._marks, self._stack, self._protocol = {}, [], [], 0
        try:
            while (code := self._take(1)[0]) != _STOP:
                operation = _OPERATIONS.get(code)
                if operation is None and code not in _EVERY_OPCODE:
                    raise PickleDamaged(f"{bytes([code])!r} begins nothing that a pickle has")
                if operation is None:
                    raise PickleRefused(f"its pickle has {bytes([code])!r}, which data never needs")
                operation(self)
        except (LookupError, ValueError, TypeError, OverflowError, struct.error) as error:
            text = str(error) or type(error).__name__
            raise PickleDamaged(f"its pickle is out of order: {text}") from error
        if self._marks or len(self._stack) != 1:
            raise PickleDamaged("its pickle is out of order: it ends with more than one object")
        return self._stack.pop()

    # --- classes and functions ----------------------------------------------------------------

    def _global(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise PickleRefused("it asks for a class whose name is no text")
        if len(module) + len(name) > _LONGEST_NAME:
            raise PickleRefused("it asks for a class whose name has no end")
        if self._protocol < 3:
            module, name = NAME_MAPPING.get((module, name), (module, name))
            module = IMPORT_MAPPING.get(module, module)
        found = self._known.get((module, name))
        if found is None:
            self.asked.add(f"{module}.{name}")
            found = Placeholder(f"{module}.{name}")
        self._push(found)

    def _call(self, called: Any, args: Any, kwargs: Any = None, *, new: bool = False) -> None:
        if not isinstance(called, Placeholder) or type(args) is not tuple:
            raise PickleDamaged("its pickle is out of order: it calls what is no class")
        if not isinstance(called, Known):
            made: Any = Placeholder(called.name, args, kwargs)
        elif kwargs or (new and not called.is_class):
            raise PickleRefused(f"it makes {called.name} in an unknown way")
        else:
            try:
                made = called.make(*args)
            except PickleRefused:
                raise
            except Exception as error:  # whatever hostile arguments lead to
                raise PickleRefused(
                    f"{called.name} does not take what it gives ({reason(error)})"
                ) from error
        self._push(made)

    def _reduce(self) -> None:
        args = self._stack.pop()
        self._call(self._stack.pop(), args)

    def _new(self) -> None:
        args = self._stack.pop()
        self._call(self._stack.pop(), args, new=True)

    def _new_by_name(self) -> None:
        kwargs = self._stack.pop()
        args = self._stack.pop()
        if type(kwargs) is not dict:
            raise PickleDamaged("its pickle is out of order: arguments by name are no dict")
        self._call(self._stack.pop(), args, kwargs, new=True)

    def _instance(self) -> None:
        module, name = self._line().decode(), self._line().decode()
        args = self._since_mark()
        self._global(module, name)
        self._call(self._stack.pop(), tuple(args))

    def _object(self) -> None:
        called, *args = self._since_mark()
        self._call(called, tuple(args))

    def _build(self) -> None:
        state = self._stack.pop()
        built = self._stack[-1]
        setter = self._setters.get(type(built))
        if setter is not None:
            try:
                setter(built, state)
            except PickleRefused:
                raise
            except Exception as error:  # whatever a hostile state leads to
                raise PickleRefused(f"an array's state is out of order: {reason(error)}") from error
        elif isinstance(built, Known):
            raise PickleRefused(f"it changes {built.name} itself")
        elif isinstance(built, Placeholder):
            if built.state is not None:
                raise PickleRefused(f"it builds a {built.name} twice")
            built.state = state
        elif type(built) in (OrderedDict, dict, set, frozenset, list):
            self.attributes.append((built, state))  # of a dict: torch keeps versions there
        else:
            raise PickleRefused(f"it changes a {type(built).__name__}")

    def _persistent_id(self) -> None:
        if self._persistent is None:
            raise PickleRefused("it refers to what is outside of it")
        self._push(self._persistent(self._stack.pop()))

    # --- operations ---------------------------------------------------------------------------

    def _start(self) -> None:
        self._protocol = self._take(1)[0]
        if self._protocol > NEWEST_PROTOCOL:
            raise PickleRefused(f"its pickle is of protocol {self._protocol}, which is not known")

    def _frame(self) -> None:
        if self._number("Q") > len(self._buffer) - self.position:
            raise PickleDamaged("it ends in the middle of its pickle")

    def _global_of_lines(self) -> None:
        module, name = self._line().decode(), self._line().decode()
        self._global(module, name)

    def _global_of_stack(self) -> None:
        name = self._stack.pop()
        self._global(self._stack.pop(), name)

    def _whole_number(self) -> None:
        line = self._line()
        self._push({b"00": False, b"01": True}[line] if line in (b"00", b"01") else int(line))

    def _integer(self, data: bytes) -> None:
        self._push(int.from_bytes(data, "little", signed=True))

    def _text(self, data: bytes) -> None:
        self._push(data.decode("utf-8", "surrogatepass"))


_Operation = Callable[[PickleMachine], None]


def _pushing(take: Callable[[PickleMachine], Any]) -> _Operation:
    return lambda machine: machine._push(take(machine))


_OPERATIONS: dict[int, _Operation] = {
    ord(code): operation
    for code, operation in {
        # the frame of a pickle
        "\x80": PickleMachine._start,
        "\x95": PickleMachine._frame,
        "(": PickleMachine._mark,
        "0": PickleMachine._pop,
        "1": lambda machine: machine._drop_mark(),
        "2": _pushing(lambda machine: machine._stack[-1]),
        # numbers
        "N": _pushing(lambda _: None),
        "\x88": _pushing(lambda _: True),
        "\x89": _pushing(lambda _: False),
        "I": PickleMachine._whole_number,
        "L": _pushing(lambda machine: int(machine._line().rstrip(b"L"))),
        "F": _pushing(lambda machine: float(machine._line())),
        "J": _pushing(lambda machine: machine._number("i")),
        "K": _pushing(lambda machine: machine._number("B")),
        "M": _pushing(lambda machine: machine._number("H")),
        "G": _pushing(lambda machine: struct.unpack(">d", machine._take(8))[0]),
        "\x8a": lambda machine: machine._integer(machine._sized("B")),
        "\x8b": lambda machine: machine._integer(machine._sized("i")),
        # text and bytes; strings of Python 2 are either
        "V": _pushing(lambda machine: machine._line().decode("raw-unicode-escape")),
        "X": lambda machine: machine._text(machine._sized("I")),
        "\x8c": lambda machine: machine._text(machine._sized("B")),
        "\x8d": lambda machine: machine._text(machine._sized("Q")),
        "U": _pushing(lambda machine: machine._sized("B").decode("latin-1")),
        "T": _pushing(lambda machine: machine._sized("i").decode("latin-1")),
        "B": _pushing(lambda machine: machine._sized("I")),
        "C": _pushing(lambda machine: machine._sized("B")),
        "\x8e": _pushing(lambda machine: machine._sized("Q")),
        "\x96": _pushing(lambda machine: bytearray(machine._sized("Q"))),
        # containers
        ")": _pushing(lambda _: ()),
        "t": _pushing(lambda machine: tuple(machine._since_mark())),
        "\x85": lambda machine: machine._tuple(1),
        "\x86": lambda machine: machine._tuple(2),
        "\x87": lambda machine: machine._tuple(3),
        "]": _pushing(lambda _: []),
        "l": _pushing(lambda machine: machine._since_mark()),
        "a": PickleMachine._append,
        "e": lambda machine: machine._extend(machine._since_mark()),
        "}": _pushing(lambda _: {}),
        "d": PickleMachine._new_dict,
        "s": PickleMachine._set_one,
        "u": lambda machine: machine._set(machine._since_mark()),
        "\x8f": _pushing(lambda _: set()),
        "\x90": lambda machine: machine._add(machine._since_mark()),
        "\x91": PickleMachine._new_frozenset,
        # the memo
        "p": lambda machine: machine._put(int(machine._line())),
        "q": lambda machine: machine._put(machine._number("B")),
        "r": lambda machine: machine._put(machine._number("I")),
        "\x94": lambda machine: machine._put(len(machine._memo)),
        "g": _pushing(lambda machine: machine._memo[int(machine._line())]),
        "h": _pushing(lambda machine: machine._memo[machine._number("B")]),
        "j": _pushing(lambda machine: machine._memo[machine._number("I")]),
        # classes and functions
        "c": PickleMachine._global_of_lines,
        "\x93": PickleMachine._global_of_stack,
        "R": PickleMachine._reduce,
        "\x81": PickleMachine._new,
        "\x92": PickleMachine._new_by_name,
        "i": PickleMachine._instance,
        "o": PickleMachine._object,
        "b": PickleMachine._build,
        "Q": PickleMachine._persistent_id,
    }.items()
}
