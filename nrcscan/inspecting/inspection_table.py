"""What `nrcscan inspect` shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from nrcscan.wording import printable

if TYPE_CHECKING:  # inspecting needs torch, reporting must not
    from nrcscan.inspecting.inspect_checkpoint import Inspection


def inspection(found: Inspection) -> RenderableType:
    """Return what `nrcscan inspect` shows."""
    network = found.network or f"not inferred: {found.problem}"
    taken = f"the state dict under {found.state_key!r}" if found.state_key else "the whole file"
    if found.state_key is None:
        taken, network = "undecided", str(found.problem)
    facts = {
        "folder": found.folder or "",
        "file": f"{found.path} ({found.size / 1e6:,.1f} MB)",
        "format": found.format_name,
        "sha256": found.sha256,
        "holds": ", ".join(f"{key}: {what}" for key, what in found.entries.items()),
        "taken": taken + (f", without the prefix {found.prefix!r}" if found.prefix else ""),
        "network": network,
    }
    if found.folder is None:
        del facts["folder"]
    if all(what.startswith("tensor ") for what in found.entries.values()):  # listed below
        del facts["holds"]
    grid = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in [*facts.items(), *(("note", note) for note in found.notes)]:
        grid.add_row(Text(name, style="bold"), Text(printable(value), overflow="fold"))
    tensors = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    tensors.add_column("tensor", overflow="fold")
    tensors.add_column("shape")
    tensors.add_column("dtype")
    for tensor in found.tensors:
        shape = " × ".join(map(str, tensor.shape)) or "scalar"
        tensors.add_row(Text(printable(tensor.name)), Text(shape), Text(printable(tensor.dtype)))
    return Group(grid, tensors) if found.tensors else grid
