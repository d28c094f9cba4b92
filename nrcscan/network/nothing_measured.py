"""The error that nothing which reaches the layers of a network can be measured."""

from __future__ import annotations

from collections.abc import Collection

from nrcscan.errors import InputError
from nrcscan.network.forward import Forward
from nrcscan.network.trials import ProbeRun


def nothing_measured(
    run: Forward, first: ProbeRun, n_samples: int, chosen: Collection[str]
) -> InputError:
    """Return the error that nothing which reaches a chosen layer can be measured.

    Args:
        run: the network.
        first: its run of a few samples.
        n_samples: how many these are.
        chosen: names of the calls that were to be watched.
    """
    reached_by = [features for call, features in first.calls if call.name in chosen]
    if all(features.is_complex() for features in reached_by):
        return InputError(
            "what reaches every layer are complex numbers, and features are real; name a"
            " factory that computes with real and imaginary parts side by side"
        )
    predictions = run.output.joined(first.output)
    if predictions.ndim and len(predictions) not in (0, n_samples):
        return InputError(
            f"the network makes {len(predictions)} predictions for {n_samples} samples, as where"
            " view(-1, …) in its forward takes samples of another size; check that data and"
            " network belong together"
        )
    return InputError(
        "the samples are on no axis of what reaches any layer, so none can be measured;"
        " have a factory put the samples first"
    )
