"""Make the pictures of the README from the code: python docs/pictures.py docs/pictures.

A terminal with the report of a collapsed network, and the figure of two weight decays.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.terminal_theme import TerminalTheme

import nrcscan
from nrcscan.reporting import report_table

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures" / "swimmer"
TERMINAL, FIGURE = "report.svg", "collapse.svg"

# As rich has it, without fonts that a picture in a page may not fetch.
FRAME = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
    font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
    font-size: {char_height}px; line-height: {line_height}px; white-space: pre;
}}
.{unique_id}-title {{ font-size: 18px; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
DARK = TerminalTheme(
    (22, 27, 34),
    (230, 237, 243),
    [
        *((72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34)),
        *((88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)),
    ],
)


def make(folder: Path) -> None:
    """Write both pictures into a folder."""
    with TemporaryDirectory() as kept:
        files = [Path(kept, f"{decay}.h5") for decay in ("wd0", "wd0.01")]
        for file in files:
            nrcscan.extract(
                FIXTURES / file.stem / "epoch_600.pt",
                FIXTURES / "data.npz",
                file,
                activations=False,
                on_note=lambda note: None,
            )
        _terminal(nrcscan.report(files[1]), folder / TERMINAL)
        labels = ["no weight decay", "weight decay 0.01"]
        nrcscan.plot(files, folder / FIGURE, force=True, labels=labels)


def _terminal(report: nrcscan.Report, path: Path) -> None:
    """Draw what `nrcscan report` shows in a terminal of 80 columns."""
    console = Console(
        record=True, width=80, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(report_table.table(report))
    drawn = console.export_svg(
        title="nrcscan report", theme=DARK, code_format=FRAME, unique_id="nrcscan"
    )
    path.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
