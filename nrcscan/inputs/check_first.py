"""What is checked of a call before torch is imported: paths, and the user's code by its text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nrcscan.errors import UsageError
from nrcscan.files import open_safely
from nrcscan.files.untouched import Untouched
from nrcscan.inputs.checkpoints.recognise import parts_beside, recognise
from nrcscan.inputs.forms import CheckpointForm
from nrcscan.inputs.user_code import is_script, require_definitions
from nrcscan.options.pass_options import PassOptions


def is_code(given: object) -> bool:
    """Whether this is "where:callable", rather than a path or a value."""
    return isinstance(given, str) and ":" in given and not open_safely.is_there(Path(given))


def paths_in(data: object) -> list[Path]:
    """Return the paths that data is given as; none if it is in memory or comes from code."""
    several = data if isinstance(data, list | tuple) else [data]
    paths = [Path(part) for part in several if isinstance(part, str | Path)]
    return [] if is_code(data) or len(paths) < len(several) else paths


def require_there(model: object, data: object, settings: PassOptions) -> None:
    """Look for everything that a call names: files, folders, and code, of which nothing runs.

    Args:
        model: a checkpoint's path; anything else is not looked at.
        data: as `nrcscan.extract` takes it.
        settings: of the pass.

    Raises:
        InputError: a file is missing, empty or cannot be read.
        UsageError: a folder does not exist, or the code that is named builds no network.
    """
    if isinstance(model, str | Path) and not open_safely.is_folder(Path(model)):
        open_safely.regular_file(Path(model), "checkpoint")
    for path in paths_in(data):
        if not open_safely.is_folder(path):
            open_safely.regular_file(path, "data")
    within = None
    if settings["pythonpath"] is not None:
        within = Path(settings["pythonpath"])
        if not open_safely.is_folder(within):
            raise UsageError(f"--pythonpath {within}: no such folder; check the path")
    if settings["scales"] is not None:
        open_safely.regular_file(Path(settings["scales"]), "statistics")
    factory, run_script = settings["factory"], settings["run_script"]
    if isinstance(factory, str):
        if is_script(factory) and not settings["trust"]:
            raise UsageError(
                f"--model {factory}: names nothing in it; write {factory}:NAME for what builds the"
                " network, or add --trust for a network that was pickled as this script ran"
            )
        require_definitions(factory, "--model", run_script=run_script, within=within)
    if isinstance(data, str) and is_code(data):
        require_definitions(data, "--data", run_script=run_script, within=within)


def needs_torch(data: object) -> bool:
    """Whether data is opened by torch, or by code that may import it."""
    paths = paths_in(data)
    if not paths:
        return True
    forms = [recognise(path) for path in paths if open_safely.is_regular(path)]
    return any(isinstance(form, CheckpointForm) and form.key == "torch" for form in forms)


def watched(model: object, data: object, settings: PassOptions) -> Untouched:
    """Return what knows the files under test, if code of the user's will run beside them."""
    runs = settings["factory"] is not None or settings["trust"] or is_code(data)
    if not runs:
        return Untouched([])
    return Untouched([*_files(model), *paths_in(data)])


def _files(model: object) -> Sequence[Path]:
    if not isinstance(model, str | Path):
        return []
    path = Path(model)
    parts = (
        [] if open_safely.is_folder(path) else [path.parent / name for name in parts_beside(path)]
    )
    return [path, *parts]
