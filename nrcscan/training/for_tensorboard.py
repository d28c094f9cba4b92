"""Writes numbers where TensorBoard finds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from nrcscan.errors import UsageError
from nrcscan.extras import to_install


class TensorBoardLog:
    """Takes the numbers of an epoch; made by `tensorboard_log`."""

    def __init__(self, folder: str | Path) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def __call__(self, numbers: Mapping[str, float], epoch: int) -> None:
        """Write numbers, and have them on disk."""
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def tensorboard_log(folder: str | Path) -> TensorBoardLog:
    """Return what writes numbers into a folder of TensorBoard's, for `Monitor(log=…)`.

    Args:
        folder: as `tensorboard --logdir` takes it.

    Raises:
        UsageError: tensorboard is not installed.
    """
    try:
        return TensorBoardLog(folder)
    except ImportError as error:
        raise UsageError(
            f"logging to TensorBoard needs tensorboard; {to_install('tensorboard')}"
        ) from error
