"""A figure of matplotlib that a notebook shows, whether or not it shows those of pyplot."""

from __future__ import annotations

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nrcscan.drawing.figure import image


class Canvas(Figure):
    """A figure on a canvas of its own."""

    def __init__(self) -> None:
        super().__init__(layout="constrained")
        FigureCanvasAgg(self)

    def _repr_png_(self) -> bytes:
        return image(self, ".png", 150)
