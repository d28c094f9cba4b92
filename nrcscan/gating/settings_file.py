"""The file of settings of a project: where it is found, and what it gives a scan."""

from __future__ import annotations

import difflib
import stat
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from nrcscan.errors import InputError, UsageError
from nrcscan.files import open_safely
from nrcscan.files.read_toml import LARGEST, parse_toml
from nrcscan.options.check import check, plain
from nrcscan.options.gate_options import GateOptions
from nrcscan.options.option import Field, declared, nested
from nrcscan.options.record import code_within
from nrcscan.options.report_options import Thresholds
from nrcscan.options.scan_options import ScanOptions
from nrcscan.wording import listed, reason

FILE = "nrcscan.toml"
PROJECT = "pyproject.toml"
TABLE = "[tool.nrcscan]"
ROOT = ".git"
"""What lies in a project's root; nothing is looked for above it."""
DATA = "data"
"""The key of what is DATA, or --data, on the command line."""


def _by_key(*options: type) -> Mapping[str, Field]:
    """Return the options that a file may give, by their keys; thresholds one by one."""
    fields: dict[str, Field] = {}
    for one in (found for kind in options for found in declared(kind, many=True).values()):
        if (within := nested(one)) is not None:
            fields |= _by_key(within)
        elif one.flags:
            fields[one.key] = one
    return fields


FIELDS = _by_key(GateOptions, ScanOptions)
CODE = ("model", "run-script", "pythonpath", "cluster")
"""Keys of what runs code, as data does that is no file."""
KEYS = (DATA, *(key for key, one in FIELDS.items() if one.option.in_file))


@dataclass(frozen=True)
class ProjectSettings:
    """What a project's file of settings gives.

    Attributes:
        where: the file, and the table in it; None if there is none.
        data: what DATA or --data would be.
        values: option → its value; paths lead from the working folder.
        keys: those of the file, as it names them.
        folder: that the file is in.
    """

    where: str | None = None
    data: Any = None
    values: Mapping[str, Any] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    folder: Path | None = None

    def completed(self, options: ScanOptions, given: Set[str]) -> ScanOptions:
        """Return the options of a scan, those of the file where the command line gave none.

        Args:
            options: as the command line has them, with its defaults.
            given: names of what was given there, thresholds one by one.
        """
        own = {name: v for name, v in self.values.items() if name not in given}
        chosen = {**options, **{n: v for n, v in own.items() if n in declared(ScanOptions)}}
        judged = {name: value for name, value in own.items() if name in declared(Thresholds)}
        chosen["thresholds"] = replace(options.get("thresholds") or Thresholds(), **judged)
        return cast("ScanOptions", chosen)

    def require_no_code_of(self, scanned: Path, given: Set[str]) -> None:
        """Refuse to run code that a folder names which is to be scanned, as data.

        Args:
            scanned: the folder.
            given: names of what was given on the command line, and counts in place of the file's.

        Raises:
            UsageError: the folder that is scanned has a file of settings that names code.
        """
        if self.folder is None or not self.folder.resolve().is_relative_to(scanned.resolve()):
            return
        asked = [key for key in CODE if key in self.keys and FIELDS[key].name not in given]
        if isinstance(self.data, str) and not {DATA, "data_factory"} & given:
            asked.append(DATA)
        if asked:
            raise UsageError(
                f"{self.where}: is in the folder that is scanned, and its {listed(asked)} would"
                " run code; give that on the command line if you know where the folder comes from"
            )

    def told(self, given: Set[str]) -> str | None:
        """Say which options of a scan come from the file; None if none does."""
        names = {key: DATA if key == DATA else FIELDS[key].name for key in self.keys}
        known = {*declared(GateOptions), *given}
        if "data_factory" in given:
            known.add(DATA)
        own = [key for key, name in names.items() if name not in known]
        return f"settings from {self.where}: {listed(own)}" if own else None


def find_settings(folder: str | Path = ".") -> ProjectSettings:
    """Find a project's settings: those of a folder, or of the nearest one above that has some.

    They are in `nrcscan.toml`, or in a table `[tool.nrcscan]` of `pyproject.toml`. Nothing is
    looked for above a folder with `.git`, nor in one that is another owner's, or that all may
    write to: what lies there is not the project's.

    Raises:
        UsageError: the settings are in two places, or not by the names that settings have, or
            there is no such folder.
    """
    if not open_safely.is_folder(Path(folder)):
        raise UsageError(f"{folder}: no such folder; check the path")
    for place in _upwards(Path(folder)):
        where, found = _configured(place)
        if where is not None:
            return _read(where, found, place)
    return ProjectSettings()


