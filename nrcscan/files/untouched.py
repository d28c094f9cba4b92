"""Files that must stay as they are while code of the user's runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from nrcscan.errors import InputError
from nrcscan.files import open_safely


class Untouched:
    """Knows files by their content, and says if it is another now.

    Args:
        paths: files, and folders with all that is in them.

    Raises:
        InputError: one cannot be read.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = list(paths)
        self._known = self._now()

    def check(self) -> None:
        """Refuse to go on where a file has changed.

        Raises:
            InputError: importing or calling the code has changed an input.
        """
        now = self._now()
        for path, content in self._known.items():
            if now.get(path) != content:
                what = "was written to" if path in now else "was removed"
                raise InputError(
                    f"{path}: {what} while your code ran, so nothing is measured; restore it, and"
                    ' put what writes it under if __name__ == "__main__"'
                )

    def _now(self) -> dict[Path, str]:
        found = {}
        for path in self._paths:
            inside = sorted(path.rglob("*")) if path.is_dir() else [path]
            found.update({file: open_safely.sha256(file) for file in inside if file.is_file()})
        return found
