from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import FIXTURES, ROOT, Run, edited, mlp, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cli import failed, ok
from test_extraction import statistics

from nrcscan import InputError, OutputError, UsageError, extract, merge, report
from nrcscan.extracting.extraction import Extraction
from nrcscan.merging import merge as merging
from nrcscan.reporting.report_table import render
from nrcscan.verdict.answers import Answer

pytestmark = pytest.mark.numerical

N = 300
X, Y = samples(N, 5, 2)
MODEL = mlp(5, 16, 12, 2)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.save(MODEL.state_dict(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def shards(
    folder: Path, cuts: Sequence[int], model: Any = MODEL, data: Any = (X, Y), **options: Any
) -> list[Path]:
    """Extract the samples between each cut and the next, a file each."""
    paths = []
    for first, stop in zip(cuts, [*cuts[1:], N], strict=True):
        path = folder / f"from{first}.h5"
        extract(model, data, path, offset=first, limit=stop - first, force=True, **options)
        paths.append(path)
    return paths


def assert_same(found: dict[str, np.ndarray], whole: dict[str, np.ndarray]) -> None:
    """Compare all but blocks of samples, of which parts have others."""
    found = {name: values for name, values in found.items() if "blocks/" not in name}
    whole = {name: values for name, values in whole.items() if "blocks/" not in name}
    assert found.keys() == whole.keys()
    for name, expected in whole.items():
        scale = np.abs(expected).max() or 1.0
        np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-10 * scale, err_msg=name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Extraction:
    """All samples in one pass, in float64."""
    path = tmp_path_factory.mktemp("whole") / "whole.h5"
    return extract(mlp(5, 16, 12, 2).double(), (X, Y), path, activations=False)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.sets(st.integers(1, N - 1), max_size=4), seed=st.randoms(use_true_random=False))
def test_parts_in_any_order_equal_one_pass(
    whole: Extraction, tmp_path: Path, cuts: set[int], seed: Any
) -> None:
    model = mlp(5, 16, 12, 2).double()
    parts = shards(tmp_path, [0, *sorted(cuts)], model, activations=False)
    seed.shuffle(parts)
    merged = merge(parts, tmp_path / "merged.h5", force=True)
    found, expected = statistics(merged.path), statistics(whole.path)
    order = np.lexsort(found.pop("targets/values").T), np.lexsort(expected["targets/values"].T)
    expected.pop("targets/values")
    assert len(order[0]) == len(order[1]) == N
    assert_same(found, expected)
    assert merged.r2 == pytest.approx(whole.r2, rel=1e-10)
    assert (merged.n_samples, merged.n_parts) == (N, len(parts))
    assert merged.layers == whole.layers


@pytest.mark.parametrize("pool", ["mean", "tokens"])
def test_sketches_merge_to_that_of_one_pass(tmp_path: Path, pool: str) -> None:
    model = torch.nn.Sequential(mlp(5, 24, 24), torch.nn.Flatten(), torch.nn.Linear(72, 2)).double()
    data = np.stack([X, X + 1, -X], axis=1), Y
    options = {"sketch": 9, "pool": pool, "activations": False}
    whole = extract(model, data, tmp_path / "whole.h5", **options)  # type: ignore[arg-type]
    parts = shards(tmp_path, [0, 40, 220], model, data, **options)
    merged = merge(parts, tmp_path / "merged.h5")
    found = statistics(merged.path)
    assert "positions/0000/sketch" in found
    assert_same(found, statistics(whole.path))
    assert report(merged.path).layers[0].metrics.bounds
    with h5py.File(merged.path) as file:
        assert file.attrs["version"] == 2


def test_sketches_in_directions_of_their_own_are_refused(tmp_path: Path) -> None:
    parts = shards(tmp_path, [0, 100], sketch=4, sketch_passes=2)
    with pytest.raises(InputError, match=r"differs from .* in the directions of its sketches \(a"):
        merge(parts, tmp_path / "merged.h5")
    sketched = parts[0].rename(tmp_path / "sketched.h5")
    exact = shards(tmp_path, [0, 200])[1]
    with pytest.raises(InputError, match=r"differs from .* sketch \(none, not 4\)"):
        merge([sketched, exact], tmp_path / "merged.h5")
    assert not (tmp_path / "merged.h5").exists()


@pytest.mark.parametrize("options", [{}, {"sketch": 3}])
def test_parts_that_are_too_large_together(tmp_path: Path, options: dict[str, Any]) -> None:
    model = torch.nn.Sequential(torch.nn.Linear(5, 2)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e-3)
    x = np.where(X > 0, 8e152, -8e152)  # 150 such squares are within float64, 300 are not
    parts = shards(tmp_path, [0, 150], model, (x, Y), activations=False, **options)
    with pytest.raises(InputError, match="cannot be merged: the values are too large: .* rescale"):
        merge(parts, tmp_path / "merged.h5")
    assert not (tmp_path / "merged.h5").exists()


def test_small_eigenvalues_beside_a_large_mean_survive(tmp_path: Path) -> None:
    x = (X.astype(np.float64) + 1e6) * np.array([1, 1e-3, 1, 1e-3, 1])
    model = mlp(5, 16, 2).double()
    whole = extract(model, (x, Y), tmp_path / "whole.h5")
    merged = merge(shards(tmp_path, [0, 40, 220], model, (x, Y)), tmp_path / "merged.h5")
    found, expected = (
        statistics(p)["positions/0000/covariance"] for p in (merged.path, whole.path)
    )
    np.testing.assert_allclose(np.diagonal(found), np.diagonal(expected), rtol=1e-9)
    assert np.linalg.eigvalsh(found)[0] == pytest.approx(np.linalg.eigvalsh(expected)[0], rel=1e-6)


def test_samples_follow_one_another_in_the_order_of_the_parts(tmp_path: Path) -> None:
    whole = extract(MODEL, (X, Y), tmp_path / "whole.h5")
    merged = merge(shards(tmp_path, [0, 100, 101]), tmp_path / "merged.h5")
    found, expected = statistics(merged.path), statistics(whole.path)
    np.testing.assert_array_equal(found["targets/values"], expected["targets/values"])
    for name in [name for name in expected if name.endswith("activations")]:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-4, atol=1e-6)
        assert found[name].dtype == np.float32
    assert found["layers/0000/weight"].dtype == np.float32


