"""What people call inputs and targets in a file. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Collection

X_KEYS = ("X", "x", "inputs", "features", "observations", "obs", "observation.state", "images")
Y_KEYS = ("y", "Y", "targets", "target", "labels", "label", "actions", "action")

TOKENS = ("input_ids", "inputs_embeds", "input_features", "input_values", "pixel_values")
"""What Hugging Face calls what its networks see; the others come with one of these."""

BESIDE = (
    "attention_mask",
    "token_type_ids",
    "position_ids",
    "global_attention_mask",
    "pixel_mask",
    "pixel_attention_mask",
    "bbox",
    "decoder_input_ids",
    "decoder_attention_mask",
)


def usual_inputs(keys: Collection[str]) -> list[str]:
    """Return those inputs of Hugging Face's networks that are there, which belong together.

    >>> usual_inputs(["attention_mask", "input_ids", "labels"])
    ['input_ids', 'attention_mask']
    """
    seen = [name for name in TOKENS if name in keys]
    if not seen or any(name in keys for name in X_KEYS):
        return []
    return [*seen, *(name for name in BESIDE if name in keys)]
