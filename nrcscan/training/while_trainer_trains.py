"""Measures while Hugging Face's Trainer trains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Unpack

from nrcscan.errors import UsageError
from nrcscan.extras import to_install
from nrcscan.options.describe import described
from nrcscan.options.faces import names_keywords
from nrcscan.options.training_options import MonitorOptions
from nrcscan.training.flat_numbers import flat
from nrcscan.training.monitor import Log, Monitor

ROUNDING = 1e-6
"""How far from a whole number the Trainer's sum of steps may leave an epoch."""


class TrainerHooks:
    """What the Trainer calls as it trains.

    Attributes:
        monitor: that measures.
    """

    def __init__(self, monitor: Monitor) -> None:
        super().__init__()
        self.monitor = monitor
        self._trainer: Any = None

    def report_to(self, trainer: Any) -> None:
        """Have numbers go through `trainer.log`, to all that it reports to."""
        self._trainer = trainer

    def on_epoch_end(self, args: Any, state: Any, control: Any, **rest: Any) -> Any:
        """Measure if that is due or training ends here, in every process."""
        epoch, model = math.floor(state.epoch + ROUNDING), rest["model"]
        report = self.monitor(model, epoch, state.global_step)
        if state.global_step >= state.max_steps:  # afterwards the best weights may be loaded
            report = self.monitor.finish(model) or report
        if report is not None:
            self._log(state, flat(report))
        if self.monitor.should_stop:
            control.should_training_stop = True
        return control

    def _log(self, state: Any, numbers: dict[str, float]) -> None:
        if self._trainer is not None:
            self._trainer.log(numbers)
        else:
            told = {"epoch": state.epoch, "step": state.global_step}
            state.log_history.append(numbers | told)


@names_keywords
@described(MonitorOptions)
def trainer_callback(
    data: Any,
    output: str | Path | None = "training",
    *,
    log: Log | None = None,
    **options: Unpack[MonitorOptions],
) -> Any:
    """Return a callback for Hugging Face's Trainer that measures every few epochs.

    Numbers go to the Trainer's `state.log_history`, and with `callback.report_to(trainer)` to all
    that it reports to; a stop rule that holds has it stop after the epoch. The callback's `monitor`
    is the `Monitor` that measures.

    Args:
        data: as `Monitor` takes it.
        output: likewise.
        log: likewise.
        options: likewise.

    Raises:
        NrcscanError: the data, an option or the output cannot be used.
        UsageError: transformers is not installed.
    """
    try:
        from transformers import TrainerCallback
    except ImportError as error:
        raise UsageError(
            f"a callback of the Trainer needs transformers; {to_install('trainer')}"
        ) from error
    callback: Any = type("NrcscanCallback", (TrainerHooks, TrainerCallback), {})
    return callback(Monitor(data, output, log=log, **options))