def test_activations_that_one_part_lacks_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    a, b = shards(tmp_path, [0, 100])
    extract(MODEL, (X, Y), b, offset=100, activations=False, force=True)
    said: list[str] = []
    merged = merge([a, b], tmp_path / "merged.h5", on_note=said.append)
    assert said[0] == f"activations are left out: {b} holds none"
    assert said[0] in report(merged.path).notes
    with h5py.File(merged.path) as file:
        kept = {"blocks", "mean", "variances", "covariance", "target_covariance", "norms"}
        assert set(file["positions/0000"]) == kept
        assert file["targets/values"].shape == (N, 2)


def test_a_merged_file_is_a_part_again(tmp_path: Path, checkpoint: Path) -> None:
    options: Any = {"activations": False, "dtype": "float64"}  # float32 feels the size of a batch
    whole = extract(checkpoint, (X, Y), tmp_path / "whole.h5", **options)
    a, b, c = shards(tmp_path, [0, 100, 200], checkpoint, **options)
    early = merge([a, b], tmp_path / "early.h5")
    merged = merge([early.path, c], tmp_path / "merged.h5")
    assert_same(statistics(merged.path), statistics(whole.path))
    told = report(merged.path).provenance
    assert [part["path"] for part in told["parts"]] == [str(p) for p in (a, b, c)]
    assert [part["data"]["rows"] for part in told["parts"]] == [[0, 100], [100, 200], [200, 300]]
    assert told["checkpoint"]["path"] == str(checkpoint)
    assert told["options"]["dtype"] == "float64"
    assert len([note for note in merged.notes if "network inferred" in note]) == 1
    with pytest.raises(InputError, match=r"early.h5 and .*from100.h5 both hold samples 100 to 199"):
        merge([early.path, b], tmp_path / "again.h5")


