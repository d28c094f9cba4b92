"""Measures a network while it trains: in a plain loop, with Lightning, with Hugging Face's Trainer.

As at the root, names are looked up when first used; no training library is imported before a
callback of its own is made.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nrcscan.training.flat_numbers import flat
    from nrcscan.training.for_tensorboard import tensorboard_log
    from nrcscan.training.monitor import Monitor
    from nrcscan.training.while_lightning_trains import lightning_callback
    from nrcscan.training.while_trainer_trains import trainer_callback

__all__ = ["Monitor", "flat", "lightning_callback", "tensorboard_log", "trainer_callback"]

# No module is called as a public name is: it would stand in that one's place.
_HOMES = {
    "Monitor": "monitor",
    "flat": "flat_numbers",
    "lightning_callback": "while_lightning_trains",
    "tensorboard_log": "for_tensorboard",
    "trainer_callback": "while_trainer_trains",
}


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nrcscan.training' has no attribute {name!r}")
    return getattr(import_module(f"nrcscan.training.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names."""
    return sorted(__all__)
