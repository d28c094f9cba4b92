"""Folders of Hugging Face transformers: a config.json and weights beside it.

The library is given what was read here, and opens no file of the folder itself: it builds one of
its own classes from the config's numbers and puts the weights in.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from nrcscan.errors import InputError, UsageError
from nrcscan.extras import to_install
from nrcscan.files import open_safely
from nrcscan.inputs.checkpoints.contents import Contents
from nrcscan.inputs.checkpoints.huggingface_config import architecture, huggingface_config
from nrcscan.inputs.checkpoints.no_checkpoint import no_checkpoint
from nrcscan.inputs.checkpoints.recognise import recognise
from nrcscan.inputs.checkpoints.weights_of_folder import weights_of_folder
from nrcscan.wording import listed, reason

_MODELLING = re.compile(r"transformers\.models\.(?!auto\.|timm_|rag\.)\w+\.modeling_\w+")
"""Where the classes of networks are that are built from numbers alone.

Those of auto choose a class by what a config says, which may be one of the folder's; those of timm
and rag bring what they are made of from elsewhere.
"""


def read_folder(folder: Path) -> Contents:
    """Build the network that a folder describes, from its local files alone.

    Raises:
        UsageError: transformers is not installed.
        UnsafeError: config.json, or the weights, name code to be run.
        InputError: the folder is damaged, incomplete, or of a network that is not theirs.
    """
    config = huggingface_config(folder)
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            f"{folder}: a Hugging Face folder needs transformers; {to_install('huggingface')},"
            " or name the network with --model"
        ) from error
    name = architecture(folder, config)
    network = _network(folder, name)
    if network.config_class.model_type != config["model_type"]:
        raise InputError(
            f"{folder}: config.json is of type {config['model_type'][:80]!r}, and {name} is of"
            f" {network.config_class.model_type!r}; copy the folder again"
        )
    weights, state, fingerprint = _weights(folder)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    try:
        described = network.config_class.from_dict(config)
        module, info = network.from_pretrained(
            None,
            config=described,
            state_dict=state,
            output_loading_info=True,
            local_files_only=True,
            trust_remote_code=False,
        )
    except Exception as error:  # transformers raises almost anything on a damaged folder
        raise InputError(
            f"{folder}: transformers cannot load it ({reason(error)}); copy the folder again"
        ) from error
    absent = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if absent:
        raise InputError(
            f"{folder}: the weights lack or misshape {listed(absent)}; copy them again"
        )
    digest = hashlib.sha256()
    for one in (open_safely.sha256(folder / "config.json"), fingerprint):
        digest.update(one.encode())
    entries = {"architecture": name, "weights": weights.name}
    held = {"": dict(module.state_dict())}
    return Contents(folder, "huggingface", digest.hexdigest(), held, entries, True, {"": module})


def _network(folder: Path, name: str) -> Any:
    """Return the class of a network, if it is one that transformers itself defines.

    Raises:
        InputError: transformers has no such network.
    """
    import transformers

    found = getattr(transformers, name, None) if name.isidentifier() else None
    if not isinstance(found, type) or not issubclass(found, transformers.PreTrainedModel):
        raise InputError(
            f"{folder}: transformers has no architecture {name[:80]!r}; name it with --model"
        )
    if not _MODELLING.fullmatch(found.__module__):
        raise InputError(
            f"{folder}: {name} is no network that a config alone describes; name it with --model"
        )
    return found


def _weights(folder: Path) -> tuple[Path, dict[str, Tensor], str]:
    """Return the file that holds a folder's weights, the weights, and their fingerprint.

    Raises:
        InputError: the folder holds no weights, or more than one network could be meant.
    """
    path = weights_of_folder(folder)
    form = recognise(path)
    if isinstance(form, str):
        raise no_checkpoint(path, form)
    contents = form.read(path, trust=False)
    if len(contents.states) != 1:
        raise InputError(
            f"{path}: holds {len(contents.states)} state dicts; save model.state_dict() alone"
        )
    (state,) = contents.states.values()
    return path, state, contents.sha256
