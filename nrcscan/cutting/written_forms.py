"""The forms that a cut network is written in, and how each is opened again to be tried."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim

from nrcscan.cutting.cut_forms import ONNX, STATE, TORCHSCRIPT, CutForm
from nrcscan.cutting.factory_source import CutSource
from nrcscan.errors import InputError
from nrcscan.network.predictions import to_numpy
from nrcscan.wording import reason

Predict = Callable[[Any], Tensor]
"""Inputs as the network takes them, a tensor, a tuple or a dict of them → predictions."""


class CutWriter(NamedTuple):
    """What writes a form of file.

    Attributes:
        write: writes a network to a path, with a few samples for an example.
        opened: opens it again.
    """

    write: Callable[[CutSource, Any, Path], None]
    opened: Callable[[Path], Predict]


def _called(network: Callable[..., Tensor], inputs: Any) -> Tensor:
    if isinstance(inputs, tuple):
        return network(*inputs)
    return network(**inputs) if isinstance(inputs, dict) else network(inputs)


# --- state dict and factory ------------------------------------------------------------------


def _write_state(source: CutSource, example: Any, path: Path) -> None:
    path.with_suffix(".py").write_text(source.text, encoding="utf-8")
    torch.save(dict(source.state), path)


def _opened_state(path: Path) -> Predict:
    network = _module(path.with_suffix(".py")).build()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    network.eval()
    return lambda inputs: _called(network, inputs)


def _module(path: Path) -> Any:
    """Return what a file that was just written defines."""
    spec = importlib.util.spec_from_file_location("nrcscan_cut_network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), vars(module))
    return module


def network_of(source: CutSource) -> nn.Module:
    """Return the network that a file of Python makes, with its weights, in eval mode."""
    made: dict[str, Any] = {"__name__": "nrcscan_cut_network"}
    exec(compile(source.text, "cut.py", "exec"), made)
    network: nn.Module = made["build"]()
    network.load_state_dict(dict(source.state))
    return network.eval()


# --- TorchScript and ONNX --------------------------------------------------------------------


def _write_torchscript(source: CutSource, example: Any, path: Path) -> None:
    network = network_of(source)
    given = (
        {"example_kwarg_inputs": example}
        if isinstance(example, dict)
        else {"example_inputs": example}
    )
    with _converting(TORCHSCRIPT), torch.no_grad():
        torch.jit.trace(network, **given, check_trace=False).save(str(path))


def _opened_torchscript(path: Path) -> Predict:
    with _converting(TORCHSCRIPT):
        program = torch.jit.load(str(path), map_location="cpu")
    return lambda inputs: _called(program, inputs)


def _write_onnx(source: CutSource, example: Any, path: Path) -> None:
    network = network_of(source)
    args, kwargs = ((), example) if isinstance(example, dict) else (example, None)
    args = args if isinstance(args, tuple) else (args,)
    any_number: Any = tuple({0: Dim.AUTO} for _ in args)
    if kwargs:
        any_number = {name: {0: Dim.AUTO} for name in kwargs}
    with _converting(ONNX), torch.no_grad():
        torch.onnx.export(
            network,
            args,
            path,
            kwargs=kwargs,
            dynamo=True,
            dynamic_shapes=any_number,
            output_names=["predictions"],
            external_data=False,
            verbose=False,
        )


def _opened_onnx(path: Path) -> Predict:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    with _converting(ONNX):
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    names = [one.name for one in session.get_inputs()]

    def predict(inputs: Any) -> Tensor:
        if isinstance(inputs, dict):
            given = {name: to_numpy(inputs[name]) for name in names}
        else:
            several = inputs if isinstance(inputs, tuple) else (inputs,)
            given = {n: to_numpy(part) for n, part in zip(names, several, strict=False)}
        return torch.from_numpy(session.run(None, given)[0])

    return predict


@contextmanager
def _converting(form: CutForm) -> Iterator[None]:
    """Keep converters quiet, and say what they cannot convert in one line.

    Raises:
        InputError: the form has no word for what the network computes, or not in this precision.
    """
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # both have been called deprecated
            yield
    except OSError:
        raise
    except Exception as error:  # converters raise anything
        raise InputError(
            f"the cut network cannot be written as {form.name} ({type(error).__name__}:"
            f" {reason(error)}); write it as .pt"
        ) from error
    finally:
        logger.setLevel(level)


WRITERS: dict[CutForm, CutWriter] = {
    STATE: CutWriter(_write_state, _opened_state),
    TORCHSCRIPT: CutWriter(_write_torchscript, _opened_torchscript),
    ONNX: CutWriter(_write_onnx, _opened_onnx),
}
