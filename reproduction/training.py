"""One run: SGD with momentum and weight decay on the mean squared error, saved as it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reproduction.networks import build, start
from reproduction.plan import Run
from reproduction.sample_sets import Samples

WARM_UP = 5
"""Epochs in which the rate rises: the first gradients of deep networks are large."""

SETTLES_FROM = 0.8
"""The share of the epochs after which the rate is a tenth."""

Curve = list[tuple[int, float, float]]
Values = NDArray[np.float32]


def network_of(run: Run, data: Samples) -> nn.Module:
    """Return the network of a run with random weights."""
    return build(
        run.network, int(data.x[0].size), data.y.shape[1], depth=run.depth, width=run.width
    )


def train(
    run: Run,
    data: Samples,
    save: Callable[[int, nn.Module], None],
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> Curve:
    """Train a network; the same run gives the same weights on the same machine.

    Args:
        run: what to train.
        data: what to train it on.
        save: called with the epoch and the network, in eval mode, at each checkpoint.
        on_epoch: called with how many epochs are done.

    Returns:
        Epoch, mean squared error on the training samples and on the held-out ones.

    Raises:
        FloatingPointError: the weights have grown beyond all bounds.
    """
    torch.manual_seed(run.seed)
    model = network_of(run, data)
    start(model)
    optimizer = torch.optim.SGD(
        model.parameters(), run.rate, momentum=run.momentum, weight_decay=run.weight_decay
    )
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: share_of_rate(done, run))
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    shown, curve = epochs_shown(run), []
    for epoch in range(1, run.epochs + 1):
        model.train()
        for rows in batches(len(x), run, epoch):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x[rows]), y[rows]).backward()
            optimizer.step()
        rates.step()
        model.eval()
        if epoch in shown:
            errors = error(model, data.x, data.y), error(model, data.x_test, data.y_test)
            if not np.isfinite(errors).all():
                raise FloatingPointError(f"{run.name} has no finite error; lower its rate")
            curve.append((epoch, *errors))
        if epoch in run.checkpoints:
            save(epoch, model)
        on_epoch(epoch)
    return curve


def share_of_rate(done: int, run: Run) -> float:
    """Return the share of its rate that a run has after so many epochs."""
    if done >= round(SETTLES_FROM * run.epochs):
        return 0.1
    return min(1.0, (done + 1) / WARM_UP)


def batches(n_samples: int, run: Run, epoch: int) -> Iterator[Tensor]:
    """Yield the rows of each step of an epoch, in an order that seed and epoch alone decide."""
    order = np.random.default_rng([run.seed, epoch]).permutation(n_samples)
    yield from torch.from_numpy(order).split(run.batch)


def epochs_shown(run: Run) -> set[int]:
    """Return the epochs at which errors are kept: some 40, closer at the beginning."""
    return {*np.unique(np.geomspace(1, run.epochs, 48).round().astype(int)), *run.checkpoints}


def error(model: nn.Module, x: Values, y: Values) -> float:
    """Return the mean squared error of a network over samples and targets, in its precision."""
    kind = next(model.parameters()).dtype
    with torch.no_grad():
        made = torch.cat([model(part.to(kind)) for part in torch.from_numpy(x).split(500)])
    return float(((made.double() - torch.from_numpy(y).double()) ** 2).mean())


def loaded(run: Run, data: Samples, checkpoint: Path) -> nn.Module:
    """Return the network of a checkpoint, in float64 and in eval mode."""
    model = network_of(run, data)
    model.load_state_dict(torch.load(checkpoint, weights_only=True)["model"])
    return model.double().eval()


def saved_in(folder: Path) -> Callable[[int, nn.Module], None]:
    """Return what saves a checkpoint into a folder."""

    def save(epoch: int, model: nn.Module) -> None:
        torch.save({"model": model.state_dict(), "epoch": epoch}, folder / f"epoch_{epoch}.pt")

    return save


def set_up() -> None:
    """Have torch compute on one thread, and the same every time."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
