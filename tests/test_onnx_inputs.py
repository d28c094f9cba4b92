"""ONNX models with several inputs, and weights that the graph itself computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Run, samples
from onnx import TensorProto, helper, numpy_helper
from test_onnx import WEIGHT, export, graph, weights
from torch import Tensor, nn

from nrcscan import InputError, extract, inspect, report
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint

pytestmark = pytest.mark.numerical

RNG = np.random.default_rng(1)
TABLE = RNG.standard_normal((9, 6)).astype(np.float32)
HEAD = RNG.standard_normal((2, 8)).astype(np.float32)
TOKENS = RNG.integers(0, 9, (50, 5))
ASIDE = RNG.standard_normal((50, 2)).astype(np.float32)
Y = samples(50, 6, 2)[1]


def two(path: Path, *, aside: tuple[Any, ...] = ("n", 2), kind: int = TensorProto.INT64) -> Path:
    """Write a graph of token ids and of numbers beside them."""
    nodes = [
        helper.make_node("Gather", ["table.weight", "ids"], ["all"], name="embed"),
        helper.make_node("ReduceMean", ["all", "axes"], ["h"], keepdims=0),
        helper.make_node("Concat", ["h", "aside"], ["both"], axis=1),
        helper.make_node("Gemm", ["both", "head.weight"], ["y"], transB=1),
    ]
    held = {"table.weight": TABLE, "head.weight": HEAD, "axes": np.array([1])}
    infos = [
        helper.make_tensor_value_info("ids", kind, ("n", 5)),
        helper.make_tensor_value_info("aside", TensorProto.FLOAT, aside),
    ]
    made = helper.make_graph(
        nodes, "net", infos, [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(values, name) for name, values in held.items()],
    )  # fmt: skip
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(made, opset_imports=opset, ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def right() -> float:
    """Return R² of the graph, computed directly."""
    both = np.concatenate([TABLE[TOKENS].mean(1, dtype=float), ASIDE], axis=1)
    error = both @ HEAD.T.astype(float) - Y
    return float(1 - (error**2).sum() / ((Y - Y.mean(0)) ** 2).sum())


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32])
def test_inputs_by_their_names(tmp_path: Path, cli: Run, kind: int) -> None:
    path = two(tmp_path / "m.onnx", kind=kind)
    np.savez(tmp_path / "d.npz", aside=ASIDE, ids=TOKENS, y=Y)
    done = cli("extract", path, "d.npz", "--x-key", "aside,ids", "--y-key", "y")
    assert done.returncode == 0, done.stderr
    assert "taken in order" not in done.stderr
    found = report(tmp_path / "acts.h5")
    assert found.r2 == pytest.approx(right(), rel=1e-5)
    assert [layer.name for layer in found.layers] == ["head"]
    assert found.layers[0].width == 8


def test_inputs_in_order_where_names_differ(tmp_path: Path, cli: Run) -> None:
    two(tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", a=TOKENS, b=ASIDE, c=ASIDE, y=Y)
    done = cli("extract", "m.onnx", "d.npz", "--x-key", "a,b", "--y-key", "y")
    assert (
        "note: the graph's inputs have other names than the data's, taken in order: a as ids and b"
        " as aside\n"
    ) in done.stderr
    assert report(tmp_path / "acts.h5").r2 == pytest.approx(right(), rel=1e-5)


def test_inputs_in_memory(tmp_path: Path) -> None:
    path = two(tmp_path / "m.onnx")
    batches = [((TOKENS, ASIDE), Y)]
    done = extract(path, batches, tmp_path / "a.h5")
    assert done.r2 == pytest.approx(right(), rel=1e-5)


@pytest.mark.parametrize(
    ("x_key", "message"),
    [
        ("ids", r"takes 2 inputs \(ids and aside\) and the data gives 1; name .*--x-key ids,aside"),
        ("ids,b", r"takes 2 inputs \(ids and aside\) and the data gives 2 \(ids and b\)"),
        ("ids,aside,b", r"takes 2 inputs .* and the data gives 3 \(ids, aside and b\)"),
        ("broken,aside", "takes 2 inputs .* gives 2 .broken and aside.; name them with --x-key"),
    ],
)
def test_inputs_that_do_not_fit(tmp_path: Path, x_key: str, message: str) -> None:
    path = two(tmp_path / "m.onnx")
    np.savez(tmp_path / "d.npz", ids=TOKENS, aside=ASIDE, b=ASIDE, broken=TOKENS + 0.5, y=Y)
    with pytest.raises(InputError, match=message):
        extract(path, tmp_path / "d.npz", tmp_path / "a.h5", x_key=x_key, y_key="y")
    assert not (tmp_path / "a.h5").exists()


def test_values_that_an_input_cannot_hold(tmp_path: Path) -> None:
    path = two(tmp_path / "m.onnx", kind=TensorProto.INT32)
    for broken, message in (
        (TOKENS + 0.5, "the graph takes integers as 'ids'; give data without fractions"),
        (TOKENS + 2**40, "the graph takes int32 as 'ids'; give data that it can hold"),
    ):
        with pytest.raises(InputError, match=message):
            extract(path, [({"ids": broken, "aside": ASIDE}, Y)], tmp_path / "a.h5")


def test_inputs_for_different_numbers_of_samples(tmp_path: Path) -> None:
    path = two(tmp_path / "m.onnx", aside=(4, 2))
    assert open_checkpoint(path).fixed_batch == 4
    model = two(tmp_path / "n.onnx", aside=(4, 2)).read_bytes()
    import onnx

    loaded = onnx.load_model_from_string(model)
    loaded.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 3
    path.write_bytes(loaded.SerializeToString())
    with pytest.raises(InputError, match=r"same number of samples \(ids for 3 and aside for 4\);"):
        open_checkpoint(path)


def test_inspect_lists_inputs(tmp_path: Path, cli: Run) -> None:
    path = two(tmp_path / "m.onnx")
    found = inspect(path)
    assert found.entries["inputs"] == "ids int64 (n, 5); aside float32 (n, 2)"
    assert found.entries["outputs"] == "y"
    shown = cli("inspect", path).stdout
    assert "ids int64 (n, 5); aside float32 (n, 2)" in " ".join(shown.split())
    assert "head.weight" in shown


# --- weights ----------------------------------------------------------------------------------


DATA = samples(50, 6, 2)


def test_weights_that_the_graph_computes(tmp_path: Path) -> None:
    small = RNG.integers(-100, 100, (6, 6)).astype(np.int8)
    scale = np.array([0.01, 0.02, 0.03, 0.04, 0.05, 0.06], np.float32)
    norm = RNG.standard_normal((6, 6)).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["small", "scale"], ["wide"], axis=0),
        helper.make_node("MatMul", ["x", "wide"], ["a"], name="dequantised"),
        helper.make_node("ReduceL2", ["v", "axes"], ["length"]),
        helper.make_node("Div", ["v", "length"], ["unit"]),
        helper.make_node("Mul", ["unit", "g"], ["w"]),
        helper.make_node("Gemm", ["a", "w"], ["b"], transB=1, name="normed"),
        helper.make_node("Identity", ["head.weight"], ["same"]),
        helper.make_node("Gemm", ["b", "same"], ["y"], transB=1),
    ]
    held: dict[str, np.ndarray] = {
        "small": small, "scale": scale, "v": norm, "axes": np.array([1]),
        "g": np.full((6, 1), 1.5, np.float32), "head.weight": WEIGHT,
    }  # fmt: skip
    extract(graph(tmp_path / "m", nodes, held), DATA, tmp_path / "a.h5")
    found = weights(tmp_path / "a.h5")
    assert list(found) == ["dequantised", "normed", "head"]
    np.testing.assert_allclose(found["dequantised"], (small * scale[:, None]).T, rtol=1e-6)
    unit = norm / np.linalg.norm(norm, axis=1, keepdims=True)
    np.testing.assert_allclose(found["normed"], 1.5 * unit, rtol=1e-5)
    np.testing.assert_array_equal(found["head"], WEIGHT)


def test_a_stack_of_matrices_is_no_layer(tmp_path: Path) -> None:
    stack = RNG.standard_normal((3, 6, 6)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "stack"], ["each"], name="experts"),
        helper.make_node("ReduceMean", ["each", "axes"], ["h"], keepdims=0),
        helper.make_node("Gemm", ["h", "head.weight"], ["y"], transB=1),
    ]
    held: dict[str, np.ndarray] = {"stack": stack, "axes": np.array([0]), "head.weight": WEIGHT}
    done = extract(graph(tmp_path / "m", nodes, held), DATA, tmp_path / "a.h5")
    assert done.layers == ("head",)
    assert done.notes[0] == ("not Linear or convolution layers, so not measured: experts (MatMul)")


class Low(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.base_layer = nn.Linear(6, 8)
        self.lora_A = nn.Linear(6, 2, bias=False)
        self.lora_B = nn.Linear(2, 8, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + self.lora_B(self.lora_A(x))


@pytest.mark.parametrize("names", ["of scopes", "of weights"])
def test_adapters_in_a_graph_are_no_layers(tmp_path: Path, names: str) -> None:
    if names == "of scopes":
        net = nn.Sequential(Low(), nn.ReLU(), nn.Linear(8, 2))
        path = export(net, torch.zeros(7, 6), tmp_path / "m", dynamo=False)
    else:
        nodes = [
            helper.make_node("Gemm", ["x", "0.base_layer.weight"], ["base"], transB=1),
            helper.make_node("Gemm", ["x", "0.lora_A.weight"], ["low"], transB=1),
            helper.make_node("Gemm", ["low", "0.lora_B.weight"], ["path"], transB=1),
            helper.make_node("Add", ["base", "path"], ["h"]),
            helper.make_node("Gemm", ["h", "2.weight"], ["y"], transB=1),
        ]
        shapes = {"0.base_layer": (8, 6), "0.lora_A": (2, 6), "0.lora_B": (8, 2), "2": (2, 8)}
        held = {f"{name}.weight": RNG.standard_normal(s).astype("f4") for name, s in shapes.items()}
        path = graph(tmp_path / "m", nodes, held)
    done = extract(path, DATA, tmp_path / "a.h5")
    assert done.layers == ("0", "2")
    assert any("the alignment is not judged" in note for note in done.notes)
    assert "alignment" in report(tmp_path / "a.h5").layers[0].metrics.undefined


@pytest.mark.parametrize(
    ("name", "key"),
    [("model/bn/FusedBatchNormV3_weights_fused_bn", ""), ("ConvBnFusion_W_conv.weight", "")],
)
def test_other_exporters_name_what_they_fold(tmp_path: Path, name: str, key: str) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", name], ["h"], transB=1, name="first"),
        helper.make_node("Gemm", ["h", "head.weight"], ["y"], transB=1),
    ]
    held = {name: RNG.standard_normal((6, 6)).astype(np.float32), "head.weight": WEIGHT}
    notes = open_checkpoint(graph(tmp_path / "m", nodes, held)).notes
    assert len(notes) == 1
    assert notes[0].startswith("the exporter folded BatchNorm into the weights of ")