def test_a_single_part_is_copied(tmp_path: Path) -> None:
    whole = extract(MODEL, (X, Y), tmp_path / "whole.h5")
    assert_same(statistics(merge([whole.path], tmp_path / "m.h5").path), statistics(whole.path))


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"dtype": "float64"}, "dtype \\(float64, not float32\\)"),
        ({"exclude": ["0"]}, "lacking 0"),
        ({"pool": "flatten"}, "pool \\(flatten, not mean\\)"),
        ({"output_slice": ":2"}, "output-slice \\(:2, not none\\)"),
        ({"activation": "tanh"}, "tanh"),
        ({"standardize": ["x"], "scales": "scales"}, "standardize \\(x, not none\\)"),
    ],
)
def test_other_options_are_refused(
    tmp_path: Path, checkpoint: Path, options: dict[str, Any], difference: str
) -> None:
    if "scales" in options:
        options = {**options, "scales": tmp_path / "scales.npz"}
        np.savez(options["scales"], x_mean=0.0, x_std=2.0)
    extract(checkpoint, (X, Y), tmp_path / "a.h5", limit=100)
    extract(checkpoint, (X, Y), tmp_path / "b.h5", offset=100, **options)
    with pytest.raises(InputError, match=f"b.h5 differs from .*a.h5 in .*{difference}"):
        merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "m.h5")
    assert not (tmp_path / "m.h5").exists()


def test_shards_may_be_made_in_other_batches(tmp_path: Path, checkpoint: Path) -> None:
    extract(checkpoint, (X, Y), tmp_path / "a.h5", limit=100, batch_size=7)
    extract(checkpoint, (X, Y), tmp_path / "b.h5", offset=100, layers=["*"])
    assert merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "m.h5").n_samples == N


def test_all_that_is_wrong_is_in_one_message(tmp_path: Path, checkpoint: Path) -> None:
    np.savez(tmp_path / "data.npz", X=X, y=Y)
    other = mlp(5, 16, 12, 2, seed=1)
    other[0].load_state_dict(MODEL[0].state_dict())
    torch.save(other.state_dict(), tmp_path / "other.pt")
    data = tmp_path / "data.npz"
    relu: Any = {"activation": "relu"}
    extract(checkpoint, data, tmp_path / "a.h5", limit=100, **relu)
    extract(tmp_path / "other.pt", data, tmp_path / "b.h5", offset=100, dtype="float64", **relu)
    extract(checkpoint, data, tmp_path / "c.h5", offset=90, limit=20, **relu)
    with pytest.raises(InputError) as caught:
        merge([tmp_path / f"{name}.h5" for name in "abc"], tmp_path / "m.h5")
    message = str(caught.value).replace(f"{tmp_path}/", "")
    assert message.startswith(
        "the parts cannot be merged: b.h5 differs from a.h5 in the weights of 2 and 4, the"
        " checkpoint (by its SHA-256) and dtype (float64, not float32); a.h5 and c.h5 both hold"
        " samples 90 to 99 (from 0) of data.npz; c.h5 and b.h5 both hold samples 100 to 109"
        " (from 0) of data.npz; extract every shard"
    )


def test_the_shape_of_networks_is_compared(tmp_path: Path) -> None:
    extract(MODEL, (X, Y), tmp_path / "a.h5", limit=100)
    extract(mlp(5, 16, 2), (X, Y), tmp_path / "b.h5", offset=100)
    x, y = samples(50, 5, 3, seed=1)
    extract(mlp(5, 16, 12, 3), (x, y), tmp_path / "c.h5")
    with pytest.raises(InputError) as caught:
        merge([tmp_path / f"{name}.h5" for name in "abc"], tmp_path / "m.h5")
    assert re.search(r"b.h5 differs from \S+a.h5 in lacking 4;", str(caught.value))
    assert "in the number of targets (3, not 2) and the weight of 4;" in str(caught.value)


