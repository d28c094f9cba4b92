"""Measures a network every few epochs of its training, and keeps what it came to."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray
from torch import nn

from nrcscan.errors import NrcscanError, OutputError, UsageError
from nrcscan.extracting.measure import settings_without_file
from nrcscan.gating.rules.evaluating import evaluate, missing_layer
from nrcscan.gating.rules.parsing import parse
from nrcscan.inputs.arrays import Inputs
from nrcscan.options.check import checked, part
from nrcscan.options.describe import described
from nrcscan.options.faces import in_keywords, names_keywords
from nrcscan.options.option import declared
from nrcscan.options.pass_options import SourceOptions, StoringOptions
from nrcscan.options.record import as_json
from nrcscan.options.report_options import ReportOptions
from nrcscan.options.training_options import MonitorOptions
from nrcscan.reporting.report_document import Report
from nrcscan.scanning import fingerprint
from nrcscan.scanning.scan_file import ScannedCheckpoint
from nrcscan.training.fixed_sample import drawn
from nrcscan.training.flat_numbers import flat
from nrcscan.training.history import History
from nrcscan.training.measure_in_memory import as_saved, measured
from nrcscan.training.ranks_of_training import is_first, shared
from nrcscan.wording import printable, reason

LOGGER = logging.getLogger("nrcscan.training")

OF_A_SAMPLE = ("every", "samples", "draw", "seed")
"""Options that a history's provenance tells beside those of a pass and a report."""

MOST = 2**53
"""Epochs and steps are less, so that every reader of the history has them exactly."""

Log = Callable[[Mapping[str, float], int], object]
"""Takes the numbers of an epoch by their names, see `flat`, and the epoch."""


