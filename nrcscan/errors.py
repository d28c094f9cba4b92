"""Errors a user can cause: each message says what happened, where, and what to do about it."""

from typing import ClassVar

from nrcscan.wording import printable


class NrcscanError(Exception):
    """Base of every error that nrcscan raises on purpose; the message is one line."""

    exit_code: ClassVar[int] = 3

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class UsageError(NrcscanError):
    """The call itself is wrong: an option's value, or an output that already exists."""

    exit_code = 2


class InputError(NrcscanError):
    """An input cannot be read or used."""


class NoNetworkError(InputError):
    """A file is a checkpoint, but of something else than a network."""


class UnsafeError(InputError):
    """An input wants to run code when it is opened, and was not opened."""


class NothingError(NrcscanError):
    """There is nothing to scan."""

    exit_code = 4


class OutputError(NrcscanError):
    """A result cannot be written."""
