"""A batch that memory has no room for is taken in halves, and nothing is counted twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import mlp, samples
from torch import Tensor, nn

from nrcscan import extract
from nrcscan.acts_file.reading import open_acts
from nrcscan.errors import InputError
from nrcscan.extracting.smaller_batches import AtOnce
from nrcscan.network.out_of_memory import NoRoomError, ran_out
from nrcscan.statistics.moments import Moments
from nrcscan.statistics.moments_on_gpu import OnDevice

X, Y = samples(300, 6, 2)

HOST = "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory"
ERRORS = (
    MemoryError("Unable to allocate 8 GiB for an array"),
    RuntimeError(HOST),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
)


class Limited(nn.Module):
    """A network that has room for so many samples, and finds out in the middle."""

    def __init__(self, room: int, error: Exception = ERRORS[0]) -> None:
        super().__init__()
        self.start, self.end = mlp(6, 9, 7), mlp(7, 8, 2)
        self.room, self.error, self.tried = room, error, [0]

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x).relu()
        if x.shape[0] > self.room:
            raise self.error
        self.tried[0] = max(self.tried[0], len(x))
        return self.end(x)


def measured(path: Path, model: nn.Module, notes: list[str] | None = None, **options: Any) -> Any:
    told = [] if notes is None else notes
    extract(model, options.pop("data", (X, Y)), path, on_note=told.append, **options)
    with open_acts(path) as acts:
        found = {position: vars(acts.statistics(position)) for position in range(acts.n_positions)}
        rows = [np.concatenate(list(acts.activation_rows(p))) for p in range(acts.n_positions)]
        return found, rows, acts.predictions, acts.blocks(0), acts.last_units


def expect_close(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            expect_close(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            expect_close(one, other)
    elif hasattr(expected, "__dict__"):
        expect_close(vars(found), vars(expected))
    elif expected is None or isinstance(expected, int | str | bool):
        assert found == expected
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (ERRORS[0], {"measures": "all", "blocks": 4, "n_workers": 2}),
        (ERRORS[1], {"pool": "tokens", "data": (np.stack([X, X[::-1]], axis=1), Y)}),
        (ERRORS[2], {"cross": True, "blocks": 0}),
        (ERRORS[2], {"sketch": 3}),
    ],
    ids=["all", "tokens", "cross", "sketch"],
)
def test_halves_come_to_the_same(tmp_path: Path, error: Exception, options: Any) -> None:
    if "data" in options:  # a row of features for each of two steps

        class Steps(Limited):
            def forward(self, x: Tensor) -> Tensor:
                return super().forward(x).mean(dim=1)

        make: Callable[..., nn.Module] = Steps
    else:
        make = Limited
    notes: list[str] = []
    expected = measured(tmp_path / "a.h5", make(1000), batch_size=100, **options)
    found = measured(tmp_path / "b.h5", make(30, error), notes, batch_size=100, **options)
    expect_close(found, expected)
    told = [note for note in notes if "not enough memory" in note]
    assert told == [
        "not enough memory for 100 samples at once: going on with 50",
        "not enough memory for 50 samples at once: going on with 25",
    ]


@pytest.mark.parametrize("on_gpu", [False, True])
def test_memory_may_run_out_anywhere_in_the_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_gpu: bool
) -> None:
    monkeypatch.setattr("nrcscan.extracting.add_up.accumulates", lambda device: on_gpu)
    options: Any = {"batch_size": 100, "n_workers": 1, "blocks": 0, "dtype": "float64"}
    model = mlp(6, 9, 7, 2)
    expected = measured(tmp_path / "a.h5", model, **options)
    kind = OnDevice if on_gpu else Moments
    take = kind.take
    for number in (4, 5, 9):
        left = [number]

        def fails(self: Any, rows: Any, y: Any) -> bool:
            left[0] -= getattr(self, "width", 0) != 2 * Y.shape[1]  # noqa: B023 (no predictions)
            if left[0] == 0:  # noqa: B023
                take(self, rows[:17], y[:17])
                raise MemoryError
            return take(self, rows, y)

        with monkeypatch.context() as patch:
            patch.setattr(kind, "take", fails)
            found = measured(tmp_path / f"{number}.h5", model, **options)
        expect_close(found, expected)


def test_a_single_sample_that_does_not_fit(tmp_path: Path) -> None:
    class Full(Limited):
        def forward(self, x: Tensor) -> Tensor:
            self.room = 0 if self.tried[0] and len(x) > 40 else self.room
            return super().forward(x)

    with pytest.raises(InputError, match="not enough memory for a single sample; end other pro"):
        extract(Full(1000), (X, Y), tmp_path / "a.h5", batch_size=100)
    assert not list(tmp_path.iterdir())


class Remembers(Limited):
    def forward(self, x: Tensor) -> Tensor:
        self.last = x.mean()
        return super().forward(x)


def test_a_network_that_cannot_see_samples_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="100 samples at once, and the network remembers those"):
        extract(Remembers(30), (X, Y), tmp_path / "a.h5", batch_size=100)


def test_a_network_that_takes_batches_of_one_size() -> None:
    def take(rows: slice) -> None:
        raise NoRoomError("no room")

    at_once = AtOnce(lambda text: None, ("the network takes no fewer", "export it again"))
    with pytest.raises(InputError, match="for 8 samples at once, and the network takes no fewer;"):
        at_once.parts(8, take)


@pytest.mark.parametrize(
    ("error", "whether"),
    [*((error, True) for error in ERRORS), (ValueError("a shape"), False), (KeyError(1), False)],
)
def test_what_says_that_memory_ran_out(error: Exception, whether: bool) -> None:
    assert ran_out(error) == whether
