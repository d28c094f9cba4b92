"""The forms of file that a cut network is written in, by the endings of their names."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nrcscan.errors import UsageError
from nrcscan.extras import to_install
from nrcscan.files import write_atomically
from nrcscan.wording import listed


@dataclass(frozen=True)
class CutForm:
    """A form of file.

    Attributes:
        name: what it is called.
        endings: of file names, by which it is chosen.
        beside: the ending of a second file, if there is one.
        needs: packages that write it, beside torch.
    """

    name: str
    endings: tuple[str, ...]
    beside: str | None = None
    needs: tuple[str, ...] = ()

    def paths(self, output: Path) -> tuple[Path, ...]:
        """Return every file that is written."""
        return (output,) if self.beside is None else (output, output.with_suffix(self.beside))


STATE = CutForm("a state dict with its factory", (".pt",), beside=".py")
TORCHSCRIPT = CutForm("TorchScript", (".ts", ".torchscript"))
ONNX = CutForm("ONNX", (".onnx",), needs=("onnx", "onnxruntime", "onnxscript"))
CUT_FORMS = (STATE, TORCHSCRIPT, ONNX)


def form_of(output: Path) -> CutForm:
    """Return the form that a file's name asks for.

    Raises:
        UsageError: it ends in none that is known, or what writes that form is not installed.
    """
    form = next((one for one in CUT_FORMS if output.name.lower().endswith(one.endings)), None)
    if form is None:
        told = listed([f"{listed(one.endings, 'or')} ({one.name})" for one in CUT_FORMS], "or")
        raise UsageError(f"{output}: a cut network is written as {told}; give such a name with -o")
    missing = [name for name in form.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{output}: a cut network in this form needs {listed(missing)}; {to_install('cut')}"
        )
    return form


def writable_form(output: Path, inputs: Iterable[str | Path], *, force: bool) -> CutForm:
    """Return the form that a file's name asks for, once it is known that it can be written.

    Args:
        output: the file.
        inputs: files that are read.
        force: replace what is there.

    Raises:
        UsageError: there is no such form, or something is there that is not to be replaced.
        OutputError: the folder is missing, full, or cannot be written to.
    """
    form, named = form_of(output), list(inputs)
    for one in form.paths(output):
        write_atomically.require_apart(one, named)
        write_atomically.require_free(one, force=force)
    return form
