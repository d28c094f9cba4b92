"""A report's numbers under one name each, for what draws curves: W&B, MLflow, TensorBoard, …."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from nrcscan.metrics.quantities import CONDITIONS, QUANTITIES
from nrcscan.reporting.report_document import Report
from nrcscan.scanning.scan_file import ScannedCheckpoint
from nrcscan.verdict.in_document import step_of
from nrcscan.verdict.state import State

UNSURE = (State.UNDECIDED.value, State.NOT_JUDGED.value)

_UNUSUAL = re.compile(r"[^\w .:/-]")
"""What MLflow takes in no name."""


def flat(
    found: Report | ScannedCheckpoint | Mapping[str, Any], prefix: str = "nrcscan"
) -> dict[str, float]:
    """Return a report's numbers by names that stay the same from epoch to epoch.

    What is undefined, undecided or does not come has no number, and is left out:

    - `nrcscan/layers.6/noise_component`: every quantity of every layer;
    - `nrcscan/layers.6/met/nrc1`: 1 where a condition is met, 0 where it is not;
    - `nrcscan/onset/nrc1` … `nrcscan/onset/all`: the step, from 1, from which it is met to the
      output, counted as the verdict counts; and `nrcscan/steps`, how many there are;
    - `nrcscan/collapsed`: 1 where the verdict is that it has collapsed, 0 where it has not;
    - `nrcscan/model/mse`, `nrcscan/model/r2`.

    Args:
        found: a report, or a checkpoint of a scan or of `Monitor.history`.
        prefix: what every name begins with.
    """
    if isinstance(found, Report | ScannedCheckpoint):
        found = found.to_dict()
    if "layers" not in found:  # of a checkpoint that could not be used
        return {}
    return {
        _UNUSUAL.sub("_", f"{prefix}/{name}"): float(value)
        for name, value in _numbers(found)
        if value is not None
    }


def _numbers(found: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """Yield every number of a document by its name, None for what is undefined."""
    layers = found["layers"]
    for name in ("mse", "r2"):
        yield f"model/{name}", found["model"][name]
    state = found["verdict"]["state"]
    yield "collapsed", None if state in UNSURE else state == State.COLLAPSED.value
    for condition in (*CONDITIONS, "all"):
        yield f"onset/{condition}", step_of(layers, found["onset"][condition])
    yield "steps", max((layer["step"] or 0 for layer in layers), default=None)
    for layer in layers:
        for quantity in QUANTITIES:
            yield f"{layer['name']}/{quantity}", layer[quantity]
        for condition in CONDITIONS:
            yield f"{layer['name']}/met/{condition}", layer["met"][condition]
