"""The measures without any care for cost: a pass per layer, everything in memory, N×N matrices.

It is what the definitions say, word for word, and what the benchmark compares with.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


def measures(net: nn.Sequential, x: torch.Tensor, y: torch.Tensor, k: int) -> list[dict[str, Any]]:
    """Return the four conditions' quantities of every Linear layer of a chain."""
    targets = y.double().numpy()
    targets = targets - targets.mean(axis=0)
    found = []
    for index, layer in enumerate(net):
        if not isinstance(layer, nn.Linear):
            continue
        with torch.no_grad():
            features = net[:index](x).double().numpy()  # the pass begins anew for every layer
        features = features - features.mean(axis=0)
        values, vectors = np.linalg.eigh(features.T @ features / len(features))
        top = vectors[:, ::-1][:, :k]
        _, _, right = np.linalg.svd(layer.weight.detach().double().numpy())
        fitted = features @ (np.linalg.pinv(features, rcond=1e-3) @ targets)
        found.append(
            {
                "noise_component": values[:-k].sum() / values.sum(),
                "cka": _cka(features @ top, targets),
                "cka_full": _cka(features, targets),
                "alignment": np.linalg.svd(top.T @ right[:k].T, compute_uv=False).mean(),
                "linear_mse": ((fitted - targets) ** 2).mean(),
            }
        )
    return found


def _cka(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return linear CKA from the Gram matrices of all pairs of samples, centred by a product."""
    centring = np.eye(len(a)) - 1 / len(a)
    kernel_a, kernel_b = (a @ a.T) @ centring, (b @ b.T) @ centring
    own = (kernel_a * kernel_a.T).sum() * (kernel_b * kernel_b.T).sum()
    return float((kernel_a * kernel_b.T).sum() / np.sqrt(own))
