"""ONNX models: a graph and its weights, which onnxruntime runs as they are."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from nrcscan.errors import InputError, NrcscanError, UsageError
from nrcscan.extras import to_install
from nrcscan.files import open_safely
from nrcscan.inputs.checkpoints.contents import Contents, damaged
from nrcscan.inputs.checkpoints.onnx_folding import notes_on_folding
from nrcscan.inputs.checkpoints.onnx_graph import OtherNode, Survey, survey
from nrcscan.inputs.checkpoints.onnx_inputs import fixed_batch, graph_inputs
from nrcscan.inputs.checkpoints.onnx_module import Graph, Run, said
from nrcscan.inputs.checkpoints.onnx_surroundings import surroundings
from nrcscan.wording import listed

if TYPE_CHECKING:
    import onnx

_LARGEST = (1 << 31) - 1
"""Bytes of a model, without the data beside it: protocol buffers have no more."""

# Whose operations onnxruntime brings along, but for ONNX's own.
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_IN_INTEGERS = (
    "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "QGemm", "QAttention",
    "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulIntegerToFloat", "MatMulNBits",
)  # fmt: skip


def read_onnx(path: Path) -> Contents:
    """Read an ONNX model, ready to run.

    Raises:
        UsageError: onnx or onnxruntime is not installed.
        UnsafeError: it keeps its data in files outside its folder.
        InputError: the graph is damaged, or has nothing that can be run or measured.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"{path}: an ONNX model needs onnx and onnxruntime; {to_install('onnx')}"
        ) from error
    model, sha256, found, held = _surveyed(path)
    inputs = graph_inputs(path, model.graph)
    batch = fixed_batch(path, inputs)
    held |= _computed_weights(path, model, found, held)
    _leave_out_stacks(path, found, held)
    outputs = [output.name for output in model.graph.output]
    sources = {one.name for one in inputs}
    features = [layer.features for layer in found.layers if layer.features not in sources]
    run = _session(path, model, [*outputs, *features])
    around = surroundings(model.graph, found.layers, found.others, held)
    module = Graph(run, inputs, outputs, found.layers, held, around, found.others)
    taken = {layer.origin for layer in found.layers}
    state = dict(module.state_dict())
    for name, values in held.items():
        # A mask, which holds infinities, is no weight that has diverged.
        if values.dtype.kind == "f" and name not in taken and not np.isinf(values).any():
            state.setdefault(name, torch.from_numpy(np.array(values)))
    notes = [*notes_on_folding(found.layers, model.graph.node)]
    if found.others:
        others = listed(map(str, found.others))
        notes.append(f"not Linear or convolution layers, so not measured: {others}")
    version = ", ".join(f"{o.domain or 'ai.onnx'} {o.version}" for o in model.opset_import)
    return Contents(
        path,
        "onnx",
        sha256,
        {"": state},
        {
            "operations": version,
            "made by": f"{model.producer_name} {model.producer_version}",
            "inputs": "; ".join(map(str, inputs)),
            "outputs": ", ".join(outputs),
        },
        ordered=True,
        modules={"": module},
        fixed_batch=batch,
        fixed_dtype=next(module.parameters()).dtype,
        notes=tuple(notes),
    )


def _surveyed(path: Path) -> tuple[onnx.ModelProto, str, Survey, dict[str, NDArray[Any]]]:
    """Return a model, its fingerprint, the layers in it, and the tensors that it holds by name."""
    import onnx
    import onnx.inliner

    model = onnx.ModelProto()
    try:
        model.ParseFromString(open_safely.content(path, "model", _LARGEST))
        if not model.graph.node or not model.opset_import:
            raise ValueError("it has no nodes, or no version of their operations")
        sha256 = _fingerprint(path, model)
        _require_runnable(path, model)
        if model.functions:
            model = onnx.inliner.inline_local_functions(model)
        found = survey(model.graph)
        held = {t.name: _values(t, path.parent) for t in model.graph.initializer}
    except NrcscanError:
        raise
    except Exception as error:  # protobuf and onnx have errors of their own
        raise damaged(path, error) from error
    if not found.layers:
        kinds = listed(sorted({node.op_type for node in model.graph.node}))
        raise InputError(
            f"{path}: no Linear layer or convolution with a weight of its own is among its nodes"
            f" ({kinds}), so there is nothing to measure; export the network with its weights in it"
        )
    return model, sha256, found, held


