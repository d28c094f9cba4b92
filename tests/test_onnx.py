"""ONNX models: of both exporters of torch, and built node by node."""

from __future__ import annotations

import builtins
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
import tolerances
import torch
from conftest import Run, mlp
from onnx import TensorProto, helper, numpy_helper
from test_programs import DATA, IMAGES, Conv, expect_same, measured
from torch import Tensor, nn

from nrcscan import InputError, UnsafeError, UsageError, extract, inspect, report
from nrcscan.inputs.checkpoints.open_checkpoint import open_checkpoint

pytestmark = pytest.mark.numerical

RNG = np.random.default_rng(0)
WEIGHT = RNG.standard_normal((2, 6)).astype(np.float32)


def export(model: nn.Module, x: Tensor, path: Path, *, dynamo: bool, fixed: bool = False) -> Path:
    batch: dict[str, Any] = {"dynamic_axes": {"x": {0: "batch"}}}
    if dynamo:
        batch = {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporters, about each other
        torch.onnx.export(
            model.eval(), (x,), path, dynamo=dynamo, verbose=False,
            input_names=["x"], **({} if fixed else batch),
        )  # fmt: skip
    return path


def graph(
    path: Path,
    nodes: Sequence[Any],
    weights: Mapping[str, np.ndarray],
    *,
    inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",),
    dtype: int = TensorProto.FLOAT,
    shape: Sequence[str | int] = ("n", 6),
    **options: Any,
) -> Path:
    """Write a model made of these nodes."""
    infos = [helper.make_tensor_value_info(name, dtype, shape) for name in inputs]
    given = [helper.make_empty_tensor_value_info(name) for name in outputs]
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    made = helper.make_graph(nodes, "net", infos, given, tensors)
    options = {"opset_imports": [helper.make_opsetid("", 20)], "ir_version": 10, **options}
    path.write_bytes(helper.make_model(made, **options).SerializeToString())
    return path


def linear(path: Path, **options: Any) -> Path:
    node = helper.make_node("Gemm", ["x", "head.weight"], ["y"], transB=1)
    return graph(path, [node], {"head.weight": WEIGHT}, **options)


def weights(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        layers = file["layers"].values()
        return {la.attrs["name"].decode(): la["weight"][()] for la in layers}


# --- as the exporters write them --------------------------------------------------------------


@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("fixed", [True, False])
@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_a_graph_measures_as_its_state_dict_does(
    tmp_path: Path, kind: str, fixed: bool, dynamo: bool
) -> None:
    model = (mlp(6, 8, 2) if kind == "mlp" else Conv()).eval()
    data = DATA if kind == "mlp" else IMAGES
    example = torch.from_numpy(data[0][:7])
    path = export(model, example, tmp_path / "model.bin", dynamo=dynamo, fixed=fixed)
    torch.save(model.state_dict(), tmp_path / "state.pt")
    expected = measured(tmp_path / "state.pt", data, factory=lambda: model)
    assert open_checkpoint(path).fixed_batch == (7 if fixed else None)
    expect_same(measured(path, data), expected)


@pytest.mark.parametrize("dynamo", [True, False])
def test_a_norm_folded_into_its_convolution(tmp_path: Path, dynamo: bool) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(24, 2)
    )
    norm = model[1]
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean = torch.full((4,), 0.3)
    path = export(model, torch.from_numpy(IMAGES[0][:7]), tmp_path / "m", dynamo=dynamo)
    after = "features and weights are measured as they are after folding"
    told = {
        True: f"the exporter folded BatchNorm into the weights of 0: {after}",
        False: "the weights of /0/Conv have no names of the network's own, as exporters leave those"
        f" into which they fold BatchNorm: if so, {after}",
    }
    assert open_checkpoint(path).notes == (told[dynamo],)
    torch.save(model, tmp_path / "module.pt")
    *_, (*_, found) = measured(path, IMAGES)
    *_, (*_, expected) = measured(tmp_path / "module.pt", IMAGES)
    assert found == pytest.approx(expected, rel=tolerances.SHALLOW, abs=1e-6)


class Attention(nn.Module):
    """Attention, recurrence, and a layer used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(2, 8)
        self.encode = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.rnn = nn.GRU(8, 8, batch_first=True)
        self.twice = nn.Linear(8, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.rnn(self.encode(self.embed(x)))[0][:, -1]
        return self.head(torch.relu(self.twice(torch.relu(self.twice(x)))))


def test_attention_recurrence_and_a_layer_used_twice(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, x = Attention().eval(), DATA[0].reshape(50, 3, 2)
    path = export(model, torch.from_numpy(x[:7]), tmp_path / "m.onnx", dynamo=False)
    done = extract(path, (x, DATA[1]), tmp_path / "a.h5")
    assert done.notes == ("not Linear or convolution layers, so not measured: /rnn/GRU (GRU)",)
    assert done.layers[-3:] == ("twice", "twice#2", "head")
    extract(model, (x, DATA[1]), tmp_path / "b.h5")
    ours = report(tmp_path / "a.h5").layers
    theirs = [la for la in report(tmp_path / "b.h5").layers if not la.name.startswith("rnn.")]
    for a, b in zip(ours, theirs, strict=True):
        assert a.metrics.values == pytest.approx(b.metrics.values, rel=1e-3, abs=1e-5)


def test_inspect(tmp_path: Path, cli: Run) -> None:
    path = export(mlp(6, 8, 2), torch.zeros(7, 6), tmp_path / "m.onnx", dynamo=False)
    found = inspect(path)
    assert found.format_name == "ONNX model"
    assert found.network == "in the file, a graph that onnxruntime runs"
    assert [t.name for t in found.tensors] == ["0.weight", "2.weight", "0.bias", "2.bias"]
    np.savez(tmp_path / "d.npz", X=DATA[0], y=DATA[1])
    done = cli("extract", path, tmp_path / "d.npz", "-o", tmp_path / "a.h5")
    assert (done.returncode, "2 layers, 50 samples" in done.stdout) == (0, True), done.stderr


def test_the_weights_fit_a_network_of_ones_own(tmp_path: Path) -> None:
    path = export(mlp(6, 8, 2), torch.zeros(7, 6), tmp_path / "m.onnx", dynamo=False)
    ours = measured(path, DATA, factory=lambda: mlp(6, 8, 2, seed=1))
    expect_same(ours, measured(path, DATA))


# --- what counts as a layer -------------------------------------------------------------------


def test_weights_are_arranged_as_torch_has_them(tmp_path: Path) -> None:
    square = RNG.standard_normal((6, 6)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "plain.weight"], ["a"]),
        helper.make_node("Transpose", ["a.weight"], ["t"], perm=[1, 0]),
        helper.make_node("Gemm", ["a", "t"], ["b"], transB=1, alpha=2.0, name="turned"),
        helper.make_node("Cast", ["half"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["b", "wide"], ["c"], name="/cast/MatMul"),
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(WEIGHT.T)),
        helper.make_node("MatMul", ["c", "k"], ["y"]),
    ]
    half = square.astype(np.float16)
    held: dict[str, np.ndarray] = {"plain.weight": square, "a.weight": square + 1, "half": half}
    done = extract(graph(tmp_path / "m", nodes, held), DATA, tmp_path / "a.h5")
    assert done.layers == ("plain", "a", "/cast/MatMul", "y")
    found = weights(tmp_path / "a.h5")
    np.testing.assert_array_equal(found["plain"], square.T)
    np.testing.assert_array_equal(found["a"], 2 * (square + 1).T)
    np.testing.assert_array_equal(found["/cast/MatMul"], half.astype(np.float32).T)
    np.testing.assert_array_equal(found["y"], WEIGHT)


def test_tied_weights_and_layers_that_read_the_same(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "a.weight"], ["h"], transB=1),
        helper.make_node("Identity", ["h"], ["copy"]),
        helper.make_node("Gemm", ["copy", "a.weight"], ["i"], transB=1),
        helper.make_node("Transpose", ["a.weight"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["h", "t"], ["j"]),
        helper.make_node("Add", ["i", "j"], ["k"]),
        helper.make_node("Gemm", ["k", "head.weight"], ["y"], transB=1),
    ]
    held = {"a.weight": RNG.standard_normal((6, 6)).astype(np.float32), "head.weight": WEIGHT}
    extract(graph(tmp_path / "m", nodes, held), DATA, tmp_path / "a.h5")
    found = [(la.name, la.position) for la in report(tmp_path / "a.h5").layers]
    assert found == [("a", 0), ("a#2", 1), ("a#3", 1), ("head", 2)]


def test_a_name_that_is_taken(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "same.weight"], ["h"]),
        helper.make_node("MatMul", ["h", "w"], ["y"], name="same"),
    ]
    held = {"same.weight": RNG.standard_normal((6, 6)).astype(np.float32), "w": WEIGHT.T.copy()}
    path = graph(tmp_path / "m", nodes, held)
    assert extract(path, DATA, tmp_path / "a.h5").layers == ("same", "y")


def test_a_bare_layer_and_names_that_every_module_has(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "forward.weight"], ["h"]),
        helper.make_node("Gemm", ["h", "weight"], ["y"], transB=1),
    ]
    held = {"forward.weight": np.eye(6, dtype=np.float32), "weight": WEIGHT}
    path = graph(tmp_path / "m", nodes, held)
    assert extract(path, DATA, tmp_path / "a.h5").layers == ("forward", "Linear")


def test_functions_of_the_model_are_looked_into(tmp_path: Path) -> None:
    body = [helper.make_node("MatMul", ["a", "b"], ["c"])]
    opset = [helper.make_opsetid("", 20)]
    function = helper.make_function("mine", "Times", ["a", "b"], ["c"], body, opset)
    nodes = [helper.make_node("Times", ["x", "net.weight"], ["y"], domain="mine")]
    imports = [*opset, helper.make_opsetid("mine", 1)]
    path = graph(
        tmp_path / "m", nodes, {"net.weight": WEIGHT.T.copy()},
        functions=[function], opset_imports=imports,
    )  # fmt: skip
    assert extract(path, DATA, tmp_path / "a.h5").layers == ("net",)


def test_several_outputs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "head.weight"], ["mean"], transB=1),
        helper.make_node("Exp", ["mean"], ["spread"]),
    ]
    path = graph(
        tmp_path / "m", nodes, {"head.weight": WEIGHT}, outputs=("spread", "mean")
    )  # fmt: skip
    first = extract(path, DATA, tmp_path / "a.h5").r2
    assert extract(path, DATA, tmp_path / "b.h5", output_key="mean").r2 != first
    with pytest.raises(InputError, match="--output-key x: the network returns .*spread and mean"):
        extract(path, DATA, tmp_path / "c.h5", output_key="x")


# --- precision and inputs ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("onnx_type", "name"), [(TensorProto.FLOAT16, "float16"), (TensorProto.DOUBLE, "float64")]
)
def test_the_graph_decides_the_precision(tmp_path: Path, onnx_type: int, name: str) -> None:
    node = helper.make_node("Gemm", ["x", "head.weight"], ["y"], transB=1)
    path = graph(tmp_path / "m", [node], {"head.weight": WEIGHT.astype(name)}, dtype=onnx_type)
    extract(path, DATA, tmp_path / "a.h5")
    found = report(tmp_path / "a.h5")
    assert found.provenance["options"]["dtype"] == name
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["epsilon"] == np.finfo(name).eps
    extract(path, DATA, tmp_path / "b.h5", dtype=name)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"--dtype float32: .*m computes in {name} and in nothing"):
        extract(path, DATA, tmp_path / "c.h5", dtype="float32")


def test_integer_inputs_stay_integers(tmp_path: Path) -> None:
    table = RNG.standard_normal((9, 6)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table.weight", "x"], ["h"], name="embed"),
        helper.make_node("MatMul", ["h", "head.weight"], ["each"]),
        helper.make_node("ReduceSum", ["each", "axes"], ["y"], keepdims=0),
    ]
    held = {"table.weight": table, "head.weight": WEIGHT.T.copy(), "axes": np.array([1])}
    path = graph(tmp_path / "m", nodes, held, dtype=TensorProto.INT64, shape=("n", 5))
    tokens = RNG.integers(0, 9, (50, 5))
    done = extract(path, (tokens, DATA[1]), tmp_path / "a.h5")
    assert done.notes[0] == "not Linear or convolution layers, so not measured: embed (Gather)"
    with h5py.File(tmp_path / "a.h5") as file:
        features = file["positions/0000/activations"][()]
    np.testing.assert_allclose(features, table[tokens].mean(1), rtol=1e-5, atol=1e-6)
    with pytest.raises(
        InputError, match="the graph takes integers as 'x'; give data without fractions"
    ):
        extract(path, (tokens + 0.5, DATA[1]), tmp_path / "b.h5")


def test_data_of_another_width(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"samples of shape \(5,\): .*index: 1 Got: 5 Expected"):
        extract(linear(tmp_path / "m"), (DATA[0][:, :5], DATA[1]), tmp_path / "a.h5")


# --- data in other files ----------------------------------------------------------------------


def with_data(path: Path, location: str) -> Path:
    """Write a model whose weight is in another file."""
    model = onnx.load(linear(path))
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    return path


def test_data_beside_the_model(tmp_path: Path) -> None:
    path = with_data(tmp_path / "m.onnx", "m.data")
    with pytest.raises(InputError, match=r"its data m\.data is missing; copy it beside the model"):
        open_checkpoint(path)
    (tmp_path / "m.data").write_bytes(WEIGHT.tobytes())
    expect_same(measured(path, DATA), measured(linear(tmp_path / "whole.onnx"), DATA), rel=1e-6)
    before = open_checkpoint(path).sha256
    (tmp_path / "m.data").write_bytes((WEIGHT * 2).tobytes())
    assert open_checkpoint(path).sha256 != before
    (tmp_path / "m.data").write_bytes(WEIGHT.tobytes()[:-4])
    with pytest.raises(InputError, match="damaged or cut short"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    "location", ["../m.data", "/etc/passwd", "sub/m.data", "..", "", "*/_ORT_MEM_ADDR_/*"]
)
def test_data_outside_the_folder(tmp_path: Path, location: str) -> None:
    path = with_data(tmp_path / "m.onnx", location)
    with pytest.raises(
        UnsafeError, match="names a data file outside its own folder, .*; save both in one"
    ):
        open_checkpoint(path)
    (tmp_path / "m.data").write_bytes(WEIGHT.tobytes())
    (tmp_path / "in").mkdir()
    path = with_data(tmp_path / "in" / "m.onnx", "m.data")
    (tmp_path / "in" / "m.data").symlink_to(tmp_path / "m.data")
    with pytest.raises(UnsafeError, match=r"data file 'm.data' is a link out of its folder"):
        open_checkpoint(path)


# --- what cannot be run -----------------------------------------------------------------------


def test_operations_that_nobody_knows(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "head.weight"], ["h"], transB=1),
        helper.make_node("Secret", ["h"], ["y"], domain="acme"),
    ]
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("acme", 1)]
    path = graph(tmp_path / "m", nodes, {"head.weight": WEIGHT}, opset_imports=imports)
    with pytest.raises(InputError, match=r"onnxruntime does not know acme\.Secret, and code for"):
        open_checkpoint(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ()}, "takes no inputs; export the network with one"),
        ({"dtype": TensorProto.STRING}, "its input 'x' is no tensor of numbers"),
        ({"ir_version": 99}, "cannot run it .*IR version: 99.*; export it again, for an opset"),
        (
            {"opset_imports": [helper.make_opsetid("", 999)]},
            "onnxruntime .* cannot run it .*; export it again, for an opset that it knows",
        ),
        ({"opset_imports": []}, "damaged or cut short .it has no nodes, or no version of their op"),
    ],
)
def test_what_cannot_be_run(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        open_checkpoint(linear(tmp_path / "m", **options))


def test_nothing_to_measure(tmp_path: Path) -> None:
    path = graph(tmp_path / "m", [helper.make_node("Relu", ["x"], ["y"])], {})
    with pytest.raises(InputError, match=r"no Linear layer .* is among its nodes \(Relu\), so"):
        open_checkpoint(path)


def test_quantised(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMulInteger", ["x", "w"], ["y"], name="head")]
    path = graph(
        tmp_path / "m", nodes, {"w": np.ones((6, 2), np.int8)}, dtype=TensorProto.INT8
    )  # fmt: skip
    with pytest.raises(InputError, match=r"is quantised: integers are what head \(MatMulInteger\)"):
        open_checkpoint(path)


def test_diverged(tmp_path: Path) -> None:
    node = helper.make_node("Gemm", ["x", "head.weight"], ["y"], transB=1)
    path = graph(tmp_path / "m", [node], {"head.weight": WEIGHT * np.float32(np.nan)})
    with pytest.raises(InputError, match=r"NaN or infinite weights in head\.weight"):
        extract(path, DATA, tmp_path / "a.h5")


def test_a_mask_is_no_diverged_weight(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Max", ["x", "mask"], ["h"]),
        helper.make_node("Gemm", ["h", "head.weight"], ["y"], transB=1),
    ]
    mask = np.array([0, -np.inf, -np.inf, -np.inf, 0, 0], np.float32)
    path = graph(tmp_path / "m", nodes, {"mask": mask, "head.weight": WEIGHT})
    assert extract(path, DATA, tmp_path / "a.h5").layers == ("head",)


def test_cut_short_anywhere(tmp_path: Path) -> None:
    path = linear(tmp_path / "m")
    content = path.read_bytes()
    for size in range(1, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(InputError):
            open_checkpoint(path)


def test_a_name_that_is_no_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = linear(tmp_path / "m")
    content = path.read_bytes()
    for part in (b"x\x12", b"head.weight", b"Gemm", b"transB", b'y"', b"net"):
        assert part in content
        path.write_bytes(content.replace(part, b"\xff" + part[1:]))
        with pytest.raises(InputError, match="damaged or cut short"):
            open_checkpoint(path)
    assert capfd.readouterr() == ("", "")


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, found = linear(tmp_path / "m"), builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(UsageError, match=r"an ONNX model needs .* pip install onnx onnxruntime$"):
        open_checkpoint(path)
