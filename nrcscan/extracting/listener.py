"""Who hears how an extraction goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Listener:
    """Hears of an extraction while it runs; by default nobody does.

    Attributes:
        note: called with every note as it comes up.
        progress: called with samples done, and in all if known, after every batch; each pass over
            the data counts them once more.
        measured: called when all is measured and nothing has been written; what it raises keeps
            it so.
        space: called with how much of the disk features take that are to stay there.
    """

    note: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int | None], None] = lambda done, total: None
    measured: Callable[[], None] = lambda: None
    space: Callable[[str], None] = lambda text: None

    def keeping(self, notes: list[str]) -> Callable[[str], None]:
        """Return what takes a note, keeps it among these, and passes it on."""

        def note(text: str) -> None:
            notes.append(text)
            self.note(text)

        return note


SILENT = Listener()
