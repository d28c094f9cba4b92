"""Images of a road as a driver sees it, and how to drive there: after the paper's CARLA data.

A road of a curvature bends away in perspective, seen from a car that is off its middle and turned
a little; another car may drive ahead. The targets are what a driver does: steer back to the
middle and along the bend, and drive slower the sharper it is and the nearer the car ahead. What
has no part in them varies as well: brightness, colours, how far one sees, noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HEIGHT, WIDTH = 32, 64
HORIZON = 11
"""The row where the road ends, from above."""

Array = NDArray[np.float64]


def road_images(n_samples: int, seed: int) -> tuple[NDArray[np.float32], Array]:
    """Return images (n_samples, 3, 32, 64) in 0 … 1, and steering and speed (n_samples, 2)."""
    rng = np.random.default_rng(seed)
    curvature = rng.normal(0.0, 0.5, n_samples)
    offset = rng.uniform(-0.6, 0.6, n_samples)
    heading = rng.normal(0.0, 0.12, n_samples)
    gap = np.where(rng.random(n_samples) < 0.6, rng.uniform(1.5, 8.0, n_samples), np.inf)
    steering = np.tanh(1.2 * curvature - 1.0 * offset - 2.0 * heading)
    speed = np.minimum(1.0, gap / 6.0) / (1.0 + 1.5 * np.abs(curvature))
    rows = np.arange(HORIZON + 1, HEIGHT, dtype=np.float64) + 0.5
    ahead: Array = 10.0 / (rows - HORIZON)  # distance to what a row shows, 0.5 … 7
    middle = 0.2 * curvature[:, None] * ahead**2 + heading[:, None] * ahead - offset[:, None]
    scale: Array = 14.0 / ahead  # pixels to half a road's width
    columns = np.arange(WIDTH) + 0.5 - WIDTH / 2
    across = columns / scale[:, None] - middle[:, :, None]  # 0 on the middle, 1 at the road's edge
    images = np.empty((n_samples, 3, HEIGHT, WIDTH))
    tint = rng.uniform(0.6, 1.0, (n_samples, 3))
    images[:, :, : HORIZON + 1] = (tint * [0.55, 0.7, 0.95])[:, :, None, None]
    grass = (tint * [0.3, 0.55, 0.25])[:, :, None, None]
    road = rng.uniform(0.25, 0.45, n_samples)[:, None, None, None]
    on_road = _soft(1.0 - np.abs(across), scale)[:, None]
    edge = _soft(0.08 - np.abs(np.abs(across) - 0.9), scale)[:, None]
    dashes = (np.sin(2.5 * ahead + rng.uniform(0, 2 * np.pi, (n_samples, 1))) > 0)[:, :, None]
    centre = (_soft(0.06 - np.abs(across), scale) * dashes)[:, None]
    ground = grass + on_road * (road - grass)
    ground = ground + np.maximum(edge, centre) * (0.9 - ground)
    images[:, :, HORIZON + 1 :] = ground
    _draw_cars(images, gap, curvature, offset, heading)
    images *= rng.uniform(0.7, 1.1, n_samples)[:, None, None, None]
    images += 0.03 * rng.standard_normal(images.shape)
    return np.clip(images, 0, 1).astype(np.float32), np.stack([steering, speed], axis=1)


def _soft(inside: Array, scale: Array) -> Array:
    """Return how far a pixel is covered, from how far inside it lies, in half road widths."""
    return np.clip(inside * scale[:, None] + 0.5, 0, 1)


def _draw_cars(images: Array, gap: Array, curvature: Array, offset: Array, heading: Array) -> None:
    """Draw the back of the car ahead, on the middle of the road, where there is one."""
    rows = (np.arange(HEIGHT) + 0.5)[:, None]
    columns = np.arange(WIDTH) + 0.5 - WIDTH / 2
    for one in np.flatnonzero(np.isfinite(gap)):
        away = gap[one]
        middle = 0.2 * curvature[one] * away**2 + heading[one] * away - offset[one]
        scale, foot = 14.0 / away, HORIZON + 10.0 / away
        at = middle * scale
        wide = np.clip(0.45 * scale - np.abs(columns - at) + 0.5, 0, 1)
        high = np.clip(0.35 * scale - np.abs(rows - foot + 0.35 * scale) + 0.5, 0, 1)
        covered = high * wide
        colour = np.array([0.75, 0.1, 0.1])[:, None, None]
        images[one] += covered * (colour - images[one])
