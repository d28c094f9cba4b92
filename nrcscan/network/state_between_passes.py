"""Whether a network keeps something from one pass to the next, and so must run in one thread."""

from __future__ import annotations

from typing import Any

from torch import nn

ModuleState = list[tuple[int, str, int, int]]


def state_of(model: nn.Module) -> ModuleState:
    """Return what a network's modules hold right now, to be compared with a later look.

    An attribute is told by which object it is, and a container by its length too: what a pass
    replaces or adds shows. What it writes into a tensor in place does not.
    """
    found: ModuleState = []
    for number, module in enumerate(model.modules()):
        values: dict[str, Any] = {**vars(module), **getattr(module, "_buffers", {})}
        for name, value in values.items():
            size = len(value) if isinstance(value, list | dict | set) else 0
            found.append((number, name, id(value), size))
    return found
