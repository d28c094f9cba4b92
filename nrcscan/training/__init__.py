"""Measures a network while it trains: in a plain loop, with Lightning, with Hugging Face's Trainer.

As at the root, names are looked up when first used; no training library is imported before a
callback of its own is made.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nrcscan.training.flat_numbers import flat
    from nrcscan.training.lightning_callback import lightning_callback
    from nrcscan.training.monitor import Monitor
    from nrcscan.training.tensorboard_log import tensorboard_log
    from nrcscan.training.trainer_callback import trainer_callback

__all__ = ["Monitor", "flat", "lightning_callback", "tensorboard_log", "trainer_callback"]

_HOMES = {"Monitor": "monitor", "flat": "flat_numbers"}


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in."""
    if name not in __all__:
        raise AttributeError(f"module 'nrcscan.training' has no attribute {name!r}")
    return getattr(import_module(f"nrcscan.training.{_HOMES.get(name, name)}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
