"""Programs: TorchScript archives and exported programs, which can run code as they load."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from nrcscan.errors import UnsafeError
from nrcscan.files import open_safely
from nrcscan.inputs.checkpoints.contents import Contents, damaged
from nrcscan.inputs.checkpoints.pickle_globals import wanted_globals
from nrcscan.wording import listed


def read_torchscript(path: Path, *, trust: bool) -> Contents:
    """Read a TorchScript program.

    Raises:
        UnsafeError: the program has code of its own, and --trust is not given.
        InputError: it is damaged.
    """
    _require_trust(path, "a TorchScript program", trust=trust)
    try:
        module: nn.Module = torch.jit.load(str(path), map_location="cpu")
        return _contents(path, "torchscript", module, None)
    except Exception as error:  # a damaged program fails in its own way
        raise damaged(path, error) from error


def read_exported(path: Path, *, trust: bool) -> Contents:
    """Read an exported program.

    Raises:
        UnsafeError: the program has code of its own, and --trust is not given.
        InputError: it is damaged.
    """
    _require_trust(path, "an exported program (.pt2)", trust=trust)
    try:
        program = torch.export.load(str(path))
        return _contents(path, "exported", program.module(), _fixed_batch(program))
    except Exception as error:  # likewise
        raise damaged(path, error) from error


def _require_trust(path: Path, what: str, *, trust: bool) -> None:
    if not trust:
        wanted = wanted_globals(path)
        asks = f" and asks for {listed(wanted)}" if wanted else ""
        raise UnsafeError(
            f"{path}: not opened, because it is {what}, which can run code as it loads"
            f"{asks}; save the network's state_dict() and name it with --model, or use --trust if"
            " you know where the file comes from"
        )


def _contents(path: Path, key: str, module: nn.Module, fixed_batch: int | None) -> Contents:
    return Contents(
        path,
        key,
        open_safely.sha256(path),
        {"": dict(module.state_dict())},
        {},
        ordered=True,
        modules={"": module},
        fixed_batch=fixed_batch,
    )


def _fixed_batch(program: torch.export.ExportedProgram) -> int | None:
    """Return the number of samples that a program was exported for, if it takes no other."""
    inputs = set(program.graph_signature.user_inputs)
    first = next(n for n in program.graph.nodes if n.op == "placeholder" and n.name in inputs)
    shape = first.meta["val"].shape
    return shape[0] if len(shape) > 0 and isinstance(shape[0], int) else None
