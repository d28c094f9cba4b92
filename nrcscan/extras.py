"""Optional packages: which extra of nrcscan brings which, and what to type to have them."""

from __future__ import annotations

from collections.abc import Mapping

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "parquet": ("pyarrow",),
    "datasets": ("pyarrow",),
    "images": ("pillow",),
    "huggingface": ("transformers",),
    "onnx": ("onnx", "onnxruntime"),
    "cut": ("onnx", "onnxruntime", "onnxscript"),
    "junit": ("junitparser",),
    "measures": ("scikit-dimension",),
    "cluster": ("distributed",),
    "plot": ("matplotlib",),
    "pandas": ("pandas",),
    "lightning": ("lightning",),
    "trainer": ("transformers", "accelerate"),
    "tensorboard": ("tensorboard",),
}
"""Extra → what pyproject.toml has it bring, by the names that an index knows."""


def to_install(extra: str) -> str:
    """Return the command that installs what an extra brings.

    It names the packages themselves: nrcscan is on no index yet, which `pip install
    'nrcscan[…]'` would need.

    >>> to_install("onnx")
    'pip install onnx onnxruntime'
    """
    return f"pip install {' '.join(PACKAGES[extra])}"
