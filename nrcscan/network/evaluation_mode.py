"""How a network is run: as it was trained to be used, and put back afterwards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import nn
from torch.nn.utils.parametrize import cached


def uncompiled() -> AbstractContextManager[Any]:
    """Have compiled networks run operation by operation, as written.

    A network that has been compiled has imported the compiler; nothing else here needs it.
    """
    if "torch._dynamo" not in sys.modules:
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model in eval mode without gradients, and every module back in its own mode.

    A parametrised weight is computed once and kept for the duration, so that it can be known.
    """
    # A frozen program has no mode, and an exported one cannot leave the one it has.
    modes = [(module, getattr(module, "training", None)) for module in model.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    rounded = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    if modes[0][1] is not None:
        with suppress(NotImplementedError):
            model.eval()
    try:
        # The fast path of attention runs as one operation, in which no layer can be seen.
        torch.backends.mha.set_fastpath_enabled(False)
        # What a GPU calls TF32 keeps ten bits of a product's factors.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        with torch.inference_mode(), cached(), uncompiled():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = rounded
        for module, training in modes:
            if training is not None:
                module.training = training