def _computed_weights(
    path: Path, model: onnx.ModelProto, found: Survey, held: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """Return the weights of layers that the model makes from constants, by name."""
    import onnx

    computed = [layer.weight for layer in found.layers if layer.weight not in held]
    if not computed:
        return {}
    weights = onnx.ModelProto()
    weights.CopyFrom(model)
    del weights.graph.node[:], weights.graph.input[:], weights.graph.output[:]
    weights.graph.node.extend(found.constants)
    return dict(zip(computed, _session(path, weights, computed)(computed, {}), strict=True))


def _leave_out_stacks(path: Path, found: Survey, held: Mapping[str, NDArray[Any]]) -> None:
    """Take products with a stack of matrices, or with a vector, for what they are: no layers.

    Raises:
        InputError: every matrix of the graph is a stack of several.
    """
    kept = [layer for layer in found.layers if layer.convolves or held[layer.weight].ndim == 2]
    stacks = [
        OtherNode(
            layer.names[0].removesuffix(".weight"),
            layer.op_type,
            number,
            layer.output,
            (layer.origin,),
        )
        for number, layer in enumerate(found.layers)
        if layer not in kept and held[layer.weight].ndim > 2
    ]
    found.others = [
        replace(other, layers_before=sum(la in kept for la in found.layers[: other.layers_before]))
        for other in (*found.others, *stacks)
    ]
    found.layers = kept
    if not kept:
        raise InputError(
            f"{path}: multiplies with no matrix alone, so there is nothing to measure;"
            " save the network of PyTorch, and name it with --model"
        )


def _within(message: Any) -> Iterator[Any]:
    """Yield a protobuf message, and every message in it.

    Raises:
        ValueError: a name in one is no text.
    """
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _within(inner)
        elif field.type == field.TYPE_STRING:
            texts = [value] if isinstance(value, str | bytes) else value
            if any(isinstance(text, bytes) for text in texts):  # as protobuf gives what is no text
                raise ValueError(f"a {field.name} that is no text")


def _fingerprint(path: Path, model: onnx.ModelProto) -> str:
    """Return the SHA-256 of a model and of the files beside it that hold its data.

    Raises:
        UnsafeError: such a file is outside the model's folder.
        InputError: the model keeps weights in files beside it, and one is missing.
    """
    import onnx

    names = []
    for message in _within(model):
        if isinstance(message, onnx.TensorProto):
            # Any other way to say where data is would be followed unseen.
            given = {entry.key: entry.value for entry in message.external_data}
            if given or message.data_location == onnx.TensorProto.EXTERNAL:
                names.append(given.get("location", ""))
    found = {name: open_safely.beside(path, name, "data file") for name in dict.fromkeys(names)}
    absent = [name for name, place in found.items() if not open_safely.is_regular(place)]
    if absent:
        raise InputError(f"{path}: its data {listed(absent)} is missing; copy it beside the model")
    sums = [open_safely.sha256(place) for place in (path, *found.values())]
    return hashlib.sha256("".join(sums).encode()).hexdigest() if found else sums[0]


def _require_runnable(path: Path, model: onnx.ModelProto) -> None:
    """Refuse operations that nobody here knows, or that compute in integers.

    Raises:
        InputError: the graph has operations that are not run or not measured.
    """
    import onnx

    nodes = [message for message in _within(model) if isinstance(message, onnx.NodeProto)]
    own = {(function.domain, function.name) for function in model.functions}
    unknown = [
        f"{node.domain}.{node.op_type}"
        for node in nodes
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own
    ]
    if unknown:
        raise InputError(
            f"{path}: onnxruntime does not know {listed(sorted(set(unknown)))}, and code for it is"
            " not loaded; export the network in operations of ONNX alone"
        )
    integers = [
        f"{node.name or node.output[0]} ({node.op_type})"
        for node in nodes
        if node.op_type in _IN_INTEGERS
    ]
    if integers:
        raise InputError(
            f"{path}: is quantised: integers are what {listed(integers)} works on, and no features"
            " are to be seen there; export the network as it was before quantisation"
        )


def _values(tensor: onnx.TensorProto, folder: Path) -> NDArray[Any]:
    """Return what a tensor holds; a type that NumPy does not know, in float32."""
    from onnx import numpy_helper

    values: NDArray[Any] = numpy_helper.to_array(tensor, str(folder))
    return values.astype(np.float32) if values.dtype.kind == "V" else values


def _session(path: Path, model: onnx.ModelProto, wanted: list[str]) -> Run:
    """Return what runs a model and gives any of the tensors that are wanted.

    Raises:
        InputError: onnxruntime does not accept the graph.
    """
    import onnx
    import onnxruntime

    there = {output.name for output in model.graph.output}
    for name in dict.fromkeys(wanted):
        if name not in there:
            model.graph.output.append(onnx.ValueInfoProto(name=name))
    del model.metadata_props[:]  # which can hold settings of a session
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    # Tensors keep their values: no quantised or approximate operations in place of others.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path.parent.resolve())
    )
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime raises errors of its own
        raise InputError(
            f"{path}: onnxruntime {onnxruntime.__version__} cannot run it ({said(error)}); export"
            " it again, for an opset that it knows"
        ) from error
    run: Run = session.run
    return run
