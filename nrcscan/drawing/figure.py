"""A drawing as a figure of matplotlib, and as the bytes of a file: the same every time."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nrcscan.drawing.look import RC
from nrcscan.drawing.shapes import Drawing, HeatMaps
from nrcscan.errors import UsageError
from nrcscan.extras import to_install
from nrcscan.files.write_atomically import require_free, write_bytes
from nrcscan.options.choices import Width

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NO_DATE: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".svg": {"Date": None, "Creator": None},
    ".png": {"Software": None},
}
"""Ending of a file → what is not written into it: when and by which version it was made."""

BEGINS = (b"<", b"%PDF", b"\x89PNG")
"""What files of figures begin with."""

DPI = 200
"""Of figures in points."""


def require_drawable(path: Path | None, *, force: bool) -> None:
    """Refuse before any work is done if a figure could not be drawn, or written to `path`.

    Raises:
        UsageError: matplotlib is not installed, `path` has another ending than figures have, or
            something is there already that is not to be overwritten.
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    if path is not None:
        _require_form(path)
    _require_matplotlib()
    if path is not None:
        require_free(path, force=force)


def _require_form(path: Path) -> None:
    """Refuse a form that figures do not have.

    Raises:
        UsageError: a figure is written in the form that its name ends with.
    """
    if path.suffix.lower() not in NO_DATE:
        raise UsageError(f"{path}: is no name for a figure; end it with .pdf, .svg or .png")


def _require_matplotlib() -> None:
    """Refuse to draw without matplotlib.

    Raises:
        UsageError: matplotlib, which draws figures, is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise UsageError(f"a figure needs matplotlib; {to_install('plot')}") from error


def figure(drawing: Drawing | HeatMaps, width: Width) -> Figure:
    """Draw a figure, apart from pyplot and from what is set for it.

    Args:
        drawing: what is on it.
        width: how wide it is.
    """
    from nrcscan.drawing.canvas import Canvas
    from nrcscan.drawing.draw_heat_maps import draw_heat_maps
    from nrcscan.drawing.draw_panels import draw_panels

    with look():
        made = Canvas()
        if isinstance(drawing, Drawing):
            draw_panels(drawing, made, width)
        else:
            draw_heat_maps(drawing, made, width)
        made.draw_without_rendering()  # what is made late is made under these settings too
    return made


@contextmanager
def look() -> Iterator[None]:
    """Have matplotlib draw as figures look, whatever is set, and leave that as it was."""
    import matplotlib

    settings: Any = RC
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(settings)
        yield


def image(drawn: Figure, form: str, dpi: float = DPI) -> bytes:
    """Return a figure as a file has it.

    Args:
        drawn: it.
        form: a file's ending, such as ".pdf".
        dpi: points per inch, where it is made of points.
    """
    buffer = io.BytesIO()
    metadata: Any = NO_DATE[form]
    with look():
        drawn.savefig(buffer, format=form[1:], dpi=dpi, metadata=metadata)
    return buffer.getvalue()


def write_figure(drawn: Figure, path: Path, *, force: bool) -> None:
    """Write a figure whole or not at all.

    Raises:
        UsageError: something is there already that is not to be overwritten.
        OutputError: the folder of the output is missing, full, or cannot be written to.
    """
    write_bytes(path, image(drawn, path.suffix.lower()), force=force)
