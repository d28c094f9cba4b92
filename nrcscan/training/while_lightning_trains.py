"""Measures while Lightning trains, whichever of its two names it is imported by."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Unpack

from nrcscan.errors import UsageError
from nrcscan.extras import to_install
from nrcscan.options.describe import described
from nrcscan.options.faces import names_keywords
from nrcscan.options.training_options import MonitorOptions
from nrcscan.training.flat_numbers import flat
from nrcscan.training.monitor import Log, Monitor

NAMES = ("lightning.pytorch", "pytorch_lightning")
"""Two packages of the same content, whose classes know nothing of each other."""


class LightningHooks:
    """What Lightning calls as it trains.

    Attributes:
        monitor: that measures.
    """

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure if that is due, in every process."""
        self._log(trainer, self.monitor(pl_module, trainer.current_epoch, trainer.global_step))
        if self.monitor.should_stop:
            trainer.should_stop = True

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Measure after the last epoch, unless that has been done."""
        self._log(trainer, self.monitor.finish(pl_module))

    def _log(self, trainer: Any, report: Any) -> None:
        """Hand the numbers to the trainer's loggers."""
        if report is not None:
            numbers = flat(report) | {"epoch": float(self.monitor.history[-1].epoch or 0)}
            for logger in trainer.loggers:
                logger.log_metrics(numbers, step=trainer.global_step)


@names_keywords
@described(MonitorOptions)
def lightning_callback(
    data: Any,
    output: str | Path | None = "training",
    *,
    log: Log | None = None,
    **options: Unpack[MonitorOptions],
) -> Any:
    """Return a callback for a Lightning Trainer that measures every few epochs.

    Numbers go to the trainer's loggers; a stop rule that holds has it stop after the epoch. The
    callback's `monitor` is the `Monitor` that measures.

    Args:
        data: as `Monitor` takes it.
        output: likewise.
        log: likewise, beside the trainer's loggers.
        options: likewise.

    Raises:
        NrcscanError: the data, an option or the output cannot be used.
        UsageError: Lightning is not installed.
    """
    bases = _bases()
    callback: Any = type("LightningCallback", (LightningHooks, *bases), {})
    return callback(Monitor(data, output, log=log, **options))


def _bases() -> tuple[type, ...]:
    """Return what a Trainer takes for a callback: of what is imported already, else installed.

    Raises:
        UsageError: Lightning is not installed.
    """
    imported = [module for name in NAMES if (module := sys.modules.get(name)) is not None]
    for name in () if imported else NAMES:
        try:
            imported = [import_module(name)]
            break
        except ImportError:
            continue
    if not imported:
        raise UsageError(f"a Lightning callback needs lightning; {to_install('lightning')}")
    return tuple(module.Callback for module in imported)
