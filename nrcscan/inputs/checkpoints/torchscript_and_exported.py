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

WORDS = {"torchscript": "a TorchScript program", "exported": "an exported program (.pt2)"}


def read_program(path: Path, kind: str, *, trust: bool) -> Contents:
    """Read a program: "torchscript" or "exported".

    Raises:
        UnsafeError: it is not trusted.
        InputError: it is damaged.
    """
    if not trust:
        wanted = wanted_globals(path)
        asks = f" and asks for {listed(wanted)}" if wanted else ""
        raise UnsafeError(
            f"{path}: not opened, because it is {WORDS[kind]}, which can run code as it loads"
            f"{asks}; save the network's state_dict() and name it with --model, or use --trust if"
            " you know where the file comes from"
        )
    fixed_batch = None
    try:
        if kind == "torchscript":
            module: nn.Module = torch.jit.load(str(path), map_location="cpu")
        else:
            program = torch.export.load(str(path))
            module, fixed_batch = program.module(), _fixed_batch(program)
        state = dict(module.state_dict())
    except Exception as error:  # a damaged program fails in its own way
        raise damaged(path, error) from error
    return Contents(
        path,
        kind,
        open_safely.sha256(path),
        {"": state},
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
