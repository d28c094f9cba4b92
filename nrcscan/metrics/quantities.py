"""Every quantity of a layer."""

from __future__ import annotations

CONDITIONS = ("nrc1", "nrc2", "nrc3", "nrc4")


QUANTITIES = (
    "noise_component",
    "cka",
    "cka_full",
    "alignment",
    "noise_alignment",
    "weight_signal_energy",
    "linear_mse",
    "excess",
    "feature_stable_rank",
    "weight_stable_rank",
    "feature_rank",
    "weight_rank",
)
"""Every quantity of a layer, in the order of the report."""


LEARNED_R2 = 0.1
"""A network below this R² predicts nothing, and NRC4 says nothing about it."""