def _upwards(start: Path) -> Iterator[Path]:
    """Yield a folder, and those above it that are its project's."""
    yield start
    whole = start.resolve()
    owner = whole.stat().st_uid
    for folder, above in zip((whole, *whole.parents), whole.parents, strict=False):
        status = above.stat()
        if (folder / ROOT).exists() or status.st_uid != owner or status.st_mode & stat.S_IWOTH:
            return
        yield above


def _read(where: str, found: Mapping[str, Any], folder: Path) -> ProjectSettings:
    """Return settings checked as the command line's are.

    Raises:
        UsageError: a key or value is none that a setting has.
    """
    for key in found:
        _require_key(key, where)
    values = {
        FIELDS[key].name: _value(FIELDS[key], value, f"{where}: {key}", folder)
        for key, value in found.items()
        if key != DATA
    }
    data = _data(found[DATA], where, folder) if DATA in found else None
    return ProjectSettings(where, data, values, tuple(found), folder)


def _require_key(key: str, where: str) -> None:
    """Refuse a key that no setting has.

    Raises:
        UsageError: the file of settings has a key that is none, or that it may not have.
    """
    if key in KEYS:
        return
    if key in FIELDS:
        raise UsageError(
            f"{where}: {key} is not for a file that is found by itself; give {FIELDS[key].flag} on"
            " the command line"
        )
    near = difflib.get_close_matches(key.replace("_", "-"), KEYS, n=1)
    raise UsageError(f"{where}: unknown key {key}; choose among {listed(near or KEYS)}")


def _value(of: Field, value: Any, where: str, folder: Path) -> Any:
    """Return an option's value; what it names is found from the file's folder.

    Raises:
        UsageError: it is none.
    """
    if of.name == "require" and not isinstance(value, list):
        raise UsageError(f"{where} is not a list of rules; write require = ['model.r2 >= 0.9']")
    checked = check(of, value, where)
    if of.is_path and isinstance(checked, str):
        return str(folder / checked)
    return code_within(folder, checked) if of.is_code else checked


def _data(value: Any, where: str, folder: Path) -> Any:
    """Return what data is named, found from the file's folder.

    Raises:
        UsageError: it names no data.
    """
    names = [value] if isinstance(value, str) else plain(value)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise UsageError(f"{where}: {DATA} is not a path or two; write {DATA} = 'data.npz'")
    paths = [folder / name for name in names]
    if len(names) == 1 and ":" in names[0] and not open_safely.is_there(paths[0]):
        return code_within(folder, names[0])
    return paths


def _configured(folder: Path) -> tuple[str | None, dict[str, Any]]:
    """Return the file of a folder that holds settings, and these.

    Raises:
        UsageError: the settings are in two places, in no table, or in one where none belongs.
    """
    own, project = folder / FILE, folder / PROJECT
    tables = {}
    if open_safely.is_there(own):
        tables[str(own)] = _toml(own)
        if "tool" in tables[str(own)]:
            raise UsageError(f"{own}: keys need no table here; leave out the line {TABLE}")
    if open_safely.is_there(project):
        tool = _toml(project).get("tool", {})
        if isinstance(tool, dict) and "nrcscan" in tool:
            tables[f"{project} {TABLE}"] = tool["nrcscan"]
    if len(tables) == 2:
        raise UsageError(f"{own}: {PROJECT} has a table {TABLE} too; keep one of the two")
    for where, found in tables.items():
        if not isinstance(found, dict):
            raise UsageError(f"{where}: not a table; write one with keys such as require, {DATA}")
        return where, found
    return None, {}


def _toml(path: Path) -> dict[str, Any]:
    """Return what a file of settings holds.

    Raises:
        UsageError: the file of settings cannot be read, and it may have rules.
    """
    try:
        return parse_toml(open_safely.content(path, "settings", LARGEST))
    except InputError as error:
        raise UsageError(f"{error}; mend it, as rules may be in it") from error
    except ValueError as error:
        raise UsageError(
            f"{path}: not TOML: {reason(error)}; mend it, as rules may be in it"
        ) from error
