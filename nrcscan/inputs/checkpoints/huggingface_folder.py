"""Folders of Hugging Face transformers: a config.json and weights beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path

from nrcscan.errors import InputError, UsageError
from nrcscan.extras import to_install
from nrcscan.files import open_safely
from nrcscan.inputs.checkpoints.contents import Contents
from nrcscan.inputs.checkpoints.no_checkpoint import no_checkpoint
from nrcscan.inputs.checkpoints.recognise import recognise
from nrcscan.inputs.checkpoints.weights_of_folder import weights_of_folder
from nrcscan.wording import listed, reason


def read_folder(folder: Path) -> Contents:
    """Build the network that a folder describes, from its local files alone.

    Raises:
        UsageError: transformers is not installed.
        InputError: the folder is damaged, incomplete, or of a network that is not theirs.
    """
    try:
        import transformers
    except ImportError as error:
        raise UsageError(
            f"{folder}: a Hugging Face folder needs transformers; {to_install('huggingface')},"
            " or name the network with --model"
        ) from error
    open_safely.require_plain(folder)
    weights = weights_of_folder(folder)
    if isinstance(what := recognise(weights), str):
        raise no_checkpoint(weights, what)
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **local)
        if not config.architectures:
            raise InputError(
                f"{folder}: config.json names no architectures; name the network with --model"
            )
        (name,) = config.architectures
        network = getattr(transformers, name, None)
        if network is None:
            raise InputError(
                f"{folder}: transformers has no architecture {name!r}; name it with --model"
            )
        module, info = network.from_pretrained(
            folder, config=config, output_loading_info=True, local_files_only=True
        )
    except InputError:
        raise
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
    for path in (folder / "config.json", weights):
        digest.update(open_safely.sha256(path).encode())
    state = dict(module.state_dict())
    entries = {"architecture": name, "weights": weights.name}
    return Contents(
        folder, "huggingface", digest.hexdigest(), {"": state}, entries, True, {"": module}
    )
