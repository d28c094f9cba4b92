"""Tells what training leaves beside a network, by what is in a file, from the network itself."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nrcscan.errors import InputError
from nrcscan.files import sniff
from nrcscan.inputs.checkpoints.pickle_outline import outline, pickled_class, shape_of, walk
from nrcscan.inputs.checkpoints.recognise import SUFFIXES, recognise
from nrcscan.inputs.checkpoints.signs import TRAINING
from nrcscan.inputs.pickles.placeholder import Placeholder
from nrcscan.inputs.usual_names import X_KEYS, Y_KEYS
from nrcscan.wording import listed, some

WEIGHTS = "weights"
"""What a file holds that is worth opening as a checkpoint."""

UNTOLD = ""
"""What is said of a file whose content cannot be told."""

DATA = ("a dataset", "data (")
"""How what is said of inputs and targets begins."""

BY_NAME = "by its name, a training state beside the weights"

EMPTY = "empty tensors"
ZERO_3 = (
    f"{EMPTY}, as DeepSpeed ZeRO-3 leaves them in the place of weights; join its shards with"
    " the script zero_to_fp32.py beside its folder"
)
_REGISTERED = re.compile(r"custom_checkpoint_\d+\.pkl")
"""How accelerate calls whatever else is registered with it: schedulers, averages, counters."""

_OPTIMIZER = {"state", "param_groups"}
_KEYS: tuple[tuple[set[str], str], ...] = (
    ({"last_epoch"}, "a scheduler's state"),
    ({"growth_factor", "backoff_factor"}, "a gradient scaler's state"),
    ({"random_state"}, "the state of random numbers"),
    ({"numpy_random_seed"}, "the state of random numbers"),
    ({"torch_manual_seed"}, "the state of random numbers"),
    ({"python", "numpy"}, "the state of random numbers"),
    ({"python", "cpu"}, "the state of random numbers"),
    ({"cpu", "cuda"}, "the state of random numbers"),
)
"""Keys that tell what else a file of training holds, and what."""

_WITH_MATRICES = (
    (r"torch\.utils\.data\..*Dataset|datasets\..*", "a dataset"),
    (r"torch\.optim\..*", "an optimizer's state"),
    (r".*\.(Vec)?(Normalize\w*|RunningMeanStd)", "statistics that inputs are scaled by"),
    (r".*(Replay|Rollout)\w*Buffer", "what an agent has seen"),
    (r"sklearn\..*", "an object of scikit-learn"),
)
"""Classes that are no network, whatever tensors they hold."""

_CLASSES = (
    (r".*(Sampler|DataLoader)\w*", "a sampler's state"),
    (r".*(Arguments?|Args|Config|Namespace)", "training arguments"),
    (r"torch\.(_C\.)?Generator", "the state of random numbers"),
    (r".*LR|.*Scheduler", "a scheduler's state"),
    (r".*Optimizer", "an optimizer's state"),
)
"""Classes of what else a file without weight matrices holds, and what that is."""

_HARMLESS = re.compile(
    r"(a storage|(torch|numpy|collections|accelerate|transformers|deepspeed|datasets|argparse"
    r"|lightning|pytorch_lightning|lightning_fabric|_codecs|pathlib|datetime|enum)\b.*"
    r"|(builtins|__builtin__)\.(set|frozenset|dict|list|object|complex|bytearray|slice|range))"
)


def why_not(path: Path) -> str | None:
    """Return why a file is not worth opening as a checkpoint, in words.

    None if it is worth it; or if it should be one by its name, and whoever opens it says what is
    wrong.
    """
    by_name = TRAINING.match(path.name) is not None
    suffix = path.suffix.lower()
    try:
        form = recognise(path)
    except InputError:
        form = "cannot be read, and not called like a checkpoint"
    if isinstance(form, str):
        if by_name and (suffix in SUFFIXES or form == sniff.UNKNOWN):
            return BY_NAME
        generic = suffix == ".bin" and form == sniff.UNKNOWN
        return None if suffix in SUFFIXES and not generic else form
    if form.key != "torch":
        return BY_NAME if by_name else None
    what = training_state(path)
    if what == UNTOLD:
        return BY_NAME if by_name else None
    return None if what == WEIGHTS else holding(what)


def holding(what: str) -> str:
    """Return what `training_state` says of a file as the end of a sentence about it."""
    return (
        f"holds {what}" if what.startswith((EMPTY, "no ")) else f"holds {what}, without a network"
    )


def training_state(path: Path) -> str:
    """Return what a file of `torch.save` holds instead of a network, in words.

    That is what trainers write beside one, or no weight matrix at all. `WEIGHTS` if it may hold a
    network, `UNTOLD` if its content does not tell: it is damaged, or asks for code of others.
    """
    try:
        content = outline(path)
        parts = list(walk(content))
    except ValueError:
        return _of_class(pickled_class(path), _WITH_MATRICES) or UNTOLD
    if isinstance(content, Placeholder):
        if shape_of(content) is not None:
            return "a single tensor"
        if (known := _of_class(content.name, _WITH_MATRICES)) is not None:
            return known
    if _is_optimizer(content):
        return "an optimizer's state"
    if _is_data(content):
        return f"data ({listed(content)})"
    states = [keys for keys, value in parts if _is_optimizer(value)]
    tensors = [
        (keys, shape)
        for keys, value in parts
        if (shape := shape_of(value)) is not None
        and not any(keys[: len(state)] == state for state in states)
    ]
    if sum(shape == (0,) for _, shape in tensors) > len(tensors) / 2:
        return ZERO_3  # buffers are whole there
    if any(len(shape) > 1 and 0 not in shape for _, shape in tensors):
        nameless = len(tensors) > 1 and len({keys for keys, _ in tensors}) == 1
        if nameless and _REGISTERED.fullmatch(path.name):
            return "no weights by name (a list of tensors)"
        return WEIGHTS
    if (
        isinstance(content, Placeholder)
        and (known := _of_class(content.name, _CLASSES)) is not None
    ):
        return known
    if any("flat_param" in key for keys, _ in tensors for key in keys):
        return WEIGHTS  # whoever opens it says what to do
    if not TRAINING.match(path.name) and any(
        isinstance(value, Placeholder) and not _HARMLESS.fullmatch(value.name) for _, value in parts
    ):
        return UNTOLD
    return _named(content, optimizers=bool(states))


def _of_class(name: str, classes: Sequence[tuple[str, str]]) -> str | None:
    return next((what for pattern, what in classes if re.fullmatch(pattern, name)), None)


def _is_optimizer(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() >= _OPTIMIZER


def _is_data(content: Any) -> bool:
    """Whether this is a dict of inputs and targets, as their usual names say."""
    return (
        isinstance(content, Mapping)
        and set(X_KEYS) | set(Y_KEYS) >= content.keys()
        and all(content.keys() & keys for keys in (set(X_KEYS), set(Y_KEYS)))
        and all(shape_of(value) for value in content.values())
    )


def _named(content: Any, *, optimizers: bool) -> str:
    """Say what a file without a weight matrix holds."""
    if not isinstance(content, Mapping):
        kind = content.name if isinstance(content, Placeholder) else f"a {type(content).__name__}"
        return f"no weight matrix ({kind})"
    if "optimizer_state_dict" in content or optimizers:
        return "an optimizer's state"
    for known, what in _KEYS:
        if known <= content.keys():
            return what
    keys = some([str(key) for key in content])
    return f"no weight matrix (keys: {keys})" if content else "no weight matrix (an empty dict)"