def test_data_without_a_fingerprint(tmp_path: Path) -> None:
    def stream(first: int, stop: int) -> Any:
        return iter([(X[first:stop], Y[first:stop])])

    extract(MODEL, stream(0, 100), tmp_path / "a.h5")
    extract(MODEL, stream(100, N), tmp_path / "b.h5")
    extract(MODEL, (X, Y), tmp_path / "c.h5", limit=100)
    said: list[str] = []
    merge([tmp_path / "a.h5", tmp_path / "b.h5"], tmp_path / "m.h5", on_note=said.append)
    assert any(re.match("whether samples are counted twice cannot be told: ", s) for s in said)
    assert any(re.match("the weights agree; whether biases do cannot be told", s) for s in said)
    with pytest.raises(InputError, match=r"a.h5 and \S+c.h5 both hold the very same samples"):
        merge([tmp_path / "a.h5", tmp_path / "c.h5"], tmp_path / "n.h5")


def test_arrays_of_one_file_are_shards_of_their_own(tmp_path: Path, checkpoint: Path) -> None:
    data = tmp_path / "data.npz"
    np.savez(data, X1=X[:100], y1=Y[:100], X2=X[100:], y2=Y[100:])
    for name in "12":
        path = tmp_path / f"{name}.h5"
        extract(checkpoint, data, path, x_key=f"X{name}", y_key=f"y{name}", activation="relu")
    assert merge([tmp_path / "1.h5", tmp_path / "2.h5"], tmp_path / "m.h5").n_samples == N


def test_shards_scaled_by_themselves_are_refused(tmp_path: Path, checkpoint: Path) -> None:
    parts = shards(tmp_path, [0, 100], checkpoint, standardize=["x"])
    with pytest.raises(
        InputError, match="standardised by statistics of the shard alone .*--scales"
    ):
        merge(parts, tmp_path / "m.h5")
    np.savez(tmp_path / "scales.npz", x_mean=X.mean(0), x_std=X.std(0))
    options = {"standardize": ["x"], "scales": tmp_path / "scales.npz"}
    merged = merge(shards(tmp_path, [0, 100], checkpoint, **options), tmp_path / "m.h5")
    assert merged.n_parts == 2


def test_what_a_call_gets_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = shards(tmp_path, [0, 100])
    with pytest.raises(UsageError, match="no parts"):
        merge([], tmp_path / "m.h5")
    with pytest.raises(UsageError, match="is an input too"):
        merge([a, b], b, force=True)
    with pytest.raises(UsageError, match="exists already"):
        merge([a], b)
    with pytest.raises(InputError, match="no such acts file"):
        merge([a, tmp_path / "none.h5"], tmp_path / "m.h5")
    with pytest.raises(OutputError, match="no folder"):
        merge([a, b], tmp_path / "none" / "m.h5")
    monkeypatch.setattr(merging, "MOST_PARTS", 1)
    with pytest.raises(UsageError, match="merge them in groups"):
        merge([a, b], tmp_path / "m.h5")


