"""What stands in a pickle's content where it asks for a class or a function that is no data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any


class PickleRefused(Exception):
    """A pickle does what no file of data does; the message says what."""


class PickleDamaged(PickleRefused):
    """A pickle, or the archive that it is in, is cut short or out of order."""


class Placeholder:
    """A class, function or object that a pickle names, with what it would have been made of.

    Nothing is imported for it and nothing in it can be called. It is equal to itself alone.

    Attributes:
        name: of the class or function, "package.module.Class".
        args: what it would have been called with; None where it is only named.
        kwargs: likewise, by name.
        state: what its `__setstate__`, or its `__dict__`, would have got.
        items: what would have been appended to it.
        entries: what would have been set in it, as in a dict.
    """

    __slots__ = ("args", "entries", "items", "kwargs", "name", "state")

    def __init__(
        self,
        name: str,
        args: tuple[Any, ...] | None = None,
        kwargs: Mapping[Any, Any] | None = None,
    ) -> None:
        self.name = name
        self.args = args
        self.kwargs: dict[Any, Any] = dict(kwargs or {})
        self.state: Any = None
        self.items: list[Any] = []
        self.entries: dict[Any, Any] = {}

    def __repr__(self) -> str:
        return f"<{self.name}, not built>"

    @property
    def attributes(self) -> dict[str, Any]:
        """What the object's attributes would be, as far as its state says: a dict of them."""
        parts = self.state if isinstance(self.state, tuple) else (self.state,)
        return {
            name: value
            for part in parts
            if isinstance(part, dict)
            for name, value in part.items()
            if isinstance(name, str)
        }

    def parts(self) -> Iterator[Any]:
        """Yield all that it holds."""
        yield from self.args or ()
        yield from self.kwargs.values()
        yield self.state
        yield from self.items
        for pair in self.entries.items():
            yield from pair


class Known(Placeholder):
    """A class or function that is data to make, by a function of our own.

    Attributes:
        make: what makes it, of the arguments in the pickle.
        is_class: whether it is a class, which may be made without calling it.
    """

    __slots__ = ("is_class", "make")

    def __init__(self, name: str, make: Callable[..., Any], *, is_class: bool) -> None:
        super().__init__(name)
        self.make = make
        self.is_class = is_class


class Unreadable(Placeholder):
    """A tensor whose values are not to be had.

    Attributes:
        problem: what is wrong with it and what to do, to follow its name.
    """

    __slots__ = ("problem",)

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, ())
        self.problem = problem
