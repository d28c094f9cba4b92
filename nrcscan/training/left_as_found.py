"""Has a network, and all random numbers, be after a measurement what they were before it.

That a pass puts modes back, needs no gradients and adds no hooks is its own: see `evaluating`.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from torch import Tensor, nn

AUTOCAST = ("cpu", "cuda", "mps", "xpu")
"""Where torch may round to fewer digits on its own."""


@contextmanager
def left_as_found(model: nn.Module) -> Iterator[None]:
    """Put back buffers and the states of random numbers; let no autocast round meanwhile."""
    buffers = list(_buffers(model))
    with same_random_numbers(), ExitStack() as stack:
        for device in AUTOCAST:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        try:
            yield
        finally:
            for module, name, buffer, before in buffers:
                module._buffers[name] = buffer
                if not torch.equal(buffer, before):
                    with torch.no_grad():
                        buffer.copy_(before)


@contextmanager
def same_random_numbers() -> Iterator[None]:
    """Put back the states of random numbers of Python, NumPy and torch, on the CPU and on GPUs."""
    python, numpy = random.getstate(), np.random.get_state()
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(gpus):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _buffers(model: nn.Module) -> Iterator[tuple[nn.Module, str, Tensor, Tensor]]:
    """Yield every buffer with its module, its name there, and a copy."""
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None and not isinstance(buffer, nn.parameter.UninitializedBuffer):
                yield module, name, buffer, buffer.detach().clone()