@described(MonitorOptions)
class Monitor:
    """Measures a network every few epochs, on samples that stay the same.

    The numbers are those of `nrcscan.extract` and `nrcscan.report` for a checkpoint saved at that
    moment, on `Monitor.sample`. The network is left as it is found: modes, gradients, buffers and
    random numbers.

    Args:
        data: to draw samples from, as `nrcscan.extract` takes it.
        output: the folder whose `scan.json` is written after every measurement; None for none.
        log: called with the numbers of `flat` and the epoch, after every measurement.
        options: see `nrcscan.options.training_options`; those of a pass and a report too.

    Attributes:
        report: of the newest measurement; None before it, and where it failed.
        should_stop: whether the stop rule holds.
        stopped_by: the comparisons that decided it, with their values; empty before.

    Raises:
        NrcscanError: the data, an option or the output cannot be used.
        TypeError: there is no such option.
    """

    @names_keywords
    def __init__(
        self,
        data: Any,
        output: str | Path | None = "training",
        *,
        log: Log | None = None,
        **options: Unpack[MonitorOptions],
    ) -> None:
        chosen = _checked(options)
        self._every, self._raises = chosen["every"], chosen["errors"] == "raise"
        self._rule = None if chosen["stop"] is None else parse(chosen["stop"], "stop")
        self._log = log
        self._settings = settings_without_file(chosen)
        self._judgement = part(ReportOptions, chosen)
        self._sample = drawn(data, chosen)
        provenance = {
            "data": self._sample.source,
            "options": fingerprint.of_settings(self._settings),
            "report": as_json(self._judgement),
            "versions": fingerprint.versions(),
            "training": {name: chosen[name] for name in OF_A_SAMPLE},  # type: ignore[literal-required]
        }
        where = None if output is None else Path(output)
        self._history = History(where, provenance, chosen["existing"])
        self._settings["offset"], self._settings["limit"] = 0, None  # of the sample, all
        self._seen: tuple[int, int | None] | None = None
        self._measured: tuple[int, int | None] | None = None
        self._warned: set[str] = set()
        self.report: Report | None = None
        self.should_stop = False
        self.stopped_by = ""

    @property
    def history(self) -> tuple[ScannedCheckpoint, ...]:
        """What was measured so far, in the order of training."""
        return tuple(self._history.entries)

    @property
    def sample(self) -> tuple[Inputs, NDArray[np.float64]]:
        """The inputs (n, …), one array or several, and targets (n, n_targets) measured on."""
        return self._sample.x, self._sample.y

    def __call__(self, model: nn.Module, epoch: int, step: int | None = None) -> Report | None:
        """Measure a network if that is due: after an epoch that `every` divides.

        With several processes it is called in each; the first one measures.

        Args:
            model: as it has been trained so far.
            epoch: its number, as your loop counts.
            step: how many steps of the optimizer that is, if you wish to keep it.

        Returns:
            The report; None where nothing was due, it failed, or another process measures.

        Raises:
            UsageError: an option does not fit the network.
        """
        now = self._moment(epoch, step)
        self._seen = now
        return self.measure(model, *now) if now[0] % self._every == 0 else None

    def finish(self, model: nn.Module) -> Report | None:
        """Measure the network after the last epoch, unless that has been done.

        Args:
            model: as it was at the last call.

        Raises:
            UsageError: an option does not fit the network.
        """
        if self._seen is None or self._seen == self._measured:
            return None
        return self.measure(model, *self._seen)

    @names_keywords
    def measure(self, model: nn.Module, epoch: int, step: int | None = None) -> Report | None:
        """Measure a network now; see `__call__`.

        Raises:
            UsageError: an option does not fit the network.
        """
        self._measured = self._moment(epoch, step)
        self.report, failure = None, None
        if is_first():
            try:
                self.report = self._record(model, *self._measured)
            except NrcscanError as error:
                failure = error
        if self._rule is not None:  # on which all processes have to agree
            self.should_stop, self.stopped_by, failure = shared(
                (self.should_stop, self.stopped_by, failure)
            )
        if failure is not None:
            raise failure
        return self.report

    def _record(self, model: nn.Module, epoch: int, step: int | None) -> Report | None:
        """Measure, judge, keep and log."""
        found = self._found(as_saved(model), epoch)
        entry = self._history.add(epoch, step, found)
        if isinstance(found, Report):
            self._judge(entry)
        try:
            self._history.write()
        except OutputError as error:
            if self._raises:
                raise
            self._warn("output", f"the history is not written: {error}")
        if isinstance(found, str):
            return None
        LOGGER.info("epoch %d: %s", epoch, printable(found.verdict.text))
        if self._log is not None:
            self._log(flat(found), epoch)
        return found

    def _found(self, model: nn.Module, epoch: int) -> Report | str:
        """Return a network's report, or why there is none."""
        try:
            return measured(model, self._sample.dataset, self._settings, self._judgement)
        except UsageError:
            raise
        except Exception as error:  # no measurement is worth a training
            if self._raises:
                raise
            why = f"failed unexpectedly: {type(error).__name__}: {reason(error)}"
            why = str(error) if isinstance(error, NrcscanError) else printable(why)
            self._warn("network", f"epoch {epoch} could not be measured: {why}")
            return why

    def _judge(self, entry: ScannedCheckpoint) -> None:
        """See whether training is to stop.

        Raises:
            UsageError: the rule names a layer that the network does not have.
        """
        if self._rule is None:
            return
        document = entry.to_dict()
        missing = missing_layer(self._rule, document)
        if missing is not None:
            raise UsageError(f"stop {self._rule.text}: {missing}; name a layer of the network")
        outcome = evaluate(self._rule, document)
        self.should_stop = outcome.holds is True
        self.stopped_by = "; ".join(outcome.because) if self.should_stop else ""

    def _warn(self, about: str, text: str) -> None:
        """Warn the first time, and leave later ones to those who ask for details."""
        level = logging.DEBUG if about in self._warned else logging.WARNING
        self._warned.add(about)
        LOGGER.log(level, "%s", in_keywords(text))

    @staticmethod
    def _moment(epoch: int, step: int | None) -> tuple[int, int | None]:
        """Return epoch and step as plain whole numbers.

        Raises:
            UsageError: an epoch or step is no whole number from 0 up.
        """
        try:
            found = operator.index(epoch), None if step is None else operator.index(step)
        except TypeError:
            found = -1, None
        if not 0 <= min(found[0], found[1] or 0) <= max(found[0], found[1] or 0) < MOST:
            raise UsageError(
                f"epoch {epoch!r:.40} or step {step!r:.40} is no count; give whole numbers from 0"
            )
        return found


def _checked(options: Mapping[str, Any]) -> MonitorOptions:
    """Return every option, without those on what there is none of: a file of weights or statistics.

    Raises:
        TypeError: there is no such option.
        UsageError: an option is out of range, or does not go with another.
    """
    elsewhere = {**declared(SourceOptions), **declared(StoringOptions)}
    for name in options:
        if name in elsewhere:
            raise TypeError(f"Monitor() takes no argument {name}: the network is in memory")
    return checked(MonitorOptions, options, "Monitor")
