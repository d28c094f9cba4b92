"""The user's code that ran for a result, and whether the same code would run now.

Code is known by the names of its modules: what counts is what they would be imported from now, be
that another place or another file that has come before it. Nothing here imports what it looks at.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nrcscan.errors import InputError
from nrcscan.files import open_safely
from nrcscan.inputs.check_first import is_code
from nrcscan.inputs.module_files import is_library, module_file
from nrcscan.inputs.user_code import is_script, where_of
from nrcscan.options.pass_options import PassOptions

Sources = Mapping[str, str]
"""Module → SHA-256 of its file; the file's path, where its name does not lead there."""


def search_path(data: Any, settings: PassOptions) -> list[str]:
    """Return where a worker looks for modules, in order, before it has run any code.

    Args:
        data: as `nrcscan.scan` takes it, which can be code.
        settings: of the pass, which name code and the folder that is added for imports.
    """
    added = [] if settings["pythonpath"] is None else [Path(settings["pythonpath"])]
    for spec in specs_of(data, settings["factory"]):
        where = where_of(spec)
        added.append(Path(where).parent if where.endswith(".py") else Path.cwd())
    return [*(entry for entry in sys.path if entry), *(str(path.resolve()) for path in added)]


def specs_of(data: Any, factory: Any) -> list[str]:
    """Return what names the user's code: that of the network, then that of the data."""
    return [spec for spec in (factory, data) if is_code(spec) or is_script(spec)]


class SourceCode:
    """What is known of the user's code; every file is looked at once.

    Attributes:
        search: where modules are looked for, in order.
    """

    def __init__(self, search: Sequence[str]) -> None:
        self.search = search
        self._now: dict[str, str | None] = {}
        self._then: dict[str, str] = {}

    def in_use(self) -> dict[str, str]:
        """Return what has been imported by now, of code that belongs to no library."""
        for name, module in list(sys.modules.items()):
            # What other code puts in there need not be a module.
            file = getattr(module, "__dict__", {}).get("__file__")
            if not isinstance(file, str) or name in self._then or is_library(file):
                continue
            found = module_file(name, self.search)
            known = found is not None and found.resolve() == Path(file).resolve()
            self._then.setdefault(name if known else str(Path(file).resolve()), _sha256(Path(file)))
        return dict(self._then)

    def is_same(self, sources: Sources) -> bool:
        """Whether the same would be imported now."""
        return all(self._sha256_now(source) == then for source, then in sources.items())

    def _sha256_now(self, source: str) -> str | None:
        if source not in self._now:
            file = Path(source) if "/" in source else module_file(source, self.search)
            self._now[source] = None if file is None else _sha256(file)
        return self._now[source]


def _sha256(file: Path) -> str:
    """Return the SHA-256 of a file; of one that is gone or cannot be read, what no other has."""
    try:
        return open_safely.sha256(file)
    except InputError:
        return f"unreadable: {secrets.token_hex(8)}"
