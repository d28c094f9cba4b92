"""How figures look: sizes, colours, marks and lines, the same wherever and whenever."""

from __future__ import annotations

from typing import Any

from nrcscan.options.choices import Width

WIDTHS: dict[Width, float] = {"column": 3.3, "page": 6.75}
"""Of a figure, in inches."""

SMALL, SIZE = 6.0, 7.0
"""Of letters, in points: beside axes and in keys, and elsewhere."""

LETTER = 0.6 * SMALL / 72
"""How wide a small letter is, in inches; few are wider."""

LINE = 1.35 * SMALL / 72
"""How high a line of small letters is, in inches."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00")
"""Of Okabe and Ito, which all eyes tell apart."""

MARKS = ("o", "s", "^", "D", "v", "P", "h", "p")
LINES = ("solid", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1.5, 1)), (0, (6, 1, 1, 1, 1, 1)))
"""Looks beside colour; their numbers have no common divisor: 280 curves differ."""

SHADE, GRID, FAINT, EDGE = "#DCE6F0", "#E4E4E4", "#707070", "#C00000"
"""Of collapsed stretches, lines behind and between, and step lines across heat maps."""

BAND = 0.2
"""How much a band covers what is behind it."""

RC: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],  # which comes with matplotlib
    "font.size": SIZE,
    "text.parse_math": False,  # names from files are no formulas
    "text.usetex": False,
    "axes.titlesize": SIZE,
    "axes.labelsize": SMALL,
    "axes.linewidth": 0.6,
    "axes.titlepad": 4,
    "axes.labelpad": 2,
    "axes.unicode_minus": True,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.size": 2,
    "ytick.major.size": 2,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "lines.markersize": 4,
    "hatch.linewidth": 0.4,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.dpi": 100,
    "savefig.dpi": "figure",
    "savefig.bbox": None,
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "svg.fonttype": "path",
    "svg.hashsalt": "nrcscan",
    "path.simplify": True,
}
"""Over matplotlib's defaults, whatever its settings are."""
