"""The words that options take, for the commands and the library alike. Imports nothing heavy."""

from typing import Literal

Pool = Literal["mean", "flatten", "first", "last", "tokens"]
"""How positions in space or time become one row of features."""

DType = Literal["float32", "float64", "bfloat16", "float16"]
"""What a checkpoint's network runs in."""

Precision = Literal["float64", "float32"]
"""What covariances are multiplied in; they are added up in float64 either way."""

Convention = Literal["default", "published"]
"""Whose details the metrics follow: docs/metrics.md lists where the two differ."""

Measures = Literal["core", "all"]
"""Deep NRC alone, or its neighbouring measures too: docs/quantities.md has both."""

Format = Literal["table", "json", "csv", "md"]
"""What a report is written as."""

ReportFormat = Literal[Format, "tex"]
"""What the report of one file is written as."""

Kind = Literal["collapse", "rank", "spectrum", "heatmap", "error"]
"""What a figure shows: conditions, stable ranks, eigenvalues; over epochs conditions, errors."""

Width = Literal["column", "page"]
"""How wide a figure is: one column of two, or the page."""

Gate = Literal["newest", "all"]
"""Which checkpoints of a scan its rules apply to: the newest of every run, or all."""

COLUMNS = r"\s*(-?\d{1,18})?:(-?\d{1,18})?\s*"
"""From which column to which."""

DEVICE = r"(cpu|cuda|mps|xpu|hpu|mtia|xla|npu|mlu|ipu|privateuseone)(:\d+)?"
"""Where tensors can be, by torch's names."""
