"""What rounding makes of no noise, against features that are really rounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_metrics import Matrix, measure

from nrcscan.metrics.precision_floor import NAMES, note, rounding_variances

pytestmark = pytest.mark.numerical

DTYPES = [torch.bfloat16, torch.float16, torch.float32]


def rounded(h: Matrix, dtype: torch.dtype) -> Matrix:
    return torch.from_numpy(h).to(dtype).double().numpy()


def collapsed(mean: float, width: int = 200, n: int = 3000) -> tuple[Matrix, Matrix]:
    """Return features of two directions exactly, and the targets they follow."""
    draw = np.random.default_rng(0)
    y = draw.standard_normal((n, 2))
    return y @ draw.standard_normal((2, width)) + mean * np.sqrt(2), y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mean", [0.0, 0.3, 1.0, 2.0, 7.0, -7.3, 40.0])
def test_the_variance_of_rounding_is_that_of_rounded_values(
    mean: float, dtype: torch.dtype
) -> None:
    draw = np.random.default_rng(1)
    h = (draw.standard_normal((40_000, 6)) + mean) * np.geomspace(0.6, 3, 6)
    found = rounding_variances(h.mean(0), h.var(0), torch.finfo(dtype).eps)
    real = ((rounded(h, dtype) - h) ** 2).mean(0)
    assert found == pytest.approx(real, rel=0.05)


@pytest.mark.parametrize("dtype", DTYPES[:2])
@pytest.mark.parametrize("mean", [0.0, 1.0, 7.0])
def test_no_noise_in_rounded_features_reads_as_the_floor(mean: float, dtype: torch.dtype) -> None:
    h, y = collapsed(mean)
    found = measure(rounded(h, dtype), y, None, epsilon=torch.finfo(dtype).eps)
    assert found.floor == pytest.approx(found.values["noise_component"], rel=0.3)
    name = NAMES[torch.finfo(dtype).eps]
    assert found.notes[-1] == (
        f"the noise component is at the floor ({found.floor:.2g}), not measurable in {name}"
    )


def test_the_floor_of_bfloat16() -> None:
    for mean, low, high in ((0.0, 2.5e-6, 2.9e-6), (7.0, 1.0e-4, 1.8e-4)):
        floor = measure(*collapsed(mean), None, epsilon=2**-7).floor
        assert floor is not None
        assert low < floor < high


@pytest.mark.parametrize("dtype", DTYPES)
def test_rectified_units_have_about_that_floor(dtype: torch.dtype) -> None:
    """They are not normal, and often exactly 0."""
    draw = np.random.default_rng(2)
    y = draw.standard_normal((3000, 1)) ** 2
    h = np.maximum(y, 0) @ np.abs(draw.standard_normal((1, 100)))
    found = measure(rounded(h, dtype), y, None, epsilon=torch.finfo(dtype).eps)
    assert found.floor is not None
    assert 0.4 < found.values["noise_component"] / found.floor < 2.5


def test_noise_well_above_the_floor_is_measured() -> None:
    h, y = collapsed(0.0)
    h = h + 0.01 * np.random.default_rng(3).standard_normal(h.shape)
    found = measure(rounded(h, torch.bfloat16), y, None, epsilon=2**-7)
    assert not any("floor" in text for text in found.notes)
    assert found.floor is not None
    assert found.values["noise_component"] > 10 * found.floor


@pytest.mark.parametrize("width", [20, 256])
def test_in_float64_the_eigenvalues_make_the_floor(width: int) -> None:
    h, y = collapsed(0.0, width)
    found = measure(h, y, None, epsilon=2**-52)
    assert found.floor is not None
    assert found.values["noise_component"] < 2 * found.floor < width * 2.0**-52
    assert "not measurable in float64" in found.notes[-1]


def test_where_the_floor_ends() -> None:
    assert note(2e-6, 1e-6, 2**-7) is not None
    assert note(2.01e-6, 1e-6, 2**-7) is None
    assert "a precision of 0.001" in str(note(1e-6, 1e-6, 1e-3))


def test_without_a_precision_there_is_no_floor() -> None:
    h, y = collapsed(0.0)
    assert measure(h, y, None).floor is None