@pytest.mark.parametrize("name", ["positions/0001/activations", "targets/values"])
def test_a_damaged_part_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    a, b = shards(tmp_path, [0, 100])
    with h5py.File(b) as file:
        chunk = file[name].id.get_chunk_info(0)
    with b.open("r+b") as raw:
        raw.seek(chunk.byte_offset + 40)
        raw.write(b"\xff\x00\xff\x00")
    with pytest.raises(InputError, match="from100.h5: damaged or cut short"):
        merge([a, b], tmp_path / "m.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["from0.h5", "from100.h5"]


def test_files_from_before_the_offset_are_shards_from_the_first_sample(tmp_path: Path) -> None:
    a, b = shards(tmp_path, [0, 100])
    old = tmp_path / "old.h5"
    shutil.copy(a, old)
    with edited(old) as file:
        told = json.loads(bytes(file["provenance"][:]))
        del told["data"]["rows"], told["options"]["offset"], file["provenance"]
        file["provenance"] = np.frombuffer(json.dumps(told).encode(), np.uint8)
    assert merge([old, b], tmp_path / "m.h5").n_samples == N
    with pytest.raises(InputError, match="both hold samples 0 to 99"):
        merge([a, old], tmp_path / "n.h5")


@pytest.mark.parametrize("batch_size", [1, 7, 64, 1000])
@pytest.mark.parametrize(("offset", "limit"), [(0, None), (5, 90), (64, 64), (299, None)])
def test_a_shard_is_the_samples_from_offset_on(
    tmp_path: Path, batch_size: int, offset: int, limit: int | None
) -> None:
    path = tmp_path / "a.h5"
    done = extract(MODEL, (X, Y), path, offset=offset, limit=limit, batch_size=batch_size)
    expected = Y[offset:][:limit]
    np.testing.assert_array_equal(statistics(path)["targets/values"], expected)
    rows = report(path).provenance["data"]["rows"]
    assert rows == [offset, offset + done.n_samples] == [offset, offset + len(expected)]


def test_an_offset_past_the_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--offset 300: the given arrays has 300 samples"):
        extract(MODEL, (X, Y), tmp_path / "a.h5", offset=300)
    with pytest.raises(UsageError, match="--offset -1: give at least 0"):
        extract(MODEL, (X, Y), tmp_path / "a.h5", offset=-1)


def test_the_command(cli: Run, tmp_path: Path) -> None:
    case = FIXTURES / "swimmer"
    for name, part in {
        "a": {"limit": 300},
        "b": {"offset": 300},
        "whole": {},
    }.items():
        inputs = case / "wd0.01" / "epoch_600.pt", case / "data.npz"
        extract(*inputs, tmp_path / f"{name}.h5", activations=False, **part)  # type: ignore[arg-type]
    done = cli("merge", "a.h5", "b.h5", "-o", "m.h5")
    assert ok(done) == "m.h5: 8 layers, 800 samples of 2 parts, R² = 0.867\n"
    assert done.stderr == "note: see where it collapses with: nrcscan report m.h5\n"
    merged, whole = (report(tmp_path / f"{name}.h5") for name in ("m", "whole"))
    assert merged.verdict.state is whole.verdict.state
    assert ok(cli("report", "m.h5")) == render(merged, "table")
    for ours, theirs in zip(merged.layers, whole.layers, strict=True):
        # A part's linear fits have seen samples of that part alone: their errors may leave open
        # what those of all samples decide, but never decide otherwise.
        for condition, answer in ours.answers.items():
            assert answer in (theirs.answers[condition], Answer.UNDECIDED), condition
        for condition in ("nrc1", "nrc2", "nrc3"):
            assert ours.answers[condition] is theirs.answers[condition]
        for quantity, value in ours.metrics.values.items():
            close = 0.2 if quantity in ("linear_mse_held_out", "error_ratio") else 1e-6
            assert value == pytest.approx(theirs.metrics.values[quantity], rel=close), quantity
    failed(cli("merge", "a.h5", "a.h5", "-o", "n.h5"), 3, "a.h5 holds twice samples 0 to 299")
    assert not (tmp_path / "n.h5").exists()


def test_merging_does_not_wait_for_torch(tmp_path: Path) -> None:
    a, b = shards(tmp_path, [0, 100])
    code = (
        "import sys, nrcscan; nrcscan.merge(sys.argv[1:3], sys.argv[3]);"
        " print('torch' in sys.modules)"
    )
    argv = [sys.executable, "-c", code, str(a), str(b), str(tmp_path / "m.h5")]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
